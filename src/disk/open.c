/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a disk: the top image and, one after the other, what it stands on.
 *
 *   O1. Only the top image is opened for writing; everything below is opened for reading, with a reader's
 *       lock.
 *   O2. The chain ends: no file comes twice, and there are at most BYRE_LAYERS_MAX layers.
 *   O3. A name from an image is only used as a path, "file:" in front or not: never as a protocol or as options,
 *       unless the caller asks for it.
 */
#include "config.h"

#include "disk/open.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/flat_map.h"
#include "disk/inflated.h"
#include "disk/move.h"
#include "disk/node.h"
#include "disk/options_tree.h"

#define BELOW_SHARE 4               /* all of these layers have this part of the flat map's budget for their metadata */
#define PREFIX_REPEAT_MAX 8u        /* of "Could not open backing file: " */
#define RAW_GRAIN 4096u

static const struct byre_open_options default_options;

struct byre_disk *byre_disk_new(void)
{
    struct byre_disk *disk = calloc(1, sizeof *disk);

    if (!disk)
        return NULL;
    byre_epoch_init(&disk->own_epoch);
    disk->epoch = &disk->own_epoch;
    atomic_init(&disk->poisoned, 0);
    pthread_mutex_init(&disk->guard, NULL);
    byre_gate_init(&disk->gate);
    return disk;
}

int byre_disk_free(struct byre_disk *disk, struct byre_error *err)
{
    int first = 0;

    if (!disk)
        return 0;
    if (disk->created && disk->unsealed && disk->layers[0].store)
        byre_layer_remove_file(&disk->layers[0]);
    for (unsigned i = 0; i < disk->layer_count; i++) {
        int r = byre_layer_close(&disk->layers[i], disk->unsealed, first ? NULL : err);

        first = first ? first : r;
    }
    free(disk->layers);
    byre_flat_map_free(disk->map);
    byre_inflated_free(disk->inflated);
    byre_gate_done(&disk->gate);
    pthread_mutex_destroy(&disk->guard);
    free(disk);
    return first;
}

struct byre_layer *byre_disk_add_layer(struct byre_disk *disk, const char *name)
{
    struct byre_layer *layers = disk->layers;
    unsigned count = disk->layer_count;

    if (count == 0 || byre_is_power_of_two(count))
        layers = realloc(layers, (count ? 2 * (size_t)count : 1) * sizeof *layers);
    if (!layers)
        return NULL;
    disk->layers = layers;
    layers[count] = (struct byre_layer){ .name = name ? strdup(name) : NULL };
    if (name && !layers[count].name)
        return NULL;
    disk->layer_count++;
    return &layers[count];
}

void byre_disk_strip_name(struct byre_error *err, const char *name)
{
    static const char opening[] = "Could not open '";
    size_t length = sizeof opening - 1 + strlen(name);

    if (!err || strncmp(err->text, opening, sizeof opening - 1) != 0 ||
        strncmp(err->text + sizeof opening - 1, name, strlen(name)) != 0 ||
        strncmp(err->text + length, "': ", 3) != 0)
        return;
    memmove(err->text, err->text + length + 3, strlen(err->text + length + 3) + 1);
}

void byre_disk_name_error(struct byre_error *err, const char *name)
{
    const char *shown = byre_options_shown_name(name);

    byre_disk_strip_name(err, name);
    if (strlen(shown) > BYRE_NAME_SHOWN_MAX)
        byre_error_prepend(err, "Could not open '%.*s...': ", (int)BYRE_NAME_SHOWN_MAX, shown);
    else
        byre_error_prepend(err, "Could not open '%s': ", shown);
}

/* --- the chain ------------------------------------------------------------------------------------------ */

/* What the next layer is, according to the one above it. */
struct below {
    char *name;       /* as it is recorded; owned; NULL: nothing is */
    char *format;     /* owned; NULL: not recorded */
    json_t *options;  /* owned; NULL: none are given */
    bool trusted;     /* the name is the user's */
};

static void below_done(struct below *below)
{
    free(below->name);
    free(below->format);
    json_decref(below->options);
    *below = (struct below){ .name = NULL };
}

