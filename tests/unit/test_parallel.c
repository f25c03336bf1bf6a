/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What goes on side by side: writes that allocate, each with its data under way, and flushes that share their barriers.
 * Counted in the store, where threads wait for each other: nothing depends on how fast anything is.
 */
#include "config.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "byre/queue.h"
#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

enum { CLUSTER = 64 << 10, WRITERS = 4, FLUSHERS = 8, WAIT_S = 120, YIELDS = 10000 };

static struct byre_disk *disk;

/* The top layer's store: who writes there waits until so many do, and who flushes until he is let through. */
static struct {
    struct byre_store_ops ops;
    const struct byre_store_ops *real;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    unsigned wanted, inside, most; /* writes: to be there at the same time; there; at most there at a time */
    bool too_late;                 /* somebody has waited in vain */
    bool gate;                     /* flushes wait */
    unsigned flushes, announced;   /* flushes that came; flushers that are about to */
} meeting;

static int meet_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct timespec deadline;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += WAIT_S;
    pthread_mutex_lock(&meeting.mutex);
    meeting.inside++;
    meeting.most = MAX(meeting.most, meeting.inside);
    pthread_cond_broadcast(&meeting.moved);
    while (meeting.most < meeting.wanted && !meeting.too_late)
        meeting.too_late = pthread_cond_timedwait(&meeting.moved, &meeting.mutex, &deadline) != 0;
    meeting.inside--;
    pthread_mutex_unlock(&meeting.mutex);
    return meeting.real->pwritev(store, iov, iov_count, hoff);
}

static int meet_flush(struct byre_store *store)
{
    pthread_mutex_lock(&meeting.mutex);
    meeting.flushes++;
    pthread_cond_broadcast(&meeting.moved);
    while (meeting.gate)
        pthread_cond_wait(&meeting.moved, &meeting.mutex);
    pthread_mutex_unlock(&meeting.mutex);
    return meeting.real->flush(store);
}

/* An image on a full backing file whose tables are there, so that nothing but data is written until a flush. */
static void begin(void)
{
    make_image(path("base"), 16 * M, CLUSTER, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, 16 * M, 1);
    close_disk(disk);
    make_image(path("x"), 16 * M, CLUSTER, "base", "qcow2");
    disk = open_disk(path("x"), true);
    put(disk, 15 * M, CLUSTER, 2);
    must(byre_flush(disk, err));
    memset(&meeting, 0, sizeof meeting);
    pthread_mutex_init(&meeting.mutex, NULL);
    pthread_cond_init(&meeting.moved, NULL);
    meeting.real = disk->layers[0].store->ops;
    meeting.ops = *meeting.real;
    meeting.ops.pwritev = meet_pwritev;
    meeting.ops.flush = meet_flush;
    disk->layers[0].store->ops = &meeting.ops;
}

static void end(void)
{
    disk->layers[0].store->ops = meeting.real;
    close_disk(disk);
    pthread_cond_destroy(&meeting.moved);
    pthread_mutex_destroy(&meeting.mutex);
}

/* --- writes ---------------------------------------------------------------------------------------------- */

static uint64_t place_of(unsigned writer)
{
    return (uint64_t)writer * CLUSTER + 4096;
}

static void *allocate(void *opaque)
{
    unsigned writer = (unsigned)(uintptr_t)opaque;
    uint8_t buf[4096];

    memset(buf, 10 + (int)writer, sizeof buf);
    return (void *)(intptr_t)byre_pwrite(disk, buf, sizeof buf, place_of(writer), NULL);
}

static void judge_writes(void)
{
    assert_false(meeting.too_late);
    assert_int_equal(meeting.most, WRITERS);
    for (unsigned i = 0; i < WRITERS; i++) {
        expect(disk, i * (uint64_t)CLUSTER, 4096, 1);
        expect(disk, place_of(i), 4096, 10 + (int)i);
        expect(disk, place_of(i) + 4096, CLUSTER - 8192, 1);
    }
}

