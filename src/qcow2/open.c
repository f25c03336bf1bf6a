/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening and closing: from a store to the struct of an open image, and back to a tidy file.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "byre/check.h"
#include "qcow2/bitmaps.h"
#include "qcow2/check.h"
#include "qcow2/compress.h"
#include "qcow2/header_read.h"
#include "qcow2/image.h"
#include "qcow2/snapshot.h"

#define CACHE_BYTES     (16u << 20)
#define SLICE_BYTES_MAX 4096u
#define HOFF_LIMIT      (1ULL << 56) /* entries hold no more */

static int init_limits(struct byre_qcow2 *image, struct byre_error *err)
{
    uint64_t size;
    int rc = byre_store_size(image->store, &size, err);

    if (rc < 0)
        return rc;
    image->used_end = image->opened_end = byre_cluster_ceil(image, size);
    image->store_limit = image->store->growable ? HOFF_LIMIT : byre_cluster_start(image, size);
    return 0;
}

static int init_tables(struct byre_qcow2 *image, bool blank, struct byre_error *err)
{
    const struct byre_qcow2_header *header = &image->header;
    uint64_t entries = ((uint64_t)header->reftable_clusters << image->cluster_bits) / 8;
    int rc = byre_table_init(&image->l1, "L1 table", header->l1_hoff, header->l1_size, blank, err);

    if (rc == 0)
        rc = byre_table_init(&image->reftable, "refcount table", header->reftable_hoff, (uint32_t)entries, blank,
                             err);
    image->reftable.load_event = BYRE_EVENT_REFTABLE_LOAD;
    return rc;
}

int byre_image_new(struct byre_store *store, struct byre_qcow2_header *header, bool blank,
                   uint64_t cache_bytes, struct byre_qcow2 **ret_image, struct byre_error *err)
{
    struct byre_qcow2 *image = calloc(1, sizeof *image);
    int rc;

    if (!image)
        return byre_error_set(err, -ENOMEM, "Could not allocate the image '%s'", store->name);
    image->store = store;
    image->data = store;
    image->header = *header;
    *header = (struct byre_qcow2_header){ 0 };
    image->cluster_bits = image->header.cluster_bits;
    image->cluster_size = 1u << image->cluster_bits;
    image->extended_l2 = image->header.incompatible & BYRE_QCOW2_INCOMPAT_EXTENDED_L2;
    image->subcluster_bits = image->cluster_bits - (image->extended_l2 ? BYRE_SUBCLUSTER_COUNT_BITS : 0);
    image->l2_bits = image->cluster_bits - byre_l2_entry_bits(image->extended_l2);
    image->refblock_bits = image->cluster_bits + 3 - image->header.refcount_order;
    image->slice_size = MIN(image->cluster_size, SLICE_BYTES_MAX);
    byre_epoch_init(&image->epoch);
    byre_range_lock_init(&image->ranges);
    pthread_mutex_init(&image->mutex, NULL);
    pthread_mutex_init(&image->codec_mutex, NULL);
    pthread_cond_init(&image->commit_done, NULL);
    rc = init_limits(image, err);
    if (rc == 0)
        rc =
            byre_slices_init(&image->slices, image->slice_size, cache_bytes ? cache_bytes : CACHE_BYTES, err);
    if (rc == 0)
        rc = init_tables(image, blank, err);
    if (rc < 0) {
        byre_image_free(image);
        return rc;
    }
    *ret_image = image;
    return 0;
}

