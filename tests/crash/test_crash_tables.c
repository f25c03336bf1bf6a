/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment while refcount blocks are added and the refcount table grows.
 *
 * With clusters of 512 bytes and refcounts of 64 bits a block counts 64 clusters, 32 KiB, and a table of one
 * cluster 2 MiB.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "effort.h"
#include "guest.h"
#include "story.h"

#define K 1024ULL
#define M (1024 * K)

enum { BLOCK = 32 << 10, TABLE = 2 << 20 };

static struct guest *start(uint64_t size, bool lazy)
{
    return guest_new(&(struct guest_options){ .size = size, .refcount_order = 6, .lazy = lazy });
}

/* Makes the file `size` bytes long: with append_only, that is where the next clusters come from. */
static void make_long(struct guest *guest, uint64_t size)
{
    ok(guest_close(guest));
    ok(byre_store_truncate(guest->store, size, &guest->err));
    ok(guest_open(guest));
    ok(guest_restart(guest));
    byre_qcow2_set_append_only(guest->image, true);
}

static void finish_with(struct guest *guest, uint32_t table_clusters)
{
    assert_int_equal(byre_qcow2_header(guest->image)->reftable_clusters, table_clusters);
    finish(guest, 20);
}

static void refcount_blocks_are_counted_before_they_count(void **state)
{
    struct guest *guest = start(256 * K, false);

    (void)state;
    ok(guest_write(guest, 0, 20 * K));
    ok(guest_restart(guest));
    /* One block, then two more at once. */
    ok(guest_write(guest, 40 * K, 12 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 100 * K, 2 * BLOCK));
    ok(guest_write(guest, 0, 512));
    ok(guest_flush(guest));
    ok(guest_write(guest, 90 * K, 512));
    finish_with(guest, 1);
}

static void refcount_blocks_in_used_places_start_at_zero(void **state)
{
    struct guest *guest = start(256 * K, false);

    (void)state;
    /* The file was longer once: what lies there is not zero. */
    ok(guest_close(guest));
    for (uint64_t at = BLOCK; at < 3 * BLOCK; at += 512) {
        uint8_t bytes[512];

        guest_pattern(bytes, at, sizeof bytes, 999);
        ok(byre_store_pwrite(guest->store, bytes, sizeof bytes, at, &guest->err));
    }
    ok(guest_open(guest));
    ok(guest_restart(guest));
    ok(guest_write(guest, 0, BLOCK));
    ok(guest_flush(guest));
    ok(guest_write(guest, 128 * K, 700));
    finish_with(guest, 1);
}

static void grown_table_replaces_the_old_one_at_once(void **state)
{
    struct guest *guest = start(1 * M, false);

    (void)state;
    ok(guest_write(guest, 0, 2 * K));
    make_long(guest, TABLE - 3 * K);
    ok(guest_write(guest, 10 * K, 4 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 1 * K, 512));
    ok(guest_flush(guest));
    ok(guest_write(guest, 100 * K, 2 * K));
    finish_with(guest, 2);
}

/* The old table's cluster is used for something else as soon as that is allowed. */
static void place_of_the_old_table_is_reused_after_the_switch(void **state)
{
    struct guest *guest = start(1 * M, false);

    (void)state;
    ok(guest_write(guest, 0, 2 * K));
    make_long(guest, TABLE - 512);
    ok(guest_write(guest, 10 * K, 1 * K));
    byre_qcow2_set_append_only(guest->image, false);
    ok(guest_flush(guest));
    for (uint64_t i = 0; i < 4; i++) {
        ok(guest_write(guest, (20 + 4 * i) * K, 2 * K));
        ok(guest_flush(guest));
    }
    finish_with(guest, 2);
}

static void blocks_are_added_after_the_table_has_grown(void **state)
{
    struct guest *guest = start(1 * M, false);

    (void)state;
    ok(guest_write(guest, 0, 2 * K));
    make_long(guest, TABLE - 512);
    ok(guest_write(guest, 10 * K, 1 * K));
    ok(guest_flush(guest));
    /* The grown table counts itself in one block; these are further ones. */
    ok(guest_write(guest, 100 * K, BLOCK));
    ok(guest_flush(guest));
    ok(guest_write(guest, 200 * K, BLOCK + 700));
    ok(guest_flush(guest));
    ok(guest_write(guest, 150 * K, 512));
    finish_with(guest, 2);
}

static void table_grows_twice_in_one_commit(void **state)
{
    struct guest *guest = start(4 * M, false);

    (void)state;
    ok(guest_write(guest, 0, 2 * K));
    make_long(guest, TABLE - 512);
    ok(guest_write(guest, 10 * K, 1 * K));
    ok(guest_close(guest));
    ok(byre_store_truncate(guest->store, 2 * TABLE - 2 * K, &guest->err));
    ok(guest_open(guest));
    ok(guest_restart(guest));
    ok(guest_write(guest, 30 * K, 4 * K));
    ok(guest_close(guest));
    ok(byre_store_truncate(guest->store, 2 * TABLE - 1 * K, &guest->err));
    ok(guest_open(guest));
    ok(guest_restart(guest));
    byre_qcow2_set_append_only(guest->image, true);
    ok(guest_write(guest, 60 * K, 4 * K));
    ok(guest_write(guest, 80 * K, 4 * K));
    finish_with(guest, 3);
}

/* The new table and its blocks lie where old bytes were. */
static void table_grows_on_a_device(void **state)
{
    struct guest *guest = guest_new(&(struct guest_options){
        .size = 4 * M, .refcount_order = 6, .device_size = 5 * M / 2,
    });
    uint64_t goff = 0;

    (void)state;
    while (byre_qcow2_header(guest->image)->reftable_clusters == 1) {
        ok(guest_restart(guest));
        ok(guest_write(guest, goff, BLOCK / 2));
        goff += BLOCK / 2;
    }
    ok(guest_flush(guest));
    ok(guest_write(guest, 3 * M, 2 * K));
    finish_with(guest, 2);
}

static void table_grows_under_lazy_refcounts(void **state)
{
    struct guest *guest = start(1 * M, true);

    (void)state;
    ok(guest_write(guest, 0, 2 * K));
    make_long(guest, TABLE - 1 * K);
    ok(guest_write(guest, 10 * K, 2 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 100 * K, 2 * K));
    finish_with(guest, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refcount_blocks_are_counted_before_they_count),
        cmocka_unit_test(refcount_blocks_in_used_places_start_at_zero),
        cmocka_unit_test(grown_table_replaces_the_old_one_at_once),
        cmocka_unit_test(place_of_the_old_table_is_reused_after_the_switch),
        cmocka_unit_test(blocks_are_added_after_the_table_has_grown),
        cmocka_unit_test(table_grows_twice_in_one_commit),
        cmocka_unit_test(table_grows_on_a_device),
        cmocka_unit_test(table_grows_under_lazy_refcounts),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
