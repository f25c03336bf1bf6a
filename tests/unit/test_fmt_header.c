/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The header codec: what it accepts, what it refuses and how it names it, and that it loses nothing.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/fmt_header.h"

#define CLUSTER 65536

/* A header as qemu-img writes it for 1 GiB, with a backing file. */
static void make_header(struct byre_qcow2_header *h, unsigned version)
{
    *h = (struct byre_qcow2_header){
        .version = version,
        .cluster_bits = 16,
        .size = 1ULL << 30,
        .l1_size = 2,
        .l1_hoff = 0x30000,
        .reftable_hoff = 0x10000,
        .reftable_clusters = 1,
        .refcount_order = 4,
        .header_length = version == 2 ? 72 : 112,
    };
    h->backing_name = strdup("base.raw");
    h->backing_format = strdup("raw");
    assert_non_null(h->backing_name);
    assert_non_null(h->backing_format);
    assert_int_equal(byre_qcow2_header_add_extension(h, BYRE_QCOW2_EXT_BACKING_FORMAT, "raw", 3), 0);
    if (version == 3)
        assert_int_equal(byre_qcow2_header_add_feature_names(h), 0);
}

static void make_bytes(uint8_t buf[CLUSTER], unsigned version)
{
    struct byre_qcow2_header h;

    make_header(&h, version);
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, CLUSTER, NULL), 0);
    byre_qcow2_header_done(&h);
}

static void assert_same(const struct byre_qcow2_header *a, const struct byre_qcow2_header *b)
{
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->cluster_bits, b->cluster_bits);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->crypt_method, b->crypt_method);
    assert_int_equal(a->l1_size, b->l1_size);
    assert_int_equal(a->l1_hoff, b->l1_hoff);
    assert_int_equal(a->reftable_hoff, b->reftable_hoff);
    assert_int_equal(a->reftable_clusters, b->reftable_clusters);
    assert_int_equal(a->snapshot_count, b->snapshot_count);
    assert_int_equal(a->snapshots_hoff, b->snapshots_hoff);
    assert_int_equal(a->incompatible, b->incompatible);
    assert_int_equal(a->compatible, b->compatible);
    assert_int_equal(a->autoclear, b->autoclear);
    assert_int_equal(a->refcount_order, b->refcount_order);
    assert_int_equal(a->header_length, b->header_length);
    assert_int_equal(a->compression, b->compression);
    assert_memory_equal(a->reserved, b->reserved, sizeof a->reserved);
    assert_string_equal(a->backing_name, b->backing_name);
    assert_string_equal(a->backing_format, b->backing_format);
    assert_int_equal(a->extension_count, b->extension_count);
    for (size_t i = 0; i < a->extension_count; i++) {
        assert_int_equal(a->extensions[i].type, b->extensions[i].type);
        assert_int_equal(a->extensions[i].length, b->extensions[i].length);
        assert_memory_equal(a->extensions[i].data, b->extensions[i].data, a->extensions[i].length);
    }
}

static void round_trip(unsigned version)
{
    static uint8_t buf[CLUSTER], again[CLUSTER];
    struct byre_qcow2_header h, parsed;
    struct byre_error err = BYRE_ERROR_INIT;

    make_header(&h, version);
    h.snapshot_count = 3;
    h.snapshots_hoff = 0x50000;
    if (version == 3) {
        h.refcount_order = 6;
        h.incompatible = BYRE_QCOW2_INCOMPAT_DIRTY | BYRE_QCOW2_INCOMPAT_CORRUPT |
                         BYRE_QCOW2_INCOMPAT_COMPRESSION;
        h.compatible = BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS | 1ULL << 40;
        h.autoclear = 1ULL << 63;
        h.compression = BYRE_COMPRESSION_ZSTD;
        memcpy(h.reserved, "seventy", 7);
    }
    assert_int_equal(byre_qcow2_header_add_extension(&h, 0x12345678, "unknown data", 12), 0);
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, CLUSTER, &err), 0);
    if (byre_qcow2_header_parse(buf, CLUSTER, &parsed, &err) != 0)
        fail_msg("%s", err.text);
    assert_same(&h, &parsed);
    assert_int_equal(byre_qcow2_header_serialize(&parsed, true, again, CLUSTER, &err), 0);
    assert_memory_equal(buf, again, CLUSTER);
    byre_qcow2_header_done(&h);
    byre_qcow2_header_done(&parsed);
}

