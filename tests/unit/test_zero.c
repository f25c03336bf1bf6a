/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Zero detection: every length and alignment, and one bit anywhere.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/zero.h"

enum { LENGTH_MAX = 700 };

static void zero_empty_is_zero(void **state)
{
    (void)state;
    assert_true(byre_is_zero(NULL, 0));
    assert_true(byre_is_zero("x", 0));
}

static void zero_any_set_bit_is_found_at_every_length_and_alignment(void **state)
{
    uint8_t buf[LENGTH_MAX + 64];

    (void)state;
    for (size_t len = 1; len <= LENGTH_MAX; len += len < 300 ? 1 : 37) {
        size_t shift = len % 17;

        memset(buf, 0xff, sizeof buf); /* what surrounds the range must not matter */
        memset(buf + shift, 0, len);
        assert_true(byre_is_zero(buf + shift, len));
        for (size_t at = 0; at < len; at++) {
            buf[shift + at] = (uint8_t)(1 << at % 8);
            if (byre_is_zero(buf + shift, len))
                fail_msg("missed byte %zu of %zu", at, len);
            buf[shift + at] = 0;
        }
    }
}

/* The pages beside the buffer cannot be read. */
static void zero_reads_nothing_outside(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *map = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mprotect(map + page, page, PROT_READ | PROT_WRITE), 0);
    for (size_t len = 1; len <= page; len += len < 300 ? 1 : 251) {
        assert_true(byre_is_zero(map + page, len));
        assert_true(byre_is_zero(map + 2 * page - len, len));
    }
    munmap(map, 3 * page);
}

static void zero_large_buffer_shows_its_only_bit(void **state)
{
    size_t len = (2 << 20) + 5;
    uint8_t *buf = calloc(1, len);

    (void)state;
    assert_non_null(buf);
    assert_true(byre_is_zero(buf, len));
    for (size_t at = 0; at < len; at += 65537) {
        buf[at] = 0x80;
        assert_false(byre_is_zero(buf, len));
        buf[at] = 0;
    }
    free(buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_empty_is_zero),
        cmocka_unit_test(zero_any_set_bit_is_found_at_every_length_and_alignment),
        cmocka_unit_test(zero_reads_nothing_outside),
        cmocka_unit_test(zero_large_buffer_shows_its_only_bit),
    };

    return cmocka_run_group_tests_name("zero", tests, NULL, NULL);
}
