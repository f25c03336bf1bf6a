/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a disk may do besides what it was asked for: detect-zeroes, copy-on-read, compress.
 */
#ifndef BYRE_DISK_FILTER_H
#define BYRE_DISK_FILTER_H

#include <sys/uio.h>

#include "disk/disk.h"

/* Shall the write of these bytes be one of zeros?  Then *ret_flags are for byre_write_zeroes. */
bool byre_filter_finds_zeroes(const struct byre_disk *disk, const struct iovec *iov, int count, unsigned *ret_flags);

/* Copy-on-read, before the range is read: brings up into layer 0 what is not there; nothing on a disk
 * that has become read-only, which goes on reading.  The caller is in no epoch. */
int byre_filter_copy_up(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_error *err);

/*
 * Writes with compression, for a disk whose top layer is qcow2: whole clusters that compress are written
 * here.  Parts of clusters, and what does not compress, are left to `plain`, in order.  The caller is in no
 * epoch.
 */
int byre_filter_compress(struct byre_disk *disk, const struct iovec *iov, int count, uint64_t goff,
                         int (*plain)(struct byre_disk *disk, const uint8_t *buf, size_t length, uint64_t goff,
                                      struct byre_error *err),
                         struct byre_error *err);

#endif
