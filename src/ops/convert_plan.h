/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan of a convert: the sources' extents, cut into items of work in guest order.
 */
#ifndef BYRE_OPS_CONVERT_PLAN_H
#define BYRE_OPS_CONVERT_PLAN_H

#include "base/vec.h"
#include "ops/concat.h"

enum byre_plan_kind {
    BYRE_PLAN_LEAVE, /* the target shows the right bytes already */
    BYRE_PLAN_ZERO,  /* the target must be told that these are zeros */
    BYRE_PLAN_COPY,  /* read, and write what is not zero */
};

struct byre_plan_item {
    uint64_t goff, length; /* bytes, in the target and in the sources put together */
    enum byre_plan_kind kind;
};

struct byre_plan_options {
    uint32_t align;          /* items start and end at multiples of this, the end of all apart */
    uint32_t cell;           /* no copy crosses a multiple of this; both are powers of 2, this >= align */
    bool copy_zeros;         /* zeros and holes are copied like data */
    bool zeros_are_there;    /* the target reads as zero where nothing is written */
    bool target_has_backing; /* what a source takes from below `source_layers` is left alone */
    unsigned source_layers;
    bool salvage;            /* extents that cannot be read are copied blindly */
    void (*warn)(void *opaque, const char *line); /* may be NULL */
    void *opaque;
};

struct byre_plan {
    const struct byre_concat *sources;
    struct byre_plan_options options;
    uint64_t goff;                  /* where the next item starts */
    uint64_t mapped;                /* `runs` reach from at or before `goff` to here, without gaps */
    VEC(struct byre_plan_item) runs; /* neighbours differ in kind; not aligned yet */
    size_t first;                   /* runs before this one are used up */
};

void byre_plan_init(struct byre_plan *plan, const struct byre_concat *sources,
                    const struct byre_plan_options *options);
void byre_plan_done(struct byre_plan *plan);

/*
 * The next item: 1, or 0 at the end.  The cuts depend on the sources' contents and the options alone.  Not
 * thread-safe.  Memory is bounded.
 */
int byre_plan_next(struct byre_plan *plan, struct byre_plan_item *ret_item, struct byre_error *err);

#endif
