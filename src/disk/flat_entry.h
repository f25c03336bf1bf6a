/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The 64-bit entries of the flat map.
 *
 *   bits 0 to 2    kind: 0 unknown, 1 + enum byre_extent_kind, or 5: mixed, the whole entry
 *   bit 3          exclusive
 *   bits 4 to 15   layer
 *   bits 16 to 63  data: host offset of the grain in units of 512 bytes; compressed: index in the side array
 *
 * The offset of data in a raw layer is the guest offset and is not stored: it may be larger than any that a
 * qcow2 image can name.
 */
#ifndef BYRE_DISK_FLAT_ENTRY_H
#define BYRE_DISK_FLAT_ENTRY_H

#include "disk/disk.h"

/* Of a grain that has several extents: those are to be looked up in the chunks of the finer grain. */
#define BYRE_FLAT_MIXED UINT64_C(5)

/* What an entry has no room for: one compressed cluster. */
struct byre_flat_compressed {
    uint64_t hoff;
    uint32_t stored;
};

struct byre_flat_side {
    struct byre_flat_compressed *ptr;
    size_t len, cap;
};

/*
 * The entry for the grain at `at`, of which `extent` says at least one byte.  `side` takes what a compressed
 * cluster needs; its grains come one after the other.  0 or -ENOMEM.
 */
int byre_flat_encode(const struct byre_disk *disk, const struct byre_extent *extent, uint64_t at,
                     struct byre_flat_side *side, uint64_t *ret_entry);

/* The extent of a known entry for the grain at `at`; without a length. */
struct byre_extent byre_flat_decode(const struct byre_disk *disk, uint64_t entry,
                                    const struct byre_flat_side *side, uint64_t at);

/* Does `entry` say of its grain what matters more than what `extent` says of another part of it? */
bool byre_flat_outranks(uint64_t entry, const struct byre_extent *extent);

/* As byre_extent_continues, for extents of the flat map; parts of one compressed cluster do, too. */
bool byre_flat_continues(const struct byre_disk *disk, const struct byre_extent *last,
                         const struct byre_extent *next);

#endif
