/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The qcow2 header: see fmt_header.h.  Extensions are in fmt_extensions.c, the checks of single fields in
 * fmt_header_check.c.
 *
 * Invariants
 *   H1. No byte beyond the buffer, or beyond the first cluster, is looked at.
 *   H2. What parses also serializes, and parses to the same again, unless extensions and backing name filled
 *       the cluster to the last byte.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/fmt_extensions.h"
#include "qcow2/fmt_header_check.h"

#define AT_BACKING 8 /* backing_file_offset (8), backing_file_size (4) */
#define AT_COMPRESSION 104
#define AT_UNKNOWN 112

/* Where the backing file's name stands. */
struct name_place {
    uint64_t hoff;
    uint32_t length;
};

void byre_qcow2_header_done(struct byre_qcow2_header *header)
{
    for (size_t i = 0; i < header->extension_count; i++)
        free(header->extensions[i].data);
    free(header->extensions);
    free(header->unknown_fields);
    free(header->backing_name);
    free(header->backing_format);
    *header = (struct byre_qcow2_header){ 0 };
}

/* The 72 bytes that both versions have. */
static void decode_common(const uint8_t *buf, struct byre_qcow2_header *h, struct name_place *backing)
{
    h->version = byre_get_be32(buf + 4);
    backing->hoff = byre_get_be64(buf + AT_BACKING);
    backing->length = byre_get_be32(buf + AT_BACKING + 8);
    h->cluster_bits = byre_get_be32(buf + 20);
    h->size = byre_get_be64(buf + BYRE_QCOW2_AT_SIZE);
    h->crypt_method = byre_get_be32(buf + 32);
    h->l1_size = byre_get_be32(buf + BYRE_QCOW2_AT_L1);
    h->l1_hoff = byre_get_be64(buf + BYRE_QCOW2_AT_L1 + 4);
    h->reftable_hoff = byre_get_be64(buf + BYRE_QCOW2_AT_REFTABLE);
    h->reftable_clusters = byre_get_be32(buf + BYRE_QCOW2_AT_REFTABLE + 8);
    h->snapshot_count = byre_get_be32(buf + 60);
    h->snapshots_hoff = byre_get_be64(buf + 64);
    h->refcount_order = 4;
    h->header_length = BYRE_QCOW2_V2_HEADER_LENGTH;
}

/* Bytes 72 to 103 of version 3. */
static void decode_v3(const uint8_t *buf, struct byre_qcow2_header *h)
{
    h->incompatible = byre_get_be64(buf + BYRE_QCOW2_AT_INCOMPAT);
    h->compatible = byre_get_be64(buf + 80);
    h->autoclear = byre_get_be64(buf + BYRE_QCOW2_AT_AUTOCLEAR);
    h->refcount_order = byre_get_be32(buf + 96);
    h->header_length = byre_get_be32(buf + 100);
}

/* The fields that are there only if header_length says so. */
static int decode_additional(const uint8_t *buf, struct byre_qcow2_header *h, struct byre_error *err)
{
    if (h->header_length < AT_UNKNOWN)
        return 0;
    h->compression = buf[AT_COMPRESSION];
    memcpy(h->reserved, buf + AT_COMPRESSION + 1, sizeof h->reserved);
    if (h->header_length == AT_UNKNOWN)
        return 0;
    h->unknown_fields = malloc(h->header_length - AT_UNKNOWN);
    if (!h->unknown_fields)
        return byre_error_set_errno(err, -ENOMEM, "header");
    memcpy(h->unknown_fields, buf + AT_UNKNOWN, h->header_length - AT_UNKNOWN);
    return 0;
}

/* Magic, version, cluster size and header length: what must be right before anything else is looked at. */
static int decode_fixed(const uint8_t *buf, size_t length, struct byre_qcow2_header *h,
                        struct name_place *backing, struct byre_error *err)
{
    int rc;

