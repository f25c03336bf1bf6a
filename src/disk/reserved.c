/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Space of image files that was reserved without being written: holes of the file below extents of data.
 *
 *   R1. Holes are looked for in files that take up clearly less of the medium than their clusters would.  In others a
 *       hole is an accident of the last cluster written, and is not looked for, as qemu-img does.
 *   R2. A hole of the file below plain data reads as zero whatever happened since the file was judged, so that is done
 *       once, when a layer's data is first asked about.
 *   R3. A run of the file is remembered within one walk alone: others may write meanwhile.
 */
#include "config.h"

#include "base/arith.h"
#include "disk/disk.h"

#define RUNS 8u

enum { UNKNOWN, WRITTEN, RESERVED };

/* What the file of a layer was found to be: all hole, or all not. */
struct run {
    unsigned layer;
    uint64_t start, end; /* end 0: none */
    bool hole;
};

struct walk {
    struct byre_disk *disk;
    struct run runs[RUNS]; /* of layers, by their number */
    int (*each)(void *opaque, const struct byre_extent *extent);
    void *opaque;
};

static bool has_reserved(struct byre_disk *disk, unsigned layer)
{
    _Atomic int *state = &disk->layers[layer].reserved;
    int known = atomic_load_explicit(state, memory_order_relaxed);

    if (known == UNKNOWN) {
        known = !byre_layer_is_encrypted(disk, layer) && byre_layer_is_preallocated(disk, layer) ? RESERVED : WRITTEN;
        atomic_store_explicit(state, known, memory_order_relaxed);
    }
    return known == RESERVED;
}

/* The run that `hoff` lies in.  What cannot be told is no hole. */
static const struct run *find_run(struct walk *walk, unsigned layer, uint64_t hoff)
{
    struct run *run = &walk->runs[layer % RUNS];
    uint64_t length;

    if (run->layer == layer && hoff >= run->start && hoff < run->end)
        return run;
    *run = (struct run){ .layer = layer, .start = hoff, .end = UINT64_MAX };
    if (byre_store_extent(walk->disk->layers[layer].store, hoff, &length, &run->hole, NULL) == 0)
        run->end = hoff + length;
    else
        run->hole = false;
    return run;
}

static int pass_on(void *opaque, const struct byre_extent *extent)
{
    struct walk *walk = opaque;
    uint64_t left = extent->length;
    struct byre_extent part = *extent;
    int r = 0;

    if (extent->kind != BYRE_EXTENT_DATA || !has_reserved(walk->disk, extent->layer))
        return walk->each(walk->opaque, extent);
    for (; r == 0 && left; left -= part.length) {
        const struct run *run = find_run(walk, extent->layer, part.hoff);

        part.length = MIN(run->end - part.hoff, left);
        part.reserved = run->hole;
        r = walk->each(walk->opaque, &part);
        part.goff += part.length;
        part.hoff += part.length;
    }
    return r;
}

int byre_extents_reserved(struct byre_disk *disk, uint64_t goff, uint64_t length,
                          int (*each)(void *opaque, const struct byre_extent *extent), void *opaque,
                          struct byre_error *err)
{
    struct walk walk = { .disk = disk, .each = each, .opaque = opaque };

    return byre_extents(disk, goff, length, pass_on, &walk, err);
}
