/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pairing the extents of two disks.
 *
 *   A1. Each side keeps at most EXTENTS_AHEAD extents; a walk covers at most WALK_BYTES.
 */
#include "config.h"

#include "ops/compare_plan.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "disk/disk.h"
#include "store/file.h"

#define EXTENTS_AHEAD 4096
#define WALK_BYTES (1ULL << 30)

static int side_init(struct byre_pair_side *side, struct byre_disk *disk, struct byre_error *err)
{
    *side = (struct byre_pair_side){ .disk = disk, .size = byre_get_size(disk) };
    side->files = calloc(disk->layer_count, sizeof *side->files);
    if (!side->files)
        return byre_error_set_errno(err, -ENOMEM, "could not list the layers of '%s'", disk->layers[0].name);
    for (unsigned i = 0; i < disk->layer_count; i++)
        side->files[i].known = byre_file_identity(disk->layers[i].store, &side->files[i].dev,
                                                  &side->files[i].ino);
    return 0;
}

int byre_pair_plan_init(struct byre_pair_plan *plan, struct byre_disk *a, struct byre_disk *b, bool strict,
                        struct byre_error *err)
{
    int r;

    *plan = (struct byre_pair_plan){ .strict = strict, .end = MAX(byre_get_size(a), byre_get_size(b)) };
    r = side_init(&plan->sides[0], a, err);
    if (r >= 0)
        r = side_init(&plan->sides[1], b, err);
    return r;
}

void byre_pair_plan_done(struct byre_pair_plan *plan)
{
    for (unsigned i = 0; i < ARRAY_LEN(plan->sides); i++) {
        vec_done(&plan->sides[i].extents);
        free(plan->sides[i].files);
    }
}

static int add_extent(void *opaque, const struct byre_extent *extent)
{
    struct byre_pair_side *side = opaque;

    if (side->extents.len >= EXTENTS_AHEAD)
        return 1;
    if (vec_push(&side->extents, *extent) < 0)
        return -ENOMEM;
    side->mapped = extent->goff + extent->length;
    return 0;
}

/* The used extents are dropped, and more are read from side->mapped on. */
static int look_ahead(struct byre_pair_side *side, struct byre_error *err)
{
    int r;

    side->extents.len = side->first = 0;
    r = byre_extents(side->disk, side->mapped, MIN(side->size - side->mapped, WALK_BYTES), add_extent, side,
                     err);
    /* What came before the failure is compared first. */
    if (r < 0 && !side->extents.len) {
        byre_error_prepend(err, "Sector allocation test failed for %s: ", side->disk->layers[0].name);
        return r;
    }
    return 0;
}

/* The extent that reaches beyond `goff`, clipped to start there. */
static int extent_at(struct byre_pair_side *side, uint64_t goff, struct byre_extent *ret_extent,
                     struct byre_error *err)
{
    struct byre_extent *extent = ret_extent;
    uint64_t skip;
    int r;

    if (goff >= side->size) {
        *extent = (struct byre_extent){ .goff = goff, .length = UINT64_MAX - goff, .kind = BYRE_EXTENT_HOLE };
        return 0;
    }
    if (goff >= side->mapped) {
        r = look_ahead(side, err);
        if (r < 0)
            return r;
    }
    while (side->extents.ptr[side->first].goff + side->extents.ptr[side->first].length <= goff)
        side->first++;
    *extent = side->extents.ptr[side->first];
    skip = goff - extent->goff;
    extent->goff += skip;
    extent->length -= skip;
    if (extent->kind == BYRE_EXTENT_DATA)
        extent->hoff += skip;
    return 0;
}

static bool reads_as_zero(const struct byre_extent *extent)
{
    return extent->kind == BYRE_EXTENT_HOLE || extent->kind == BYRE_EXTENT_ZERO;
}

static bool is_in_one_file(const struct byre_pair_plan *plan, const struct byre_extent extents[2])
{
    const struct byre_file_id *a = &plan->sides[0].files[extents[0].layer];
    const struct byre_file_id *b = &plan->sides[1].files[extents[1].layer];

    return a->known && b->known && a->dev == b->dev && a->ino == b->ino;
}

static enum byre_pair_kind pair_kind(const struct byre_pair_plan *plan, const struct byre_extent extents[2])
{
    bool zero_a = reads_as_zero(&extents[0]), zero_b = reads_as_zero(&extents[1]);

    if (zero_a || zero_b)
        return (zero_a ? 0 : BYRE_PAIR_READ_FIRST) | (zero_b ? 0 : BYRE_PAIR_READ_SECOND);
    if (extents[0].kind == BYRE_EXTENT_DATA && extents[1].kind == BYRE_EXTENT_DATA &&
        extents[0].hoff == extents[1].hoff && is_in_one_file(plan, extents))
        return BYRE_PAIR_SAME;
    return BYRE_PAIR_READ_BOTH;
}

/* What a strict compare wants to be equal: does a layer say something, is it zero, has it a place? */
static unsigned allocation(const struct byre_extent *extent)
{
    bool present = extent->kind != BYRE_EXTENT_HOLE;
    bool zero = extent->kind == BYRE_EXTENT_ZERO;
    bool placed = extent->kind == BYRE_EXTENT_DATA || (zero && extent->allocated);

    return (unsigned)present | (unsigned)zero << 1 | (unsigned)placed << 2;
}

/* The pair of extents at `goff`: one item, as long as both extents go on. */
static int pair_at(struct byre_pair_plan *plan, uint64_t goff, struct byre_pair_item *ret_item,
                   struct byre_error *err)
{
    struct byre_extent extents[2];

    for (int i = 0; i < 2; i++) {
        int r = extent_at(&plan->sides[i], goff, &extents[i], err);

        if (r < 0) {
            plan->failed = i + 1;
            return r;
        }
    }
    ret_item->goff = goff;
    ret_item->length = MIN(extents[0].length, extents[1].length);
    ret_item->length = MIN(ret_item->length, plan->end - goff);
    ret_item->kind = pair_kind(plan, extents);
    if (plan->strict && allocation(&extents[0]) != allocation(&extents[1]))
        ret_item->kind = BYRE_PAIR_UNLIKE;
    return 0;
}

/* As far as one item may go that starts at `goff`. */
static uint64_t longest(const struct byre_pair_plan *plan, const struct byre_pair_item *item)
{
    uint64_t unit = item->kind == BYRE_PAIR_SAME ? WALK_BYTES : BYRE_PAIR_CELL;

    return MIN(plan->end, byre_round_down(item->goff, unit) + unit) - item->goff;
}

int byre_pair_plan_next(struct byre_pair_plan *plan, struct byre_pair_item *ret_item, struct byre_error *err)
{
    struct byre_pair_item more;
    int r;

    if (plan->goff == plan->end)
        return 0;
    r = pair_at(plan, plan->goff, ret_item, err);
    if (r < 0)
        return r;
    while (ret_item->length < longest(plan, ret_item)) {
        /* A failure to look further is met again, and told, by the next item. */
        r = pair_at(plan, ret_item->goff + ret_item->length, &more, NULL);
        if (r < 0 || more.kind != ret_item->kind)
            break;
        ret_item->length += more.length;
    }
    ret_item->length = MIN(ret_item->length, longest(plan, ret_item));
    plan->goff += ret_item->length;
    return 1;
}
