/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The n-th call on the store fails, for every n: once or from then on, with or without a part of it done.
 *
 * Nothing crashes, no flush promises what is not there, and what the medium holds is free of corruption.  A
 * failure to write what nothing points to yet fails that request, and the image works on; any failed barrier,
 * and any failed write to live metadata, makes it read-only until it is opened again.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "effort.h"
#include "fault_stories.h"

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

static void tell_all(struct record_fault *fault)
{
    tell_stories(&(struct trouble){
        .begin = begin, .end = end, .opaque = fault,
        .full = fault->code == -ENOSPC && fault->for_ever,
        .poisons = fault->kinds == RECORD_FLUSH,
        .leaks = fault->kinds == RECORD_READ,
        .rare = fault->kinds == RECORD_READ,
    });
}

static void failed_writes_fail_their_request(void **state)
{
    (void)state;
    tell_all(&(struct record_fault){ .kinds = RECORD_WRITE, .code = -EIO });
    tell_all(&(struct record_fault){ .kinds = RECORD_WRITE, .code = -ENOSPC, .short_bytes = 700 });
}

static void writes_that_fail_from_some_point_on_lose_nothing_promised(void **state)
{
    (void)state;
    tell_all(&(struct record_fault){ .kinds = RECORD_CHANGES, .code = -ENOSPC, .for_ever = true });
    tell_all(&(struct record_fault){
        .kinds = RECORD_WRITE, .code = -EIO, .for_ever = true, .short_bytes = 512,
    });
}

static void failed_barriers_make_read_only(void **state)
{
    (void)state;
    tell_all(&(struct record_fault){ .kinds = RECORD_FLUSH, .code = -EIO });
    tell_all(&(struct record_fault){ .kinds = RECORD_FLUSH, .code = -EIO, .for_ever = true });
}

static void failed_reads_fail_their_request(void **state)
{
    (void)state;
    tell_all(&(struct record_fault){ .kinds = RECORD_READ, .code = -EIO });
    tell_all(&(struct record_fault){ .kinds = RECORD_READ, .code = -EIO, .for_ever = true });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_writes_fail_their_request),
        cmocka_unit_test(writes_that_fail_from_some_point_on_lose_nothing_promised),
        cmocka_unit_test(failed_barriers_make_read_only),
        cmocka_unit_test(failed_reads_fail_their_request),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
