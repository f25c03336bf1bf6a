/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names: protocols and paths, and backing names relative to their image.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/arith.h"
#include "base/name.h"

static void name_with_a_colon_before_any_slash_is_a_protocol(void **state)
{
    (void)state;
    assert_true(byre_name_is_protocol("nbd://host/export"));
    assert_true(byre_name_is_protocol("nbd:unix:/run/x"));
    assert_true(byre_name_is_protocol("json:{\"driver\":\"raw\"}"));
    assert_true(byre_name_is_protocol(":x"));
    assert_true(byre_name_is_protocol("FILE:x"));
    assert_false(byre_name_is_protocol("file:x.qcow2"));
    assert_false(byre_name_is_protocol("file:nbd://host/x"));
    assert_true(byre_name_is_protocol("a:b"));
    assert_false(byre_name_is_protocol("./a:b"));
    assert_false(byre_name_is_protocol("/dev/disk/by-path/pci-0000:00:1f.2"));
    assert_false(byre_name_is_protocol("plain.qcow2"));
    assert_false(byre_name_is_protocol(""));
}

static void backing_name_is_relative_to_the_image(void **state)
{
    static const struct {
        const char *image, *backing, *path;
    } cases[] = {
        { "top.qcow2", "base.raw", "base.raw" },
        { "dir/top.qcow2", "base.raw", "dir/base.raw" },
        { "/abs/dir/top.qcow2", "base.raw", "/abs/dir/base.raw" },
        { "/top.qcow2", "base.raw", "/base.raw" },
        { "./top.qcow2", "base.raw", "./base.raw" },
        { "dir/top.qcow2", "../other/base.raw", "dir/../other/base.raw" },
        { "dir/top.qcow2", "./a:b", "dir/./a:b" },
        { "dir/top.qcow2", "/abs/base.raw", "/abs/base.raw" },
        { "dir/top.qcow2", "nbd://host/x", "nbd://host/x" },
        { "dir/top.qcow2", "json:{}", "json:{}" },
        { "dir/top.qcow2", "file:base.raw", "file:base.raw" },
        { "file:top.qcow2", "base.raw", "base.raw" },
        { "file:dir/top.qcow2", "base.raw", "dir/base.raw" },
        { "file:a:b", "base.raw", "./base.raw" },
        { "dir/", "base.raw", "dir/base.raw" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *path = byre_resolve_name(cases[i].image, cases[i].backing);

        assert_non_null(path);
        assert_string_equal(path, cases[i].path);
        free(path);
    }
}

static void name_of_a_protocol_is_refused_by_its_word(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    assert_int_equal(byre_name_check("plain", &err), 0);
    assert_int_equal(byre_name_check("./a:b", &err), 0);
    assert_int_equal(byre_name_check("file:a:b", &err), 0);
    assert_int_equal(byre_name_check("nbd:unix:/run/x", &err), -ENOTSUP);
    assert_string_equal(err.text, "Unknown protocol 'nbd'");
    assert_int_equal(byre_name_check("json:{}", NULL), -ENOTSUP);
}

static void path_of_a_name_is_a_name_again(void **state)
{
    static const struct {
        const char *name, *path;
    } cases[] = {
        { "x", "x" },
        { "dir/x", "dir/x" },
        { "./a:b", "./a:b" },
        { "file:x", "x" },
        { "file:///x", "///x" },
        { "file:dir/a:b", "dir/a:b" },
        { "file:a:b", "./a:b" },
        { "file:file:x", "./file:x" },
        { "file:", "" },
        { "", "" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *path = byre_name_to_path(cases[i].name), *again = byre_name_to_path(path);

        assert_string_equal(path, cases[i].path);
        assert_string_equal(again, path);
        assert_false(byre_name_is_protocol(path));
        free(again);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_with_a_colon_before_any_slash_is_a_protocol),
        cmocka_unit_test(name_of_a_protocol_is_refused_by_its_word),
        cmocka_unit_test(path_of_a_name_is_a_name_again),
        cmocka_unit_test(backing_name_is_relative_to_the_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
