/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes that hold nothing.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/node.h"
#include "disk/options_tree.h"
#include "store/null.h"

static int describe_null(struct byre_node *node, enum byre_driver driver, json_t *size, json_t *zeroes,
                         struct byre_error *err)
{
    char name[32];

    strcat(strcpy(name, byre_driver_name(driver)), "://");
    node->is_protocol = true;
    node->full = byre_node_show(driver, NULL, NULL);
    node->exact = size || zeroes ? NULL : strdup(name);
    if (!node->full || (!size && !zeroes && !node->exact) ||
        (size && json_object_set(node->full, "size", size) < 0) ||
        (zeroes && json_object_set(node->full, "read-zeroes", zeroes) < 0))
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", name);
    return 0;
}

int byre_node_open_null(json_t *tree, enum byre_driver driver, const struct byre_node_mode *mode,
                        struct byre_node *ret_node, struct byre_error *err)
{
    struct byre_null_options options = {
        .size = BYRE_NULL_SIZE_DEFAULT,
        .aio = driver == BYRE_DRIVER_NULL_AIO,
        .read_only = !mode->writable,
    };
    CLEANUP(tree) json_t *size = json_incref(json_object_get(tree, "size"));
    CLEANUP(tree) json_t *zeroes = json_incref(json_object_get(tree, "read-zeroes"));
    int r = byre_options_take_size(tree, "size", &options.size, err);

    if (r >= 0)
        r = byre_options_take_number(tree, "latency-ns", &options.latency_ns, err);
    if (r >= 0)
        r = byre_options_take_bool(tree, "read-zeroes", &options.read_zeroes, err);
    if (r >= 0)
        r = byre_null_new(&options, &ret_node->store, err);
    return r < 0 ? r : describe_null(ret_node, driver, size, zeroes, err);
}
