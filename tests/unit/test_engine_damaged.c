/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing to images whose refcounts and entries lie: no metadata is ever overwritten or freed as if it were data.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/endian.h"
#include "byre/disk.h"
#include "engine_image.h"

#define K 1024ULL
#define M (1024 * K)

enum { CLUSTER_BITS = 12, CLUSTER = 1 << CLUSTER_BITS };
enum { AT_L1 = 40, AT_REFTABLE = 48 };

#define COPIED (1ULL << 63)

/* Where things are in the image of the tests. */
struct places {
    uint64_t l1, reftable, refblock, l2, other_l2, data;
};

static void set_refcount(struct engine *engine, const struct places *at, uint64_t hoff, uint8_t count)
{
    uint8_t bytes[2] = { 0, count };

    assert_int_equal(byre_store_pwrite(engine->store, bytes, 2, at->refblock + hoff / CLUSTER * 2, NULL), 0);
}

/* A closed image of 6 MiB, 2 MiB for each L2 table, with 'a' in its first cluster and 'b' in one at 2 MiB. */
static struct places closed_image(struct engine *engine)
{
    struct places at;

    engine_plain(engine, CLUSTER_BITS, 6 * M);
    assert_int_equal(engine_write(engine, 0, CLUSTER, 'a'), 0);
    assert_int_equal(engine_write(engine, 2 * M, CLUSTER, 'b'), 0);
    assert_int_equal(byre_qcow2_close(engine->image, NULL), 0);
    at.l1 = get64(engine, AT_L1);
    at.reftable = get64(engine, AT_REFTABLE);
    at.refblock = get64(engine, at.reftable);
    at.l2 = get64(engine, at.l1) & ~COPIED;
    at.other_l2 = get64(engine, at.l1 + 8) & ~COPIED;
    at.data = get64(engine, at.l2) & ~COPIED;
    return at;
}

static void reopen(struct engine *engine)
{
    struct byre_qcow2_open_options options = { .writable = true };

    engine->err = (struct byre_error)BYRE_ERROR_INIT;
    if (byre_qcow2_open(engine->store, &options, &engine->image, &engine->err) < 0)
        fail_msg("%s", engine->err.text);
    assert_int_equal(record_store_restart(engine->store), 0);
}

/* The call failed, the message has the text, and nothing was written. */
static void refused(struct engine *engine, int rc, const char *text)
{
    if (rc != -EIO || !strstr(engine->err.text, text) || !strstr(engine->err.text, "'recorded'"))
        fail_msg("%d '%s' instead of '%s'", rc, engine->err.text, text);
    assert_int_equal(record_store_count(engine->store), 0);
}

static void drop(struct engine *engine)
{
    (void)byre_qcow2_close(engine->image, NULL);
    byre_store_close(engine->store);
}

static int write_compressed(struct engine *engine, uint64_t goff)
{
    static const uint8_t bytes[100];
    struct byre_qcow2_compressed item = { .goff = goff, .data = bytes, .length = sizeof bytes };
    int rc = byre_qcow2_reserve_compressed(engine->image, &item, 1, &engine->err);

    if (rc == 0)
        byre_qcow2_abandon_compressed(engine->image, &item, 1);
    return rc;
}

/* All that would overwrite or free what the entry at `goff` points to. */
static void changes_are_refused(struct engine *engine, uint64_t goff, const char *text)
{
    refused(engine, engine_write(engine, goff, 512, 'x'), text);
    refused(engine, engine_write(engine, goff, CLUSTER, 'x'), text);
    refused(engine, byre_qcow2_write_zeroes(engine->image, goff, CLUSTER, 0, &engine->err), text);
    refused(engine, byre_qcow2_write_zeroes(engine->image, goff, CLUSTER, BYRE_WRITE_ZEROES_UNMAP, &engine->err),
            text);
    refused(engine, byre_qcow2_discard(engine->image, goff, CLUSTER, &engine->err), text);
    refused(engine, write_compressed(engine, goff), text);
}

/* With an entry for guest cluster 5 that leads to `target`, which is called `what`. */
static void entry_on(uint64_t (*target)(const struct places *), const char *what, uint64_t flags)
{
    struct engine engine;
    struct places at = closed_image(&engine);
    char text[64];

    snprintf(text, sizeof text, "guest offset 0x5000 lies on the %s", what);
    put64(&engine, at.l2 + 5 * 8, target(&at) | flags);
    reopen(&engine);
    assert_false(engine_extent(&engine, 5 * CLUSTER).exclusive);
    assert_true(engine_extent(&engine, 0).exclusive);
    changes_are_refused(&engine, 5 * CLUSTER, text);
    drop(&engine);
}

