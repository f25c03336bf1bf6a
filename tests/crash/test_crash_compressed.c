/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment of writing compressed clusters, which share host clusters, and of replacing them.
 */
#include "config.h"

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

static struct guest *start(unsigned cluster_bits, int refcount_order)
{
    return guest_new(&(struct guest_options){
        .size = 40ULL << cluster_bits, .cluster_bits = cluster_bits, .refcount_order = refcount_order,
    });
}

static void packed_clusters_are_counted_before_they_are_linked(void **state)
{
    struct guest *guest = start(11, 4);

    (void)state;
    ok(guest_compressed(guest, 0, 3));
    ok(guest_flush(guest));
    /* Shares a host cluster, and perhaps a sector, with what is durable. */
    ok(guest_compressed(guest, 6 * K, 4));
    ok(guest_flush(guest));
    ok(guest_compressed(guest, 40 * K, 2));
    ok(guest_compressed(guest, 60 * K, 1));
    finish(guest, 40);
}

static void plain_over_compressed_leaves_the_neighbours(void **state)
{
    struct guest *guest = start(11, 4);

    (void)state;
    ok(guest_compressed(guest, 0, 8));
    ok(guest_restart(guest));
    ok(guest_write(guest, 2 * K, 700));
    ok(guest_write(guest, 6 * K, 2 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 0, 2 * K));
    ok(guest_write(guest, 20 * K, 2 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 30 * K, 4 * K));
    finish(guest, 40);
}

static void freed_compressed_places_show_nothing_foreign(void **state)
{
    struct guest *guest = start(11, 4);

    (void)state;
    ok(guest_compressed(guest, 0, 8));
    ok(guest_restart(guest));
    ok(guest_discard(guest, 0, 10 * K));
    ok(guest_compressed(guest, 20 * K, 3));
    ok(guest_flush(guest));
    ok(guest_write(guest, 40 * K, 4 * K));
    ok(guest_compressed(guest, 50 * K, 3));
    ok(guest_flush(guest));
    ok(guest_zero(guest, 20 * K, 4 * K, BYRE_WRITE_ZEROES_UNMAP));
    ok(guest_compressed(guest, 0, 2));
    finish(guest, 40);
}

static void compressed_over_plain_and_compressed_is_old_or_new(void **state)
{
    struct guest *guest = start(11, 4);

    (void)state;
    ok(guest_write(guest, 0, 8 * K));
    ok(guest_compressed(guest, 8 * K, 4));
    ok(guest_restart(guest));
    ok(guest_compressed(guest, 2 * K, 6));
    ok(guest_flush(guest));
    ok(guest_compressed(guest, 4 * K, 2));
    ok(guest_compressed(guest, 30 * K, 2));
    ok(guest_flush(guest));
    ok(guest_compressed(guest, 60 * K, 2));
    finish(guest, 40);
}

static void full_refcount_ends_packing(int refcount_order)
{
    struct guest *guest = start(13, refcount_order);

    ok(guest_compressed(guest, 0, 10));
    ok(guest_flush(guest));
    ok(guest_compressed(guest, 80 * K, 4));
    ok(guest_write(guest, 8 * K, 8 * K));
    ok(guest_flush(guest));
    ok(guest_compressed(guest, 8 * K, 2));
    finish(guest, 40);
}

static void one_bit_of_refcount_is_enough(void **state)
{
    (void)state;
    full_refcount_ends_packing(-1);
}

static void two_bits_of_refcount_are_enough(void **state)
{
    (void)state;
    full_refcount_ends_packing(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_clusters_are_counted_before_they_are_linked),
        cmocka_unit_test(plain_over_compressed_leaves_the_neighbours),
        cmocka_unit_test(freed_compressed_places_show_nothing_foreign),
        cmocka_unit_test(compressed_over_plain_and_compressed_is_old_or_new),
        cmocka_unit_test(one_bit_of_refcount_is_enough),
        cmocka_unit_test(two_bits_of_refcount_are_enough),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
