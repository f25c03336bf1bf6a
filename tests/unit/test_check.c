/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker finds every kind of damage, by its own name, and nothing in images that are right.
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

static void check_right_image_finds_nothing(void **state)
{
    static const unsigned bits[] = { 9, 12, 16 };

    (void)state;
    for (unsigned version = 2; version <= 3; version++) {
        for (unsigned order = version == 2 ? 4 : 0; order <= (version == 2 ? 4 : 6); order++) {
            for (unsigned i = 0; i < ARRAY_LEN(bits); i++) {
                struct image image;

                image_init(&image, version, bits[i], order);
                image_check(&image, 0);
                assert_string_equal(image.report, "");
                assert_found(&image, 0, 0);
                assert_int_equal(image.result.total_clusters, 20);
                assert_int_equal(image.result.allocated_clusters, IMAGE_DATA);
                assert_int_equal(image.result.fragmented_clusters, 0);
                assert_int_equal(image.result.image_end_hoff, 11 * image.cluster_size);
                image_done(&image);
            }
        }
    }
}

/* Entries of each kind, as statistics see them. */
static void check_statistics_are_those_of_the_active_tables(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    image_set(&image, 4, 1,
              image_at(&image, 6, BYRE_L2_COPIED | BYRE_L2_ZERO)); /* an allocated zero cluster */
    image_set(&image, 4, 2, byre_l2_compressed_entry(image_at(&image, 7, 100), 3000, 12));
    image_set(&image, 4, 9, BYRE_L2_ZERO);
    image_check(&image, 0);
    assert_found(&image, 0, 0);
    assert_int_equal(image.result.allocated_clusters, IMAGE_DATA);
    assert_int_equal(image.result.compressed_clusters, 1);
    assert_int_equal(image.result.fragmented_clusters, 2); /* the compressed one, and the next */
    image_done(&image);
}

static void check_low_refcounts_are_corruptions(void **state)
{
    struct image image;

    (void)state;
    for (uint32_t cluster = 0; cluster <= 5; cluster++) {
        char line[64];

        image_init(&image, 3, 9, 4);
        image_set_refcount(&image, cluster, 0);
        image_check(&image, 0);
        snprintf(line, sizeof line, "ERROR cluster %u refcount=0 reference=1\n", cluster);
        assert_reported(&image, line);
        /* tables and data clusters that entries refer to have a COPIED flag that is wrong now */
        assert_found(&image, cluster >= 4 ? 2 : 1, 0);
        image_done(&image);
    }
}

static void check_high_refcounts_are_leaks(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 9, 3);
    image_set_refcount(&image, 1, 255);
    image_append(&image, 1);
    image_append(&image, 9);
    image_check(&image, 0);
    assert_found(&image, 0, 3);
    assert_reported(&image, "Leaked cluster 1 refcount=255 reference=1\n");
    assert_reported(&image, "Leaked cluster 11 refcount=1 reference=0\n");
    assert_reported(&image, "Leaked cluster 12 refcount=9 reference=0\n");
    assert_int_equal(image.result.image_end_hoff, 13 * 512);
    image_done(&image);
}

static void check_refcounts_past_the_end_of_the_file_are_not_looked_at(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 9, 4);
    image_set_refcount(&image, 30, 1);
    image_check(&image, 0);
    assert_found(&image, 0, 0);
    image_done(&image);
}

static void check_copied_flags_follow_refcounts(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 9, 4);
    image_set(&image, 4, 0, image_at(&image, 5, 0));
    image_set(&image, 3, 0, image_at(&image, 4, 0));
    image_set(&image, 4, 7, image_at(&image, 6, BYRE_L2_COPIED));
    image_set_refcount(&image, 6, 2);
    image_check(&image, 0);
    assert_found(&image, 4, 0);
    assert_reported(&image, "ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=800 refcount=1\n");
    assert_reported(&image, "ERROR OFLAG_COPIED data cluster: l2_entry=a00 refcount=1\n");
    assert_reported(&image, "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000000c00 refcount=2\n");
    image_done(&image);
}

static void check_flags_without_a_cluster_are_right(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 9, 4);
    image_set(&image, 4, 10, BYRE_L2_COPIED);
    image_set(&image, 4, 11, BYRE_L2_COPIED | BYRE_L2_ZERO);
    image_check(&image, 0);
    assert_found(&image, 0, 0);
    image_done(&image);
}

