/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmap metadata: see fmt_bitmap.h.  Limits and messages are qemu's where it has them.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/fmt_bitmap.h"

#define ENTRY_FIXED BYRE_QCOW2_BITMAP_FIXED

int byre_qcow2_bitmaps_parse(const struct byre_qcow2_extension *extension, unsigned cluster_bits,
                             struct byre_qcow2_bitmaps *ret_bitmaps, struct byre_error *err)
{
    struct byre_qcow2_bitmaps b;
    uint32_t reserved;

    if (extension->length != BYRE_QCOW2_BITMAPS_LENGTH)
        return byre_error_set(err, -EINVAL, "bitmaps_ext: Invalid extension length (it is %u)",
                              extension->length);
    b.count = byre_get_be32(extension->data);
    reserved = byre_get_be32(extension->data + 4);
    b.directory_size = byre_get_be64(extension->data + 8);
    b.directory_hoff = byre_get_be64(extension->data + 16);
    if (reserved != 0)
        return byre_error_set(err, -EINVAL, "bitmaps_ext: Reserved field is not zero (it is %u)", reserved);
    if (b.count == 0)
        return byre_error_set(err, -EINVAL, "found bitmaps extension with zero bitmaps (nb_bitmaps is 0)");
    if (b.count > BYRE_QCOW2_BITMAPS_MAX)
        return byre_error_set(err, -EINVAL,
                              "bitmaps_ext: Image has %u bitmaps, exceeding the supported maximum of "
                              "%u (nb_bitmaps)", b.count, BYRE_QCOW2_BITMAPS_MAX);
    if (!byre_is_aligned(b.directory_hoff, 1ULL << cluster_bits) || b.directory_hoff > INT64_MAX)
        return byre_error_set(err, -EINVAL, "bitmaps_ext: invalid bitmap directory offset "
                              "(bitmap_directory_offset is 0x%" PRIx64 ")", b.directory_hoff);
    if (b.directory_size > BYRE_QCOW2_BITMAP_DIRECTORY_MAX)
        return byre_error_set(err, -EINVAL,
                              "bitmaps_ext: bitmap directory size (%" PRIu64 ") exceeds the maximum "
                              "supported size (%u) (bitmap_directory_size)", b.directory_size,
                              BYRE_QCOW2_BITMAP_DIRECTORY_MAX);
    *ret_bitmaps = b;
    return 0;
}

/* What byre and qemu make of a bitmap's fields. */
static const char *entry_fault(const struct byre_qcow2_bitmap *b)
{
    if (b->name_length == 0)
        return "name_size is 0";
    if (b->name_length > BYRE_QCOW2_BITMAP_NAME_MAX)
        return "name_size is over 1023";
    if (b->type != BYRE_QCOW2_BITMAP_DIRTY_TRACKING)
        return "type is not 1";
    if (b->granularity_bits < BYRE_QCOW2_BITMAP_GRANULARITY_BITS_MIN ||
        b->granularity_bits > BYRE_QCOW2_BITMAP_GRANULARITY_BITS_MAX)
        return "granularity_bits is not between 9 and 31";
    if (b->flags & ~(BYRE_QCOW2_BITMAP_IN_USE | BYRE_QCOW2_BITMAP_AUTO | BYRE_QCOW2_BITMAP_EXTRA_COMPATIBLE))
        return "reserved flags are set";
    if (b->extra_length > 0 && !(b->flags & BYRE_QCOW2_BITMAP_EXTRA_COMPATIBLE))
        return "it has extra data of an unknown kind";
    if (memchr(b->name, 0, b->name_length))
        return "its name holds a NUL byte";
    return NULL;
}

/* A name from the image, for a message: cut, and without what controls a terminal. */
static void printable_name(const struct byre_qcow2_bitmap *b, char text[64])
{
    size_t length = MIN((size_t)b->name_length, (size_t)63);

    for (size_t i = 0; i < length; i++)
        text[i] = (unsigned char)b->name[i] < ' ' || b->name[i] == 0x7f ? '?' : b->name[i];
    text[length] = 0;
}

