/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Walking the extents of a disk: window by window through the chain, past the flat map, which a walk of a
 * whole disk would only wear out.
 *
 *   E1. Memory is bounded: a window has at most WINDOW_MAX grains, whatever the disk's size and the chain's
 *       depth.
 *   E2. Where windows meet does not show: an extent is passed on when the next one does not continue it.
 *   E3. A window is mapped inside the disk's gate; what it shows is passed on outside, so that the callback may read.
 *   E4. What comes before an unreadable place is passed on before the error.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "disk/chain_map.h"

#define WINDOW_MIN 4096u
#define WINDOW_MAX 131072u

struct walk {
    struct byre_disk *disk;
    uint64_t goff, end;       /* still to be mapped */
    uint64_t window;          /* bytes */
    byre_extent_vec extents;
    struct byre_extent held;  /* length 0: none */
    int (*each)(void *opaque, const struct byre_extent *extent);
    void *opaque;
};

static int pass_held(struct walk *walk)
{
    int r = walk->held.length ? walk->each(walk->opaque, &walk->held) : 0;

    walk->held.length = 0;
    return r;
}

static int pass_on(struct walk *walk, const struct byre_extent *extent)
{
    int r;

    if (walk->held.length && byre_extent_continues(&walk->held, extent)) {
        walk->held.length += extent->length;
        return 0;
    }
    r = pass_held(walk);
    walk->held = *extent;
    return r;
}

/* The end of the window at walk->goff: at a multiple of it, so that clusters are not cut in two. */
static uint64_t window_end(const struct walk *walk)
{
    uint64_t start = byre_round_down(walk->goff, walk->window);

    return walk->window < walk->end - start ? start + walk->window : walk->end;
}

static int map_range(struct walk *walk, uint64_t end, struct byre_error *err)
{
    GATE_SCOPE(&walk->disk->gate);

    return byre_disk_map(walk->disk, 0, walk->goff, end - walk->goff, &walk->extents, err);
}

/* Maps a window, or as much of its start as can be mapped: at least a grain, or it fails. */
static int map_window(struct walk *walk, uint64_t *ret_end, struct byre_error *err)
{
    uint64_t end = window_end(walk), grain = walk->disk->grain;
    uint64_t least = MIN(end, byre_round_down(walk->goff, grain) + grain);
    int r;

    walk->extents.len = 0;
    while ((r = map_range(walk, end, err)) < 0) {
        if (r == -ENOMEM || end == least)
            return r;
        end = MAX(least, byre_round_down(walk->goff + (end - walk->goff) / 2, grain));
    }
    *ret_end = end;
    return 0;
}

static int walk_mapped(struct walk *walk, struct byre_error *err)
{
    int r = 0;

    while (r == 0 && walk->goff < walk->end) {
        uint64_t end;

        r = map_window(walk, &end, err);
        if (r < 0) {
            int stopped = pass_held(walk);

            return stopped ? stopped : r;
        }
        for (size_t i = 0; r == 0 && i < walk->extents.len; i++)
            r = pass_on(walk, &walk->extents.ptr[i]);
        walk->goff = end;
        if (walk->window < (uint64_t)WINDOW_MAX * walk->disk->grain)
            walk->window *= 2;
    }
    return r ? r : pass_held(walk);
}

static int map_run(struct walk *walk, struct byre_extent *ret_extent, struct byre_error *err)
{
    GATE_SCOPE(&walk->disk->gate);

    return byre_disk_map_raw(walk->disk, 0, walk->goff, walk->end - walk->goff, ret_extent, err);
}

/* A raw file tells one run at a time, however long. */
static int walk_raw(struct walk *walk, struct byre_error *err)
{
    int r = 0;

    while (r == 0 && walk->goff < walk->end) {
        struct byre_extent extent;

        r = map_run(walk, &extent, err);
        if (r < 0) {
            int stopped = pass_held(walk);

            return stopped ? stopped : r;
        }
        r = pass_on(walk, &extent);
        walk->goff += extent.length;
    }
    return r ? r : pass_held(walk);
}

int byre_extents(struct byre_disk *disk, uint64_t goff, uint64_t length,
                 int (*each)(void *opaque, const struct byre_extent *extent), void *opaque,
                 struct byre_error *err)
{
    struct walk walk = {
        .disk = disk,
        .goff = goff,
        .end = goff + length,
        .window = (uint64_t)WINDOW_MIN * disk->grain,
        .extents = VEC_INIT,
        .each = each,
        .opaque = opaque,
    };
    int r;

    if (!byre_range_within(goff, length, disk->size))
        return byre_error_set(err, -EINVAL, "'%s': %" PRIu64 " bytes at offset %" PRIu64
                              " pass the end of the disk at %" PRIu64, disk->layers[0].name, length, goff,
                              disk->size);
    r = disk->layers[0].qcow2 ? walk_mapped(&walk, err) : walk_raw(&walk, err);
    vec_done(&walk.extents);
    return byre_disk_finish(disk, r);
}
