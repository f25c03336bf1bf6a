/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing in steps: what a reservation covers, in which order places are given out, what publishing and
 * abandoning do, and what the disk above is told.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "byre/disk.h"
#include "engine_image.h"

#define K 1024ULL

static void reserve(struct engine *engine, uint64_t goff, uint64_t length,
                    struct byre_qcow2_reservation *reservation)
{
    if (byre_qcow2_reserve(engine->image, goff, length, reservation, &engine->err) < 0)
        fail_msg("%s", engine->err.text);
}

static void fill(struct engine *engine, const struct byre_qcow2_reservation *reservation, int byte)
{
    uint8_t bytes[64 * 1024];
    struct iovec iov = { bytes, reservation->length };

    assert_true(reservation->length <= sizeof bytes);
    memset(bytes, byte, sizeof bytes);
    assert_int_equal(byre_qcow2_fill(engine->image, reservation, &iov, 1, &engine->err), 0);
}

static void publish(struct engine *engine, struct byre_qcow2_reservation *reservation)
{
    assert_int_equal(byre_qcow2_publish(engine->image, reservation, &engine->err), 0);
}

static void reservation_covers_whole_clusters_but_for_the_ends(void **state)
{
    struct byre_qcow2_reservation r;
    struct engine engine;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    reserve(&engine, 5000, 10000, &r);
    assert_int_equal(r.goff, 5000);
    assert_int_equal(r.length, 10000);
    assert_int_equal(r.first, 4096);
    assert_int_equal(r.end, 16384);
    assert_false(r.overwrite);
    assert_true(r.fresh);
    fill(&engine, &r, 'a');
    publish(&engine, &r);
    assert_int_equal(engine_byte(&engine, 4999), 0);
    assert_int_equal(engine_byte(&engine, 5000), 'a');
    assert_int_equal(engine_byte(&engine, 14999), 'a');
    assert_int_equal(engine_byte(&engine, 15000), 0);
    /* What is there now is overwritten, up to where it ends. */
    reserve(&engine, 6000, 30000, &r);
    assert_true(r.overwrite);
    assert_int_equal(r.length, 16384 - 6000);
    byre_qcow2_abandon(engine.image, &r);
    engine_done(&engine);
}

/* A slice has 512 entries, whatever the cluster size. */
static void reservation_ends_with_its_slice(void **state)
{
    struct byre_qcow2_reservation r;
    struct engine engine;
    uint64_t slice = 512 * 8 * K;

    (void)state;
    engine_plain(&engine, 13, 4 * slice);
    reserve(&engine, slice - 8 * K - 100, 64 * K, &r);
    assert_int_equal(r.length, 8 * K + 100);
    assert_int_equal(r.end, slice);
    byre_qcow2_abandon(engine.image, &r);
    reserve(&engine, slice, 64 * K, &r);
    assert_int_equal(r.length, 64 * K);
    byre_qcow2_abandon(engine.image, &r);
    /* A write goes on in the next. */
    assert_int_equal(engine_write(&engine, slice - 8 * K - 100, 64 * K, 'b'), 0);
    assert_int_equal(engine_byte(&engine, slice - 8 * K - 101), 0);
    assert_int_equal(engine_byte(&engine, slice - 8 * K - 100), 'b');
    assert_int_equal(engine_byte(&engine, slice + 56 * K - 101), 'b');
    assert_int_equal(engine_byte(&engine, slice + 56 * K - 100), 0);
    engine_done(&engine);
}

static void reservation_ends_with_its_host_run(void **state)
{
    struct byre_qcow2_reservation r;
    struct engine engine;
    uint64_t first;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    assert_int_equal(engine_write(&engine, 0, 32 * K, 'a'), 0);
    first = engine_extent(&engine, 8 * K).hoff;
    assert_int_equal(byre_qcow2_discard(engine.image, 8 * K, 8 * K, NULL), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    /* Two clusters are free there, and no more. */
    reserve(&engine, 100 * K, 32 * K, &r);
    assert_int_equal(r.hoff, first);
    assert_int_equal(r.length, 8 * K);
    assert_false(r.fresh);
    byre_qcow2_abandon(engine.image, &r);
    engine_done(&engine);
}

static void reserving_zeroed_clusters_keeps_their_place(void **state)
{
    struct byre_qcow2_reservation r;
    struct engine engine;
    uint64_t place;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    assert_int_equal(engine_write(&engine, 0, 16 * K, 'a'), 0);
    place = engine_extent(&engine, 4 * K).hoff;
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 4 * K, 8 * K, 0, NULL), 0);
    assert_true(engine_extent(&engine, 4 * K).allocated);
    assert_int_equal(engine_extent(&engine, 4 * K).hoff, place);
    reserve(&engine, 5 * K, 20 * K, &r);
    assert_true(r.keeps_host);
    assert_int_equal(r.hoff, place);
    assert_int_equal(r.length, 7 * K);
    fill(&engine, &r, 'n');
    /* Not visible before it is published. */
    assert_int_equal(engine_extent(&engine, 5 * K).kind, BYRE_EXTENT_ZERO);
    publish(&engine, &r);
    assert_int_equal(engine_byte(&engine, 4 * K + 1023), 0);
    assert_int_equal(engine_byte(&engine, 5 * K), 'n');
    assert_int_equal(engine_byte(&engine, 12 * K - 1), 'n');
    engine_done(&engine);
}

