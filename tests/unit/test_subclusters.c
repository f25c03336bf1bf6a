/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Images with subclusters: what becomes of their entries, bit by bit, and what is written for it; entries that cannot
 * be.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "byre/disk.h"
#include "engine_image.h"

#define K 1024ULL
#define COPIED (1ULL << 63)
#define SIZE (300 * K) /* the last cluster has 44 KiB of the disk */

enum { CLUSTER = 64 << 10, AT_L1 = 40 };

static int read_below(void *opaque, uint64_t goff, void *buf, size_t length, struct byre_error *err)
{
    (void)opaque;
    (void)goff;
    (void)err;
    memset(buf, 'b', length);
    return 0;
}

/* Clusters of 64 KiB, subclusters of 2 KiB. */
static void engine_extended(struct engine *engine, bool over_backing)
{
    const struct byre_qcow2_below ops = { .read = read_below };

    engine_new(engine,
               &(struct byre_qcow2_create_options){
                   .size = SIZE, .version = 3, .cluster_bits = 16, .refcount_order = 4, .extended_l2 = true,
                   .backing_name = over_backing ? "below" : NULL, .backing_format = over_backing ? "raw" : NULL,
               },
               0, 0);
    if (over_backing)
        byre_qcow2_set_below(engine->image, &ops);
}

/* Where the entry of a cluster is in the file. */
static uint64_t entry_hoff(struct engine *engine, unsigned cluster)
{
    return (get64(engine, get64(engine, AT_L1)) & ~COPIED) + cluster * 16ULL;
}

/* The entry, once it is on the medium: has it a host cluster, and this bitmap? */
static void expect_entry(struct engine *engine, unsigned cluster, bool host, uint64_t bitmap)
{
    uint64_t hoff;

    assert_int_equal(byre_qcow2_flush(engine->image, &engine->err), 0);
    hoff = entry_hoff(engine, cluster);
    assert_int_equal(get64(engine, hoff) != 0, host);
    assert_int_equal(get64(engine, hoff + 8), bitmap);
}

/* Bytes of data that were written since the log was empty: clusters of metadata apart, which are whole. */
static uint64_t written(struct engine *engine, uint64_t hoff)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < record_store_count(engine->store); i++) {
        const struct record_call *call = record_store_call(engine->store, i);

        if (call->kind == RECORD_WRITE && call->hoff >= hoff && call->hoff < hoff + CLUSTER)
            bytes += call->length;
    }
    return bytes;
}

static uint64_t place_of(struct engine *engine, unsigned cluster)
{
    assert_int_equal(byre_qcow2_flush(engine->image, &engine->err), 0);
    return get64(engine, entry_hoff(engine, cluster)) & ~COPIED;
}

static void small_write_takes_up_what_it_touches(void **state)
{
    struct engine engine;

    (void)state;
    engine_extended(&engine, true);
    assert_int_equal(engine_write(&engine, 3 * K, 2 * K, 'w'), 0);
    expect_entry(&engine, 0, true, 0x6);
    assert_int_equal(written(&engine, place_of(&engine, 0)), 4 * K);
    assert_int_equal(engine_byte(&engine, 3 * K - 1), 'b');
    assert_int_equal(engine_byte(&engine, 3 * K), 'w');
    assert_int_equal(engine_byte(&engine, 5 * K), 'b');
    assert_int_equal(engine_extent(&engine, 0).kind, BYRE_EXTENT_HOLE);
    assert_int_equal(engine_extent(&engine, 6 * K).kind, BYRE_EXTENT_HOLE);
    assert_true(engine_extent(&engine, 6 * K).allocated);
    engine_done(&engine);
}

static void host_cluster_is_filled_by_and_by(void **state)
{
    struct engine engine;
    uint64_t place;

    (void)state;
    engine_extended(&engine, true);
    assert_int_equal(engine_write(&engine, 4 * K, 2 * K, 'w'), 0);
    place = place_of(&engine, 0);
    assert_int_equal(record_store_restart(engine.store), 0);
    assert_int_equal(engine_write(&engine, 5 * K, 2 * K, 'x'), 0); /* the end of one, the start of the next */
    expect_entry(&engine, 0, true, 0xc);
    assert_int_equal(place_of(&engine, 0), place);
    assert_int_equal(written(&engine, place), 3 * K); /* no byte of what is there */
    assert_int_equal(engine_byte(&engine, 4 * K), 'w');
    assert_int_equal(engine_byte(&engine, 5 * K), 'x');
    assert_int_equal(engine_byte(&engine, 7 * K), 'b');
    engine_done(&engine);
}