    if (length < 4 || byre_get_be32(buf) != BYRE_QCOW2_MAGIC)
        return byre_error_set(err, -EINVAL, "Image is not in qcow2 format");
    if (length < BYRE_QCOW2_V2_HEADER_LENGTH)
        return byre_error_set(err, -EINVAL, "qcow2 header too short (the file has %zu bytes)", length);
    decode_common(buf, h, backing);
    rc = byre_qcow2_header_check_basics(h, err);
    if (rc < 0 || h->version == 2)
        return rc;
    if (length < BYRE_QCOW2_V3_HEADER_LENGTH)
        return byre_error_set(err, -EINVAL, "qcow2 header too short (the file has %zu bytes)", length);
    decode_v3(buf, h);
    rc = byre_qcow2_header_check_length(h, err);
    if (rc < 0)
        return rc;
    if (length < h->header_length)
        return byre_error_set(err, -EINVAL,
                              "qcow2 header is cut short (header_length is %u, the file has %zu bytes)",
                              h->header_length, length);
    return decode_additional(buf, h, err);
}

static int check_name_place(const struct byre_qcow2_header *h, const struct name_place *backing,
                            size_t length, struct byre_error *err)
{
    uint64_t cluster = 1ULL << h->cluster_bits;

    if (backing->hoff < h->header_length || backing->hoff >= cluster)
        return byre_error_set(err, -EINVAL, "Invalid backing file offset (backing_file_offset is %llu)",
                              (unsigned long long)backing->hoff);
    if (backing->length > MIN(cluster - backing->hoff, (uint64_t)BYRE_QCOW2_BACKING_NAME_MAX))
        return byre_error_set(err, -EINVAL, "Backing file name too long (backing_file_size is %u)",
                              backing->length);
    if (!byre_range_within(backing->hoff, backing->length, length))
        return byre_error_set(err, -EINVAL, "Backing file name is cut short "
                              "(backing_file_offset is %llu, backing_file_size is %u, file size is %zu)",
                              (unsigned long long)backing->hoff, backing->length, length);
    return 0;
}

static int take_backing_name(const uint8_t *buf, const struct name_place *backing,
                             struct byre_qcow2_header *h, struct byre_error *err)
{
    const uint8_t *name = buf + backing->hoff;
    size_t length = backing->length;

    /* NULs at the end are padding of a careless writer; one inside would make two readers see two names. */
    while (length > 0 && name[length - 1] == 0)
        length--;
    if (length == 0)
        return 0;
    if (memchr(name, 0, length))
        return byre_error_set(err, -EINVAL, "Invalid backing file name: it holds a NUL byte "
                              "(backing_file_offset is %llu)", (unsigned long long)backing->hoff);
    h->backing_name = strndup((const char *)name, length);
    if (!h->backing_name)
        return byre_error_set_errno(err, -ENOMEM, "header");
    return 0;
}

/* Extensions, feature bits, and the backing name between the extensions and the end of the cluster. */
static int parse_rest(const uint8_t *buf, size_t length, const struct name_place *backing,
                      struct byre_qcow2_header *h, struct byre_error *err)
{
    size_t end = MIN((uint64_t)length, 1ULL << h->cluster_bits);
    struct byre_error extension_error = BYRE_ERROR_INIT;
    int rc, extension_rc;

    if (backing->hoff != 0) {
        rc = check_name_place(h, backing, end, err);
        if (rc < 0)
            return rc;
        end = (size_t)backing->hoff;
    }
    extension_rc = byre_qcow2_extensions_parse(buf, h->header_length, end, h, &extension_error);
    /* First of all say which unknown feature there is: it may well be why the extensions look odd. */
    rc = byre_qcow2_header_check_features(h, err);
    if (rc < 0)
        return rc;
    if (extension_rc < 0)
        return byre_error_set(err, extension_rc, "%s", extension_error.text);
    rc = byre_qcow2_header_check_fields(h, err);
    if (rc < 0 || backing->hoff == 0)
        return rc;
    return take_backing_name(buf, backing, h, err);
}

int byre_qcow2_header_parse(const uint8_t *buf, size_t length, struct byre_qcow2_header *ret_header,
                            struct byre_error *err)
{
    struct byre_qcow2_header header = { 0 };
    struct name_place backing = { 0 };
    int rc;

    rc = decode_fixed(buf, length, &header, &backing, err);
    if (rc == 0)
        rc = parse_rest(buf, length, &backing, &header, err);
    if (rc < 0) {
        byre_qcow2_header_done(&header);
        return rc;
    }
    *ret_header = header;
    return 0;
}

