/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker on sparse files: holes are not read, and a file of exabytes with a few tables that point all
 * over it costs neither time nor memory.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "check_image.h"
#include "qcow2/check_reader.h"

#define PIECES_MAX 4

struct piece {
    uint64_t hoff;
    const uint8_t *bytes;
    uint64_t length;
};

/* A store of `size` bytes with data only in a few pieces. */
struct sparse_store {
    struct byre_store store;
    uint64_t size;
    struct piece pieces[PIECES_MAX];
    unsigned piece_count;
    unsigned reads;
    uint64_t bytes_read;
    uint64_t watched_hoff;  /* a byte, or 0 */
    unsigned watched_reads; /* of it */
};

static int sparse_preadv(struct byre_store *store, const struct iovec *iov, int count, uint64_t hoff)
{
    struct sparse_store *sparse = (struct sparse_store *)store;

    sparse->reads++;
    for (int i = 0; i < count; hoff += iov[i++].iov_len) {
        memset(iov[i].iov_base, 0, iov[i].iov_len);
        sparse->bytes_read += iov[i].iov_len;
        sparse->watched_reads += sparse->watched_hoff >= hoff && sparse->watched_hoff - hoff < iov[i].iov_len;
        for (unsigned k = 0; k < sparse->piece_count; k++) {
            const struct piece *piece = &sparse->pieces[k];
            uint64_t start = MAX(hoff, piece->hoff);
            uint64_t end = MIN(hoff + iov[i].iov_len, piece->hoff + piece->length);

            if (start < end)
                memcpy((uint8_t *)iov[i].iov_base + (start - hoff), piece->bytes + (start - piece->hoff),
                       end - start);
        }
    }
    return 0;
}

static int sparse_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    struct sparse_store *sparse = (struct sparse_store *)store;

    *ret_hole = true;
    *ret_length = sparse->size - hoff;
    for (unsigned k = 0; k < sparse->piece_count; k++) {
        const struct piece *piece = &sparse->pieces[k];

        if (hoff >= piece->hoff && hoff < piece->hoff + piece->length) {
            *ret_hole = false;
            *ret_length = piece->hoff + piece->length - hoff;
            return 0;
        }
        if (piece->hoff > hoff)
            *ret_length = MIN(*ret_length, piece->hoff - hoff);
    }
    return 0;
}

static int sparse_get_size(struct byre_store *store, uint64_t *ret_size)
{
    *ret_size = ((struct sparse_store *)store)->size;
    return 0;
}

static const struct byre_store_ops sparse_ops = {
    .kind = "sparse",
    .preadv = sparse_preadv,
    .get_size = sparse_get_size,
    .extent = sparse_extent,
};

static void sparse_init(struct sparse_store *sparse, uint64_t size)
{
    static char name[] = "sparse";

    memset(sparse, 0, sizeof *sparse);
    sparse->store.ops = &sparse_ops;
    sparse->store.name = name;
    sparse->store.fd = -1;
    sparse->store.limits = (struct byre_store_limits){ .align = 1, .zero_align = 1, .discard_align = 1 };
    sparse->size = size;
}

static void sparse_add(struct sparse_store *sparse, uint64_t hoff, const void *bytes, uint64_t length)
{
    sparse->pieces[sparse->piece_count++] = (struct piece){ hoff, bytes, length };
}

