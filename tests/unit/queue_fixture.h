/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Workers, and queues on disks, for tests: set start_workers and end_workers as the group's set-up and tear-down.
 */
#ifndef TESTS_UNIT_QUEUE_FIXTURE_H
#define TESTS_UNIT_QUEUE_FIXTURE_H

#include "byre/queue.h"
#include "disk_fixture.h"

static struct byre_workers *workers;
static enum byre_aio aio; /* of new queues */

static inline int start_workers(void **state)
{
    (void)state;
    return byre_workers_new(4, &workers, NULL);
}

static inline int end_workers(void **state)
{
    (void)state;
    byre_workers_free(workers);
    return 0;
}

static inline struct byre_queue *new_queue(struct byre_disk *disk, unsigned depth)
{
    struct byre_queue *queue = NULL;

    must(byre_queue_new(disk, workers, &(struct byre_queue_options){ .depth = depth, .aio = aio }, &queue, err));
    return queue;
}

/* One request, waited for. */
static inline int run(struct byre_queue *queue, struct byre_request request)
{
    struct byre_completion completion;

    request.cookie = &completion;
    assert_int_equal(byre_queue_submit(queue, &request, 1), 1);
    assert_int_equal(byre_queue_reap(queue, &completion, 1, 1, 60000), 1);
    assert_ptr_equal(completion.cookie, &completion);
    assert_int_equal(byre_queue_pending(queue), 0);
    return completion.result;
}

static inline int move(struct byre_queue *queue, enum byre_op op, void *buf, size_t length, uint64_t goff)
{
    struct iovec iov = { buf, length };

    return run(queue, (struct byre_request){
        .op = op, .goff = goff, .length = length, .iov = &iov, .iov_count = 1,
    });
}

#endif
