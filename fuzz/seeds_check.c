/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes seeds for fuzz_check into the directory that is given: small images with a snapshot and a bitmap,
 * and each of them with one entry of a table after the other made absurd.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/fmt_header.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/fmt_refcount.h"

#define CLUSTER 512u

/* Where things are, in clusters. */
enum {
    HEADER,
    REFTABLE,
    REFBLOCK,
    L1,
    L2,
    SNAPSHOTS,
    SNAPSHOT_L1,
    DIRECTORY,
    BITMAP_TABLE,
    BITMAP,
    DATA,
    END = 16
};

static const char *directory;
static unsigned written;

static void fail(const char *what)
{
    fprintf(stderr, "seeds_check: %s\n", what);
    exit(1);
}

static void write_seed(const uint8_t *bytes, size_t length)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/check-%04u", directory, written++);
    file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
        fail(path);
}

static void put_header(uint8_t *image, unsigned version, unsigned order)
{
    uint8_t bitmaps[24] = { 0, 0, 0, 1, [15] = 32 };
    struct byre_qcow2_header h = {
        .version = version,
        .cluster_bits = 9,
        .size = 64 * CLUSTER,
        .l1_size = 1,
        .l1_hoff = L1 * CLUSTER,
        .reftable_hoff = REFTABLE * CLUSTER,
        .reftable_clusters = 1,
        .snapshot_count = 1,
        .snapshots_hoff = SNAPSHOTS * CLUSTER,
        .refcount_order = order,
        .header_length = version == 2 ? 72 : 104,
        .autoclear = version == 2 ? 0 : BYRE_QCOW2_AUTOCLEAR_BITMAPS,
    };

    byre_put_be64(bitmaps + 16, DIRECTORY * CLUSTER);
    if (version == 3 && byre_qcow2_header_add_extension(&h, BYRE_QCOW2_EXT_BITMAPS, bitmaps, 24) < 0)
        fail("no memory");
    if (byre_qcow2_header_serialize(&h, true, image, CLUSTER, NULL) < 0)
        fail("a header does not fit");
    byre_qcow2_header_done(&h);
}

static void put_entry(uint8_t *image, unsigned table, unsigned i, uint64_t entry)
{
    byre_put_be64(image + table * CLUSTER + i * 8, entry);
}

static void put_tables(uint8_t *image, unsigned order)
{
    uint8_t *snapshot = image + SNAPSHOTS * CLUSTER, *bitmap = image + DIRECTORY * CLUSTER;

    for (unsigned i = 0; i < END; i++)
        byre_refcount_set(image + REFBLOCK * CLUSTER, i, order, 1);
    for (unsigned i = L2; i < END; i += i == L2 ? DATA - L2 : 1)
        byre_refcount_set(image + REFBLOCK * CLUSTER, i, order, order ? 2 : 1);
    put_entry(image, REFTABLE, 0, REFBLOCK * CLUSTER);
    put_entry(image, L1, 0, L2 * CLUSTER);
    put_entry(image, SNAPSHOT_L1, 0, L2 * CLUSTER);
    for (unsigned i = DATA; i < END; i++)
        put_entry(image, L2, i - DATA, i * CLUSTER);
    put_entry(image, L2, 3, byre_l2_compressed_entry((DATA + 3) * CLUSTER, 300, 9));
    put_entry(image, L2, 4, (DATA + 4) * CLUSTER | BYRE_L2_ZERO);
    put_entry(image, L2, 9, BYRE_L2_ZERO);
    byre_put_be64(snapshot, SNAPSHOT_L1 * CLUSTER);
    byre_put_be32(snapshot + 8, 1);
    byre_put_be16(snapshot + 12, 1);
    byre_put_be32(snapshot + 36, 16);
    snapshot[56] = '1';
    byre_put_be64(bitmap, BITMAP_TABLE * CLUSTER);
    byre_put_be32(bitmap + 8, 1);
    bitmap[16] = 1;
    bitmap[17] = 9;
    byre_put_be16(bitmap + 18, 1);
    bitmap[24] = 'b';
    put_entry(image, BITMAP_TABLE, 0, BITMAP * CLUSTER);
}

/* Words of the tables, by cluster and index. */
static const uint8_t words[][2] = {
    { HEADER, 4 },    { HEADER, 5 },    { HEADER, 6 },      { HEADER, 7 },       { HEADER, 8 },
    { HEADER, 9 },    { REFTABLE, 0 },  { REFTABLE, 1 },    { REFBLOCK, 0 },     { REFBLOCK, 1 },
    { L1, 0 },        { L2, 0 },        { L2, 3 },          { L2, 4 },           { L2, 63 },
    { SNAPSHOTS, 0 }, { SNAPSHOTS, 1 }, { SNAPSHOT_L1, 0 }, { BITMAP_TABLE, 0 }, { DIRECTORY, 0 },
};

static const uint64_t values[] = {
    0,
    1,
    L1 *CLUSTER,
    L2 *CLUSTER | BYRE_L2_COPIED,
    REFBLOCK *CLUSTER,
    DATA *CLUSTER,
    DATA *CLUSTER | 1,
    DATA *CLUSTER | BYRE_L2_COPIED,
    END *CLUSTER,
    1ULL << 50,
    BYRE_L2_COMPRESSED | DATA *CLUSTER,
    0x0003000300000009,
    UINT64_MAX,
};

int main(int argc, char **argv)
{
    static uint8_t image[END * CLUSTER], copy[END * CLUSTER];

    if (argc != 2)
        fail("usage: seeds_check DIRECTORY");
    directory = argv[1];
    for (unsigned kind = 0; kind < 4; kind++) {
        unsigned order = kind == 0 ? 4 : kind * 2;

        memset(image, 0, sizeof image);
        put_header(image, kind == 0 ? 2 : 3, order);
        put_tables(image, order);
        write_seed(image, sizeof image);
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
            for (size_t j = 0; j < ARRAY_LEN(values); j++) {
                memcpy(copy, image, sizeof image);
                put_entry(copy, words[i][0], words[i][1], values[j]);
                write_seed(copy, sizeof copy);
            }
        }
        write_seed(image, sizeof image - 700);
    }
    printf("wrote %u seeds\n", written);
    return 0;
}
