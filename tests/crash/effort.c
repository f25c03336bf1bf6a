/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The effort of one test program: counters for all of its tests.
 */
#include "config.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "effort.h"

static const char *const names[EFFORT_KINDS] = {
    [EFFORT_STATES] = "crash states",
    [EFFORT_QEMU] = "crash states with qemu-img check",
    [EFFORT_FAULTS] = "fault points",
    [EFFORT_KILLS] = "kills",
};

static _Atomic uint64_t counts[EFFORT_KINDS];

static bool is_set(const char *name)
{
    const char *value = getenv(name);

    return value && *value;
}

bool effort_is_long(void)
{
    return is_set("BYRE_LONG");
}

unsigned effort_of(unsigned quick, unsigned normal, unsigned most)
{
    if (effort_is_long())
        return most;
    return is_set("TEST_QUICK") ? quick : normal;
}

unsigned effort_runs(unsigned quick, unsigned normal)
{
    const char *factor = getenv("BYRE_LONG");
    unsigned long times = factor ? strtoul(factor, NULL, 10) : 0;

    return effort_of(quick, normal, normal * 10 * (times ? (unsigned)times : 1));
}

void effort_count(enum effort_kind kind, uint64_t count)
{
    atomic_fetch_add(&counts[kind], count);
}

uint64_t effort_so_far(enum effort_kind kind)
{
    return atomic_load(&counts[kind]);
}

int effort_report(int rc)
{
    fflush(stdout);
    for (int i = 0; i < EFFORT_KINDS; i++) {
        if (counts[i])
            printf("tried: %llu %s\n", (unsigned long long)counts[i], names[i]);
    }
    return rc;
}
