/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapping through the chain: the extents of one layer, with those of the next one put where it has holes.
 *
 *   C1. Each layer's tables are read once for a range, and only where all layers above have holes.
 *   C2. Where a layer ends, what is above it ends the search: the layers below are not looked at, and the
 *       hole counts as the last one of the layer that stands on the short one.
 *   C3. Before each step the list covers the range in order and without gaps.  Holes in it that are not
 *       `at_eof` are still to be looked up.
 */
#include "config.h"

#include "disk/chain_map.h"

#include <errno.h>

#include "base/arith.h"

bool byre_extent_continues(const struct byre_extent *last, const struct byre_extent *next)
{
    if (last->goff + last->length != next->goff || last->kind != next->kind || last->layer != next->layer ||
        last->exclusive != next->exclusive || last->allocated != next->allocated ||
        last->at_eof != next->at_eof || last->kind == BYRE_EXTENT_COMPRESSED)
        return false;
    return (last->kind == BYRE_EXTENT_DATA || last->allocated) ? last->hoff + last->length == next->hoff
                                                                : true;
}

/* Appends to the part of the list from `first` on; merges with what is there. */
static int append(byre_extent_vec *out, size_t first, struct byre_extent next, struct byre_error *err)
{
    struct byre_extent *last = out->len > first ? &out->ptr[out->len - 1] : NULL;

    if (last && byre_extent_continues(last, &next)) {
        last->length += next.length;
        return 0;
    }
    if (vec_push(out, next) < 0)
        return byre_error_set_errno(err, -ENOMEM, "could not list the extents at offset %llu",
                                    (unsigned long long)next.goff);
    return 0;
}

static int map_raw(const struct byre_disk *disk, unsigned layer, uint64_t goff, uint64_t end,
                   size_t first, byre_extent_vec *out, struct byre_error *err)
{
    int r = 0;

    while (r == 0 && goff < end) {
        struct byre_extent extent;

        r = byre_disk_map_raw(disk, layer, goff, end - goff, &extent, err);
        if (r == 0)
            r = append(out, first, extent, err);
        goff += extent.length;
    }
    return r;
}

int byre_disk_map_raw(const struct byre_disk *disk, unsigned layer, uint64_t goff, uint64_t length,
                      struct byre_extent *ret_extent, struct byre_error *err)
{
    uint64_t run;
    bool hole;
    int r = byre_store_extent(disk->layers[layer].store, goff, &run, &hole, err);

    if (r < 0) {
        ret_extent->length = length; /* so that nobody loops on it */
        return r;
    }
    *ret_extent = (struct byre_extent){
        .goff = goff,
        .length = MIN(run, length),
        .hoff = goff,
        .layer = layer,
        .kind = hole ? BYRE_EXTENT_ZERO : BYRE_EXTENT_DATA,
        .exclusive = !hole && layer == 0,
        .allocated = hole,
    };
    return 0;
}

/* The extents of one layer alone.  `goff` to `end` lies within it. */
static int map_layer(const struct byre_disk *disk, unsigned layer, uint64_t goff, uint64_t end, size_t first,
                     byre_extent_vec *out, struct byre_error *err)
{
    const struct byre_layer *l = &disk->layers[layer];
    byre_extent_vec found = VEC_INIT;
    int r;

    if (!l->qcow2)
        return map_raw(disk, layer, goff, end, first, out, err);
    r = byre_qcow2_map(l->qcow2, goff, end - goff, &found, err);
    for (size_t i = 0; r == 0 && i < found.len; i++) {
        found.ptr[i].layer = layer;
        if (layer > 0)
            found.ptr[i].exclusive = false;
        r = append(out, first, found.ptr[i], err);
    }
    vec_done(&found);
    return r;
}

/* What layer `layer` and its end have to say of a hole in all layers above. */
static int fill_hole(const struct byre_disk *disk, unsigned layer, const struct byre_extent *hole,
                     byre_extent_vec *out, struct byre_error *err)
{
    uint64_t size = disk->layers[layer].size, end = hole->goff + hole->length;
    struct byre_extent rest = {
        .goff = MAX(size, hole->goff),
        .kind = BYRE_EXTENT_HOLE,
        .layer = layer > 0 ? layer - 1 : 0,
        .allocated = hole->allocated,
        .at_eof = true,
    };
    int r = 0;

    if (hole->allocated)
        rest.hoff = hole->hoff + (rest.goff - hole->goff);
    if (hole->goff < size)
        r = map_layer(disk, layer, hole->goff, MIN(end, size), 0, out, err);
    if (r == 0 && end > size) {
        rest.length = end - rest.goff;
        r = append(out, 0, rest, err);
    }
    return r;
}

/* Goes through `list`, filling its holes from `layer`, into `out`.  *ret_open: are there holes still? */
static int step(const struct byre_disk *disk, unsigned layer, const byre_extent_vec *list,
                byre_extent_vec *out, bool *ret_open, struct byre_error *err)
{
    int r = 0;

    out->len = 0;
    *ret_open = false;
    for (size_t i = 0; r == 0 && i < list->len; i++) {
        const struct byre_extent *extent = &list->ptr[i];
        size_t from = out->len;

        if (extent->kind != BYRE_EXTENT_HOLE || extent->at_eof) {
            r = append(out, 0, *extent, err);
            continue;
        }
        r = fill_hole(disk, layer, extent, out, err);
        for (size_t j = from ? from - 1 : 0; r == 0 && j < out->len && !*ret_open; j++)
            *ret_open = out->ptr[j].kind == BYRE_EXTENT_HOLE && !out->ptr[j].at_eof;
    }
    return r;
}

/* Maps into `list`, with `spare` to work in. */
static int map_chain(const struct byre_disk *disk, unsigned first_layer, byre_extent_vec *list,
                     byre_extent_vec *spare, struct byre_error *err)
{
    bool open = true;
    int r = 0;

    for (unsigned layer = first_layer; r == 0 && open && layer < disk->layer_count; layer++) {
        byre_extent_vec done = *spare;

        r = step(disk, layer, list, &done, &open, err);
        *spare = *list;
        *list = done;
    }
    return r;
}

int byre_disk_map(struct byre_disk *disk, unsigned first_layer, uint64_t goff, uint64_t length,
                  byre_extent_vec *out, struct byre_error *err)
{
    const struct byre_extent all = { .goff = goff, .length = length, .kind = BYRE_EXTENT_HOLE };
    byre_extent_vec list = VEC_INIT, spare = VEC_INIT;
    size_t first = out->len;
    int r;

    if (length == 0)
        return 0;
    r = append(&list, 0, all, err);
    if (r == 0)
        r = map_chain(disk, first_layer, &list, &spare, err);
    if (r == 0 && vec_reserve(out, list.len) < 0)
        r = byre_error_set_errno(err, -ENOMEM, "could not list the extents at offset %llu",
                                 (unsigned long long)goff);
    for (size_t i = 0; r == 0 && i < list.len; i++)
        out->ptr[first + i] = list.ptr[i];
    if (r == 0)
        out->len = first + list.len;
    vec_done(&list);
    vec_done(&spare);
    return r;
}
