/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Laying out a new image.
 *
 * The header comes first in the file and last in time: until byre_qcow2_seal its magic is missing, so that whatever
 * is left behind by a crash or a failure is no image.  The rest is laid out by the engine's own allocator.
 *
 *     header, extensions, backing file name: cluster 0
 *     refcount table: as long as these tables need it, mostly one cluster
 *     first refcount block
 *     L1 table (behind more refcount blocks, where the first one does not count all of it)
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/compress.h"
#include "qcow2/image.h"

#define SECTOR                     512
#define FEATURE_NAMES_CLUSTER_BITS 13 /* from this size on there is room for the table of feature names */
#define EXTENDED_CLUSTER_BITS      14 /* subclusters have at least a sector */
#define HEADER_LENGTH              112 /* up to and with the compression type, and its padding */

int byre_qcow2_create_check(const struct byre_qcow2_create_options *options, struct byre_error *err)
{
    if (options->version < 2 || options->version > 3)
        return byre_error_set(err, -EINVAL, "version %u: must be 2 or 3", options->version);
    if (options->cluster_bits < BYRE_QCOW2_CLUSTER_BITS_MIN ||
        options->cluster_bits > BYRE_QCOW2_CLUSTER_BITS_MAX)
        return byre_error_set(err, -EINVAL, "Cluster size must be a power of two between %d and %dk",
                              1 << BYRE_QCOW2_CLUSTER_BITS_MIN, 1 << (BYRE_QCOW2_CLUSTER_BITS_MAX - 10));
    if (options->version < 3 && options->extended_l2)
        return byre_error_set(err, -EINVAL,
                              "Extended L2 entries are only supported with compatibility level 1.1 and above (use"
                              " version=v3 or greater)");
    if (options->extended_l2 && options->cluster_bits < EXTENDED_CLUSTER_BITS)
        return byre_error_set(err, -EINVAL,
                              "Extended L2 entries are only supported with cluster sizes of at least %u bytes",
                              1u << EXTENDED_CLUSTER_BITS);
    if (options->refcount_order > 6)
        return byre_error_set(err, -EINVAL,
                              "Refcount width must be a power of two and may not exceed 64 bits");
    if (options->version < 3 && options->refcount_order != 4)
        return byre_error_set(err, -EINVAL,
                              "Different refcount widths than 16 bits require compatibility level 1.1 or"
                              " above (use version=v3 or greater)");
    if (options->version < 3 && options->lazy_refcounts)
        return byre_error_set(err, -EINVAL,
                              "Lazy refcounts only supported with compatibility level 1.1 and above (use"
                              " version=v3 or greater)");
    if (options->version < 3 && options->compression != BYRE_COMPRESSION_ZLIB)
        return byre_error_set(err, -EINVAL,
                              "Non-zlib compression type is only supported with compatibility level 1.1"
                              " and above (use version=v3 or greater)");
    if (options->version < 3 && options->data_file)
        return byre_error_set(err, -EINVAL,
                              "External data files are only supported with compatibility level 1.1 and above"
                              " (use version=v3 or greater)");
    if (options->backing_name && options->data_raw)
        return byre_error_set(err, -EINVAL, "Backing file and data-file-raw cannot be used at the same time");
    if (options->backing_name && options->preallocation != BYRE_PREALLOC_OFF && !options->extended_l2)
        return byre_error_set(err, -EINVAL,
                              "Backing file and preallocation can only be used at the same time if extended_l2"
                              " is on");
    if (!byre_codec_has(options->compression))
        return byre_error_set(err, -ENOTSUP, "compression type %s is not supported by this build",
                              options->compression == BYRE_COMPRESSION_ZSTD ? "zstd" : "(unknown)");
    return 0;
}

