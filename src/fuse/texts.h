/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files of a view that are texts: info.json, map.json, partitions/table.json.
 */
#ifndef BYRE_FUSE_TEXTS_H
#define BYRE_FUSE_TEXTS_H

#include "fuse/image.h"
#include "fuse/node.h"

/* The text of a node, to be freed by the caller.  -EFBIG: a map that is too large to be kept, or that takes too long;
 * it is read as a stream.  Ends the program where memory is short. */
int byre_text_make(struct byre_image *image, const struct byre_node *node, char **ret_text, size_t *ret_length,
                   struct byre_error *err);

#endif
