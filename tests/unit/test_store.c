/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The store wrappers over a store that is made of limits: splitting, bounds, fallbacks, texts of errors.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/iov.h"
#include "base/zero.h"
#include "store/store.h"

enum { CAPACITY = 1 << 20 };

/* Fails the test where a call breaks the contract of the table; counts what it gets. */
struct toy {
    struct byre_store store; /* first */
    uint8_t bytes[CAPACITY];
    uint64_t size;
    unsigned transfers, zeroings, flushes, truncates;
    uint64_t longest;
    int fail_at; /* transfer that fails, from 1; 0: none */
    int zero_result, allocate_result, discard_result, extent_result;
};

static struct toy toy;

static uint64_t expect_sound_transfer(const struct iovec *iov, int iov_count, uint64_t hoff)
{
    uint64_t total = 0;

    assert_in_range(iov_count, 1, IOV_MAX);
    assert_true(byre_iov_length(iov, iov_count, &total));
    assert_true(total > 0);
    assert_true(byre_range_within(hoff, total, INT64_MAX));
    if (toy.store.limits.max_transfer)
        assert_in_range(total, 1, toy.store.limits.max_transfer);
    toy.transfers++;
    toy.longest = MAX(toy.longest, total);
    return total;
}

static int toy_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    uint64_t total = expect_sound_transfer(iov, iov_count, hoff);
    uint64_t there = hoff < toy.size ? MIN(total, toy.size - hoff) : 0;

    (void)store;
    if ((int)toy.transfers == toy.fail_at)
        return -EIO;
    byre_iov_scatter(iov, iov_count, 0, toy.bytes + hoff, there);
    byre_iov_zero(iov, iov_count, there);
    return 0;
}

static int toy_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    uint64_t total = expect_sound_transfer(iov, iov_count, hoff);

    assert_false(store->read_only);
    if ((int)toy.transfers == toy.fail_at)
        return -ENOSPC;
    assert_true(hoff + total <= CAPACITY);
    byre_iov_gather(iov, iov_count, 0, toy.bytes + hoff, total);
    toy.size = MAX(toy.size, hoff + total);
    return 0;
}

static int toy_flush(struct byre_store *store)
{
    (void)store;
    return ++toy.flushes == 2 ? -EIO : 0;
}

static int toy_truncate(struct byre_store *store, uint64_t size)
{
    (void)store;
    toy.truncates++;
    toy.size = size;
    return 0;
}

static int toy_get_size(struct byre_store *store, uint64_t *ret_size)
{
    (void)store;
    *ret_size = toy.size;
    return 0;
}

static int toy_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    (void)store;
    (void)flags;
    toy.zeroings++;
    if (toy.zero_result == 0)
        memset(toy.bytes + hoff, 0, length);
    return toy.zero_result;
}

static int toy_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    (void)store;
    assert_true(hoff + length > hoff);
    return toy.discard_result;
}

static int toy_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    (void)store;
    (void)hoff;
    (void)length;
    return toy.allocate_result;
}

/* Data and holes take turns every 1000 bytes; the last run is said to go on for ever. */
static int toy_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    (void)store;
    *ret_hole = hoff / 1000 % 2;
    *ret_length = hoff + 1000 >= toy.size ? UINT64_MAX - hoff : 1000 - hoff % 1000;
    return toy.extent_result;
}

static const struct byre_store_ops full_ops = {
    .kind = "toy",
    .preadv = toy_preadv, .pwritev = toy_pwritev, .flush = toy_flush, .truncate = toy_truncate,
    .get_size = toy_get_size, .write_zeroes = toy_write_zeroes, .discard = toy_discard,
    .allocate = toy_allocate, .extent = toy_extent,
};

static const struct byre_store_ops bare_ops = {
    .kind = "toy",
    .preadv = toy_preadv, .pwritev = toy_pwritev, .flush = toy_flush, .truncate = toy_truncate,
    .get_size = toy_get_size,
};

static int set_up(void **state)
{
    memset(&toy, 0, sizeof toy);
    toy.store = (struct byre_store){
        .ops = &full_ops, .name = (char *)"toy.img", .fd = -1, .growable = true,
        .limits = { .align = 1, .zero_align = 1, .discard_align = 1, .zero_on_grow = true },
    };
    toy.size = 10000;
    *state = &toy.store;
    return 0;
}

