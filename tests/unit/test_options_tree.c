/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Option trees: what lists, JSON and names are read as, what is refused, how values are taken, and how objects print.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/arith.h"
#include "disk/options_tree.h"

static struct byre_error err;

typedef int read_fn(const char *text, json_t **ret_tree, struct byre_error *err);

static json_t *must_read(read_fn *read, const char *text)
{
    json_t *tree = NULL;

    if (read(text, &tree, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return tree;
}

/* The tree is this one, as compact JSON with its keys in the order in which they were given. */
static void reads_as(read_fn *read, const char *text, const char *wanted)
{
    json_t *tree = must_read(read, text);
    char *found = json_dumps(tree, JSON_COMPACT);

    assert_string_equal(found, wanted);
    free(found);
    json_decref(tree);
}

static void is_refused(read_fn *read, const char *text, const char *wanted)
{
    json_t *tree = NULL;

    err.text[0] = 0;
    assert_true(read(text, &tree, &err) < 0);
    assert_null(tree);
    if (!strstr(err.text, wanted))
        fail_msg("'%s' says: %s", text, err.text);
}

static void list_members_are_read(void **state)
{
    (void)state;
    reads_as(byre_options_read_list, "", "{}");
    reads_as(byre_options_read_list, "driver=raw,file.driver=file", "{\"driver\":\"raw\",\"file.driver\":\"file\"}");
    reads_as(byre_options_read_list, "a=x,,y,b=", "{\"a\":\"x,y\",\"b\":\"\"}");
    reads_as(byre_options_read_list, "a=1,a=2,", "{\"a\":\"2\"}");
    reads_as(byre_options_read_list, "a=b=c,,,d=e", "{\"a\":\"b=c,\",\"d\":\"e\"}");
    reads_as(byre_options_read_list, "node", "{\"file\":\"node\"}");
    reads_as(byre_options_read_list, "a=b,flag,nolock", "{\"a\":\"b\",\"flag\":\"on\",\"lock\":\"off\"}");
}

static void json_is_flattened(void **state)
{
    (void)state;
    reads_as(byre_options_read_json, "{\"a\":{\"b\":1,\"c\":{\"d\":true}},\"e\":[null,{\"f\":\"g\"}]}",
             "{\"a.b\":1,\"a.c.d\":true,\"e.0\":null,\"e.1.f\":\"g\"}");
    reads_as(byre_options_read_json, " {\"a\":{},\"b\":[]} ", "{}");
    reads_as(byre_options_read_json, "{'a':'it\\'s \"x\"',\"b\":\"it's\"}",
             "{\"a\":\"it's \\\"x\\\"\",\"b\":\"it's\"}");
}

static void json_that_is_bad_is_refused(void **state)
{
    (void)state;
    is_refused(byre_options_read_json, "", "Expecting a JSON value");
    is_refused(byre_options_read_json, "{", "JSON parse error, premature EOI");
    is_refused(byre_options_read_json, "{\"a\":1,}", "JSON parse error");
    is_refused(byre_options_read_json, "{\"a\":1,\"a\":2}", "JSON parse error, duplicate object key");
    is_refused(byre_options_read_json, "{'a", "JSON parse error");
    is_refused(byre_options_read_json, "{'a\\", "JSON parse error");
    is_refused(byre_options_read_json, "{\"a\":\"\\u0000\"}", "JSON parse error");
    is_refused(byre_options_read_json, "{\"a\":\"\xff\"}", "JSON parse error");
    is_refused(byre_options_read_json, "[]", "Invalid JSON object given");
    is_refused(byre_options_read_json, "5", "Invalid JSON object given");
}

/* Text of `count` times `part` between two others; freed with free. */
static char *repeated(const char *before, const char *part, size_t count, const char *after)
{
    char *text = malloc(strlen(before) + count * strlen(part) + strlen(after) + 1), *to = text;

    assert_non_null(text);
    to = stpcpy(to, before);
    for (size_t i = 0; i < count; i++)
        to = stpcpy(to, part);
    strcpy(to, after);
    return text;
}

static void what_is_too_long_or_too_deep_is_refused(void **state)
{
    char *deep = repeated("", "{\"a\":", 100, ""), *deeper = repeated("", "[", 100000, "");
    char *closed = repeated(deep, "}", 0, "1"), *whole = repeated(closed, "}", 100, "");
    char *key = repeated("", "k", BYRE_OPTIONS_KEY_MAX + 1, "=1"), *list = repeated("a=", "x", 70000, "");
    char *nested = repeated("{\"", "k", 400, "\":{\""), *twice = repeated(nested, "k", 400, "\":1}}");
    char *name = repeated("", "blkdebug::", 100, "null-co://");

    (void)state;
    is_refused(byre_options_read_json, whole, "nested more than");
    is_refused(byre_options_read_json, deeper, "more than 65536 bytes");
    is_refused(byre_options_read_json, twice, "has a name of more than 511 bytes");
    is_refused(byre_options_read_list, key, "has a name of more than 511 bytes");
    is_refused(byre_options_read_list, list, "more than 65536 bytes");
    is_refused(byre_options_read_name, name, "more than 64 names in it");
    free(deep);
    free(deeper);
    free(closed);
    free(whole);
    free(key);
    free(list);
    free(nested);
    free(twice);
    free(name);
}

static void names_are_read(void **state)
{
    (void)state;
    reads_as(byre_options_read_name, "dir/a.raw", "{\"file.filename\":\"dir/a.raw\"}");
    reads_as(byre_options_read_name, "./a:b", "{\"file.filename\":\"./a:b\"}");
    reads_as(byre_options_read_name, "file:a", "{\"file.driver\":\"file\",\"file.filename\":\"a\"}");
    reads_as(byre_options_read_name, "null-aio://", "{\"file.driver\":\"null-aio\"}");
    reads_as(byre_options_read_name, "blkdebug::a",
             "{\"file.driver\":\"blkdebug\",\"file.image.filename\":\"a\"}");
    reads_as(byre_options_read_name, "blkdebug:c:blkdebug::null-co://",
             "{\"file.driver\":\"blkdebug\",\"file.config\":\"c\",\"file.image.driver\":\"blkdebug\","
             "\"file.image.image.driver\":\"null-co\"}");
    reads_as(byre_options_read_name, "json:{\"driver\":\"null-co\"}", "{\"driver\":\"null-co\"}");
    reads_as(byre_options_read_name, "image-opts:driver=null-co", "{\"driver\":\"null-co\"}");
    is_refused(byre_options_read_name, "ssh://h/x", "Unknown protocol 'ssh'");
    is_refused(byre_options_read_name, ":x", "Unknown protocol ''");
    is_refused(byre_options_read_name, "null-co:", "The only allowed filename for this driver is 'null-co://'");
    is_refused(byre_options_read_name, "blkdebug:x", "blkdebug requires both config file and image path");
}

static void values_are_taken_by_type(void **state)
{
    json_t *tree = must_read(byre_options_read_json,
                             "{\"s\":\"1k\",\"n\":7,\"b\":true,\"off\":\"off\","
                             "\"w\":\"two\",\"null\":null,\"x\":\"?\"}");
    static const char *const words[] = { "one", "two", NULL };
    uint64_t size = 99, number = 99;
    bool on = false, off = true;
    int word = 99;
    char *text;

    (void)state;
    assert_int_equal(byre_options_take_size(tree, "s", &size, &err), 1);
    assert_int_equal(size, 1024);
    assert_int_equal(byre_options_take_size(tree, "s", &size, &err), 0); /* it is gone */
    assert_int_equal(byre_options_take_number(tree, "n", &number, &err), 1);
    assert_int_equal(number, 7);
    assert_int_equal(byre_options_take_bool(tree, "b", &on, &err), 1);
    assert_int_equal(byre_options_take_bool(tree, "off", &off, &err), 1);
    assert_true(on && !off);
    assert_int_equal(byre_options_take_word(tree, "w", words, &word, &err), 1);
    assert_int_equal(word, 1);
    assert_int_equal(byre_options_take_text(tree, "null", &text, &err), 0);
    assert_null(text);
    assert_int_equal(byre_options_take_text(tree, "x", &text, &err), 1);
    assert_string_equal(text, "?");
    free(text);
    assert_string_equal(byre_options_left(tree), "null");
    json_decref(tree);
}

static void values_of_the_wrong_type_are_named(void **state)
{
    static const char *const words[] = { "one", NULL };
    json_t *tree = must_read(byre_options_read_list, "s=-1,n=12x,m=-3,b=maybe,w=two");
    uint64_t value;
    bool flag;
    int word;

    (void)state;
    assert_int_equal(byre_options_take_size(tree, "s", &value, &err), -EINVAL);
    assert_string_equal(err.text, "Parameter 's' expects a non-negative number below 2^64\n"
                        "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
                        "and exabytes, respectively.");
    assert_int_equal(byre_options_take_number(tree, "n", &value, &err), -EINVAL);
    assert_string_equal(err.text, "Parameter 'n' expects a number");
    assert_int_equal(byre_options_take_number(tree, "m", &value, &err), -EINVAL);
    assert_int_equal(byre_options_take_bool(tree, "b", &flag, &err), -EINVAL);
    assert_string_equal(err.text, "Parameter 'b' expects 'on' or 'off'");
    assert_int_equal(byre_options_take_word(tree, "w", words, &word, &err), -EINVAL);
    assert_string_equal(err.text, "invalid parameter value: two");
    json_decref(tree);
}

static void branches_are_taken_whole(void **state)
{
    json_t *tree = must_read(byre_options_read_list, "file.driver=raw,file.file.filename=a,filed=1,file=2"), *branch;

    (void)state;
    assert_true(byre_options_has(tree, "file"));
    assert_false(byre_options_has(tree, "fil"));
    assert_int_equal(byre_options_take_branch(tree, "file", &branch, &err), 1);
    assert_int_equal(json_object_size(tree), 2);
    assert_string_equal(json_string_value(json_object_get(branch, "driver")), "raw");
    assert_string_equal(json_string_value(json_object_get(branch, "file.filename")), "a");
    json_decref(branch);
    assert_int_equal(byre_options_take_branch(tree, "file", &branch, &err), 0);
    json_decref(branch);
    json_decref(tree);
}

/* What qemu-img 7.2 prints for the same. */
static void objects_print_as_qemu_prints_them(void **state)
{
    static const struct {
        const char *json, *wanted;
    } cases[] = {
        { "{}", "json:{}" },
        { "{\"driver\":\"raw\",\"offset\":4096,\"size\":\"8192\",\"file\":{\"driver\":\"file\",\"filename\":\"a\"}}",
          "json:{\"offset\": 4096, \"driver\": \"raw\", \"size\": \"8192\", \"file\": {\"driver\": \"file\", "
          "\"filename\": \"a\"}}" },
        { "{\"driver\":\"null-co\",\"size\":512,\"read-zeroes\":false}",
          "json:{\"read-zeroes\": false, \"driver\": \"null-co\", \"size\": 512}" },
        { "{\"driver\":\"blkdebug\",\"set-state.0.new_state\":2,"
          "\"inject-error.0.event\":\"x\",\"inject-error.0.errno\":5}",
          "json:{\"driver\": \"blkdebug\", \"set-state.0.new_state\": 2, \"inject-error.0.errno\": 5, "
          "\"inject-error.0.event\": \"x\"}" },
        { "{\"filename\":\"a\\u00e9\\ud83d\\ude00\\\"b\\\\c\\td\\u007fe\\u0001\"}",
          "json:{\"filename\": \"a\\u00E9\\uD83D\\uDE00\\\"b\\\\c\\td\\u007Fe\\u0001\"}" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *object = json_loads(cases[i].json, 0, NULL);
        char *found;

        assert_non_null(object);
        found = byre_options_print(object);
        assert_string_equal(found, cases[i].wanted);
        free(found);
        json_decref(object);
    }
}

static void bytes_that_are_no_utf8_print_as_such(void **state)
{
    json_t *tree = must_read(byre_options_read_list, "a=x\xff\xc3\xa9\xe2\x82,b=\xed\xa0\x80");
    char *found = byre_options_print(tree);

    (void)state;
    assert_non_null(strstr(found, "\"a\": \"x\\uFFFD\\u00E9\\uFFFD\\uFFFD\""));
    assert_non_null(strstr(found, "\"b\": \"\\uFFFD\\uFFFD\\uFFFD\""));
    free(found);
    json_decref(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_members_are_read),
        cmocka_unit_test(json_is_flattened),
        cmocka_unit_test(json_that_is_bad_is_refused),
        cmocka_unit_test(what_is_too_long_or_too_deep_is_refused),
        cmocka_unit_test(names_are_read),
        cmocka_unit_test(values_are_taken_by_type),
        cmocka_unit_test(values_of_the_wrong_type_are_named),
        cmocka_unit_test(branches_are_taken_whole),
        cmocka_unit_test(objects_print_as_qemu_prints_them),
        cmocka_unit_test(bytes_that_are_no_utf8_print_as_such),
    };

    return cmocka_run_group_tests_name("options_tree", tests, NULL, NULL);
}