static void reservations_are_laid_out_in_their_order(void **state)
{
    struct byre_qcow2_reservation r[4];
    struct engine engine;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    for (unsigned i = 0; i < 4; i++)
        reserve(&engine, i * 8 * K, 8 * K, &r[i]);
    for (unsigned i = 1; i < 4; i++)
        assert_int_equal(r[i].hoff, r[i - 1].hoff + 8 * K);
    /* The order of the other steps does not matter. */
    for (unsigned i = 4; i-- > 0;)
        fill(&engine, &r[i], 'a' + (int)i);
    for (unsigned i = 0; i < 4; i++) {
        publish(&engine, &r[i ^ 1]);
        assert_int_equal(engine_byte(&engine, (i ^ 1) * 8 * K), 'a' + (int)(i ^ 1));
    }
    assert_int_equal(engine_extent(&engine, 0).length, 32 * K);
    engine_done(&engine);
}

static void abandoned_clusters_are_free_again(void **state)
{
    struct byre_qcow2_reservation r;
    struct engine engine;
    uint64_t place;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    reserve(&engine, 0, 16 * K, &r);
    place = r.hoff;
    fill(&engine, &r, 'x');
    byre_qcow2_abandon(engine.image, &r);
    assert_int_equal(engine_extent(&engine, 0).kind, BYRE_EXTENT_HOLE);
    reserve(&engine, 64 * K, 16 * K, &r);
    assert_int_equal(r.hoff, place);
    /* Somebody else's bytes may be there now. */
    assert_false(r.fresh);
    byre_qcow2_abandon(engine.image, &r);
    assert_int_equal(engine_write(&engine, 100 * K, 512, 'y'), 0);
    assert_int_equal(engine_extent(&engine, 100 * K).hoff, place);
    assert_int_equal(engine_byte(&engine, 100 * K + 512), 0);
    assert_int_equal(engine_byte(&engine, 104 * K - 1), 0);
    engine_done(&engine);
}

static void append_only_never_uses_a_place_twice(void **state)
{
    struct engine engine;
    uint64_t last = 0;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    byre_qcow2_set_append_only(engine.image, true);
    for (unsigned i = 0; i < 20; i++) {
        uint64_t goff = i % 3 * 64 * K;

        assert_int_equal(engine_write(&engine, goff, 8 * K, 'a' + (int)i), 0);
        assert_true(engine_extent(&engine, goff).hoff > last);
        last = engine_extent(&engine, goff).hoff + 4 * K;
        assert_int_equal(byre_qcow2_discard(engine.image, goff, 8 * K, NULL), 0);
        assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    }
    byre_qcow2_set_append_only(engine.image, false);
    assert_int_equal(engine_write(&engine, 0, 8 * K, 'z'), 0);
    assert_true(engine_extent(&engine, 0).hoff < last);
    engine_done(&engine);
}

static void layout_depends_on_reservations_alone(void **state)
{
    uint8_t *first = NULL;
    uint64_t first_size = 0, size;

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        struct byre_qcow2_reservation r[16];
        struct engine engine;
        uint8_t *bytes;

        engine_plain(&engine, 9, 256 * K);
        byre_qcow2_set_append_only(engine.image, true);
        for (unsigned i = 0; i < 16; i++)
            reserve(&engine, i * 16 * K + i * 512, 3 * 512, &r[i]);
        for (unsigned i = 0; i < 16; i++) {
            unsigned n = (i * (2 * round + 1) + round) % 16;

            fill(&engine, &r[n], 'a' + (int)n);
            publish(&engine, &r[n]);
            if (round == 2 && i == 7)
                assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
        }
        assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
        engine_check(&engine);
        assert_int_equal(byre_store_size(engine.store, &size, NULL), 0);
        bytes = malloc(size);
        assert_non_null(bytes);
        assert_int_equal(byre_store_pread(engine.store, bytes, size, 0, NULL), 0);
        byre_store_close(engine.store);
        if (round == 0) {
            first = bytes;
            first_size = size;
            continue;
        }
        assert_int_equal(size, first_size);
        assert_memory_equal(bytes, first, size);
        free(bytes);
    }
    free(first);
}

