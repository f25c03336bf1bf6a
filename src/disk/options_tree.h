/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The option tree: what a disk is made of, as keys and values.
 *
 * A tree is a jansson object, and flat: the branches are in the keys ("file.driver", "inject-error.0.event").  Values
 * are strings, integers, reals, booleans and null.  Strings have no NUL in them, and need not be UTF-8 where they come
 * from a command line.
 *
 * Who knows a key takes it, which removes it; what is left in the end is what nobody knows.  Keys that are taken with
 * a value of the wrong kind (null, where text is wanted) stay.
 */
#ifndef BYRE_DISK_OPTIONS_TREE_H
#define BYRE_DISK_OPTIONS_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "byre/error.h"

#define BYRE_OPTIONS_LENGTH_MAX (64u << 10) /* bytes of a text that is read as a tree */
#define BYRE_OPTIONS_DEPTH_MAX 64            /* of nodes in each other, and of objects in JSON text */
#define BYRE_OPTIONS_KEY_MAX 511u            /* bytes of a key */

static inline void byre_cleanup_tree(json_t **tree)
{
    json_decref(*tree);
}

/* "file.driver=file,file.filename=a,,b": commas in values are doubled.  A word alone is the value of "file" if it
 * comes first; else it is KEY=on, or OTHER=off where it is "noOTHER".  The last value of a key counts. */
int byre_options_read_list(const char *text, json_t **ret_tree, struct byre_error *err);

/* The JSON text of an object; objects and lists in it become branches. */
int byre_options_read_json(const char *text, json_t **ret_tree, struct byre_error *err);

/*
 * What a name says: "json:{...}", "image-opts:LIST", "file:PATH", "host_device:PATH", "null-co://", "null-aio://",
 * "blkdebug:CONFIG:NAME", one of nbd_name.h, or a path.  All but the first two make a tree whose only branch is "file".
 */
int byre_options_read_name(const char *name, json_t **ret_tree, struct byre_error *err);

/* The same for the name of a node that holds bytes: there is no "file" around it, and no list. */
int byre_options_read_node_name(const char *name, json_t **ret_tree, struct byre_error *err);

/* byre_backing_check for `what`: "backing files", "data files". */
int byre_recorded_name_check(const char *name, const char *what, bool protocols, struct byre_error *err);

/* The name as messages show it: without "image-opts:". */
const char *byre_options_shown_name(const char *name);

/* --- taking values: all of these return 1 if the key is there, 0 if not, or a negative errno that names it -------- */

/* Text, also of numbers and booleans; malloced.  NULL where it is not there. */
int byre_options_take_text(json_t *tree, const char *key, char **ret_text, struct byre_error *err);
/* The others leave the result as it is where the key is not there. */
int byre_options_take_bool(json_t *tree, const char *key, bool *ret_value, struct byre_error *err);
int byre_options_take_size(json_t *tree, const char *key, uint64_t *ret_value, struct byre_error *err);
int byre_options_take_number(json_t *tree, const char *key, uint64_t *ret_value, struct byre_error *err);
/* The index of the value among `words`, which end with NULL. */
int byre_options_take_word(json_t *tree, const char *key, const char *const *words, int *ret_index,
                           struct byre_error *err);

/* Is there the key, with a value other than null, or a branch of that name? */
bool byre_options_has(const json_t *tree, const char *key);

/* Moves the keys that start with "KEY." to a new tree, without that; empty if there are none. */
int byre_options_take_branch(json_t *tree, const char *key, json_t **ret_branch, struct byre_error *err);

/* Puts in what is missing: 0 or -ENOMEM. */
int byre_options_add_text(json_t *tree, const char *key, const char *value, struct byre_error *err);

/* Puts the keys of `branch` in with "KEY." in front, in the place of those that are there: 0, -EINVAL or -ENOMEM. */
int byre_options_add_branch(json_t *tree, const char *key, const json_t *branch, struct byre_error *err);

/* The key that QEMU would find left over first; NULL if the tree is empty.  It lives as long as the tree. */
const char *byre_options_left(const json_t *tree);

/*
 * The keys of an object in the order in which QEMU prints them: malloced, *ret_count of them; they live as long
 * as the object.  NULL on ENOMEM.
 */
const char **byre_options_keys(const json_t *object, size_t *ret_count);

/* The object as QEMU prints it as a name, "json:{...}"; objects in it may be nested.  malloced, NULL on ENOMEM. */
char *byre_options_print(const json_t *object);

#endif
