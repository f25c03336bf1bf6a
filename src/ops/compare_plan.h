/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan of a compare: the extents of two disks side by side, as items of work in guest order.
 */
#ifndef BYRE_OPS_COMPARE_PLAN_H
#define BYRE_OPS_COMPARE_PLAN_H

#include <sys/types.h>

#include "base/vec.h"
#include "byre/disk.h"
#include "qcow2/qcow2.h"

#define BYRE_PAIR_CELL (1u << 20) /* no item to be read crosses a multiple of this */

enum byre_pair_kind {
    BYRE_PAIR_SAME = 0,       /* nothing has to be read: both are zero, or the same bytes of one file */
    BYRE_PAIR_READ_FIRST = 1, /* the second disk is zero there */
    BYRE_PAIR_READ_SECOND = 2,
    BYRE_PAIR_READ_BOTH = 3,
    BYRE_PAIR_UNLIKE,         /* strict: the allocation differs at goff */
};

struct byre_pair_item {
    uint64_t goff, length;
    enum byre_pair_kind kind;
};

/* The extents of one disk around where the plan is. */
struct byre_pair_side {
    struct byre_disk *disk;
    uint64_t size;           /* reads as zero from there on */
    byre_extent_vec extents; /* from at or before the plan's place to `mapped` */
    size_t first;            /* extents before this one are used up */
    uint64_t mapped;
    struct byre_file_id {
        dev_t dev;
        ino_t ino;
        bool known;
    } *files;                /* by layer */
};

struct byre_pair_plan {
    struct byre_pair_side sides[2];
    bool strict;
    uint64_t goff, end;
    int failed; /* after an error: 1 or 2, the disk whose extents could not be read; 0: neither */
};

/* Borrows the disks.  Release with byre_pair_plan_done, also after a failure. */
int byre_pair_plan_init(struct byre_pair_plan *plan, struct byre_disk *a, struct byre_disk *b, bool strict,
                        struct byre_error *err);
void byre_pair_plan_done(struct byre_pair_plan *plan);

/* The next item: 1, or 0 at the end.  Not thread-safe. */
int byre_pair_plan_next(struct byre_pair_plan *plan, struct byre_pair_item *ret_item, struct byre_error *err);

#endif
