/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sizes: the table of what qemu-img takes and prints.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/size.h"

#define K ((uint64_t)1 << 10)
#define M (K << 10)
#define G (M << 10)
#define T (G << 10)
#define P (T << 10)
#define E (P << 10)

static const struct {
    const char *text;
    uint64_t size;
} accepted[] = {
    { "0", 0 }, { "1", 1 }, { "010", 10 }, { "0b", 0 }, { "1b", 1 }, { "1B", 1 },
    { "1k", K }, { "1K", K }, { "1m", M }, { "1M", M }, { "1g", G }, { "1G", G }, { "1t", T }, { "1T", T },
    { "1p", P }, { "1P", P }, { "1e", E }, { "1E", E }, { "7E", 7 * E },
    { " 1k", K }, { "\t\n1k", K }, { "+1k", K },
    { "1.", 1 }, { "1.0", 1 }, { "1.0b", 1 }, { "1.k", K }, { "1.5k", K + 512 }, { "1.5G", G + 512 * M },
    { "0.5e", 512 * P }, { "1.5E", 1536 * P }, { "7.5E", 7680 * P },
    /* rounded to the nearest byte, a half upwards */
    { "0.1k", 102 }, { "1.0001k", 1024 }, { "0.0005k", 1 }, { "0.0004k", 0 }, { "0.00048828125k", 1 },
    { "0.00048828124k", 0 }, { "0.00146484375k", 2 }, { "0.3G", 322122547 }, { "1.9999999999999G", 2 * G },
    { "1.4999999999999999999999999999k", 1536 }, { "7.9999999999E", 9223372036739483658u },
    { "8191.9999999P", 9223372036742185817u },
    { "0x10", 16 }, { "0X10", 16 }, { "0x1e", 30 }, { "0x1b", 27 }, { "0x10k", 16 * K }, { "0xfG", 15 * G },
    { "9007199254740993", 9007199254740993u }, { "9223372036854775807", INT64_MAX },
    { "9223372036854775807b", INT64_MAX }, { "0x7fffffffffffffff", INT64_MAX }, { "8388607T", 8388607 * T },
};

static void size_parse_accepted_texts_give_their_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(accepted); i++) {
        uint64_t size = 12345;

        if (byre_size_parse(accepted[i].text, 'B', &size) != 0 || size != accepted[i].size)
            fail_msg("'%s' gave %llu", accepted[i].text, (unsigned long long)size);
    }
}

static void size_parse_other_texts_are_invalid(void **state)
{
    static const char *const texts[] = {
        "", " ", "k", "-1", "-1k", "-0", "+-1", "+ 1", "++1", "1kb", "1KB", "1KiB", "1ki", "1K1", "1k ",
        "1 k", "1x", "1.5", "1.5b", "0.5b", "0.0001", ".5k", ".", "1..5k", "1.5.5k", "1,5k", "1e3", "1e1k",
        "1.5e1", "1.5e1k",
        "nan", "inf", "0x", "0xk", "0x1.8k", "0x0.5", "0xg", "x10",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        uint64_t size = 12345;
        int r = byre_size_parse(texts[i], 'B', &size);

        if (r != -EINVAL || size != 12345)
            fail_msg("'%s' gave %d", texts[i], r);
    }
}

static void size_parse_large_numbers_are_out_of_range(void **state)
{
    static const char *const texts[] = {
        "9223372036854775808", "18446744073709551615", "18446744073709551616", "99999999999999999999", "8E",
        "16E",
        "17E", "8388608T", "99999999999999999999G", "18446744073709551616k", "0x8000000000000000",
        "0x10000000000000000", "0x7fffffffffffffffk", "7.9999999999999999999999E", "18446744073709551615E",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        uint64_t size = 12345;
        int r = byre_size_parse(texts[i], 'B', &size);

        if (r != -ERANGE || size != 12345)
            fail_msg("'%s' gave %d", texts[i], r);
    }
}

static void size_parse_default_suffix_applies_where_none_is_written(void **state)
{
    uint64_t size;

    (void)state;
    assert_int_equal(byre_size_parse("10", 'M', &size), 0);
    assert_int_equal(size, 10 * M);
    assert_int_equal(byre_size_parse("10k", 'M', &size), 0);
    assert_int_equal(size, 10 * K);
    assert_int_equal(byre_size_parse("1.5", 'k', &size), 0);
    assert_int_equal(size, 1536);
}

static void size_format_prints_three_digits(void **state)
{
    static const struct {
        uint64_t size;
        const char *text;
    } printed[] = {
        { 0, "0 B" }, { 1, "1 B" }, { 512, "512 B" }, { 999, "999 B" }, { 1000, "0.977 KiB" },
        { 1023, "0.999 KiB" },
        { 1024, "1 KiB" }, { 1536, "1.5 KiB" }, { 10240, "10 KiB" }, { 10752, "10.5 KiB" },
        { 102400, "100 KiB" },
        { 1000448, "977 KiB" }, { 1022976, "999 KiB" }, { 1023488, "1e+03 KiB" }, { 1024000, "0.977 MiB" },
        { 1047552, "0.999 MiB" }, { 1048064, "1 MiB" }, { 1050112, "1 MiB" }, { M, "1 MiB" },
        { 100 * M, "100 MiB" },
        { 1047527424, "999 MiB" }, { 1048575488, "1e+03 MiB" }, { 1048576000, "0.977 GiB" }, { G, "1 GiB" },
        { G + 512 * M, "1.5 GiB" }, { 5 * G, "5 GiB" }, { 123456789504, "115 GiB" }, { T, "1 TiB" },
        { P, "1 PiB" },
        { 1124774006935781376, "999 PiB" }, { 1125899906842624000, "0.977 EiB" }, { E, "1 EiB" },
        { UINT64_MAX, "16 EiB" },
    };
    char buf[BYRE_SIZE_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(printed); i++)
        assert_string_equal(byre_size_format(printed[i].size, buf, sizeof buf), printed[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_parse_accepted_texts_give_their_size),
        cmocka_unit_test(size_parse_other_texts_are_invalid),
        cmocka_unit_test(size_parse_large_numbers_are_out_of_range),
        cmocka_unit_test(size_parse_default_suffix_applies_where_none_is_written),
        cmocka_unit_test(size_format_prints_three_digits),
    };

    return cmocka_run_group_tests_name("size", tests, NULL, NULL);
}