static void threads_that_allocate_write_side_by_side(void **state)
{
    pthread_t threads[WRITERS];

    (void)state;
    begin();
    meeting.wanted = WRITERS;
    for (uintptr_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, allocate, (void *)i), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        void *result;

        pthread_join(threads[i], &result);
        assert_int_equal((intptr_t)result, 0);
    }
    judge_writes();
    end();
}

static void requests_that_allocate_write_side_by_side(void **state)
{
    struct byre_request requests[WRITERS];
    struct byre_completion done[WRITERS];
    struct iovec iov[WRITERS];
    uint8_t bufs[WRITERS][4096];
    struct byre_workers *workers;
    struct byre_queue *queue;

    (void)state;
    begin();
    meeting.wanted = WRITERS;
    must(byre_workers_new(WRITERS, &workers, err));
    must(byre_queue_new(disk, workers, &(struct byre_queue_options){ .depth = WRITERS }, &queue, err));
    for (unsigned i = 0; i < WRITERS; i++) {
        memset(bufs[i], 10 + (int)i, sizeof bufs[i]);
        iov[i] = (struct iovec){ bufs[i], sizeof bufs[i] };
        requests[i] = (struct byre_request){
            .op = BYRE_OP_WRITE, .goff = place_of(i), .length = sizeof bufs[i], .iov = &iov[i], .iov_count = 1,
        };
    }
    assert_int_equal(byre_queue_submit(queue, requests, WRITERS), WRITERS);
    assert_int_equal(byre_queue_reap(queue, done, WRITERS, WRITERS, -1), WRITERS);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(done[i].result, 0);
    byre_queue_free(queue);
    byre_workers_free(workers);
    judge_writes();
    end();
}

/* --- flushes --------------------------------------------------------------------------------------------- */

static void *flush(void *opaque)
{
    (void)opaque;
    return (void *)(intptr_t)byre_flush(disk, NULL);
}

static void *allocate_and_flush(void *opaque)
{
    intptr_t r = (intptr_t)allocate(opaque);

    pthread_mutex_lock(&meeting.mutex);
    meeting.announced++;
    pthread_cond_broadcast(&meeting.moved);
    pthread_mutex_unlock(&meeting.mutex);
    return (void *)(r ? r : (intptr_t)byre_flush(disk, NULL));
}

/* Waits until the two numbers have been reached. */
static void await_numbers(unsigned flushes, unsigned announced)
{
    pthread_mutex_lock(&meeting.mutex);
    while (meeting.flushes < flushes || meeting.announced < announced)
        pthread_cond_wait(&meeting.moved, &meeting.mutex);
    pthread_mutex_unlock(&meeting.mutex);
}

/*
 * While a commit waits at its first barrier many write and flush.  None of them is in that commit.  One commit does for
 * all of them: of two barriers, as the one before.  Somebody who has not come as far yet may need one more.
 */
static void flushes_share_their_barriers(void **state)
{
    pthread_t first, threads[FLUSHERS];
    void *result;

    (void)state;
    begin();
    put(disk, 14 * M, CLUSTER, 3);
    meeting.gate = true;
    assert_int_equal(pthread_create(&first, NULL, flush, NULL), 0);
    await_numbers(1, 0);
    for (uintptr_t i = 0; i < FLUSHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, allocate_and_flush, (void *)i), 0);
    await_numbers(1, FLUSHERS);
    for (int i = 0; i < YIELDS; i++)
        sched_yield();
    assert_int_equal(meeting.flushes, 1);
    pthread_mutex_lock(&meeting.mutex);
    meeting.gate = false;
    pthread_cond_broadcast(&meeting.moved);
    pthread_mutex_unlock(&meeting.mutex);
    pthread_join(first, &result);
    assert_int_equal((intptr_t)result, 0);
    for (unsigned i = 0; i < FLUSHERS; i++) {
        pthread_join(threads[i], &result);
        assert_int_equal((intptr_t)result, 0);
    }
    printf("barriers of %d flushes: %u\n", 1 + FLUSHERS, meeting.flushes);
    assert_in_range(meeting.flushes, 4, 6);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(threads_that_allocate_write_side_by_side),
        TEST(requests_that_allocate_write_side_by_side),
        TEST(flushes_share_their_barriers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
