/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The entries of a map: what byre map shows of a disk's extents.  Neighbours that say the same are one entry, so that
 * one is held back until the next one differs from it:
 *
 *     next = byre_map_entry_of(disk, extent);
 *     if (!byre_map_entry_join(&held, &next)) {
 *         if (held.length) show(&held);
 *         held = next;
 *     }
 */
#ifndef BYRE_CLI_MAP_ENTRY_H
#define BYRE_CLI_MAP_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre/disk.h"

struct byre_map_entry {
    uint64_t start, length; /* of the disk, bytes; length 0: none is held */
    uint64_t hoff;          /* of what the layer's format stands on, if has_offset */
    unsigned depth;         /* of the layer */
    bool present, zero, data, has_offset;
};

/* What map says of an extent, which byre_extents_reserved has told. */
struct byre_map_entry byre_map_entry_of(const struct byre_disk *disk, const struct byre_extent *extent);

/* Makes `held` longer by `next` if that follows and says the same; false: it does not. */
bool byre_map_entry_join(struct byre_map_entry *held, const struct byre_map_entry *next);

/* As JSON: an array whose entries are a line each.  Writes the text of one, with what comes before it (`first`: the
 * bracket), and returns its length.  BYRE_MAP_END comes after the last; there is one at least. */
#define BYRE_MAP_ENTRY_MAX 256u /* bytes, with the null byte */
#define BYRE_MAP_END       "]\n"
size_t byre_map_entry_to_json(const struct byre_disk *disk, const struct byre_map_entry *entry, bool first,
                              char text[BYRE_MAP_ENTRY_MAX]);

#endif
