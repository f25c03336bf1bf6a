/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The null store.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "store/null.h"

static struct byre_store *must_new(const struct byre_null_options *options)
{
    struct byre_store *store = NULL;
    struct byre_error err;

    assert_int_equal(byre_null_new(options, &store, &err), 0);
    return store;
}

static void expect_one_extent(struct byre_store *store, uint64_t hoff, uint64_t length, bool hole)
{
    uint64_t found = 0;
    bool is_hole = !hole;

    assert_int_equal(byre_store_extent(store, hoff, &found, &is_hole, NULL), 0);
    assert_int_equal(found, length);
    assert_int_equal(is_hole, hole);
}

static void null_read_leaves_the_buffer(void **state)
{
    struct byre_store *store = must_new(&(struct byre_null_options){ .size = BYRE_NULL_SIZE_DEFAULT });
    char bytes[8] = "unread!";

    (void)state;
    assert_int_equal(byre_store_pwrite(store, "written", 8, 100, NULL), 0);
    assert_int_equal(byre_store_pread(store, bytes, sizeof bytes, 100, NULL), 0);
    assert_string_equal(bytes, "unread!");
    expect_one_extent(store, 100, (1 << 30) - 100, false);
    byre_store_close(store);
}

static void null_read_zeroes_gives_zeros(void **state)
{
    struct byre_store *store = must_new(&(struct byre_null_options){ .size = 1000, .read_zeroes = true });
    char bytes[8] = "unread!", zeros[8] = "";
    struct iovec iov[2] = { { bytes, 3 }, { bytes + 3, 5 } };

    (void)state;
    assert_int_equal(byre_store_pwrite(store, "written", 8, 100, NULL), 0);
    assert_int_equal(byre_store_preadv(store, iov, 2, 100, NULL), 0);
    assert_memory_equal(bytes, zeros, 8);
    expect_one_extent(store, 0, 1000, true);
    byre_store_close(store);
}

static void null_size_is_exact_and_fixed(void **state)
{
    struct byre_store *store = must_new(&(struct byre_null_options){ .size = 1001 });
    uint64_t size = 0, bytes = 1;

    (void)state;
    assert_int_equal(byre_store_size(store, &size, NULL), 0);
    assert_int_equal(size, 1001);
    assert_int_equal(byre_store_allocated_size(store, &bytes, NULL), 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(byre_store_truncate(store, 1002, NULL), -ENOSPC);
    assert_int_equal(byre_store_pwrite(store, "ab", 2, 1000, NULL), -ENOSPC);
    assert_int_equal(byre_store_write_zeroes(store, 0, 1001, BYRE_ZERO_NO_FALLBACK, NULL), 0);
    assert_int_equal(byre_store_discard(store, 0, 1001, NULL), 0);
    assert_int_equal(byre_store_allocate(store, 0, 1001, NULL), 0);
    assert_int_equal(byre_store_flush(store, NULL), 0);
    byre_store_close(store);
}

static void null_kind_and_access_are_as_asked_for(void **state)
{
    struct byre_store *co = must_new(&(struct byre_null_options){ .size = 512, .read_only = true });
    struct byre_store *aio = must_new(&(struct byre_null_options){ .size = 512, .aio = true });

    (void)state;
    assert_string_equal(co->ops->kind, "null-co");
    assert_string_equal(co->name, "null-co://");
    assert_string_equal(aio->ops->kind, "null-aio");
    assert_string_equal(aio->name, "null-aio://");
    assert_int_equal(byre_store_pwrite(co, "a", 1, 0, NULL), -EROFS);
    assert_int_equal(byre_store_pwrite(aio, "a", 1, 0, NULL), 0);
    byre_store_close(co);
    byre_store_close(aio);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void null_requests_take_their_time(void **state)
{
    enum { LATENCY = 3000000 };
    struct byre_store *store = must_new(&(struct byre_null_options){ .size = 512, .latency_ns = LATENCY });
    uint64_t begin = now_ns();
    char byte = 0;

    (void)state;
    assert_int_equal(byre_store_pread(store, &byte, 1, 0, NULL), 0);
    assert_true(now_ns() - begin >= LATENCY);
    assert_int_equal(byre_store_pwrite(store, &byte, 1, 0, NULL), 0);
    assert_true(now_ns() - begin >= 2 * LATENCY);
    assert_int_equal(byre_store_write_zeroes(store, 0, 1, 0, NULL), 0);
    assert_true(now_ns() - begin >= 3 * LATENCY);
    assert_int_equal(byre_store_discard(store, 0, 1, NULL), 0);
    assert_true(now_ns() - begin >= 4 * LATENCY);
    assert_int_equal(byre_store_flush(store, NULL), 0);
    assert_true(now_ns() - begin >= 5 * LATENCY);
    byre_store_close(store);
}

static void null_options_out_of_range_are_named(void **state)
{
    struct byre_store *store = NULL;
    struct byre_error err;

    (void)state;
    assert_int_equal(byre_null_new(&(struct byre_null_options){ .size = 1ULL << 63 }, &store, &err), -EINVAL);
    assert_string_equal(err.text, "size is invalid: 9223372036854775808 is more than 9223372036854775807");
    assert_int_equal(byre_null_new(&(struct byre_null_options){ .latency_ns = UINT64_MAX }, &store, &err), -EINVAL);
    assert_string_equal(err.text, "latency-ns is invalid: 18446744073709551615 is more than 9223372036854775807");
    assert_null(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_read_leaves_the_buffer),
        cmocka_unit_test(null_read_zeroes_gives_zeros),
        cmocka_unit_test(null_size_is_exact_and_fixed),
        cmocka_unit_test(null_kind_and_access_are_as_asked_for),
        cmocka_unit_test(null_requests_take_their_time),
        cmocka_unit_test(null_options_out_of_range_are_named),
    };

    return cmocka_run_group_tests_name("null", tests, NULL, NULL);
}
