/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing compressed clusters: many of them packed into host clusters.
 *
 * Invariants
 *   P1. A compressed cluster holds one reference on each host cluster that it touches.
 *   P2. `pack_hoff` lies within a host cluster that holds compressed data only, behind all of it; what is placed
 *       there next shares the cluster unless its refcount is at the limit.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/compress.h"
#include "qcow2/image.h"

#define PIECES_MAX 128 /* written in one call */

/* Where packing continues after data that ends at `hoff`. */
static uint64_t pack_after(const struct byre_qcow2 *image, uint64_t hoff)
{
    return hoff & (image->cluster_size - 1) ? hoff : 0;
}

static int place_anew_locked(struct byre_qcow2 *image, uint32_t length, uint64_t *ret_hoff,
                             struct byre_error *err)
{
    uint64_t got;
    int rc = byre_alloc_run_locked(image, 1, ret_hoff, &got, NULL, err);

    if (rc == 0)
        image->pack_hoff = pack_after(image, *ret_hoff + length);
    return rc;
}

/* May `length` bytes go to `pack_hoff`, as far as the refcounts of the clusters are concerned? */
static int can_pack_locked(struct byre_qcow2 *image, uint32_t length, bool *ret_can, struct byre_error *err)
{
    uint64_t cluster = byre_cluster_of(image, image->pack_hoff);
    uint64_t last = byre_cluster_of(image, image->pack_hoff + length - 1), count = 0;
    struct byre_slice *slice;
    size_t index;
    int rc;

    *ret_can = false;
    if (!image->pack_hoff)
        return 0;
    rc = byre_refcount_read_locked(image, cluster, &count, err);
    if (rc < 0 || count == byre_refcount_max(image->header.refcount_order))
        return rc;
    if (last != cluster) {
        rc = byre_refcount_slice_locked(image, last, &slice, &index, err);
        if (rc < 0 || !slice || byre_refcount_get(slice->bytes, index, image->header.refcount_order) != 0 ||
            (last + 1) << image->cluster_bits > image->store_limit ||
            byre_alloc_check_locked(image, last, 1, NULL) < 0)
            return rc;
    }
    *ret_can = true;
    return 0;
}

/* Places `length` bytes, at most a cluster. */
static int place_bytes_locked(struct byre_qcow2 *image, uint32_t length, uint64_t *ret_hoff,
                              struct byre_error *err)
{
    uint64_t first, end;
    bool can = false;
    int rc = can_pack_locked(image, length, &can, err);

    if (rc < 0)
        return rc;
    if (!can)
        return place_anew_locked(image, length, ret_hoff, err);
    first = byre_cluster_of(image, image->pack_hoff);
    end = byre_cluster_of(image, image->pack_hoff + length - 1) + 1;
    rc = byre_refcount_change_locked(image, first, end - first, 1, err);
    if (rc < 0)
        return rc;
    *ret_hoff = image->pack_hoff;
    image->pack_hoff = pack_after(image, image->pack_hoff + length);
    image->used_end = MAX(image->used_end, end << image->cluster_bits);
    return 0;
}

/* Drops the references of an item that nothing points to. */
static void unplace_locked(struct byre_qcow2 *image, const struct byre_qcow2_compressed *item)
{
    uint64_t first = byre_cluster_of(image, item->hoff);
    uint64_t end = byre_cluster_of(image, item->hoff + item->length - 1) + 1, count = 1;

    for (; first < end; first++) {
        if (byre_refcount_change_locked(image, first, 1, -1, NULL) == 0 &&
            byre_refcount_read_locked(image, first, &count, NULL) == 0 && count == 0)
            byre_alloc_freed_locked(image, first, 1);
    }
}

