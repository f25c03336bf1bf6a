/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests' own code allocates with: never made to fail, for it is not what is tested.  The makefile gives these
 * names to malloc, calloc and realloc in that code.
 */
#include "config.h"

#undef malloc
#undef calloc
#undef realloc

#include <stdlib.h>

#include "support_alloc.h"

_Thread_local volatile int support_allocating;

void *support_malloc(size_t size)
{
    void *memory;

    support_allocating++;
    memory = malloc(size);
    support_allocating--;
    return memory;
}

void *support_calloc(size_t count, size_t size)
{
    void *memory;

    support_allocating++;
    memory = calloc(count, size);
    support_allocating--;
    return memory;
}

void *support_realloc(void *memory, size_t size)
{
    support_allocating++;
    memory = realloc(memory, size);
    support_allocating--;
    return memory;
}
