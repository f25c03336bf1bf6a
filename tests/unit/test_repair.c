/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Repair mends what it says, nothing else, and in an order that survives crashes and failing writes.
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

#define ALL (BYRE_REPAIR_LEAKS | BYRE_REPAIR_ERRORS)

static void break_low(struct image *image)
{
    image_set_refcount(image, 0, 0);
    image_set_refcount(image, 4, 0);
    image_set_refcount(image, 8, 0);
}

static void break_shared(struct image *image)
{
    image_set(image, 4, 9, image_at(image, 5, BYRE_L2_COPIED));
    image_set(image, 4, 10, image_at(image, 5, 0));
}

static void break_high(struct image *image)
{
    image_append(image, 1);
    image_append(image, 3);
    image_set_refcount(image, 3, 2);
    image_set_refcount(image, 6, 2); /* its entry has COPIED */
    image_set_refcount(image, 7, 2);
    image_set(image, 4, 2, image_at(image, 7, 0)); /* ... and this one does not */
}

static void break_flags(struct image *image)
{
    image_set(image, 3, 0, image_at(image, 4, 0));
    image_set(image, 4, 1, image_at(image, 6, 0));
    image_set(image, 4, 8, image_at(image, 9, BYRE_L2_COPIED));
    image_set_refcount(image, 9, 2);
}

static void break_zero_place(struct image *image)
{
    image_set(image, 4, 3, image_at(image, 8, BYRE_L2_COPIED | BYRE_L2_ZERO | 0x200));
}

static void break_much(struct image *image)
{
    break_low(image);
    break_shared(image);
    break_high(image);
    break_flags(image);
}

static void (*const damages[])(struct image *image) = {
    break_low, break_shared, break_high, break_flags, break_zero_place, break_much,
};

/* What the guest sees must be the same: the entries of the L2 table without COPIED, and the data clusters. */
static void assert_same_content(struct image *image, const struct image *before)
{
    for (uint32_t i = 0; i < image->cluster_size / 8; i++) {
        uint64_t old = byre_get_be64(before->bytes + 4ULL * image->cluster_size + i * 8) & ~BYRE_L2_COPIED;
        uint64_t now = image_get(image, 4, i) & ~BYRE_L2_COPIED;

        if (now == BYRE_L2_ZERO && (old & BYRE_L2_ZERO))
            continue; /* an allocated zero cluster may lose its place */
        assert_int_equal(now, old);
    }
    assert_memory_equal(image_cluster(image, 5), before->bytes + 5ULL * image->cluster_size,
                        IMAGE_DATA * image->cluster_size);
}

static void copy_image(struct image *to, const struct image *from)
{
    *to = *from;
    to->bytes = malloc((size_t)IMAGE_CLUSTERS * from->cluster_size);
    assert_non_null(to->bytes);
    memcpy(to->bytes, from->bytes, (size_t)IMAGE_CLUSTERS * from->cluster_size);
}

static void repair_all_mends_every_damage(void **state)
{
    (void)state;
    for (unsigned version = 2; version <= 3; version++) {
        for (unsigned i = 0; i < ARRAY_LEN(damages); i++) {
            struct image image, before;
            uint64_t found, repaired;

            if (version == 2 && damages[i] == break_zero_place)
                continue; /* it is data there */
            image_init(&image, version, 12, 4);
            damages[i](&image);
            copy_image(&before, &image);
            image_check(&image, 0);
            found = image.result.corruptions + image.result.leaks;
            assert_true(found > 0);
            image_check(&image, ALL);
            assert_found(&image, 0, 0);
            repaired = image.result.corruptions_fixed + image.result.leaks_fixed;
            assert_true(repaired > 0);
            image_check(&image, ALL);
            assert_string_equal(image.report, "");
            assert_int_equal(image.result.corruptions_fixed + image.result.leaks_fixed, 0);
            assert_same_content(&image, &before);
            image_done(&image);
            free(before.bytes);
        }
    }
}

static void repair_all_mends_every_refcount_width(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= 6; order++) {
        struct image image;

        image_init(&image, 3, 9, order);
        break_low(&image);
        image_append(&image, byre_refcount_max(order));
        image_check(&image, ALL);
        assert_found(&image, 0, 0);
        assert_int_equal(image.result.leaks_fixed, 1);
        assert_int_equal(image.result.corruptions_fixed, 3);
        assert_int_equal(image_refcount(&image, 11), 0);
        image_check(&image, 0);
        assert_string_equal(image.report, "");
        image_done(&image);
    }
}

