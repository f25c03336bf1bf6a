/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Detect-zeroes, copy-on-read and compress.  They are no layers: io.c asks here before it does its own work.
 */
#include "config.h"

#include "disk/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/zero.h"
#include "disk/flat_map.h"
#include "qcow2/compress.h"

enum { BATCH = 32 }; /* extents that are looked up at a time */

bool byre_filter_finds_zeroes(const struct byre_disk *disk, const void *buf, size_t length, unsigned *ret_flags)
{
    if (disk->detect_zeroes == BYRE_DETECT_ZEROES_OFF || !byre_is_zero(buf, length))
        return false;
    *ret_flags = disk->detect_zeroes == BYRE_DETECT_ZEROES_UNMAP ? BYRE_WRITE_ZEROES_UNMAP : 0;
    return true;
}

/* --- copy-on-read --------------------------------------------------------------------------------------- */

static int look_up(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_extent *extents,
                   struct byre_error *err)
{
    uint64_t ticket = byre_epoch_enter(disk->epoch);
    int count = byre_flat_map_lookup(disk->map, goff, length, extents, BATCH, err);

    byre_epoch_leave(disk->epoch, ticket);
    return count;
}

static bool is_below(const struct byre_extent *extent)
{
    return extent->kind == BYRE_EXTENT_HOLE || extent->layer > 0;
}

int byre_filter_copy_up(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_error *err)
{
    struct byre_extent extents[BATCH];
    uint64_t done = 0;
    int r = 0;

    if (!disk->map || disk->layer_count == 1)
        return 0;
    while (r == 0 && done < length) {
        int count = look_up(disk, goff + done, length - done, extents, err);

        r = MIN(count, 0);
        for (int i = 0; r == 0 && i < count; i++) {
            if (is_below(&extents[i]))
                r = byre_qcow2_copy_on_read(disk->layers[0].qcow2, extents[i].goff, extents[i].length, err);
            done += extents[i].length;
        }
    }
    return r;
}

/* --- compress ------------------------------------------------------------------------------------------- */

struct compressor {
    struct byre_qcow2 *image;
    struct byre_codec *codec;
    uint32_t cluster_size;
    uint8_t *in, *out; /* a cluster each */
};

static void compressor_done(struct compressor *compressor)
{
    byre_codec_free(compressor->codec);
    free(compressor->in);
    free(compressor->out);
}

static int compressor_init(struct compressor *compressor, struct byre_qcow2 *image, struct byre_error *err)
{
    const struct byre_qcow2_header *header = byre_qcow2_header(image);

    *compressor = (struct compressor){ .image = image, .cluster_size = 1U << header->cluster_bits };
    compressor->in = malloc(compressor->cluster_size);
    compressor->out = malloc(compressor->cluster_size);
    if (!compressor->in || !compressor->out)
        return byre_error_set_errno(err, -ENOMEM, "could not make buffers for compression");
    return byre_codec_new(header->compression, 0, &compressor->codec, err);
}

/* Writes one cluster, of which `length` bytes are on the disk: 1, 0 if it does not compress, or a negative errno. */
static int write_cluster(struct compressor *compressor, const uint8_t *buf, size_t length, uint64_t goff,
                         struct byre_error *err)
{
    struct byre_qcow2_compressed item = { .goff = goff, .data = compressor->out };
    int64_t stored;
    int r;

    memcpy(compressor->in, buf, length);
    memset(compressor->in + length, 0, compressor->cluster_size - length);
    stored = byre_codec_compress(compressor->codec, compressor->in, compressor->cluster_size, compressor->out,
                                 compressor->cluster_size - 1, err);
    if (stored <= 0)
        return (int)stored;
    item.length = (uint32_t)stored;
    r = byre_qcow2_reserve_compressed(compressor->image, &item, 1, err);
    if (r < 0)
        return r;
    r = byre_qcow2_fill_compressed(compressor->image, &item, 1, err);
    if (r < 0) {
        byre_qcow2_abandon_compressed(compressor->image, &item, 1);
        return r;
    }
    r = byre_qcow2_publish_compressed(compressor->image, &item, 1, err);
    return r < 0 ? r : 1;
}

int byre_filter_compress(struct byre_disk *disk, const uint8_t *buf, size_t length, uint64_t goff,
                         int (*plain)(struct byre_disk *disk, const uint8_t *buf, size_t length, uint64_t goff,
                                      struct byre_error *err),
                         struct byre_error *err)
{
    struct compressor compressor;
    size_t done = 0, part;
    int r = compressor_init(&compressor, disk->layers[0].qcow2, err);

    for (; r == 0 && done < length; done += part) {
        uint64_t at = goff + done, end = byre_round_down(at, compressor.cluster_size) + compressor.cluster_size;
        bool whole = byre_is_aligned(at, compressor.cluster_size);

        part = MIN(length - done, MIN(end, disk->size) - at);
        whole = whole && at + part == MIN(end, disk->size);
        r = whole ? write_cluster(&compressor, buf + done, part, at, err) : 0;
        if (r == 0)
            r = plain(disk, buf + done, part, at, err);
        else if (r > 0)
            r = 0;
    }
    compressor_done(&compressor);
    return r;
}
