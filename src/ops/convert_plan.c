/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Planning: extents become runs (one kind of work each, of any alignment), and runs become items (aligned).
 *
 * A unit of the target that is left or zero only in part is copied as a whole: the read goes through the
 * whole chain of the sources, so it brings the right bytes for every part.
 *
 *   P1. Runs are merged, and enough is mapped before an item is cut: so neither the sizes of extents that a
 *       walk happens to yield nor what the caches hold changes the cuts.
 *   P2. At most RUNS_AHEAD runs are kept, which is always enough for P1; a walk covers at most WALK_BYTES.
 */
#include "config.h"

#include "ops/convert_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"

#define RUNS_AHEAD 16384          /* more than the 512-byte pieces of a cell and a unit of 2 MiB each */
#define WALK_BYTES (256ULL << 20)
#define LONGEST_STEP (1ULL << 30) /* of leaving and zeroing: so that progress is seen */

void byre_plan_init(struct byre_plan *plan, const struct byre_concat *sources,
                    const struct byre_plan_options *options)
{
    *plan = (struct byre_plan){ .sources = sources, .options = *options };
}

void byre_plan_done(struct byre_plan *plan)
{
    vec_done(&plan->runs);
}

/* Does the target's backing file show this extent of `disk`?  It is taken to hold what the layers below the
 * copied ones hold. */
static bool is_below(const struct byre_plan_options *options, const struct byre_extent *extent,
                     const struct byre_disk *disk)
{
    if (!options->target_has_backing || byre_layer_count(disk) <= options->source_layers)
        return false;
    if (extent->kind != BYRE_EXTENT_HOLE)
        return extent->layer >= options->source_layers;
    /* Where a copied layer is shorter than the one above it, what it hides from below must stay hidden. */
    return !extent->at_eof || options->source_layers == 1;
}

static enum byre_plan_kind kind_of(const struct byre_plan_options *options, const struct byre_extent *extent,
                                   const struct byre_disk *disk)
{
    if (is_below(options, extent, disk))
        return BYRE_PLAN_LEAVE;
    if (options->copy_zeros)
        return BYRE_PLAN_COPY;
    if (extent->kind != BYRE_EXTENT_HOLE && extent->kind != BYRE_EXTENT_ZERO)
        return BYRE_PLAN_COPY;
    return options->zeros_are_there ? BYRE_PLAN_LEAVE : BYRE_PLAN_ZERO;
}

/* Appends [plan->mapped, end): 1 if there is no room for more. */
static int add_run(struct byre_plan *plan, uint64_t end, enum byre_plan_kind kind)
{
    struct byre_plan_item run = { plan->mapped, end - plan->mapped, kind };
    struct byre_plan_item *last = plan->runs.len > plan->first ? &plan->runs.ptr[plan->runs.len - 1] : NULL;

    if (last && last->kind == kind) {
        last->length += run.length;
    } else {
        if (plan->runs.len - plan->first >= RUNS_AHEAD)
            return 1;
        if (vec_push(&plan->runs, run) < 0)
            return -ENOMEM;
    }
    plan->mapped = end;
    return 0;
}

static int add_extent(void *opaque, const struct byre_extent *extent, struct byre_disk *disk)
{
    struct byre_plan *plan = opaque;

    return add_run(plan, extent->goff + extent->length, kind_of(&plan->options, extent, disk));
}

/* Extents from plan->mapped on cannot be read: goes on as if the rest of the cell were data. */
static int add_unreadable(struct byre_plan *plan, uint64_t end, int code)
{
    char line[128];

    if (plan->options.warn) {
        snprintf(line, sizeof line, "error while reading block status at offset %" PRIu64 ": %s",
                 plan->mapped, strerror(-code));
        plan->options.warn(plan->options.opaque, line);
    }
    return add_run(plan, end, BYRE_PLAN_COPY);
}

static void forget_used_runs(struct byre_plan *plan)
{
    memmove(plan->runs.ptr, plan->runs.ptr + plan->first,
            (plan->runs.len - plan->first) * sizeof *plan->runs.ptr);
    plan->runs.len -= plan->first;
    plan->first = 0;
}

