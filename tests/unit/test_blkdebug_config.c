/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rules from config files: what they say, and what is said about those that are wrong.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "store/blkdebug.h"
#include "tempdir.h"

static struct tempdir tmp;
static struct byre_blkdebug_options options;
static struct byre_error err;

static int set_up(void **state)
{
    (void)state;
    memset(&options, 0, sizeof options);
    return tempdir_make(&tmp);
}

static int tear_down(void **state)
{
    (void)state;
    byre_blkdebug_options_done(&options);
    tempdir_remove(&tmp);
    return 0;
}

static int read_bytes(const char *bytes, size_t length)
{
    FILE *file = fopen(tempdir_path(&tmp, "rules"), "w");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    return byre_blkdebug_read_config(tempdir_path(&tmp, "rules"), &options, &err);
}

static int read_text(const char *text)
{
    return read_bytes(text, strlen(text));
}

static void config_rule_has_defaults(void **state)
{
    const struct byre_inject_error *rule;

    (void)state;
    assert_int_equal(read_text("[inject-error]\nevent = \"read_aio\"\n"), 0);
    assert_int_equal(options.inject.len, 1);
    rule = options.inject.ptr;
    assert_int_equal(rule->event, BYRE_EVENT_READ_AIO);
    assert_int_equal(rule->state, 0);
    assert_int_equal(rule->iotypes, BYRE_IOTYPE_READ | BYRE_IOTYPE_WRITE | BYRE_IOTYPE_WRITE_ZEROES |
                                        BYRE_IOTYPE_DISCARD | BYRE_IOTYPE_FLUSH);
    assert_int_equal(rule->code, -EIO);
    assert_int_equal(rule->sector, -1);
    assert_false(rule->once);
    assert_false(rule->immediately);
}

static void config_fields_are_read(void **state)
{
    const struct byre_inject_error *rule;

    (void)state;
    assert_int_equal(read_text("# what fails\n"
                               "[inject-error]\n"
                               "event = \"l2_update\"\nstate = \"3\"\niotype = \"block-status\"\n"
                               "errno = \"28\"\nsector = \"0x10\"\nonce = \"on\"\nimmediately = \"on\"\n"
                               "\n"
                               "[set-state]\nevent = \"write_aio\"\nstate = \"1\"\nnew_state = \"2\""), 0);
    assert_int_equal(options.inject.len, 1);
    rule = options.inject.ptr;
    assert_int_equal(rule->event, BYRE_EVENT_L2_UPDATE);
    assert_int_equal(rule->state, 3);
    assert_int_equal(rule->iotypes, BYRE_IOTYPE_BLOCK_STATUS);
    assert_int_equal(rule->code, -ENOSPC);
    assert_int_equal(rule->sector, 16);
    assert_true(rule->once);
    assert_true(rule->immediately);
    assert_int_equal(options.states.len, 1);
    assert_int_equal(options.states.ptr->event, BYRE_EVENT_WRITE_AIO);
    assert_int_equal(options.states.ptr->state, 1);
    assert_int_equal(options.states.ptr->new_state, 2);
}

static void config_white_space_and_names_do_not_count(void **state)
{
    (void)state;
    assert_int_equal(read_text("  [inject-error \"first\"]  # one\r\n\tevent=\"read_aio\" # why\r\n"
                               "[ inject-error ]\nevent   =   \"write_aio\"\nonce=\"off\"\n"
                               "[set-state\t\"s\" ]\nnew_state = \"5\"\nevent = \"none\"\n"), 0);
    assert_int_equal(options.inject.len, 2);
    assert_int_equal(options.inject.ptr[1].event, BYRE_EVENT_WRITE_AIO);
    assert_int_equal(options.states.len, 1);
    assert_int_equal(options.states.ptr->event, BYRE_EVENT_NONE);
}

static void config_empty_file_has_no_rules(void **state)
{
    (void)state;
    assert_int_equal(read_text(""), 0);
    assert_int_equal(read_text("\n# nothing\n\n"), 0);
    assert_int_equal(options.inject.len + options.states.len, 0);
}

