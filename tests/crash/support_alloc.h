/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tells allocations of the tests' own code from those of the library.
 */
#ifndef TESTS_CRASH_SUPPORT_ALLOC_H
#define TESTS_CRASH_SUPPORT_ALLOC_H

#include <stddef.h>

/* Not 0 while the calling thread allocates for the tests' own code.  Volatile, for compilers know that malloc does not
 * look at variables. */
extern _Thread_local volatile int support_allocating;

void *support_malloc(size_t size);
void *support_calloc(size_t count, size_t size);
void *support_realloc(void *memory, size_t size);

#endif
