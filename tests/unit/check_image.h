/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small qcow2 images in memory, for the tests of the checker: made right with the codecs, then damaged by
 * hand.
 *
 * Clusters: 0 header, 1 refcount table, 2 refcount block, 3 L1 table, 4 L2 table, then IMAGE_DATA data
 * clusters that the first L2 entries refer to, exclusively.  Tests append what else they need.
 */
#ifndef TESTS_UNIT_CHECK_IMAGE_H
#define TESTS_UNIT_CHECK_IMAGE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "qcow2/check.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/fmt_refcount.h"
#include "store/memory.h"

#define IMAGE_DATA     6u
#define IMAGE_CLUSTERS 40u /* room in the buffer */

struct image {
    uint8_t *bytes;
    uint32_t clusters; /* of the file */
    uint32_t cluster_size;
    struct byre_qcow2_header header;
    char report[16384];
    struct byre_check_result result;
};

static inline uint8_t *image_cluster(struct image *image, uint32_t cluster)
{
    return image->bytes + (size_t)cluster * image->cluster_size;
}

static inline void image_set_refcount(struct image *image, uint32_t cluster, uint64_t refcount)
{
    byre_refcount_set(image_cluster(image, 2), cluster, image->header.refcount_order, refcount);
}

static inline uint64_t image_refcount(struct image *image, uint32_t cluster)
{
    return byre_refcount_get(image_cluster(image, 2), cluster, image->header.refcount_order);
}

/* Entry `i` of the table in `cluster`. */
static inline void image_set(struct image *image, uint32_t cluster, uint32_t i, uint64_t entry)
{
    byre_put_be64(image_cluster(image, cluster) + i * 8, entry);
}

static inline uint64_t image_get(struct image *image, uint32_t cluster, uint32_t i)
{
    return byre_get_be64(image_cluster(image, cluster) + i * 8);
}

/* The host offset of a cluster, with flags. */
static inline uint64_t image_at(const struct image *image, uint32_t cluster, uint64_t flags)
{
    return (uint64_t)cluster * image->cluster_size | flags;
}

/* A new cluster at the end of the file, with this refcount. */
static inline uint32_t image_append(struct image *image, uint64_t refcount)
{
    uint32_t cluster = image->clusters++;

    assert_true(image->clusters <= IMAGE_CLUSTERS);
    image_set_refcount(image, cluster, refcount);
    return cluster;
}

static inline void image_init(struct image *image, unsigned version, unsigned cluster_bits, unsigned order)
{
    memset(image, 0, sizeof *image);
    image->cluster_size = 1u << cluster_bits;
    image->bytes = calloc(IMAGE_CLUSTERS, image->cluster_size);
    assert_non_null(image->bytes);
    image->header.version = version;
    image->header.cluster_bits = cluster_bits;
    image->header.size = (uint64_t)image->cluster_size * 20;
    image->header.l1_size = 1;
    image->header.l1_hoff = image_at(image, 3, 0);
    image->header.reftable_hoff = image_at(image, 1, 0);
    image->header.reftable_clusters = 1;
    image->header.refcount_order = order;
    image->header.header_length = version == 2 ? 72 : 104;
    for (uint32_t i = 0; i < 5; i++)
        image_append(image, 1);
    image_set(image, 1, 0, image_at(image, 2, 0));
    image_set(image, 3, 0, image_at(image, 4, BYRE_L2_COPIED));
    for (uint32_t i = 0; i < IMAGE_DATA; i++) {
        uint32_t cluster = image_append(image, 1);

        memset(image_cluster(image, cluster), (int)cluster, image->cluster_size);
        image_set(image, 4, i, image_at(image, cluster, BYRE_L2_COPIED));
    }
    assert_int_equal(
        byre_qcow2_header_serialize(&image->header, true, image->bytes, image->cluster_size, NULL), 0);
}

static inline void image_done(struct image *image)
{
    free(image->bytes);
    byre_qcow2_header_done(&image->header);
}

static inline void image_report(void *opaque, const char *line)
{
    struct image *image = opaque;
    size_t used = strlen(image->report);

    snprintf(image->report + used, sizeof image->report - used, "%s\n", line);
}

/* Checks what is in `store`; the result and the report are in the image. */
static inline int image_check_store(struct image *image, struct byre_store *store, unsigned repair,
                                    struct byre_error *err)
{
    struct byre_check_options options = { .report = image_report, .opaque = image };

    image->report[0] = '\0';
    memset(&image->result, 0, sizeof image->result);
    return byre_qcow2_check(store, &image->header, repair, &options, &image->result, err);
}

/* Takes what a repair has written: it may have made the file longer, and switched the header to new tables. */
static inline void image_take(struct image *image, const uint8_t *bytes, uint64_t length)
{
    struct byre_qcow2_header *header = &image->header;

    assert_true(length <= (uint64_t)IMAGE_CLUSTERS * image->cluster_size);
    if (memcmp(image->bytes + BYRE_QCOW2_AT_REFTABLE, bytes + BYRE_QCOW2_AT_REFTABLE, 12) != 0) {
        header->reftable_hoff = byre_get_be64(bytes + BYRE_QCOW2_AT_REFTABLE);
        header->reftable_clusters = byre_get_be32(bytes + BYRE_QCOW2_AT_REFTABLE + 8);
    }
    if (memcmp(image->bytes + 60, bytes + 60, 12) != 0) {
        header->snapshot_count = byre_get_be32(bytes + 60);
        header->snapshots_hoff = byre_get_be64(bytes + 64);
    }
    memcpy(image->bytes, bytes, length);
    image->clusters = (uint32_t)((length + image->cluster_size - 1) / image->cluster_size);
    header->incompatible = header->version >= 3 ? byre_get_be64(bytes + BYRE_QCOW2_AT_INCOMPAT) : 0;
}

/* Checks the bytes, which a repair changes. */
static inline int image_check_error(struct image *image, unsigned repair, struct byre_error *err)
{
    struct byre_store *store = NULL;
    uint64_t length = (uint64_t)image->clusters * image->cluster_size;
    const uint8_t *bytes;
    int rc;

    assert_int_equal(byre_memory_new(image->bytes, length, &store, NULL), 0);
    rc = image_check_store(image, store, repair, err);
    bytes = byre_memory_bytes(store, &length);
    if (repair)
        image_take(image, bytes, length);
    else
        assert_memory_equal(image->bytes, bytes, length);
    byre_store_close(store);
    return rc;
}

static inline void image_check(struct image *image, unsigned repair)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (image_check_error(image, repair, &err) != 0)
        fail_msg("the check failed: %s", err.text);
}

/* Writes the header, after a test has changed it. */
static inline void image_put_header(struct image *image)
{
    assert_int_equal(
        byre_qcow2_header_serialize(&image->header, true, image->bytes, image->cluster_size, NULL), 0);
}

/* The last check reported this text. */
#define assert_reported(image, text)                                                                         \
    do {                                                                                                     \
        if (!strstr((image)->report, (text)))                                                                \
            fail_msg("'%s' was not reported, but: %s", (text), (image)->report);                             \
    } while (0)

#define assert_found(image, corruptions_, leaks_)                                                            \
    do {                                                                                                     \
        if ((image)->result.corruptions != (corruptions_) || (image)->result.leaks != (leaks_))              \
            fail_msg("%u corruptions and %u leaks were found: %s", (unsigned)(image)->result.corruptions,    \
                     (unsigned)(image)->result.leaks, (image)->report);                                      \
    } while (0)

#endif