/* What the last layer says; `source` is what it was opened from. */
static int below_of(const struct byre_disk *disk, struct byre_source *source, struct below *ret_below,
                    struct byre_error *err)
{
    const struct byre_qcow2 *qcow2 = disk->layers[disk->layer_count - 1].qcow2;
    const struct byre_qcow2_header *header = qcow2 ? byre_qcow2_header(qcow2) : NULL;
    struct below below = { .options = STEAL(source->qcow2.backing) };

    if (header && !source->qcow2.no_backing) {
        below.name = header->backing_name ? strdup(header->backing_name) : NULL;
        below.format = header->backing_format ? strdup(header->backing_format) : NULL;
    }
    if (header && !source->qcow2.no_backing &&
        ((header->backing_name && !below.name) || (header->backing_format && !below.format))) {
        below_done(&below);
        return byre_error_set_errno(err, -ENOMEM, "backing file name");
    }
    *ret_below = below;
    return 0;
}

/* Puts what the recorded name says into the options, where they do not say otherwise. */
static int add_recorded_name(const struct byre_disk *disk, const struct below *below, const struct byre_node_mode *mode,
                             json_t *tree, struct byre_error *err)
{
    const struct byre_layer *last = &disk->layers[disk->layer_count - 1];
    CLEANUP(tree) json_t *named = NULL;
    CLEANUP(free_ptr) char *name = NULL;
    int r;

    if (!below->trusted) {
        r = byre_backing_check(below->name, mode->protocol_backing, err);
        if (r < 0)
            return r;
    }
    /* A directory may be called as a protocol is. */
    name = byre_resolve_name_beside(last->path, last->name, below->name);
    if (!name)
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", below->name);
    r = byre_options_read_name(name, &named, err);
    if (r == 0 && json_object_update_missing(tree, named) < 0)
        r = byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", below->name);
    return r;
}

/* The options of the next layer. */
static int merge_below(const struct byre_disk *disk, const struct below *below, const struct byre_node_mode *mode,
                       json_t **ret_tree, struct byre_error *err)
{
    CLEANUP(tree) json_t *tree = below->options ? json_incref(below->options) : json_object();
    enum byre_driver driver;
    json_t *copy;
    int r = 0;

    if (!tree)
        return byre_error_set_errno(err, -ENOMEM, "options");
    if (below->format) {
        if (!byre_format_known(below->format) && !json_object_get(tree, "driver"))
            return byre_error_set(err, -EINVAL, "Unknown driver '%s'", below->format);
        r = byre_options_add_text(tree, "driver", below->format, err);
    }
    copy = json_copy(tree);
    if (r == 0)
        r = copy ? byre_driver_take(copy, &driver, err) : byre_error_set_errno(err, -ENOMEM, "options");
    json_decref(copy);
    if (r >= 0 && below->name && !byre_options_has(tree, "file") && !(r && byre_driver_is_protocol(driver)))
        r = add_recorded_name(disk, below, mode, tree, err);
    if (r >= 0)
        *ret_tree = STEAL(tree);
    return r < 0 ? r : 0;
}

/* Opens the next layer; `below` is then what that one says. */
static int open_below(struct byre_disk *disk, struct below *below, const struct byre_node_mode *mode,
                      struct byre_error *err)
{
    const struct byre_node_mode own = {
        .direct = mode->direct,
        .no_flush = mode->no_flush,
        .force_share = mode->force_share,
        .no_lock = mode->no_lock,
        .protocol_backing = mode->protocol_backing,
        .secrets = mode->secrets,
        .chain = disk,
        .depth = mode->depth,
    };
    CLEANUP(tree) json_t *tree = NULL;
    struct byre_source source = { .driver = NULL };
    int r;

    if (disk->layer_count >= BYRE_LAYERS_MAX)
        return byre_error_set(err, -ENOTSUP, "Could not open '%s': the chain has more than %u images",
                              below->name ? below->name : "", BYRE_LAYERS_MAX);
    r = merge_below(disk, below, mode, &tree, err);
    below_done(below);
    if (r == 0)
        r = byre_source_open(tree, &own, true, &source, err);
    if (r == 0)
        r = byre_disk_add_source(disk, &source, &own, err);
    if (r == 0)
        r = below_of(disk, &source, below, err);
    byre_source_done(&source);
    return r;
}

/* Opens `below`, which is used up, and all below it. */
static int open_chain(struct byre_disk *disk, struct below *below, const struct byre_node_mode *mode,
                      struct byre_error *err)
{
    unsigned depth = 0;
    int r = 0;

