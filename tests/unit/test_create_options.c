/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lists of format options: what is taken, what it means, what is refused.
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
#include "cli/create_options.h"

/* Reads one list into fresh values.  Returns the result; the text of the error is in `err`. */
static int parse(const char *format, const char *list, struct byre_create_values *values,
                 struct byre_error *err)
{
    byre_create_values_init(values, format);
    return byre_create_values_parse(values, list, err);
}

static void list_without_members_is_refused(void **state)
{
    static const char *const bad[] = { "", ",", ",a=b", "a=b,", "a=b,,,", ",," };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        char *list = NULL;

        assert_int_equal(byre_option_list_append(&list, bad[i]), 1);
        assert_null(list);
    }
}

static void list_of_two_arguments_is_joined(void **state)
{
    char *list = NULL;

    (void)state;
    assert_int_equal(byre_option_list_append(&list, "a=1"), 0);
    assert_int_equal(byre_option_list_append(&list, "b=2,,"), 0);
    assert_string_equal(list, "a=1,b=2,,");
    free(list);
}

static void help_as_member_is_found(void **state)
{
    (void)state;
    assert_true(byre_option_list_wants_help("help"));
    assert_true(byre_option_list_wants_help("cluster_size=4k,help"));
    assert_true(byre_option_list_wants_help("?,cluster_size=4k"));
    assert_false(byre_option_list_wants_help("cluster_size=4k"));
    assert_false(byre_option_list_wants_help("backing_file=a,,help"));
    assert_false(byre_option_list_wants_help("help=on"));
    assert_false(byre_option_list_wants_help(NULL));
}

static void doubled_comma_is_part_of_the_value(void **state)
{
    struct byre_create_values values;

    (void)state;
    assert_int_equal(parse("qcow2", "backing_file=a,,b=c,,,,d,backing_fmt=raw", &values, NULL), 0);
    assert_string_equal(byre_create_values_text(&values, "backing_file"), "a,b=c,,d");
    assert_string_equal(byre_create_values_text(&values, "backing_fmt"), "raw");
    byre_create_values_done(&values);
}

static void defaults_of_qcow2_are_applied(void **state)
{
    struct byre_create_options options;
    struct byre_create_values values;

    (void)state;
    byre_create_values_init(&values, "qcow2");
    assert_int_equal(byre_create_values_apply(&values, &options, NULL), 0);
    assert_int_equal(options.cluster_size, 65536);
    assert_int_equal(options.refcount_bits, 16);
    assert_false(options.lazy_refcounts);
    assert_string_equal(options.compression_type, "zlib");
    assert_null(options.compat);
    assert_null(options.preallocation);
    assert_null(options.backing_name);
    byre_create_values_done(&values);
}

static void given_values_are_applied(void **state)
{
    struct byre_create_options options;
    struct byre_create_values values;

    (void)state;
    assert_int_equal(parse("qcow2", "cluster_size=4k,refcount_bits=0x20,lazy_refcounts,compat=1.1,size=1.5M,"
                                    "compression_type=zstd,preallocation=full,cluster_size=8k",
                           &values, NULL), 0);
    assert_int_equal(byre_create_values_apply(&values, &options, NULL), 0);
    assert_int_equal(options.cluster_size, 8192);
    assert_int_equal(options.refcount_bits, 32);
    assert_true(options.lazy_refcounts);
    assert_int_equal(options.size, 1572864);
    assert_string_equal(options.compat, "1.1");
    assert_string_equal(options.compression_type, "zstd");
    assert_string_equal(options.preallocation, "full");
    byre_create_values_done(&values);
}

static void bad_member_is_refused_by_name(void **state)
{
    static const struct {
        const char *format, *list, *text;
        int code;
    } bad[] = {
        { "qcow2", "foo=1", "Invalid parameter 'foo'", -EINVAL },
        { "qcow2", "nofoo", "Invalid parameter 'foo'", -EINVAL },
        { "qcow2", "=1", "Invalid parameter ''", -EINVAL },
        { "raw", "cluster_size=4k", "Invalid parameter 'cluster_size'", -EINVAL },
        { "qcow2", "lazy_refcounts=maybe", "Parameter 'lazy_refcounts' expects 'on' or 'off'", -EINVAL },
        { "qcow2", "refcount_bits=16k", "Parameter 'refcount_bits' expects a number", -EINVAL },
        { "qcow2", "refcount_bits=", "Parameter 'refcount_bits' expects a number", -EINVAL },
        { "qcow2", "size=16E", "Value '16E' is out of range for parameter 'size'", -EINVAL },
        { "qcow2", "extended_l2=maybe", "Parameter 'extended_l2' expects 'on' or 'off'", -EINVAL },
        { "qcow2", "data_file_raw=maybe", "Parameter 'data_file_raw' expects 'on' or 'off'", -EINVAL },
        { "raw", "nocow=on", "Option 'nocow=on' is not supported", -ENOTSUP },
        { "raw", "nocow", "Invalid parameter 'cow'", -EINVAL },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct byre_error err = BYRE_ERROR_INIT;
        struct byre_create_values values;

        assert_int_equal(parse(bad[i].format, bad[i].list, &values, &err), bad[i].code);
        assert_string_equal(err.text, bad[i].text);
        byre_create_values_done(&values);
    }
}

static void switched_off_features_are_accepted(void **state)
{
    struct byre_create_values values;

    (void)state;
    assert_int_equal(parse("qcow2",
                           "extended_l2=off,noencryption,nocow=off,extent_size_hint=0",
                           &values, NULL),
                     0);
    byre_create_values_done(&values);
}

static void zero_in_place_of_a_default_is_refused(void **state)
{
    static const char *const bad[] = { "cluster_size=0", "refcount_bits=0", "refcount_bits=-1",
                                       "cluster_size=8G" };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct byre_create_options options;
        struct byre_create_values values;

        assert_int_equal(parse("qcow2", bad[i], &values, NULL), 0);
        assert_int_equal(byre_create_values_apply(&values, &options, NULL), -EINVAL);
        byre_create_values_done(&values);
    }
}

static void option_of_another_format_cannot_be_set(void **state)
{
    struct byre_create_values values;
    uint64_t size;

    (void)state;
    byre_create_values_init(&values, "raw");
    assert_false(byre_create_values_set_text(&values, "backing_file", "a"));
    assert_false(byre_create_values_number(&values, "size", &size));
    assert_true(byre_create_values_set_number(&values, "size", 512));
    assert_true(byre_create_values_number(&values, "size", &size));
    assert_int_equal(size, 512);
    byre_create_values_done(&values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_without_members_is_refused),
        cmocka_unit_test(list_of_two_arguments_is_joined),
        cmocka_unit_test(help_as_member_is_found),
        cmocka_unit_test(doubled_comma_is_part_of_the_value),
        cmocka_unit_test(defaults_of_qcow2_are_applied),
        cmocka_unit_test(given_values_are_applied),
        cmocka_unit_test(bad_member_is_refused_by_name),
        cmocka_unit_test(switched_off_features_are_accepted),
        cmocka_unit_test(zero_in_place_of_a_default_is_refused),
        cmocka_unit_test(option_of_another_format_cannot_be_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
