/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON text: any bytes become valid UTF-8.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "cli/json.h"

#define BAD "\xef\xbf\xbd"

static const struct {
    const char *bytes, *text;
} texts[] = {
    { "", "" },
    { "plain", "plain" },
    { "\x7f\x01", "\x7f\x01" },
    { "\xc3\xa9", "\xc3\xa9" },
    { "\xe2\x82\xac", "\xe2\x82\xac" },
    { "\xf0\x9f\x90\x84", "\xf0\x9f\x90\x84" },
    { "\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80" }, /* around the surrogates */
    { "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },                 /* the last character */
    { "a\xff" "b", "a" BAD "b" },
    { "\x80", BAD },                           /* a tail without a head */
    { "\xc0\x80", BAD BAD },                   /* longer than it need be */
    { "\xc1\xbf", BAD BAD },
    { "\xe0\x9f\xbf", BAD BAD BAD },
    { "\xf0\x8f\xbf\xbf", BAD BAD BAD BAD },
    { "\xed\xa0\x80", BAD BAD BAD },           /* a surrogate */
    { "\xf4\x90\x80\x80", BAD BAD BAD BAD },   /* past the last character */
    { "\xf5\x80\x80\x80", BAD BAD BAD BAD },
    { "\xe2\x82", BAD BAD },                   /* cut short */
    { "\xe2", BAD },
    { "\xf0\x9f\x90x", BAD BAD BAD "x" },
    { "\xc3(", BAD "(" },
};

static void text_of_any_bytes_becomes_utf8(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
        json_t *value = byre_json_text(texts[i].bytes);

        assert_string_equal(json_string_value(value), texts[i].text);
        json_decref(value);
    }
}

static void member_without_text_is_left_out(void **state)
{
    json_t *object = byre_json_object();

    (void)state;
    byre_json_add_text(object, "none", NULL);
    byre_json_add_text(object, "some", "x");
    byre_json_add_number(object, "number", INT64_MAX);
    assert_int_equal(json_object_size(object), 2);
    assert_string_equal(json_string_value(json_object_get(object, "some")), "x");
    assert_true(json_integer_value(json_object_get(object, "number")) == INT64_MAX);
    json_decref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_of_any_bytes_becomes_utf8),
        cmocka_unit_test(member_without_text_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
