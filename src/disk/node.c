/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening nodes as stores.
 */
#include "config.h"

#include "disk/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/disk_store.h"
#include "disk/open.h"
#include "disk/options_tree.h"
#include "store/slice.h"

/* --- raw, as a node that others stand on ------------------------------------------------------------------ */

/* "offset" and "size", where they are given, as numbers and as they are shown. */
static int take_place(json_t *tree, json_t *shown, uint64_t *ret_offset, uint64_t *ret_size, struct byre_error *err)
{
    static const char *const keys[] = { "offset", "size" };
    int there;

    for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
        json_t *value = json_object_get(tree, keys[i]);

        if (value && json_object_set(shown, keys[i], value) < 0)
            return byre_error_set_errno(err, -ENOMEM, "options");
    }
    there = byre_options_take_size(tree, "offset", ret_offset, err);
    if (there >= 0)
        there = byre_options_take_size(tree, "size", ret_size, err);
    if (there > 0 && !byre_is_aligned(*ret_size, BYRE_SECTOR))
        return byre_error_set(err, -EINVAL, "Specified size is not multiple of %u", BYRE_SECTOR);
    return there < 0 ? there : 0;
}

/* Cuts the slice out of the node's store. */
static int cut(struct byre_node *node, uint64_t offset, uint64_t size, struct byre_error *err)
{
    struct byre_store *slice;
    int r;

    if (offset == 0 && size == BYRE_SLICE_TO_END)
        return 0;
    r = byre_slice_new(node->store, offset, size, &slice, err);
    if (r == 0)
        node->store = slice;
    return r;
}

int byre_node_make_raw(json_t *tree, struct byre_node *child, struct byre_node *ret_node, struct byre_error *err)
{
    CLEANUP(tree) json_t *shown = byre_node_show(BYRE_DRIVER_RAW, "file", child);
    uint64_t offset = 0, size = BYRE_SLICE_TO_END;
    bool whole;
    int r;

    *ret_node = *child;
    *child = (struct byre_node){ .store = NULL };
    if (!shown)
        return byre_error_set_errno(err, -ENOMEM, "options");
    r = take_place(tree, shown, &offset, &size, err);
    if (r == 0)
        r = cut(ret_node, offset, size, err);
    if (r < 0)
        return r;
    whole = json_object_size(shown) == 2;
    if (!whole || !ret_node->is_protocol) {
        free(ret_node->exact);
        ret_node->exact = NULL;
    }
    ret_node->is_protocol = false;
    json_decref(ret_node->full);
    ret_node->full = STEAL(shown);
    ret_node->offset += offset;
    return 0;
}

static int open_raw(json_t *tree, const struct byre_node_mode *mode, struct byre_node *ret_node,
                    struct byre_error *err)
{
    CLEANUP(tree) json_t *branch = NULL;
    struct byre_node child = { .store = NULL };
    int r = byre_node_take_child(tree, "file", &branch, err);

    if (r == 0)
        r = byre_node_open(branch, mode, &child, err);
    if (r == 0)
        r = byre_node_make_raw(tree, &child, ret_node, err);
    byre_node_done(&child);
    return r;
}

/* --- formats and filters: a disk of its own --------------------------------------------------------------- */

static int open_disk(json_t *tree, const struct byre_node_mode *mode, struct byre_node *ret_node,
                     struct byre_error *err)
{
    struct byre_disk *disk;
    struct byre_layer *top;
    int r = byre_disk_open_tree(tree, mode, &disk, err);

    if (r < 0)
        return r;
    top = &disk->layers[0];
    ret_node->full = json_incref(top->shown);
    ret_node->exact = top->has_exact ? strdup(top->name) : NULL;
    ret_node->path = top->path ? strdup(top->path) : NULL;
    ret_node->has_file = top->has_file;
    ret_node->dev = top->dev;
    ret_node->ino = top->ino;
    if ((top->has_exact && !ret_node->exact) || (top->path && !ret_node->path))
        r = byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", top->name);
    if (r == 0)
        r = byre_disk_store_new(disk, &ret_node->store, err);
    if (r < 0)
        byre_disk_free(disk, NULL);
    return r;
}

/* --- any node --------------------------------------------------------------------------------------------- */

static int open_protocol(json_t *tree, const enum byre_driver *driver, const struct byre_node_mode *mode,
                         struct byre_node *ret_node, struct byre_error *err)
{
    if (driver && *driver == BYRE_DRIVER_BLKDEBUG)
        return byre_node_open_blkdebug(tree, mode, ret_node, err);
    if (driver && (*driver == BYRE_DRIVER_NULL_CO || *driver == BYRE_DRIVER_NULL_AIO))
        return byre_node_open_null(tree, *driver, mode, ret_node, err);
    if (driver && *driver == BYRE_DRIVER_NBD)
        return byre_node_open_nbd(tree, mode, ret_node, err);
    if (driver && *driver == BYRE_DRIVER_RAW)
        return open_raw(tree, mode, ret_node, err);
    return byre_node_open_file(tree, driver, mode, ret_node, err);
}

/* Is this a node that only a disk can open: a format, a filter, or one to be probed? */
static int is_disk(const json_t *tree, bool *ret_disk, struct byre_error *err)
{
    CLEANUP(tree) json_t *copy = json_copy((json_t *)tree);
    enum byre_driver driver;
    int r = copy ? byre_driver_take(copy, &driver, err) : byre_error_set_errno(err, -ENOMEM, "options");

    if (r > 0)
        *ret_disk = !byre_driver_is_protocol(driver) && driver != BYRE_DRIVER_RAW;
    if (r != 0)
        return r;
    *ret_disk = byre_options_has(tree, "file");
    if (!*ret_disk && !json_object_get(tree, "filename"))
        return byre_error_set(err, -EINVAL, "Must specify either driver or file");
    return 0;
}

int byre_node_open(json_t *tree, const struct byre_node_mode *mode, struct byre_node *ret_node,
                   struct byre_error *err)
{
    struct byre_node node = { .store = NULL };
    struct byre_node_common common;
    struct byre_node_mode own;
    enum byre_driver driver = BYRE_DRIVER_FILE;
    bool disk = false;
    int named = 0, r = is_disk(tree, &disk, err);

    if (r >= 0 && disk) {
        r = open_disk(tree, mode, &node, err);
    } else if (r >= 0) {
        named = byre_driver_take(tree, &driver, err);
        r = named < 0 ? named : byre_node_take_common(tree, mode, &own, &common, err);
        if (r == 0)
            r = open_protocol(tree, named ? &driver : NULL, &own, &node, err);
        if (r == 0)
            r = byre_node_refuse_rest(tree, driver, err);
    }
    if (r < 0) {
        byre_node_done(&node);
        return r;
    }
    *ret_node = node;
    return 0;
}
