/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The error value: texts, codes, cutting, and arguments that point into the error itself.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "byre/error.h"

static void error_set_stores_code_and_text(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    assert_int_equal(byre_error_set(&err, -EINVAL, "field %s is %d", "cluster_bits", 77), -EINVAL);
    assert_int_equal(err.code, -EINVAL);
    assert_string_equal(err.text, "field cluster_bits is 77");
}

static void error_set_errno_appends_the_reason(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    assert_int_equal(byre_error_set_errno(&err, -ENOENT, "Could not open '%s'", "x"), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_string_equal(err.text, "Could not open 'x': No such file or directory");
}

static void error_null_is_allowed_everywhere(void **state)
{
    (void)state;
    assert_int_equal(byre_error_set(NULL, -EIO, "x"), -EIO);
    assert_int_equal(byre_error_set_errno(NULL, -EIO, "x"), -EIO);
    byre_error_prepend(NULL, "x");
    byre_error_hint(NULL, "x");
}

static void error_prepend_and_hint_frame_the_text(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    byre_error_set(&err, -EAGAIN, "Failed to get \"write\" lock");
    byre_error_hint(&err, "Is another process using the image [%s]?", "a.img");
    byre_error_prepend(&err, "Could not open '%s': ", "a.img");
    assert_string_equal(err.text, "Could not open 'a.img': Failed to get \"write\" lock\n"
                        "Is another process using the image [a.img]?");
    assert_int_equal(err.code, -EAGAIN);
}

static void error_arguments_may_be_its_own_text(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    byre_error_set(&err, -EIO, "inner");
    byre_error_set(&err, -EIO, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
    byre_error_prepend(&err, "%s, ", err.text);
    assert_string_equal(err.text, "outer (inner), outer (inner)");
    byre_error_hint(&err, "%.5s", err.text);
    assert_string_equal(err.text, "outer (inner), outer (inner)\nouter");
}

static void error_texts_that_are_too_long_are_cut_and_terminated(void **state)
{
    char longer[BYRE_ERROR_TEXT_MAX + 100];
    struct {
        struct byre_error err;
        char canary[16];
    } box = { BYRE_ERROR_INIT, "canary" };

    (void)state;
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';

    byre_error_set(&box.err, -EIO, "%s", longer);
    assert_int_equal(strlen(box.err.text), BYRE_ERROR_TEXT_MAX - 1);
    byre_error_set_errno(&box.err, -EIO, "%s", longer);
    assert_int_equal(strlen(box.err.text), BYRE_ERROR_TEXT_MAX - 1);
    byre_error_hint(&box.err, "lost");
    assert_int_equal(strlen(box.err.text), BYRE_ERROR_TEXT_MAX - 1);
    byre_error_prepend(&box.err, "b");
    assert_int_equal(strlen(box.err.text), BYRE_ERROR_TEXT_MAX - 1);
    assert_true(box.err.text[0] == 'b' && box.err.text[1] == 'a');
    byre_error_prepend(&box.err, "c%s", longer);
    assert_int_equal(strlen(box.err.text), BYRE_ERROR_TEXT_MAX - 1);
    assert_true(box.err.text[0] == 'c' && !strchr(box.err.text, 'b'));
    assert_string_equal(box.canary, "canary");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_set_stores_code_and_text),
        cmocka_unit_test(error_set_errno_appends_the_reason),
        cmocka_unit_test(error_null_is_allowed_everywhere),
        cmocka_unit_test(error_prepend_and_hint_frame_the_text),
        cmocka_unit_test(error_arguments_may_be_its_own_text),
        cmocka_unit_test(error_texts_that_are_too_long_are_cut_and_terminated),
    };

    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
