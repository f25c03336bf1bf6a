/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is this header sane?  Pure checks of parsed fields; messages are qemu-img's where it has one, followed by
 * the field of the specification and its value.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/fmt_header_check.h"

#define INCOMPAT_KNOWN \
    (BYRE_QCOW2_INCOMPAT_DIRTY | BYRE_QCOW2_INCOMPAT_CORRUPT | BYRE_QCOW2_INCOMPAT_DATA_FILE | \
     BYRE_QCOW2_INCOMPAT_COMPRESSION | BYRE_QCOW2_INCOMPAT_EXTENDED_L2)
#define REFCOUNT_ORDER_MAX 6
#define SUBCLUSTERS 32
#define SUBCLUSTER_MIN 512
#define CRYPT_EXTENSION_LENGTH 16
#define SNAPSHOT_ENTRY_MIN 40

static uint64_t cluster_size(const struct byre_qcow2_header *h)
{
    return 1ULL << h->cluster_bits;
}

static int bad_number(struct byre_error *err, const char *message, const char *field, uint64_t value)
{
    return byre_error_set(err, -EINVAL, "%s (%s is %" PRIu64 ")", message, field, value);
}

static int bad_offset(struct byre_error *err, const char *message, const char *field, uint64_t value)
{
    return byre_error_set(err, -EINVAL, "%s (%s is 0x%" PRIx64 ")", message, field, value);
}

int byre_qcow2_header_check_basics(const struct byre_qcow2_header *h, struct byre_error *err)
{
    if (h->version < 2 || h->version > 3)
        return byre_error_set(err, -ENOTSUP, "Unsupported qcow2 version %u", h->version);
    if (h->cluster_bits < BYRE_QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > BYRE_QCOW2_CLUSTER_BITS_MAX)
        return byre_error_set(err, -EINVAL, "Unsupported cluster size: 2^%u (cluster_bits is %u)",
                              h->cluster_bits, h->cluster_bits);
    return 0;
}

int byre_qcow2_header_check_length(const struct byre_qcow2_header *h, struct byre_error *err)
{
    if (h->header_length < BYRE_QCOW2_V3_HEADER_LENGTH)
        return bad_number(err, "qcow2 header too short", "header_length", h->header_length);
    if (h->header_length > cluster_size(h))
        return bad_number(err, "qcow2 header exceeds cluster size", "header_length", h->header_length);
    if (!byre_is_aligned(h->header_length, 8))
        return bad_number(err, "qcow2 header length is not a multiple of 8", "header_length",
                          h->header_length);
    return 0;
}

/* A name from a stranger's image must not control the terminal. */
static void make_printable(char *name)
{
    for (; *name; name++) {
        if ((unsigned char)*name < ' ' || *name == 0x7f)
            *name = '?';
    }
}

int byre_qcow2_header_check_features(const struct byre_qcow2_header *h, struct byre_error *err)
{
    uint64_t unknown = h->incompatible & ~INCOMPAT_KNOWN;
    char text[64 * 48 + 64] = "", name[47];
    size_t length = 0;

    if (!unknown)
        return 0;
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(unknown & 1ULL << bit) || !byre_qcow2_header_feature_name(h, 0, bit, name))
            continue;
        unknown &= ~(1ULL << bit);
        make_printable(name);
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%s", length ? ", " : "", name);
    }
    if (unknown)
        snprintf(text + length, sizeof text - length, "%sUnknown incompatible feature: %" PRIx64,
                 length ? ", " : "", unknown);
    return byre_error_set(err, -ENOTSUP,
                          "Unsupported qcow2 feature(s): %s (incompatible_features is 0x%" PRIx64 ")", text,
                          h->incompatible);
}

static int check_compression(const struct byre_qcow2_header *h, struct byre_error *err)
{
    bool flagged = h->incompatible & BYRE_QCOW2_INCOMPAT_COMPRESSION;

    if (h->compression > BYRE_COMPRESSION_ZSTD)
        return byre_error_set(err, -ENOTSUP, "unknown compression type: %u (compression_type is %u)",
                              h->compression, h->compression);
    if (h->compression != BYRE_COMPRESSION_ZLIB && !flagged)
        return bad_number(err, "Compression type incompatible feature bit must be set", "compression_type",
                          h->compression);
    if (h->compression == BYRE_COMPRESSION_ZLIB && flagged)
        return bad_number(err, "Compression type incompatible feature bit must not be set",
                          "compression_type",
                          h->compression);
    return 0;
}