static void encode_common(const struct byre_qcow2_header *h, bool magic, uint8_t *buf)
{
    if (magic)
        byre_put_be32(buf, BYRE_QCOW2_MAGIC);
    byre_put_be32(buf + 4, h->version);
    byre_put_be32(buf + 20, h->cluster_bits);
    byre_put_be64(buf + BYRE_QCOW2_AT_SIZE, h->size);
    byre_put_be32(buf + 32, h->crypt_method);
    byre_put_be32(buf + BYRE_QCOW2_AT_L1, h->l1_size);
    byre_put_be64(buf + BYRE_QCOW2_AT_L1 + 4, h->l1_hoff);
    byre_put_be64(buf + BYRE_QCOW2_AT_REFTABLE, h->reftable_hoff);
    byre_put_be32(buf + BYRE_QCOW2_AT_REFTABLE + 8, h->reftable_clusters);
    byre_put_be32(buf + 60, h->snapshot_count);
    byre_put_be64(buf + 64, h->snapshots_hoff);
}

static void encode_v3(const struct byre_qcow2_header *h, uint8_t *buf)
{
    byre_put_be64(buf + BYRE_QCOW2_AT_INCOMPAT, h->incompatible);
    byre_put_be64(buf + 80, h->compatible);
    byre_put_be64(buf + BYRE_QCOW2_AT_AUTOCLEAR, h->autoclear);
    byre_put_be32(buf + 96, h->refcount_order);
    byre_put_be32(buf + 100, h->header_length);
    if (h->header_length < AT_UNKNOWN)
        return;
    buf[AT_COMPRESSION] = h->compression;
    memcpy(buf + AT_COMPRESSION + 1, h->reserved, sizeof h->reserved);
    if (h->unknown_fields)
        memcpy(buf + AT_UNKNOWN, h->unknown_fields, h->header_length - AT_UNKNOWN);
}

static int encode_backing_name(const struct byre_qcow2_header *h, uint8_t *buf, size_t at, size_t length,
                               struct byre_error *err)
{
    size_t name_length = strlen(h->backing_name);

    if (name_length > BYRE_QCOW2_BACKING_NAME_MAX)
        return byre_error_set(err, -EINVAL, "Backing file name too long (it has %zu bytes)", name_length);
    if (name_length > length - at)
        return byre_error_set(err, -ENOSPC,
                              "Backing file name of %zu bytes does not fit into the header cluster of %zu",
                              name_length, length);
    memcpy(buf + at, h->backing_name, name_length);
    byre_put_be64(buf + AT_BACKING, at);
    byre_put_be32(buf + AT_BACKING + 8, (uint32_t)name_length);
    return 0;
}

/* Misuse only: fields that contradict each other. */
static bool can_serialize(const struct byre_qcow2_header *h)
{
    if (h->version == 2)
        return h->header_length == BYRE_QCOW2_V2_HEADER_LENGTH && h->refcount_order == 4 && !h->compression &&
               !h->incompatible && !h->compatible && !h->autoclear;
    return h->version == 3 && h->header_length >= BYRE_QCOW2_V3_HEADER_LENGTH &&
           (h->header_length >= AT_UNKNOWN || !h->compression);
}

int byre_qcow2_header_serialize(const struct byre_qcow2_header *header, bool magic, uint8_t *buf,
                                size_t length, struct byre_error *err)
{
    size_t end;
    int rc;

    if (!can_serialize(header))
        return byre_error_set(err, -EINVAL, "qcow2 header fields contradict each other (version is %u)",
                              header->version);
    if (length < header->header_length)
        return byre_error_set(err, -ENOSPC, "qcow2 header does not fit into %zu bytes (header_length is %u)",
                              length, header->header_length);
    memset(buf, 0, length);
    encode_common(header, magic, buf);
    if (header->version >= 3)
        encode_v3(header, buf);
    rc = byre_qcow2_extensions_serialize(header, buf, header->header_length, length, &end, err);
    if (rc < 0)
        return rc;
    if (!header->backing_name)
        return 0;
    return encode_backing_name(header, buf, end, length, err);
}