static void config_mistakes_are_named(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        { "[foo]\n", "line 1: There is no option group 'foo'" },
        { "\n\nevent = \"read_aio\"\n", "line 3: no group defined for 'event'" },
        { "[inject-error]\nevent = \"foo\"\n", "line 2: Parameter 'event': there is no event 'foo'" },
        { "[inject-error]\nevnt = \"foo\"\n", "line 2: Invalid parameter 'evnt'" },
        { "[inject-error]\nnew_state = \"2\"\n", "line 2: Invalid parameter 'new_state'" },
        { "[set-state]\nonce = \"on\"\n", "line 2: Invalid parameter 'once'" },
        { "[inject-error]\nevent = read_aio\n", "line 2: a value must be in quotes: 'event = read_aio'" },
        { "[inject-error]\nevent = \"read_aio\n", "line 2: a value must be in quotes: 'event = \"read_aio'" },
        { "[inject-error]\nevent\n", "line 2: expected field = \"value\": 'event'" },
        { "[inject-error]\nevent = \"read_aio\" x\n", "line 2: something follows the value: ' x'" },
        { "[inject-error\n", "line 1: not the beginning of a rule: '[inject-error'" },
        { "[inject-error] x\n", "line 1: not the beginning of a rule: '[inject-error] x'" },
        { "[inject-error \"x]\n", "line 1: a rule's name has no end: '[inject-error \"x]'" },
        { "[inject-error]\nerrno = \"five\"\n", "line 2: Parameter 'errno' expects a number, not 'five'" },
        { "[inject-error]\nerrno = \"\"\n", "line 2: Parameter 'errno' expects a number, not ''" },
        { "[inject-error]\nerrno = \"5x\"\n", "line 2: Parameter 'errno' expects a number, not '5x'" },
        { "[inject-error]\nerrno = \"-5\"\n", "line 2: Parameter 'errno' is -5: it must be between 0 and 4095" },
        { "[inject-error]\nerrno = \"4096\"\n",
          "line 2: Parameter 'errno' is 4096: it must be between 0 and 4095" },
        { "[inject-error]\nsector = \"-2\"\n",
          "line 2: Parameter 'sector' is -2: it must be between -1 and 18014398509481983" },
        { "[inject-error]\nsector = \"99999999999999999999\"\n",
          "line 2: Parameter 'sector' is 99999999999999999999: it must be between -1 and 18014398509481983" },
        { "[inject-error]\nstate = \"2147483648\"\n",
          "line 2: Parameter 'state' is 2147483648: it must be between 0 and 2147483647" },
        { "[set-state]\nnew_state = \"0\"\n",
          "line 2: Parameter 'new_state' is 0: it must be between 1 and 2147483647" },
        { "[inject-error]\nonce = \"yes\"\n", "line 2: Parameter 'once' expects 'on' or 'off', not 'yes'" },
        { "[inject-error]\niotype = \"erase\"\n", "line 2: Parameter 'iotype': there is no kind of I/O 'erase'" },
        { "\n[inject-error]\nerrno = \"5\"\n", "rule of line 2: Missing event name for rule" },
        { "[inject-error]\n[set-state]\n", "line 2: rule of line 1: Missing event name for rule" },
        { "[set-state]\nevent = \"read_aio\"\n",
          "rule of line 1: Missing new_state for rule of event 'read_aio'" },
    };
    char expected[1000];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(read_text(cases[i].text), -EINVAL);
        snprintf(expected, sizeof expected, "Could not parse blkdebug config file '%s': %s",
                 tempdir_path(&tmp, "rules"), cases[i].error);
        assert_string_equal(err.text, expected);
    }
}

static void config_what_is_no_text_is_refused(void **state)
{
    static char zeros[(1 << 20) + 2];

    (void)state;
    assert_int_equal(read_bytes("[set-state]\0", 12), -EINVAL);
    assert_non_null(strstr(err.text, "it is no text of at most 1048576 bytes"));
    memset(zeros, '\n', sizeof zeros);
    assert_int_equal(read_bytes(zeros, 1 << 20), 0);
    assert_int_equal(read_bytes(zeros, (1 << 20) + 1), -EINVAL);
}

static void config_missing_file_is_named(void **state)
{
    char expected[1000];

    (void)state;
    assert_int_equal(byre_blkdebug_read_config(tempdir_path(&tmp, "none"), &options, &err), -ENOENT);
    snprintf(expected, sizeof expected, "Could not read blkdebug config file '%s': No such file or directory",
             tempdir_path(&tmp, "none"));
    assert_string_equal(err.text, expected);
}

static void check_says(struct byre_blkdebug_options limits, const char *error)
{
    int rc = byre_blkdebug_check(&limits, &err);

    assert_int_equal(rc, error ? -EINVAL : 0);
    if (error)
        assert_string_equal(err.text, error);
}

static void config_limits_go_together(void **state)
{
    (void)state;
    check_says((struct byre_blkdebug_options){ .align = 256 }, NULL);
    check_says((struct byre_blkdebug_options){ .align = 1 << 30 }, NULL);
    check_says((struct byre_blkdebug_options){ .align = 511 }, "Cannot meet constraints with align 511");
    check_says((struct byre_blkdebug_options){ .align = 1ULL << 31 },
               "Cannot meet constraints with align 2147483648");
    check_says((struct byre_blkdebug_options){ .max_transfer = 1000 }, NULL);
    check_says((struct byre_blkdebug_options){ .max_transfer = 2147483646 }, NULL);
    check_says((struct byre_blkdebug_options){ .max_transfer = 2147483647 },
               "Cannot meet constraints with max-transfer 2147483647");
    check_says((struct byre_blkdebug_options){ .align = 4096, .max_transfer = 512 },
               "Cannot meet constraints with max-transfer 512");
    check_says((struct byre_blkdebug_options){ .align = 4096, .max_transfer = 12288 }, NULL);
    check_says((struct byre_blkdebug_options){ .align = 8192, .opt_write_zero = 4096 },
               "Cannot meet constraints with opt-write-zero 4096");
    check_says((struct byre_blkdebug_options){ .opt_write_zero = 3072, .max_write_zero = 6144 }, NULL);
    check_says((struct byre_blkdebug_options){ .opt_write_zero = 4096, .max_write_zero = 2048 },
               "Cannot meet constraints with max-write-zero 2048");
    check_says((struct byre_blkdebug_options){ .align = 512, .opt_discard = 1000 },
               "Cannot meet constraints with opt-discard 1000");
    check_says((struct byre_blkdebug_options){ .opt_discard = 4096, .max_discard = 6144 },
               "Cannot meet constraints with max-discard 6144");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(config_rule_has_defaults),
        TEST(config_fields_are_read),
        TEST(config_white_space_and_names_do_not_count),
        TEST(config_empty_file_has_no_rules),
        TEST(config_mistakes_are_named),
        TEST(config_what_is_no_text_is_refused),
        TEST(config_missing_file_is_named),
        TEST(config_limits_go_together),
    };

    return cmocka_run_group_tests_name("blkdebug_config", tests, NULL, NULL);
}