static void header_v2_comes_back(void **state)
{
    (void)state;
    round_trip(2);
}

static void header_v3_comes_back(void **state)
{
    (void)state;
    round_trip(3);
}

static void header_unknown_fields_are_kept(void **state)
{
    static uint8_t buf[CLUSTER], again[CLUSTER];
    struct byre_qcow2_header h, parsed;

    (void)state;
    make_header(&h, 3);
    h.header_length = 128;
    h.unknown_fields = (uint8_t *)strdup("sixteen bytes in"); /* and a NUL that is not ours to write */
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, CLUSTER, NULL), 0);
    assert_memory_equal(buf + 112, "sixteen bytes in", 16);
    assert_int_equal(byre_qcow2_header_parse(buf, CLUSTER, &parsed, NULL), 0);
    assert_memory_equal(parsed.unknown_fields, h.unknown_fields, 16);
    assert_int_equal(byre_qcow2_header_serialize(&parsed, true, again, CLUSTER, NULL), 0);
    assert_memory_equal(buf, again, CLUSTER);
    byre_qcow2_header_done(&h);
    byre_qcow2_header_done(&parsed);
}

static void header_without_magic_is_no_image(void **state)
{
    static uint8_t buf[CLUSTER];
    struct byre_qcow2_header h, parsed;
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    make_header(&h, 3);
    assert_int_equal(byre_qcow2_header_serialize(&h, false, buf, CLUSTER, NULL), 0);
    assert_int_equal(byre_get_be32(buf), 0);
    assert_int_equal(byre_qcow2_header_parse(buf, CLUSTER, &parsed, &err), -EINVAL);
    assert_string_equal(err.text, "Image is not in qcow2 format");
    byre_put_be32(buf, BYRE_QCOW2_MAGIC);
    assert_int_equal(byre_qcow2_header_parse(buf, CLUSTER, &parsed, NULL), 0);
    byre_qcow2_header_done(&h);
    byre_qcow2_header_done(&parsed);
}

/* The bytes that qemu-img 7.2 writes for `create -f qcow2 -b base.raw -F raw x.qcow2 1G`. */
static void header_of_create_is_laid_out_as_qemu_does(void **state)
{
    static uint8_t buf[CLUSTER];

    (void)state;
    make_bytes(buf, 3);
    assert_int_equal(byre_get_be64(buf + 8), 0x210);
    assert_int_equal(byre_get_be32(buf + 16), 8);
    assert_int_equal(byre_get_be32(buf + 112), BYRE_QCOW2_EXT_BACKING_FORMAT);
    assert_memory_equal(buf + 120, "raw\0\0\0\0\0", 8);
    assert_int_equal(byre_get_be32(buf + 128), BYRE_QCOW2_EXT_FEATURE_NAMES);
    assert_int_equal(byre_get_be32(buf + 132), 0x180);
    assert_memory_equal(buf + 0x88, "\0\0dirty bit", 12);
    assert_memory_equal(buf + 0x1d8, "\2\1raw external data", 20);
    assert_memory_equal(buf + 0x210, "base.raw", 9);
}

struct refusal {
    unsigned version;
    unsigned at, width; /* of the field: 4 or 8 bytes */
    uint64_t value;
    const char *says;   /* part of the message: qemu's words, field and value */
};