/* Looks at more extents, at least a few bytes' worth. */
static int look_ahead(struct byre_plan *plan, struct byre_error *err)
{
    uint64_t from = plan->mapped;
    uint64_t end = MIN(plan->sources->size, byre_round_down(from, WALK_BYTES) + WALK_BYTES);
    int r;

    if (plan->first)
        forget_used_runs(plan);
    r = byre_concat_extents(plan->sources, from, end - from, add_extent, plan, err);
    if (r >= 0)
        return 0;
    if (r == -ENOMEM || !plan->options.salvage) {
        byre_error_prepend(err, "error while reading block status at offset %" PRIu64 ": ", plan->mapped);
        return r;
    }
    end = MIN(end, byre_round_down(plan->mapped, plan->options.cell) + plan->options.cell);
    r = add_unreadable(plan, end, r);
    return r == -ENOMEM ? byre_error_set_errno(err, r, "could not plan ahead") : 0;
}

/* Looks ahead up to `goff`, as far as there is room for runs: there always is for an item's worth. */
static int look_ahead_to(struct byre_plan *plan, uint64_t goff, struct byre_error *err)
{
    while (plan->mapped < MIN(goff, plan->sources->size)) {
        uint64_t before = plan->mapped;
        int r = look_ahead(plan, err);

        if (r < 0)
            return r;
        if (plan->mapped == before)
            break;
    }
    return 0;
}

static uint64_t run_end(const struct byre_plan_item *run)
{
    return run->goff + run->length;
}

/* The last aligned place that is not after `goff`; the end of everything counts as aligned. */
static uint64_t align_down(const struct byre_plan *plan, uint64_t goff)
{
    return goff == plan->sources->size ? goff : byre_round_down(goff, plan->options.align);
}

/* The first run that reaches beyond `goff`, which is below plan->mapped. */
static size_t run_at(const struct byre_plan *plan, size_t i, uint64_t goff)
{
    while (run_end(&plan->runs.ptr[i]) <= goff)
        i++;
    return i;
}

/* The end of the copy that starts at plan->goff: the next unit that can be left or zeroed as a whole. */
static uint64_t copy_end(const struct byre_plan *plan, uint64_t limit)
{
    uint64_t goff = plan->goff;
    size_t i = plan->first;

    while (goff < limit) {
        const struct byre_plan_item *run;

        i = run_at(plan, i, goff);
        run = &plan->runs.ptr[i];
        if (run->kind != BYRE_PLAN_COPY && align_down(plan, run_end(run)) > goff)
            break;
        goff = MIN(limit, byre_round_up(run_end(run), plan->options.align));
    }
    return goff;
}

static int next_copy(struct byre_plan *plan, struct byre_plan_item *ret_item, struct byre_error *err)
{
    uint64_t limit = byre_round_down(plan->goff, plan->options.cell) + plan->options.cell;
    int r = look_ahead_to(plan, limit + plan->options.align, err);

    if (r < 0)
        return r;
    limit = MIN(limit, align_down(plan, plan->mapped));
    *ret_item = (struct byre_plan_item){ plan->goff, copy_end(plan, limit) - plan->goff, BYRE_PLAN_COPY };
    return 1;
}

/* Looks for the end of the run at plan->goff, or as far as one item may go. */
static int find_run_end(struct byre_plan *plan, uint64_t limit, uint64_t *ret_end, struct byre_error *err)
{
    int r;

    /* The last run may go on beyond what was mapped; mapping more of the same kind takes no room. */
    while (plan->first + 1 == plan->runs.len && plan->mapped < MIN(limit, plan->sources->size)) {
        r = look_ahead(plan, err);
        if (r < 0)
            return r;
    }
    *ret_end = MIN(limit, align_down(plan, run_end(&plan->runs.ptr[plan->first])));
    return 0;
}

int byre_plan_next(struct byre_plan *plan, struct byre_plan_item *ret_item, struct byre_error *err)
{
    uint64_t end = plan->goff;
    int r;

    if (plan->goff == plan->sources->size)
        return 0;
    r = look_ahead_to(plan, plan->goff + plan->options.align, err);
    if (r < 0)
        return r;
    plan->first = run_at(plan, plan->first, plan->goff);
    if (plan->runs.ptr[plan->first].kind != BYRE_PLAN_COPY) {
        r = find_run_end(plan, byre_round_down(plan->goff, LONGEST_STEP) + LONGEST_STEP, &end, err);
        if (r < 0)
            return r;
    }
    if (end > plan->goff) {
        *ret_item = (struct byre_plan_item){ plan->goff, end - plan->goff, plan->runs.ptr[plan->first].kind };
    } else {
        r = next_copy(plan, ret_item, err);
        if (r < 0)
            return r;
    }
    plan->goff += ret_item->length;
    return 1;
}
