/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moving the bytes of extents into memory: zeros, plain data, and parts of compressed clusters.
 */
#include "config.h"

#include "disk/move.h"

#include <string.h>

#include "base/arith.h"
#include "disk/inflated.h"
#include "store/event.h"

#define BELOW_WINDOW (1u << 20) /* bytes mapped at a time: bounds the list of extents */

static int move_compressed(struct byre_disk *disk, const struct byre_extent *extent, uint64_t purges,
                           uint8_t *buf, struct byre_error *err)
{
    struct byre_qcow2 *image = disk->layers[extent->layer].qcow2;
    uint32_t cluster_size = 1U << byre_qcow2_header(image)->cluster_bits;
    uint32_t offset = (uint32_t)(extent->goff & (cluster_size - 1));

    if (extent->length == cluster_size)
        return byre_qcow2_read_compressed(image, extent->hoff, extent->stored, buf, err);
    return byre_inflated_read(disk->inflated, image, cluster_size, extent, purges, offset, buf, err);
}

int byre_disk_move(struct byre_disk *disk, const struct byre_extent *extent, uint64_t purges, uint8_t *buf,
                   struct byre_error *err)
{
    switch (extent->kind) {
    case BYRE_EXTENT_HOLE:
    case BYRE_EXTENT_ZERO:
        memset(buf, 0, extent->length);
        return 0;
    case BYRE_EXTENT_DATA:
        byre_store_event(disk->layers[extent->layer].store, BYRE_EVENT_READ_AIO);
        return byre_store_pread(disk->layers[extent->layer].data, buf, extent->length, extent->hoff, err);
    case BYRE_EXTENT_COMPRESSED:
        return move_compressed(disk, extent, purges, buf, err);
    }
    return 0;
}

static int read_window_below(struct byre_disk *disk, uint64_t goff, uint8_t *buf, size_t length,
                             byre_extent_vec *extents, struct byre_error *err)
{
    int r;

    extents->len = 0;
    r = byre_disk_map(disk, 1, goff, length, extents, err);
    for (size_t i = 0; r == 0 && i < extents->len; i++)
        r = byre_disk_move(disk, &extents->ptr[i], 0, buf + (extents->ptr[i].goff - goff), err);
    return r;
}

int byre_disk_read_below(struct byre_disk *disk, uint64_t goff, uint8_t *buf, size_t length,
                         struct byre_error *err)
{
    byre_extent_vec extents = VEC_INIT;
    size_t part;
    int r = 0;

    for (size_t at = 0; r == 0 && at < length; at += part) {
        part = MIN(length - at, (size_t)BELOW_WINDOW);
        r = read_window_below(disk, goff + at, buf + at, part, &extents, err);
    }
    vec_done(&extents);
    return r;
}
