/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Contents of clusters: inflating compressed ones, and the old contents that copy-on-write needs.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/compress.h"
#include "qcow2/image.h"

int byre_codec_take(struct byre_qcow2 *image, struct byre_codec **ret_codec, struct byre_error *err)
{
    struct byre_codec *codec = NULL;

    pthread_mutex_lock(&image->codec_mutex);
    if (image->idle_codecs.len)
        codec = image->idle_codecs.ptr[--image->idle_codecs.len];
    pthread_mutex_unlock(&image->codec_mutex);
    if (!codec)
        return byre_codec_new(image->header.compression, 0, ret_codec, err);
    *ret_codec = codec;
    return 0;
}

void byre_codec_give(struct byre_qcow2 *image, struct byre_codec *codec)
{
    int rc;

    pthread_mutex_lock(&image->codec_mutex);
    rc = vec_push(&image->idle_codecs, codec);
    pthread_mutex_unlock(&image->codec_mutex);
    if (rc < 0)
        byre_codec_free(codec);
}

/* `stored` is at most two clusters, by the width of the field. */
int byre_qcow2_read_compressed(struct byre_qcow2 *image, uint64_t hoff, uint32_t stored, void *buf,
                               struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = malloc(stored);
    struct byre_codec *codec = NULL;
    int rc;

    if (!bytes)
        return byre_error_set(err, -ENOMEM, "Could not allocate %u bytes for a compressed cluster", stored);
    byre_store_event(image->store, BYRE_EVENT_READ_COMPRESSED);
    rc = byre_store_pread(image->store, bytes, stored, hoff, err);
    if (rc == 0)
        rc = byre_codec_take(image, &codec, err);
    if (rc < 0)
        return rc;
    rc = byre_codec_decompress(codec, bytes, stored, buf, image->cluster_size, err);
    byre_codec_give(image, codec);
    if (rc < 0)
        byre_error_prepend(err, "'%s': compressed cluster at host offset %#" PRIx64 ": ", image->store->name,
                           hoff);
    return rc;
}

/* The part of a compressed cluster that the extent covers. */
static int read_part(struct byre_qcow2 *image, const struct byre_extent *extent, uint8_t *to,
                     struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *cluster = malloc(image->cluster_size);
    int rc;

    if (!cluster)
        return byre_error_set(err, -ENOMEM, "Could not allocate a cluster of %u bytes", image->cluster_size);
    rc = byre_qcow2_read_compressed(image, extent->hoff, extent->stored, cluster, err);
    if (rc == 0)
        memcpy(to, cluster + (extent->goff - byre_cluster_start(image, extent->goff)), extent->length);
    return rc;
}

static int read_extent(struct byre_qcow2 *image, const struct byre_extent *extent, uint8_t *to,
                       struct byre_error *err)
{
    switch (extent->kind) {
    case BYRE_EXTENT_DATA:
        return byre_data_read(image, to, extent->length, extent->hoff, err);
    case BYRE_EXTENT_COMPRESSED:
        return read_part(image, extent, to, err);
    case BYRE_EXTENT_HOLE:
        if (!image->below.read || extent->goff >= byre_vm_state_goff(image))
            break;
        byre_store_event(image->store, BYRE_EVENT_READ_BACKING_AIO);
        return image->below.read(image->below.opaque, extent->goff, to, extent->length, err);
    case BYRE_EXTENT_ZERO:
        break;
    }
    memset(to, 0, extent->length);
    return 0;
}

int byre_read_mapped(struct byre_qcow2 *image, uint64_t goff, void *buf, size_t length, struct byre_error *err)
{
    byre_extent_vec extents = VEC_INIT;
    int rc = byre_qcow2_map(image, goff, length, &extents, err);

    for (size_t i = 0; rc == 0 && i < extents.len; i++)
        rc = read_extent(image, &extents.ptr[i], (uint8_t *)buf + (extents.ptr[i].goff - goff), err);
    vec_done(&extents);
    return rc;
}

int byre_read_old(struct byre_qcow2 *image, uint64_t goff, void *buf, size_t length, struct byre_error *err)
{
    uint64_t within = goff < image->header.size ? MIN((uint64_t)length, image->header.size - goff) : 0;

    if (goff >= byre_vm_state_goff(image))
        within = length;

    /* Past the end of the disk there is nothing, whatever a larger backing file may hold there. */
    memset((uint8_t *)buf + within, 0, length - within);
    return within ? byre_read_mapped(image, goff, buf, within, err) : 0;
}
