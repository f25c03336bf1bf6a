/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changing the size of a disk.
 *
 * A qcow2 image is resized by its engine.  The flat map knows the old sizes, so a new one is made before, and takes its
 * place when the image has its new size.  The gate is closed: no other call is under way, so nobody holds the old one.
 */
#include "config.h"

#include "disk/resize.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/flat_map.h"
#include "disk/inflated.h"

#define FULL_BUFFER (1u << 20)

int byre_disk_write_full(struct byre_store *store, uint64_t start, uint64_t end, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *zeros = aligned_alloc(4096, FULL_BUFFER);
    uint64_t part;
    int r = 0;

    if (!zeros)
        return byre_error_set_errno(err, -ENOMEM, "could not preallocate '%s'", store->name);
    memset(zeros, 0, FULL_BUFFER);
    for (uint64_t at = start; r == 0 && at < end; at += part) {
        part = MIN(end - at, (uint64_t)FULL_BUFFER);
        r = byre_store_pwrite(store, zeros, part, at, err);
    }
    return r;
}

bool byre_disk_preallocation_mode(const char *name, enum byre_preallocation *ret_mode)
{
    static const char *const names[] = { "off", "metadata", "falloc", "full" }; /* as in the enum */

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name ? name : "off", names[i]) == 0) {
            *ret_mode = (enum byre_preallocation)i;
            return true;
        }
    }
    return false;
}

static int resize_raw(struct byre_disk *disk, uint64_t size, enum byre_preallocation mode, struct byre_error *err)
{
    struct byre_layer *layer = &disk->layers[0];
    uint64_t old_size;
    int r = byre_store_size(layer->store, &old_size, err);

    if (mode == BYRE_PREALLOC_METADATA)
        return byre_error_set(err, -ENOTSUP, "Unsupported preallocation mode: metadata");
    if (r < 0 || size == old_size)
        return r;
    if (size > byre_round_down(INT64_MAX, BYRE_SECTOR))
        return byre_error_set_errno(err, -EFBIG, "could not resize '%s' to %" PRIu64 " bytes", layer->name, size);
    if (size < old_size && !layer->store->growable)
        return byre_error_set(err, -ENOTSUP, "'%s': a device cannot be made smaller", layer->name);
    r = byre_store_truncate(layer->store, size, err);
    if (r == 0 && size > old_size && mode == BYRE_PREALLOC_FALLOC)
        r = byre_store_allocate(layer->store, old_size, size - old_size, err);
    if (r == 0 && size > old_size && mode == BYRE_PREALLOC_FULL)
        r = byre_disk_write_full(layer->store, old_size, size, err);
    if (r < 0 && size > old_size)
        (void)byre_store_truncate(layer->store, old_size, NULL);
    if (r < 0)
        return r;
    layer->size = byre_round_up(size, BYRE_SECTOR);
    disk->size = layer->size;
    return byre_disk_flush(disk, err);
}

/* What the layers below the top show, bytes. */
static uint64_t below_end(const struct byre_disk *disk)
{
    return disk->layer_count > 1 ? disk->layers[1].size : 0;
}

static int resize_qcow2(struct byre_disk *disk, uint64_t size, enum byre_preallocation mode, struct byre_error *err)
{
    struct byre_layer *layer = &disk->layers[0];
    struct byre_flat_map *map = NULL, *old_map = disk->map;
    uint64_t old_size = disk->size;
    int r;

    if (size % BYRE_SECTOR)
        return byre_error_set(err, -EINVAL, "The new size must be a multiple of %u", BYRE_SECTOR);
    layer->size = size;
    r = byre_flat_map_new(disk, disk->map_bytes, &map, err);
    if (r == 0)
        r = size < old_size ? byre_qcow2_shrink(layer->qcow2, size, err)
                            : byre_qcow2_grow(layer->qcow2, size, below_end(disk), mode, err);
    /* One that failed may have shrunk nevertheless. */
    if (r < 0 && byre_qcow2_header(layer->qcow2)->size != size) {
        layer->size = old_size;
        byre_flat_map_free(map);
        return byre_disk_finish(disk, r);
    }
    if (!map)
        return r;
    disk->map = map;
    disk->size = size;
    byre_flat_map_free(old_map);
    byre_inflated_purge(disk->inflated);
    return byre_disk_finish(disk, r);
}

/* The gate is closed. */
static int resize(struct byre_disk *disk, uint64_t size, const char *preallocation, struct byre_error *err)
{
    enum byre_preallocation mode;
    int r = byre_disk_check_writable(disk, err);

    if (r < 0)
        return r;
    if (disk->unsealed)
        return byre_error_set(err, -EINVAL, "'%s' is no image before it is sealed", disk->layers[0].name);
    if (!byre_disk_preallocation_mode(preallocation, &mode))
        return byre_error_set(err, -EINVAL, "Invalid preallocation mode '%s'", preallocation);
    if (size < disk->size && mode != BYRE_PREALLOC_OFF)
        return byre_error_set(err, -EINVAL, "Preallocation can only be used for growing images");
    return disk->map ? resize_qcow2(disk, size, mode, err) : resize_raw(disk, size, mode, err);
}

int byre_truncate(struct byre_disk *disk, uint64_t size, const char *preallocation, struct byre_error *err)
{
    int r;

    byre_gate_close(&disk->gate);
    r = resize(disk, size, preallocation, err);
    byre_gate_open(&disk->gate);
    return r;
}
