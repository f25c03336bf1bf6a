/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copy-on-read in the engine: what is copied, and that nothing newer is overwritten, also while others write.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "engine_image.h"

#define K 1024ULL

static struct below {
    int byte;
    struct engine *engine;
    void (*during)(struct engine *engine); /* called once, by the next read */
    int fail;
} below;

static int read_below(void *opaque, uint64_t goff, void *buf, size_t length, struct byre_error *err)
{
    void (*during)(struct engine *engine) = below.during;

    (void)opaque;
    (void)goff;
    below.during = NULL;
    if (during)
        during(below.engine);
    memset(buf, below.byte, length);
    return below.fail ? byre_error_set(err, below.fail, "below") : 0;
}

static void engine_over(struct engine *engine, unsigned version, int byte)
{
    const struct byre_qcow2_below ops = { .read = read_below };

    engine_new(engine,
               &(struct byre_qcow2_create_options){
                   .size = 250 * K, .version = version, .cluster_bits = 12, .refcount_order = 4,
                   .backing_name = "below", .backing_format = "raw",
               },
               0, 0);
    byre_qcow2_set_below(engine->image, &ops);
    below = (struct below){ .byte = byte, .engine = engine };
}

static int copy(struct engine *engine, uint64_t goff, uint64_t length)
{
    return byre_qcow2_copy_on_read(engine->image, goff, length, &engine->err);
}

static void copy_fills_whole_clusters_that_are_empty(void **state)
{
    struct engine engine;

    (void)state;
    engine_over(&engine, 3, 'b');
    assert_int_equal(engine_write(&engine, 8 * K, 4 * K, 'w'), 0);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 12 * K, 4 * K, 0, &engine.err), 0);
    assert_int_equal(copy(&engine, 5 * K, 14 * K), 0);
    assert_int_equal(engine_extent(&engine, 0).kind, BYRE_EXTENT_HOLE);
    assert_int_equal(engine_extent(&engine, 0).length, 4 * K);
    assert_int_equal(engine_byte(&engine, 4 * K), 'b');
    assert_int_equal(engine_byte(&engine, 8 * K), 'w');
    assert_int_equal(engine_extent(&engine, 12 * K).kind, BYRE_EXTENT_ZERO);
    assert_int_equal(engine_byte(&engine, 16 * K), 'b');
    assert_int_equal(engine_extent(&engine, 20 * K).kind, BYRE_EXTENT_HOLE);
    engine_done(&engine);
}

static void copy_of_zeros_is_an_entry(void **state)
{
    struct engine engine;

    (void)state;
    engine_over(&engine, 3, 0);
    assert_int_equal(copy(&engine, 0, 250 * K), 0);
    assert_int_equal(engine_extent(&engine, 0).kind, BYRE_EXTENT_ZERO);
    assert_false(engine_extent(&engine, 0).allocated);
    assert_int_equal(engine_extent(&engine, 0).length, 250 * K);
    engine_done(&engine);
    engine_over(&engine, 2, 0); /* which has no such entry */
    assert_int_equal(copy(&engine, 0, 4 * K), 0);
    assert_int_equal(engine_extent(&engine, 0).kind, BYRE_EXTENT_DATA);
    engine_done(&engine);
}

static void copy_reaches_the_end_of_the_disk(void **state)
{
    struct engine engine;

    (void)state;
    engine_over(&engine, 3, 'b');
    assert_int_equal(copy(&engine, 249 * K, K), 0);
    assert_int_equal(engine_byte(&engine, 250 * K - 1), 'b');
    assert_int_equal(engine_extent(&engine, 0).length, 248 * K);
    assert_int_equal(copy(&engine, 249 * K, 2 * K), -EINVAL);
    engine_done(&engine);
}

static void *write_thread(void *opaque)
{
    assert_int_equal(engine_write(opaque, 0, 4 * K, 'w'), 0);
    return NULL;
}

static pthread_t writer;

static void start_writer(struct engine *engine)
{
    assert_int_equal(pthread_create(&writer, NULL, write_thread, engine), 0);
}

/* The write that comes while the copy is being made waits, and is what is there in the end. */
static void copy_and_a_write_take_turns(void **state)
{
    struct engine engine;

    (void)state;
    for (int i = 0; i < 50; i++) {
        engine_over(&engine, 3, i % 2 ? 'b' : 0);
        below.during = start_writer;
        assert_int_equal(copy(&engine, 0, 8 * K), 0);
        pthread_join(writer, NULL);
        assert_int_equal(engine_byte(&engine, 0), 'w');
        assert_int_equal(engine_byte(&engine, 4 * K), i % 2 ? 'b' : 0);
        engine_done(&engine);
    }
}

static void copy_that_fails_leaves_nothing(void **state)
{
    struct engine engine;

    (void)state;
    engine_over(&engine, 3, 'b');
    below.fail = -EIO;
    assert_int_equal(copy(&engine, 0, 4 * K), -EIO);
    below.fail = 0;
    assert_int_equal(engine_extent(&engine, 0).kind, BYRE_EXTENT_HOLE);
    assert_int_equal(copy(&engine, 0, 4 * K), 0); /* the lock is free */
    assert_int_equal(engine_byte(&engine, 0), 'b');
    engine_done(&engine);
}

static void copy_without_anything_below_does_nothing(void **state)
{
    struct engine engine;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    assert_int_equal(copy(&engine, 0, 256 * K), 0);
    assert_int_equal(engine_extent(&engine, 0).kind, BYRE_EXTENT_HOLE);
    engine_done(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_fills_whole_clusters_that_are_empty),
        cmocka_unit_test(copy_of_zeros_is_an_entry),
        cmocka_unit_test(copy_reaches_the_end_of_the_disk),
        cmocka_unit_test(copy_and_a_write_take_turns),
        cmocka_unit_test(copy_that_fails_leaves_nothing),
        cmocka_unit_test(copy_without_anything_below_does_nothing),
    };

    return cmocka_run_group_tests_name("copy_on_read", tests, NULL, NULL);
}
