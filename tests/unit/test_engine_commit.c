/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commits: what a flush costs and covers, who may share one, when one starts by itself, and the dirty bit.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_image.h"

#define K 1024ULL

static size_t count_flushes(struct engine *engine)
{
    size_t flushes = 0;

    for (size_t i = 0; i < record_store_count(engine->store); i++)
        flushes += record_store_call(engine->store, i)->kind == RECORD_FLUSH;
    return flushes;
}

/* Flushes, and expects this many barriers. */
static void assert_barriers(struct engine *engine, size_t barriers)
{
    assert_int_equal(record_store_restart(engine->store), 0);
    assert_int_equal(byre_qcow2_flush(engine->image, &engine->err), 0);
    assert_int_equal(count_flushes(engine), barriers);
}

static void flush_costs_the_barriers_that_it_needs(void **state)
{
    struct engine engine;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    assert_int_equal(engine_write(&engine, 0, 8 * K, 'a'), 0);
    assert_barriers(&engine, 2);
    /* Written in place: the data alone. */
    assert_int_equal(engine_write(&engine, 0, 8 * K, 'b'), 0);
    assert_barriers(&engine, 1);
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 4 * K, NULL), 0);
    assert_barriers(&engine, 2);
    engine_done(&engine);
}

static void new_refcount_block_costs_one_more_barrier(void **state)
{
    struct engine engine;

    (void)state;
    engine_new(&engine,
               &(struct byre_qcow2_create_options){
                   .size = 256 * K, .version = 3, .cluster_bits = 9, .refcount_order = 6,
               },
               0, 0);
    assert_int_equal(engine_write(&engine, 0, 40 * K, 'a'), 0);
    assert_barriers(&engine, 3);
    assert_int_equal(engine_write(&engine, 0, 40 * K, 'b'), 0);
    assert_barriers(&engine, 1);
    engine_done(&engine);
}

/* The smallest cache: metadata does not pile up, whether or not anybody flushes. */
static void full_cache_starts_commits(void **state)
{
    struct engine engine;

    (void)state;
    engine_new(&engine,
               &(struct byre_qcow2_create_options){
                   .size = 16384 * K, .version = 3, .cluster_bits = 9, .refcount_order = 4,
               },
               0, 1);
    /* Each in an L2 table of its own. */
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(engine_write(&engine, i * 32 * K, 512, 'a'), 0);
    assert_true(count_flushes(&engine) >= 2 * 100 / 16);
    assert_true(count_flushes(&engine) <= 2 * 100);
    engine_done(&engine);
}

/* --- failures --- */

/* Fails the n-th write of the first flush; is the image still writable then? */
static bool survives_failed_write(uint64_t nth, int code)
{
    struct engine engine;
    bool writable;

    engine_plain(&engine, 12, 256 * K);
    assert_int_equal(engine_write(&engine, 0, 8 * K, 'a'), 0);
    record_store_fail(engine.store, &(struct record_fault){
        .kinds = RECORD_WRITE, .nth = nth, .code = code,
    });
    assert_int_equal(byre_qcow2_flush(engine.image, &engine.err), code);
    assert_int_equal(record_store_faults(engine.store), 1);
    record_store_fail(engine.store, NULL);
    writable = byre_qcow2_check_writable(engine.image, NULL) == 0;
    assert_int_equal(engine_write(&engine, 8 * K, 512, 'b'), writable ? 0 : -EROFS);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL) == 0, writable);
    assert_int_equal(engine_byte(&engine, 0), 'a');
    assert_int_equal(byre_qcow2_close(engine.image, NULL) == 0, writable);
    byre_store_close(engine.store);
    return writable;
}

/* The writes are: the new L2 table, which nothing points to yet; refcounts; the L1 entry. */
static void failed_write_to_live_metadata_makes_read_only(void **state)
{
    (void)state;
    assert_true(survives_failed_write(1, -EIO));
    assert_false(survives_failed_write(2, -EIO));
    assert_false(survives_failed_write(3, -EIO));
    /* No room for refcounts, in a file with holes: what was written of them is true. */
    assert_true(survives_failed_write(2, -ENOSPC));
    assert_false(survives_failed_write(3, -ENOSPC));
}