static void store_transfer_longer_than_the_limit_is_split(void **state)
{
    static uint8_t buf[10000], back[10000];

    for (size_t i = 0; i < sizeof buf; i++)
        buf[i] = (uint8_t)(i % 251);
    toy.store.limits.max_transfer = 1024;
    assert_int_equal(byre_store_pwrite(*state, buf, sizeof buf, 777, NULL), 0);
    assert_int_equal(toy.transfers, 10);
    assert_int_equal(toy.longest, 1024);
    assert_memory_equal(toy.bytes + 777, buf, sizeof buf);
    assert_int_equal(byre_store_pread(*state, back, sizeof back, 777, NULL), 0);
    assert_memory_equal(back, buf, sizeof buf);
}

static void store_vector_longer_than_the_system_takes_is_split(void **state)
{
    enum { PIECES = 3 * IOV_MAX + 5 };
    static struct iovec iov[PIECES];
    static uint8_t buf[2 * PIECES], back[2 * PIECES];

    for (int i = 0; i < PIECES; i++) {
        iov[i] = (struct iovec){ buf + 2 * i, 2 };
        buf[2 * i] = (uint8_t)i;
        buf[2 * i + 1] = (uint8_t)(i >> 8);
    }
    iov[7].iov_len = 0; /* an empty piece is no trouble */
    assert_int_equal(byre_store_pwritev(*state, iov, PIECES, 0, NULL), 0);
    assert_int_equal(toy.transfers, 4);
    assert_memory_equal(toy.bytes, buf, 14);
    assert_memory_equal(toy.bytes + 14, buf + 16, sizeof buf - 16);
    for (int i = 0; i < PIECES; i++)
        iov[i].iov_base = back + 2 * i;
    assert_int_equal(byre_store_preadv(*state, iov, PIECES, 0, NULL), 0);
    assert_memory_equal(back, buf, 14);
    assert_memory_equal(back + 16, buf + 16, sizeof buf - 16);
}

static void store_empty_requests_do_nothing(void **state)
{
    struct iovec iov = { NULL, 0 };

    assert_int_equal(byre_store_pread(*state, NULL, 0, 5, NULL), 0);
    assert_int_equal(byre_store_pwrite(*state, NULL, 0, 50000, NULL), 0);
    assert_int_equal(byre_store_preadv(*state, &iov, 1, 0, NULL), 0);
    assert_int_equal(byre_store_preadv(*state, NULL, 0, 0, NULL), 0);
    assert_int_equal(byre_store_write_zeroes(*state, 50000, 0, 0, NULL), 0);
    assert_int_equal(byre_store_discard(*state, 0, 0, NULL), 0);
    assert_int_equal(byre_store_allocate(*state, 50000, 0, NULL), 0);
    assert_int_equal(toy.transfers + toy.zeroings, 0);
    assert_int_equal(toy.size, 10000);
}

static void store_failing_piece_is_named(void **state)
{
    static uint8_t buf[4096];
    struct byre_error err = BYRE_ERROR_INIT;

    toy.store.limits.max_transfer = 1024;
    toy.fail_at = 3;
    assert_int_equal(byre_store_pread(*state, buf, sizeof buf, 100, &err), -EIO);
    assert_int_equal(err.code, -EIO);
    assert_string_equal(err.text, "could not read 1024 bytes at offset 2148 of 'toy.img': "
                        "Input/output error");
    toy.transfers = 0;
    assert_int_equal(byre_store_pwrite(*state, buf, sizeof buf, 0, &err), -ENOSPC);
    assert_string_equal(err.text, "could not write 1024 bytes at offset 2048 of 'toy.img': "
                        "No space left on device");
}

static void store_read_only_changes_are_refused(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;

    toy.store.read_only = true;
    assert_int_equal(byre_store_pwrite(*state, "x", 1, 0, &err), -EROFS);
    assert_string_equal(err.text, "could not write 'toy.img': it was opened for reading only");
    assert_int_equal(byre_store_write_zeroes(*state, 0, 1, 0, NULL), -EROFS);
    assert_int_equal(byre_store_discard(*state, 0, 1, NULL), -EROFS);
    assert_int_equal(byre_store_allocate(*state, 0, 1, NULL), -EROFS);
    assert_int_equal(byre_store_truncate(*state, 0, NULL), -EROFS);
    assert_int_equal(byre_store_flush(*state, NULL), 0);
    assert_int_equal(toy.transfers + toy.zeroings + toy.flushes + toy.truncates, 0);
}