static int check_encryption(const struct byre_qcow2_header *h, struct byre_error *err)
{
    const struct byre_qcow2_extension *extension =
        byre_qcow2_header_find_extension(h, BYRE_QCOW2_EXT_CRYPT_HEADER);

    if (h->crypt_method > BYRE_QCOW2_CRYPT_LUKS)
        return byre_error_set(err, -ENOTSUP, "Unsupported encryption method %u (crypt_method is %u)",
                              h->crypt_method, h->crypt_method);
    if (extension && h->crypt_method != BYRE_QCOW2_CRYPT_LUKS)
        return bad_number(err, "CRYPTO header extension only expected with LUKS encryption method",
                          "crypt_method", h->crypt_method);
    if (!extension && h->crypt_method == BYRE_QCOW2_CRYPT_LUKS)
        return bad_number(err, "CRYPTO header extension missing", "crypt_method", h->crypt_method);
    if (extension && extension->length != CRYPT_EXTENSION_LENGTH)
        return bad_number(err, "CRYPTO header extension has an invalid length", "length", extension->length);
    return 0;
}

/* A table that the header points to: aligned, and no sum of it overflows. */
static bool offset_ok(const struct byre_qcow2_header *h, uint64_t hoff, uint64_t bytes)
{
    return byre_is_aligned(hoff, cluster_size(h)) && hoff <= INT64_MAX && bytes <= INT64_MAX - hoff;
}

uint64_t byre_qcow2_header_l1_needed(const struct byre_qcow2_header *h, uint64_t size)
{
    bool extended = h->incompatible & BYRE_QCOW2_INCOMPAT_EXTENDED_L2;
    unsigned l2_bits = h->cluster_bits - (extended ? 4 : 3);

    return byre_div_up(size, 1ULL << (h->cluster_bits + l2_bits));
}

static int check_l1(const struct byre_qcow2_header *h, struct byre_error *err)
{
    uint64_t needed = byre_qcow2_header_l1_needed(h, h->size);

    if (needed > BYRE_QCOW2_L1_BYTES_MAX / 8)
        return bad_number(err, "Image is too big", "size", h->size);
    if (h->l1_size > BYRE_QCOW2_L1_BYTES_MAX / 8)
        return bad_number(err, "Active L1 table too large", "l1_size", h->l1_size);
    if (h->l1_size < needed)
        return byre_error_set(err, -EINVAL,
                              "L1 table is too small (l1_size is %u, an image of %" PRIu64
                              " bytes needs %" PRIu64 ")", h->l1_size, h->size, needed);
    if (!offset_ok(h, h->l1_hoff, h->l1_size * 8ULL))
        return bad_offset(err, "Active L1 table offset invalid", "l1_table_offset", h->l1_hoff);
    return 0;
}

static int check_reftable(const struct byre_qcow2_header *h, struct byre_error *err)
{
    uint64_t bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;

    if (bytes > BYRE_QCOW2_REFTABLE_BYTES_MAX)
        return bad_number(err, "Reference count table too large", "refcount_table_clusters",
                          h->reftable_clusters);
    if (!offset_ok(h, h->reftable_hoff, bytes))
        return bad_offset(err, "Reference count table offset invalid", "refcount_table_offset",
                          h->reftable_hoff);
    return 0;
}

static int check_snapshots(const struct byre_qcow2_header *h, struct byre_error *err)
{
    if (h->snapshot_count > BYRE_QCOW2_SNAPSHOTS_MAX)
        return bad_number(err, "Snapshot table too large", "nb_snapshots", h->snapshot_count);
    if (!offset_ok(h, h->snapshots_hoff, (uint64_t)h->snapshot_count * SNAPSHOT_ENTRY_MIN))
        return bad_offset(err, "Snapshot table offset invalid", "snapshots_offset", h->snapshots_hoff);
    return 0;
}

