/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What byre io makes of words, and how it shows sizes and times.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/io_text.h"

#define K 1024ULL
#define M (1024 * K)

static void size_is(const char *text, uint64_t wanted)
{
    uint64_t size = 0;

    assert_int_equal(byre_io_read_size(text, &size), 0);
    assert_int_equal(size, wanted);
}

static void sizes_have_suffixes(void **state)
{
    (void)state;
    size_is("0", 0);
    size_is("512", 512);
    size_is("0x200", 512);
    size_is("4k", 4 * K);
    size_is("1.5M", 3 * M / 2);
    size_is("7E", 7 * 1024 * 1024 * M * M);
}

static void what_is_no_size_is_refused(void **state)
{
    static const char *const bad[] = { "", "x", "1x", "-1", "1 2", "k", "9E", "99999999999999999999" };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t size = 77;

        assert_int_equal(byre_io_read_size(bad[i], &size), -1);
        assert_int_equal(size, 77);
    }
}

static void lengths_have_a_limit(void **state)
{
    uint64_t length = 77;

    (void)state;
    assert_int_equal(byre_io_read_length("2147483137", &length), -1);
    assert_int_equal(byre_io_read_length("2G", &length), -1);
    assert_int_equal(length, 77);
    assert_int_equal(byre_io_read_length("2147483136", &length), 0);
    assert_int_equal(length, BYRE_IO_LENGTH_MAX);
}

static void patterns_are_bytes_in_any_notation(void **state)
{
    static const struct {
        const char *text;
        int pattern;
    } good[] = { { "0", 0 }, { "255", 255 }, { "0xff", 255 }, { "0xCD", 0xcd }, { "017", 15 } };
    static const char *const bad[] = { "", "256", "-1", "0x100", "x", "1x", "0x", "08", "1 " };
    uint8_t pattern;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(byre_io_read_pattern(good[i].text, &pattern), 0);
        assert_int_equal(pattern, good[i].pattern);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(byre_io_read_pattern(bad[i], &pattern), -1);
}

static void numbers_are_not_negative(void **state)
{
    int number = 77;

    (void)state;
    assert_int_equal(byre_io_read_number("-1", &number), -1);
    assert_int_equal(byre_io_read_number("x", &number), -1);
    assert_int_equal(byre_io_read_number("2147483648", &number), -1);
    assert_int_equal(number, 77);
    assert_int_equal(byre_io_read_number("2147483647", &number), 0);
    assert_int_equal(number, 2147483647);
}

static void sizes_are_shown_in_the_largest_unit(void **state)
{
    static const struct {
        double size;
        const char *text;
    } cases[] = {
        { 0, "0 bytes" },           { 5, "5 bytes" },         { 2.27116, "2.271160 bytes" },
        { 1000, "1000 bytes" },     { 1024, "1 KiB" },        { 1500, "1.465 KiB" },
        { 1536, "1.500 KiB" },      { 1024000, "1000 KiB" },  { 67108864, "64 MiB" },
        { 67108864.0 * 1024 * 1024, "64 TiB" }, { 1152921504606846976.0 * 2, "2 EiB" },
    };
    char text[BYRE_IO_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(byre_io_format_size(cases[i].size, text, sizeof text), cases[i].text);
}

static void times_are_short_below_a_minute(void **state)
{
    char text[BYRE_IO_TEXT_MAX];

    (void)state;
    assert_string_equal(byre_io_format_time(0.019, false, text, sizeof text), "00.01 sec");
    assert_string_equal(byre_io_format_time(59.5, false, text, sizeof text), "59.50 sec");
    assert_string_equal(byre_io_format_time(62.25, false, text, sizeof text), "0:01:02.25");
    assert_string_equal(byre_io_format_time(3723.75, false, text, sizeof text), "1:02:03.75");
    assert_string_equal(byre_io_format_time(0.25, true, text, sizeof text), "0:00:00.25");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_suffixes),
        cmocka_unit_test(what_is_no_size_is_refused),
        cmocka_unit_test(lengths_have_a_limit),
        cmocka_unit_test(patterns_are_bytes_in_any_notation),
        cmocka_unit_test(numbers_are_not_negative),
        cmocka_unit_test(sizes_are_shown_in_the_largest_unit),
        cmocka_unit_test(times_are_short_below_a_minute),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