static void check_entries_past_the_end_are_corruptions(void **state)
{
    static const struct {
        uint32_t table, entry;
        uint64_t value;
        uint64_t corruptions;
        const char *text;
    } cases[] = {
        { 4, 9, 11 * 4096, 1, "offset 0xb000 size 0x1000\n" },
        { 4, 9, 0x00fffffffffff000ULL, 1, "offset 0xfffffffffff000 size 0x1000\n" },
        { 4, 9, 11 * 4096 | BYRE_L2_COPIED, 2,
          "OFLAG_COPIED data cluster: l2_entry=800000000000b000 refcount=0" },
        { 4, 9, BYRE_L2_COMPRESSED | 12 * 4096, 1, "offset 0xc000 size 0x200\n" },
        { 3, 1, 11 * 4096, 1, "offset 0xb000 size 0x1000\n" },
        { 3, 1, 11 * 4096 | BYRE_L2_COPIED, 2,
          "OFLAG_COPIED L2 cluster: l1_index=1 l1_entry=800000000000b000" },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct image image;

        image_init(&image, 3, 12, 4);
        image.header.l1_size = 2;
        image_set(&image, cases[i].table, cases[i].entry, cases[i].value);
        image_check(&image, 0);
        assert_found(&image, cases[i].corruptions, 0);
        assert_reported(&image, cases[i].text);
        assert_reported(&image, "ERROR: counting reference for region exceeding the end of the file");
        image_done(&image);
    }
}

static void check_unaligned_entries_are_corruptions(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    image_set(&image, 4, 0, image_at(&image, 5, BYRE_L2_COPIED | 0x200));
    image_set(&image, 4, 2, image_at(&image, 7, BYRE_L2_COPIED | BYRE_L2_ZERO | 0x200));
    image_check(&image, 0);
    assert_reported(&image, "ERROR offset=5200: Data cluster is not properly aligned; L2 entry corrupted.\n");
    assert_reported(&image, "ERROR offset=7200: Preallocated cluster is not properly aligned");
    assert_reported(&image, "ERROR cluster 6 refcount=1 reference=2\n"); /* both halves are counted */
    assert_found(&image, 4, 0);
    image_done(&image);

    image_init(&image, 3, 12, 4);
    image_set(&image, 3, 0, image_at(&image, 4, BYRE_L2_COPIED | 0x200));
    image_check(&image, 0);
    assert_reported(&image, "ERROR l2_offset=4200: Table is not cluster aligned; L1 entry corrupted\n");
    assert_int_equal(image.result.allocated_clusters, 0); /* it is not followed */
    image_done(&image);
}

static void check_reserved_bits_are_corruptions(void **state)
{
    (void)state;
    for (unsigned version = 2; version <= 3; version++) {
        struct image image;

        image_init(&image, version, 12, 4);
        image_set(&image, 4, 0, image_at(&image, 5, BYRE_L2_COPIED | 1ULL << 56));
        image_set(&image, 4, 9, 1ULL << 3);
        image_set(&image, 3, 0, image_at(&image, 4, BYRE_L2_COPIED | 1));
        image_check(&image, 0);
        assert_found(&image, 3, 0);
        assert_reported(&image, "ERROR found l2 entry with reserved bits set: 8100000000005000\n");
        assert_reported(&image, "ERROR found l2 entry with reserved bits set: 8\n");
        assert_reported(&image, "ERROR found L1 entry with reserved bits set: 8000000000004001\n");
        image_done(&image);
    }
}

static void check_compressed_clusters_count_in_each_cluster_that_they_touch(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    image_set(&image, 4, 0, byre_l2_compressed_entry(image_at(&image, 5, 4000), 4000, 12));
    image_set(&image, 4, 1, byre_l2_compressed_entry(image_at(&image, 6, 3904), 100, 12));
    image_set_refcount(&image, 6, 2);
    image_check(&image, 0);
    assert_found(&image, 0, 0);
    /* one that reaches into a last cluster that the file does not have, as after a short last write */
    image_set(&image, 4, 5, byre_l2_compressed_entry(image_at(&image, 10, 4000), 300, 12));
    image_check(&image, 0);
    assert_found(&image, 1, 0);
    assert_reported(&image, "ERROR cluster 11 refcount=0 reference=1\n");
    image_set_refcount(&image, 11, 1);
    image_check(&image, 0);
    assert_found(&image, 0, 0);
    assert_int_equal(image.result.image_end_hoff, 12 * 4096);
    image_done(&image);
}

static void check_copied_compressed_clusters_are_corruptions(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    image_set(&image, 4, 0, BYRE_L2_COPIED | byre_l2_compressed_entry(image_at(&image, 5, 0), 512, 12));
    image_check(&image, 0);
    assert_found(&image, 1, 0);
    assert_reported(&image, "ERROR: coffset=0x5000: copied flag must never be set for compressed clusters\n");
    image_done(&image);
}

/* Every table, as a data cluster of the guest: with the refcount that is right otherwise, and with 2. */
static void check_overlaps_with_tables_are_corruptions(void **state)
{
    (void)state;
    for (uint32_t cluster = 0; cluster <= 4; cluster++) {
        for (uint64_t refcount = 1; refcount <= 2; refcount++) {
            struct image image;

            image_init(&image, 3, 12, 4);
            image_set(&image, 4, 9, cluster == 0 ? BYRE_L2_COMPRESSED : image_at(&image, cluster, 0));
            image_set_refcount(&image, cluster, refcount);
            image_check(&image, 0);
            assert_true(image.result.corruptions > 0);
            if (cluster == 2)
                assert_reported(&image, "ERROR refcount block 0 refcount=2\n");
            else if (refcount == 2)
                assert_reported(&image, "holds a table and is used for something else, reference=2\n");
            else
                assert_reported(&image, "refcount=1 reference=2\n");
            image_done(&image);
        }
    }
}