static int set_names(struct byre_qcow2_header *header, const struct byre_qcow2_create_options *options)
{
    int rc = 0;

    if (options->backing_name) {
        header->backing_name = strdup(options->backing_name);
        if (!header->backing_name)
            return -ENOMEM;
    }
    if (options->backing_name && options->backing_format) {
        header->backing_format = strdup(options->backing_format);
        if (!header->backing_format)
            return -ENOMEM;
        rc = byre_qcow2_header_add_extension(header, BYRE_QCOW2_EXT_BACKING_FORMAT, options->backing_format,
                                             (uint32_t)strlen(options->backing_format));
    }
    if (rc == 0 && options->data_file)
        rc = byre_qcow2_header_add_extension(header, BYRE_QCOW2_EXT_DATA_FILE, options->data_file,
                                             (uint32_t)strlen(options->data_file));
    return rc;
}

/* The clusters of a refcount table that reaches as far as the first tables do.  Blocks of the smallest clusters and
 * the widest counts count 64 clusters; an L1 table has 65536 of those at most. */
static uint32_t reftable_clusters(const struct byre_qcow2_header *header)
{
    uint64_t cluster_size = 1ULL << header->cluster_bits;
    uint64_t per_block = cluster_size * 8 >> header->refcount_order;
    uint64_t used = byre_div_up(header->l1_size * 8ULL, cluster_size);
    /* Each block takes up one of the clusters that it counts; the run of the L1 table starts in a range of its own. */
    uint64_t blocks = 2 + byre_div_up(used, per_block - 1);

    return (uint32_t)byre_div_up(blocks * 8, cluster_size);
}

/* The header as it shall be, the place of the L1 table apart. */
static int make_header(const struct byre_qcow2_create_options *options, struct byre_qcow2_header *header,
                       struct byre_error *err)
{
    uint64_t entries;
    int rc;

    *header = (struct byre_qcow2_header){
        .version = options->version,
        .cluster_bits = options->cluster_bits,
        .size = byre_round_up(options->size, SECTOR),
        .reftable_hoff = 1ULL << options->cluster_bits,
        .refcount_order = options->refcount_order,
        .compression = (uint8_t)options->compression,
        .header_length = options->version < 3 ? BYRE_QCOW2_V2_HEADER_LENGTH : HEADER_LENGTH,
    };
    if (options->lazy_refcounts)
        header->compatible |= BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS;
    if (options->compression != BYRE_COMPRESSION_ZLIB)
        header->incompatible |= BYRE_QCOW2_INCOMPAT_COMPRESSION;
    if (options->data_file)
        header->incompatible |= BYRE_QCOW2_INCOMPAT_DATA_FILE;
    if (options->data_raw)
        header->autoclear |= BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    if (options->extended_l2)
        header->incompatible |= BYRE_QCOW2_INCOMPAT_EXTENDED_L2;
    entries = byre_qcow2_header_l1_needed(header, header->size);
    if (options->size > INT64_MAX - SECTOR || entries > BYRE_QCOW2_L1_BYTES_MAX / 8)
        return byre_error_set(err, -EFBIG, "Image size of %llu bytes is too large for clusters of %u bytes",
                              (unsigned long long)options->size, 1u << options->cluster_bits);
    header->l1_size = (uint32_t)entries;
    header->reftable_clusters = reftable_clusters(header);
    rc = set_names(header, options);
    if (rc == 0 && options->version >= 3 && options->cluster_bits >= FEATURE_NAMES_CLUSTER_BITS)
        rc = byre_qcow2_header_add_feature_names(header);
    return rc < 0 ? byre_error_set(err, rc, "Could not allocate the header") : 0;
}

