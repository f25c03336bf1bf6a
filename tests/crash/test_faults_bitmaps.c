/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The n-th call on the store fails, for every n, once or from then on, while bitmaps are changed and follow changes.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bitmap_story.h"
#include "effort.h"

static void begin(struct guest *guest, void *opaque, uint64_t nth)
{
    struct record_fault fault = *(const struct record_fault *)opaque;

    fault.nth = nth;
    record_store_fail(guest->store, &fault);
}

static bool end(struct guest *guest)
{
    bool struck = record_store_faults(guest->store) > 0;

    record_store_fail(guest->store, NULL);
    return struck;
}

static void tell_with(struct record_fault fault)
{
    (void)tell_of_bitmaps(&(struct trouble){ .begin = begin, .end = end, .opaque = &fault });
}

static void calls_that_fail_once(void **state)
{
    (void)state;
    tell_with((struct record_fault){ .kinds = RECORD_WRITE, .code = -EIO });
    tell_with((struct record_fault){ .kinds = RECORD_WRITE, .code = -ENOSPC, .short_bytes = 100 });
    tell_with((struct record_fault){ .kinds = RECORD_FLUSH, .code = -EIO });
    tell_with((struct record_fault){ .kinds = RECORD_READ, .code = -EIO });
}

static void calls_that_fail_from_some_point_on(void **state)
{
    (void)state;
    tell_with((struct record_fault){ .kinds = RECORD_ANY, .code = -EIO, .for_ever = true });
    tell_with((struct record_fault){ .kinds = RECORD_CHANGES, .code = -ENOSPC, .for_ever = true });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_that_fail_once),
        cmocka_unit_test(calls_that_fail_from_some_point_on),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