void byre_image_free(struct byre_qcow2 *image)
{
    for (size_t i = 0; i < image->idle_codecs.len; i++)
        byre_codec_free(image->idle_codecs.ptr[i]);
    vec_done(&image->idle_codecs);
    vec_done(&image->frees_pending);
    vec_done(&image->frees_committing);
    vec_done(&image->frees_durable);
    vec_done(&image->unlinked_l2);
    byre_image_crypt_done(image);
    byre_tally_done(&image->metadata);
    byre_bitmaps_free(image->bitmaps);
    byre_slices_done(&image->slices);
    byre_table_done(&image->l1);
    byre_table_done(&image->reftable);
    byre_range_lock_done(&image->ranges);
    pthread_mutex_destroy(&image->mutex);
    pthread_mutex_destroy(&image->codec_mutex);
    pthread_cond_destroy(&image->commit_done);
    byre_qcow2_header_done(&image->header);
    free(image);
}

static int refuse(const struct byre_store *store, const char *what, struct byre_error *err)
{
    return byre_error_set(err, -ENOTSUP, "Could not open '%s': %s", store->name, what);
}

/* Features that the map cannot be read without. */
static int check_readable(const struct byre_store *store, const struct byre_qcow2_header *header,
                          struct byre_error *err)
{
    if (!byre_codec_has(header->compression))
        return refuse(store, header->compression == BYRE_COMPRESSION_ZSTD
                                 ? "compression type zstd is not supported by this build"
                                 : "its compression type is not supported by this build", err);
    return 0;
}

/* Who changes the image has to keep clear of what its snapshots have, which must therefore be known. */
static int check_snapshots(struct byre_store *store, const struct byre_qcow2_header *header,
                           struct byre_error *err)
{
    struct byre_snapshot_table table;
    uint64_t size;
    int rc;

    if (!header->snapshot_count)
        return 0;
    rc = byre_store_size(store, &size, err);
    if (rc == 0)
        rc = byre_snapshot_table_read(store, header, &table, err);
    if (rc == 0) {
        for (size_t i = 0; rc == 0 && i < table.entries.len; i++)
            rc = byre_snapshot_check_l1(header, &table.entries.ptr[i], i, size, err);
        byre_snapshot_table_done(&table);
    }
    if (rc < 0)
        byre_error_prepend(err, "Could not open '%s': ", store->name);
    return rc;
}

static int check_writable(struct byre_store *store, const struct byre_qcow2_header *header,
                          struct byre_error *err)
{
    if (header->incompatible & BYRE_QCOW2_INCOMPAT_CORRUPT)
        return byre_error_set(
            err, -EACCES, "Could not open '%s': Image is corrupt; cannot be opened read/write", store->name);
    return check_snapshots(store, header, err);
}

/* An image that was not closed: its refcounts are mended, as far as that is possible, before they are relied on. */
static int mend(struct byre_store *store, struct byre_qcow2_header *header, struct byre_error *err)
{
    struct byre_check_result result;
    int rc = byre_qcow2_check(store, header, BYRE_REPAIR_LEAKS | BYRE_REPAIR_ERRORS, NULL, &result, err);

    if (rc < 0) {
        byre_error_prepend(err, "Could not repair dirty image '%s': ", store->name);
        return rc;
    }
    byre_qcow2_header_done(header);
    *header = (struct byre_qcow2_header){ 0 };
    rc = byre_qcow2_header_read(store, header, err);
    if (rc == 0 && (header->incompatible & BYRE_QCOW2_INCOMPAT_DIRTY))
        return byre_error_set(err, -EIO,
                              "Could not repair dirty image '%s': %llu corruptions and %llu check errors are"
                              " left",
                              store->name, (unsigned long long)result.corruptions,
                              (unsigned long long)result.check_errors);
    return rc;
}

/* The store of the guest's data. */
static int open_data(struct byre_store *store, const struct byre_qcow2_open_options *options,
                     const struct byre_qcow2_header *header, struct byre_store **ret_data, struct byre_error *err)
{
    *ret_data = store;
    if (!(header->incompatible & BYRE_QCOW2_INCOMPAT_DATA_FILE))
        return 0;
    if (!options->open_data)
        return refuse(store, "its data is in an external data file (incompatible feature bit 2)", err);
    if (header->snapshot_count)
        return refuse(store, "it has snapshots and an external data file, which does not go together", err);
    return options->open_data(options->opaque, header, ret_data, err);
}