static void repair_leaks_leaves_corruptions(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    break_low(&image);
    break_high(&image);
    image_check(&image, BYRE_REPAIR_LEAKS);
    assert_int_equal(image.result.leaks, 0);
    assert_int_equal(image.result.leaks_fixed, 5);
    assert_int_equal(image.result.corruptions_fixed, 0);
    assert_true(image.result.corruptions > 0);
    assert_int_equal(image_refcount(&image, 8), 0);
    assert_int_equal(image_refcount(&image, 11), 0);
    image_check(&image, 0);
    assert_int_equal(image.result.leaks, 0);
    assert_true(image.result.corruptions > 0);
    image_done(&image);
}

/* As qemu-img does: flags that are wrong for no other reason are corrected with the leaks. */
static void repair_leaks_corrects_flags_of_an_image_that_is_right_otherwise(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    break_high(&image);
    image_check(&image, BYRE_REPAIR_LEAKS);
    assert_found(&image, 0, 0);
    assert_int_equal(image.result.corruptions_fixed, 1);
    image_check(&image, 0);
    assert_found(&image, 0, 0);
    image_done(&image);
}

static void repair_clears_the_dirty_and_corrupt_bits(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    image.header.incompatible = BYRE_QCOW2_INCOMPAT_DIRTY | BYRE_QCOW2_INCOMPAT_CORRUPT;
    image_put_header(&image);
    image_check(&image, 0);
    assert_int_equal(image.header.incompatible, BYRE_QCOW2_INCOMPAT_DIRTY | BYRE_QCOW2_INCOMPAT_CORRUPT);
    image_check(&image, BYRE_REPAIR_LEAKS);
    assert_int_equal(image.header.incompatible, 0);
    image_done(&image);
}

static void repair_keeps_the_bits_while_something_is_left(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    image.header.incompatible = BYRE_QCOW2_INCOMPAT_DIRTY | BYRE_QCOW2_INCOMPAT_CORRUPT;
    image_put_header(&image);
    break_low(&image);
    image_check(&image, BYRE_REPAIR_LEAKS);
    assert_int_equal(image.header.incompatible, BYRE_QCOW2_INCOMPAT_DIRTY | BYRE_QCOW2_INCOMPAT_CORRUPT);
    image_check(&image, ALL);
    assert_int_equal(image.header.incompatible, 0);
    image_done(&image);

    /* damage that is no matter of refcounts */
    image_init(&image, 3, 12, 4);
    image.header.incompatible = BYRE_QCOW2_INCOMPAT_DIRTY | BYRE_QCOW2_INCOMPAT_CORRUPT;
    image_put_header(&image);
    image_set(&image, 4, 9, 8);
    image_check(&image, BYRE_REPAIR_LEAKS);
    assert_found(&image, 1, 0);
    assert_int_equal(image.header.incompatible, BYRE_QCOW2_INCOMPAT_CORRUPT);
    image_done(&image);
}

static void repair_does_not_mark_an_image_that_was_not_marked(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    break_much(&image);
    image_set(&image, 1, 1, image_at(&image, 30, 0)); /* a refcount block outside the file */
    image_check(&image, ALL);
    assert_found(&image, 0, 0);
    assert_int_equal(image.header.incompatible, 0);
    image_done(&image);
}

/* Whatever is wrong with the refcount table: new structures take its place, and nothing but them is written. */
static void repair_makes_new_refcount_structures(void **state)
{
    static const uint64_t entries[] = { 0, 2 * 4096 + 512, 30 * 4096, 1 * 4096, 0 * 4096 + 4, 5 * 4096, 3 * 4096 };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(entries); i++) {
        struct image image, before;

        image_init(&image, 3, 12, 4);
        image_set(&image, 1, 0, entries[i]);
        copy_image(&before, &image);
        image_check(&image, 0);
        assert_true(image.result.corruptions > 0);
        image_check(&image, ALL);
        assert_found(&image, 0, 0);
        assert_reported(&image, "Rebuilding refcount structure\n");
        assert_true(image.header.reftable_hoff >= 11 * 4096);
        assert_int_equal(image.header.incompatible, 0);
        image_check(&image, ALL);
        assert_string_equal(image.report, "");
        assert_memory_equal(image_cluster(&image, 1), before.bytes + image.cluster_size, 10 * image.cluster_size);
        image_done(&image);
        free(before.bytes);
    }
}

