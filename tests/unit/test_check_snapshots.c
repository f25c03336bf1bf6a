/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker follows snapshots, bitmaps and the LUKS header: what only they refer to is no leak, and what
 * they cannot show any more is not given away.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "check_image.h"

#define ENTRY                                                                                                \
    64 /* bytes of a snapshot table entry here: 40, 16 of extra data, an id and a name of 3, padding */

static void put_snapshot(struct image *image, uint32_t table, uint32_t i, uint32_t l1)
{
    uint8_t *entry = image_cluster(image, table) + i * ENTRY;

    memset(entry, 0, ENTRY);
    byre_put_be64(entry, image_at(image, l1, 0));
    byre_put_be32(entry + 8, 1);
    byre_put_be16(entry + 12, 3);
    byre_put_be16(entry + 14, 3);
    byre_put_be32(entry + 36, 16);
    memcpy(entry + 56, "one\x1b[2", 6);
}

/* One snapshot that shares the L2 table and all data; afterwards the guest wrote to its first cluster. */
static void snapshot_init(struct image *image, uint32_t *ret_table, uint32_t *ret_l1)
{
    uint32_t table, l1, l2, data;

    image_init(image, 3, 12, 4);
    table = image_append(image, 1);
    l1 = image_append(image, 1);
    l2 = image_append(image, 1);
    data = image_append(image, 1);
    put_snapshot(image, table, 0, l1);
    image_set(image, l1, 0, image_at(image, 4, 0));
    memcpy(image_cluster(image, l2), image_cluster(image, 4), image->cluster_size);
    for (uint32_t i = 0; i < IMAGE_DATA; i++) {
        image_set(image, 4, i, image_at(image, 5 + i, 0));
        image_set(image, l2, i, image_at(image, 5 + i, 0));
        image_set_refcount(image, 5 + i, 2);
    }
    image_set(image, l2, 0, image_at(image, data, BYRE_L2_COPIED));
    image_set_refcount(image, 5, 1);
    image_set(image, 3, 0, image_at(image, l2, BYRE_L2_COPIED));
    image->header.snapshot_count = 1;
    image->header.snapshots_hoff = image_at(image, table, 0);
    image_put_header(image);
    *ret_table = table;
    *ret_l1 = l1;
}

static void check_snapshot_references_count(void **state)
{
    uint32_t table, l1;
    struct image image;

    (void)state;
    snapshot_init(&image, &table, &l1);
    image_check(&image, 0);
    assert_string_equal(image.report, "");
    assert_found(&image, 0, 0);
    assert_int_equal(image.result.allocated_clusters, IMAGE_DATA); /* of the active tables only */
    /* flags in a snapshot's tables mean nothing */
    image_set(&image, l1, 0, image_at(&image, 4, BYRE_L2_COPIED));
    image_set(&image, 4, 3, image_at(&image, 8, BYRE_L2_COPIED));
    image_check(&image, 0);
    assert_found(&image, 0, 0);
    image_done(&image);
}

static void check_table_shared_by_snapshots_counts_for_each(void **state)
{
    enum { SNAPSHOTS = 5000 }; /* more than a cell of the counts holds */
    uint32_t table, l1 = 0;
    struct image image;

    (void)state;
    image_init(&image, 3, 16, 4);
    table = image.clusters;
    for (uint32_t i = 0; i < SNAPSHOTS * ENTRY / image.cluster_size + 1; i++)
        image_append(&image, 1);
    l1 = image_append(&image, SNAPSHOTS);
    image_set(&image, l1, 0, image_at(&image, 4, 0));
    for (uint32_t i = 0; i < SNAPSHOTS; i++)
        put_snapshot(&image, table, i, l1);
    image.header.snapshot_count = SNAPSHOTS;
    image.header.snapshots_hoff = image_at(&image, table, 0);
    for (uint32_t i = 0; i < IMAGE_DATA; i++) {
        image_set_refcount(&image, 5 + i, SNAPSHOTS + 1);
        image_set(&image, 4, i, image_at(&image, 5 + i, 0));
    }
    image_set_refcount(&image, 4, SNAPSHOTS + 1);
    image_set(&image, 3, 0, image_at(&image, 4, 0));
    image_check(&image, 0);
    /* all is counted exactly; only that the snapshots share one L1 table is wrong */
    assert_found(&image, 1, 0);
    assert_reported(&image, "holds a table and is used for something else, reference=5000\n");
    image_set_refcount(&image, 7, SNAPSHOTS);
    image_check(&image, 0);
    assert_reported(&image, "ERROR cluster 7 refcount=5000 reference=5001\n");
    image_done(&image);
}

