/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What keeps the engine's work and its waiting bounded, whatever an image, a reader or a full disk does to it; and what
 * it knows of where metadata lies, which is what keeps hostile images from having it overwritten.
 *
 * Work is counted, not timed: the linker puts a counter in the place of nanosleep (see the makefile).
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "base/endian.h"
#include "engine_image.h"
#include "qcow2/image.h"

#define K 1024ULL
#define M (1024 * K)
#define COPIED (1ULL << 63)

enum { AT_L1 = 40, PAUSES_MAX = 2000, FREES_MAX = 1000000 };

static unsigned pauses;

int __wrap_nanosleep(const struct timespec *wanted, struct timespec *rest);

int __wrap_nanosleep(const struct timespec *wanted, struct timespec *rest)
{
    (void)wanted;
    (void)rest;
    pauses++;
    return 0;
}

/* --- waiting --------------------------------------------------------------------------------------------- */

/* A device that is full; *ret_used is where the disk begins to have nothing. */
static void fill_device(struct engine *engine, uint64_t *ret_used)
{
    uint64_t goff = 0;

    engine_new(engine,
               &(struct byre_qcow2_create_options){
                   .size = 1 * M, .version = 3, .cluster_bits = 12, .refcount_order = 4,
               },
               96 * K, 0);
    while (engine_write(engine, goff, 4 * K, 'a') == 0)
        goff += 4 * K;
    assert_int_equal(byre_qcow2_flush(engine->image, NULL), 0);
    *ret_used = goff;
}

static void wait_for_a_reader_that_stays_ends(void **state)
{
    struct engine engine;
    uint64_t used, ticket;

    (void)state;
    fill_device(&engine, &used);
    ticket = byre_epoch_enter(byre_qcow2_epoch(engine.image));
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 4 * K, NULL), 0);
    pauses = 0;
    assert_int_equal(engine_write(&engine, used, 4 * K, 'b'), -ENOSPC);
    assert_true(pauses > 0 && pauses <= PAUSES_MAX);
    byre_epoch_leave(byre_qcow2_epoch(engine.image), ticket);
    assert_int_equal(engine_write(&engine, used, 4 * K, 'b'), 0);
    engine_done(&engine);
}

/* Where nothing was freed there is nothing to be had from a commit. */
static void full_disk_costs_no_commits(void **state)
{
    struct engine engine;
    uint64_t used;

    (void)state;
    fill_device(&engine, &used);
    record_store_fail(engine.store, NULL);
    pauses = 0;
    for (int i = 0; i < 5; i++)
        assert_int_equal(engine_write(&engine, used, 4 * K, 'b'), -ENOSPC);
    assert_int_equal(record_store_calls(engine.store, RECORD_FLUSH), 0);
    assert_int_equal(pauses, 0);
    engine_done(&engine);
}

/* As another thread would: it commits what was freed while a write meets the end of the medium. */
static void make_room_for_another(void *opaque, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    struct record_fault full = { .kinds = RECORD_WRITE, .nth = 1, .code = -ENOSPC };
    struct engine *engine = opaque;

    (void)hoff;
    (void)length;
    if (kind != RECORD_WRITE)
        return;
    record_store_hook(engine->store, NULL, NULL);
    assert_int_equal(byre_qcow2_flush(engine->image, NULL), 0);
    record_store_fail(engine->store, &full);
}

static void room_that_another_thread_has_made_is_used(void **state)
{
    struct engine engine;
    uint64_t place;

    (void)state;
    engine_plain(&engine, 12, 1 * M);
    assert_int_equal(engine_write(&engine, 0, 16 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    place = engine_extent(&engine, 0).hoff;
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 4 * K, NULL), 0);
    record_store_hook(engine.store, make_room_for_another, &engine);
    assert_int_equal(engine_write(&engine, 64 * K, 4 * K, 'b'), 0);
    assert_int_equal(record_store_faults(engine.store), 1);
    assert_int_equal(engine_extent(&engine, 64 * K).hoff, place);
    engine_done(&engine);
}

/* --- deferred frees -------------------------------------------------------------------------------------- */

/* Puts as many runs, each by itself, on the list of what waits for a commit. */
static void defer(struct byre_qcow2 *image, size_t count)
{
    assert_int_equal(byre_free_room_locked(image, count, NULL), 0);
    while (image->frees_pending.len < count)
        byre_free_later_locked(image, 1000000 + 2 * image->frees_pending.len, 1, false);
    image->clusters_pending = 1ULL << 40; /* so that a commit is due */
}

/* Commits that fail for want of room keep what was freed; not for ever. */
static void frees_that_cannot_be_committed_are_bounded(void **state)
{
    struct record_fault full = { .kinds = RECORD_WRITE, .nth = 1, .for_ever = true, .code = -ENOSPC };
    struct engine engine;

    (void)state;
    engine_plain(&engine, 12, 1 * M);
    assert_int_equal(engine_write(&engine, 0, 16 * K, 'a'), 0);
    record_store_fail(engine.store, &full);
    defer(engine.image, FREES_MAX);
    assert_int_equal(byre_commit_if_due(engine.image, NULL), 0);
    assert_int_equal(engine.image->frees_pending.len, FREES_MAX);
    defer(engine.image, FREES_MAX + 1);
    assert_int_equal(byre_commit_if_due(engine.image, NULL), -ENOSPC);
    assert_int_equal(byre_qcow2_check_writable(engine.image, NULL), 0);
    record_store_fail(engine.store, NULL);
    vec_done(&engine.image->frees_pending);
    engine_done(&engine);
}

