/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One layer of a disk: opening the image in a source, and closing it.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/data_file.h"
#include "disk/encrypt.h"
#include "disk/node.h"
#include "disk/open.h"
#include "store/file.h"

#define LAYER_CACHE (64u << 10)     /* metadata slices of a layer below the first, until the chain is known */

static int open_raw(struct byre_layer *layer, struct byre_error *err)
{
    const uint64_t max = byre_round_down(INT64_MAX, BYRE_SECTOR);
    uint64_t size;
    int r = byre_store_size(layer->store, &size, err);

    if (r == 0)
        layer->size = size < max ? byre_round_up(size, BYRE_SECTOR) : max;
    return r;
}

/* What can only be told once the header is known. */
static int check_qcow2_options(const struct byre_qcow2_header *header, const struct byre_node_qcow2 *options,
                               struct byre_error *err)
{
    uint32_t cluster_size = 1U << header->cluster_bits;

    if (options->lazy && header->version < 3)
        return byre_error_set(err, -EINVAL, "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility "
                              "level");
    if (options->keep_discarded && header->version < 3)
        return byre_error_set(err, -EINVAL, "discard-no-unref is only supported since qcow2 version 3");
    if (options->entry_size && (!byre_is_power_of_two(options->entry_size) || options->entry_size < BYRE_SECTOR ||
                                options->entry_size > cluster_size))
        return byre_error_set(err, -EINVAL, "L2 cache entry size must be a power of two between %u and the cluster "
                              "size (%u)", BYRE_SECTOR, cluster_size);
    return 0;
}

static int open_qcow2(struct byre_disk *disk, const struct byre_node_mode *mode, struct byre_node_qcow2 *wanted,
                      struct byre_error *err)
{
    struct byre_layer *layer = &disk->layers[disk->layer_count - 1];
    struct byre_data_request request = { disk, &wanted->data_file, mode };
    struct byre_qcow2_open_options options = {
        .writable = mode->writable,
        .cache_bytes = disk->layer_count == 1 ? wanted->cache_bytes : LAYER_CACHE,
        .keep_discarded = wanted->keep_discarded,
        .lazy_set = wanted->lazy_set,
        .lazy = wanted->lazy,
        .open_data = byre_data_file_open,
        .opaque = &request,
        .snapshot = disk->layer_count == 1 ? disk->at : NULL,
        .crypt_format = wanted->crypt_format,
    };
    int r = byre_encrypt_find(mode->secrets, wanted->key_secret, &options.password, err);

    if (r == 0)
        r = byre_qcow2_open(layer->store, &options, &layer->qcow2, err);
    if (r == 0 && wanted->data_file)
        r = byre_error_set(err, -EINVAL, "'data-file' can only be set for images with an external data file");
    if (r == 0)
        r = check_qcow2_options(byre_qcow2_header(layer->qcow2), wanted, err);
    if (r == 0)
        layer->size = byre_round_down(byre_qcow2_header(layer->qcow2)->size, BYRE_SECTOR);
    return r;
}

/* Moves what the source has to the layer. */
static int take_node(struct byre_layer *layer, struct byre_source *source, struct byre_error *err)
{
    struct byre_node *node = &source->node;
    char *name = byre_node_name(node);

    if (!name)
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", node->store->name);
    free(layer->name);
    layer->name = name;
    layer->has_exact = node->exact != NULL;
    layer->store = STEAL(node->store);
    layer->shown = STEAL(node->full);
    layer->path = STEAL(node->path);
    layer->file_name = STEAL(source->file_name);
    layer->file_offset = source->file_offset;
    layer->has_file = node->has_file;
    layer->dev = node->dev;
    layer->ino = node->ino;
    layer->driver = source->driver;
    layer->probed_raw = source->probed && !source->is_qcow2 && !source->is_luks;
    return 0;
}

int byre_disk_add_source(struct byre_disk *disk, struct byre_source *source, const struct byre_node_mode *mode,
                         struct byre_error *err)
{
    bool top = disk->layer_count == 0;
    struct byre_layer *layer = byre_disk_add_layer(disk, "");
    int r = layer ? take_node(layer, source, err) : byre_error_set_errno(err, -ENOMEM, "no layer");

    if (r < 0)
        return r;
    if (top) {
        disk->detect_zeroes = source->common.detect_zeroes;
        disk->no_discard = source->common.no_discard;
        disk->copy_on_read = source->copy_on_read;
        disk->compress = source->compress;
        disk->map_bytes = source->qcow2.map_bytes;
    }
    if (source->is_qcow2)
        r = open_qcow2(disk, mode, &source->qcow2, err);
    else if (top && disk->at)
        r = byre_disk_no_snapshots(err);
    else if (source->is_luks)
        r = byre_layer_open_luks(layer, source->key_secret, mode->secrets, err);
    else
        r = open_raw(layer, err);
    if (r < 0 && top)
        byre_disk_strip_name(err, layer->store->name);
    return r;
}

void byre_layer_remove_file(const struct byre_layer *layer)
{
    struct stat st;
    dev_t dev;
    ino_t ino;

    if (byre_file_identity(layer->file_store ? layer->file_store : layer->store, &dev, &ino) &&
        lstat(layer->name, &st) == 0 && st.st_dev == dev && st.st_ino == ino)
        unlink(layer->name);
}

int byre_layer_close(struct byre_layer *layer, bool remove_data, struct byre_error *err)
{
    int r = layer->qcow2 && !layer->borrowed_engine ? byre_qcow2_close(layer->qcow2, err) : 0;

    if (layer->borrowed_files)
        return r;
    byre_data_file_close(layer, remove_data);
    byre_layer_close_luks(layer);
    byre_store_close(layer->store);
    json_decref(layer->shown);
    free(layer->name);
    free(layer->path);
    free(layer->file_name);
    return r;
}
