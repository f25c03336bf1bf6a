/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Images made by hand: tables and clusters without the COPIED flag are copied before they are changed, and
 * metadata that contradicts itself is refused, not followed.
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
#include "qcow2/qcow2.h"

static struct byre_store *store;

/* Opens the bytes of `made`, which stay as they are. */
static struct byre_qcow2 *open_image(struct image *made)
{
    struct byre_qcow2_open_options options = { .writable = true };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image = NULL;

    assert_int_equal(
        byre_memory_new(made->bytes, (uint64_t)made->clusters * made->cluster_size, &store, NULL), 0);
    if (byre_qcow2_open(store, &options, &image, &err) < 0)
        fail_msg("%s", err.text);
    return image;
}

static void close_image(struct image *made, struct byre_qcow2 *image, bool clean)
{
    assert_int_equal(byre_qcow2_close(image, NULL), 0);
    if (clean) {
        assert_int_equal(image_check_store(made, store, 0, NULL), 0);
        assert_found(made, 0, 0);
    }
    byre_store_close(store);
    image_done(made);
}

static int write_bytes(struct byre_qcow2 *image, uint64_t goff, const void *bytes, size_t length,
                       struct byre_error *err)
{
    struct iovec iov = { (void *)bytes, length };

    return byre_qcow2_writev(image, goff, &iov, 1, length, err);
}

static struct byre_extent extent_at(struct byre_qcow2 *image, uint64_t goff)
{
    byre_extent_vec extents = VEC_INIT;
    struct byre_extent first;

    assert_int_equal(byre_qcow2_map(image, goff, 1, &extents, NULL), 0);
    assert_int_equal(extents.len, 1);
    first = extents.ptr[0];
    vec_done(&extents);
    return first;
}

static void shared_cluster_is_copied_when_it_is_written(void **state)
{
    struct image made;
    struct byre_qcow2 *image;
    struct byre_extent one, other;
    uint8_t bytes[512];

    (void)state;
    image_init(&made, 3, 12, 4);
    /* Guest clusters 1 and 9 are the same host cluster. */
    image_set(&made, 4, 1, image_at(&made, 6, 0));
    image_set(&made, 4, 9, image_at(&made, 6, 0));
    image_set_refcount(&made, 6, 2);
    image = open_image(&made);
    assert_false(extent_at(image, 4096).exclusive);
    memset(bytes, 'n', sizeof bytes);
    assert_int_equal(write_bytes(image, 4096 + 1024, bytes, sizeof bytes, NULL), 0);
    one = extent_at(image, 4096);
    other = extent_at(image, 9 * 4096);
    assert_true(one.exclusive);
    assert_int_equal(other.hoff, 6 * 4096);
    assert_int_not_equal(one.hoff, other.hoff);
    /* The copy has the old bytes around the new ones. */
    assert_int_equal(byre_store_pread(store, bytes, 1, one.hoff + 1023, NULL), 0);
    assert_int_equal(bytes[0], 6);
    assert_int_equal(byre_store_pread(store, bytes, 1, one.hoff + 1024, NULL), 0);
    assert_int_equal(bytes[0], 'n');
    assert_int_equal(byre_store_pread(store, bytes, 1, one.hoff + 1536, NULL), 0);
    assert_int_equal(bytes[0], 6);
    assert_int_equal(byre_store_pread(store, bytes, 1, other.hoff + 1024, NULL), 0);
    assert_int_equal(bytes[0], 6);
    /* The last reference is exclusive, but its flag does not say so: that is not the writer's mistake. */
    close_image(&made, image, false);
}

static void zeroing_a_shared_cluster_leaves_the_other_reference(void **state)
{
    struct image made;
    struct byre_qcow2 *image;
    struct byre_extent other;
    uint8_t byte;

    (void)state;
    image_init(&made, 3, 12, 4);
    image_set(&made, 4, 1, image_at(&made, 6, 0));
    image_set(&made, 4, 9, image_at(&made, 6, 0));
    image_set_refcount(&made, 6, 2);
    image = open_image(&made);
    assert_int_equal(byre_qcow2_write_zeroes(image, 4096, 4096, 0, NULL), 0);
    assert_int_equal(write_bytes(image, 4096, "new", 3, NULL), 0);
    assert_int_equal(byre_qcow2_flush(image, NULL), 0);
    other = extent_at(image, 9 * 4096);
    assert_int_equal(other.hoff, 6 * 4096);
    assert_int_equal(byre_store_pread(store, &byte, 1, other.hoff, NULL), 0);
    assert_int_equal(byte, 6);
    close_image(&made, image, false);
}

