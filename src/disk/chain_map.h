/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the mapping through the chain (byre_disk_map) shares with the rest of the disk layer.
 */
#ifndef BYRE_DISK_CHAIN_MAP_H
#define BYRE_DISK_CHAIN_MAP_H

#include "disk/disk.h"

/* Does `next` follow on `last`, so that one extent describes both? */
bool byre_extent_continues(const struct byre_extent *last, const struct byre_extent *next);

/* The extent of a raw layer at `goff`, at most `length` bytes of it.  A hole of the file is an allocated
 * zero: it is there, at its own offset. */
int byre_disk_map_raw(const struct byre_disk *disk, unsigned layer, uint64_t goff, uint64_t length,
                      struct byre_extent *ret_extent, struct byre_error *err);

#endif