static int reserve(struct byre_qcow2 *image, struct byre_qcow2_compressed *items, size_t count,
                   struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);
    int rc = byre_check_writable_locked(image, err);

    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct byre_slice *slice;
        unsigned index;

        rc = byre_l2_slice_for_write_locked(image, items[i].goff, &slice, &index, err);
        if (rc == 0)
            rc = byre_l2_entry_check_change_locked(image, byre_l2_get(image, slice, index), items[i].goff, err);
        if (rc == 0)
            rc = place_bytes_locked(image, items[i].length, &items[i].hoff, err);
        if (rc < 0) {
            while (i-- > 0)
                unplace_locked(image, &items[i]);
        }
    }
    return rc;
}

static int check_items(const struct byre_qcow2 *image, const struct byre_qcow2_compressed *items,
                       size_t count, struct byre_error *err)
{
    if (!count)
        return byre_error_set(err, -EINVAL, "no compressed clusters");
    if (image->header.crypt_method)
        return byre_error_set(err, -ENOTSUP, "Compression and encryption not supported at the same time");
    for (size_t i = 0; i < count; i++) {
        if (items[i].goff & (image->cluster_size - 1) || items[i].goff >= image->header.size ||
            !items[i].length || items[i].length > image->cluster_size ||
            (i && items[i].goff <= items[i - 1].goff))
            return byre_error_set(err, -EINVAL, "compressed cluster %zu of %zu is out of place", i, count);
    }
    return 0;
}

int byre_qcow2_reserve_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items, size_t count,
                                  struct byre_error *err)
{
    int rc = check_items(image, items, count, err);

    if (rc == 0 && image->external)
        rc = byre_error_set_errno(err, -ENOTSUP, "'%s': no compressed clusters go with an external data file",
                                  image->store->name);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = byre_qcow2_note_change(image, items[i].goff, image->cluster_size, err);
    if (rc < 0)
        return rc;
    byre_range_lock_acquire(&image->ranges, &items[0].hold, items[0].goff,
                            items[count - 1].goff + image->cluster_size);
    byre_store_event(image->store, BYRE_EVENT_CLUSTER_ALLOC_BYTES);
    rc = reserve(image, items, count, err);
    if (byre_qcow2_make_room(image, rc))
        rc = reserve(image, items, count, err);
    if (rc < 0)
        byre_range_lock_release(&image->ranges, &items[0].hold);
    return rc;
}

int byre_qcow2_fill_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items, size_t count,
                               struct byre_error *err)
{
    struct iovec iov[PIECES_MAX];
    size_t run;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i += run) {
        uint64_t end = items[i].hoff;

        for (run = 0; run < PIECES_MAX && i + run < count && items[i + run].hoff == end; run++) {
            iov[run] = (struct iovec){ (void *)items[i + run].data, items[i + run].length };
            end += items[i + run].length;
        }
        byre_store_event(image->store, BYRE_EVENT_WRITE_COMPRESSED);
        rc = byre_store_pwritev(image->store, iov, (int)run, items[i].hoff, err);
    }
    return rc;
}

static int publish_item_locked(struct byre_qcow2 *image, const struct byre_qcow2_compressed *item,
                               struct byre_error *err)
{
    struct byre_l2_entry entry = {
        .word = byre_l2_compressed_entry(item->hoff, item->length, image->cluster_bits),
    }, old;
    struct byre_slice *slice;
    unsigned index;
    int rc = byre_l2_slice_for_write_locked(image, item->goff, &slice, &index, err);

    if (rc == 0)
        rc = byre_free_room_locked(image, 1, err);
    if (rc < 0)
        return rc;
    old = byre_l2_get(image, slice, index);
    byre_l2_put(image, slice, index, entry);
    byre_remapped_locked(image, item->goff, 1, entry);
    byre_free_entry_later_locked(image, old, false);
    return 0;
}

int byre_qcow2_publish_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items, size_t count,
                                  struct byre_error *err)
{
    int rc;