    while (r == 0 && (below->name || below->options)) {
        depth++;
        r = open_below(disk, below, mode, err);
    }
    below_done(below);
    for (unsigned i = 0; r < 0 && i < MIN(depth, PREFIX_REPEAT_MAX); i++)
        byre_error_prepend(err, "Could not open backing file: ");
    return r;
}

static struct byre_node_mode mode_of(const struct byre_open_options *options)
{
    return (struct byre_node_mode){
        .writable = options->writable,
        .direct = options->cache == BYRE_CACHE_NONE || options->cache == BYRE_CACHE_DIRECTSYNC,
        .no_flush = options->cache == BYRE_CACHE_UNSAFE,
        .force_share = options->force_share,
        .no_lock = options->no_lock,
        .protocol_backing = options->protocol_backing,
        .secrets = options->secrets,
    };
}

int byre_disk_open_chain(struct byre_disk *disk, const char *backing_name, const char *backing_format,
                         const struct byre_open_options *options, struct byre_error *err)
{
    const struct byre_node_mode mode = mode_of(options);
    struct below below = {
        .name = strdup(backing_name),
        .format = backing_format ? strdup(backing_format) : NULL,
        .trusted = true,
    };

    if (!below.name || (backing_format && !below.format)) {
        below_done(&below);
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", backing_name);
    }
    return open_chain(disk, &below, &mode, err);
}

/* --- the disk ------------------------------------------------------------------------------------------- */

/* Layer 0 has changed its map, and holds its metadata lock. */
static void remapped(void *opaque, const struct byre_extent *now)
{
    struct byre_disk *disk = opaque;

    byre_flat_map_remapped(disk->map, now);
    byre_inflated_purge(disk->inflated);
}

static int read_below(void *opaque, uint64_t goff, void *buf, size_t length, struct byre_error *err)
{
    return byre_disk_read_below(opaque, goff, buf, length, err);
}

/* So that the metadata in memory does not grow with the chain. */
static void limit_below(struct byre_disk *disk)
{
    uint64_t budget = disk->map_bytes ? disk->map_bytes : BYRE_FLAT_MAP_BYTES;

    for (unsigned i = 1; i < disk->layer_count; i++) {
        if (disk->layers[i].qcow2 && !disk->layers[i].borrowed_engine)
            byre_qcow2_limit_metadata(disk->layers[i].qcow2, budget / BELOW_SHARE / (disk->layer_count - 1));
    }
}

static void set_grains(struct byre_disk *disk)
{
    uint32_t grain = UINT32_MAX, coarse = UINT32_MAX;

    for (unsigned i = 0; i < disk->layer_count; i++) {
        const struct byre_qcow2 *image = disk->layers[i].qcow2;

        if (image) {
            grain = MIN(grain, byre_qcow2_subcluster_size(image));
            coarse = MIN(coarse, 1U << byre_qcow2_header(image)->cluster_bits);
        }
    }
    disk->grain = grain == UINT32_MAX ? RAW_GRAIN : grain;
    disk->coarse_grain = grain == UINT32_MAX ? RAW_GRAIN : coarse;
}

/* Where plain clusters lie is the engine's to say. */
static void set_data(struct byre_layer *layer)
{
    layer->data = layer->qcow2 ? byre_qcow2_data(layer->qcow2) : layer->store;
}

int byre_disk_complete(struct byre_disk *disk, const struct byre_open_options *options,
                       struct byre_error *err)
{
    struct byre_layer *top = &disk->layers[0];
    struct byre_qcow2_below below = { .opaque = disk, .remapped = remapped };
    int r;

    for (unsigned i = 0; i < disk->layer_count; i++)
        set_data(&disk->layers[i]);
    disk->size = top->size;
    set_grains(disk);
    disk->writable = options->writable;
    disk->write_through =
        options->cache == BYRE_CACHE_WRITETHROUGH || options->cache == BYRE_CACHE_DIRECTSYNC;
    disk->detect_zeroes = MAX(disk->detect_zeroes, options->detect_zeroes);
    disk->copy_on_read |= options->copy_on_read;
    if (!top->qcow2)
        return 0;
    disk->epoch = byre_qcow2_epoch(top->qcow2);
    if (options->map_bytes)
        disk->map_bytes = options->map_bytes;
    limit_below(disk);
    r = byre_flat_map_new(disk, disk->map_bytes, &disk->map, err);
    if (r == 0)
        r = byre_inflated_new(&disk->inflated, err);
    if (r < 0)
        return r;
    if (disk->layer_count > 1)
        below.read = read_below;
    if (!top->borrowed_engine) /* a map that does not change tells nobody of it */
        byre_qcow2_set_below(top->qcow2, &below);
    return 0;
}