/* --- where metadata lies --------------------------------------------------------------------------------- */

/* The image knows of its metadata what one that reads the tables anew does. */
static void knows_its_metadata(struct byre_store *store, struct byre_qcow2 *image)
{
    struct byre_qcow2_open_options options = { .writable = false };
    struct byre_qcow2 *anew;
    unsigned found = 0;
    uint64_t size;

    assert_int_equal(byre_qcow2_flush(image, NULL), 0);
    assert_int_equal(byre_store_size(store, &size, NULL), 0);
    assert_int_equal(byre_qcow2_open(store, &options, &anew, NULL), 0);
    assert_int_equal(byre_metadata_learn_locked(anew, NULL), 0);
    for (uint64_t hoff = 0; hoff < size; hoff += image->cluster_size) {
        const char *known = byre_metadata_at_locked(image, hoff, image->cluster_size);
        const char *there = byre_metadata_at_locked(anew, hoff, image->cluster_size);

        found += there != NULL;
        if (!known != !there || (known && strcmp(known, there) != 0))
            fail_msg("at %#llx: %s instead of %s", (unsigned long long)hoff, known ? known : "data",
                     there ? there : "data");
    }
    assert_true(found > 4);
    assert_int_equal(byre_qcow2_close(anew, NULL), 0);
}

/* `size` may be such that the L1 table is longer than what one refcount block counts. */
static void new_image_knows(uint64_t size)
{
    const struct byre_qcow2_create_options options = {
        .size = size, .version = 3, .cluster_bits = 9, .refcount_order = 6,
    };
    struct engine engine = { .cluster = 512 };

    assert_int_equal(record_store_new(NULL, 0, &engine.store), 0);
    assert_int_equal(byre_qcow2_create(engine.store, &options, &engine.image, NULL), 0);
    for (uint64_t goff = 0; goff < 220 * K; goff += 40 * K)
        assert_int_equal(engine_write(&engine, goff, 20 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_seal(engine.image, NULL), 0);
    knows_its_metadata(engine.store, engine.image);
    engine_done(&engine);
}

static void new_images_know_where_their_metadata_lies(void **state)
{
    (void)state;
    new_image_knows(256 * K);
    new_image_knows(160 * M);
}

static void grown_image_knows_where_its_metadata_lies(void **state)
{
    const struct byre_qcow2_create_options options = {
        .size = 256 * K, .version = 3, .cluster_bits = 9, .refcount_order = 6,
    };
    struct engine engine;

    (void)state;
    engine_new(&engine, &options, 0, 0);
    assert_int_equal(engine_write(&engine, 0, 40 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_grow(engine.image, 160 * M, 0, BYRE_PREALLOC_OFF, NULL), 0);
    assert_int_equal(engine_write(&engine, 100 * M, 40 * K, 'a'), 0);
    knows_its_metadata(engine.store, engine.image);
    /* Beyond what the refcount table can count. */
    assert_int_equal(engine_write(&engine, 1 * M, 2 * M, 'b'), 0);
    assert_true(byre_qcow2_header(engine.image)->reftable_clusters > 1);
    knows_its_metadata(engine.store, engine.image);
    engine_done(&engine);
}

/* An L2 table that no refcount block counts, at `hoff`: writing stops before something else is put there. */
static void table_without_block_is_not_overwritten(uint64_t hoff, uint64_t device_size)
{
    const struct byre_qcow2_create_options options = {
        .size = 4 * M, .version = 3, .cluster_bits = 9, .refcount_order = 6,
    };
    struct byre_qcow2_open_options open_options = { .writable = true };
    struct engine engine;
    uint64_t goff = 0, l1;
    char text[100];
    int rc;

    engine_new(&engine, &options, device_size, 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    l1 = get64(&engine, AT_L1);
    put64(&engine, l1 + (4 * M / (32 * K) - 1) * 8, hoff | COPIED);
    put64(&engine, hoff + 504, 0x12345601);
    assert_int_equal(byre_qcow2_open(engine.store, &open_options, &engine.image, NULL), 0);
    do {
        rc = engine_write(&engine, goff, 2 * K, 'a');
        goff += 2 * K;
    } while (rc == 0 && goff < 3 * M);
    assert_int_equal(rc, -EIO);
    snprintf(text, sizeof text, "the refcount of host cluster %llu is 0, but the L2 table lies there",
             (unsigned long long)hoff / 512);
    assert_non_null(strstr(engine.err.text, text));
    assert_int_equal(get64(&engine, hoff + 504), 0x12345601);
    (void)byre_qcow2_close(engine.image, NULL);
    assert_int_equal(get64(&engine, hoff + 504), 0x12345601);
    byre_store_close(engine.store);
}

static void new_refcount_block_is_not_put_on_metadata(void **state)
{
    (void)state;
    table_without_block_is_not_overwritten(3 * 32 * K, 0);
}

static void grown_refcount_table_is_not_put_on_metadata(void **state)
{
    (void)state;
    table_without_block_is_not_overwritten(2 * M, 3 * M);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wait_for_a_reader_that_stays_ends),
        cmocka_unit_test(full_disk_costs_no_commits),
        cmocka_unit_test(room_that_another_thread_has_made_is_used),
        cmocka_unit_test(frees_that_cannot_be_committed_are_bounded),
        cmocka_unit_test(new_images_know_where_their_metadata_lies),
        cmocka_unit_test(grown_image_knows_where_its_metadata_lies),
        cmocka_unit_test(new_refcount_block_is_not_put_on_metadata),
        cmocka_unit_test(grown_refcount_table_is_not_put_on_metadata),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
