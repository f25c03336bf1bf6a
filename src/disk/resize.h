/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What growing a disk shares with making one.
 */
#ifndef BYRE_DISK_RESIZE_H
#define BYRE_DISK_RESIZE_H

#include "disk/disk.h"

/* Writes zeros from `start` to `end`: not what the file system might take for zeros, but bytes. */
int byre_disk_write_full(struct byre_store *store, uint64_t start, uint64_t end, struct byre_error *err);

/* The preallocation mode of that name (NULL: off); false if there is none. */
bool byre_disk_preallocation_mode(const char *name, enum byre_preallocation *ret_mode);

#endif
