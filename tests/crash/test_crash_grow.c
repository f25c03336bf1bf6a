/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment while a disk grows: it has its old size or its new one, nothing shows in what is new, and
 * nothing of the old is lost.
 *
 * With clusters of 512 bytes an L2 table maps 32 KiB, so that nearly every growth needs a longer L1 table.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "byre/disk.h"
#include "effort.h"
#include "guest.h"
#include "story.h"

#define K 1024ULL

/* Writes a pattern over what the store has for the guest's [goff, goff+length), which the guest does not know. */
static void soil(struct guest *guest, uint64_t goff, uint64_t length)
{
    byre_extent_vec extents = VEC_INIT;
    uint8_t bytes[4096];

    ok(byre_qcow2_map(guest->image, goff, length, &extents, &guest->err));
    assert_int_equal(extents.len, 1);
    assert_int_equal(extents.ptr[0].kind, BYRE_EXTENT_DATA);
    guest_pattern(bytes, goff, length, 999);
    ok(byre_store_pwrite(guest->store, bytes, length, extents.ptr[0].hoff, &guest->err));
    vec_done(&extents);
}

static void grows(const struct guest_options *options)
{
    struct guest *guest = guest_new(options);
    uint64_t first = options->first_size;

    ok(guest_write(guest, 0, 3 * K));
    ok(guest_write(guest, first - 1 * K, 1 * K));
    ok(guest_restart(guest));
    ok(guest_write(guest, 5 * K, 2 * K));
    ok(guest_grow(guest, options->size - 10 * K));
    ok(guest_write(guest, first - 512, 2 * K));
    ok(guest_write(guest, options->size - 12 * K, 1 * K));
    ok(guest_flush(guest));
    ok(guest_grow(guest, options->size));
    ok(guest_write(guest, 8 * K, 600));
    finish(guest, 20);
}

static void l1_table_is_switched_at_once(void **state)
{
    (void)state;
    grows(&(struct guest_options){ .first_size = 40 * K, .size = 180 * K });
    grows(&(struct guest_options){ .first_size = 40 * K, .size = 180 * K, .lazy = true });
    grows(&(struct guest_options){ .first_size = 40 * K, .size = 180 * K, .version = 2 });
    grows(&(struct guest_options){ .first_size = 40 * K, .size = 180 * K, .refcount_order = 6 });
    grows(&(struct guest_options){ .first_size = 40 * K, .size = 180 * K, .device_size = 256 * K });
}

static void backing_file_does_not_show_in_what_is_new(void **state)
{
    (void)state;
    grows(&(struct guest_options){ .first_size = 40 * K, .size = 100 * K, .backing_size = 64 * K });
    grows(&(struct guest_options){ .first_size = 40 * K, .size = 100 * K, .backing_size = 64 * K, .version = 2 });
    grows(&(struct guest_options){ .first_size = 39 * K + 512, .size = 100 * K, .backing_size = 200 * K,
                                   .cluster_bits = 12 });
}

static void tail_of_the_last_cluster_is_zeroed_before(void **state)
{
    struct guest *guest = guest_new(&(struct guest_options){
        .first_size = 9 * K, .size = 30 * K, .cluster_bits = 12,
    });

    (void)state;
    ok(guest_write(guest, 8 * K, 512));
    soil(guest, 9 * K, 3 * K);
    ok(guest_restart(guest));
    ok(guest_grow(guest, 10 * K));
    ok(guest_grow(guest, 30 * K));
    ok(guest_write(guest, 11 * K, 512));
    finish(guest, 20);
}

/* In an image whose disk was larger once: the size in the header is all that is left of that. */
static void entries_past_the_end_do_not_come_back(void **state)
{
    struct guest *guest = guest_new(&(struct guest_options){ .first_size = 100 * K, .size = 160 * K });
    uint8_t size[8] = { 0, 0, 0, 0, 0, 0, 40, 0 };

    (void)state;
    ok(guest_write(guest, 0, 2 * K));
    ok(guest_write(guest, 50 * K, 2 * K));
    ok(guest_write(guest, 95 * K, 2 * K));
    ok(guest_close(guest));
    ok(byre_store_pwrite(guest->store, size, sizeof size, 24, &guest->err));
    ok(guest_open(guest));
    ok(guest_restart(guest));
    guest->base_size = 10 * K;
    memset(guest->first + 10 * K, 0, 150 * K);
    ok(guest_grow(guest, 52 * K));
    ok(guest_grow(guest, 160 * K));
    finish(guest, 20);
}

/* The n-th call on the store fails, for all n: the disk has one of the sizes, and all is well after that. */
static void failures_leave_the_old_size(void **state)
{
    struct record_fault fault = { .kinds = RECORD_ANY, .code = -EIO };
    uint64_t faults = 1;

    (void)state;
    for (fault.nth = 1; faults; fault.nth++) {
        struct guest *guest = guest_new(&(struct guest_options){
            .first_size = 40 * K, .size = 100 * K, .backing_size = 64 * K,
        });
        int rc;

        ok(guest_write(guest, 39 * K, 1 * K));
        ok(guest_restart(guest));
        record_store_fail(guest->store, &fault);
        rc = guest_grow(guest, 100 * K);
        faults = record_store_faults(guest->store);
        assert_int_equal(rc < 0, faults > 0);
        assert_int_equal(byre_qcow2_header(guest->image)->size, rc < 0 ? 40 * K : 100 * K);
        record_store_fail(guest->store, NULL);
        ok(guest_compare(guest));
        (void)guest_close(guest);
        ok(guest_check(guest, false));
        ok(guest_open(guest));
        ok(guest_compare(guest));
        guest_free(guest);
    }
    effort_count(EFFORT_FAULTS, fault.nth - 2);
    assert_true(fault.nth > 10);
}

static void no_room_leaves_the_old_size(void **state)
{
    struct record_fault fault = { .kinds = RECORD_WRITE | RECORD_ZERO | RECORD_ALLOCATE, .code = -ENOSPC, .nth = 1,
                                  .for_ever = true };
    struct guest *guest = guest_new(&(struct guest_options){ .first_size = 40 * K, .size = 100 * K });

    (void)state;
    ok(guest_write(guest, 39 * K, 1 * K));
    ok(guest_restart(guest));
    record_store_fail(guest->store, &fault);
    assert_int_equal(guest_grow(guest, 100 * K), -ENOSPC);
    record_store_fail(guest->store, NULL);
    ok(guest_write(guest, 0, 1 * K));
    ok(guest_grow(guest, 100 * K));
    ok(guest_write(guest, 99 * K, 1 * K));
    finish(guest, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(l1_table_is_switched_at_once),
        cmocka_unit_test(backing_file_does_not_show_in_what_is_new),
        cmocka_unit_test(tail_of_the_last_cluster_is_zeroed_before),
        cmocka_unit_test(entries_past_the_end_do_not_come_back),
        cmocka_unit_test(failures_leave_the_old_size),
        cmocka_unit_test(no_room_leaves_the_old_size),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
