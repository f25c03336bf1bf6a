/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: what names are read as.  Whatever the bytes are, the trees are flat and bounded; what prints as a json:
 * name reads as the same tree again; and taking a tree apart leaves nothing.
 */
#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "disk/options_tree.h"
#include "fuzz/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Flat, with bounded keys.  *ret_exact: it can be written as JSON without loss. */
static void look_at(const json_t *tree, bool *ret_exact)
{
    const char *key;
    json_t *value;

    *ret_exact = true;
    json_object_foreach((json_t *)tree, key, value) {
        json_t *text = json_is_string(value) ? json_string(json_string_value(value)) : json_null();

        require(strlen(key) <= BYRE_OPTIONS_KEY_MAX);
        require(!json_is_object(value) && !json_is_array(value));
        /* bytes that are no UTF-8 print as U+FFFD; reals lose digits */
        if (!text || json_is_real(value))
            *ret_exact = false;
        json_decref(text);
        text = json_string(key);
        if (!text)
            *ret_exact = false;
        json_decref(text);
    }
}

static void print_and_read_again(const json_t *tree)
{
    char *name = byre_options_print(tree);
    struct byre_error err = BYRE_ERROR_INIT;
    json_t *again = NULL;

    require(name != NULL);
    /* an escape takes six bytes: the text may be longer than what is read */
    if (strlen(name) <= BYRE_OPTIONS_LENGTH_MAX) {
        require(byre_options_read_name(name, &again, &err) == 0);
        require(json_equal((json_t *)tree, again));
    }
    json_decref(again);
    free(name);
}

/* Takes each key in turn, as one type after the other. */
static void take_apart(json_t *tree)
{
    for (unsigned i = 0; json_object_size(tree); i++) {
        const char *left = byre_options_left(tree);
        char *key = left ? strdup(left) : NULL, *text;
        bool flag;
        uint64_t number;

        require(key != NULL);
        switch (i % 4) {
        case 0: byre_options_take_bool(tree, key, &flag, NULL); break;
        case 1: byre_options_take_size(tree, key, &number, NULL); break;
        case 2: byre_options_take_number(tree, key, &number, NULL); break;
        }
        if (byre_options_take_text(tree, key, &text, NULL) == 0)
            json_object_del(tree, key); /* null stays, or it was taken above */
        free(text);
        free(key);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *name = malloc(size + 1);
    struct byre_error err = BYRE_ERROR_INIT;
    json_t *tree = NULL, *branch = NULL;
    bool exact;
    int r;

    require(name != NULL);
    memcpy(name, data, size);
    name[size] = 0;
    r = byre_options_read_name(name, &tree, &err);
    free(name);
    if (r < 0) {
        require(err.code == r && err.text[0] && !tree);
        return 0;
    }
    look_at(tree, &exact);
    if (exact)
        print_and_read_again(tree);
    require(byre_options_take_branch(tree, "file", &branch, &err) >= 0);
    take_apart(branch);
    take_apart(tree);
    json_decref(branch);
    json_decref(tree);
    return 0;
}