/* Damage to a snapshot's entry, by the byte where it is. */
static void damaged_entry(size_t at, unsigned width, uint64_t value, const char *text, bool kept)
{
    uint32_t table, l1;
    struct image image;
    uint8_t *entry;

    snapshot_init(&image, &table, &l1);
    entry = image_cluster(&image, table);
    if (width == 8)
        byre_put_be64(entry + at, value);
    else
        byre_put_be32(entry + at, (uint32_t)value);
    image_check(&image, 0);
    assert_reported(&image, text);
    assert_int_equal(image.result.corruptions, 1);
    assert_true(image.result.leaks > 0);
    /* its clusters are not given away with the leaks */
    image_check(&image, BYRE_REPAIR_LEAKS);
    assert_int_equal(image.result.leaks_fixed, 0);
    assert_true(image.result.leaks > 0);
    assert_int_equal(image_refcount(&image, 5), 1);
    assert_int_equal(image_refcount(&image, 6), 2);
    /* a repair of everything finds its table, or gives it up */
    image_check(&image, BYRE_REPAIR_LEAKS | BYRE_REPAIR_ERRORS);
    assert_found(&image, 0, 0);
    assert_reported(&image, kept ? "its L1 table is at" : "the snapshot is lost");
    assert_int_equal(image.header.snapshot_count, kept ? 1 : 0);
    assert_int_equal(image_refcount(&image, 6), kept ? 2 : 1);
    image_done(&image);
}

static void check_snapshot_that_cannot_be_followed_keeps_its_clusters(void **state)
{
    (void)state;
    damaged_entry(0, 8, 12 * 4096 + 512,
                  "ERROR snapshot one (?[2) l1_offset=0xc200: L1 table is not cluster "
                  "aligned; snapshot table entry corrupted\n",
                  true);
    damaged_entry(0, 8, 1ULL << 50, "exceeding the end of the file", false);
    damaged_entry(0, 8, 0xfffffffffffff000ULL, "exceeding the end of the file", false);
    damaged_entry(8, 4, 0x400001, "ERROR snapshot one (?[2) l1_size=0x400001: L1 table is too large", false);
}

static void check_incomplete_snapshot_entry_is_a_corruption_of_version_3(void **state)
{
    uint32_t table, l1;
    struct image image;

    (void)state;
    snapshot_init(&image, &table, &l1);
    byre_put_be32(image_cluster(&image, table) + 36, 0);
    image_check(&image, 0);
    assert_found(&image, 1, 0);
    assert_reported(&image, "ERROR snapshot table entry 0 is incomplete\n");
    image.header.version = 2;
    image_check(&image, 0);
    assert_found(&image, 0, 0);
    image_done(&image);
}

static void check_absurd_snapshot_entry_is_an_error(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    uint32_t table, l1;
    struct image image;

    (void)state;
    snapshot_init(&image, &table, &l1);
    byre_put_be32(image_cluster(&image, table) + 36, 1025);
    assert_int_equal(image_check_error(&image, 0, &err), -EFBIG);
    assert_non_null(strstr(err.text, "Too much extra metadata in snapshot table entry 0"));
    image_done(&image);
}

struct bitmap_image {
    struct image image;
    uint32_t directory, table, data;
    uint8_t extension[24];
};

static void bitmap_put_header(struct bitmap_image *b)
{
    struct byre_qcow2_header *header = &b->image.header;

    if (header->extension_count == 0)
        assert_int_equal(byre_qcow2_header_add_extension(header, BYRE_QCOW2_EXT_BITMAPS, b->extension, 24),
                         0);
    else
        memcpy(header->extensions[0].data, b->extension, 24);
}

static void bitmap_init(struct bitmap_image *b)
{
    uint8_t *entry;

    image_init(&b->image, 3, 12, 4);
    b->image.header.size = 3ULL * 4096 * 8 * 512; /* three entries */
    b->directory = image_append(&b->image, 1);
    b->table = image_append(&b->image, 1);
    b->data = image_append(&b->image, 1);
    memset(b->extension, 0, sizeof b->extension);
    byre_put_be32(b->extension, 1);
    byre_put_be64(b->extension + 8, 32);
    byre_put_be64(b->extension + 16, image_at(&b->image, b->directory, 0));
    entry = image_cluster(&b->image, b->directory);
    byre_put_be64(entry, image_at(&b->image, b->table, 0));
    byre_put_be32(entry + 8, 3);
    entry[16] = 1;
    entry[17] = 9;
    byre_put_be16(entry + 18, 2);
    memcpy(entry + 24, "b0", 2);
    image_set(&b->image, b->table, 0, image_at(&b->image, b->data, 0));
    image_set(&b->image, b->table, 1, 1);                     /* all ones */
    image_set(&b->image, b->table, 3, 0xfff8000000000000ULL); /* not part of the table */
    b->image.header.autoclear = BYRE_QCOW2_AUTOCLEAR_BITMAPS;
    bitmap_put_header(b);
}

