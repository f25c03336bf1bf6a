/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The options of qcow2 nodes.  Many are about QEMU's own caches and checks: they are read as QEMU reads
 * them, and mapped to what byre has.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/node.h"
#include "disk/options_tree.h"

#define CACHE_MIN (64u << 10) /* bytes: less would hold not even a few tables */

/* One template, by either of two keys.  All templates mean the same here: byre checks all that it can. */
static int take_overlap_template(json_t *tree, struct byre_error *err)
{
    static const char *const words[] = { "none", "constant", "cached", "all" };
    CLEANUP(free_ptr) char *one = NULL, *other = NULL;
    const char *word;
    int r = byre_options_take_text(tree, "overlap-check", &one, err);

    if (r >= 0)
        r = byre_options_take_text(tree, "overlap-check.template", &other, err);
    if (r < 0)
        return r;
    if (one && other && strcmp(one, other) != 0)
        return byre_error_set(err, -EINVAL, "Conflicting values for qcow2 options 'overlap-check' ('%s') and "
                              "'overlap-check.template' ('%s')", one, other);
    word = one ? one : other;
    for (unsigned i = 0; word && i < ARRAY_LEN(words); i++) {
        if (strcmp(word, words[i]) == 0)
            word = NULL;
    }
    return word ? byre_error_set(err, -EINVAL, "Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are "
                                 "any of the following: none, constant, cached, all", word) : 0;
}

/* Options that are checked, and change nothing. */
static int take_ignored(json_t *tree, struct byre_error *err)
{
    static const char *const bools[] = {
        "pass-discard-request", "pass-discard-snapshot", "pass-discard-other",
        "overlap-check.main-header", "overlap-check.active-l1", "overlap-check.active-l2",
        "overlap-check.refcount-table", "overlap-check.refcount-block", "overlap-check.snapshot-table",
        "overlap-check.inactive-l1", "overlap-check.inactive-l2", "overlap-check.bitmap-directory",
    };
    uint64_t number;
    bool value;
    int r = take_overlap_template(tree, err);

    for (unsigned i = 0; r >= 0 && i < ARRAY_LEN(bools); i++)
        r = byre_options_take_bool(tree, bools[i], &value, err);
    if (r >= 0)
        r = byre_options_take_number(tree, "cache-clean-interval", &number, err);
    return r < 0 ? r : 0;
}

/* The flat map takes the place of the cache of L2 tables; the other cache holds tables that are written to. */
static int take_caches(json_t *tree, struct byre_node_qcow2 *options, struct byre_error *err)
{
    uint64_t all = 0, l2 = 0, counts = 0;
    int has_all = byre_options_take_size(tree, "cache-size", &all, err);
    int has_l2 = has_all < 0 ? has_all : byre_options_take_size(tree, "l2-cache-size", &l2, err);
    int has_counts = has_l2 < 0 ? has_l2 : byre_options_take_size(tree, "refcount-cache-size", &counts, err);
    int r = has_counts;

    if (r >= 0)
        r = byre_options_take_size(tree, "l2-cache-entry-size", &options->entry_size, err);
    if (r < 0)
        return r;
    if (has_all && has_l2 && has_counts)
        return byre_error_set(err, -EINVAL, "cache-size, l2-cache-size and refcount-cache-size may not be set at the "
                              "same time");
    if (has_all && l2 > all)
        return byre_error_set(err, -EINVAL, "l2-cache-size may not exceed cache-size");
    if (has_all && counts > all)
        return byre_error_set(err, -EINVAL, "refcount-cache-size may not exceed cache-size");
    if (has_all || has_l2)
        options->map_bytes = MAX(has_l2 ? l2 : all - counts, (uint64_t)CACHE_MIN);
    if (has_all || has_counts)
        options->cache_bytes = MAX(has_counts ? counts : all - l2, (uint64_t)CACHE_MIN);
    return 0;
}

/* "backing": null or "" for none. */
static bool take_no_backing(json_t *tree)
{
    const json_t *value = json_object_get(tree, "backing");

    if (!value || !(json_is_null(value) || (json_is_string(value) && !*json_string_value(value))))
        return false;
    json_object_del(tree, "backing");
    return true;
}

/* A branch, or the name of a node, of which there are none. */
static int take_backing(json_t *tree, struct byre_node_qcow2 *options, struct byre_error *err)
{
    int r = byre_options_has(tree, "backing") ? byre_node_take_child(tree, "backing", &options->backing, err) : 0;

    if (r < 0)
        byre_error_prepend(err, "Could not open backing file: ");
    return r;
}

int byre_node_take_qcow2(json_t *tree, bool backing, struct byre_node_qcow2 *ret_options, struct byre_error *err)
{
    int r = byre_options_take_bool(tree, "lazy-refcounts", &ret_options->lazy, err);

    ret_options->lazy_set = r > 0;
    if (r >= 0)
        r = byre_options_take_bool(tree, "discard-no-unref", &ret_options->keep_discarded, err);
    if (r >= 0)
        r = take_caches(tree, ret_options, err);
    if (r == 0)
        r = take_ignored(tree, err);
    if (r < 0)
        return r;
    if (byre_options_has(tree, "data-file"))
        r = byre_node_take_child(tree, "data-file", &ret_options->data_file, err);
    if (r < 0)
        return r;
    ret_options->no_backing = take_no_backing(tree);
    return backing ? take_backing(tree, ret_options, err) : 0;
}
