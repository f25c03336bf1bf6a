/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes seeds for fuzz_header into the directory that is given: headers of every kind that are right, and
 * each of them with one field after the other made absurd.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/fmt_header.h"

#define CLUSTER_MAX 4096

static const char *directory;
static unsigned written;

static void fail(const char *what)
{
    fprintf(stderr, "seeds_header: %s\n", what);
    exit(1);
}

static void write_seed(const uint8_t *bytes, size_t length)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/header-%04u", directory, written++);
    file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
        fail(path);
}

/* Where the fields stand, and values at and beyond their limits. */
static const struct {
    unsigned at, width;
} fields[] = {
    { 0, 4 },  { 4, 4 },  { 8, 8 },  { 16, 4 }, { 20, 4 }, { 24, 8 },  { 32, 4 },  { 36, 4 },  { 40, 8 },
    { 48, 8 }, { 56, 4 }, { 60, 4 }, { 64, 8 }, { 72, 8 }, { 80, 8 },  { 88, 8 },  { 96, 4 },  { 100, 4 },
    { 104, 4 }, { 112, 4 }, { 116, 4 }, { 120, 8 }, { 128, 4 }, { 132, 4 },
};

static const uint64_t values[] = {
    0, 1, 2, 7, 8, 104, 512, 1023, 1024, 4096, 0x10000, 0x7fffffff, 0xffffffff, 1ULL << 63, UINT64_MAX,
};

static void write_damaged(const uint8_t *bytes, size_t length)
{
    uint8_t copy[CLUSTER_MAX];

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        for (size_t j = 0; j < ARRAY_LEN(values); j++) {
            memcpy(copy, bytes, length);
            if (fields[i].width == 4)
                byre_put_be32(copy + fields[i].at, (uint32_t)values[j]);
            else
                byre_put_be64(copy + fields[i].at, values[j]);
            write_seed(copy, length);
        }
    }
    for (size_t cut = 0; cut < 512; cut += 37)
        write_seed(bytes, cut);
}

static void add(struct byre_qcow2_header *header, uint32_t type, const void *data, uint32_t length)
{
    if (byre_qcow2_header_add_extension(header, type, data, length) < 0)
        fail("no memory");
}

/* One sound header; `kind` picks what is in it. */
static void write_kind(unsigned kind)
{
    static const uint8_t bitmaps[24] = { 0, 0, 0, 1, [15] = 32, [21] = 4 };
    static const uint8_t crypt[16] = { [5] = 4, [14] = 2 };
    uint8_t buf[CLUSTER_MAX];
    struct byre_qcow2_header h = {
        .version = kind & 1 ? 3 : 2,
        .cluster_bits = kind & 2 ? 12 : 9,
        .size = 1 << 20,
        .l1_size = 32,
        .l1_hoff = 0x3000,
        .reftable_hoff = 0x1000,
        .reftable_clusters = 1,
        .refcount_order = 4,
        .header_length = kind & 1 ? 112 : 72,
    };

    if (kind & 4) {
        h.backing_name = strdup("base.raw");
        add(&h, BYRE_QCOW2_EXT_BACKING_FORMAT, "raw", 3);
    }
    if (kind & 8) {
        h.crypt_method = 2;
        add(&h, BYRE_QCOW2_EXT_CRYPT_HEADER, crypt, sizeof crypt);
        add(&h, BYRE_QCOW2_EXT_BITMAPS, bitmaps, sizeof bitmaps);
        add(&h, BYRE_QCOW2_EXT_DATA_FILE, "data.raw", 8);
        add(&h, 0x62797265, "unknown", 7);
    }
    if ((kind & 3) == 3) {
        h.header_length = 120;
        h.unknown_fields = (uint8_t *)strdup("unknown");
        h.compression = BYRE_COMPRESSION_ZSTD;
        h.incompatible = BYRE_QCOW2_INCOMPAT_COMPRESSION | BYRE_QCOW2_INCOMPAT_DIRTY;
        if (byre_qcow2_header_add_feature_names(&h) < 0)
            fail("no memory");
    }
    if (byre_qcow2_header_serialize(&h, true, buf, (size_t)1 << h.cluster_bits, NULL) < 0)
        fail("a seed does not fit");
    byre_qcow2_header_done(&h);
    write_seed(buf, (size_t)1 << (kind & 2 ? 12 : 9));
    write_damaged(buf, (size_t)1 << (kind & 2 ? 12 : 9));
}

int main(int argc, char **argv)
{
    if (argc != 2)
        fail("usage: seeds_header DIRECTORY");
    directory = argv[1];
    for (unsigned kind = 0; kind < 16; kind++)
        write_kind(kind);
    printf("wrote %u seeds\n", written);
    return 0;
}