static void store_ranges_beyond_all_offsets_are_refused(void **state)
{
    struct iovec absurd[2] = { { toy.bytes, SIZE_MAX }, { toy.bytes, 2 } };
    uint8_t byte = 0;

    assert_int_equal(byre_store_pread(*state, &byte, 1, INT64_MAX, NULL), -EFBIG);
    assert_int_equal(byre_store_pread(*state, &byte, 1, UINT64_MAX, NULL), -EFBIG);
    assert_int_equal(byre_store_pwrite(*state, &byte, 1, INT64_MAX, NULL), -EFBIG);
    assert_int_equal(byre_store_write_zeroes(*state, 1, UINT64_MAX, 0, NULL), -EFBIG);
    assert_int_equal(byre_store_discard(*state, UINT64_MAX, 2, NULL), -EFBIG);
    assert_int_equal(byre_store_truncate(*state, (uint64_t)INT64_MAX + 1, NULL), -EFBIG);
    assert_int_equal(byre_store_preadv(*state, absurd, 2, 0, NULL), -EINVAL);
    assert_int_equal(byre_store_pwritev(*state, absurd, -1, 0, NULL), -EINVAL);
    assert_int_equal(toy.transfers + toy.zeroings + toy.truncates, 0);
}

static void store_that_cannot_grow_refuses_to(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;

    toy.store.growable = false;
    assert_int_equal(byre_store_pwrite(*state, "xy", 2, 9999, &err), -ENOSPC);
    assert_string_equal(err.text, "could not write 2 bytes at offset 9999 of 'toy.img': it ends at 10000");
    assert_int_equal(byre_store_pwrite(*state, "xy", 2, 9998, NULL), 0);
    assert_int_equal(byre_store_write_zeroes(*state, 10000, 1, 0, NULL), -ENOSPC);
    assert_int_equal(byre_store_truncate(*state, 10001, &err), -ENOSPC);
    assert_string_equal(err.text, "cannot grow device file 'toy.img' from 10000 to 10001 bytes");
    assert_int_equal(byre_store_truncate(*state, 500, NULL), 0);
    assert_int_equal(toy.truncates, 0);
    assert_int_equal(toy.size, 10000);
}

static void store_write_zeroes_falls_back_to_writing(void **state)
{
    memset(toy.bytes, 0xff, sizeof toy.bytes);
    toy.size = CAPACITY;
    toy.zero_result = -ENOTSUP;
    assert_int_equal(byre_store_write_zeroes(*state, 12345, 900000, BYRE_ZERO_UNMAP, NULL), 0);
    assert_true(byre_is_zero(toy.bytes + 12345, 900000));
    assert_int_equal(toy.bytes[12344], 0xff);
    assert_int_equal(toy.bytes[912345], 0xff);
    assert_int_equal(toy.zeroings, 1);

    toy.store.ops = &bare_ops;
    toy.store.limits.max_transfer = 5000;
    assert_int_equal(byre_store_write_zeroes(*state, 0, 12345, 0, NULL), 0);
    assert_true(byre_is_zero(toy.bytes, 912345));
    assert_in_range(toy.longest, 1, CAPACITY);
}

static void store_write_zeroes_without_fallback_says_so(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;

    toy.zero_result = -ENOTSUP;
    assert_int_equal(byre_store_write_zeroes(*state, 0, 512, BYRE_ZERO_NO_FALLBACK, &err), -ENOTSUP);
    assert_string_equal(err.text, "could not write zeros to 512 bytes at offset 0 of 'toy.img': "
                        "Operation not supported");
    toy.store.ops = &bare_ops;
    assert_int_equal(byre_store_write_zeroes(*state, 0, 512, BYRE_ZERO_NO_FALLBACK, NULL), -ENOTSUP);
    assert_int_equal(toy.transfers, 0);
}

static void store_write_zeroes_other_failures_are_final(void **state)
{
    toy.zero_result = -EIO;
    assert_int_equal(byre_store_write_zeroes(*state, 0, 512, 0, NULL), -EIO);
    assert_int_equal(toy.transfers, 0);
    toy.zero_result = -ENOTSUP;
    toy.fail_at = 1;
    assert_int_equal(byre_store_write_zeroes(*state, 0, 512, 0, NULL), -ENOSPC);
}