static const struct refusal refusals[] = {
    { 3, 0, 4, 0x51464900, "Image is not in qcow2 format" },
    { 3, 4, 4, 1, "Unsupported qcow2 version 1" },
    { 3, 4, 4, 4, "Unsupported qcow2 version 4" },
    { 2, 20, 4, 0, "Unsupported cluster size: 2^0 (cluster_bits is 0)" },
    { 2, 20, 4, 8, "Unsupported cluster size: 2^8" },
    { 3, 20, 4, 22, "Unsupported cluster size: 2^22" },
    { 3, 20, 4, 0xffffffff, "Unsupported cluster size: 2^4294967295" },
    { 3, 24, 8, 1ULL << 63, "Image is too big (size is 9223372036854775808)" },
    { 2, 24, 8, UINT64_MAX, "Image is too big (size is 18446744073709551615)" },
    { 3, 24, 8, (1ULL << 30) + 1,
      "L1 table is too small (l1_size is 2, an image of 1073741825 bytes needs 3)" },
    { 3, 32, 4, 3, "Unsupported encryption method 3" },
    { 3, 32, 4, 2, "CRYPTO header extension missing (crypt_method is 2)" },
    { 3, 36, 4, 0, "L1 table is too small" },
    { 2, 36, 4, 1, "L1 table is too small (l1_size is 1" },
    { 3, 36, 4, 4194305, "Active L1 table too large (l1_size is 4194305)" },
    { 3, 36, 4, 0xffffffff, "Active L1 table too large (l1_size is 4294967295)" },
    { 3, 40, 8, 0x30001, "Active L1 table offset invalid (l1_table_offset is 0x30001)" },
    { 3, 40, 8, 0x30200, "Active L1 table offset invalid (l1_table_offset is 0x30200)" },
    { 3, 40, 8, 1ULL << 63, "Active L1 table offset invalid" },
    { 3, 48, 8, 0x10200, "Reference count table offset invalid (refcount_table_offset is 0x10200)" },
    { 3, 48, 8, 0x7fffffffffff0000, "Reference count table offset invalid" },
    { 3, 56, 4, 129, "Reference count table too large (refcount_table_clusters is 129)" },
    { 2, 56, 4, 0xffffffff, "Reference count table too large (refcount_table_clusters is 4294967295)" },
    { 3, 60, 4, 65537, "Snapshot table too large (nb_snapshots is 65537)" },
    { 2, 64, 8, 0x100, "Snapshot table offset invalid (snapshots_offset is 0x100)" },
    { 3, 64, 8, 1ULL << 63, "Snapshot table offset invalid" },
    { 3, 72, 8, 1 << 5, "Unsupported qcow2 feature(s): Unknown incompatible feature: 20" },
    { 3, 72, 8, 1ULL << 63, "Unknown incompatible feature: 8000000000000000" },
    { 3, 72, 8, 8, "Compression type incompatible feature bit must not be set (compression_type is 0)" },
    { 3, 72, 8, 16, "L1 table is too small (l1_size is 2, an image of 1073741824 bytes needs 4)" },
    { 3, 96, 4, 7, "Reference count entry width too large; may not exceed 64 bits (refcount_order is 7)" },
    { 3, 96, 4, 0xffffffff, "refcount_order is 4294967295" },
    { 3, 100, 4, 0, "qcow2 header too short (header_length is 0)" },
    { 3, 100, 4, 96, "qcow2 header too short (header_length is 96)" },
    { 3, 100, 4, 105, "qcow2 header length is not a multiple of 8 (header_length is 105)" },
    { 3, 100, 4, 65544, "qcow2 header exceeds cluster size (header_length is 65544)" },
    { 3, 100, 4, 0xffffffff, "qcow2 header exceeds cluster size (header_length is 4294967295)" },
    { 3, 104, 4, 0x01000000,
      "Compression type incompatible feature bit must be set (compression_type is 1)" },
    { 3, 104, 4, 0x02000000, "unknown compression type: 2" },
    { 3, 8, 8, 65536, "Invalid backing file offset (backing_file_offset is 65536)" },
    { 3, 8, 8, 80, "Invalid backing file offset (backing_file_offset is 80)" },
    { 2, 8, 8, 71, "Invalid backing file offset (backing_file_offset is 71)" },
    { 3, 8, 8, UINT64_MAX, "Invalid backing file offset (backing_file_offset is 18446744073709551615)" },
    { 3, 8, 8, 65529, "Backing file name too long (backing_file_size is 8)" },
    { 3, 16, 4, 1024, "Backing file name too long (backing_file_size is 1024)" },
    { 3, 16, 4, 0xffffffff, "Backing file name too long (backing_file_size is 4294967295)" },
    { 3, 0x214, 4, 0x62006264, "Invalid backing file name: it holds a NUL byte" },
    { 3, 116, 4, 16, "ext_backing_format: len=16 too large (>=16)" },
    { 3, 116, 4, 0xffffffff,
      "Header extension too large (type is 0xe2792aca, offset is 112, length is 4294967295)" },
    { 3, 132, 4, 393, "Header extension too large (type is 0x6803f857, offset is 128, length is 393)" },
    { 2, 76, 4, 65536, "Header extension too large (type is 0xe2792aca, offset is 72, length is 65536)" },
    { 3, 128, 4, BYRE_QCOW2_EXT_BACKING_FORMAT,
      "Header extension appears more than once (type is 0xe2792aca)" },
    { 3, 128, 4, BYRE_QCOW2_EXT_CRYPT_HEADER, "CRYPTO header extension only expected with LUKS encryption" },
};