static void long_write_has_parts_at_both_ends(void **state)
{
    struct engine engine;

    (void)state;
    engine_extended(&engine, false);
    assert_int_equal(engine_write(&engine, 63 * K, 66 * K, 'w'), 0);
    expect_entry(&engine, 0, true, 0x80000000);
    expect_entry(&engine, 1, true, 0xffffffff);
    expect_entry(&engine, 2, true, 0x1);
    engine_done(&engine);
}

static void zeros_are_bits(void **state)
{
    struct engine engine;

    (void)state;
    engine_extended(&engine, true);
    assert_int_equal(engine_write(&engine, 0, 32 * K, 'w'), 0);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 16 * K, 32 * K, 0, &engine.err), 0);
    expect_entry(&engine, 0, true, 0x00ffff00000000ff);
    assert_int_equal(engine_extent(&engine, 16 * K).kind, BYRE_EXTENT_ZERO);
    assert_int_equal(engine_extent(&engine, 16 * K).length, 32 * K);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 16 * K, 1 * K, 0, &engine.err), 0); /* is zero */
    expect_entry(&engine, 0, true, 0x00ffff00000000ff);
    assert_int_equal(engine_write(&engine, 17 * K, 512, 'x'), 0);
    expect_entry(&engine, 0, true, 0x00fffe00000001ff);
    assert_int_equal(engine_byte(&engine, 17 * K - 1), 0);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 64 * K + 100, 8 * K, 0, &engine.err), 0);
    expect_entry(&engine, 1, true, 0x0000000e00000011);
    engine_done(&engine);
}

static void cluster_without_data_is_given_up_when_asked(void **state)
{
    struct engine engine;

    (void)state;
    engine_extended(&engine, true);
    assert_int_equal(engine_write(&engine, 8 * K, 8 * K, 'w'), 0);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 8 * K, 4 * K, BYRE_WRITE_ZEROES_UNMAP, &engine.err), 0);
    expect_entry(&engine, 0, true, 0x00000030000000c0);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 12 * K, 4 * K, BYRE_WRITE_ZEROES_UNMAP, &engine.err), 0);
    expect_entry(&engine, 0, false, 0x000000f000000000);
    assert_int_equal(engine_write(&engine, 64 * K, 64 * K, 'w'), 0);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 64 * K, 64 * K, 0, &engine.err), 0);
    expect_entry(&engine, 1, true, 0xffffffff00000000);
    assert_int_equal(byre_qcow2_discard(engine.image, 64 * K, 60 * K, &engine.err), 0); /* no whole cluster */
    expect_entry(&engine, 1, true, 0xffffffff00000000);
    assert_int_equal(byre_qcow2_discard(engine.image, 64 * K, 128 * K, &engine.err), 0);
    expect_entry(&engine, 1, false, 0xffffffff00000000);
    expect_entry(&engine, 2, false, 0xffffffff00000000);
    engine_done(&engine);
}

static void compressed_clusters_have_no_parts(void **state)
{
    uint8_t bytes[CLUSTER];
    struct engine engine;

    (void)state;
    memset(bytes, 'c', sizeof bytes);
    engine_extended(&engine, true);
    assert_int_equal(byre_qcow2_write_compressed(engine.image, 0, bytes, sizeof bytes, &engine.err), 0);
    assert_int_equal(byre_qcow2_write_compressed(engine.image, CLUSTER, bytes, sizeof bytes, &engine.err), 0);
    expect_entry(&engine, 0, true, 0);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 4 * K, 4 * K, BYRE_WRITE_ZEROES_NO_FALLBACK, &engine.err),
                     -ENOTSUP);
    assert_non_null(strstr(engine.err.text, "would have to be written as data"));
    assert_int_equal(engine_extent(&engine, 0).kind, BYRE_EXTENT_COMPRESSED);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 4 * K, 4 * K, 0, &engine.err), 0);
    expect_entry(&engine, 0, true, 0xffffffff);
    assert_int_equal(engine_byte(&engine, 4 * K - 1), 'c');
    assert_int_equal(engine_byte(&engine, 4 * K), 0);
    assert_int_equal(engine_byte(&engine, 64 * K - 1), 'c');
    /* and a compressed cluster over subclusters */
    assert_int_equal(engine_write(&engine, 128 * K, 2 * K, 'w'), 0);
    assert_int_equal(byre_qcow2_write_compressed(engine.image, 128 * K, bytes, sizeof bytes, &engine.err), 0);
    expect_entry(&engine, 2, true, 0);
    engine_done(&engine);
}