static void store_discard_is_a_hint(void **state)
{
    assert_int_equal(byre_store_discard(*state, 0, 512, NULL), 0);
    toy.discard_result = -ENOTSUP;
    assert_int_equal(byre_store_discard(*state, 0, 512, NULL), 0);
    toy.discard_result = -EIO;
    assert_int_equal(byre_store_discard(*state, 0, 512, NULL), -EIO);
    toy.store.ops = &bare_ops;
    assert_int_equal(byre_store_discard(*state, 0, 512, NULL), 0);
}

static void store_allocate_falls_back_only_past_the_end(void **state)
{
    memset(toy.bytes, 0xff, sizeof toy.bytes);
    toy.store.ops = &bare_ops;
    assert_int_equal(byre_store_allocate(*state, 9000, 2000, NULL), -ENOTSUP);
    assert_int_equal(toy.transfers, 0);
    assert_int_equal(byre_store_allocate(*state, 10000, 70000, NULL), 0);
    assert_int_equal(toy.size, 80000);
    assert_int_equal(toy.bytes[9999], 0xff);
    assert_true(byre_is_zero(toy.bytes + 10000, 70000));
    toy.store.ops = &full_ops;
    toy.allocate_result = -ENOSPC;
    assert_int_equal(byre_store_allocate(*state, 80000, 10, NULL), -ENOSPC);
}

static void store_flush_is_passed_on_unless_unsafe(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;

    assert_int_equal(byre_store_flush(*state, NULL), 0);
    assert_int_equal(toy.flushes, 1);
    assert_int_equal(byre_store_flush(*state, &err), -EIO);
    assert_string_equal(err.text, "could not flush 'toy.img': Input/output error");
    toy.store.no_flush = true;
    assert_int_equal(byre_store_flush(*state, NULL), 0);
    assert_int_equal(toy.flushes, 2);
}

static void store_extents_are_clipped_to_the_size(void **state)
{
    uint64_t length;
    bool hole;

    assert_int_equal(byre_store_extent(*state, 10, &length, &hole, NULL), 0);
    assert_true(length == 990 && !hole);
    assert_int_equal(byre_store_extent(*state, 1000, &length, &hole, NULL), 0);
    assert_true(length == 1000 && hole);
    assert_int_equal(byre_store_extent(*state, 9500, &length, &hole, NULL), 0);
    assert_true(length == 500 && hole);
    assert_int_equal(byre_store_extent(*state, 10000, &length, &hole, NULL), 0);
    assert_true(length == UINT64_MAX - 10000 && hole);
    toy.store.ops = &bare_ops;
    assert_int_equal(byre_store_extent(*state, 1000, &length, &hole, NULL), 0);
    assert_true(length == 9000 && !hole);
    toy.store.ops = &full_ops;
    toy.extent_result = -EIO;
    assert_int_equal(byre_store_extent(*state, 0, &length, &hole, NULL), -EIO);
}

static void store_unknown_allocated_size_is_all_ones(void **state)
{
    uint64_t bytes = 0;

    assert_int_equal(byre_store_allocated_size(*state, &bytes, NULL), 0);
    assert_true(bytes == UINT64_MAX);
}

static void store_close_null_is_allowed(void **state)
{
    (void)state;
    byre_store_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(store_transfer_longer_than_the_limit_is_split, set_up),
        cmocka_unit_test_setup(store_vector_longer_than_the_system_takes_is_split, set_up),
        cmocka_unit_test_setup(store_empty_requests_do_nothing, set_up),
        cmocka_unit_test_setup(store_failing_piece_is_named, set_up),
        cmocka_unit_test_setup(store_read_only_changes_are_refused, set_up),
        cmocka_unit_test_setup(store_ranges_beyond_all_offsets_are_refused, set_up),
        cmocka_unit_test_setup(store_that_cannot_grow_refuses_to, set_up),
        cmocka_unit_test_setup(store_write_zeroes_falls_back_to_writing, set_up),
        cmocka_unit_test_setup(store_write_zeroes_without_fallback_says_so, set_up),
        cmocka_unit_test_setup(store_write_zeroes_other_failures_are_final, set_up),
        cmocka_unit_test_setup(store_discard_is_a_hint, set_up),
        cmocka_unit_test_setup(store_allocate_falls_back_only_past_the_end, set_up),
        cmocka_unit_test_setup(store_flush_is_passed_on_unless_unsafe, set_up),
        cmocka_unit_test_setup(store_extents_are_clipped_to_the_size, set_up),
        cmocka_unit_test_setup(store_unknown_allocated_size_is_all_ones, set_up),
        cmocka_unit_test_setup(store_close_null_is_allowed, set_up),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
