/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packing extents into the entries of the flat map, and back.
 */
#include "config.h"

#include "disk/flat_entry.h"

#include <errno.h>

#include "base/arith.h"
#include "base/vec.h"
#include "disk/chain_map.h"

#define KIND_MASK 7u
#define EXCLUSIVE 8u
#define LAYER_SHIFT 4
#define LAYER_MASK (BYRE_LAYERS_MAX - 1)
#define VALUE_SHIFT 16
#define UNIT_BITS 9 /* host offsets are multiples of 512 */

_Static_assert(BYRE_LAYERS_MAX == 1U << (VALUE_SHIFT - LAYER_SHIFT), "an entry has room for any layer");

static bool is_raw(const struct byre_disk *disk, unsigned layer)
{
    return !disk->layers[layer].qcow2;
}

static enum byre_extent_kind kind_of(uint64_t entry)
{
    return (enum byre_extent_kind)((entry & KIND_MASK) - 1);
}

/* The index of the cluster in the side array, which is where the last grain's is, or at the end. */
static int add_compressed(struct byre_flat_side *side, const struct byre_extent *extent, uint64_t *ret_index)
{
    const struct byre_flat_compressed *last = side->len ? &side->ptr[side->len - 1] : NULL;
    struct byre_flat_compressed cluster = { extent->hoff, extent->stored };

    if (!last || last->hoff != cluster.hoff || last->stored != cluster.stored) {
        if (vec_push(side, cluster) < 0)
            return -ENOMEM;
    }
    *ret_index = side->len - 1;
    return 0;
}

int byre_flat_encode(const struct byre_disk *disk, const struct byre_extent *extent, uint64_t at,
                     struct byre_flat_side *side, uint64_t *ret_entry)
{
    uint64_t entry = ((uint64_t)extent->kind + 1) | (uint64_t)extent->layer << LAYER_SHIFT, value = 0;
    int r = 0;

    if (extent->kind == BYRE_EXTENT_DATA && !is_raw(disk, extent->layer))
        value = (extent->hoff + at - extent->goff) >> UNIT_BITS;
    if (extent->kind == BYRE_EXTENT_COMPRESSED)
        r = add_compressed(side, extent, &value);
    if (extent->kind == BYRE_EXTENT_DATA && extent->exclusive)
        entry |= EXCLUSIVE;
    if (r == 0)
        *ret_entry = entry | value << VALUE_SHIFT;
    return r;
}

struct byre_extent byre_flat_decode(const struct byre_disk *disk, uint64_t entry,
                                    const struct byre_flat_side *side, uint64_t at)
{
    uint64_t value = entry >> VALUE_SHIFT;
    struct byre_extent extent = {
        .goff = at,
        .layer = (uint32_t)(entry >> LAYER_SHIFT) & LAYER_MASK,
        .kind = kind_of(entry),
        .exclusive = entry & EXCLUSIVE,
    };

    if (extent.kind == BYRE_EXTENT_DATA) {
        extent.hoff = is_raw(disk, extent.layer) ? at : value << UNIT_BITS;
    } else if (extent.kind == BYRE_EXTENT_COMPRESSED) {
        extent.hoff = side->ptr[value].hoff;
        extent.stored = side->ptr[value].stored;
    }
    return extent;
}

bool byre_flat_outranks(uint64_t entry, const struct byre_extent *extent)
{
    return entry && (extent->at_eof || kind_of(entry) == BYRE_EXTENT_DATA);
}

/* Is `goff` where a cluster of the layer starts? */
static bool starts_cluster(const struct byre_disk *disk, unsigned layer, uint64_t goff)
{
    return byre_is_aligned(goff, 1ULL << byre_qcow2_header(disk->layers[layer].qcow2)->cluster_bits);
}

bool byre_flat_continues(const struct byre_disk *disk, const struct byre_extent *last,
                         const struct byre_extent *next)
{
    if (last->kind != BYRE_EXTENT_COMPRESSED)
        return byre_extent_continues(last, next);
    return next->kind == BYRE_EXTENT_COMPRESSED && last->layer == next->layer && last->hoff == next->hoff &&
           last->stored == next->stored && !starts_cluster(disk, next->layer, next->goff);
}
