/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Texts: whose they are, and how large they may be.
 */
#include "config.h"

#include "fuse/texts.h"

#include <errno.h>
#include <stdlib.h>

#include "cli/info_print.h"
#include "cli/json.h"
#include "fuse/info_text.h"
#include "fuse/map_text.h"
#include "fuse/table_text.h"

#define MAP_BYTES_MAX   (1u << 20)
#define MAP_EXTENTS_MAX (1u << 20)

/* What an image says of itself was read when it was opened.  It is read again where it may be something else. */
static int make_info(struct byre_image *image, unsigned view, char **ret_text, size_t *ret_length,
                     struct byre_error *err)
{
    unsigned layer = byre_image_layer(image, view);
    struct byre_view *now;
    int rc;

    if (!byre_image_changes(image) && layer == 0) {
        *ret_text = byre_json_to_text(byre_info_to_json(byre_image_info(image)), ret_length);
        return 0;
    }
    rc = byre_image_get(image, BYRE_VIEW_NOW, &now, err);
    if (rc < 0)
        return rc;
    rc = byre_info_text(now->disk, layer, ret_text, ret_length, err);
    byre_image_put(image, now);
    return rc;
}

int byre_text_make(struct byre_image *image, const struct byre_node *node, char **ret_text, size_t *ret_length,
                   struct byre_error *err)
{
    struct byre_view *view;
    int rc;

    if (node->kind == BYRE_NODE_INFO)
        return make_info(image, node->view, ret_text, ret_length, err);
    rc = byre_image_get(image, node->view, &view, err);
    if (rc < 0)
        return rc;
    if (node->kind == BYRE_NODE_MAP)
        rc = byre_map_text_all(view->disk, MAP_BYTES_MAX, MAP_EXTENTS_MAX, ret_text, ret_length, err);
    else
        rc = byre_table_text(view->disk, ret_text, ret_length, err);
    byre_image_put(image, view);
    return rc;
}