static void repair_does_not_write_a_refcount_block_that_is_shared(void **state)
{
    struct image image, before;

    (void)state;
    image_init(&image, 3, 12, 4);
    break_low(&image);
    image_set(&image, 4, 12, image_at(&image, 2, 0));
    copy_image(&before, &image);
    image_check(&image, ALL);
    assert_found(&image, 0, 0);
    /* the data stays where it is: refcounts can be made anew */
    assert_int_equal(image_get(&image, 4, 12), image_at(&image, 2, BYRE_L2_COPIED));
    assert_memory_equal(image_cluster(&image, 2), before.bytes + 2ULL * image.cluster_size,
                        image.cluster_size);
    image_done(&image);
    free(before.bytes);
}

/* A header whose L1 table is the header itself: "correcting" COPIED there would destroy the magic. */
static void repair_does_not_write_tables_that_overlap(void **state)
{
    struct image image, before;

    (void)state;
    image_init(&image, 3, 12, 4);
    image.header.l1_hoff = 0;
    copy_image(&before, &image);
    image_check(&image, ALL);
    assert_true(image.result.corruptions > 0);
    assert_memory_equal(image.bytes, before.bytes, 72);
    image_done(&image);
    free(before.bytes);
}

/* What the guest reads of a cluster that is a table stays the same, and the table is a table only. */
static void repair_copies_data_that_is_in_the_way(void **state)
{
    struct image image;

    (void)state;
    image_init(&image, 3, 12, 4);
    image_set(&image, 4, 9, image_at(&image, 3, 0));
    image_set(&image, 4, 10, byre_l2_compressed_entry(100, 600, 12));
    image_check(&image, BYRE_REPAIR_LEAKS);
    assert_reported(&image, "ERROR cluster 3 refcount=1 reference=2\n");
    image_check(&image, ALL);
    assert_found(&image, 0, 0);
    assert_int_equal(image_get(&image, 4, 9), image_at(&image, 11, BYRE_L2_COPIED));
    assert_int_equal(image_get(&image, 4, 10), byre_l2_compressed_entry(12 * 4096, 924, 12));
    assert_memory_equal(image_cluster(&image, 11), image_cluster(&image, 3), image.cluster_size);
    assert_memory_equal(image_cluster(&image, 12) + 72, image_cluster(&image, 0) + 172, 852);
    assert_int_equal(image_refcount(&image, 11), 1);
    image_check(&image, ALL);
    assert_string_equal(image.report, "");
    image_done(&image);
}

/*
 * A store that remembers what is durable, and which sectors were written since; it calls back before each
 * flush and fails a chosen write.
 */
#define SECTORS_MAX 16

struct crash_store {
    struct byre_store store;
    struct image *image; /* its bytes are what is durable */
    uint8_t *now;        /* what reads see */
    uint64_t size;
    uint64_t pending[SECTORS_MAX]; /* offsets of sectors that a crash may lose */
    unsigned pending_count;
    unsigned writes, fail_at; /* 1: the first write fails; 0: none */
    uint64_t bad_hoff;        /* reads of this byte fail; 0: none */
    void (*crashed)(struct crash_store *crash, const uint8_t *bytes);
    unsigned crashes;
    const struct image *damaged;
    uint64_t corruptions; /* of the damaged image */
};

static struct crash_store *crash_of(struct byre_store *store)
{
    return (struct crash_store *)store;
}

static int crash_preadv(struct byre_store *store, const struct iovec *iov, int count, uint64_t hoff)
{
    struct crash_store *crash = crash_of(store);

    for (int i = 0; i < count; hoff += iov[i++].iov_len) {
        if (crash->bad_hoff >= hoff && crash->bad_hoff < hoff + iov[i].iov_len && crash->bad_hoff)
            return -EIO;
        memcpy(iov[i].iov_base, crash->now + hoff, iov[i].iov_len);
    }
    return 0;
}

static void note_sector(struct crash_store *crash, uint64_t sector)
{
    for (unsigned i = 0; i < crash->pending_count; i++) {
        if (crash->pending[i] == sector)
            return;
    }
    assert_true(crash->pending_count < SECTORS_MAX);
    crash->pending[crash->pending_count++] = sector;
}

