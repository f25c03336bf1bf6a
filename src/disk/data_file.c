/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * External data files.
 *
 *   X1. A data file is opened as the image is: for writing at the top only, and as plain bytes, never probed.
 *   X2. It is none of the files of the chain, not even the image itself: guests would write to metadata.
 *   X3. A recorded name is a path, unless the caller asks for more: the rule of backing files.
 *   X4. A relative one is taken from the working directory, as QEMU does, or from the directory of the image if there
 *       is no such file.
 */
#include "config.h"

#include "disk/data_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/options_tree.h"
#include "store/file.h"

static int no_memory(struct byre_error *err)
{
    return byre_error_set_errno(err, -ENOMEM, "data file");
}

/* The name that the header records: NULL if there is none; owned. */
static int recorded_name(const struct byre_qcow2_header *header, char **ret_name, struct byre_error *err)
{
    const struct byre_qcow2_extension *extension = byre_qcow2_header_find_extension(header, BYRE_QCOW2_EXT_DATA_FILE);

    *ret_name = NULL;
    if (!extension || !extension->length)
        return 0;
    if (memchr(extension->data, '\0', extension->length))
        return byre_error_set(err, -EINVAL, "the name of the data file has a NUL byte");
    *ret_name = strndup((const char *)extension->data, extension->length);
    return *ret_name ? 0 : no_memory(err);
}

/* X4: the name as seen from here, when it stands in the image of `layer`.  NULL on ENOMEM. */
static char *resolve(const struct byre_layer *layer, const char *name)
{
    CLEANUP(free_ptr) char *beside = byre_resolve_name_beside(layer->path, layer->name, name);
    CLEANUP(free_ptr) char *here_path = byre_name_to_path(name), *beside_path = NULL;

    if (!beside || !here_path)
        return NULL;
    if (access(here_path, F_OK) == 0)
        return strdup(name);
    beside_path = byre_name_to_path(beside);
    return beside_path && access(beside_path, F_OK) == 0 ? STEAL(beside) : strdup(name);
}

/* Puts what the recorded name says into the options, where they do not say otherwise. */
static int add_recorded_name(const struct byre_layer *layer, const char *name, bool protocols, json_t *tree,
                             struct byre_error *err)
{
    CLEANUP(tree) json_t *named = NULL;
    CLEANUP(free_ptr) char *resolved = NULL;
    int r = byre_recorded_name_check(name, "data files", protocols, err);

    if (r < 0)
        return r;
    resolved = resolve(layer, name);
    if (!resolved)
        return no_memory(err);
    r = byre_options_read_node_name(resolved, &named, err);
    if (r == 0 && json_object_update_missing(tree, named) < 0)
        r = no_memory(err);
    return r;
}

/* The options of the node: what was given, and what is recorded. */
static int merge_options(const struct byre_layer *layer, json_t *tree, const struct byre_node_mode *mode,
                         const struct byre_qcow2_header *header, struct byre_error *err)
{
    CLEANUP(free_ptr) char *name = NULL;
    int r = recorded_name(header, &name, err);

    if (r < 0)
        return r;
    if (!name && json_object_size(tree) == 0)
        return byre_error_set(err, -EINVAL, "'data-file' is required for this image");
    if (name && !byre_options_has(tree, "file") && !json_object_get(tree, "filename") &&
        !json_object_get(tree, "driver"))
        r = add_recorded_name(layer, name, mode->protocol_backing, tree, err);
    return r;
}

/* X2, by the name, before its lock is in the way of the image's own. */
static int check_name(const struct byre_disk *disk, const json_t *tree, struct byre_error *err)
{
    const char *name = json_string_value(json_object_get(tree, "filename"));
    CLEANUP(free_ptr) char *path = name ? byre_name_to_path(name) : NULL;

    if (!path || !byre_disk_has_file(disk, path))
        return 0;
    return byre_error_set(err, -EINVAL, "'%s' is the data file of an image, and an image of its chain", name);
}

/* X2. */
static int check_apart(const struct byre_disk *disk, const struct byre_node *node, struct byre_error *err)
{
    for (unsigned i = 0; node->has_file && i < disk->layer_count; i++) {
        const struct byre_layer *layer = &disk->layers[i];

        if (layer->has_file && layer->dev == node->dev && layer->ino == node->ino)
            return byre_error_set(err, -EINVAL, "'%s' is the data file of an image, and an image of its chain",
                                  layer->name);
    }
    return 0;
}

