/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The flat map of a disk: a bounded cache that answers, in one look-up, where each grain is in the whole
 * chain.  Thread-safe.
 */
#ifndef BYRE_DISK_FLAT_MAP_H
#define BYRE_DISK_FLAT_MAP_H

#include "disk/disk.h"

#define BYRE_FLAT_MAP_BYTES (16u << 20) /* the default budget */

struct byre_flat_map;

/* For a disk whose layers, size and grain are set, and whose top layer is qcow2.  `budget` 0: the default. */
int byre_flat_map_new(struct byre_disk *disk, uint64_t budget, struct byre_flat_map **ret_map,
                      struct byre_error *err);
void byre_flat_map_free(struct byre_flat_map *map);

/* How many bytes the chunks take up at the moment. */
uint64_t byre_flat_map_bytes(struct byre_flat_map *map);

/*
 * Writes the extents of [goff, goff+length), which is not empty and within the disk, to `extents`, in order,
 * without gaps and merged: as many as `max` holds.  Returns their number, at least 1, or a negative errno.
 * Allocated zeros are not told from others.  The caller is in the disk's epoch.  `write`: exclusive data is going to be
 * written to at its place.
 */
int byre_flat_map_lookup(struct byre_flat_map *map, uint64_t goff, uint64_t length, bool write,
                         struct byre_extent *extents, int max, struct byre_error *err);

/*
 * The same, but only if all of the range is known and fits: else 0, and nothing is read.  Never waits.
 */
int byre_flat_map_peek(struct byre_flat_map *map, uint64_t goff, uint64_t length, bool write,
                       struct byre_extent *extents, int max);

/* Layer 0 now says `now` of whole subclusters.  Called in the critical section that changed it; never waits. */
void byre_flat_map_remapped(struct byre_flat_map *map, const struct byre_extent *now);

#endif