static int crash_pwritev(struct byre_store *store, const struct iovec *iov, int count, uint64_t hoff)
{
    struct crash_store *crash = crash_of(store);

    if (++crash->writes == crash->fail_at)
        return -EIO;
    for (int i = 0; i < count; hoff += iov[i++].iov_len) {
        assert_true(hoff + iov[i].iov_len <= crash->size); /* a repair never grows the file */
        memcpy(crash->now + hoff, iov[i].iov_base, iov[i].iov_len);
        for (uint64_t at = byre_round_down(hoff, 512); at < hoff + iov[i].iov_len; at += 512)
            note_sector(crash, at);
    }
    return 0;
}

/* Every subset of the pending sectors may be what a crash leaves. */
static void try_crashes(struct crash_store *crash)
{
    uint8_t *bytes = malloc(crash->size);

    assert_non_null(bytes);
    for (uint32_t subset = 0; crash->crashed && subset < 1u << crash->pending_count; subset++) {
        memcpy(bytes, crash->image->bytes, crash->size);
        for (unsigned i = 0; i < crash->pending_count; i++) {
            if (subset & 1u << i)
                memcpy(bytes + crash->pending[i], crash->now + crash->pending[i], 512);
        }
        crash->crashes++;
        crash->crashed(crash, bytes);
    }
    free(bytes);
}

static int crash_flush(struct byre_store *store)
{
    struct crash_store *crash = crash_of(store);

    try_crashes(crash);
    memcpy(crash->image->bytes, crash->now, crash->size);
    crash->pending_count = 0;
    return 0;
}

static int crash_get_size(struct byre_store *store, uint64_t *ret_size)
{
    *ret_size = crash_of(store)->size;
    return 0;
}

static const struct byre_store_ops crash_ops = {
    .kind = "crash",
    .preadv = crash_preadv,
    .pwritev = crash_pwritev,
    .flush = crash_flush,
    .get_size = crash_get_size,
};

static void crash_init(struct crash_store *crash, struct image *image, const struct image *damaged)
{
    static char name[] = "crash";

    memset(crash, 0, sizeof *crash);
    crash->store.ops = &crash_ops;
    crash->store.name = name;
    crash->store.fd = -1;
    crash->store.limits = (struct byre_store_limits){ .align = 1, .zero_align = 1, .discard_align = 1 };
    crash->image = image;
    crash->size = (uint64_t)image->clusters * image->cluster_size;
    crash->now = malloc(crash->size);
    assert_non_null(crash->now);
    memcpy(crash->now, image->bytes, crash->size);
    crash->damaged = damaged;
}

/* After a crash: not worse than before, unless the dirty bit asks for a check; and it can be mended. */
static void assert_mendable(struct crash_store *crash, const uint8_t *bytes)
{
    struct image after;

    copy_image(&after, crash->image);
    memcpy(after.bytes, bytes, crash->size);
    after.header.incompatible = after.header.version >= 3 ? byre_get_be64(bytes + 72) : 0;
    image_check(&after, 0);
    if (after.header.version >= 3 && !(after.header.incompatible & BYRE_QCOW2_INCOMPAT_DIRTY) &&
        after.result.corruptions > crash->corruptions)
        fail_msg("a crash leaves new damage: %s", after.report);
    image_check(&after, ALL);
    assert_found(&after, 0, 0);
    image_check(&after, 0);
    assert_found(&after, 0, 0);
    assert_int_equal(after.header.incompatible, 0);
    assert_same_content(&after, crash->damaged);
    free(after.bytes);
}

static void repair_survives_a_crash_at_any_moment(void **state)
{
    (void)state;
    for (unsigned version = 2; version <= 3; version++) {
        for (unsigned i = 0; i < ARRAY_LEN(damages); i++) {
            struct image image, damaged;
            struct crash_store crash;

            if (version == 2 && damages[i] == break_zero_place)
                continue;
            image_init(&image, version, 9, 4);
            damages[i](&image);
            copy_image(&damaged, &image);
            crash_init(&crash, &image, &damaged);
            image_check(&image, 0);
            crash.corruptions = image.result.corruptions;
            crash.crashed = assert_mendable;
            assert_int_equal(image_check_store(&image, &crash.store, ALL, NULL), 0);
            assert_found(&image, 0, 0);
            assert_int_equal(crash.pending_count, 0); /* all is durable when it returns */
            assert_true(crash.crashes > 1);
            free(crash.now);
            image_done(&image);
            free(damaged.bytes);
        }
    }
}