static int take_node(struct byre_layer *layer, struct byre_node *node, struct byre_error *err)
{
    char *name = node->is_flat && node->path ? strdup(node->path) : byre_node_name(node);

    if (!name)
        return no_memory(err);
    layer->data_file = STEAL(node->store);
    layer->data_name = name;
    layer->has_data_file = node->has_file;
    layer->data_dev = node->dev;
    layer->data_ino = node->ino;
    return 0;
}

/* Shows the options that were given: the image has no short name any more. */
static int show(struct byre_layer *layer, const struct byre_node *node, struct byre_error *err)
{
    char *name = NULL;

    if (layer->shown && json_object_set(layer->shown, "data-file", node->full) == 0)
        name = byre_options_print(layer->shown);
    if (!name)
        return no_memory(err);
    free(layer->name);
    layer->name = name;
    layer->has_exact = false;
    return 0;
}

int byre_data_file_open(void *opaque, const struct byre_qcow2_header *header, struct byre_store **ret_data,
                        struct byre_error *err)
{
    const struct byre_data_request *request = opaque;
    struct byre_disk *disk = request->disk;
    struct byre_layer *layer = &disk->layers[disk->layer_count - 1];
    bool given = *request->options;
    CLEANUP(tree) json_t *tree = given ? STEAL(*request->options) : json_object();
    struct byre_node node = { .store = NULL };
    int r = tree ? merge_options(layer, tree, request->mode, header, err) : no_memory(err);

    if (r == 0)
        r = check_name(disk, tree, err);
    if (r == 0)
        r = byre_node_open(tree, request->mode, &node, err);
    if (r == 0)
        r = check_apart(disk, &node, err);
    if (r == 0 && given)
        r = show(layer, &node, err);
    if (r == 0)
        r = take_node(layer, &node, err);
    if (r == 0)
        *ret_data = layer->data_file;
    byre_node_done(&node);
    return r;
}

/* The path of a new image's data file; owned. */
static int path_of(const char *name, char **ret_path, struct byre_error *err)
{
    int r = byre_name_check(name, err);

    if (r < 0)
        return r;
    if (!*name)
        return byre_error_set_errno(err, -ENOENT, "Could not create ''");
    *ret_path = byre_name_to_path(name);
    return *ret_path ? 0 : no_memory(err);
}

/* X2, before the file is truncated.  The backing file need not be open. */
static int check_new(const struct byre_disk *disk, const char *name, const char *path, const char *backing_name,
                     struct byre_error *err)
{
    CLEANUP(free_ptr) char *backing = NULL, *backing_path = NULL;

    if (backing_name)
        backing = byre_resolve_name_beside(disk->layers[0].name, NULL, backing_name);
    if (backing)
        backing_path = byre_name_to_path(backing);
    if (backing_name && !backing_path)
        return no_memory(err);
    if (!byre_disk_has_file(disk, path) && !byre_same_file(path, disk->layers[0].name) &&
        !(backing_path && byre_same_file(path, backing_path)))
        return 0;
    return byre_error_set(err, -EINVAL, "'%s' cannot be the data file and an image", name);
}

int byre_data_file_create(struct byre_disk *disk, const char *name, const char *backing_name, bool keep,
                          const struct byre_open_options *options, struct byre_error *err)
{
    const struct byre_file_options file_options = {
        .cache = options->cache,
        .writable = true,
        .create = !keep,
        .no_lock = options->no_lock,
    };
    struct byre_layer *layer = &disk->layers[0];
    struct byre_node node = { .store = NULL };
    int r = path_of(name, &node.path, err);

    if (r == 0)
        r = check_new(disk, name, node.path, backing_name, err);
    if (r == 0)
        r = byre_file_open(node.path, &file_options, &node.store, &layer->data_created, err);
    if (r == 0) {
        node.is_flat = true;
        node.has_file = byre_file_identity(node.store, &node.dev, &node.ino);
        r = check_apart(disk, &node, err);
    }
    if (r == 0)
        r = take_node(layer, &node, err);
    byre_node_done(&node);
    return r;
}

void byre_data_file_close(struct byre_layer *layer, bool remove)
{
    struct stat st;

    if (layer->data_file) {
        if (remove && layer->data_created && layer->has_data_file && lstat(layer->data_name, &st) == 0 &&
            st.st_dev == layer->data_dev && st.st_ino == layer->data_ino)
            unlink(layer->data_name);
        byre_store_close(layer->data_file);
    }
    free(layer->data_name);
}