static uint64_t l1_of(const struct places *at) { return at->l1; }
static uint64_t reftable_of(const struct places *at) { return at->reftable; }
static uint64_t refblock_of(const struct places *at) { return at->refblock; }
static uint64_t l2_of(const struct places *at) { return at->l2; }
static uint64_t other_l2_of(const struct places *at) { return at->other_l2; }

static void data_on_metadata_is_not_written(void **state)
{
    (void)state;
    entry_on(l1_of, "L1 table", COPIED);
    entry_on(reftable_of, "refcount table", COPIED);
    entry_on(refblock_of, "refcount block", COPIED);
    entry_on(l2_of, "L2 table", COPIED);
    entry_on(other_l2_of, "L2 table", COPIED);
}

static void shared_data_on_metadata_is_not_copied_and_freed(void **state)
{
    (void)state;
    entry_on(refblock_of, "refcount block", 0);
    entry_on(other_l2_of, "L2 table", 0);
}

static void zeros_on_metadata_are_not_filled(void **state)
{
    struct engine engine;
    struct places at = closed_image(&engine);

    (void)state;
    put64(&engine, at.l2 + 5 * 8, at.refblock | COPIED | 1);
    reopen(&engine);
    changes_are_refused(&engine, 5 * CLUSTER, "lies on the refcount block");
    drop(&engine);
}

static void compressed_data_on_metadata_is_not_freed(void **state)
{
    struct engine engine;
    struct places at = closed_image(&engine);

    (void)state;
    /* Two sectors: the second one is the start of the next cluster, which is the other L2 table. */
    put64(&engine, at.l2 + 5 * 8, (1ULL << 62) | 1ULL << (62 - (CLUSTER_BITS - 8)) | (at.other_l2 - 512));
    reopen(&engine);
    changes_are_refused(&engine, 5 * CLUSTER, "lies on the L2 table");
    drop(&engine);
}

/* Metadata that the refcounts call free. */
static void free_on(uint64_t (*target)(const struct places *), const char *what)
{
    struct engine engine;
    struct places at = closed_image(&engine);
    char text[64];

    snprintf(text, sizeof text, "is 0, but the %s lies there", what);
    set_refcount(&engine, &at, target(&at), 0);
    reopen(&engine);
    refused(&engine, engine_write(&engine, 7 * CLUSTER, CLUSTER, 'x'), text);
    refused(&engine, write_compressed(&engine, 7 * CLUSTER), text);
    drop(&engine);
}

static void metadata_without_references_is_not_taken(void **state)
{
    (void)state;
    free_on(l1_of, "L1 table");
    free_on(reftable_of, "refcount table");
    free_on(refblock_of, "refcount block");
    free_on(l2_of, "L2 table");
    free_on(other_l2_of, "L2 table");
}

/* Pieces of metadata on each other: the image can be read, and not changed anywhere. */
static void conflict(struct engine *engine, const char *text)
{
    reopen(engine);
    assert_int_equal(engine_byte(engine, 2 * M), 'b');
    refused(engine, engine_write(engine, 2 * M, CLUSTER, 'x'), text);
    refused(engine, byre_qcow2_discard(engine->image, 2 * M, CLUSTER, &engine->err), text);
    drop(engine);
}

static void metadata_on_metadata_is_not_changed(void **state)
{
    struct engine engine;
    struct places at = closed_image(&engine);

    (void)state;
    put64(&engine, at.l1, at.refblock | COPIED);
    conflict(&engine, "refcount block and L2 table lie at the same host offset");
    at = closed_image(&engine);
    put64(&engine, at.l1, at.reftable | COPIED);
    conflict(&engine, "L2 table and refcount table lie at the same host offset");
    at = closed_image(&engine);
    put64(&engine, at.l1, at.l1 | COPIED);
    conflict(&engine, "L2 table and L1 table lie at the same host offset");
    at = closed_image(&engine);
    put64(&engine, at.reftable + 8, at.reftable);
    conflict(&engine, "refcount block and refcount table lie at the same host offset");
}

