/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moving the bytes of extents into memory.
 */
#ifndef BYRE_DISK_MOVE_H
#define BYRE_DISK_MOVE_H

#include "disk/disk.h"

/*
 * Reads all of `extent` into `buf`.  The caller is in the disk's epoch since before it looked the extent
 * up, and `purges` is what byre_inflated_purges told before that.
 */
int byre_disk_move(struct byre_disk *disk, const struct byre_extent *extent, uint64_t purges, uint8_t *buf,
                   struct byre_error *err);

/* Reads what the layers below the top show: zeros past their end.  Takes no lock of the top layer and does
 * not enter its epoch, so that its writers may call it whatever they hold. */
int byre_disk_read_below(struct byre_disk *disk, uint64_t goff, uint8_t *buf, size_t length,
                         struct byre_error *err);

#endif
