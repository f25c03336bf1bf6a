/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Break points in the engine: while one thread waits there, what the others may still do.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "qcow2/check.h"
#include "qcow2/header_read.h"
#include "qcow2/qcow2.h"
#include "store/blkdebug.h"
#include "store/memory.h"

enum { CLUSTER = 4096, SIZE = 64 * CLUSTER };

static struct byre_store *store;
static struct byre_qcow2 *image;

static int set_up(void **state)
{
    struct byre_qcow2_create_options options = { .size = SIZE, .version = 3, .cluster_bits = 12, .refcount_order = 4 };
    struct byre_blkdebug_options rules = { .align = 0 };
    struct byre_store *memory;

    (void)state;
    alarm(120); /* who waits for ever has failed */
    if (byre_memory_new(NULL, 0, &memory, NULL) < 0 || byre_blkdebug_new(memory, &rules, &store, NULL) < 0 ||
        byre_qcow2_create(store, &options, &image, NULL) < 0)
        return -1;
    return byre_qcow2_seal(image, NULL);
}

static int tear_down(void **state)
{
    struct byre_check_result result;
    struct byre_qcow2_header header;

    (void)state;
    assert_int_equal(byre_qcow2_close(image, NULL), 0);
    assert_int_equal(byre_qcow2_header_read(store, &header, NULL), 0);
    assert_int_equal(byre_qcow2_check(store, &header, 0, NULL, &result, NULL), 0);
    byre_qcow2_header_done(&header);
    assert_int_equal(result.corruptions + result.leaks + result.check_errors, 0);
    byre_store_close(store);
    alarm(0);
    return 0;
}

static int write_at(uint64_t goff, size_t length)
{
    static const uint8_t bytes[CLUSTER] = { 1 };
    struct iovec iov = { (void *)bytes, length };

    return byre_qcow2_writev(image, goff, &iov, 1, length, NULL);
}

static void *write_in_first_cluster(void *opaque)
{
    (void)opaque;
    return (void *)(uintptr_t)(write_at(100, 10) != 0);
}

static void *flush_image(void *opaque)
{
    (void)opaque;
    return (void *)(uintptr_t)(byre_qcow2_flush(image, NULL) != 0);
}

/* Starts a thread that stops at the event. */
static pthread_t stop_at(const char *event, void *(*what)(void *))
{
    pthread_t thread;

    assert_int_equal(byre_blkdebug_break(store, event, "A"), 0);
    assert_int_equal(pthread_create(&thread, NULL, what, NULL), 0);
    assert_int_equal(byre_blkdebug_wait_break(store, "A"), 0);
    return thread;
}

static void go_on(pthread_t thread)
{
    void *failed;

    assert_int_equal(byre_blkdebug_resume(store, "A"), 0);
    pthread_join(thread, &failed);
    assert_null(failed);
}

static enum byre_extent_kind kind_at(uint64_t goff)
{
    byre_extent_vec extents = VEC_INIT;
    enum byre_extent_kind kind;

    assert_int_equal(byre_qcow2_map(image, goff, 1, &extents, NULL), 0);
    kind = extents.ptr[0].kind;
    vec_done(&extents);
    return kind;
}

static void break_in_a_write_lets_others_write_and_flush(void **state)
{
    static const char *const events[] = { "cow_read", "cow_write", "write_aio", "pwritev_done" };

    (void)state;
    assert_int_equal(write_at(5 * CLUSTER, 10), 0); /* so that tables are there, and no metadata is written first */
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        pthread_t thread = stop_at(events[i], write_in_first_cluster);

        assert_int_not_equal(kind_at(0), BYRE_EXTENT_DATA);
        assert_int_equal(write_at((6 + i) * CLUSTER, CLUSTER), 0);
        assert_int_equal(byre_qcow2_discard(image, 5 * CLUSTER, CLUSTER, NULL), 0);
        assert_int_equal(byre_qcow2_flush(image, NULL), 0);
        go_on(thread);
        assert_int_equal(kind_at(0), BYRE_EXTENT_DATA);
        assert_int_equal(byre_qcow2_discard(image, 0, CLUSTER, NULL), 0);
        assert_int_equal(write_at(5 * CLUSTER, 10), 0);
    }
}

static void break_in_a_commit_lets_others_read_and_write(void **state)
{
    static const char *const events[] = { "flush_to_os", "refblock_update", "flush_to_disk", "l2_update" };

    (void)state;
    assert_int_equal(write_at(0, CLUSTER), 0);
    assert_int_equal(byre_qcow2_flush(image, NULL), 0);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        pthread_t thread;

        assert_int_equal(write_at((10 + 2 * i) * CLUSTER, CLUSTER), 0);
        thread = stop_at(events[i], flush_image);
        assert_int_equal(write_at((11 + 2 * i) * CLUSTER, CLUSTER), 0);
        assert_int_equal(kind_at((11 + 2 * i) * CLUSTER), BYRE_EXTENT_DATA);
        go_on(thread);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(break_in_a_write_lets_others_write_and_flush),
        TEST(break_in_a_commit_lets_others_read_and_write),
    };

    return cmocka_run_group_tests_name("engine_break", tests, NULL, NULL);
}