/* Takes what nothing can count before it is there: header, refcount table, first block. */
static int take_first_clusters(struct byre_qcow2 *image, struct byre_error *err)
{
    uint64_t refblock = 1 + image->header.reftable_clusters, end = refblock + 1;
    int rc = byre_alloc_zero_fill(image, 0, end << image->cluster_bits, err);

    if (rc == 0)
        rc = byre_metadata_check_locked(image, err);
    if (rc == 0)
        rc = byre_table_set(&image->reftable, image->store, 0, refblock << image->cluster_bits, err);
    if (rc == 0)
        rc = byre_metadata_room_locked(image, 1, err);
    if (rc == 0)
        rc = byre_refcount_change_locked(image, 0, end, 1, err);
    if (rc < 0)
        return rc;
    byre_metadata_add_refblock_locked(image, refblock << image->cluster_bits);
    image->next_free = end;
    image->used_end = MAX(image->used_end, end << image->cluster_bits);
    return 0;
}

static int take_l1(struct byre_qcow2 *image, struct byre_error *err)
{
    uint64_t bytes = byre_cluster_ceil(image, image->header.l1_size * 8ULL), hoff;
    int rc;

    if (!bytes)
        return 0; /* a disk of size 0 has no L1 table */
    rc = byre_alloc_exact_locked(image, byre_cluster_of(image, bytes), &hoff, err);
    if (rc == 0)
        rc = byre_alloc_zero_fill(image, hoff, bytes, err);
    if (rc < 0)
        return rc;
    image->header.l1_hoff = image->l1.hoff = hoff;
    return 0;
}

static int write_header(struct byre_qcow2 *image, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *cluster = malloc(image->cluster_size);
    int rc;

    if (!cluster)
        return byre_error_set(err, -ENOMEM, "Could not allocate the header");
    rc = byre_qcow2_header_serialize(&image->header, false, cluster, image->cluster_size, err);
    if (rc == 0)
        rc = byre_store_pwrite(image->store, cluster, image->cluster_size, 0, err);
    /* A device may hold an older image, which is none from here on. */
    if (rc == 0 && !image->store->growable)
        rc = byre_store_flush(image->store, err);
    return rc;
}

static int lay_out(struct byre_qcow2 *image, const struct byre_qcow2_create_options *options, struct byre_error *err)
{
    int rc;

    pthread_mutex_lock(&image->mutex);
    rc = take_first_clusters(image, err);
    if (rc == 0)
        rc = take_l1(image, err);
    if (rc == 0 && options->luks)
        rc = byre_image_crypt_create_locked(image, options->luks, options->password, err);
    if (rc == 0)
        rc = write_header(image, err);
    pthread_mutex_unlock(&image->mutex);
    return rc;
}

int byre_qcow2_create(struct byre_store *store, const struct byre_qcow2_create_options *options,
                      struct byre_qcow2 **ret_image, struct byre_error *err)
{
    struct byre_qcow2_header header = { 0 };
    enum byre_preallocation mode = options->preallocation;
    struct byre_qcow2 *image = NULL;
    int rc = byre_qcow2_create_check(options, err);

    if (rc == 0)
        rc = make_header(options, &header, err);
    if (rc == 0)
        rc = byre_image_new(store, &header, true, 0, &image, err);
    byre_qcow2_header_done(&header);
    if (rc < 0)
        return rc;
    image->writable = true;
    image->lazy = options->lazy_refcounts;
    if (options->data_file)
        byre_external_set(image, options->data);
    rc = lay_out(image, options, err);
    if (rc == 0)
        rc = byre_external_reach(image, 0, image->header.size, options->keep_data, &mode, err);
    if (rc == 0)
        rc = byre_qcow2_preallocate(image, 0, mode, err);
    if (rc < 0) {
        byre_image_free(image);
        return rc;
    }
    *ret_image = image;
    return 0;
}

int byre_qcow2_seal(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc;

    if (image->sealed)
        return 0;
    rc = byre_image_settle(image, err);
    if (rc == 0)
        rc = byre_external_flush(image, err);
    if (rc == 0)
        rc = byre_store_flush(image->store, err);
    if (rc == 0)
        rc = byre_header_switch(image->store, &image->header, true, err);
    if (rc == 0)
        rc = byre_store_flush(image->store, err);
    image->sealed = rc == 0;
    return rc;
}