/* With the smallest cache writes start commits.  One that fails loses nothing, and the write has happened. */
static void failed_commit_for_the_cache_is_not_the_failure_of_the_write(void **state)
{
    struct engine engine;
    uint64_t faults = 0;

    (void)state;
    engine_new(&engine,
               &(struct byre_qcow2_create_options){
                   .size = 16384 * K, .version = 3, .cluster_bits = 9, .refcount_order = 4,
               },
               0, 1);
    for (uint64_t i = 0; i < 30; i++) {
        /* The first two are the zeros of an L2 table and the data; the third is the commit's. */
        record_store_fail(engine.store, &(struct record_fault){ .kinds = RECORD_WRITE, .nth = 3, .code = -EIO });
        assert_int_equal(engine_write(&engine, i * 32 * K, 512, 'a'), 0);
        faults += record_store_faults(engine.store);
    }
    record_store_fail(engine.store, NULL);
    assert_true(faults > 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    for (uint64_t i = 0; i < 30; i++)
        assert_int_equal(engine_byte(&engine, i * 32 * K), 'a');
    engine_done(&engine);
}

/* A store that fails for good does not make metadata pile up for ever. */
static void commits_that_keep_failing_are_reported_in_the_end(void **state)
{
    struct engine engine;
    int rc = 0;

    (void)state;
    engine_new(&engine,
               &(struct byre_qcow2_create_options){
                   .size = 16384 * K, .version = 3, .cluster_bits = 9, .refcount_order = 4,
               },
               0, 1);
    for (uint64_t i = 0; rc == 0 && i < 100; i++) {
        record_store_fail(engine.store, &(struct record_fault){
            .kinds = RECORD_WRITE, .nth = 3, .for_ever = true, .code = -EIO,
        });
        rc = engine_write(&engine, i * 32 * K, 512, 'a');
    }
    assert_int_equal(rc, -EIO);
    record_store_fail(engine.store, NULL);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    engine_done(&engine);
}

/* --- who may share a commit --- */

struct meeting {
    struct engine *engine;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    unsigned flushes;     /* barriers that the first commit has come to */
    bool second_written;  /* the second thread has written, and is about to flush */
    bool second_done;
    pthread_t first;
};

static void meet(void *opaque, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    struct meeting *meeting = opaque;

    (void)hoff;
    (void)length;
    if (kind != RECORD_FLUSH || !pthread_equal(pthread_self(), meeting->first))
        return;
    pthread_mutex_lock(&meeting->mutex);
    if (meeting->flushes++ == 0) {
        pthread_cond_broadcast(&meeting->moved);
        while (!meeting->second_written)
            pthread_cond_wait(&meeting->moved, &meeting->mutex);
    }
    pthread_mutex_unlock(&meeting->mutex);
}

static void *flush_second(void *opaque)
{
    struct meeting *meeting = opaque;
    int rc;

    pthread_mutex_lock(&meeting->mutex);
    while (meeting->flushes == 0)
        pthread_cond_wait(&meeting->moved, &meeting->mutex);
    pthread_mutex_unlock(&meeting->mutex);
    rc = engine_write(meeting->engine, 128 * K, 4 * K, 's');
    pthread_mutex_lock(&meeting->mutex);
    meeting->second_written = true;
    pthread_cond_broadcast(&meeting->moved);
    pthread_mutex_unlock(&meeting->mutex);
    if (rc == 0)
        rc = byre_qcow2_flush(meeting->engine->image, NULL);
    meeting->second_done = rc == 0;
    return NULL;
}

/* What was written while a commit was under way is not in it: the flush has to wait for the next one. */
static void flush_does_not_join_a_commit_that_has_frozen(void **state)
{
    struct record_crash crash = { 0 };
    struct byre_qcow2_open_options options = { .writable = false };
    struct meeting meeting = { .mutex = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };
    struct engine engine, after;
    pthread_t second;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    meeting.engine = &engine;
    meeting.first = pthread_self();
    assert_int_equal(engine_write(&engine, 0, 4 * K, 'f'), 0);
    record_store_hook(engine.store, meet, &meeting);
    assert_int_equal(pthread_create(&second, NULL, flush_second, &meeting), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    pthread_join(second, NULL);
    record_store_hook(engine.store, NULL, NULL);
    assert_true(meeting.second_done);
    /* Both have returned: what is left after a crash has both. */
    crash.end = record_store_count(engine.store);
    crash.size_end = record_store_durable(engine.store, crash.end);
    crash.end = crash.size_end;
    assert_int_equal(record_store_rebuild(engine.store, &crash, &after.store), 0);
    assert_int_equal(byre_qcow2_open(after.store, &options, &after.image, NULL), 0);
    assert_int_equal(engine_byte(&after, 0), 'f');
    assert_int_equal(engine_byte(&after, 128 * K), 's');
    assert_int_equal(byre_qcow2_close(after.image, NULL), 0);
    byre_store_close(after.store);
    engine_done(&engine);
}

/* --- the dirty bit --- */

static bool is_dirty(const struct record_call *call)
{
    return call->bytes[BYRE_QCOW2_AT_INCOMPAT + 7] & BYRE_QCOW2_INCOMPAT_DIRTY;
}

static void lazy_image(struct engine *engine)
{
    engine_new(engine,
               &(struct byre_qcow2_create_options){
                   .size = 256 * K, .version = 3, .cluster_bits = 12, .refcount_order = 4,
                   .lazy_refcounts = true,
               },
               0, 0);
}

static void dirty_bit_is_durable_before_anything_else(void **state)
{
    struct engine engine;

    (void)state;
    lazy_image(&engine);
    assert_int_equal(engine_write(&engine, 0, 8 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_int_equal(record_store_call(engine.store, 0)->kind, RECORD_WRITE);
    assert_int_equal(record_store_call(engine.store, 0)->hoff, 0);
    assert_true(is_dirty(record_store_call(engine.store, 0)));
    assert_int_equal(record_store_call(engine.store, 1)->kind, RECORD_FLUSH);
    /* Once only. */
    for (size_t i = 2; i < record_store_count(engine.store); i++) {
        if (record_store_call(engine.store, i)->kind == RECORD_WRITE)
            assert_int_not_equal(record_store_call(engine.store, i)->hoff, 0);
    }
    engine_done(&engine);
}

static void dirty_bit_is_cleared_last(void **state)
{
    struct engine engine;
    size_t count;

    (void)state;
    lazy_image(&engine);
    assert_int_equal(engine_write(&engine, 0, 8 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    count = record_store_count(engine.store);
    assert_int_equal(record_store_call(engine.store, count - 1)->kind, RECORD_FLUSH);
    assert_int_equal(record_store_call(engine.store, count - 2)->kind, RECORD_WRITE);
    assert_int_equal(record_store_call(engine.store, count - 2)->hoff, 0);
    assert_false(is_dirty(record_store_call(engine.store, count - 2)));
    assert_int_equal(record_store_call(engine.store, count - 3)->kind, RECORD_FLUSH);
    engine_check(&engine);
    byre_store_close(engine.store);
}

static void failed_close_leaves_the_dirty_bit(void **state)
{
    struct byre_qcow2_header header;
    struct engine engine;

    (void)state;
    lazy_image(&engine);
    assert_int_equal(engine_write(&engine, 0, 8 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    record_store_fail(engine.store, &(struct record_fault){
        .kinds = RECORD_FLUSH, .nth = 1, .for_ever = true, .code = -EIO,
    });
    assert_int_equal(byre_qcow2_close(engine.image, NULL), -EIO);
    record_store_fail(engine.store, NULL);
    assert_int_equal(byre_qcow2_header_read(engine.store, &header, NULL), 0);
    assert_true(header.incompatible & BYRE_QCOW2_INCOMPAT_DIRTY);
    byre_qcow2_header_done(&header);
    byre_store_close(engine.store);
}

/* The file of some other tool may end within a cluster. */
static void file_that_ends_within_a_cluster_keeps_its_length(void **state)
{
    const struct byre_qcow2_open_options writable = { .writable = true };
    struct engine engine;
    uint64_t size, now;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    assert_int_equal(engine_write(&engine, 0, 8 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(byre_store_size(engine.store, &size, NULL), 0);
    size -= 3 * K;
    assert_int_equal(byre_store_truncate(engine.store, size, NULL), 0);
    assert_int_equal(byre_qcow2_open(engine.store, &writable, &engine.image, NULL), 0);
    assert_int_equal(engine_write(&engine, 0, 8 * K - 3 * K, 'b'), 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(byre_store_size(engine.store, &now, NULL), 0);
    assert_int_equal(now, size);
    assert_int_equal(byre_qcow2_open(engine.store, &writable, &engine.image, NULL), 0);
    assert_int_equal(engine_write(&engine, 100 * K, 512, 'c'), 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(byre_store_size(engine.store, &now, NULL), 0);
    assert_int_equal(now, size + 3 * K + 4 * K);
    engine_check(&engine);
    byre_store_close(engine.store);
}

/* What was written is not lost for want of room behind it. */
static void closing_commits_although_the_file_cannot_be_extended(void **state)
{
    const struct byre_qcow2_open_options writable = { .writable = true };
    struct byre_qcow2_compressed item = { .goff = 64 * K, .data = "0123456789", .length = 10 };
    struct engine engine;

    (void)state;
    engine_plain(&engine, 12, 256 * K);
    assert_int_equal(engine_write(&engine, 0, 4 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_reserve_compressed(engine.image, &item, 1, NULL), 0);
    assert_int_equal(byre_qcow2_fill_compressed(engine.image, &item, 1, NULL), 0);
    assert_int_equal(byre_qcow2_publish_compressed(engine.image, &item, 1, NULL), 0);
    record_store_fail(engine.store, &(struct record_fault){ .kinds = RECORD_TRUNCATE, .nth = 1, .code = -EFBIG });
    assert_int_equal(byre_qcow2_close(engine.image, &engine.err), -EFBIG);
    record_store_fail(engine.store, NULL);
    assert_int_equal(byre_qcow2_open(engine.store, &writable, &engine.image, NULL), 0);
    assert_int_equal(engine_byte(&engine, 0), 'a');
    assert_int_equal(engine_extent(&engine, 64 * K).kind, BYRE_EXTENT_COMPRESSED);
    engine_done(&engine);
}

/* An image that nobody writes to is not touched, lazy or not. */
static void opening_and_closing_writes_nothing(void **state)
{
    struct engine engine;

    (void)state;
    lazy_image(&engine);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    for (size_t i = 0; i < record_store_count(engine.store); i++)
        assert_int_equal(record_store_call(engine.store, i)->kind, RECORD_FLUSH);
    byre_store_close(engine.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flush_costs_the_barriers_that_it_needs),
        cmocka_unit_test(new_refcount_block_costs_one_more_barrier),
        cmocka_unit_test(full_cache_starts_commits),
        cmocka_unit_test(failed_write_to_live_metadata_makes_read_only),
        cmocka_unit_test(failed_commit_for_the_cache_is_not_the_failure_of_the_write),
        cmocka_unit_test(commits_that_keep_failing_are_reported_in_the_end),
        cmocka_unit_test(file_that_ends_within_a_cluster_keeps_its_length),
        cmocka_unit_test(closing_commits_although_the_file_cannot_be_extended),
        cmocka_unit_test(flush_does_not_join_a_commit_that_has_frozen),
        cmocka_unit_test(dirty_bit_is_durable_before_anything_else),
        cmocka_unit_test(dirty_bit_is_cleared_last),
        cmocka_unit_test(failed_close_leaves_the_dirty_bit),
        cmocka_unit_test(opening_and_closing_writes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