/* Makes the first cluster shared with nobody that could be seen, and opens the image again. */
static void share_first(struct engine *engine, uint64_t bitmap)
{
    const struct byre_qcow2_open_options options = { .writable = true };
    const struct byre_qcow2_below ops = { .read = read_below };
    uint64_t word, refblock;
    uint8_t count[2] = { 0, 2 };

    assert_int_equal(byre_qcow2_close(engine->image, &engine->err), 0);
    word = get64(engine, entry_hoff(engine, 0)) & ~COPIED;
    refblock = get64(engine, get64(engine, 48));
    put64(engine, entry_hoff(engine, 0), word);
    put64(engine, entry_hoff(engine, 0) + 8, bitmap);
    assert_int_equal(byre_store_pwrite(engine->store, count, 2, refblock + word / CLUSTER * 2, NULL), 0);
    assert_int_equal(record_store_restart(engine->store), 0);
    assert_int_equal(byre_qcow2_open(engine->store, &options, &engine->image, &engine->err), 0);
    byre_qcow2_set_below(engine->image, &ops);
}

static void shared_subclusters_move_with_what_they_are(void **state)
{
    struct engine engine;
    uint64_t old, place;

    (void)state;
    engine_extended(&engine, true);
    assert_int_equal(engine_write(&engine, 0, 64 * K, 'w'), 0);
    old = place_of(&engine, 0);
    /* data: 0, 9, 10, 12, 20, 31; zero: 4, 5; the rest are holes */
    share_first(&engine, 0x0000003080101601);
    assert_int_equal(engine_write(&engine, 22 * K + 512, 512, 'x'), 0); /* in number 11 */
    expect_entry(&engine, 0, true, 0x0000003080101e01);
    place = place_of(&engine, 0);
    assert_int_not_equal(place, old);
    assert_int_equal(written(&engine, place), 7 * 2 * K);
    assert_int_equal(written(&engine, old), 0);
    for (unsigned i = 0; i < 32; i++) {
        enum byre_extent_kind kind = i == 4 || i == 5 ? BYRE_EXTENT_ZERO
                                     : 0x80101e01u >> i & 1 ? BYRE_EXTENT_DATA : BYRE_EXTENT_HOLE;

        assert_int_equal(engine_extent(&engine, i * 2 * K).kind, kind);
        if (kind == BYRE_EXTENT_DATA)
            assert_int_equal(engine_byte(&engine, i * 2 * K), i == 11 ? 'b' : 'w');
    }
    assert_int_equal(engine_byte(&engine, 22 * K + 512), 'x');
    assert_int_equal(byre_qcow2_close(engine.image, &engine.err), 0);
    byre_store_close(engine.store);
}

static void copy_on_read_fills_holes_between(void **state)
{
    struct engine engine;

    (void)state;
    engine_extended(&engine, true);
    assert_int_equal(engine_write(&engine, 4 * K, 2 * K, 'w'), 0);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 8 * K, 2 * K, 0, &engine.err), 0);
    assert_int_equal(byre_qcow2_copy_on_read(engine.image, 3 * K, 8 * K, &engine.err), 0);
    expect_entry(&engine, 0, true, 0x000000100000002e);
    assert_int_equal(engine_byte(&engine, 2 * K), 'b');
    assert_int_equal(engine_byte(&engine, 4 * K), 'w');
    assert_int_equal(engine_byte(&engine, 6 * K), 'b');
    assert_int_equal(byre_qcow2_copy_on_read(engine.image, SIZE - 1, 1, &engine.err), 0);
    expect_entry(&engine, 4, true, 1u << 21);
    engine_done(&engine);
}

static void preallocated_clusters_are_holes_with_a_place(void **state)
{
    static const enum byre_preallocation modes[] = {
        BYRE_PREALLOC_METADATA, BYRE_PREALLOC_FALLOC, BYRE_PREALLOC_FULL,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        const struct byre_qcow2_below ops = { .read = read_below };
        struct engine engine;

        engine_new(&engine,
                   &(struct byre_qcow2_create_options){
                       .size = SIZE, .version = 3, .cluster_bits = 16, .refcount_order = 4, .extended_l2 = true,
                       .preallocation = modes[i], .backing_name = "below", .backing_format = "raw",
                   },
                   0, 0);
        byre_qcow2_set_below(engine.image, &ops);
        for (unsigned cluster = 0; cluster < 5; cluster++)
            expect_entry(&engine, cluster, true, 0);
        assert_int_equal(engine_write(&engine, 3 * K, 512, 'w'), 0);
        expect_entry(&engine, 0, true, 2);
        assert_int_equal(engine_byte(&engine, 3 * K - 1), 'b');
        engine_done(&engine);
    }
}