/* Bits that we do not know would become untrue with the first write, and so would those of what is not there. */
static int clear_autoclear(struct byre_store *store, struct byre_qcow2_header *header, struct byre_error *err)
{
    uint64_t known = 0;
    int rc;

    if (header->incompatible & BYRE_QCOW2_INCOMPAT_DATA_FILE)
        known |= BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    if (byre_qcow2_header_find_extension(header, BYRE_QCOW2_EXT_BITMAPS))
        known |= BYRE_QCOW2_AUTOCLEAR_BITMAPS;
    if (!(header->autoclear & ~known))
        return 0;
    header->autoclear &= known;
    rc = byre_header_switch(store, header, true, err);
    return rc < 0 ? rc : byre_store_flush(store, err);
}

static int prepare_header(struct byre_store *store, bool writable, struct byre_qcow2_header *header,
                          struct byre_error *err)
{
    uint64_t size;
    int rc = check_readable(store, header, err);

    if (rc == 0)
        rc = byre_store_size(store, &size, err);
    if (rc < 0)
        return rc;
    rc = byre_qcow2_header_check_tables(header, size, err);
    if (rc < 0) {
        byre_error_prepend(err, "Could not open '%s': ", store->name);
        return rc;
    }
    if (!writable)
        return 0;
    rc = check_writable(store, header, err);
    if (rc == 0)
        rc = clear_autoclear(store, header, err);
    if (rc == 0 && (header->incompatible & BYRE_QCOW2_INCOMPAT_DIRTY))
        rc = mend(store, header, err);
    return rc;
}

/* Makes it the header of an image whose disk is that of the snapshot. */
static int go_to_snapshot(struct byre_store *store, const struct byre_qcow2_open_options *options,
                          struct byre_qcow2_header *header, struct byre_error *err)
{
    struct byre_snapshot_table table;
    uint64_t size;
    size_t index;
    int rc = options->writable ? byre_error_set(err, -EINVAL, "a snapshot cannot be written to") : 0;

    if (rc == 0)
        rc = byre_store_size(store, &size, err);
    if (rc == 0)
        rc = byre_snapshot_table_read(store, header, &table, err);
    if (rc < 0)
        return rc;
    rc = byre_snapshot_select(&table, options->snapshot, &index, err);
    if (rc == -ENOENT)
        byre_error_set(err, rc, "Can't find snapshot");
    if (rc == 0)
        rc = byre_snapshot_check_l1(header, &table.entries.ptr[index], index, size, err);
    if (rc < 0)
        byre_error_prepend(err, BYRE_SNAPSHOT_FAILED);
    if (rc == 0) {
        header->l1_hoff = table.entries.ptr[index].fixed.l1_hoff;
        header->l1_size = table.entries.ptr[index].fixed.l1_size;
        header->size = table.entries.ptr[index].fixed.disk_size;
    }
    byre_snapshot_table_done(&table);
    return rc;
}

int byre_qcow2_open(struct byre_store *store, const struct byre_qcow2_open_options *options,
                    struct byre_qcow2 **ret_image, struct byre_error *err)
{
    struct byre_qcow2_header header = { 0 };
    struct byre_qcow2 *image = NULL;
    struct byre_store *data;
    int rc = byre_qcow2_header_read(store, &header, err);

