/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking values out of an option tree.  Messages are QEMU's.
 */
#include "config.h"

#include "disk/options_tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/size.h"

static int no_memory(const char *key, struct byre_error *err)
{
    return byre_error_set_errno(err, -ENOMEM, "option '%s'", key);
}

/* A scalar as text: NULL for what is none, and on ENOMEM. */
static char *text_of(const json_t *value)
{
    char buf[32];

    switch (json_typeof(value)) {
    case JSON_STRING:
        return strdup(json_string_value(value));
    case JSON_INTEGER:
        snprintf(buf, sizeof buf, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return strdup(buf);
    case JSON_REAL:
        snprintf(buf, sizeof buf, "%.17g", json_real_value(value));
        return strdup(buf);
    case JSON_TRUE:
        return strdup("on");
    case JSON_FALSE:
        return strdup("off");
    default:
        return NULL;
    }
}

int byre_options_take_text(json_t *tree, const char *key, char **ret_text, struct byre_error *err)
{
    json_t *value = json_object_get(tree, key);

    *ret_text = NULL;
    if (!value || json_is_null(value))
        return 0;
    *ret_text = text_of(value);
    if (!*ret_text)
        return no_memory(key, err);
    json_object_del(tree, key);
    return 1;
}

int byre_options_take_bool(json_t *tree, const char *key, bool *ret_value, struct byre_error *err)
{
    static const char *const words[] = { "on", "yes", "true", "y", "off", "no", "false", "n" };
    CLEANUP(free_ptr) char *text = NULL;
    int r = byre_options_take_text(tree, key, &text, err);

    if (r <= 0)
        return r;
    for (int i = 0; i < 8; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_value = i < 4;
            return 1;
        }
    }
    return byre_error_set(err, -EINVAL, "Parameter '%s' expects 'on' or 'off'", key);
}

int byre_options_take_size(json_t *tree, const char *key, uint64_t *ret_value, struct byre_error *err)
{
    CLEANUP(free_ptr) char *text = NULL;
    int r = byre_options_take_text(tree, key, &text, err);

    if (r <= 0)
        return r;
    if (byre_size_parse(text, 'B', ret_value) == 0)
        return 1;
    byre_error_set(err, -EINVAL, "Parameter '%s' expects a non-negative number below 2^64", key);
    byre_error_hint(err, "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-");
    byre_error_hint(err, "and exabytes, respectively.");
    return -EINVAL;
}

int byre_options_take_number(json_t *tree, const char *key, uint64_t *ret_value, struct byre_error *err)
{
    CLEANUP(free_ptr) char *text = NULL;
    int r = byre_options_take_text(tree, key, &text, err);
    unsigned long long value;
    char *end;

    if (r <= 0)
        return r;
    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno || end == text || *end || strchr(text, '-'))
        return byre_error_set(err, -EINVAL, "Parameter '%s' expects a number", key);
    *ret_value = value;
    return 1;
}

int byre_options_take_word(json_t *tree, const char *key, const char *const *words, int *ret_index,
                           struct byre_error *err)
{
    CLEANUP(free_ptr) char *text = NULL;
    int r = byre_options_take_text(tree, key, &text, err);

    if (r <= 0)
        return r;
    for (int i = 0; words[i]; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_index = i;
            return 1;
        }
    }
    return byre_error_set(err, -EINVAL, "invalid parameter value: %s", text);
}

/* Does `name` lead into the branch `key`? */
static bool is_in_branch(const char *name, const char *key)
{
    size_t length = strlen(key);

    return strncmp(name, key, length) == 0 && name[length] == '.';
}

bool byre_options_has(const json_t *tree, const char *key)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)tree, name, value) {
        if (is_in_branch(name, key) || (strcmp(name, key) == 0 && !json_is_null(value)))
            return true;
    }
    return false;
}

int byre_options_take_branch(json_t *tree, const char *key, json_t **ret_branch, struct byre_error *err)
{
    CLEANUP(tree) json_t *branch = json_object();
    const char *name;
    void *next;
    json_t *value;

    if (!branch)
        return no_memory(key, err);
    json_object_foreach_safe(tree, next, name, value) {
        if (!is_in_branch(name, key))
            continue;
        if (json_object_set_nocheck(branch, name + strlen(key) + 1, value) < 0)
            return no_memory(key, err);
        json_object_del(tree, name);
    }
    *ret_branch = STEAL(branch);
    return json_object_size(*ret_branch) ? 1 : 0;
}

int byre_options_add_text(json_t *tree, const char *key, const char *value, struct byre_error *err)
{
    if (json_object_get(tree, key))
        return 0;
    if (json_object_set_new_nocheck(tree, key, json_string_nocheck(value)) < 0)
        return no_memory(key, err);
    return 0;
}

const char *byre_options_left(const json_t *tree)
{
    size_t count;
    const char **keys = json_object_size(tree) ? byre_options_keys(tree, &count) : NULL;
    const char *first = keys ? keys[0] : NULL;

    free(keys);
    return first;
}