/* Makes a disk of the source and all below it. */
static int open_source(struct byre_disk *disk, struct byre_source *source, const struct byre_node_mode *mode,
                       const struct byre_open_options *options, struct byre_error *err)
{
    struct below below = { .name = NULL };
    int r;

    disk->at = options->snapshot;
    r = byre_disk_add_source(disk, source, mode, err);

    if (r == 0 && !options->no_backing) {
        r = below_of(disk, source, &below, err);
        if (r == 0)
            r = open_chain(disk, &below, mode, err);
    }
    return r < 0 ? r : byre_disk_complete(disk, options, err);
}

/* As above; the source is used up. */
static int disk_of_source(struct byre_source *source, const struct byre_node_mode *mode,
                          const struct byre_open_options *options, struct byre_disk **ret_disk, struct byre_error *err)
{
    struct byre_disk *disk = byre_disk_new();
    int r = disk ? open_source(disk, source, mode, options, err) : byre_error_set_errno(err, -ENOMEM, "no disk");

    byre_source_done(source);
    if (r < 0) {
        byre_disk_free(disk, NULL);
        return r;
    }
    *ret_disk = disk;
    return 0;
}

int byre_disk_open_tree(json_t *tree, const struct byre_node_mode *mode, struct byre_disk **ret_disk,
                        struct byre_error *err)
{
    struct byre_open_options options = { .writable = mode->writable };
    struct byre_node_mode below = *mode;
    struct byre_source source;
    int r = byre_source_open(tree, mode, true, &source, err);

    below.depth++;
    return r < 0 ? r : disk_of_source(&source, &below, &options, ret_disk, err);
}

/* What a name, a format and a list of options say together. */
static int read_node(const char *name, const char *format, const char *options, json_t **ret_tree,
                     struct byre_error *err)
{
    CLEANUP(tree) json_t *tree = NULL, *list = NULL;
    int r = byre_source_read_name(name, format, &tree, err);

    if (r == 0 && options)
        r = byre_options_read_list(options, &list, err);
    if (r == 0 && list && json_object_update(tree, list) < 0)
        r = byre_error_set_errno(err, -ENOMEM, "options");
    if (r == 0)
        *ret_tree = STEAL(tree);
    return r;
}

static int read_options(const char *name, const struct byre_open_options *options, json_t **ret_tree,
                        struct byre_error *err)
{
    CLEANUP(tree) json_t *tree = NULL, *backing = NULL;
    int r = read_node(name, options->format, options->options, &tree, err);

    if (r == 0 && options->backing)
        r = read_node(options->backing, options->backing_format, options->backing_options, &backing, err);
    if (r == 0 && backing)
        r = byre_options_add_branch(tree, "backing", backing, err);
    if (r == 0)
        *ret_tree = STEAL(tree);
    return r;
}

int byre_disk_open(const char *name, const struct byre_open_options *options, struct byre_disk **ret_disk,
                   struct byre_error *err)
{
    CLEANUP(tree) json_t *tree = NULL;
    struct byre_node_mode mode;
    struct byre_source source;
    int r;

    options = options ? options : &default_options;
    if (options->copy_on_read && !options->writable)
        return byre_error_set(err, -EINVAL, "Can't use copy-on-read on read-only device");
    mode = mode_of(options);
    r = read_options(name, options, &tree, err);
    if (r == 0)
        r = byre_source_open(tree, &mode, !options->no_backing, &source, err);
    return r < 0 ? r : disk_of_source(&source, &mode, options, ret_disk, err);
}

int byre_open(const char *name, const struct byre_open_options *options, struct byre_disk **ret_disk,
              struct byre_error *err)
{
    int r = byre_disk_open(name, options, ret_disk, err);

    if (r < 0)
        byre_disk_name_error(err, name);
    return r;
}