static void reader_holes_are_not_read(void **state)
{
    struct byre_check_reader reader;
    struct sparse_store sparse;
    uint8_t buf[64];
    bool empty;

    (void)state;
    sparse_init(&sparse, 1000);
    sparse_add(&sparse, 100, "abcdefghij", 10);
    sparse_add(&sparse, 120, "ABCDEFGHIJ", 10);
    assert_int_equal(byre_check_reader_init(&reader, &sparse.store, NULL), 0);

    assert_int_equal(byre_check_read(&reader, 500, buf, sizeof buf, &empty, NULL), 0);
    assert_true(empty);
    assert_int_equal(byre_check_read(&reader, 5000, buf, sizeof buf, &empty, NULL), 0);
    assert_true(empty);
    assert_int_equal(sparse.reads, 0);

    memset(buf, 'x', sizeof buf);
    assert_int_equal(byre_check_read(&reader, 90, buf, sizeof buf, &empty, NULL), 0);
    assert_false(empty);
    assert_memory_equal(buf, "\0\0\0\0\0\0\0\0\0\0abcdefghij\0\0\0\0\0\0\0\0\0\0ABCDEFGHIJ\0\0\0\0", 44);
    assert_int_equal(buf[63], 0);
    assert_int_equal(reader.stored, 20);

    memset(buf, 'x', sizeof buf);
    assert_int_equal(byre_check_read(&reader, 125, buf, sizeof buf, &empty, NULL), 0);
    assert_memory_equal(buf, "FGHIJ\0\0", 7);
    assert_int_equal(reader.stored, 25);
}

static void reader_end_of_the_store_reads_as_zero(void **state)
{
    struct byre_check_reader reader;
    struct sparse_store sparse;
    uint8_t buf[32];
    bool empty;

    (void)state;
    sparse_init(&sparse, 10);
    sparse_add(&sparse, 0, "0123456789", 10);
    assert_int_equal(byre_check_reader_init(&reader, &sparse.store, NULL), 0);
    memset(buf, 'x', sizeof buf);
    assert_int_equal(byre_check_read(&reader, 8, buf, sizeof buf, &empty, NULL), 0);
    assert_false(empty);
    assert_memory_equal(buf, "89\0\0\0\0", 6);
    assert_int_equal(buf[31], 0);
}

/* A right image, whose file is then made longer by all that a file can have. */
static void check_of_exabytes_costs_what_its_tables_cost(void **state)
{
    struct sparse_store sparse;
    struct image image;

    (void)state;
    image_init(&image, 3, 9, 4);
    sparse_init(&sparse, 1ULL << 62);
    sparse_add(&sparse, 0, image.bytes, (uint64_t)image.clusters * image.cluster_size);
    assert_int_equal(image_check_store(&image, &sparse.store, 0, NULL), 0);
    assert_found(&image, 0, 0);
    assert_int_equal(image.result.image_end_hoff, 11 * 512);
    assert_true(sparse.bytes_read < 64 * 512);
    image_done(&image);
}

/* Snapshots of a disk that was never written to since: one L2 table, in all of their L1 tables. */
static void check_of_a_table_reads_it_once_for_all_snapshots(void **state)
{
    enum { SNAPSHOTS = 25, ENTRY = 64 };
    struct sparse_store sparse;
    struct image image;
    uint32_t table;

    (void)state;
    image_init(&image, 3, 12, 4);
    table = image_append(&image, 1);
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        uint8_t *entry = image_cluster(&image, table) + i * ENTRY;
        uint32_t l1 = image_append(&image, 1);

        image_set(&image, l1, 0, image_at(&image, 4, 0));
        byre_put_be64(entry, image_at(&image, l1, 0));
        byre_put_be32(entry + 8, 1);
        byre_put_be16(entry + 12, 1);
        byre_put_be16(entry + 14, 1);
        byre_put_be32(entry + 36, 16);
        entry[56] = entry[57] = (uint8_t)('A' + i);
    }
    image.header.snapshot_count = SNAPSHOTS;
    image.header.snapshots_hoff = image_at(&image, table, 0);
    image_set(&image, 3, 0, image_at(&image, 4, 0));
    image_set_refcount(&image, 4, SNAPSHOTS + 1);
    for (uint32_t i = 0; i < IMAGE_DATA; i++) {
        image_set(&image, 4, i, image_at(&image, 5 + i, 0));
        image_set_refcount(&image, 5 + i, SNAPSHOTS + 1);
    }
    image_put_header(&image);
    sparse_init(&sparse, (uint64_t)image.clusters * image.cluster_size);
    sparse_add(&sparse, 0, image.bytes, (uint64_t)image.clusters * image.cluster_size);
    sparse.watched_hoff = image_at(&image, 4, 0) + 8;
    assert_int_equal(image_check_store(&image, &sparse.store, 0, NULL), 0);
    assert_string_equal(image.report, "");
    assert_found(&image, 0, 0);
    assert_int_equal(sparse.watched_reads, 1);
    image_done(&image);
}

