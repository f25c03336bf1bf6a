/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Growing images in the engine: what is refused, and what the grown image looks like.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_image.h"

#define K 1024ULL
#define M (1024 * K)
#define T (1024 * 1024 * M)

static int grow(struct engine *engine, uint64_t size, enum byre_preallocation mode)
{
    return byre_qcow2_grow(engine->image, size, 0, mode, &engine->err);
}

static void refused(struct engine *engine, uint64_t size, int code, const char *text)
{
    uint64_t before = byre_qcow2_header(engine->image)->size;

    assert_int_equal(grow(engine, size, BYRE_PREALLOC_OFF), code);
    assert_non_null(strstr(engine->err.text, text));
    assert_int_equal(byre_qcow2_header(engine->image)->size, before);
    assert_int_equal(record_store_count(engine->store), 0);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
    struct engine engine;

    (void)state;
    engine_plain(&engine, 9, 1 * M);
    refused(&engine, 1 * M - 512, -EINVAL, "a disk of 1048576 bytes does not grow to 1048064");
    refused(&engine, 1 * M + 1, -EINVAL, "The new size must be a multiple of 512");
    /* An L1 table of 32 MiB maps 128 GiB in clusters of 512 bytes. */
    refused(&engine, 128 * 1024 * M + 512, -EFBIG, "Failed to grow the L1 table");
    refused(&engine, UINT64_MAX - 511, -EFBIG, "L1 table");
    assert_int_equal(grow(&engine, 1 * M, BYRE_PREALLOC_OFF), 0);
    assert_int_equal(record_store_count(engine.store), 0);
    engine_done(&engine);
}

static void readers_cannot_grow(void **state)
{
    struct byre_qcow2_open_options options = { .writable = false };
    struct engine engine;

    (void)state;
    engine_plain(&engine, 9, 1 * M);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(byre_qcow2_open(engine.store, &options, &engine.image, NULL), 0);
    assert_int_equal(record_store_restart(engine.store), 0);
    refused(&engine, 2 * M, -EROFS, "read-only");
    engine_done(&engine);
}

static void l1_table_that_is_long_enough_stays(void **state)
{
    struct engine engine;
    uint64_t l1;

    (void)state;
    engine_plain(&engine, 16, 1 * M); /* one entry maps 512 MiB */
    l1 = byre_qcow2_header(engine.image)->l1_hoff;
    assert_int_equal(grow(&engine, 512 * M, BYRE_PREALLOC_OFF), 0);
    assert_int_equal(byre_qcow2_header(engine.image)->l1_hoff, l1);
    assert_int_equal(byre_qcow2_header(engine.image)->l1_size, 1);
    assert_int_equal(grow(&engine, 512 * M + 512, BYRE_PREALLOC_OFF), 0);
    assert_int_not_equal(byre_qcow2_header(engine.image)->l1_hoff, l1);
    assert_int_equal(byre_qcow2_header(engine.image)->l1_size, 2);
    engine_done(&engine);
}

static void contents_stay_and_new_ones_go_to_the_end(void **state)
{
    struct byre_qcow2_open_options options = { .writable = true };
    struct engine engine;

    (void)state;
    engine_plain(&engine, 9, 100 * K);
    assert_int_equal(engine_write(&engine, 99 * K, 1 * K, 'a'), 0);
    for (uint64_t size = 100 * K; size < 64 * M; size *= 5)
        assert_int_equal(grow(&engine, size, BYRE_PREALLOC_OFF), 0);
    assert_int_equal(grow(&engine, 64 * M, BYRE_PREALLOC_OFF), 0);
    assert_int_equal(engine_write(&engine, 64 * M - 512, 512, 'z'), 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(byre_qcow2_open(engine.store, &options, &engine.image, NULL), 0);
    assert_int_equal(byre_qcow2_header(engine.image)->size, 64 * M);
    assert_int_equal(engine_byte(&engine, 99 * K), 'a');
    assert_int_equal(engine_byte(&engine, 64 * M - 1), 'z');
    assert_int_equal(engine_extent(&engine, 100 * K).kind, BYRE_EXTENT_HOLE);
    engine_done(&engine);
}

static void growth_to_the_largest_disk_is_quick(void **state)
{
    struct engine engine;

    (void)state;
    engine_plain(&engine, 16, 1 * M);
    assert_int_equal(grow(&engine, 64 * T, BYRE_PREALLOC_OFF), 0);
    assert_true(record_store_calls(engine.store, RECORD_ANY) < 500);
    assert_int_equal(engine_write(&engine, 64 * T - 1, 1, 'z'), 0);
    engine_done(&engine);
}

static void disk_without_an_l1_table_grows(void **state)
{
    struct engine engine;

    (void)state;
    engine_plain(&engine, 12, 0);
    assert_int_equal(grow(&engine, 1 * M, BYRE_PREALLOC_OFF), 0);
    assert_int_equal(engine_write(&engine, 1 * M - 1, 1, 'z'), 0);
    engine_done(&engine);
}

static void new_clusters_are_preallocated(void **state)
{
    static const enum byre_preallocation modes[] = {
        BYRE_PREALLOC_METADATA, BYRE_PREALLOC_FALLOC, BYRE_PREALLOC_FULL,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct engine engine;

        engine_plain(&engine, 12, 5 * K);
        assert_int_equal(grow(&engine, 100 * K, modes[i]), 0);
        assert_int_equal(engine_extent(&engine, 0).kind, BYRE_EXTENT_HOLE);
        assert_int_equal(engine_extent(&engine, 8 * K).kind, BYRE_EXTENT_DATA);
        assert_int_equal(engine_extent(&engine, 8 * K).length, 92 * K);
        assert_int_equal(engine_byte(&engine, 100 * K - 1), 0);
        engine_done(&engine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_that_cannot_be_are_refused),
        cmocka_unit_test(readers_cannot_grow),
        cmocka_unit_test(l1_table_that_is_long_enough_stays),
        cmocka_unit_test(contents_stay_and_new_ones_go_to_the_end),
        cmocka_unit_test(growth_to_the_largest_disk_is_quick),
        cmocka_unit_test(disk_without_an_l1_table_grows),
        cmocka_unit_test(new_clusters_are_preallocated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
