/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading "KEY=VALUE,KEY=VALUE", as --image-opts takes it, into an option tree.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/options_tree.h"

/* The last value counts, in the place of the first one. */
static int set(json_t *tree, const char *key, const char *value, struct byre_error *err)
{
    if (strlen(key) > BYRE_OPTIONS_KEY_MAX)
        return byre_error_set(err, -EINVAL, "the option '%.32s...' has a name of more than %u bytes", key,
                              BYRE_OPTIONS_KEY_MAX);
    if (json_object_set_new_nocheck(tree, key, json_string_nocheck(value)) < 0)
        return byre_error_set_errno(err, -ENOMEM, "option '%.64s'", key);
    return 0;
}

/* Copies a value, in which two commas stand for one, to `to`; returns what follows it. */
static const char *copy_value(const char *at, char *to)
{
    for (; *at; at++) {
        if (*at == ',' && *++at != ',')
            break;
        *to++ = *at;
    }
    *to = 0;
    return at;
}

/* A word without "=". */
static int set_word(json_t *tree, const char *word, bool first, struct byre_error *err)
{
    if (first)
        return set(tree, "file", word, err);
    if (strncmp(word, "no", 2) == 0)
        return set(tree, word + 2, "off", err);
    return set(tree, word, "on", err);
}

static int read_members(json_t *tree, const char *text, char *buf, struct byre_error *err)
{
    const char *at = text;
    int r = 0;

    while (r == 0 && *at) {
        size_t length = strcspn(at, "=,");

        if (at[length] == '=') {
            CLEANUP(free_ptr) char *key = strndup(at, length);

            at = copy_value(at + length + 1, buf);
            r = key ? set(tree, key, buf, err) : byre_error_set_errno(err, -ENOMEM, "options");
        } else {
            const char *word = at;

            at = copy_value(at, buf);
            r = set_word(tree, buf, word == text, err);
        }
    }
    return r;
}

int byre_options_read_list(const char *text, json_t **ret_tree, struct byre_error *err)
{
    size_t length = strlen(text);
    CLEANUP(free_ptr) char *buf = NULL;
    CLEANUP(tree) json_t *tree = NULL;
    int r;

    if (length > BYRE_OPTIONS_LENGTH_MAX)
        return byre_error_set(err, -EINVAL, "the options have more than %u bytes", BYRE_OPTIONS_LENGTH_MAX);
    buf = malloc(length + 1);
    tree = json_object();
    if (!buf || !tree)
        return byre_error_set_errno(err, -ENOMEM, "options");
    r = read_members(tree, text, buf, err);
    if (r == 0)
        *ret_tree = STEAL(tree);
    return r;
}
