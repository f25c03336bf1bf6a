/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The n-th allocation of the library fails, for every n: once, or from then on.
 *
 * The linker puts the functions below in the place of malloc and the like (see the makefile).
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "amend_story.h"
#include "bitmap_story.h"
#include "effort.h"
#include "fault_stories.h"
#include "support_alloc.h"

static struct {
    bool armed, for_ever;
    uint64_t nth, count, failures;
} fault;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
char *__wrap_strdup(const char *text);

static bool strikes(void)
{
    if (!fault.armed || support_allocating)
        return false;
    fault.count++;
    if (fault.count != fault.nth && !(fault.for_ever && fault.count > fault.nth))
        return false;
    fault.failures++;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return strikes() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return strikes() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return strikes() ? NULL : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return strikes() ? NULL : __real_aligned_alloc(align, size);
}

char *__wrap_strdup(const char *text)
{
    return strikes() ? NULL : __real_strdup(text);
}

static void begin(struct guest *guest, void *opaque, uint64_t nth)
{
    (void)guest;
    fault.for_ever = opaque != NULL;
    fault.nth = nth;
    fault.count = fault.failures = 0;
    fault.armed = true;
}

static bool end(struct guest *guest)
{
    (void)guest;
    fault.armed = false;
    return fault.failures > 0;
}

static void failed_allocations_fail_their_request(void **state)
{
    (void)state;
    assert_true(tell_stories(&(struct trouble){ .begin = begin, .end = end, .leaks = true }) > 100);
}

static void memory_that_is_gone_fails_everything_and_breaks_nothing(void **state)
{
    (void)state;
    assert_true(tell_stories(&(struct trouble){ .begin = begin, .end = end, .opaque = &fault, .leaks = true }) > 100);
}

static void bitmaps_without_memory(void **state)
{
    (void)state;
    assert_true(tell_of_bitmaps(&(struct trouble){ .begin = begin, .end = end }) > 50);
    assert_true(tell_of_bitmaps(&(struct trouble){ .begin = begin, .end = end, .opaque = &fault }) > 50);
}

static void begin_amend(struct byre_store *store, void *opaque, uint64_t nth)
{
    (void)store;
    begin(NULL, opaque, nth);
}

static bool end_amend(struct byre_store *store)
{
    (void)store;
    return end(NULL);
}

static void amend_without_memory(void **state)
{
    struct amend_trouble trouble = { .begin = begin_amend, .end = end_amend, .leaks = true };

    (void)state;
    assert_true(tell_of_amend(&trouble) > 50);
    trouble.opaque = &fault;
    assert_true(tell_of_amend(&trouble) > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_allocations_fail_their_request),
        cmocka_unit_test(memory_that_is_gone_fails_everything_and_breaks_nothing),
        cmocka_unit_test(bitmaps_without_memory),
        cmocka_unit_test(amend_without_memory),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
