/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an inode number of a mount stands for.  A number is made of what it stands for, so that none has to be kept:
 *
 *     63..56  kind
 *     55..48  image
 *     47..24  view     23..0  number      or, of files inside a file system,
 *     47..0   the file's id
 *
 *   N1. The root has the number 1, whatever it stands for.
 *   N2. Numbers come from the kernel, which has them from here; any other one stands for nothing that is found.
 */
#ifndef BYRE_FUSE_NODE_H
#define BYRE_FUSE_NODE_H

#include <stdint.h>

enum byre_node_kind {
    BYRE_NODE_NONE,
    BYRE_NODE_IMAGES,     /* directory of the images, where there are several */
    BYRE_NODE_VIEW,       /* directory of all that a view of an image has */
    BYRE_NODE_DISK,       /* disk.raw */
    BYRE_NODE_PARTITIONS, /* directory */
    BYRE_NODE_PARTITION,  /* partitions/N.raw; `number` is where it is in the view's list */
    BYRE_NODE_TABLE,      /* partitions/table.json */
    BYRE_NODE_SNAPSHOTS,  /* directory */
    BYRE_NODE_LAYERS,     /* directory */
    BYRE_NODE_INFO,       /* info.json */
    BYRE_NODE_MAP,        /* map.json */
    BYRE_NODE_FILE,       /* a file inside a file system; `file` is its id */
};

struct byre_node {
    enum byre_node_kind kind;
    unsigned image, view, number;
    uint64_t file;
};

#define BYRE_NODE_IMAGE_MAX 255u
#define BYRE_NODE_VIEW_MAX  0xffffffu
#define BYRE_NODE_ROOT      UINT64_C(1)

static inline uint64_t byre_node_pack(const struct byre_node *node)
{
    uint64_t rest = node->kind == BYRE_NODE_FILE ? node->file : (uint64_t)node->view << 24 | node->number;

    return (uint64_t)node->kind << 56 | (uint64_t)node->image << 48 | rest;
}

static inline struct byre_node byre_node_unpack(uint64_t number)
{
    struct byre_node node = { .kind = (enum byre_node_kind)(number >> 56), .image = number >> 48 & 0xff };

    if (node.kind == BYRE_NODE_FILE) {
        node.file = number & ((UINT64_C(1) << 48) - 1);
    } else {
        node.view = number >> 24 & 0xffffff;
        node.number = number & 0xffffff;
    }
    return node;
}

#endif
