/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory store: contents, growing and shrinking, and use by several threads.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/zero.h"
#include "store/memory.h"

static struct byre_store *new_memory(const void *bytes, uint64_t length)
{
    struct byre_store *store = NULL;

    assert_int_equal(byre_memory_new(bytes, length, &store, NULL), 0);
    return store;
}

static void memory_new_holds_a_copy(void **state)
{
    char original[] = "some bytes";
    struct byre_store *store = new_memory(original, sizeof original);
    char buf[32];
    uint64_t size;

    (void)state;
    original[0] = 'X';
    memset(buf, 'z', sizeof buf);
    assert_int_equal(byre_store_pread(store, buf, sizeof buf, 0, NULL), 0);
    assert_string_equal(buf, "some bytes");
    assert_true(byre_is_zero(buf + sizeof original, sizeof buf - sizeof original)); /* past the end */
    assert_int_equal(byre_store_size(store, &size, NULL), 0);
    assert_int_equal(size, sizeof original);
    assert_string_equal(store->ops->kind, "memory");
    byre_store_close(store);
}

static void memory_write_past_the_end_grows_with_zeros(void **state)
{
    struct byre_store *store = new_memory("ab", 2);
    const uint8_t *bytes;
    uint64_t length;

    (void)state;
    assert_int_equal(byre_store_pwrite(store, "cd", 2, 100000, NULL), 0);
    bytes = byre_memory_bytes(store, &length);
    assert_int_equal(length, 100002);
    assert_memory_equal(bytes, "ab", 2);
    assert_true(byre_is_zero(bytes + 2, 99998));
    assert_memory_equal(bytes + 100000, "cd", 2);
    byre_store_close(store);
}

static void memory_shrunk_bytes_are_zero_when_it_grows_again(void **state)
{
    struct byre_store *store = new_memory("abcdefgh", 8);
    uint64_t length;

    (void)state;
    assert_int_equal(byre_store_truncate(store, 3, NULL), 0);
    byre_memory_bytes(store, &length);
    assert_int_equal(length, 3);
    assert_int_equal(byre_store_truncate(store, 8, NULL), 0);
    assert_memory_equal(byre_memory_bytes(store, &length), "abc\0\0\0\0\0", 8);
    assert_int_equal(length, 8);
    byre_store_close(store);
}

static void memory_write_zeroes_clears_and_grows(void **state)
{
    struct byre_store *store = new_memory("abcdefgh", 8);
    uint64_t length;

    (void)state;
    assert_int_equal(byre_store_write_zeroes(store, 2, 3, 0, NULL), 0);
    assert_int_equal(byre_store_write_zeroes(store, 7, 3, BYRE_ZERO_UNMAP | BYRE_ZERO_NO_FALLBACK, NULL), 0);
    assert_memory_equal(byre_memory_bytes(store, &length), "ab\0\0\0fg\0\0\0", 10);
    assert_int_equal(length, 10);
    byre_store_close(store);
}

static void memory_allocate_grows_and_keeps_contents(void **state)
{
    struct byre_store *store = new_memory("abc", 3);
    uint64_t length;

    (void)state;
    assert_int_equal(byre_store_allocate(store, 1, 5, NULL), 0);
    assert_memory_equal(byre_memory_bytes(store, &length), "abc\0\0\0", 6);
    assert_int_equal(length, 6);
    byre_store_close(store);
}

static void memory_absurd_sizes_are_refused(void **state)
{
    struct byre_store *store = new_memory("abc", 3), *none = NULL;
    struct byre_error err = BYRE_ERROR_INIT;
    uint64_t size;

    (void)state;
    assert_int_equal(byre_store_truncate(store, (uint64_t)1 << 60, &err), -ENOSPC);
    assert_string_equal(err.text, "could not resize 'memory' to 1152921504606846976 bytes: "
                        "No space left on device");
    assert_int_equal(byre_store_pwrite(store, "x", 1, (uint64_t)1 << 60, NULL), -ENOSPC);
    assert_int_equal(byre_store_size(store, &size, NULL), 0);
    assert_int_equal(size, 3);
    assert_int_equal(byre_memory_new(NULL, UINT64_MAX, &none, &err), -ENOMEM);
    assert_null(none);
    byre_store_close(store);
}

enum { SLICE = 1000, ROUNDS = 200, THREADS = 3 };

struct worker {
    struct byre_store *store;
    unsigned number;
    pthread_t thread;
};

/* Writes its own slices, which makes the store grow all the time, and reads them back. */
static void *work(void *arg)
{
    struct worker *worker = arg;
    uint8_t buf[SLICE], back[SLICE];

    memset(buf, (int)worker->number + 1, SLICE);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t hoff = (round * THREADS + worker->number) * SLICE;

        if (byre_store_pwrite(worker->store, buf, SLICE, hoff, NULL) < 0 ||
            byre_store_pread(worker->store, back, SLICE, hoff, NULL) < 0 || memcmp(buf, back, SLICE) != 0)
            return worker;
    }
    return NULL;
}

static void memory_threads_see_what_they_wrote(void **state)
{
    struct byre_store *store = new_memory(NULL, 0);
    struct worker workers[THREADS];
    uint64_t length;

    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .store = store, .number = i };
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        void *failed;

        pthread_join(workers[i].thread, &failed);
        assert_null(failed);
    }
    byre_memory_bytes(store, &length);
    assert_int_equal(length, SLICE * ROUNDS * THREADS);
    byre_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_new_holds_a_copy),
        cmocka_unit_test(memory_write_past_the_end_grows_with_zeros),
        cmocka_unit_test(memory_shrunk_bytes_are_zero_when_it_grows_again),
        cmocka_unit_test(memory_write_zeroes_clears_and_grows),
        cmocka_unit_test(memory_allocate_grows_and_keeps_contents),
        cmocka_unit_test(memory_absurd_sizes_are_refused),
        cmocka_unit_test(memory_threads_see_what_they_wrote),
    };

    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
