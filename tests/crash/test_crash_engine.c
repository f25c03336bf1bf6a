/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment of plain operations: writing, copy-on-write, zeroing, discarding, closing, creating.
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

static struct guest *start(const struct guest_options *options)
{
    return guest_new(options);
}

/* Walks through the crashes, closes, walks again, and looks at what is left. */
static void write_allocates_loses_nothing(void **state)
{
    struct guest *guest = start(&(struct guest_options){ .size = 16 * K });

    (void)state;
    ok(guest_write(guest, 0, 512));
    ok(guest_flush(guest));
    /* The L2 table is there: data, refcount, entry. */
    ok(guest_write(guest, 1024, 1536));
    ok(guest_flush(guest));
    ok(guest_write(guest, 5000, 100));
    ok(guest_write(guest, 512, 512));
    ok(guest_flush(guest));
    ok(guest_write(guest, 1300, 700));
    finish(guest, 0);
}

static void write_to_new_l2_tables_loses_nothing(void **state)
{
    struct guest *guest = start(&(struct guest_options){ .size = 256 * K });

    (void)state;
    /* A table maps 32 KiB. */
    ok(guest_write(guest, 40 * K, 2048));
    ok(guest_flush(guest));
    ok(guest_write(guest, 63 * K, 3 * K));
    ok(guest_write(guest, 200 * K, 1 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 42 * K, 512));
    ok(guest_write(guest, 130 * K, 512));
    finish(guest, 0);
}

static void write_over_backing_keeps_what_is_around(void **state)
{
    struct guest *guest = start(&(struct guest_options){
        .size = 20 * K, .cluster_bits = 12, .backing_size = 14 * K + 300,
    });

    (void)state;
    ok(guest_write(guest, 5000, 700));
    ok(guest_flush(guest));
    ok(guest_write(guest, 13 * K, 100));
    ok(guest_write(guest, 700, 12 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 19 * K, 512));
    ok(guest_write(guest, 2 * K, 3 * K));
    finish(guest, 0);
}

static void write_over_used_places_shows_no_old_bytes(void **state)
{
    struct guest *guest = start(&(struct guest_options){ .size = 64 * K, .cluster_bits = 11 });

    (void)state;
    ok(guest_write(guest, 0, 24 * K));
    ok(guest_flush(guest));
    ok(guest_discard(guest, 0, 16 * K));
    ok(guest_restart(guest));
    /* Less than clusters, in clusters that were something else's. */
    ok(guest_write(guest, 33 * K, 512));
    ok(guest_write(guest, 40 * K + 100, 700));
    ok(guest_flush(guest));
    ok(guest_write(guest, 50 * K, 3 * K));
    finish(guest, 0);
}

/* The growth of the file may be lost, and must not take half a sector with it. */
static void overwriting_at_the_end_of_the_file_tears_no_sector(void **state)
{
    struct guest *guest = start(&(struct guest_options){ .size = 16 * K, .cluster_bits = 11 });

    (void)state;
    ok(guest_write(guest, 100, 1000));
    ok(guest_flush(guest));
    ok(guest_write(guest, 0, 2 * K));
    finish(guest, 0);
}

static void zeroing_is_old_or_zero(unsigned flags, unsigned version)
{
    struct guest *guest = start(&(struct guest_options){
        .size = 32 * K, .cluster_bits = 10, .version = version,
    });

    ok(guest_write(guest, 0, 12 * K));
    ok(guest_restart(guest));
    ok(guest_zero(guest, 1 * K, 3 * K, flags));
    ok(guest_flush(guest));
    ok(guest_zero(guest, 5 * K + 512, 4 * K, flags));
    ok(guest_write(guest, 2 * K, 512));
    ok(guest_write(guest, 20 * K, 4 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 6 * K + 300, 900));
    ok(guest_write(guest, 25 * K, 4 * K));
    finish(guest, 0);
}

static void zeroing_that_keeps_places_is_old_or_zero(void **state)
{
    (void)state;
    zeroing_is_old_or_zero(0, 3);
}

static void zeroing_that_unmaps_is_old_or_zero(void **state)
{
    (void)state;
    zeroing_is_old_or_zero(BYRE_WRITE_ZEROES_UNMAP, 3);
}

static void zeroing_in_version_2_is_old_or_zero(void **state)
{
    (void)state;
    zeroing_is_old_or_zero(BYRE_WRITE_ZEROES_UNMAP, 2);
}

