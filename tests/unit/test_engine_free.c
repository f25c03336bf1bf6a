/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When a freed cluster may be used again: after a commit, after its last reader, and at once when there is no
 * other room.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "byre/disk.h"
#include "engine_image.h"

#define K 1024ULL

/* Four clusters of 'a' at 0, everything durable; returns where they are. */
static uint64_t four_clusters(struct engine *engine)
{
    engine_plain(engine, 12, 256 * K);
    assert_int_equal(engine_write(engine, 0, 16 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_flush(engine->image, NULL), 0);
    return engine_extent(engine, 0).hoff;
}

/* Where a new cluster goes. */
static uint64_t next_place(struct engine *engine, uint64_t goff)
{
    assert_int_equal(engine_write(engine, goff, 4 * K, 'n'), 0);
    return engine_extent(engine, goff).hoff;
}

static void freed_cluster_waits_for_the_commit(void **state)
{
    struct engine engine;
    uint64_t place = four_clusters(&engine);

    (void)state;
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 4 * K, NULL), 0);
    assert_int_not_equal(next_place(&engine, 100 * K), place);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_int_equal(next_place(&engine, 120 * K), place);
    engine_done(&engine);
}

static void freed_cluster_waits_for_its_last_reader(void **state)
{
    struct engine engine;
    uint64_t place = four_clusters(&engine), ticket;
    struct byre_epoch *epoch = byre_qcow2_epoch(engine.image);

    (void)state;
    ticket = byre_epoch_enter(epoch);
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 4 * K, NULL), 0);
    for (uint64_t i = 0; i < 5; i++) {
        uint8_t byte = 0;

        assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
        assert_int_not_equal(next_place(&engine, (64 + 4 * i) * K), place);
        assert_int_equal(byre_store_pread(engine.store, &byte, 1, place, NULL), 0);
        assert_int_equal(byte, 'a');
    }
    byre_epoch_leave(epoch, ticket);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_int_equal(next_place(&engine, 200 * K), place);
    engine_done(&engine);
}

static void discard_within_a_commit(void *opaque, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    struct engine *engine = opaque;

    (void)hoff;
    (void)length;
    if (kind != RECORD_FLUSH)
        return;
    record_store_hook(engine->store, NULL, NULL);
    assert_int_equal(byre_qcow2_discard(engine->image, 4 * K, 4 * K, NULL), 0);
}

/* Frees that are joined to one run wait for the readers of the youngest. */
static void neighbour_freed_earlier_does_not_shorten_the_wait(void **state)
{
    struct engine engine;
    uint64_t place = four_clusters(&engine), ticket;
    struct byre_epoch *epoch = byre_qcow2_epoch(engine.image);

    (void)state;
    /* The first cluster's free ends its epoch; the second one's was noted before, for the next commit. */
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 4 * K, NULL), 0);
    record_store_hook(engine.store, discard_within_a_commit, &engine);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    ticket = byre_epoch_enter(epoch);
    assert_int_equal(engine_extent(&engine, 8 * K).hoff, place + 8 * K);
    assert_int_equal(byre_qcow2_discard(engine.image, 8 * K, 4 * K, NULL), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_not_equal(next_place(&engine, (64 + 4 * i) * K), place + 8 * K);
    byre_epoch_leave(epoch, ticket);
    engine_done(&engine);
}

/* Readers that came after the discard cannot know the place. */
static void later_readers_do_not_delay_the_reuse(void **state)
{
    struct engine engine;
    uint64_t place = four_clusters(&engine), first, second;
    struct byre_epoch *epoch = byre_qcow2_epoch(engine.image);

    (void)state;
    first = byre_epoch_enter(epoch);
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 4 * K, NULL), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    second = byre_epoch_enter(epoch);
    byre_epoch_leave(epoch, first);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_int_equal(next_place(&engine, 64 * K), place);
    byre_epoch_leave(epoch, second);
    engine_done(&engine);
}

static void space_is_given_back_before_it_is_used_again(void **state)
{
    struct engine engine;
    uint64_t place = four_clusters(&engine);
    size_t discards = 0;

    (void)state;
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 8 * K, NULL), 0);
    assert_int_equal(record_store_restart(engine.store), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    for (size_t i = 0; i < record_store_count(engine.store); i++) {
        const struct record_call *call = record_store_call(engine.store, i);

        if (call->kind != RECORD_DISCARD)
            continue;
        discards++;
        assert_int_equal(call->hoff, place);
        assert_int_equal(call->length, 8 * K);
        /* The removal is durable by then. */
        assert_int_equal(record_store_durable(engine.store, i), i);
    }
    assert_int_equal(discards, 1);
    /* Zeros without unmapping keep theirs. */
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 8 * K, 8 * K, 0, NULL), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_int_equal(engine_extent(&engine, 8 * K).hoff, place + 8 * K);
    engine_done(&engine);
}

/* --- a device that is full --- */

struct full {
    struct engine engine;
    uint64_t used; /* the guest's bytes that are written */
};