int byre_qcow2_bitmap_decode(const uint8_t *buf, size_t left, struct byre_qcow2_bitmap *ret_bitmap,
                             size_t *ret_length, const char **ret_fault, struct byre_error *err)
{
    struct byre_qcow2_bitmap b;

    if (left < ENTRY_FIXED)
        return byre_error_set(err, -EINVAL, "Less bitmaps found than specified in header extension "
                              "(%zu bytes are left of the bitmap directory)", left);
    b.table_hoff = byre_get_be64(buf);
    b.table_size = byre_get_be32(buf + 8);
    b.flags = byre_get_be32(buf + BYRE_QCOW2_BITMAP_AT_FLAGS);
    b.type = buf[16];
    b.granularity_bits = buf[17];
    b.name_length = byre_get_be16(buf + 18);
    b.extra_length = byre_get_be32(buf + 20);
    if (byre_round_up(ENTRY_FIXED + (uint64_t)b.extra_length + b.name_length, 8) > left)
        return byre_error_set(err, -EINVAL, "bitmap directory entry exceeds the directory (name_size is %u, "
                              "extra_data_size is %u, %zu bytes are left)",
                              b.name_length, b.extra_length, left);
    b.extra = buf + ENTRY_FIXED;
    b.name = (const char *)b.extra + b.extra_length;
    *ret_fault = entry_fault(&b);
    *ret_length = byre_qcow2_bitmap_length(&b);
    *ret_bitmap = b;
    return 0;
}

int byre_qcow2_bitmap_parse(const uint8_t *buf, size_t left, struct byre_qcow2_bitmap *ret_bitmap,
                            size_t *ret_length, struct byre_error *err)
{
    struct byre_qcow2_bitmap b;
    const char *fault;
    size_t length;
    char name[64];
    int rc = byre_qcow2_bitmap_decode(buf, left, &b, &length, &fault, err);

    if (rc < 0)
        return rc;
    if (fault) {
        printable_name(&b, name);
        return byre_error_set(err, -EINVAL, "Bitmap '%s' doesn't satisfy the constraints (%s)", name, fault);
    }
    *ret_bitmap = b;
    *ret_length = length;
    return 0;
}

size_t byre_qcow2_bitmap_length(const struct byre_qcow2_bitmap *bitmap)
{
    return (size_t)byre_round_up(ENTRY_FIXED + (uint64_t)bitmap->extra_length + bitmap->name_length, 8);
}

void byre_qcow2_bitmap_serialize(const struct byre_qcow2_bitmap *bitmap, uint8_t *buf)
{
    memset(buf, 0, byre_qcow2_bitmap_length(bitmap));
    byre_put_be64(buf, bitmap->table_hoff);
    byre_put_be32(buf + 8, bitmap->table_size);
    byre_put_be32(buf + BYRE_QCOW2_BITMAP_AT_FLAGS, bitmap->flags);
    buf[16] = bitmap->type;
    buf[17] = (uint8_t)bitmap->granularity_bits;
    byre_put_be16(buf + 18, bitmap->name_length);
    byre_put_be32(buf + 20, bitmap->extra_length);
    if (bitmap->extra_length)
        memcpy(buf + ENTRY_FIXED, bitmap->extra, bitmap->extra_length);
    memcpy(buf + ENTRY_FIXED + bitmap->extra_length, bitmap->name, bitmap->name_length);
}

void byre_qcow2_bitmaps_serialize(const struct byre_qcow2_bitmaps *bitmaps, uint8_t buf[BYRE_QCOW2_BITMAPS_LENGTH])
{
    byre_put_be32(buf, bitmaps->count);
    byre_put_be32(buf + 4, 0);
    byre_put_be64(buf + 8, bitmaps->directory_size);
    byre_put_be64(buf + 16, bitmaps->directory_hoff);
}

bool byre_qcow2_bitmap_entry_valid(uint64_t entry, unsigned cluster_bits)
{
    uint64_t hoff = entry & BYRE_QCOW2_BITMAP_OFFSET_MASK;

    if (entry & ~BYRE_QCOW2_BITMAP_OFFSET_MASK & ~BYRE_QCOW2_BITMAP_ALL_ONES)
        return false;
    return hoff ? !(entry & BYRE_QCOW2_BITMAP_ALL_ONES) && byre_is_aligned(hoff, 1ULL << cluster_bits) : true;
}

uint64_t byre_qcow2_bitmap_entries(uint64_t size, unsigned granularity_bits, unsigned cluster_bits)
{
    uint64_t bits = byre_div_up(size, 1ULL << granularity_bits);

    return byre_div_up(byre_div_up(bits, 8), 1ULL << cluster_bits);
}
