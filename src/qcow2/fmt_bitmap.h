/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bitmaps extension and the entries of the bitmap directory (qcow2 specification, "Bitmaps extension" and
 * "Bitmap directory").  Pure functions, no I/O.
 */
#ifndef BYRE_QCOW2_FMT_BITMAP_H
#define BYRE_QCOW2_FMT_BITMAP_H

#include <stddef.h>
#include <stdint.h>

#include "byre/error.h"
#include "qcow2/fmt_header.h"

#define BYRE_QCOW2_BITMAPS_MAX 65535U
#define BYRE_QCOW2_BITMAP_NAME_MAX 1023U
#define BYRE_QCOW2_BITMAP_DIRECTORY_MAX (BYRE_QCOW2_BITMAPS_MAX * 1024U) /* bytes */

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
    unsigned granularity_bits;
    uint16_t name_length;
    const char *name; /* in the directory's bytes; not NUL-terminated */
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

#endif