/* A full block that is named again and again would be searched again and again. */
static void refcount_block_that_counts_twice_is_not_changed(void **state)
{
    struct engine engine;
    struct places at = closed_image(&engine);

    (void)state;
    put64(&engine, at.reftable + 8, at.refblock);
    conflict(&engine, "refcount block and refcount block lie at the same host offset");
}

/* An entry leads past the end of the file, where the next table goes. */
static void table_made_in_this_session_is_not_written_as_data(void **state)
{
    struct engine engine;
    struct places at = closed_image(&engine);
    uint64_t end;

    (void)state;
    assert_int_equal(byre_store_size(engine.store, &end, NULL), 0);
    put64(&engine, at.other_l2 + 5 * 8, end | COPIED);
    reopen(&engine);
    assert_int_equal(engine_write(&engine, 4 * M, CLUSTER, 'c'), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_int_equal(get64(&engine, at.l1 + 16), end | COPIED);
    assert_int_equal(record_store_restart(engine.store), 0);
    changes_are_refused(&engine, 2 * M + 5 * CLUSTER, "lies on the L2 table");
    drop(&engine);
}

/* Two entries lead to one cluster: the first one's end makes it free, and a table comes to it before the second's. */
static void cluster_freed_twice_stays_what_it_has_become(void **state)
{
    struct engine engine;
    struct places at = closed_image(&engine);

    (void)state;
    put64(&engine, at.l2 + 5 * 8, at.data | COPIED);
    reopen(&engine);
    assert_int_equal(byre_qcow2_discard(engine.image, 0, CLUSTER, NULL), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_int_equal(byre_qcow2_discard(engine.image, 5 * CLUSTER, CLUSTER, NULL), 0);
    assert_int_equal(engine_write(&engine, 4 * M, CLUSTER, 'c'), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_int_equal(get64(&engine, at.l1 + 16), at.data | COPIED);
    assert_int_equal(engine_byte(&engine, 4 * M), 'c');
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    reopen(&engine);
    assert_int_equal(engine_byte(&engine, 4 * M), 'c');
    assert_int_equal(engine_write(&engine, 7 * CLUSTER, CLUSTER, 'd'), 0);
    drop(&engine);
}

/* A copy of a table frees the old one, which would be taken for free before its L1 entry is gone. */
static void table_without_reference_is_not_copied(void **state)
{
    struct engine engine;
    struct places at = closed_image(&engine);

    (void)state;
    put64(&engine, at.l1, at.l2);
    set_refcount(&engine, &at, at.l2, 0);
    reopen(&engine);
    refused(&engine, engine_write(&engine, 0, CLUSTER, 'x'), "is 0, but the L2 table lies there");
    drop(&engine);
}

/* Where the tables cannot be read as a whole, nothing is written, and the rest is read. */
static void unreadable_tables_do_not_stop_reading(void **state)
{
    struct byre_extent extent;
    struct engine engine;

    (void)state;
    (void)closed_image(&engine);
    reopen(&engine);
    /* First comes the L1 table, and then the refcount table. */
    record_store_fail(engine.store, &(struct record_fault){ .kinds = RECORD_READ, .nth = 2, .code = -EIO });
    extent = engine_extent(&engine, 0);
    assert_int_equal(record_store_faults(engine.store), 1);
    record_store_fail(engine.store, NULL);
    assert_int_equal(extent.kind, BYRE_EXTENT_DATA);
    assert_false(extent.exclusive);
    assert_int_equal(engine_write(&engine, 0, CLUSTER, 'b'), 0);
    assert_int_equal(engine_byte(&engine, 0), 'b');
    engine_done(&engine);
}

/* What was an L2 table, and is none any more, is free for anything. */
static void place_of_a_copied_table_is_used_again(void **state)
{
    struct engine engine;
    struct places at = closed_image(&engine);

    (void)state;
    put64(&engine, at.l1, at.l2);
    reopen(&engine);
    assert_int_equal(engine_write(&engine, CLUSTER, CLUSTER, 'c'), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_true((get64(&engine, at.l1) & ~COPIED) != at.l2);
    assert_int_equal(engine_write(&engine, 2 * CLUSTER, CLUSTER, 'd'), 0);
    assert_int_equal(engine_extent(&engine, 2 * CLUSTER).hoff, at.l2);
    assert_int_equal(engine_byte(&engine, 0), 'a');
    engine_done(&engine);
}

/* A cluster of compressed data is not continued into metadata. */
static void packing_stops_at_metadata_without_references(void **state)
{
    static const uint8_t bytes[CLUSTER - 100];
    struct byre_qcow2_compressed item = { .goff = 7 * CLUSTER, .data = bytes, .length = sizeof bytes };
    struct engine engine;
    struct places at = closed_image(&engine);
    uint64_t end;

    (void)state;
    /* The next free cluster is followed by one that an L1 entry leads to. */
    assert_int_equal(byre_store_size(engine.store, &end, NULL), 0);
    put64(&engine, at.l1 + 16, (end + CLUSTER) | COPIED);
    reopen(&engine);
    assert_int_equal(byre_qcow2_reserve_compressed(engine.image, &item, 1, &engine.err), 0);
    assert_int_equal(item.hoff, end);
    assert_int_equal(byre_qcow2_fill_compressed(engine.image, &item, 1, NULL), 0);
    assert_int_equal(byre_qcow2_publish_compressed(engine.image, &item, 1, NULL), 0);
    item.goff = 8 * CLUSTER;
    assert_int_equal(byre_qcow2_reserve_compressed(engine.image, &item, 1, &engine.err), -EIO);
    assert_non_null(strstr(engine.err.text, "the L2 table lies there"));
    drop(&engine);
}

/* --- refcount blocks that are made later ------------------------------------------------------------------ */

/* An image whose refcount blocks count 64 clusters of 512 bytes; 'a' in the first cluster. */
static void small_blocks(struct engine *engine)
{
    engine_new(engine,
               &(struct byre_qcow2_create_options){
                   .size = 4 * M, .version = 3, .cluster_bits = 9, .refcount_order = 6,
               },
               0, 0);
    assert_int_equal(engine_write(engine, 0, 512, 'a'), 0);
    assert_int_equal(byre_qcow2_flush(engine->image, NULL), 0);
}

/* Where the refcount block with the number is. */
static uint64_t block_at(struct engine *engine, unsigned number)
{
    return get64(engine, get64(engine, AT_REFTABLE) + number * 8);
}

/* Writes until there is that block, twice: to see where it goes, and with an entry that leads there. */
static void block_is_known(unsigned number, uint64_t length)
{
    struct engine engine;
    uint64_t place, l2;

    small_blocks(&engine);
    assert_int_equal(engine_write(&engine, 32 * K, length, 'b'), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    place = block_at(&engine, number);
    assert_true(place != 0);
    drop(&engine);

    small_blocks(&engine);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    l2 = get64(&engine, get64(&engine, AT_L1)) & ~COPIED;
    put64(&engine, l2 + 5 * 8, place | COPIED);
    reopen(&engine);
    assert_int_equal(engine_write(&engine, 32 * K, length, 'b'), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_int_equal(block_at(&engine, number), place);
    assert_int_equal(record_store_restart(engine.store), 0);
    refused(&engine, engine_write(&engine, 5 * 512, 512, 'x'), "lies on the refcount block");
    drop(&engine);
}

static void refcount_block_made_in_this_session_is_not_written_as_data(void **state)
{
    (void)state;
    block_is_known(1, 40 * K);
    block_is_known(3, 120 * K);
    block_is_known(64, 2200 * K); /* the refcount table has grown */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_on_metadata_is_not_written),
        cmocka_unit_test(shared_data_on_metadata_is_not_copied_and_freed),
        cmocka_unit_test(zeros_on_metadata_are_not_filled),
        cmocka_unit_test(compressed_data_on_metadata_is_not_freed),
        cmocka_unit_test(metadata_without_references_is_not_taken),
        cmocka_unit_test(metadata_on_metadata_is_not_changed),
        cmocka_unit_test(refcount_block_that_counts_twice_is_not_changed),
        cmocka_unit_test(table_made_in_this_session_is_not_written_as_data),
        cmocka_unit_test(cluster_freed_twice_stays_what_it_has_become),
        cmocka_unit_test(table_without_reference_is_not_copied),
        cmocka_unit_test(unreadable_tables_do_not_stop_reading),
        cmocka_unit_test(place_of_a_copied_table_is_used_again),
        cmocka_unit_test(packing_stops_at_metadata_without_references),
        cmocka_unit_test(refcount_block_made_in_this_session_is_not_written_as_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