static void check_bad_refcount_table_entries_are_corruptions(void **state)
{
    static const struct {
        uint32_t index;
        uint64_t entry;
        uint64_t corruptions;
        const char *text;
    } cases[] = {
        { 1, 2 * 4096, 2, "ERROR refcount block 1 refcount=2\n" },
        { 1, 6 * 4096, 2, "ERROR refcount block 1 refcount=2\n" },
        { 1, 12 * 4096, 1, "ERROR refcount block 1 is outside image\n" },
        { 1, 0xfffffffffffff000ULL, 1, "ERROR refcount block 1 is outside image\n" },
        { 1, 6 * 4096 + 512, 1,
          "ERROR refcount block 1 is not cluster aligned; refcount table entry corrupted\n" },
        { 1, 3, 1, "ERROR refcount table entry 1 has reserved bits set\n" },
        { 0, 2 * 4096 + 1, 1, "ERROR refcount table entry 0 has reserved bits set\n" },
        { 0, 0, 10 + 7, "ERROR cluster 10 refcount=0 reference=1\n" }, /* and all flags are wrong */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct image image;

        image_init(&image, 3, 12, 4);
        image_set(&image, 1, cases[i].index, cases[i].entry);
        image_check(&image, 0);
        assert_found(&image, cases[i].corruptions, 0);
        assert_reported(&image, cases[i].text);
        image_done(&image);
    }
}

static void check_counts_past_the_refcount_width_overflow(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 1);
    for (uint32_t i = 0; i < 5; i++)
        image_set(&image, 4, 10 + i, image_at(&image, 5, 0));
    image_set(&image, 4, 0, image_at(&image, 5, 0));
    image_set_refcount(&image, 5, 3);
    image_check(&image, 0);
    assert_found(&image, 3, 0); /* six references where three can be recorded */
    assert_reported(&image, "ERROR: overflow cluster offset=0x5000\n");
    image_done(&image);
}

static void check_entries_beyond_the_virtual_size_count(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    image_set(&image, 4, 300, image_at(&image, image_append(&image, 1), BYRE_L2_COPIED));
    image_check(&image, 0);
    assert_found(&image, 0, 0);
    assert_int_equal(image.result.allocated_clusters, IMAGE_DATA + 1);
    image_done(&image);
}

static void check_absurd_header_is_an_error(void **state)
{
    static const struct {
        size_t field;
        uint32_t value;
    } cases[] = {
        { offsetof(struct byre_qcow2_header, cluster_bits), 8 },
        { offsetof(struct byre_qcow2_header, cluster_bits), 22 },
        { offsetof(struct byre_qcow2_header, refcount_order), 7 },
        { offsetof(struct byre_qcow2_header, l1_size), UINT32_MAX },
        { offsetof(struct byre_qcow2_header, l1_hoff), 513 },
        { offsetof(struct byre_qcow2_header, reftable_clusters), UINT32_MAX },
        { offsetof(struct byre_qcow2_header, reftable_hoff), 513 },
        { offsetof(struct byre_qcow2_header, snapshots_hoff), 513 },
        { offsetof(struct byre_qcow2_header, snapshot_count), UINT32_MAX },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct byre_error err = BYRE_ERROR_INIT;
        struct image image;

        image_init(&image, 3, 9, 4);
        image.header.snapshot_count = 1;
        memcpy((char *)&image.header + cases[i].field, &cases[i].value, 4);
        assert_true(image_check_error(&image, 0, &err) < 0);
        assert_true(err.text[0] != 0);
        image_done(&image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_right_image_finds_nothing),
        cmocka_unit_test(check_statistics_are_those_of_the_active_tables),
        cmocka_unit_test(check_low_refcounts_are_corruptions),
        cmocka_unit_test(check_high_refcounts_are_leaks),
        cmocka_unit_test(check_refcounts_past_the_end_of_the_file_are_not_looked_at),
        cmocka_unit_test(check_copied_flags_follow_refcounts),
        cmocka_unit_test(check_flags_without_a_cluster_are_right),
        cmocka_unit_test(check_entries_past_the_end_are_corruptions),
        cmocka_unit_test(check_unaligned_entries_are_corruptions),
        cmocka_unit_test(check_reserved_bits_are_corruptions),
        cmocka_unit_test(check_compressed_clusters_count_in_each_cluster_that_they_touch),
        cmocka_unit_test(check_copied_compressed_clusters_are_corruptions),
        cmocka_unit_test(check_overlaps_with_tables_are_corruptions),
        cmocka_unit_test(check_bad_refcount_table_entries_are_corruptions),
        cmocka_unit_test(check_counts_past_the_refcount_width_overflow),
        cmocka_unit_test(check_entries_beyond_the_virtual_size_count),
        cmocka_unit_test(check_absurd_header_is_an_error),
    };

    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
