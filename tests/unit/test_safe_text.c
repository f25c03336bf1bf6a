/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text from strangers on a terminal.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/safe_text.h"

static void assert_text(const char *text, const char *wanted, unsigned wanted_columns)
{
    unsigned columns = 0;
    char *safe = byre_safe_text(text, &columns);

    assert_string_equal(safe, wanted);
    assert_int_equal(columns, wanted_columns);
    free(safe);
}

static void assert_message(const char *text, const char *wanted)
{
    char *safe = byre_safe_message(text);

    assert_non_null(safe);
    assert_string_equal(safe, wanted);
    free(safe);
}

static void text_plain_stays(void **state)
{
    (void)state;
    assert_text("", "", 0);
    assert_text("a name.txt", "a name.txt", 10);
    assert_text("caf\303\251", "caf\303\251", 4);
    assert_text("\346\274\242", "\346\274\242", 2);
}

static void text_dangerous_is_escaped(void **state)
{
    (void)state;
    assert_text("\033[31mred", "\\033[31mred", 11);
    assert_text("a\nb\tc\\", "a\\nb\\tc\\\\", 9);
    assert_text("\177", "\\177", 4);
    assert_text("latin\351", "latin\\351", 9);                        /* no UTF-8 */
    assert_text("\302\233", "\\302\\233", 8);                          /* U+009B, which begins commands as ESC [ does */
    assert_text("x\342\200\256gpj.exe", "x\\342\\200\\256gpj.exe", 20); /* U+202E, from right to left from here on */
    assert_text("\303", "\\303", 4);                                   /* cut in the middle of a character */
}

static void message_keeps_what_is_meant(void **state)
{
    (void)state;
    assert_message("'a\\033b': C:\\x", "'a\\033b': C:\\x");
    assert_message("one\ntwo", "one\ntwo");
    assert_message("\033]0;title\a caf\303\251 \351\r", "\\033]0;title\\a caf\303\251 \\351\\r");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_plain_stays),
        cmocka_unit_test(text_dangerous_is_escaped),
        cmocka_unit_test(message_keeps_what_is_meant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
