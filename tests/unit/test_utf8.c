/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UTF-8: every character there and back, and what is none.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/utf8.h"

static void each_character_is_read_as_it_was_written(void **state)
{
    (void)state;
    for (uint32_t c = 1; c <= 0x10ffff; c++) {
        bool is_surrogate = c >= 0xd800 && c < 0xe000;
        uint32_t read = 0;
        char bytes[5] = "";
        size_t length = byre_utf8_put(bytes, c);

        assert_int_equal(length, strlen(bytes));
        assert_int_equal(byre_utf8_length(bytes, length, &read), is_surrogate ? 0 : length);
        assert_int_equal(byre_utf8_length(bytes, BYRE_UTF8_TEXT, NULL), is_surrogate ? 0 : length);
        assert_int_equal(read, is_surrogate ? 0 : c);
        if (length > 1)
            assert_int_equal(byre_utf8_length(bytes, length - 1, NULL), 0);
        bytes[length - 1] = '\0'; /* the text ends too early */
        if (length > 1)
            assert_int_equal(byre_utf8_length(bytes, BYRE_UTF8_TEXT, NULL), 0);
    }
}

static void what_is_none_has_no_length(void **state)
{
    static const char *const bad[] = {
        "\x80",         "\xbf",             "\xc0\x80",         "\xc1\xbf",         "\xe0\x9f\xbf",
        "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff\xbf\xbf\xbf",
        "\xc3(",        "\xe2\x82(",        "\xe2(\xac",        "\xf0\x9f(\x80",    "\xf0(\x9f\x80",
        "\xf8\x88\x80", "\xf0\x9f\x98\xc0",
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        uint32_t c = 7;

        assert_int_equal(byre_utf8_length(bad[i], strlen(bad[i]), &c), 0);
        assert_int_equal(c, 7);
        assert_false(byre_utf8_is_text(bad[i], strlen(bad[i])));
    }
    assert_true(byre_utf8_is_text("", 0));
    assert_true(byre_utf8_is_text("a\0\xc3\xa9", 4));
    assert_false(byre_utf8_is_text("a\xc3\xa9", 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_character_is_read_as_it_was_written),
        cmocka_unit_test(what_is_none_has_no_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
