/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checked and rounding arithmetic at its limits.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arith.h"

static void arith_rounding_reaches_the_multiples(void **state)
{
    (void)state;
    assert_int_equal(byre_round_down(0, 512), 0);
    assert_int_equal(byre_round_down(511, 512), 0);
    assert_int_equal(byre_round_down(512, 512), 512);
    assert_int_equal(byre_round_down(UINT64_MAX, 512), UINT64_MAX - 511);
    assert_int_equal(byre_round_up(0, 512), 0);
    assert_int_equal(byre_round_up(1, 512), 512);
    assert_int_equal(byre_round_up(512, 512), 512);
    assert_int_equal(byre_round_up(UINT64_MAX - 511, 512), UINT64_MAX - 511);
    assert_int_equal(byre_round_up(77, 1), 77);
}

static void arith_aligned_tells_multiples(void **state)
{
    (void)state;
    assert_true(byre_is_aligned(0, 4096));
    assert_true(byre_is_aligned(8192, 4096));
    assert_false(byre_is_aligned(8191, 4096));
    assert_true(byre_is_aligned(UINT64_MAX, 1));
}

static void arith_div_up_never_overflows(void **state)
{
    (void)state;
    assert_int_equal(byre_div_up(0, 10), 0);
    assert_int_equal(byre_div_up(1, 10), 1);
    assert_int_equal(byre_div_up(10, 10), 1);
    assert_int_equal(byre_div_up(11, 10), 2);
    assert_int_equal(byre_div_up(UINT64_MAX, 2), (uint64_t)1 << 63);
    assert_int_equal(byre_div_up(UINT64_MAX, 1), UINT64_MAX);
}

static void arith_checked_operations_tell_overflow(void **state)
{
    uint64_t v;

    (void)state;
    assert_true(byre_add_fits(UINT64_MAX - 1, 1, &v));
    assert_int_equal(v, UINT64_MAX);
    assert_false(byre_add_fits(UINT64_MAX, 1, &v));
    assert_true(byre_mul_fits((uint64_t)1 << 32, UINT32_MAX, &v));
    assert_int_equal(v, (uint64_t)UINT32_MAX << 32);
    assert_false(byre_mul_fits((uint64_t)1 << 32, (uint64_t)1 << 32, &v));
}

static void arith_range_within_handles_the_edges(void **state)
{
    (void)state;
    assert_true(byre_range_within(0, 0, 0));
    assert_true(byre_range_within(0, 10, 10));
    assert_true(byre_range_within(10, 0, 10));
    assert_false(byre_range_within(11, 0, 10));
    assert_false(byre_range_within(1, 10, 10));
    assert_false(byre_range_within(UINT64_MAX, 2, UINT64_MAX)); /* the end would wrap round */
    assert_false(byre_range_within(5, UINT64_MAX, 10));
    assert_true(byre_range_within(0, UINT64_MAX, UINT64_MAX));
}

static void arith_powers_of_two_are_recognised(void **state)
{
    (void)state;
    assert_false(byre_is_power_of_two(0));
    assert_false(byre_is_power_of_two(3));
    for (unsigned bit = 0; bit < 64; bit++) {
        assert_true(byre_is_power_of_two((uint64_t)1 << bit));
        assert_int_equal(byre_log2((uint64_t)1 << bit), bit);
    }
}

static void arith_min_max_evaluate_once(void **state)
{
    int calls = 0;

    (void)state;
    assert_int_equal(MIN(++calls, 10), 1);
    assert_int_equal(MAX(++calls, -1), 2);
    assert_int_equal(calls, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arith_rounding_reaches_the_multiples),
        cmocka_unit_test(arith_aligned_tells_multiples),
        cmocka_unit_test(arith_div_up_never_overflows),
        cmocka_unit_test(arith_checked_operations_tell_overflow),
        cmocka_unit_test(arith_range_within_handles_the_edges),
        cmocka_unit_test(arith_powers_of_two_are_recognised),
        cmocka_unit_test(arith_min_max_evaluate_once),
    };

    return cmocka_run_group_tests_name("arith", tests, NULL, NULL);
}
