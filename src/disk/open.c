/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a disk: the top image and, one after the other, what it stands on.
 *
 *   O1. Only the top image is opened for writing; everything below is opened for reading, with a reader's
 *       lock.
 *   O2. The chain ends: no file comes twice, and there are at most BYRE_LAYERS_MAX layers.
 *   O3. A name from an image is only ever used as a path, "file:" in front or not: never as a protocol or as
 *       options.
 */
#include "config.h"

#include "disk/open.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/flat_map.h"
#include "disk/inflated.h"
#include "disk/move.h"
#include "store/file.h"

#define LAYER_CACHE (64u << 10)     /* metadata slices of a layer below the first, until the chain is known */
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
    return disk;
}

/* Takes the name of a file that this disk made off its directory, unless another file has the name by now. */
static void remove_file(const struct byre_layer *layer)
{
    struct stat st;
    dev_t dev;
    ino_t ino;

    if (byre_file_identity(layer->store, &dev, &ino) && lstat(layer->name, &st) == 0 &&
        st.st_dev == dev && st.st_ino == ino)
        unlink(layer->name);
}

static int close_layer(struct byre_layer *layer, struct byre_error *err)
{
    int r = layer->qcow2 ? byre_qcow2_close(layer->qcow2, err) : 0;

    byre_store_close(layer->store);
    free(layer->name);
    return r;
}

int byre_disk_free(struct byre_disk *disk, struct byre_error *err)
{
    int first = 0;

    if (!disk)
        return 0;
    if (disk->created && disk->unsealed && disk->layers[0].store)
        remove_file(&disk->layers[0]);
    for (unsigned i = 0; i < disk->layer_count; i++) {
        int r = close_layer(&disk->layers[i], first ? NULL : err);

        first = first ? first : r;
    }
    free(disk->layers);
    byre_flat_map_free(disk->map);
    byre_inflated_free(disk->inflated);
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
    layers[count] = (struct byre_layer){ .name = byre_name_to_path(name) };
    if (!layers[count].name)
        return NULL;
    disk->layer_count++;
    return &layers[count];
}

/* Takes "Could not open 'NAME': " off the front of a message, which is then said otherwise. */
static void strip_name(struct byre_error *err, const char *name)
{
    static const char opening[] = "Could not open '";
    size_t length = sizeof opening - 1 + strlen(name);

    if (!err || strncmp(err->text, opening, sizeof opening - 1) != 0 ||
        strncmp(err->text + sizeof opening - 1, name, strlen(name)) != 0 ||
        strncmp(err->text + length, "': ", 3) != 0)
        return;
    memmove(err->text, err->text + length + 3, strlen(err->text + length + 3) + 1);
}

static int probe(struct byre_store *store, const char **ret_format, struct byre_error *err)
{
    uint8_t bytes[BYRE_SECTOR];
    uint64_t size;
    int r = byre_store_size(store, &size, err);

    if (r < 0)
        return r;
    size = MIN(size, (uint64_t)sizeof bytes);
    r = size ? byre_store_pread(store, bytes, size, 0, err) : 0;
    if (r == 0)
        *ret_format = byre_probe(bytes, size);
    return r;
}

static int open_raw(struct byre_layer *layer, struct byre_error *err)
{
    const uint64_t max = byre_round_down(INT64_MAX, BYRE_SECTOR);
    uint64_t size;
    int r = byre_store_size(layer->store, &size, err);

    if (r == 0)
        layer->size = size < max ? byre_round_up(size, BYRE_SECTOR) : max;
    return r;
}

static int open_qcow2(struct byre_layer *layer, bool top, bool writable, struct byre_error *err)
{
    struct byre_qcow2_open_options options = { .writable = writable, .cache_bytes = top ? 0 : LAYER_CACHE };
    int r = byre_qcow2_open(layer->store, &options, &layer->qcow2, err);

    if (r == 0)
        layer->size = byre_round_down(byre_qcow2_header(layer->qcow2)->size, BYRE_SECTOR);
    return r;
}

