/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks end to end: requests are split where one disk ends and the next begins.
 */
#include "config.h"

#include "ops/concat.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"

int byre_concat_init(struct byre_concat *concat, struct byre_disk *const *disks, unsigned count,
                     struct byre_error *err)
{
    *concat = (struct byre_concat){ .disks = disks, .count = count };
    if (!count)
        return byre_error_set(err, -EINVAL, "no source was given");
    concat->starts = calloc((size_t)count + 1, sizeof *concat->starts);
    if (!concat->starts)
        return byre_error_set_errno(err, -ENOMEM, "could not list %u sources", count);
    for (unsigned i = 0; i < count; i++) {
        concat->starts[i] = concat->size;
        if (!byre_add_fits(concat->size, byre_get_size(disks[i]), &concat->size) ||
            concat->size > INT64_MAX) {
            byre_concat_done(concat);
            return byre_error_set(err, -EFBIG, "the sources are larger than 8 EiB together");
        }
    }
    concat->starts[count] = concat->size;
    return 0;
}

void byre_concat_done(struct byre_concat *concat)
{
    free(concat->starts);
    concat->starts = NULL;
}

/* The disk that `goff` (below the size) lies in. */
static unsigned disk_at(const struct byre_concat *concat, uint64_t goff)
{
    unsigned low = 0, high = concat->count;

    /* starts[low] <= goff < starts[high]; the last of several disks that start there is the one with bytes */
    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;

        if (concat->starts[middle] <= goff)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int byre_concat_pread(const struct byre_concat *concat, void *buf, size_t length, uint64_t goff,
                      struct byre_error *err)
{
    uint8_t *to = buf;

    while (length) {
        unsigned i = disk_at(concat, goff);
        size_t part = MIN((uint64_t)length, concat->starts[i + 1] - goff);
        int r = byre_pread(concat->disks[i], to, part, goff - concat->starts[i], err);

        if (r < 0)
            return r;
        to += part;
        goff += part;
        length -= part;
    }
    return 0;
}

struct walk {
    int (*each)(void *opaque, const struct byre_extent *extent, struct byre_disk *disk);
    void *opaque;
    struct byre_disk *disk;
    uint64_t start;
};

static int walk_extent(void *opaque, const struct byre_extent *extent)
{
    const struct walk *walk = opaque;
    struct byre_extent moved = *extent;

    moved.goff += walk->start;
    return walk->each(walk->opaque, &moved, walk->disk);
}

int byre_concat_extents(const struct byre_concat *concat, uint64_t goff, uint64_t length,
                        int (*each)(void *opaque, const struct byre_extent *extent, struct byre_disk *disk),
                        void *opaque, struct byre_error *err)
{
    while (length) {
        unsigned i = disk_at(concat, goff);
        uint64_t part = MIN(length, concat->starts[i + 1] - goff);
        struct walk walk = { each, opaque, concat->disks[i], concat->starts[i] };
        int r = byre_extents(walk.disk, goff - walk.start, part, walk_extent, &walk, err);

        if (r)
            return r;
        goff += part;
        length -= part;
    }
    return 0;
}
