/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every state, or a good choice of them, that a crash at any moment of a recorded run could leave.
 *
 * The log of a recording store falls into epochs, each from one barrier to the next.  A crash within an epoch
 * leaves any combination of its calls; the combinations of the whole epoch include those of its beginnings.
 *   - Short epochs: every combination of calls with every size that the file had, and every way of tearing
 *     one call while the others are kept, and while they are not.
 *   - Long epochs: each beginning, each call left out, each call alone, pairs of calls left out and alone
 *     (some of them, chosen by the seed, where there are too many), random combinations, and the same tears;
 *     with the growth lost and kept.
 */
#ifndef TESTS_CRASH_CRASH_STATES_H
#define TESTS_CRASH_CRASH_STATES_H

#include "store/store.h"

struct crash_options {
    size_t exact;   /* epochs of at most this many calls are short; 0: 6 */
    size_t samples; /* random combinations and pairs of a long epoch; 0: 100 */
    size_t torn;    /* one call in so many is torn, chosen by the seed; 0: all */
    unsigned seed;
};

struct crash_state {
    size_t durable; /* calls [0, durable) of the log are surely there */
    size_t end;     /* calls [durable, end) may be there */
    char text[256]; /* what was kept, for the report of a failure */
};

/* Looks at one state; closes nothing.  Anything but 0 ends the walk. */
typedef int crash_visit(void *opaque, struct byre_store *after, const struct crash_state *state);

/*
 * Visits the states of all epochs of the recording store `store`.  Returns 0, what a visit returned, or
 * -ENOMEM.  *ret_visited (may be NULL) is how many states were visited.
 */
int crash_states_each(struct byre_store *store, const struct crash_options *options, crash_visit *visit,
                      void *opaque, uint64_t *ret_visited);

#endif