/* Opens the image in the layer's store. */
static int open_format(struct byre_layer *layer, const char *format, bool top, bool writable,
                       struct byre_error *err)
{
    const char *found = format;
    int r = format ? 0 : probe(layer->store, &found, err);

    if (r < 0)
        return r;
    if (strcmp(found, "qcow2") == 0)
        return open_qcow2(layer, top, writable, err);
    layer->probed_raw = !format;
    return open_raw(layer, err);
}

/* Appends the layer `name` and opens it. */
static int open_layer(struct byre_disk *disk, const char *name, const char *format,
                      const struct byre_open_options *options, struct byre_error *err)
{
    bool top = disk->layer_count == 0;
    const struct byre_file_options file_options = {
        .cache = options->cache,
        .writable = top && options->writable,
        .no_lock = options->no_lock,
        .share_write = options->force_share,
    };
    struct byre_layer *layer;
    int r;

    if (format && !byre_format_known(format))
        return byre_error_set(err, -EINVAL, "Unknown driver '%s'", format);
    layer = byre_disk_add_layer(disk, name);
    if (!layer)
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", name);
    r = byre_file_open(name, &file_options, &layer->store, NULL, err);
    if (r < 0)
        return r;
    r = open_format(layer, format, top, file_options.writable, err);
    if (r < 0 && top)
        strip_name(err, layer->name);
    return r;
}

/* The identity that byre_file_identity would tell of the file at `name`: false if there is none. */
static bool identity_of(const char *name, dev_t *ret_dev, ino_t *ret_ino)
{
    struct stat st;

    if (stat(name, &st) < 0)
        return false;
    *ret_dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    *ret_ino = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
    return true;
}

/* Is the file a layer already?  Asked before it is opened: the lock of a writable top would be in the way. */
static bool is_in_chain(const struct byre_disk *disk, const char *name)
{
    dev_t dev, layer_dev;
    ino_t ino, layer_ino;

    if (!identity_of(name, &dev, &ino))
        return false;
    for (unsigned i = 0; i < disk->layer_count; i++) {
        const struct byre_store *store = disk->layers[i].store;

        if (store && byre_file_identity(store, &layer_dev, &layer_ino) && layer_dev == dev &&
            layer_ino == ino)
            return true;
    }
    return false;
}

/* Where the last layer's backing file is; NULL on ENOMEM. */
static char *path_of_backing(const struct byre_disk *disk, const char *backing_name)
{
    CLEANUP(free_ptr) char *name =
        byre_resolve_name(disk->layers[disk->layer_count - 1].name, backing_name);

    return name ? byre_name_to_path(name) : NULL;
}

static int open_backing(struct byre_disk *disk, const char *backing_name, const char *backing_format,
                        const struct byre_open_options *options, struct byre_error *err)
{
    CLEANUP(free_ptr) char *name = NULL;
    int r = byre_name_check(backing_name, err);

    if (r < 0)
        return r;
    if (disk->layer_count >= BYRE_LAYERS_MAX)
        return byre_error_set(err, -ENOTSUP, "Could not open '%s': the chain has more than %u images",
                              backing_name, BYRE_LAYERS_MAX);
    name = path_of_backing(disk, backing_name);
    if (!name)
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", backing_name);
    if (is_in_chain(disk, name))
        return byre_error_set(err, -ELOOP, "Backing file '%s' creates an infinite loop.", name);
    return open_layer(disk, name, backing_format, options, err);
}

