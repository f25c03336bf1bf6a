/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much a test of crashes and faults is to try, and how much it has tried.
 *
 * TEST_QUICK asks for samples, BYRE_LONG for all that there is; a number in it multiplies random work.  What was tried
 * is printed at the end, one line a kind: "tried: 123 crash states"; scripts/test adds up the lines of an area.
 */
#ifndef TESTS_CRASH_EFFORT_H
#define TESTS_CRASH_EFFORT_H

#include <stdbool.h>
#include <stdint.h>

enum effort_kind { EFFORT_STATES, EFFORT_QEMU, EFFORT_FAULTS, EFFORT_KILLS, EFFORT_KINDS };

bool effort_is_long(void);
/* One of the three, as the environment asks for. */
unsigned effort_of(unsigned quick, unsigned normal, unsigned most);
/* How many runs of something random: ten times the normal ones in the long mode, times BYRE_LONG. */
unsigned effort_runs(unsigned quick, unsigned normal);

/* Notes that so many more were tried.  Thread-safe. */
void effort_count(enum effort_kind kind, uint64_t count);
uint64_t effort_so_far(enum effort_kind kind);
/* Prints what was tried; returns `rc`, the result of the tests. */
int effort_report(int rc);

#endif
