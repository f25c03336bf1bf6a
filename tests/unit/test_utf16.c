/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From UTF-16 to UTF-8.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/utf16.h"

#define BAD "\xef\xbf\xbd"

static const struct {
    uint16_t units[4];
    size_t count;
    const char *text;
} texts[] = {
    { { 0 }, 0, "" },
    { { 'a', 'b' }, 2, "ab" },
    { { 'a', 0, 'b' }, 3, "a" },
    { { 0x7f, 0x80, 0x7ff, 0x800 }, 4, "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80" }, /* where the lengths change */
    { { 0xffff }, 1, "\xef\xbf\xbf" },
    { { 0xd800, 0xdc00 }, 2, "\xf0\x90\x80\x80" }, /* the first pair */
    { { 0xdbff, 0xdfff }, 2, "\xf4\x8f\xbf\xbf" }, /* the last one */
    { { 0xd800, 'a' }, 2, BAD "a" },               /* the first half alone */
    { { 0xdc00, 0xd800 }, 2, BAD BAD },            /* the wrong way round */
    { { 0xd800, 0xd800, 0xdc00 }, 3, BAD "\xf0\x90\x80\x80" },
    { { 'a', 0xd800, 0xdc00 }, 2, "a" BAD }, /* the other half is past the end */
};

static void units_become_utf8(void **state)
{
    char text[BYRE_UTF16_ROOM(4)];

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
        byre_utf16_to_utf8(texts[i].units, texts[i].count, text);
        assert_string_equal(text, texts[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_become_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