int byre_disk_open_chain(struct byre_disk *disk, const char *backing_name, const char *backing_format,
                         const struct byre_open_options *options, struct byre_error *err)
{
    unsigned depth = 0;
    int r = 0;

    while (r == 0 && backing_name) {
        const struct byre_qcow2_header *header;
        const struct byre_qcow2 *qcow2;

        depth++;
        r = open_backing(disk, backing_name, backing_format, options, err);
        if (r < 0)
            break;
        qcow2 = disk->layers[disk->layer_count - 1].qcow2;
        header = qcow2 ? byre_qcow2_header(qcow2) : NULL;
        backing_name = header ? header->backing_name : NULL;
        backing_format = header ? header->backing_format : NULL;
    }
    for (unsigned i = 0; r < 0 && i < MIN(depth, PREFIX_REPEAT_MAX); i++)
        byre_error_prepend(err, "Could not open backing file: ");
    return r;
}

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
        if (disk->layers[i].qcow2)
            byre_qcow2_limit_metadata(disk->layers[i].qcow2, budget / BELOW_SHARE / (disk->layer_count - 1));
    }
}

static uint32_t smallest_cluster(const struct byre_disk *disk)
{
    uint32_t grain = UINT32_MAX;

    for (unsigned i = 0; i < disk->layer_count; i++) {
        if (disk->layers[i].qcow2)
            grain = MIN(grain, 1U << byre_qcow2_header(disk->layers[i].qcow2)->cluster_bits);
    }
    return grain == UINT32_MAX ? RAW_GRAIN : grain;
}

int byre_disk_complete(struct byre_disk *disk, const struct byre_open_options *options,
                       struct byre_error *err)
{
    struct byre_layer *top = &disk->layers[0];
    struct byre_qcow2_below below = { .opaque = disk, .remapped = remapped };
    int r;

    disk->size = top->size;
    disk->grain = smallest_cluster(disk);
    disk->writable = options->writable;
    disk->write_through =
        options->cache == BYRE_CACHE_WRITETHROUGH || options->cache == BYRE_CACHE_DIRECTSYNC;
    if (!top->qcow2)
        return 0;
    disk->epoch = byre_qcow2_epoch(top->qcow2);
    disk->map_bytes = options->map_bytes;
    limit_below(disk);
    r = byre_flat_map_new(disk, disk->map_bytes, &disk->map, err);
    if (r == 0)
        r = byre_inflated_new(&disk->inflated, err);
    if (r < 0)
        return r;
    if (disk->layer_count > 1)
        below.read = read_below;
    byre_qcow2_set_below(top->qcow2, &below);
    return 0;
}

static int open_all(struct byre_disk *disk, const char *name, const struct byre_open_options *options,
                    struct byre_error *err)
{
    const struct byre_qcow2_header *header;
    int r = open_layer(disk, name, options->format, options, err);

    if (r < 0)
        return r;
    if (disk->layers[0].qcow2 && !options->no_backing) {
        header = byre_qcow2_header(disk->layers[0].qcow2);
        r = byre_disk_open_chain(disk, header->backing_name, header->backing_format, options, err);
    }
    return r < 0 ? r : byre_disk_complete(disk, options, err);
}

int byre_disk_open(const char *name, const struct byre_open_options *options, struct byre_disk **ret_disk,
                   struct byre_error *err)
{
    struct byre_disk *disk;
    int r;

    options = options ? options : &default_options;
    if (options->force_share && options->writable)
        return byre_error_set(err, -EINVAL, "force-share=on can only be used with read-only images");
    disk = byre_disk_new();
    if (!disk)
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", name);
    r = open_all(disk, name, options, err);
    if (r < 0) {
        byre_disk_free(disk, NULL);
        return r;
    }
    *ret_disk = disk;
    return 0;
}

void byre_disk_name_error(struct byre_error *err, const char *name)
{
    strip_name(err, name);
    byre_error_prepend(err, "Could not open '%s': ", name);
}

int byre_open(const char *name, const struct byre_open_options *options, struct byre_disk **ret_disk,
              struct byre_error *err)
{
    int r = byre_disk_open(name, options, ret_disk, err);

    if (r < 0)
        byre_disk_name_error(err, name);
    return r;
}
