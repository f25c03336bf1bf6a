/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New images: layouts of all shapes are without fault and read as zero, and no image exists before it is
 * sealed.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/zero.h"
#include "engine_image.h"
#include "store/memory.h"

#define K 1024ULL
#define M (1024 * K)
#define G (1024 * M)

/* A store: a file, or a device full of old bytes. */
static struct byre_store *new_store(uint64_t device_size)
{
    struct byre_store *store;
    uint8_t *bytes = malloc(device_size + 1);

    assert_non_null(bytes);
    memset(bytes, 0xdd, device_size);
    assert_int_equal(byre_memory_new(bytes, device_size, &store, NULL), 0);
    store->growable = !device_size;
    store->limits.zero_on_grow = !device_size;
    free(bytes);
    return store;
}

static void create(struct engine *engine, uint64_t device_size,
                   const struct byre_qcow2_create_options *options)
{
    *engine = (struct engine){ .store = new_store(device_size), .cluster = 1u << options->cluster_bits };
    if (byre_qcow2_create(engine->store, options, &engine->image, &engine->err) < 0)
        fail_msg("%s", engine->err.text);
}

static bool is_image(struct engine *engine)
{
    struct byre_qcow2_header header = { 0 };
    int rc = byre_qcow2_header_read(engine->store, &header, NULL);

    byre_qcow2_header_done(&header);
    return rc == 0;
}

static void assert_reads_zero(struct engine *engine, uint64_t goff, uint64_t length)
{
    byre_extent_vec extents = VEC_INIT;
    uint8_t *bytes = malloc(length);

    assert_non_null(bytes);
    assert_int_equal(byre_qcow2_map(engine->image, goff, length, &extents, NULL), 0);
    for (size_t i = 0; i < extents.len; i++) {
        const struct byre_extent *extent = &extents.ptr[i];

        if (extent->kind != BYRE_EXTENT_DATA)
            continue;
        assert_int_equal(byre_store_pread(engine->store, bytes, extent->length, extent->hoff, NULL), 0);
        assert_true(byre_is_zero(bytes, extent->length));
    }
    vec_done(&extents);
    free(bytes);
}