static void growing_hides_what_is_below_by_bits(void **state)
{
    struct engine engine;

    (void)state;
    engine_extended(&engine, true);
    assert_int_equal(engine_write(&engine, SIZE - 512, 512, 'w'), 0);
    assert_int_equal(byre_qcow2_grow(engine.image, 400 * K, UINT64_MAX / 4, BYRE_PREALLOC_METADATA, &engine.err), 0);
    expect_entry(&engine, 4, true, 0xffc0000000200000);
    expect_entry(&engine, 5, true, 0xffffffff00000000);
    assert_int_equal(engine_byte(&engine, SIZE - 513), 'b');
    assert_int_equal(engine_byte(&engine, SIZE - 512), 'w');
    assert_int_equal(engine_byte(&engine, SIZE), 0);
    engine_done(&engine);
    engine_extended(&engine, true); /* nothing was written to the last cluster */
    assert_int_equal(byre_qcow2_grow(engine.image, 400 * K, UINT64_MAX / 4, BYRE_PREALLOC_OFF, &engine.err), 0);
    expect_entry(&engine, 4, false, 0xffc0000000000000);
    engine_done(&engine);
}

/* With this entry in the first cluster's place, whose data is there. */
static void spoil(struct engine *engine, bool keep_word, uint64_t word, uint64_t bitmap)
{
    const struct byre_qcow2_open_options options = { .writable = true };

    engine_extended(engine, false);
    assert_int_equal(engine_write(engine, 0, 64 * K, 'w'), 0);
    assert_int_equal(byre_qcow2_close(engine->image, &engine->err), 0);
    if (!keep_word)
        put64(engine, entry_hoff(engine, 0), word);
    put64(engine, entry_hoff(engine, 0) + 8, bitmap);
    assert_int_equal(byre_qcow2_open(engine->store, &options, &engine->image, &engine->err), 0);
}

static void refused(struct engine *engine, const char *text)
{
    byre_extent_vec extents = VEC_INIT;

    assert_int_equal(byre_qcow2_map(engine->image, 0, 512, &extents, &engine->err), -EIO);
    assert_non_null(strstr(engine->err.text, text));
    assert_int_equal(engine_write(engine, 0, 512, 'x'), -EIO);
    assert_non_null(strstr(engine->err.text, text));
    assert_int_equal(byre_qcow2_write_zeroes(engine->image, 0, 4 * K, 0, &engine->err), -EIO);
    assert_int_equal(byre_qcow2_discard(engine->image, 0, 64 * K, &engine->err), -EIO);
    assert_int_equal(engine_extent(engine, 64 * K).kind, BYRE_EXTENT_HOLE); /* the rest can be read */
    vec_done(&extents);
    (void)byre_qcow2_close(engine->image, NULL);
    byre_store_close(engine->store);
}

static void bitmaps_that_cannot_be_are_corruption(void **state)
{
    struct engine engine;

    (void)state;
    spoil(&engine, true, 0, 0x00000004ffffffff);
    refused(&engine, "Subclusters both allocated and zero: subcluster allocation bitmap 0x4ffffffff (guest offset 0)");
    spoil(&engine, false, 0, 0x00000000000000ff);
    refused(&engine, "Subclusters allocated without a host cluster: subcluster allocation bitmap 0xff");
    spoil(&engine, false, COPIED | 0x50200, 3);
    refused(&engine, "Cluster allocation offset unaligned: 0x50200");
    spoil(&engine, false, COPIED | 0x50200, 0x300000000);
    refused(&engine, "Preallocated zero cluster offset unaligned: 0x50200");
}

static void reserved_bits_are_passed_over(void **state)
{
    uint8_t bytes[CLUSTER];
    struct engine engine;

    (void)state;
    spoil(&engine, true, 0, 3);
    put64(&engine, entry_hoff(&engine, 0), get64(&engine, entry_hoff(&engine, 0)) | 1);
    assert_int_equal(engine_byte(&engine, 0), 'w');
    assert_int_equal(engine_extent(&engine, 4 * K).kind, BYRE_EXTENT_HOLE);
    assert_int_equal(engine_write(&engine, 4 * K, 512, 'x'), 0);
    expect_entry(&engine, 0, true, 7);
    assert_int_equal(get64(&engine, entry_hoff(&engine, 0)) & 1, 0);
    memset(bytes, 'c', sizeof bytes);
    assert_int_equal(byre_qcow2_write_compressed(engine.image, 0, bytes, sizeof bytes, &engine.err), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, &engine.err), 0);
    engine_done(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_write_takes_up_what_it_touches),
        cmocka_unit_test(host_cluster_is_filled_by_and_by),
        cmocka_unit_test(long_write_has_parts_at_both_ends),
        cmocka_unit_test(zeros_are_bits),
        cmocka_unit_test(cluster_without_data_is_given_up_when_asked),
        cmocka_unit_test(compressed_clusters_have_no_parts),
        cmocka_unit_test(shared_subclusters_move_with_what_they_are),
        cmocka_unit_test(copy_on_read_fills_holes_between),
        cmocka_unit_test(preallocated_clusters_are_holes_with_a_place),
        cmocka_unit_test(growing_hides_what_is_below_by_bits),
        cmocka_unit_test(bitmaps_that_cannot_be_are_corruption),
        cmocka_unit_test(reserved_bits_are_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