static void check_bitmap_references_count(void **state)
{
    struct bitmap_image b;

    (void)state;
    bitmap_init(&b);
    image_check(&b.image, 0);
    assert_string_equal(b.image.report, "");
    assert_found(&b.image, 0, 0);
    b.image.header.autoclear = 0; /* then bitmaps are void */
    image_check(&b.image, 0);
    assert_found(&b.image, 0, 3);
    assert_reported(&b.image, "all bitmaps are now considered inconsistent\n");
    image_done(&b.image);
}

static void check_damaged_bitmap_tables_are_corruptions(void **state)
{
    struct bitmap_image b;

    (void)state;
    bitmap_init(&b);
    image_set(&b.image, b.table, 1, 0x200);
    image_set(&b.image, b.table, 2, 1ULL << 63);
    image_check(&b.image, 0);
    assert_reported(&b.image, "ERROR bitmap table entry corrupted: 200\n");
    assert_reported(&b.image, "ERROR bitmap table entry corrupted: 8000000000000000\n");
    image_set(&b.image, b.table, 1, image_at(&b.image, b.image.clusters + 1, 0));
    image_set(&b.image, b.table, 2, 0);
    image_check(&b.image, 0);
    assert_found(&b.image, 1, 0);
    assert_reported(&b.image, "exceeding the end of the file");
    image_set(&b.image, b.directory, 0, image_at(&b.image, b.table, 512));
    image_check(&b.image, BYRE_REPAIR_LEAKS);
    assert_found(&b.image, 1, 2);
    assert_reported(&b.image, "Table is not cluster aligned; bitmap directory entry corrupted\n");
    image_done(&b.image);
}

static void check_absurd_bitmap_directory_is_an_error(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct bitmap_image b;

    (void)state;
    bitmap_init(&b);
    byre_put_be32(b.extension, 2);
    bitmap_put_header(&b);
    assert_int_equal(image_check_error(&b.image, 0, &err), -EINVAL);
    assert_non_null(strstr(err.text, "Less bitmaps found than specified in header extension"));
    byre_put_be32(b.extension, 1);
    byre_put_be64(b.extension + 8, 40);
    bitmap_put_header(&b);
    assert_int_equal(image_check_error(&b.image, 0, &err), -EINVAL);
    assert_non_null(strstr(err.text, "More bitmaps found than specified in header extension"));
    byre_put_be64(b.extension + 16, 1ULL << 40);
    bitmap_put_header(&b);
    assert_int_equal(image_check_error(&b.image, 0, &err), -EINVAL);
    assert_non_null(strstr(err.text, "exceeds the end of the file"));
    image_done(&b.image);
}

static void check_crypt_header_references_count(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    uint8_t extension[16];
    struct image image;
    uint32_t first;

    (void)state;
    image_init(&image, 3, 12, 4);
    first = image_append(&image, 1);
    image_append(&image, 1);
    byre_put_be64(extension, image_at(&image, first, 0));
    byre_put_be64(extension + 8, 4097);
    assert_int_equal(
        byre_qcow2_header_add_extension(&image.header, BYRE_QCOW2_EXT_CRYPT_HEADER, extension, 16), 0);
    image_check(&image, 0);
    assert_found(&image, 0, 0);
    byre_put_be64(image.header.extensions[0].data + 8, UINT64_MAX);
    image_check(&image, BYRE_REPAIR_LEAKS);
    assert_found(&image, 1, 2); /* a key is not given away */
    byre_put_be64(image.header.extensions[0].data, 100);
    assert_int_equal(image_check_error(&image, 0, &err), -EINVAL);
    assert_non_null(
        strstr(err.text, "Encryption header offset '100' is not a multiple of cluster size '4096'"));
    image_done(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_snapshot_references_count),
        cmocka_unit_test(check_table_shared_by_snapshots_counts_for_each),
        cmocka_unit_test(check_snapshot_that_cannot_be_followed_keeps_its_clusters),
        cmocka_unit_test(check_incomplete_snapshot_entry_is_a_corruption_of_version_3),
        cmocka_unit_test(check_absurd_snapshot_entry_is_an_error),
        cmocka_unit_test(check_bitmap_references_count),
        cmocka_unit_test(check_damaged_bitmap_tables_are_corruptions),
        cmocka_unit_test(check_absurd_bitmap_directory_is_an_error),
        cmocka_unit_test(check_crypt_header_references_count),
    };

    return cmocka_run_group_tests_name("check_snapshots", tests, NULL, NULL);
}