/* Tables of the largest size, all holes, and tables that point at holes. */
static void check_of_tables_in_holes_ends(void **state)
{
    enum { CLUSTER = 2 << 20 };
    static uint8_t l1[65536], reftable[65536], snapshots[65536];
    struct sparse_store sparse;
    struct image image;

    (void)state;
    image_init(&image, 3, 21, 0);
    image.header.l1_hoff = 1ULL << 41;
    image.header.l1_size = BYRE_QCOW2_L1_BYTES_MAX / 8;
    image.header.reftable_hoff = 1ULL << 42;
    image.header.reftable_clusters = 4;
    image.header.snapshot_count = 1000;
    image.header.snapshots_hoff = 1ULL << 43;
    for (uint64_t i = 0; i < sizeof l1 / 8; i++) {
        byre_put_be64(l1 + i * 8, (1ULL << 44) + i * CLUSTER * 1000);
        byre_put_be64(reftable + i * 8, (1ULL << 45) + i * CLUSTER * 1000);
    }
    for (uint64_t i = 0; i < sizeof snapshots / 64; i++) {
        byre_put_be64(snapshots + i * 64, image.header.l1_hoff); /* all share the active L1 table */
        byre_put_be32(snapshots + i * 64 + 8, image.header.l1_size);
        byre_put_be32(snapshots + i * 64 + 36, 24);
    }
    sparse_init(&sparse, 1ULL << 62);
    sparse_add(&sparse, 0, image.bytes, 512);
    sparse_add(&sparse, 1ULL << 41, l1, sizeof l1);
    sparse_add(&sparse, 1ULL << 42, reftable, sizeof reftable);
    sparse_add(&sparse, 1ULL << 43, snapshots, sizeof snapshots);
    assert_int_equal(image_check_store(&image, &sparse.store, 0, NULL), 0);
    assert_true(image.result.corruptions > sizeof l1 / 8);
    assert_true(sparse.bytes_read < 4u << 20);
    image_done(&image);
}

/* Clusters that are counted cannot outgrow the tables that describe them. */
static void check_of_a_region_without_proportion_is_refused(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    uint8_t extension[16];
    struct sparse_store sparse;
    struct image image;

    (void)state;
    image_init(&image, 3, 9, 4);
    byre_put_be64(extension, 1ULL << 40);
    byre_put_be64(extension + 8, 1ULL << 50);
    assert_int_equal(
        byre_qcow2_header_add_extension(&image.header, BYRE_QCOW2_EXT_CRYPT_HEADER, extension, 16), 0);
    sparse_init(&sparse, 1ULL << 62);
    sparse_add(&sparse, 0, image.bytes, (uint64_t)image.clusters * image.cluster_size);
    assert_int_equal(image_check_store(&image, &sparse.store, 0, &err), -EFBIG);
    assert_non_null(strstr(err.text, "'sparse' refers to more clusters than its tables can describe"));
    image_done(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_holes_are_not_read),
        cmocka_unit_test(reader_end_of_the_store_reads_as_zero),
        cmocka_unit_test(check_of_exabytes_costs_what_its_tables_cost),
        cmocka_unit_test(check_of_a_table_reads_it_once_for_all_snapshots),
        cmocka_unit_test(check_of_tables_in_holes_ends),
        cmocka_unit_test(check_of_a_region_without_proportion_is_refused),
    };

    return cmocka_run_group_tests_name("check_reader", tests, NULL, NULL);
}