/* Fills a device of 32 clusters of 4 KiB; the L2 table is there. */
static void fill_device(struct full *full, const char *backing)
{
    struct engine *engine = &full->engine;

    engine_new(engine,
               &(struct byre_qcow2_create_options){
                   .size = 4096 * K, .version = 3, .cluster_bits = 12, .refcount_order = 4,
                   .backing_name = backing, .backing_format = backing ? "raw" : NULL,
               },
               128 * K, 0);
    for (full->used = 0; engine_write(engine, full->used, 4 * K, 'a') == 0;)
        full->used += 4 * K;
    assert_int_equal(engine->err.code, -ENOSPC);
    assert_true(full->used > 64 * K && full->used < 128 * K);
    assert_int_equal(byre_qcow2_flush(engine->image, NULL), 0);
}

static void no_allocation_crosses_the_end_of_a_device(void **state)
{
    struct full full;

    (void)state;
    fill_device(&full, NULL);
    assert_int_equal(engine_write(&full.engine, 1000 * K, 4 * K, 'b'), -ENOSPC);
    /* What is there can still be overwritten. */
    assert_int_equal(engine_write(&full.engine, 0, full.used, 'c'), 0);
    assert_int_equal(engine_byte(&full.engine, full.used - 1), 'c');
    for (uint64_t goff = 0; goff < full.used; goff += 4 * K)
        assert_true(engine_extent(&full.engine, goff).hoff + 4 * K <= 128 * K);
    engine_done(&full.engine);
}

static void write_without_room_commits_the_frees(void **state)
{
    struct full full;

    (void)state;
    fill_device(&full, NULL);
    assert_int_equal(byre_qcow2_discard(full.engine.image, 0, 8 * K, NULL), 0);
    assert_int_equal(engine_write(&full.engine, full.used, 8 * K, 'b'), 0);
    assert_int_equal(engine_byte(&full.engine, full.used + 8 * K - 1), 'b');
    assert_int_equal(engine_write(&full.engine, 0, 1, 'b'), -ENOSPC);
    engine_done(&full.engine);
}

static void compressing_without_room_commits_the_frees(void **state)
{
    struct byre_qcow2_compressed item = { .data = "0123456789", .length = 10 };
    struct full full;

    (void)state;
    fill_device(&full, NULL);
    item.goff = full.used;
    assert_int_equal(byre_qcow2_reserve_compressed(full.engine.image, &item, 1, NULL), -ENOSPC);
    assert_int_equal(byre_qcow2_discard(full.engine.image, 0, 8 * K, NULL), 0);
    assert_int_equal(byre_qcow2_reserve_compressed(full.engine.image, &item, 1, NULL), 0);
    byre_qcow2_abandon_compressed(full.engine.image, &item, 1);
    engine_done(&full.engine);
}

/* Zeros over a backing file need an L2 table, here a new one. */
static void zeroing_without_room_commits_the_frees(void **state)
{
    struct full full;

    (void)state;
    fill_device(&full, "below");
    assert_int_equal(byre_qcow2_write_zeroes(full.engine.image, 2048 * K, 4 * K, 0, NULL), -ENOSPC);
    assert_int_equal(byre_qcow2_discard(full.engine.image, 0, 8 * K, NULL), 0);
    assert_int_equal(byre_qcow2_write_zeroes(full.engine.image, 2048 * K, 4 * K, 0, NULL), 0);
    assert_int_equal(engine_extent(&full.engine, 2048 * K).kind, BYRE_EXTENT_ZERO);
    assert_int_equal(byre_qcow2_discard(full.engine.image, 8 * K, 4 * K, NULL), 0);
    engine_done(&full.engine);
}

/* A reader that leaves when a commit has come to its last barrier. */
struct reader {
    struct engine *engine;
    uint64_t ticket;
    pthread_mutex_t mutex;
    pthread_cond_t flushed;
    unsigned flushes;
};

static void count_flush(void *opaque, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    struct reader *reader = opaque;

    (void)hoff;
    (void)length;
    if (kind != RECORD_FLUSH)
        return;
    pthread_mutex_lock(&reader->mutex);
    reader->flushes++;
    pthread_cond_broadcast(&reader->flushed);
    pthread_mutex_unlock(&reader->mutex);
}

static void *read_for_a_while(void *opaque)
{
    struct reader *reader = opaque;

    pthread_mutex_lock(&reader->mutex);
    while (reader->flushes < 2)
        pthread_cond_wait(&reader->flushed, &reader->mutex);
    pthread_mutex_unlock(&reader->mutex);
    /* Past the commit, whose end takes the engine's lock first. */
    (void)engine_extent(reader->engine, 16 * K);
    byre_epoch_leave(byre_qcow2_epoch(reader->engine->image), reader->ticket);
    return NULL;
}

