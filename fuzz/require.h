/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a fuzz target insists on.  The program ends with the line of what does not hold, for not all findings come again
 * in a debugger.
 */
#ifndef BYRE_FUZZ_REQUIRE_H
#define BYRE_FUZZ_REQUIRE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define require(holds) require_at(holds, #holds, __FILE__, __LINE__)

static inline void require_at(bool holds, const char *what, const char *file, int line)
{
    if (holds)
        return;
    fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, what);
    abort();
}

#endif