/* --- what the disk above is told --- */

static struct byre_extent told[32];
static size_t told_count;

static void remapped(void *opaque, const struct byre_extent *now)
{
    (void)opaque;
    assert_true(told_count < 32);
    told[told_count++] = *now;
}

static void assert_told(uint64_t goff, uint64_t length, enum byre_extent_kind kind)
{
    uint64_t at = goff;

    for (size_t i = 0; i < told_count; i++) {
        assert_int_equal(told[i].goff, at);
        assert_int_equal(told[i].kind, kind);
        at += told[i].length;
    }
    assert_int_equal(at, goff + length);
    told_count = 0;
}

static void every_change_of_the_map_is_told(void **state)
{
    struct byre_qcow2_below below = { .remapped = remapped };
    struct engine engine;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    byre_qcow2_set_below(engine.image, &below);
    assert_int_equal(engine_write(&engine, 5 * K, 10 * K, 'a'), 0);
    assert_int_equal(told[0].hoff, engine_extent(&engine, 4 * K).hoff);
    assert_true(told[0].exclusive);
    assert_told(4 * K, 12 * K, BYRE_EXTENT_DATA);
    assert_int_equal(engine_write(&engine, 5 * K, 10 * K, 'b'), 0);
    assert_int_equal(told_count, 0);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 8 * K, 4 * K, 0, NULL), 0);
    assert_true(told[0].allocated);
    assert_told(8 * K, 4 * K, BYRE_EXTENT_ZERO);
    assert_int_equal(byre_qcow2_discard(engine.image, 4 * K, 12 * K, NULL), 0);
    assert_false(told[0].allocated);
    assert_told(4 * K, 12 * K, BYRE_EXTENT_ZERO);
    engine_done(&engine);
}

static void nonsense_is_refused_and_changes_nothing(void **state)
{
    struct byre_qcow2_reservation r;
    struct byre_qcow2_compressed item = { .goff = 512, .data = "x", .length = 1 };
    struct engine engine;
    byre_extent_vec extents = VEC_INIT;
    struct iovec iov = { &item, 1 };

    (void)state;
    engine_plain(&engine, 12, 10 * K);
    assert_int_equal(byre_qcow2_reserve(engine.image, 0, 0, &r, NULL), -EINVAL);
    assert_int_equal(byre_qcow2_reserve(engine.image, 10 * K, 1, &r, NULL), -EINVAL);
    assert_int_equal(byre_qcow2_reserve(engine.image, UINT64_MAX, 2, &r, NULL), -EINVAL);
    assert_int_equal(byre_qcow2_writev(engine.image, 10 * K - 1, &iov, 1, 2, NULL), -EINVAL);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 1, 10 * K, 0, NULL), -EINVAL);
    assert_int_equal(byre_qcow2_discard(engine.image, 1, 10 * K, NULL), -EINVAL);
    assert_int_equal(byre_qcow2_map(engine.image, 0, 13 * K, &extents, NULL), -EINVAL);
    assert_int_equal(byre_qcow2_map(engine.image, UINT64_MAX - 1, 4, &extents, NULL), -EINVAL);
    assert_int_equal(byre_qcow2_reserve_compressed(engine.image, &item, 1, NULL), -EINVAL);
    assert_int_equal(byre_qcow2_reserve_compressed(engine.image, &item, 0, NULL), -EINVAL);
    item = (struct byre_qcow2_compressed){ .goff = 0, .data = "x", .length = 4097 };
    assert_int_equal(byre_qcow2_reserve_compressed(engine.image, &item, 1, NULL), -EINVAL);
    assert_int_equal(record_store_count(engine.store), 0);
    vec_done(&extents);
    engine_done(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reservation_covers_whole_clusters_but_for_the_ends),
        cmocka_unit_test(reservation_ends_with_its_slice),
        cmocka_unit_test(reservation_ends_with_its_host_run),
        cmocka_unit_test(reserving_zeroed_clusters_keeps_their_place),
        cmocka_unit_test(reservations_are_laid_out_in_their_order),
        cmocka_unit_test(abandoned_clusters_are_free_again),
        cmocka_unit_test(append_only_never_uses_a_place_twice),
        cmocka_unit_test(layout_depends_on_reservations_alone),
        cmocka_unit_test(every_change_of_the_map_is_told),
        cmocka_unit_test(nonsense_is_refused_and_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
