/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crew: one function run by several workers at once, until all have returned.
 */
#ifndef BYRE_OPS_CREW_H
#define BYRE_OPS_CREW_H

#include <stddef.h>

#include "byre/error.h"

/*
 * How many workers to use: what the caller of an operation asked for (0: one a processor), as far as `budget`
 * bytes allow with `each` bytes a worker; at least 1.
 */
unsigned byre_crew_size(unsigned asked, size_t budget, size_t each);

/* Runs work(opaque, i) for every i < `size` and waits for all; one worker alone runs on the calling thread.
 * Fails only if no workers can be started: then nothing was run. */
int byre_crew_run(unsigned size, void (*work)(void *opaque, unsigned index), void *opaque,
                  struct byre_error *err);

#endif