    if (rc < 0)
        return rc;
    rc = prepare_header(store, options->writable, &header, err);
    if (rc == 0 && options->snapshot)
        rc = go_to_snapshot(store, options, &header, err);
    if (rc == 0)
        rc = open_data(store, options, &header, &data, err);
    if (rc == 0)
        rc = byre_image_new(store, &header, false, options->cache_bytes, &image, err);
    byre_qcow2_header_done(&header);
    if (rc < 0)
        return rc;
    image->writable = options->writable;
    if (data != store)
        byre_external_set(image, data);
    rc = options->beside ? byre_image_crypt_share(image, options->beside, err)
                         : byre_image_crypt_open(image, options->crypt_format, options->password, err);
    if (rc < 0) {
        byre_error_prepend(err, "Could not open '%s': ", store->name);
        byre_image_free(image);
        return rc;
    }
    image->sealed = true;
    image->keeps_discarded = options->keep_discarded && image->header.version >= 3;
    image->lazy = image->header.compatible & BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS;
    if (options->lazy_set && image->header.version >= 3)
        image->lazy = options->lazy;
    rc = options->writable ? byre_bitmaps_open(image, err) : 0;
    if (rc < 0) {
        byre_image_free(image);
        byre_error_prepend(err, "Could not open '%s': ", store->name);
        return rc;
    }
    *ret_image = image;
    return 0;
}

/* The last cluster that was taken may have been written in part only: the file shall hold all of it. */
static int extend_to_used_end(struct byre_qcow2 *image, struct byre_error *err)
{
    uint64_t size;
    int rc;

    if (image->used_end == image->opened_end || !image->store->growable)
        return 0;
    rc = byre_store_size(image->store, &size, err);
    if (rc == 0 && size < image->used_end)
        rc = byre_store_truncate(image->store, image->used_end, err);
    return rc;
}

static bool has_changes(const struct byre_qcow2 *image)
{
    return image->slices.dirty_count || image->l1.dirty_pages || image->reftable.dirty_pages ||
           image->frees_pending.len || image->reftable_moved;
}

/* No request is under way, so all epochs pass: what was freed is free when this returns. */
int byre_image_settle(struct byre_qcow2 *image, struct byre_error *err)
{
    /* A file that cannot grow any more is an error, but none that what was written should be lost for. */
    int extended = extend_to_used_end(image, err);
    int rc = byre_commit(image, extended < 0 ? NULL : err);

    if (rc == 0 && has_changes(image))
        rc = byre_commit(image, extended < 0 ? NULL : err);
    return extended < 0 ? extended : rc;
}

static int clear_dirty_bit(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc;

    image->header.incompatible &= ~BYRE_QCOW2_INCOMPAT_DIRTY;
    rc = byre_header_switch(image->store, &image->header, true, err);
    return rc < 0 ? rc : byre_store_flush(image->store, err);
}

int byre_qcow2_close(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc = 0;

    /* What was never sealed is no image and need not be made one. */
    if (image->writable && image->sealed) {
        int stored = byre_bitmaps_store(image, err);

        rc = byre_image_settle(image, stored < 0 ? NULL : err);
        rc = stored < 0 ? stored : rc;
        if (rc == 0 && image->freed_end >= image->used_end)
            rc = byre_image_trim(image, err);
        if (rc == 0 && image->dirty_bit_durable)
            rc = clear_dirty_bit(image, err);
    }
    byre_image_free(image);
    return rc;
}

const struct byre_qcow2_header *byre_qcow2_header(const struct byre_qcow2 *image)
{
    return &image->header;
}

uint32_t byre_qcow2_subcluster_size(const struct byre_qcow2 *image)
{
    return 1u << image->subcluster_bits;
}

void byre_qcow2_set_below(struct byre_qcow2 *image, const struct byre_qcow2_below *below)
{
    image->below = *below;
}

struct byre_epoch *byre_qcow2_epoch(struct byre_qcow2 *image)
{
    return &image->epoch;
}

void byre_qcow2_set_append_only(struct byre_qcow2 *image, bool append_only)
{
    pthread_mutex_lock(&image->mutex);
    image->append_only = append_only;
    /* A new image has no gaps, and a device no end to append to. */
    image->next_append = image->sealed && image->store->growable ? byre_cluster_of(image, image->used_end)
                                                                 : image->next_free;
    pthread_mutex_unlock(&image->mutex);
}