static void image_appears_when_it_is_sealed(void **state)
{
    struct engine engine;

    (void)state;
    create(&engine, 0, &(struct byre_qcow2_create_options){
        .size = 1 * M, .version = 3, .cluster_bits = 16, .refcount_order = 4,
    });
    assert_false(is_image(&engine));
    assert_int_equal(engine_write(&engine, 0, 100 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_false(is_image(&engine));
    assert_int_equal(byre_qcow2_seal(engine.image, NULL), 0);
    assert_true(is_image(&engine));
    assert_int_equal(byre_qcow2_seal(engine.image, NULL), 0);
    assert_int_equal(engine_byte(&engine, 100 * K - 1), 'a');
    engine_done(&engine);
}

/* Blocks of 64 clusters of 512 bytes: the refcount table grows before there is an image. */
static void growing_tables_do_not_make_an_image(void **state)
{
    struct engine engine;
    uint64_t goff;

    (void)state;
    create(&engine, 0, &(struct byre_qcow2_create_options){
        .size = 4 * M, .version = 3, .cluster_bits = 9, .refcount_order = 6,
    });
    for (goff = 0; byre_qcow2_header(engine.image)->reftable_clusters == 1; goff += 64 * K)
        assert_int_equal(engine_write(&engine, goff, 64 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_false(is_image(&engine));
    assert_int_equal(byre_qcow2_seal(engine.image, NULL), 0);
    assert_true(is_image(&engine));
    assert_int_equal(engine_byte(&engine, goff - 1), 'a');
    engine_done(&engine);
}

static void image_that_is_closed_unsealed_never_was_one(void **state)
{
    struct engine engine;

    (void)state;
    create(&engine, 0, &(struct byre_qcow2_create_options){
        .size = 1 * M, .version = 3, .cluster_bits = 16, .refcount_order = 4,
    });
    assert_int_equal(engine_write(&engine, 0, 100 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_false(is_image(&engine));
    byre_store_close(engine.store);
}

/* Sizes that need many tables, or none, with the clusters that need the most of them. */
static void images_of_all_sizes_are_without_fault(void **state)
{
    static const struct byre_qcow2_create_options shapes[] = {
        { .size = 0, .version = 3, .cluster_bits = 16, .refcount_order = 4 },
        { .size = 0, .version = 2, .cluster_bits = 9, .refcount_order = 4 },
        { .size = 512, .version = 3, .cluster_bits = 21, .refcount_order = 0 },
        { .size = 700, .version = 3, .cluster_bits = 9, .refcount_order = 6 },
        /* The L1 table is longer than a refcount block counts, */
        { .size = 128 * M, .version = 3, .cluster_bits = 9, .refcount_order = 6 },
        /* ... and than a refcount table of one cluster. */
        { .size = 16 * G, .version = 3, .cluster_bits = 9, .refcount_order = 6 },
        { .size = 16 * G, .version = 2, .cluster_bits = 9, .refcount_order = 4 },
        { .size = 64 * 1024 * G, .version = 3, .cluster_bits = 16, .refcount_order = 4 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct engine engine;

        create(&engine, 0, &shapes[i]);
        assert_int_equal(byre_qcow2_seal(engine.image, NULL), 0);
        assert_int_equal(byre_qcow2_header(engine.image)->size, byre_round_up(shapes[i].size, 512));
        if (shapes[i].size) {
            assert_int_equal(engine_write(&engine, shapes[i].size - 1, 1, 'z'), 0);
            assert_int_equal(engine_byte(&engine, shapes[i].size - 1), 'z');
        }
        engine_done(&engine);
    }
}

static void image_larger_than_its_tables_can_map_is_refused(void **state)
{
    struct byre_store *store = new_store(0);
    struct byre_qcow2_create_options options = {
        .size = 128 * G + 512, .version = 3, .cluster_bits = 9, .refcount_order = 4,
    };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image;

    (void)state;
    assert_int_equal(byre_qcow2_create(store, &options, &image, &err), -EFBIG);
    options.size = UINT64_MAX;
    assert_int_equal(byre_qcow2_create(store, &options, &image, &err), -EFBIG);
    byre_store_close(store);
}

static void nonsense_is_refused(void **state)
{
    static const struct byre_qcow2_create_options nonsense[] = {
        { .size = 512, .version = 4, .cluster_bits = 16, .refcount_order = 4 },
        { .size = 512, .version = 3, .cluster_bits = 8, .refcount_order = 4 },
        { .size = 512, .version = 3, .cluster_bits = 22, .refcount_order = 4 },
        { .size = 512, .version = 3, .cluster_bits = 16, .refcount_order = 7 },
        { .size = 512, .version = 2, .cluster_bits = 16, .refcount_order = 3 },
        { .size = 512, .version = 2, .cluster_bits = 16, .refcount_order = 4, .lazy_refcounts = true },
        { .size = 512, .version = 2, .cluster_bits = 16, .refcount_order = 4, .compression = 1 },
    };
    struct byre_store *store = new_store(0);
    struct byre_qcow2 *image;
    uint64_t size;

    (void)state;
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++)
        assert_int_equal(byre_qcow2_create(store, &nonsense[i], &image, NULL), -EINVAL);
    assert_int_equal(byre_store_size(store, &size, NULL), 0);
    assert_int_equal(size, 0);
    byre_store_close(store);
}

static void preallocated(unsigned cluster_bits, uint64_t size, enum byre_preallocation mode, uint64_t device)
{
    struct engine engine;
    uint64_t at, store_size;

    create(&engine, device, &(struct byre_qcow2_create_options){
        .size = size, .version = 3, .cluster_bits = cluster_bits, .refcount_order = 4, .preallocation = mode,
    });
    assert_int_equal(byre_qcow2_seal(engine.image, NULL), 0);
    for (at = 0; at < size; at += engine_extent(&engine, at).length) {
        assert_int_equal(engine_extent(&engine, at).kind, BYRE_EXTENT_DATA);
        assert_true(engine_extent(&engine, at).exclusive);
    }
    assert_reads_zero(&engine, 0, size);
    assert_int_equal(byre_store_size(engine.store, &store_size, NULL), 0);
    assert_true(store_size >= size);
    /* Nothing more is allocated. */
    assert_int_equal(engine_write(&engine, size / 3, 1000, 'p'), 0);
    assert_int_equal(engine_byte(&engine, size / 3), 'p');
    engine_done(&engine);
}

static void preallocated_images_are_all_data_and_zero(void **state)
{
    (void)state;
    for (int mode = BYRE_PREALLOC_METADATA; mode <= BYRE_PREALLOC_FULL; mode++) {
        preallocated(9, 200 * K, (enum byre_preallocation)mode, 0);
        preallocated(16, 3 * M + 512, (enum byre_preallocation)mode, 0);
        preallocated(12, 3 * M, (enum byre_preallocation)mode, 4 * M);
    }
}

static void image_that_does_not_fit_its_device_is_refused(void **state)
{
    static const struct byre_qcow2_create_options options = {
        .size = 8 * M, .version = 3, .cluster_bits = 12, .refcount_order = 4,
        .preallocation = BYRE_PREALLOC_METADATA,
    };
    struct byre_store *store = new_store(4 * M);
    struct byre_qcow2_create_options large = options;
    struct byre_qcow2 *image;

    (void)state;
    assert_int_equal(byre_qcow2_create(store, &options, &image, NULL), -ENOSPC);
    large.cluster_bits = 21; /* not even the tables fit */
    assert_int_equal(byre_qcow2_create(store, &large, &image, NULL), -ENOSPC);
    byre_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_appears_when_it_is_sealed),
        cmocka_unit_test(growing_tables_do_not_make_an_image),
        cmocka_unit_test(image_that_is_closed_unsealed_never_was_one),
        cmocka_unit_test(images_of_all_sizes_are_without_fault),
        cmocka_unit_test(image_larger_than_its_tables_can_map_is_refused),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(preallocated_images_are_all_data_and_zero),
        cmocka_unit_test(image_that_does_not_fit_its_device_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