static void header_absurd_field_is_refused_by_name(void **state)
{
    static uint8_t buf[CLUSTER];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct byre_qcow2_header parsed;
        struct byre_error err = BYRE_ERROR_INIT;
        int rc;

        make_bytes(buf, r->version);
        if (r->width == 4)
            byre_put_be32(buf + r->at, (uint32_t)r->value);
        else
            byre_put_be64(buf + r->at, r->value);
        rc = byre_qcow2_header_parse(buf, CLUSTER, &parsed, &err);
        if (rc != -EINVAL && rc != -ENOTSUP)
            fail_msg("byte %u = %llx: returned %d", r->at, (unsigned long long)r->value, rc);
        if (err.code != rc || !strstr(err.text, r->says))
            fail_msg("byte %u = %llx: '%s' does not say '%s'", r->at, (unsigned long long)r->value, err.text,
                     r->says);
    }
}

/* The largest values that are allowed: a limit that is too tight breaks images. */
static const struct refusal limits[] = {
    { 3, 24, 8, 0, NULL },
    { 3, 36, 4, 4194304, NULL },
    { 3, 56, 4, 128, NULL },
    { 3, 56, 4, 0, NULL },
    { 3, 60, 4, 65536, NULL },
    { 3, 72, 8, 7, NULL },
    { 3, 88, 8, UINT64_MAX, NULL },
    { 3, 80, 8, UINT64_MAX, NULL },
    { 3, 96, 4, 6, NULL },
    { 3, 96, 4, 0, NULL },
    { 3, 32, 4, 1, NULL },
    { 3, 8, 8, 65528, NULL },
    { 3, 132, 4, 392, NULL },
};

static void header_value_at_limit_is_accepted(void **state)
{
    static uint8_t buf[CLUSTER];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        const struct refusal *r = &limits[i];
        struct byre_qcow2_header parsed;
        struct byre_error err = BYRE_ERROR_INIT;

        make_bytes(buf, r->version);
        if (r->width == 4)
            byre_put_be32(buf + r->at, (uint32_t)r->value);
        else
            byre_put_be64(buf + r->at, r->value);
        if (byre_qcow2_header_parse(buf, CLUSTER, &parsed, &err) != 0)
            fail_msg("byte %u = %llx: %s", r->at, (unsigned long long)r->value, err.text);
        byre_qcow2_header_done(&parsed);
    }
}

/* Each prefix is copied to memory of its own, so that a sanitizer sees a read beyond it. */
static void header_cut_short_is_refused_at_every_length(void **state)
{
    static uint8_t buf[CLUSTER];

    (void)state;
    make_bytes(buf, 3);
    for (size_t length = 0; length < 0x218; length++) {
        uint8_t *copy = malloc(length ? length : 1);
        struct byre_qcow2_header parsed;
        struct byre_error err = BYRE_ERROR_INIT;

        assert_non_null(copy);
        memcpy(copy, buf, length);
        assert_int_equal(byre_qcow2_header_parse(copy, length, &parsed, &err), -EINVAL);
        assert_true(strlen(err.text) > 10);
        free(copy);
    }
    /* Nothing stands behind the name: the file may end there. */
    struct byre_qcow2_header parsed;
    assert_int_equal(byre_qcow2_header_parse(buf, 0x218, &parsed, NULL), 0);
    byre_qcow2_header_done(&parsed);
}

