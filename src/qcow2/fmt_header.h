/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The qcow2 header and its extensions (specification, "Header" and "Header extensions"): between the bytes
 * of the first cluster and a struct.  Pure functions over buffers, no I/O.
 *
 * Parsing checks what the bytes alone can tell: widths, alignments, sizes, limits, known and unknown
 * features.  What needs the file (do tables lie within it?) is the engine's part.
 */
#ifndef BYRE_QCOW2_FMT_HEADER_H
#define BYRE_QCOW2_FMT_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre/error.h"

#define BYRE_QCOW2_MAGIC 0x514649fbU

#define BYRE_QCOW2_INCOMPAT_DIRTY (1ULL << 0)
#define BYRE_QCOW2_INCOMPAT_CORRUPT (1ULL << 1)
#define BYRE_QCOW2_INCOMPAT_DATA_FILE (1ULL << 2)
#define BYRE_QCOW2_INCOMPAT_COMPRESSION (1ULL << 3)
#define BYRE_QCOW2_INCOMPAT_EXTENDED_L2 (1ULL << 4)
#define BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS (1ULL << 0)
#define BYRE_QCOW2_AUTOCLEAR_BITMAPS (1ULL << 0)
#define BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW (1ULL << 1)

#define BYRE_QCOW2_EXT_END 0x00000000U
#define BYRE_QCOW2_EXT_BACKING_FORMAT 0xe2792acaU
#define BYRE_QCOW2_EXT_FEATURE_NAMES 0x6803f857U
#define BYRE_QCOW2_EXT_BITMAPS 0x23852875U
#define BYRE_QCOW2_EXT_CRYPT_HEADER 0x0537be77U
#define BYRE_QCOW2_EXT_DATA_FILE 0x44415441U
#define BYRE_QCOW2_EXT_FILLER 0x62797265U /* ours: to be skipped, see header_replace.c */

#define BYRE_QCOW2_CRYPT_AES 1 /* crypt_method */
#define BYRE_QCOW2_CRYPT_LUKS 2

#define BYRE_QCOW2_CLUSTER_BITS_MIN 9
#define BYRE_QCOW2_CLUSTER_BITS_MAX 21
#define BYRE_QCOW2_L1_BYTES_MAX (32U << 20)
#define BYRE_QCOW2_REFTABLE_BYTES_MAX (8U << 20)
#define BYRE_QCOW2_SNAPSHOTS_MAX 65536U
#define BYRE_QCOW2_BACKING_NAME_MAX 1023
#define BYRE_QCOW2_V2_HEADER_LENGTH 72
#define BYRE_QCOW2_V3_HEADER_LENGTH 104

/* Where single fields stand, for switching them in sector 0. */
#define BYRE_QCOW2_AT_SIZE 24
#define BYRE_QCOW2_AT_L1 36       /* l1_size (4), l1_table_offset (8) */
#define BYRE_QCOW2_AT_REFTABLE 48 /* offset (8), clusters (4) */
#define BYRE_QCOW2_AT_SNAPSHOTS 60 /* nb_snapshots (4), snapshots_offset (8) */
#define BYRE_QCOW2_AT_INCOMPAT 72
#define BYRE_QCOW2_AT_AUTOCLEAR 88
#define BYRE_QCOW2_AT_REFCOUNT_ORDER 96 /* version 3 */

enum byre_qcow2_compression { BYRE_COMPRESSION_ZLIB = 0, BYRE_COMPRESSION_ZSTD = 1 };

/* One header extension, as it stands in the file: also those that byre does not know. */
struct byre_qcow2_extension {
    uint32_t type;
    uint32_t length;
    uint8_t *data; /* owned */
};

struct byre_qcow2_header {
    uint32_t version;
    uint32_t cluster_bits;
    uint64_t size; /* virtual size, bytes */
    uint32_t crypt_method;
    uint32_t l1_size; /* entries */
    uint64_t l1_hoff;
    uint64_t reftable_hoff;
    uint32_t reftable_clusters;
    uint32_t snapshot_count;
    uint64_t snapshots_hoff;
    uint64_t incompatible;
    uint64_t compatible;
    uint64_t autoclear;
    uint32_t refcount_order; /* 4 for version 2 */
    uint32_t header_length;  /* 72 for version 2 */
    uint8_t compression;     /* enum byre_qcow2_compression */
    uint8_t reserved[7];     /* bytes 105 to 111, kept as they are */
    uint8_t *unknown_fields; /* bytes 112 to header_length, kept as they are; owned; or NULL */
    char *backing_name;      /* owned; NULL without a backing file */
    char *backing_format;    /* owned; NULL where it is not recorded */
    struct byre_qcow2_extension *extensions; /* all, in file order, backing format included; owned */
    size_t extension_count;
};

/*
 * Parses `buf`, the first `length` bytes of an image (the first cluster, or the whole file where that is
 * shorter; at least 72 bytes or the image is refused as too short).  Fields from 104 on are read where
 * header_length covers them.  Errors name field and value, in qemu-img's words where it has a message:
 * -EINVAL for nonsense, -ENOTSUP for an unsupported version or feature; incompatible bits that byre does not
 * know are refused with the name from the image's feature name table (or by number).
 * Known but not (yet) supported features are parsed, not refused.
 * On success release with byre_qcow2_header_done.
 */
int byre_qcow2_header_parse(const uint8_t *buf, size_t length, struct byre_qcow2_header *ret_header,
                            struct byre_error *err);

/*
 * Writes header, extensions (in order), and backing name into `buf` of `length` bytes (a cluster), the rest
 * zero.  `magic` false leaves the first four bytes zero: such a file is not an image yet.  Fails with
 * -ENOSPC if it does not fit, naming what does not.
 */
int byre_qcow2_header_serialize(const struct byre_qcow2_header *header, bool magic, uint8_t *buf,
                                size_t length, struct byre_error *err);

/*
 * Checks where the tables that the header names lie: apart from each other and from the header, and within a
 * file of `file_size` bytes (UINT64_MAX: do not check that).  -EINVAL names the field and its value.  Not
 * part of parsing, so that a check can open and report what it finds.
 */
int byre_qcow2_header_check_tables(const struct byre_qcow2_header *header, uint64_t file_size,
                                   struct byre_error *err);

/* L1 entries that an image of `size` bytes needs. */
uint64_t byre_qcow2_header_l1_needed(const struct byre_qcow2_header *header, uint64_t size);

/* The extension of a type, or NULL; it belongs to the header. */
const struct byre_qcow2_extension *byre_qcow2_header_find_extension(const struct byre_qcow2_header *header,
                                                                    uint32_t type);

/* Appends a copy of an extension: 0 or -ENOMEM.  `backing_format` is the caller's to set. */
int byre_qcow2_header_add_extension(struct byre_qcow2_header *header, uint32_t type, const void *data,
                                    uint32_t length);

/* Appends the feature name table that qemu writes for version 3 images with clusters of 8 KiB and more. */
int byre_qcow2_header_add_feature_names(struct byre_qcow2_header *header);

/* The name of a feature bit from the image's table (type 0 incompatible, 1 compatible, 2 autoclear), as a
 * NUL-terminated string of at most 46 characters; false if the table has none. */
bool byre_qcow2_header_feature_name(const struct byre_qcow2_header *header, unsigned type, unsigned bit,
                                    char ret_name[47]);

/* Releases what the header owns; a zeroed struct is allowed. */
void byre_qcow2_header_done(struct byre_qcow2_header *header);

#endif
