/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a mount shows: directories and files, by their nodes.
 *
 *     disk.raw  info.json  map.json
 *     partitions/    table.json  1.raw  2.raw...
 *     snapshots/     NAME/       the same again, but for snapshots and layers
 *     layers/        0/  1/...   likewise
 *
 * of one image, or that for each of several in a directory of its own; the files of a file system instead; or one file.
 * Nothing here knows libfuse.
 */
#ifndef BYRE_FUSE_TREE_H
#define BYRE_FUSE_TREE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "fuse/image.h"
#include "fuse/node.h"

struct byre_tree {
    struct byre_image **images;
    char **names;          /* of the images' directories, where there are several */
    unsigned count;
    bool single_file;      /* the root is the disk of the only image */
    bool owner_given, group_given; /* whatever the files inside say */
    uid_t owner;
    gid_t group;
    mode_t umask;          /* permissions that nothing has */
};

/* What BYRE_NODE_ROOT stands for. */
struct byre_node byre_tree_root(const struct byre_tree *tree);
/* What a number stands for, and the number of a node. */
struct byre_node byre_tree_node(const struct byre_tree *tree, uint64_t number);
uint64_t byre_tree_number(const struct byre_tree *tree, const struct byre_node *node);

/* The entry of that name in a directory.  -ENOENT, -ENOTDIR. */
int byre_tree_lookup(const struct byre_tree *tree, const struct byre_node *directory, const char *name,
                     struct byre_node *ret_node, struct byre_error *err);

/*
 * Calls `each` for the entries of a directory, "." and ".." apart, from a cursor on (0: the start) until it returns
 * nonzero, which is returned.  `next` is the cursor behind the entry; `type` is S_IFDIR..., or 0: unknown.
 */
typedef int byre_tree_each(void *opaque, const char *name, const struct byre_node *node, mode_t type, uint64_t next);
int byre_tree_list(const struct byre_tree *tree, const struct byre_node *directory, uint64_t cursor,
                   byre_tree_each *each, void *opaque, struct byre_error *err);

/* What stat(2) says of a node.  *ret_lasts: it will stay so. */
int byre_tree_stat(const struct byre_tree *tree, const struct byre_node *node, struct stat *ret_stat, bool *ret_lasts,
                   struct byre_error *err);

/* The image that a node belongs to. */
static inline struct byre_image *byre_tree_image(const struct byre_tree *tree, const struct byre_node *node)
{
    return tree->images[node->image];
}

#endif
