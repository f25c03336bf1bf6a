/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Vectors of buffers: every slice of a small vector with empty entries, against plain copies.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/iov.h"

enum { TOTAL = 20 };

static uint8_t bytes[TOTAL];

/* 20 bytes in pieces of 0, 3, 0, 0, 10, 7 and 0. */
static const struct iovec vector[] = {
    { bytes, 0 }, { bytes, 3 }, { bytes + 3, 0 }, { NULL, 0 },
    { bytes + 3, 10 }, { bytes + 13, 7 }, { NULL, 0 },
};

static const int count = ARRAY_LEN(vector);

static int reset(void **state)
{
    (void)state;
    for (int i = 0; i < TOTAL; i++)
        bytes[i] = (uint8_t)(i + 1);
    return 0;
}

static void iov_length_sums_and_tells_overflow(void **state)
{
    struct iovec absurd[] = { { bytes, SIZE_MAX }, { bytes, 1 } };
    uint64_t length;

    (void)state;
    assert_true(byre_iov_length(vector, count, &length));
    assert_int_equal(length, TOTAL);
    assert_true(byre_iov_length(NULL, 0, &length));
    assert_int_equal(length, 0);
    assert_false(byre_iov_length(absurd, 2, &length));
}

static void iov_slice_any_range_names_its_bytes(void **state)
{
    (void)state;
    for (uint64_t from = 0; from <= TOTAL + 2; from++) {
        for (uint64_t length = 0; length <= TOTAL + 2; length++) {
            uint64_t there = from < TOTAL ? MIN(length, TOTAL - from) : 0, sum = 0, told;
            struct iovec slice[8];
            int n = byre_iov_slice(vector, count, from, length, slice, 8, &told);

            assert_int_equal(told, there);
            for (int i = 0; i < n; i++) {
                assert_true(slice[i].iov_len > 0);
                assert_ptr_equal(slice[i].iov_base, bytes + from + sum);
                sum += slice[i].iov_len;
            }
            assert_int_equal(sum, there);
        }
    }
}

static void iov_slice_stops_at_the_number_of_entries(void **state)
{
    struct iovec slice[2] = { { NULL, 0 }, { NULL, 99 } };
    uint64_t told;

    (void)state;
    assert_int_equal(byre_iov_slice(vector, count, 1, 100, slice, 1, &told), 1);
    assert_int_equal(told, 2);
    assert_int_equal(slice[1].iov_len, 99);
}

static void iov_gather_and_scatter_any_range_copy_its_bytes(void **state)
{
    (void)state;
    for (uint64_t from = 0; from <= TOTAL; from++) {
        for (uint64_t length = 0; from + length <= TOTAL; length++) {
            uint8_t copy[TOTAL + 1] = { 0 }, old[TOTAL], fresh[TOTAL];

            reset(NULL);
            byre_iov_gather(vector, count, from, copy, length);
            assert_memory_equal(copy, bytes + from, length);
            assert_int_equal(copy[length], 0);

            memcpy(old, bytes, TOTAL);
            memset(fresh, 0xaa, TOTAL);
            byre_iov_scatter(vector, count, from, fresh, length);
            memset(old + from, 0xaa, length);
            assert_memory_equal(bytes, old, TOTAL);
        }
    }
}

static void iov_zero_clears_the_rest(void **state)
{
    (void)state;
    for (uint64_t from = 0; from <= TOTAL; from++) {
        reset(NULL);
        byre_iov_zero(vector, count, from);
        for (uint64_t i = 0; i < TOTAL; i++)
            assert_int_equal(bytes[i], i < from ? i + 1 : 0);
    }
}

static void iov_alignment_is_of_addresses_and_lengths(void **state)
{
    _Alignas(64) static uint8_t buf[256];
    struct iovec iov[] = { { buf, 64 }, { buf + 128, 128 } };

    (void)state;
    assert_true(byre_iov_is_aligned(iov, 2, 64));
    iov[1].iov_len = 96;
    assert_false(byre_iov_is_aligned(iov, 2, 64));
    assert_true(byre_iov_is_aligned(iov, 2, 32));
    iov[0].iov_base = buf + 1;
    assert_false(byre_iov_is_aligned(iov, 2, 32));
    assert_true(byre_iov_is_aligned(iov, 2, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(iov_length_sums_and_tells_overflow, reset),
        cmocka_unit_test_setup(iov_slice_any_range_names_its_bytes, reset),
        cmocka_unit_test_setup(iov_slice_stops_at_the_number_of_entries, reset),
        cmocka_unit_test_setup(iov_gather_and_scatter_any_range_copy_its_bytes, reset),
        cmocka_unit_test_setup(iov_zero_clears_the_rest, reset),
        cmocka_unit_test_setup(iov_alignment_is_of_addresses_and_lengths, reset),
    };

    return cmocka_run_group_tests_name("iov", tests, NULL, NULL);
}
