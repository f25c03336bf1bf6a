/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the JSON text of a "json:" name into an option tree.
 *
 * As QEMU does, strings may stand in single quotes, which saves a shell's user many backslashes.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/options_tree.h"

/* Copies the string that starts with the quote at `at`, in double quotes; returns what follows it. */
static const char *copy_string(const char *at, char **to)
{
    char quote = *at++;

    *(*to)++ = '"';
    for (; *at && *at != quote; at++) {
        if (*at == '\\' && at[1] == '\'') {
            at++;
        } else if (*at == '\\' && at[1]) {
            *(*to)++ = *at++;
        } else if (*at == '"') {
            *(*to)++ = '\\';
        }
        *(*to)++ = *at;
    }
    if (*at != quote)
        return at; /* unfinished, and left so */
    *(*to)++ = '"';
    return at + 1;
}

/* The text with all strings in double quotes: malloced, NULL on ENOMEM. */
static char *double_quoted(const char *text)
{
    char *copy = malloc(2 * strlen(text) + 1), *to = copy;

    if (!copy)
        return NULL;
    while (*text) {
        if (*text == '\'' || *text == '"')
            text = copy_string(text, &to);
        else
            *to++ = *text++;
    }
    *to = 0;
    return copy;
}

/* Where the flattening stands: the key so far. */
struct path {
    char key[BYRE_OPTIONS_KEY_MAX + 1];
    size_t length;
    unsigned depth;
};

static int flatten(json_t *tree, struct path *path, const json_t *value, struct byre_error *err);

/* Flattens `value`, which is the member `name` of what the path leads to. */
static int flatten_member(json_t *tree, struct path *path, const char *name, const json_t *value,
                          struct byre_error *err)
{
    size_t before = path->length;
    int n = snprintf(path->key + before, sizeof path->key - before, "%s%s", before ? "." : "", name), r;

    if (n < 0 || (size_t)n >= sizeof path->key - before)
        return byre_error_set(err, -EINVAL, "the option '%.32s...' has a name of more than %u bytes", path->key,
                              BYRE_OPTIONS_KEY_MAX);
    path->length += (size_t)n;
    path->depth++;
    r = flatten(tree, path, value, err);
    path->depth--;
    path->length = before;
    path->key[before] = 0;
    return r;
}

static int flatten_object(json_t *tree, struct path *path, const json_t *object, struct byre_error *err)
{
    const char *name;
    json_t *value;
    int r = 0;

    json_object_foreach((json_t *)object, name, value) {
        r = flatten_member(tree, path, name, value, err);
        if (r < 0)
            break;
    }
    return r;
}

static int flatten_list(json_t *tree, struct path *path, const json_t *list, struct byre_error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        char name[32];

        snprintf(name, sizeof name, "%zu", i);
        r = flatten_member(tree, path, name, json_array_get(list, i), err);
    }
    return r;
}

static int flatten(json_t *tree, struct path *path, const json_t *value, struct byre_error *err)
{
    if (path->depth > BYRE_OPTIONS_DEPTH_MAX)
        return byre_error_set(err, -EINVAL, "the JSON options are nested more than %d deep",
                              BYRE_OPTIONS_DEPTH_MAX);
    if (json_is_object(value))
        return flatten_object(tree, path, value, err);
    if (json_is_array(value))
        return flatten_list(tree, path, value, err);
    if (json_object_set_nocheck(tree, path->key, (json_t *)value) < 0)
        return byre_error_set_errno(err, -ENOMEM, "option '%.64s'", path->key);
    return 0;
}

/* QEMU's words, where the text is too short to say more. */
static int parse_error(const char *text, const json_error_t *where, struct byre_error *err)
{
    bool empty = text[strspn(text, " \t\r\n")] == 0;
    bool cut = json_error_code(where) == json_error_premature_end_of_input;

    if (empty)
        return byre_error_set(err, -EINVAL, "Could not parse the JSON options: Expecting a JSON value");
    return byre_error_set(err, -EINVAL, "Could not parse the JSON options: JSON parse error, %s",
                          cut ? "premature EOI" : where->text);
}

int byre_options_read_json(const char *text, json_t **ret_tree, struct byre_error *err)
{
    CLEANUP(free_ptr) char *quoted = NULL;
    CLEANUP(tree) json_t *object = NULL, *tree = NULL;
    struct path path = { .length = 0 };
    json_error_t where;
    int r;

    if (strlen(text) > BYRE_OPTIONS_LENGTH_MAX)
        return byre_error_set(err, -EINVAL, "the options have more than %u bytes", BYRE_OPTIONS_LENGTH_MAX);
    quoted = double_quoted(text);
    tree = json_object();
    if (!quoted || !tree)
        return byre_error_set_errno(err, -ENOMEM, "options");
    object = json_loads(quoted, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &where);
    if (!object)
        return parse_error(quoted, &where, err);
    if (!json_is_object(object))
        return byre_error_set(err, -EINVAL, "Invalid JSON object given");
    r = flatten(tree, &path, object, err);
    if (r == 0)
        *ret_tree = STEAL(tree);
    return r;
}
