/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bitmaps extension and the entries of the bitmap directory (qcow2 specification, "Bitmaps extension" and
 * "Bitmap directory").  Pure functions, no I/O.
 */
#ifndef BYRE_QCOW2_FMT_BITMAP_H
#define BYRE_QCOW2_FMT_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre/error.h"
#include "qcow2/fmt_header.h"

#define BYRE_QCOW2_BITMAPS_MAX 65535U
#define BYRE_QCOW2_BITMAP_NAME_MAX 1023U
#define BYRE_QCOW2_BITMAP_DIRECTORY_MAX (BYRE_QCOW2_BITMAPS_MAX * 1024U) /* bytes */

#define BYRE_QCOW2_BITMAPS_LENGTH 24U                    /* of the extension's data */
#define BYRE_QCOW2_BITMAP_FIXED 24U                      /* bytes of an entry before extra data and name */
#define BYRE_QCOW2_BITMAP_AT_FLAGS 12U                   /* where the flags stand in an entry */
#define BYRE_QCOW2_BITMAP_BYTES_MAX (512U << 20)         /* of the bits of one bitmap, as in qemu */
#define BYRE_QCOW2_BITMAP_TABLE_MAX (BYRE_QCOW2_BITMAP_BYTES_MAX >> 9) /* entries: that much in clusters of 512 bytes */
#define BYRE_QCOW2_BITMAP_GRANULARITY_BITS_MIN 9U
#define BYRE_QCOW2_BITMAP_GRANULARITY_BITS_MAX 31U
#define BYRE_QCOW2_BITMAP_DIRTY_TRACKING 1U              /* the only type there is */

#define BYRE_QCOW2_BITMAP_IN_USE (1U << 0)
#define BYRE_QCOW2_BITMAP_AUTO (1U << 1)
#define BYRE_QCOW2_BITMAP_EXTRA_COMPATIBLE (1U << 2)

/* The bitmaps extension. */
struct byre_qcow2_bitmaps {
    uint32_t count;
    uint64_t directory_size; /* bytes */
    uint64_t directory_hoff;
};

/* One directory entry. */
struct byre_qcow2_bitmap {
    uint64_t table_hoff;
    uint32_t table_size; /* entries */
    uint32_t flags;
    uint8_t type;
    unsigned granularity_bits;
    uint16_t name_length;
    const char *name;     /* in the directory's bytes; not NUL-terminated */
    uint32_t extra_length;
    const uint8_t *extra; /* the same */
};

/* Checks and decodes the extension; -EINVAL names field and value. */
int byre_qcow2_bitmaps_parse(const struct byre_qcow2_extension *extension, unsigned cluster_bits,
                             struct byre_qcow2_bitmaps *ret_bitmaps, struct byre_error *err);

/*
 * Decodes the directory entry at the start of `buf`; `left` bytes of the directory are left.  *ret_length is
 * what to skip to get to the next entry.
 */
int byre_qcow2_bitmap_parse(const uint8_t *buf, size_t left, struct byre_qcow2_bitmap *ret_bitmap,
                            size_t *ret_length, struct byre_error *err);

/* As above, but only what makes it impossible to go on is an error.  `*ret_fault` says why the bitmap cannot be used,
 * or is NULL. */
int byre_qcow2_bitmap_decode(const uint8_t *buf, size_t left, struct byre_qcow2_bitmap *ret_bitmap,
                             size_t *ret_length, const char **ret_fault, struct byre_error *err);

/* How long the entry is in the directory, padding included. */
size_t byre_qcow2_bitmap_length(const struct byre_qcow2_bitmap *bitmap);
/* Writes the entry, padding included. */
void byre_qcow2_bitmap_serialize(const struct byre_qcow2_bitmap *bitmap, uint8_t *buf);
/* Writes the extension's data. */
void byre_qcow2_bitmaps_serialize(const struct byre_qcow2_bitmaps *bitmaps, uint8_t buf[BYRE_QCOW2_BITMAPS_LENGTH]);

/* Entries of a bitmap table: how a cluster of bits is given.  ALL_ONES and 0 (all zeros) have no cluster. */
#define BYRE_QCOW2_BITMAP_ALL_ONES 1ULL
#define BYRE_QCOW2_BITMAP_OFFSET_MASK 0x00fffffffffffe00ULL

/* Is that an entry of a table? */
bool byre_qcow2_bitmap_entry_valid(uint64_t entry, unsigned cluster_bits);
/* How many entries the table of a bitmap has, for a disk of `size` bytes. */
uint64_t byre_qcow2_bitmap_entries(uint64_t size, unsigned granularity_bits, unsigned cluster_bits);

#endif
