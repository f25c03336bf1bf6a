/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes: opening what an option tree describes, from the top down to files.
 *
 * A node has a driver and options, and most stand on another node, their "file" (blkdebug: "image").  A node that
 * others stand on is opened as a store; the one at the top of an image as a source: a store, and the format in it.
 *
 *   T1. Every key of a tree is understood, or refused by name; the latter before the image in a store is looked at.
 *   T2. What a node is told of caching, sharing and read-only holds for all that it stands on.
 *   T3. Nodes stand at most BYRE_OPTIONS_DEPTH_MAX deep on each other, nested disks included.
 */
#ifndef BYRE_DISK_NODE_H
#define BYRE_DISK_NODE_H

#include <jansson.h>

#include "disk/disk.h"

/* How a node is opened: what it inherits. */
struct byre_node_mode {
    bool writable, direct, no_flush, force_share, no_lock;
    bool protocol_backing;         /* see struct byre_open_options */
    const struct byre_secrets *secrets;
    const struct byre_disk *chain; /* not NULL: a name from an image; no file of these layers may come again */
    unsigned depth;
};

/* What each node may be told, whatever its driver is. */
struct byre_node_common {
    enum byre_detect_zeroes detect_zeroes;
    bool no_discard;
};

/* A node that others stand on. */
struct byre_node {
    struct byre_store *store;
    json_t *full;    /* its options as QEMU shows them */
    char *exact;     /* its short name, or NULL: there is none */
    char *path;      /* of the file at the bottom, or NULL: there is none */
    bool has_file;   /* dev and ino are those of the file at the bottom */
    bool is_protocol;
    bool is_flat;    /* its bytes are those of the file at the bottom, from `offset` on */
    uint64_t offset;
    dev_t dev;
    ino_t ino;
};

/* Options of qcow2 nodes. */
struct byre_node_qcow2 {
    bool lazy_set, lazy;
    bool keep_discarded;             /* discard-no-unref */
    uint64_t cache_bytes, map_bytes; /* 0: the defaults */
    uint64_t entry_size;             /* l2-cache-entry-size; 0: not given */
    char *crypt_format, *key_secret; /* "encrypt.format" and "encrypt.key-secret"; NULL: not given */
    bool no_backing;                 /* "backing": null */
    json_t *backing;                 /* the options of the backing node; NULL: none */
    json_t *data_file;               /* the options of the data file's node; NULL: none */
};

/* The node at the top of an image. */
struct byre_source {
    struct byre_node node;
    const char *driver;      /* "qcow2", "raw", "file", "compress", ...: a static string */
    char *file_name;         /* what host offsets count from, and where in that the store starts: as map shows them */
    uint64_t file_offset;
    bool is_qcow2, is_luks;
    char *key_secret;        /* of luks; NULL: not given */
    bool probed;             /* no driver was named */
    struct byre_node_common common;
    bool copy_on_read, compress;
    struct byre_node_qcow2 qcow2;
};

void byre_node_done(struct byre_node *node);
void byre_source_done(struct byre_source *source);

/* The name as QEMU prints it: malloced, NULL on ENOMEM. */
char *byre_node_name(const struct byre_node *node);

/* Opens the node as a store.  `tree` is used up. */
int byre_node_open(json_t *tree, const struct byre_node_mode *mode, struct byre_node *ret_node,
                   struct byre_error *err);

/* Opens the node at the top of an image.  `tree` is used up; with `backing`, options of the backing node are taken,
 * else refused.  The image in the store is probed, where no driver is named, but not opened. */
int byre_source_open(json_t *tree, const struct byre_node_mode *mode, bool backing, struct byre_source *ret_source,
                     struct byre_error *err);

/* What a name says, as an option tree.  `format` (NULL: none) overrides the driver that the name may have. */
int byre_source_read_name(const char *name, const char *format, json_t **ret_tree, struct byre_error *err);

/* Opens what a name says.  `format` (NULL: none) overrides the driver that the name may have.  `chain`: the name stands
 * in an image. */
int byre_source_open_name(const char *name, const char *format, const struct byre_node_mode *mode, bool backing,
                          struct byre_source *ret_source, struct byre_error *err);

/* --- for node*.c ------------------------------------------------------------------------------------------ */

enum byre_driver {
    BYRE_DRIVER_BLKDEBUG,
    BYRE_DRIVER_COMPRESS,
    BYRE_DRIVER_COPY_ON_READ,
    BYRE_DRIVER_FILE,
    BYRE_DRIVER_HOST_DEVICE,
    BYRE_DRIVER_LUKS,
    BYRE_DRIVER_NBD,
    BYRE_DRIVER_NULL_AIO,
    BYRE_DRIVER_NULL_CO,
    BYRE_DRIVER_QCOW2,
    BYRE_DRIVER_RAW,
};

const char *byre_driver_name(enum byre_driver driver);
/* A driver whose node holds bytes by itself. */
bool byre_driver_is_protocol(enum byre_driver driver);
/* Takes "driver": 1, 0 if it is missing, or a negative errno. */
int byre_driver_take(json_t *tree, enum byre_driver *ret_driver, struct byre_error *err);

/* Takes what any node may be told, and makes of the inherited mode the node's own. */
int byre_node_take_common(json_t *tree, const struct byre_node_mode *inherited, struct byre_node_mode *ret_mode,
                          struct byre_node_common *ret_common, struct byre_error *err);

/* Takes the branch of the node that this one stands on, which has to be there. */
int byre_node_take_child(json_t *tree, const char *key, json_t **ret_branch, struct byre_error *err);

/* Refuses what is left in the tree. */
int byre_node_refuse_rest(const json_t *tree, enum byre_driver driver, struct byre_error *err);

/* The object that shows a node with this driver, and with `child` (NULL: none) as its `key`; NULL on ENOMEM. */
json_t *byre_node_show(enum byre_driver driver, const char *key, const struct byre_node *child);

/* Nodes with these drivers, whose common options were taken.  The rest of the tree is the caller's to refuse. */
int byre_node_open_file(json_t *tree, const enum byre_driver *driver, const struct byre_node_mode *mode,
                        struct byre_node *ret_node, struct byre_error *err);
int byre_node_open_null(json_t *tree, enum byre_driver driver, const struct byre_node_mode *mode,
                        struct byre_node *ret_node, struct byre_error *err);
int byre_node_open_nbd(json_t *tree, const struct byre_node_mode *mode, struct byre_node *ret_node,
                       struct byre_error *err);
int byre_node_open_blkdebug(json_t *tree, const struct byre_node_mode *mode, struct byre_node *ret_node,
                            struct byre_error *err);

/* Takes a text, and shows it in the node's options, which then has no short name: 0, or a negative errno. */
int byre_node_take_shown(json_t *tree, const char *key, struct byre_node *node, char **ret_text,
                         struct byre_error *err);

/* The options of a qcow2 node. */
int byre_node_take_qcow2(json_t *tree, bool backing, struct byre_node_qcow2 *ret_options, struct byre_error *err);

/* Makes the node of raw out of that of its child, which it takes over, also on failure: cuts out what
 * "offset" and "size" say. */
int byre_node_make_raw(json_t *tree, struct byre_node *child, struct byre_node *ret_node, struct byre_error *err);

#endif