/* An L1 entry without COPIED: the table moves, and its entries are all there. */
static void shared_l2_table_is_copied_when_it_is_changed(void **state)
{
    struct image made;
    struct byre_qcow2 *image;
    uint8_t byte;

    (void)state;
    image_init(&made, 3, 13, 4);
    image_set(&made, 3, 0, image_at(&made, 4, 0));
    image = open_image(&made);
    assert_int_equal(write_bytes(image, 10 * 8192, "new", 3, NULL), 0);
    for (uint32_t i = 0; i < IMAGE_DATA; i++) {
        struct byre_extent extent = extent_at(image, i * 8192ULL);

        assert_int_equal(extent.hoff, (5 + i) * 8192ULL);
        assert_int_equal(byre_store_pread(store, &byte, 1, extent.hoff, NULL), 0);
        assert_int_equal(byte, 5 + i);
    }
    close_image(&made, image, true);
}

/* Every cluster of the range is freed by itself, and the table too: the list of frees has room for all. */
static void discard_through_a_shared_l2_table_frees_everything(void **state)
{
    enum { COUNT = 30 };
    struct image made;
    struct byre_qcow2 *image;

    (void)state;
    image_init(&made, 3, 9, 4);
    made.header.size = COUNT * 512;
    image_put_header(&made);
    for (uint32_t i = IMAGE_DATA; i < COUNT; i++)
        image_append(&made, 1);
    for (uint32_t i = 0; i < COUNT; i++)
        image_set(&made, 4, i, image_at(&made, 5 + COUNT - 1 - i, BYRE_L2_COPIED));
    image_set(&made, 3, 0, image_at(&made, 4, 0));
    image = open_image(&made);
    assert_int_equal(byre_qcow2_discard(image, 0, COUNT * 512, NULL), 0);
    close_image(&made, image, true);
}

static void refused(struct image *made, uint64_t goff)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image = open_image(made);
    byre_extent_vec extents = VEC_INIT;

    assert_int_equal(byre_qcow2_map(image, goff, 512, &extents, &err), -EIO);
    assert_non_null(strstr(err.text, "unaligned"));
    assert_int_equal(extents.len, 0);
    assert_int_equal(write_bytes(image, goff, "x", 1, &err), -EIO);
    assert_int_equal(byre_qcow2_discard(image, goff, 4096, &err), -EIO);
    /* Elsewhere it goes on. */
    vec_done(&extents);
    close_image(made, image, false);
}

static void unaligned_entries_are_refused(void **state)
{
    struct image made;

    (void)state;
    image_init(&made, 3, 12, 4);
    image_set(&made, 4, 2, (image_at(&made, 7, BYRE_L2_COPIED)) + 512);
    refused(&made, 2 * 4096);
    image_init(&made, 3, 12, 4);
    image_set(&made, 4, 2, (image_at(&made, 7, BYRE_L2_COPIED | BYRE_L2_ZERO)) + 512);
    refused(&made, 2 * 4096);
    image_init(&made, 3, 12, 4);
    image_set(&made, 3, 0, (image_at(&made, 4, BYRE_L2_COPIED)) + 512);
    refused(&made, 2 * 4096);
}

static void unaligned_refcount_block_is_refused(void **state)
{
    struct image made;
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image;

    (void)state;
    image_init(&made, 3, 12, 4);
    image_set(&made, 1, 0, image_at(&made, 2, 0) + 512);
    image = open_image(&made);
    assert_int_equal(write_bytes(image, 10 * 4096, "x", 1, &err), -EIO);
    assert_non_null(strstr(err.text, "Refblock offset"));
    /* In place nothing needs a refcount. */
    assert_int_equal(write_bytes(image, 0, "x", 1, &err), 0);
    close_image(&made, image, false);
}

/* Refcounts that call the tables in use free would have them overwritten. */
static void tables_with_refcount_0_are_not_handed_out(void **state)
{
    for (uint32_t cluster = 0; cluster < 4; cluster++) {
        struct byre_error err = BYRE_ERROR_INIT;
        struct byre_qcow2 *image;
        struct image made;

        (void)state;
        image_init(&made, 3, 12, 4);
        image_set_refcount(&made, cluster, 0);
        image = open_image(&made);
        assert_int_equal(write_bytes(image, 10 * 4096, "x", 1, &err), -EIO);
        assert_non_null(strstr(err.text, "is 0, but"));
        close_image(&made, image, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_cluster_is_copied_when_it_is_written),
        cmocka_unit_test(zeroing_a_shared_cluster_leaves_the_other_reference),
        cmocka_unit_test(shared_l2_table_is_copied_when_it_is_changed),
        cmocka_unit_test(discard_through_a_shared_l2_table_frees_everything),
        cmocka_unit_test(unaligned_entries_are_refused),
        cmocka_unit_test(unaligned_refcount_block_is_refused),
        cmocka_unit_test(tables_with_refcount_0_are_not_handed_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