    byre_store_event(image->store, BYRE_EVENT_L2_UPDATE_COMPRESSED);
    pthread_mutex_lock(&image->mutex);
    rc = byre_check_writable_locked(image, err);
    for (size_t i = 0; i < count; i++) {
        if (rc == 0)
            rc = publish_item_locked(image, &items[i], err);
        if (rc < 0)
            unplace_locked(image, &items[i]);
    }
    pthread_mutex_unlock(&image->mutex);
    byre_range_lock_release(&image->ranges, &items[0].hold);
    return rc < 0 ? rc : byre_commit_if_due(image, err);
}

void byre_qcow2_abandon_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items,
                                   size_t count)
{
    pthread_mutex_lock(&image->mutex);
    for (size_t i = 0; i < count; i++)
        unplace_locked(image, &items[i]);
    pthread_mutex_unlock(&image->mutex);
    byre_range_lock_release(&image->ranges, &items[0].hold);
}

/* --- compressing and writing in one call --- */

/* Compresses one cluster, `length` bytes of it and then zeros; *ret_packed is 0 if that does not make it smaller. */
static int pack(struct byre_qcow2 *image, const uint8_t *bytes, uint64_t length, uint8_t *room, uint32_t *ret_packed,
                struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *padded = NULL;
    struct byre_codec *codec = NULL;
    int64_t packed;
    int rc;

    if (length < image->cluster_size) {
        padded = calloc(1, image->cluster_size);
        if (!padded)
            return byre_error_set(err, -ENOMEM, "Could not allocate a cluster of %u bytes", image->cluster_size);
        bytes = memcpy(padded, bytes, length);
    }
    rc = byre_codec_take(image, &codec, err);
    if (rc < 0)
        return rc;
    packed = byre_codec_compress(codec, bytes, image->cluster_size, room, image->cluster_size - 1, err);
    byre_codec_give(image, codec);
    *ret_packed = packed < 0 ? 0 : (uint32_t)packed;
    return packed < 0 ? (int)packed : 0;
}

static int write_packed(struct byre_qcow2 *image, uint64_t goff, const void *data, uint32_t length,
                        struct byre_error *err)
{
    struct byre_qcow2_compressed item = { .goff = goff, .data = data, .length = length };
    int rc = byre_qcow2_reserve_compressed(image, &item, 1, err);

    if (rc < 0)
        return rc;
    rc = byre_qcow2_fill_compressed(image, &item, 1, err);
    if (rc == 0)
        return byre_qcow2_publish_compressed(image, &item, 1, err);
    byre_qcow2_abandon_compressed(image, &item, 1);
    return rc;
}

int byre_qcow2_write_compressed(struct byre_qcow2 *image, uint64_t goff, const void *buf, uint64_t length,
                                struct byre_error *err)
{
    uint64_t mask = image->cluster_size - 1, end = goff + length, part;
    CLEANUP(free_ptr) uint8_t *room = malloc(image->cluster_size);
    int rc = 0;

    if (!byre_range_within(goff, length, image->header.size) || (goff & mask) ||
        ((end & mask) && end != image->header.size))
        return byre_error_set(err, -EINVAL, "'%s': only whole clusters can be compressed", image->store->name);
    if (image->header.crypt_method)
        return byre_error_set(err, -ENOTSUP, "Compression and encryption not supported at the same time");
    if (!room)
        return byre_error_set(err, -ENOMEM, "Could not allocate a cluster of %u bytes", image->cluster_size);
    for (; rc == 0 && goff < end; goff += part) {
        const uint8_t *bytes = (const uint8_t *)buf + (length - (end - goff));
        struct iovec iov = { (void *)bytes, part = MIN(end - goff, (uint64_t)image->cluster_size) };
        uint32_t packed = 0;

        rc = pack(image, bytes, part, room, &packed, err);
        if (rc == 0)
            rc = packed ? write_packed(image, goff, room, packed, err)
                        : byre_qcow2_writev(image, goff, &iov, 1, part, err);
    }
    return rc;
}
