/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small image editor: makes qcow2 images in memory that have every structure of the format, by the codecs alone, and
 * tells where each structure is, so that damage can be placed by name.
 *
 *     struct edit_image image;
 *     edit_make(&image, &(struct edit_options){ .version = 3, .cluster_bits = 9, .refcount_order = 4, ... });
 *     edit_put(&image, EDIT_L2, 0, 3, value);       entry 3 of the first L2 table
 *     ...
 *     edit_done(&image);
 *
 * The disk: two L2 tables.  Clusters 0 to 3 are data (shared with the snapshots, if there are any), 4 and 5 data,
 * 6 and 7 compressed into one cluster, 8 reads as zero, 9 reads as zero and has a cluster, the rest has no mapping;
 * of the second table the first two clusters are data.
 */
#ifndef TESTS_CHECK_EDIT_IMAGE_H
#define TESTS_CHECK_EDIT_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "qcow2/fmt_header.h"
#include "store/store.h"

enum edit_structure {
    EDIT_HEADER,
    EDIT_REFTABLE,
    EDIT_REFBLOCK,
    EDIT_L1,
    EDIT_L2,          /* two of the active disk; with snapshots a third, which is theirs */
    EDIT_SNAPSHOTS,   /* the table: an entry is one of 8 bytes */
    EDIT_SNAPSHOT_L1, /* one a snapshot */
    EDIT_DIRECTORY,   /* of bitmaps; as above */
    EDIT_BITMAP,      /* one table a bitmap */
    EDIT_BITMAP_DATA,
    EDIT_CRYPT,
    EDIT_DATA,        /* the host clusters of guest clusters 0 to 5 */
    EDIT_STRUCTURES,
};

struct edit_options {
    const char *name; /* for messages */
    unsigned version, cluster_bits, refcount_order;
    bool extended, data_file, data_file_raw, luks, snapshots, bitmaps, backing;
};

enum { EDIT_CLUSTERS = 60, EDIT_EACH = 6, EDIT_SNAPSHOT_COUNT = 2 };

struct edit_image {
    struct edit_options options;
    uint32_t cluster;  /* bytes */
    uint32_t entry;    /* bytes of an L2 entry */
    uint32_t clusters; /* of the file */
    uint8_t *bytes;
    struct byre_qcow2_header header;
    uint32_t at[EDIT_STRUCTURES][EDIT_EACH]; /* clusters; 0: none */
    uint32_t references[EDIT_CLUSTERS];
};

void edit_make(struct edit_image *image, const struct edit_options *options);
void edit_done(struct edit_image *image);

/* The i-th word of a structure. */
uint64_t edit_get(const struct edit_image *image, enum edit_structure structure, unsigned index, uint32_t i);
void edit_put(struct edit_image *image, enum edit_structure structure, unsigned index, uint32_t i, uint64_t value);
/* Where it is in the file. */
uint64_t edit_hoff(const struct edit_image *image, enum edit_structure structure, unsigned index);
const char *edit_name(enum edit_structure structure);

/* Guest clusters whose contents edit_read tells. */
enum { EDIT_GUEST = 24 };

/*
 * Reads what is there of the `number`-th guest cluster (those from EDIT_GUEST / 2 on are of the second L2 table) in the
 * image that `store` holds, through the active tables (snapshot < 0) or those of a snapshot, by its own means.  Returns
 * the bytes in `ret`, a cluster and a half of them; false where the entries on the way cannot be true.
 */
bool edit_read(struct byre_store *store, int snapshot, unsigned number, uint8_t *ret);

#endif
