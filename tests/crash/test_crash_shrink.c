/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment while a disk gets smaller: it has its old size with all that it held, or its new one, and what
 * is cut off the file was free.
 *
 * With clusters of 512 bytes an L2 table maps 32 KiB, and a refcount block counts 128 KiB.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arith.h"
#include "byre/disk.h"
#include "effort.h"
#include "guest.h"
#include "story.h"

#define K 1024ULL

static uint64_t file_size(struct guest *guest)
{
    uint64_t size;

    ok(byre_store_size(guest->store, &size, NULL));
    return size;
}

/* Down in two steps, up again, and down to nothing but a sector. */
static void shrinks(const struct guest_options *options)
{
    struct guest *guest = guest_new(options);
    uint64_t size = options->size, full;

    for (uint64_t goff = 0; goff < size; goff += 8 * K)
        ok(guest_write(guest, goff, MIN(4 * K, size - goff)));
    ok(guest_restart(guest));
    full = file_size(guest);
    ok(guest_shrink(guest, size / 2 + 512));
    ok(guest_write(guest, size / 2 - 3 * K, 2 * K));
    ok(guest_flush(guest));
    ok(guest_shrink(guest, 20 * K));
    assert_int_equal(byre_qcow2_header(guest->image)->size, 20 * K);
    if (!options->device_size)
        assert_true(file_size(guest) < full);
    ok(guest_grow(guest, size));
    ok(guest_write(guest, size - 2 * K, 1 * K));
    ok(guest_shrink(guest, 512));
    finish(guest, 20);
}

static void nothing_is_lost_but_what_was_past_the_end(void **state)
{
    (void)state;
    shrinks(&(struct guest_options){ .size = 180 * K });
    shrinks(&(struct guest_options){ .size = 180 * K, .lazy = true });
    shrinks(&(struct guest_options){ .size = 180 * K, .version = 2 });
    shrinks(&(struct guest_options){ .size = 180 * K, .refcount_order = 6 });
    shrinks(&(struct guest_options){ .size = 180 * K, .refcount_order = -1, .cluster_bits = 12 });
    shrinks(&(struct guest_options){ .size = 180 * K, .device_size = 512 * K });
    shrinks(&(struct guest_options){ .size = 100 * K, .backing_size = 64 * K });
}

/* Refcount blocks that are not needed any more go, and come again. */
static void empty_refcount_blocks_go(void **state)
{
    struct guest *guest = guest_new(&(struct guest_options){ .size = 300 * K });

    (void)state;
    for (uint64_t goff = 0; goff < 300 * K; goff += 4 * K)
        ok(guest_write(guest, goff, 4 * K));
    ok(guest_restart(guest));
    assert_true(file_size(guest) > 300 * K);
    ok(guest_shrink(guest, 30 * K));
    /* Header, two tables, L1, two L2 at most, data, and blocks for that. */
    assert_true(file_size(guest) < 50 * K);
    ok(guest_grow(guest, 300 * K));
    ok(guest_write(guest, 100 * K, 150 * K));
    finish(guest, 20);
}

/* A file that had its end freed by discards is shorter when it is closed. */
static void closing_takes_the_free_end_off(void **state)
{
    struct guest *guest = guest_new(&(struct guest_options){ .size = 100 * K });

    (void)state;
    /* All L2 tables first. */
    for (uint64_t goff = 0; goff < 100 * K; goff += 32 * K)
        ok(guest_write(guest, goff, 512));
    ok(guest_write(guest, 0, 100 * K));
    ok(guest_restart(guest));
    ok(guest_discard(guest, 10 * K, 90 * K));
    ok(guest_close(guest));
    assert_true(file_size(guest) < 30 * K);
    ok(guest_open(guest));
    ok(guest_write(guest, 50 * K, 50 * K));
    finish(guest, 20);
}

/* The n-th call on the store fails, for all n: the disk has one of the sizes, and all is well after that. */
static void failures_leave_one_of_the_sizes(void **state)
{
    struct record_fault fault = { .kinds = RECORD_ANY, .code = -EIO };
    uint64_t faults = 1;

    (void)state;
    for (fault.nth = 1; faults; fault.nth++) {
        struct guest *guest = guest_new(&(struct guest_options){ .size = 100 * K, .backing_size = 64 * K });
        uint64_t size;
        int rc;

        ok(guest_write(guest, 0, 100 * K));
        ok(guest_restart(guest));
        record_store_fail(guest->store, &fault);
        rc = guest_shrink(guest, 40 * K);
        faults = record_store_faults(guest->store);
        size = byre_qcow2_header(guest->image)->size;
        assert_true(rc == 0 ? size == 40 * K : size == 40 * K || size == 100 * K);
        record_store_fail(guest->store, NULL);
        (void)guest_close(guest);
        ok(guest_check(guest, false));
        ok(guest_open(guest));
        assert_true(byre_qcow2_header(guest->image)->size == 40 * K ||
                    byre_qcow2_header(guest->image)->size == 100 * K);
        guest_free(guest);
    }
    effort_count(EFFORT_FAULTS, fault.nth - 2);
    assert_true(fault.nth > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_but_what_was_past_the_end),
        cmocka_unit_test(empty_refcount_blocks_go),
        cmocka_unit_test(closing_takes_the_free_end_off),
        cmocka_unit_test(failures_leave_one_of_the_sizes),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