static void header_beyond_first_cluster_is_not_read(void **state)
{
    static uint8_t buf[CLUSTER];
    struct byre_qcow2_header h, parsed;
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    make_header(&h, 3);
    h.cluster_bits = 9;
    h.size = 512;
    h.extension_count--; /* the feature names do not fit */
    free(h.extensions[1].data);
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, 512, NULL), 0);
    byre_put_be64(buf + 8, 512);
    assert_int_equal(byre_qcow2_header_parse(buf, CLUSTER, &parsed, &err), -EINVAL);
    assert_non_null(strstr(err.text, "backing_file_offset is 512"));
    byre_put_be64(buf + 8, 504);
    assert_int_equal(byre_qcow2_header_parse(buf, CLUSTER, &parsed, &err), 0);
    assert_null(parsed.backing_name); /* eight zeros */
    byre_qcow2_header_done(&parsed);
    byre_qcow2_header_done(&h);
}

static void unknown_feature_is_named_from_the_table(void **state)
{
    static uint8_t buf[CLUSTER];
    uint8_t table[2 * 48] = { 0 };
    struct byre_qcow2_header h, parsed;
    struct byre_error err = BYRE_ERROR_INIT;
    char name[47];

    (void)state;
    table[1] = 5;
    memcpy(table + 2, "five\x1b" "alive", 10);
    table[49] = 63;
    memset(table + 50, 'x', 46);
    make_header(&h, 3);
    free(h.extensions[1].data);
    h.extension_count = 1;
    assert_int_equal(byre_qcow2_header_add_extension(&h, BYRE_QCOW2_EXT_FEATURE_NAMES, table, sizeof table),
                     0);
    assert_true(byre_qcow2_header_feature_name(&h, 0, 63, name));
    assert_int_equal(strlen(name), 46);
    assert_false(byre_qcow2_header_feature_name(&h, 1, 63, name));
    h.incompatible = 3ULL << 5 | 1ULL << 63;
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, CLUSTER, NULL), 0);
    assert_int_equal(byre_qcow2_header_parse(buf, CLUSTER, &parsed, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "Unsupported qcow2 feature(s): five?alive, "
                                     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, "
                                     "Unknown incompatible feature: 40"));
    byre_qcow2_header_done(&h);
}

static void serialize_names_what_does_not_fit(void **state)
{
    static uint8_t buf[CLUSTER];
    struct byre_qcow2_header h;
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    make_header(&h, 3);
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, 104, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "header_length is 112"));
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, 512, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "type is 0x6803f857"));
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, 0x217, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "Backing file name of 8 bytes"));
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, 0x218, &err), 0);
    h.version = 2;
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, CLUSTER, &err), -EINVAL);
    byre_qcow2_header_done(&h);
}

struct placement {
    uint64_t l1_hoff, reftable_hoff;
    uint32_t reftable_clusters, snapshot_count;
    uint64_t snapshots_hoff, file_size;
    const char *says; /* NULL: fine */
};

