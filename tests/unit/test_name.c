/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names: protocols and paths, and backing names relative to their image.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/arith.h"
#include "disk/disk.h"

static void name_with_a_colon_before_any_slash_is_a_protocol(void **state)
{
    (void)state;
    assert_true(byre_name_is_protocol("nbd://host/export"));
    assert_true(byre_name_is_protocol("nbd:unix:/run/x"));
    assert_true(byre_name_is_protocol("json:{\"driver\":\"raw\"}"));
    assert_true(byre_name_is_protocol("file:x.qcow2"));
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
        { "nbd://host/top", "base", "nbd://host/base" },
        { "file:top.qcow2", "base.raw", "file:base.raw" },
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_with_a_colon_before_any_slash_is_a_protocol),
        cmocka_unit_test(backing_name_is_relative_to_the_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