int byre_qcow2_header_check_fields(const struct byre_qcow2_header *h, struct byre_error *err)
{
    int rc;

    if (h->refcount_order > REFCOUNT_ORDER_MAX)
        return bad_number(err, "Reference count entry width too large; may not exceed 64 bits",
                          "refcount_order",
                          h->refcount_order);
    if (h->incompatible & BYRE_QCOW2_INCOMPAT_EXTENDED_L2 && cluster_size(h) / SUBCLUSTERS < SUBCLUSTER_MIN)
        return byre_error_set(err, -EINVAL, "Unsupported subcluster size: %" PRIu64 " (cluster_bits is %u)",
                              cluster_size(h) / SUBCLUSTERS, h->cluster_bits);
    rc = check_compression(h, err);
    if (rc == 0)
        rc = check_encryption(h, err);
    if (rc == 0)
        rc = check_l1(h, err);
    if (rc == 0)
        rc = check_reftable(h, err);
    if (rc == 0)
        rc = check_snapshots(h, err);
    return rc;
}

/* A range of the file that the header names. */
struct table {
    const char *what, *field;
    uint64_t hoff, bytes; /* bytes 0: the table is not there */
};

static int check_placed(const struct byre_qcow2_header *h, const struct table *tables, size_t count,
                        uint64_t file_size, struct byre_error *err)
{
    for (size_t i = 1; i < count; i++) {
        const struct table *t = &tables[i];

        for (size_t j = 0; t->bytes && j < i; j++) {
            const struct table *other = &tables[j];

            /* Clusters have one owner: compare what is taken up, not what is used. */
            if (other->bytes && t->hoff < byre_round_up(other->hoff + other->bytes, cluster_size(h)) &&
                other->hoff < byre_round_up(t->hoff + t->bytes, cluster_size(h)))
                return byre_error_set(err, -EINVAL, "%s overlaps with %s (%s is 0x%" PRIx64 ")", t->what,
                                      other->what, t->field, t->hoff);
        }
        if (!byre_range_within(t->hoff, t->bytes, file_size))
            return byre_error_set(err, -EINVAL, "%s lies beyond the end of the file (%s is 0x%" PRIx64
                                  ", its length is %" PRIu64 ", the file has %" PRIu64 " bytes)",
                                  t->what, t->field, t->hoff, t->bytes, file_size);
    }
    return 0;
}

/* What the extension of an encrypted image names, as far as it makes sense: opening the image says what does not. */
static struct table crypt_header(const struct byre_qcow2_header *h)
{
    const struct byre_qcow2_extension *extension =
        byre_qcow2_header_find_extension(h, BYRE_QCOW2_EXT_CRYPT_HEADER);
    struct table table = { .what = "Encryption header", .field = "offset of the crypto header extension" };

    if (!extension || extension->length != CRYPT_EXTENSION_LENGTH)
        return table;
    table.hoff = byre_get_be64(extension->data);
    table.bytes = byre_get_be64(extension->data + 8);
    if (table.hoff > INT64_MAX / 2 || table.bytes > INT64_MAX / 2)
        table.bytes = 0;
    return table;
}

int byre_qcow2_header_check_tables(const struct byre_qcow2_header *h, uint64_t file_size,
                                   struct byre_error *err)
{
    const struct table tables[] = {
        { "the header", "magic", 0, cluster_size(h) },
        { "Active L1 table", "l1_table_offset", h->l1_hoff, h->l1_size * 8ULL },
        { "Reference count table", "refcount_table_offset", h->reftable_hoff,
          (uint64_t)h->reftable_clusters << h->cluster_bits },
        { "Snapshot table", "snapshots_offset", h->snapshots_hoff,
          (uint64_t)h->snapshot_count * SNAPSHOT_ENTRY_MIN },
        crypt_header(h),
    };

    if (h->reftable_clusters == 0)
        return bad_number(err, "Image does not contain a reference count table", "refcount_table_clusters",
                          0);
    return check_placed(h, tables, ARRAY_LEN(tables), file_size, err);
}