static const struct placement placements[] = {
    { 0x30000, 0x10000, 1, 0, 0, UINT64_MAX, NULL },
    { 0x30000, 0x10000, 1, 0, 0, 0x30010, NULL },
    { 0x30000, 0x10000, 1, 0, 0, 0x3000f,
      "Active L1 table lies beyond the end of the file (l1_table_offset" },
    { 0x30000, 0x40000, 1, 0, 0, 0x40000, "Reference count table lies beyond the end of the file" },
    { 0x30000, 0x10000, 1, 1, 0x50000, 0x50000, "Snapshot table lies beyond the end of the file" },
    { 0, 0x10000, 1, 0, 0, UINT64_MAX, "Active L1 table overlaps with the header (l1_table_offset is 0x0)" },
    { 0x30000, 0, 1, 0, 0, UINT64_MAX, "Reference count table overlaps with the header" },
    { 0x20000, 0x10000, 2, 0, 0, UINT64_MAX, "Reference count table overlaps with Active L1 table" },
    { 0x20000, 0x20000, 1, 0, 0, UINT64_MAX, "refcount_table_offset is 0x20000" },
    { 0x30000, 0x10000, 0, 0, 0, UINT64_MAX, "Image does not contain a reference count table" },
    { 0x30000, 0x10000, 1, 1, 0, UINT64_MAX,
      "Snapshot table overlaps with the header (snapshots_offset is 0x0)" },
    { 0x30000, 0x10000, 1, 1, 0x10000, UINT64_MAX, "Snapshot table overlaps with Reference count table" },
    { 1ULL << 62, 0x10000, 1, 0, 0, 1ULL << 40, "l1_table_offset is 0x4000000000000000" },
};

static void tables_that_overlap_or_lie_outside_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(placements); i++) {
        const struct placement *p = &placements[i];
        struct byre_error err = BYRE_ERROR_INIT;
        struct byre_qcow2_header h;
        int rc;

        make_header(&h, 3);
        h.l1_hoff = p->l1_hoff;
        h.reftable_hoff = p->reftable_hoff;
        h.reftable_clusters = p->reftable_clusters;
        h.snapshot_count = p->snapshot_count;
        h.snapshots_hoff = p->snapshots_hoff;
        rc = byre_qcow2_header_check_tables(&h, p->file_size, &err);
        if (p->says ? rc != -EINVAL || !strstr(err.text, p->says) : rc != 0)
            fail_msg("placement %zu: %d '%s', expected '%s'", i, rc, err.text, p->says ? p->says : "success");
        byre_qcow2_header_done(&h);
    }
}

/* Whatever the bytes: no crash, a message with every refusal, and what parses is stable. */
static void header_random_damage_never_breaks_the_parser(void **state)
{
    static uint8_t buf[CLUSTER], out[CLUSTER];
    unsigned seed = 0x517cc1b7, accepted = 0;

    (void)state;
    print_message("seed %u\n", seed);
    srandom(seed);
    for (int turn = 0; turn < 20000; turn++) {
        struct byre_qcow2_header parsed, again;
        struct byre_error err = BYRE_ERROR_INIT;

        make_bytes(buf, turn & 1 ? 3 : 2);
        for (long n = random() % 3; n >= 0; n--)
            buf[4 + random() % 0x220] = (uint8_t)(random() & 1 ? random() : 1 << random() % 8);
        if (byre_qcow2_header_parse(buf, CLUSTER, &parsed, &err) != 0) {
            assert_true(err.text[0] != 0);
            continue;
        }
        accepted++;
        assert_int_equal(byre_qcow2_header_serialize(&parsed, true, out, CLUSTER, &err), 0);
        assert_int_equal(byre_qcow2_header_parse(out, CLUSTER, &again, &err), 0);
        assert_int_equal(parsed.extension_count, again.extension_count);
        assert_int_equal(parsed.incompatible, again.incompatible);
        byre_qcow2_header_done(&parsed);
        byre_qcow2_header_done(&again);
    }
    assert_in_range(accepted, 1, 19999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_v2_comes_back),
        cmocka_unit_test(header_v3_comes_back),
        cmocka_unit_test(header_unknown_fields_are_kept),
        cmocka_unit_test(header_without_magic_is_no_image),
        cmocka_unit_test(header_of_create_is_laid_out_as_qemu_does),
        cmocka_unit_test(header_absurd_field_is_refused_by_name),
        cmocka_unit_test(header_value_at_limit_is_accepted),
        cmocka_unit_test(header_cut_short_is_refused_at_every_length),
        cmocka_unit_test(header_beyond_first_cluster_is_not_read),
        cmocka_unit_test(unknown_feature_is_named_from_the_table),
        cmocka_unit_test(serialize_names_what_does_not_fit),
        cmocka_unit_test(tables_that_overlap_or_lie_outside_are_refused),
        cmocka_unit_test(header_random_damage_never_breaks_the_parser),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