static void write_without_room_waits_for_readers(void **state)
{
    struct full full;
    struct reader reader = { .engine = &full.engine };
    pthread_t thread;

    (void)state;
    alarm(120);
    fill_device(&full, NULL);
    pthread_mutex_init(&reader.mutex, NULL);
    pthread_cond_init(&reader.flushed, NULL);
    reader.ticket = byre_epoch_enter(byre_qcow2_epoch(full.engine.image));
    record_store_hook(full.engine.store, count_flush, &reader);
    assert_int_equal(pthread_create(&thread, NULL, read_for_a_while, &reader), 0);
    assert_int_equal(byre_qcow2_discard(full.engine.image, 0, 4 * K, NULL), 0);
    assert_int_equal(engine_write(&full.engine, full.used, 4 * K, 'b'), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    record_store_hook(full.engine.store, NULL, NULL);
    engine_done(&full.engine);
    pthread_cond_destroy(&reader.flushed);
    pthread_mutex_destroy(&reader.mutex);
    alarm(0);
}

/* A file system without room: what was freed has its space already. */
static void write_that_cannot_grow_the_file_uses_what_was_freed(void **state)
{
    struct record_fault full = { .kinds = RECORD_WRITE, .nth = 1, .for_ever = true, .code = -ENOSPC };
    struct engine engine;
    uint64_t place = four_clusters(&engine);

    (void)state;
    record_store_fail(engine.store, &full);
    assert_int_equal(engine_write(&engine, 100 * K, 4 * K, 'b'), -ENOSPC);
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 8 * K, NULL), 0);
    full.for_ever = false;
    record_store_fail(engine.store, &full);
    assert_int_equal(engine_write(&engine, 100 * K, 8 * K, 'b'), 0);
    assert_int_equal(record_store_faults(engine.store), 1);
    assert_int_equal(engine_extent(&engine, 100 * K).hoff, place);
    assert_int_equal(engine_byte(&engine, 108 * K - 1), 'b');
    engine_done(&engine);
}

/* Appending ends where there is nothing left to append to. */
static void appending_goes_back_when_the_device_ends(void **state)
{
    struct full full;

    (void)state;
    fill_device(&full, NULL);
    assert_int_equal(byre_qcow2_discard(full.engine.image, 0, 16 * K, NULL), 0);
    assert_int_equal(byre_qcow2_flush(full.engine.image, NULL), 0);
    byre_qcow2_set_append_only(full.engine.image, true);
    assert_int_equal(engine_write(&full.engine, 0, 8 * K, 'b'), 0);
    assert_int_equal(byre_qcow2_discard(full.engine.image, 0, 8 * K, NULL), 0);
    assert_int_equal(engine_write(&full.engine, 16 * K, 32 * K, 'c'), 0);
    assert_int_equal(engine_write(&full.engine, 0, 16 * K, 'd'), 0);
    engine_done(&full.engine);
}

/* A truncated image maps a cluster past the end of its file.  Somebody writes there, as to any exclusive data. */
static void freed_cluster_past_the_end_is_not_taken_for_zeros(void **state)
{
    const struct byre_qcow2_open_options writable = { .writable = true };
    struct byre_qcow2_compressed item = { .data = "0123456789", .length = 10 };
    uint8_t stale[4 * K];
    struct engine engine;
    uint64_t place = four_clusters(&engine) + 12 * K;

    (void)state;
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(byre_store_truncate(engine.store, place, NULL), 0);
    assert_int_equal(byre_qcow2_open(engine.store, &writable, &engine.image, NULL), 0);
    assert_int_equal(engine_extent(&engine, 12 * K).hoff, place);
    memset(stale, 's', sizeof stale);
    assert_int_equal(byre_store_pwrite(engine.store, stale, sizeof stale, place, NULL), 0);

    /* A compressed cluster takes its place in the map, and one that was freed in the store. */
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 4 * K, NULL), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    item.goff = 12 * K;
    assert_int_equal(byre_qcow2_reserve_compressed(engine.image, &item, 1, NULL), 0);
    assert_int_equal(byre_qcow2_fill_compressed(engine.image, &item, 1, NULL), 0);
    assert_int_equal(byre_qcow2_publish_compressed(engine.image, &item, 1, NULL), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);

    for (uint64_t goff = 100 * K; goff < 112 * K; goff += 4 * K) {
        assert_int_equal(engine_write(&engine, goff, 1, 'n'), 0);
        assert_int_equal(engine_byte(&engine, goff + 4 * K - 1), 0);
    }
    engine_done(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freed_cluster_waits_for_the_commit),
        cmocka_unit_test(freed_cluster_waits_for_its_last_reader),
        cmocka_unit_test(neighbour_freed_earlier_does_not_shorten_the_wait),
        cmocka_unit_test(later_readers_do_not_delay_the_reuse),
        cmocka_unit_test(space_is_given_back_before_it_is_used_again),
        cmocka_unit_test(no_allocation_crosses_the_end_of_a_device),
        cmocka_unit_test(write_without_room_commits_the_frees),
        cmocka_unit_test(compressing_without_room_commits_the_frees),
        cmocka_unit_test(zeroing_without_room_commits_the_frees),
        cmocka_unit_test(write_without_room_waits_for_readers),
        cmocka_unit_test(write_that_cannot_grow_the_file_uses_what_was_freed),
        cmocka_unit_test(appending_goes_back_when_the_device_ends),
        cmocka_unit_test(freed_cluster_past_the_end_is_not_taken_for_zeros),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