/* D2: what discard has freed is used for something else only when it can no longer come back. */
static void discard_and_reuse_bring_nothing_foreign(unsigned version, uint64_t backing)
{
    struct guest *guest = start(&(struct guest_options){
        .size = 64 * K, .cluster_bits = 10, .version = version, .backing_size = backing,
    });

    ok(guest_write(guest, 0, 16 * K));
    ok(guest_restart(guest));
    ok(guest_discard(guest, 2 * K, 6 * K));
    ok(guest_write(guest, 20 * K, 4 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 40 * K, 5 * K));
    ok(guest_discard(guest, 20 * K, 2 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 3 * K, 2 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 30 * K, 1 * K));
    finish(guest, 0);
}

static void discard_and_reuse_show_nothing_foreign(void **state)
{
    (void)state;
    discard_and_reuse_bring_nothing_foreign(3, 0);
}

static void discard_in_version_2_shows_nothing_foreign(void **state)
{
    (void)state;
    discard_and_reuse_bring_nothing_foreign(2, 0);
}

static void discard_over_backing_shows_nothing_foreign(void **state)
{
    (void)state;
    discard_and_reuse_bring_nothing_foreign(3, 48 * K);
}

static void lazy_refcounts_are_mended_after_any_crash(void **state)
{
    struct guest *guest = start(&(struct guest_options){ .size = 64 * K, .lazy = true });

    (void)state;
    ok(guest_write(guest, 0, 2 * K));
    ok(guest_flush(guest));
    ok(guest_discard(guest, 512, 1024));
    ok(guest_write(guest, 40 * K, 1 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 50 * K, 1 * K));
    finish(guest, 0);
}

static void device_shows_nothing_of_its_past(void **state)
{
    struct guest *guest = start(&(struct guest_options){
        .size = 32 * K, .cluster_bits = 10, .device_size = 128 * K,
    });

    (void)state;
    ok(guest_write(guest, 100, 50));
    ok(guest_flush(guest));
    ok(guest_write(guest, 6 * K - 10, 30));
    ok(guest_zero(guest, 0, 2 * K, 0));
    ok(guest_flush(guest));
    ok(guest_write(guest, 1500, 10));
    finish(guest, 0);
}

static void new_image_appears_whole_or_not_at_all(uint64_t device)
{
    struct guest *guest = start(&(struct guest_options){
        .size = 64 * K, .cluster_bits = 10, .device_size = device, .unsealed = true,
    });

    ok(guest_write(guest, 3 * K, 5 * K));
    ok(guest_zero(guest, 4 * K, 2 * K, 0));
    ok(guest_write(guest, 60 * K, 100));
    ok(guest_seal(guest));
    ok(guest_write(guest, 30 * K, 2 * K));
    finish(guest, 0);
}

static void new_file_is_an_image_at_once_or_not_at_all(void **state)
{
    (void)state;
    new_image_appears_whole_or_not_at_all(0);
}

static void new_device_is_an_image_at_once_or_not_at_all(void **state)
{
    (void)state;
    new_image_appears_whole_or_not_at_all(256 * K);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_allocates_loses_nothing),
        cmocka_unit_test(write_to_new_l2_tables_loses_nothing),
        cmocka_unit_test(write_over_backing_keeps_what_is_around),
        cmocka_unit_test(write_over_used_places_shows_no_old_bytes),
        cmocka_unit_test(overwriting_at_the_end_of_the_file_tears_no_sector),
        cmocka_unit_test(zeroing_that_keeps_places_is_old_or_zero),
        cmocka_unit_test(zeroing_that_unmaps_is_old_or_zero),
        cmocka_unit_test(zeroing_in_version_2_is_old_or_zero),
        cmocka_unit_test(discard_and_reuse_show_nothing_foreign),
        cmocka_unit_test(discard_in_version_2_shows_nothing_foreign),
        cmocka_unit_test(discard_over_backing_shows_nothing_foreign),
        cmocka_unit_test(lazy_refcounts_are_mended_after_any_crash),
        cmocka_unit_test(device_shows_nothing_of_its_past),
        cmocka_unit_test(new_file_is_an_image_at_once_or_not_at_all),
        cmocka_unit_test(new_device_is_an_image_at_once_or_not_at_all),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