static void repair_with_a_failing_write_can_be_repeated(void **state)
{
    unsigned failed = 0;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(damages); i++) {
        for (unsigned n = 1;; n++) {
            struct byre_error err = BYRE_ERROR_INIT;
            struct image image, damaged;
            struct crash_store crash;
            int rc;

            image_init(&image, 3, 9, 4);
            damages[i](&image);
            copy_image(&damaged, &image);
            crash_init(&crash, &image, &damaged);
            crash.fail_at = n;
            rc = image_check_store(&image, &crash.store, ALL, &err);
            crash.corruptions = UINT64_MAX; /* the order is not looked at here */
            assert_int_equal(rc, crash.writes >= n ? -EIO : 0);
            assert_true(rc == 0 || err.text[0]);
            assert_mendable(&crash, crash.now);
            free(crash.now);
            image_done(&image);
            free(damaged.bytes);
            if (rc == 0)
                break;
            failed++;
        }
    }
    assert_true(failed > 10);
}

/* A table that cannot be read: what it refers to is unknown, so nothing is given away. */
static void repair_with_an_unreadable_table_frees_nothing(void **state)
{
    static const uint32_t tables[] = { 1, 2, 3, 4 };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(tables); i++) {
        struct image image, damaged;
        struct crash_store crash;

        image_init(&image, 3, 12, 4);
        image.header.incompatible = BYRE_QCOW2_INCOMPAT_DIRTY;
        image_put_header(&image);
        break_high(&image);
        copy_image(&damaged, &image);
        crash_init(&crash, &image, &damaged);
        crash.bad_hoff = image_at(&image, tables[i], 4);
        assert_int_equal(image_check_store(&image, &crash.store, ALL, NULL), 0);
        assert_int_equal(image.result.check_errors, 1);
        assert_int_equal(image.result.leaks_fixed, 0);
        assert_reported(&image, "Input/output error");
        if (tables[i] <= 2) /* no word on refcounts that nobody has seen */
            assert_found(&image, 0, 0);
        assert_memory_equal(crash.now, damaged.bytes, crash.size);
        free(crash.now);
        image_done(&image);
        free(damaged.bytes);
    }
}

/* One of two neighbours is bad: the other one is checked all the same. */
static void check_of_neighbours_reads_what_it_can(void **state)
{
    struct image image;
    struct crash_store crash;
    uint32_t l2;

    (void)state;
    image_init(&image, 3, 12, 4);
    image.header.l1_size = 2;
    image_set(&image, 4, 0, image_at(&image, 11, BYRE_L2_COPIED)); /* cluster 5 becomes an L2 table */
    l2 = 5;
    memset(image_cluster(&image, l2), 0, image.cluster_size);
    image_set(&image, l2, 7, image_at(&image, image_append(&image, 1), 0));
    image_set(&image, 3, 1, image_at(&image, l2, BYRE_L2_COPIED));
    crash_init(&crash, &image, &image);
    crash.bad_hoff = image_at(&image, 4, 100);
    assert_int_equal(image_check_store(&image, &crash.store, 0, NULL), 0);
    assert_int_equal(image.result.check_errors, 1);
    assert_int_equal(image.result.allocated_clusters, 1);
    assert_reported(&image, "ERROR OFLAG_COPIED data cluster: l2_entry=b000 refcount=1\n");
    free(crash.now);
    image_done(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repair_all_mends_every_damage),
        cmocka_unit_test(repair_all_mends_every_refcount_width),
        cmocka_unit_test(repair_leaks_leaves_corruptions),
        cmocka_unit_test(repair_leaks_corrects_flags_of_an_image_that_is_right_otherwise),
        cmocka_unit_test(repair_clears_the_dirty_and_corrupt_bits),
        cmocka_unit_test(repair_keeps_the_bits_while_something_is_left),
        cmocka_unit_test(repair_does_not_mark_an_image_that_was_not_marked),
        cmocka_unit_test(repair_makes_new_refcount_structures),
        cmocka_unit_test(repair_does_not_write_a_refcount_block_that_is_shared),
        cmocka_unit_test(repair_does_not_write_tables_that_overlap),
        cmocka_unit_test(repair_copies_data_that_is_in_the_way),
        cmocka_unit_test(repair_survives_a_crash_at_any_moment),
        cmocka_unit_test(repair_with_a_failing_write_can_be_repeated),
        cmocka_unit_test(repair_with_an_unreadable_table_frees_nothing),
        cmocka_unit_test(check_of_neighbours_reads_what_it_can),
    };

    return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
