/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues whose requests the kernel refuses, all or some of them, for a time or for ever: this program's io_uring_submit
 * stands before the library's, and hands over as many as it is told.
 */
#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "byre/queue.h"
#include "disk_fixture.h"

#ifdef HAVE_LIBURING

#include <liburing.h>

/* Too long to be moved at once: the ring has it. */
#define LENGTH (512u << 10)
#define DISK (8u << 20)

enum { DEPTH = 8, ROUNDS = 20, DEADLINE_MS = 120000 };

static struct {
    unsigned calls;   /* of io_uring_submit */
    unsigned allowed; /* requests that the kernel takes */
    int refusal;      /* what it says to the others */
    unsigned taken;
    bool forbidden;   /* no ring can be made */
    unsigned asked;   /* for a ring */
} kernel;

int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    int (*real)(unsigned, struct io_uring *, unsigned) =
        (int (*)(unsigned, struct io_uring *, unsigned))dlsym(RTLD_NEXT, "io_uring_queue_init");

    kernel.asked++;
    return kernel.forbidden ? -EPERM : real(entries, ring, flags);
}

int io_uring_submit(struct io_uring *ring)
{
    int (*real)(struct io_uring *) = (int (*)(struct io_uring *))dlsym(RTLD_NEXT, "io_uring_submit");
    unsigned offered = io_uring_sq_ready(ring), held = offered - MIN(offered, kernel.allowed);
    int taken;

    kernel.calls++;
    if (held == offered)
        return kernel.refusal;
    ring->sq.sqe_tail -= held;
    taken = real(ring);
    ring->sq.sqe_tail += held;
    assert_int_equal(taken, offered - held);
    kernel.allowed -= (unsigned)taken;
    kernel.taken += (unsigned)taken;
    return taken;
}

static struct byre_workers *workers;
static struct byre_disk *disk;
static struct byre_queue *queue;
static uint8_t bufs[DEPTH][LENGTH];

static void begin(void)
{
    disk = NULL;
    write_file(path("raw"), "", 0);
    assert_int_equal(truncate(path("raw"), DISK), 0);
    disk = open_disk(path("raw"), true);
    must(byre_workers_new(2, &workers, err));
    must(byre_queue_new(disk, workers, &(struct byre_queue_options){ .depth = DEPTH, .aio = BYRE_AIO_IO_URING }, &queue,
                        err));
}

static void end(void)
{
    byre_queue_free(queue);
    byre_workers_free(workers);
    close_disk(disk);
}

/* As many requests as there is room for, none of them on the guarded first sector: each is done, once. */
static void run_all(enum byre_op op, int byte)
{
    struct byre_request requests[DEPTH];
    struct byre_completion done[DEPTH];
    struct iovec iov[DEPTH];
    unsigned seen = 0;

    for (unsigned i = 0; i < DEPTH; i++) {
        memset(bufs[i], op == BYRE_OP_WRITE ? byte + (int)i : 0, LENGTH);
        iov[i] = (struct iovec){ bufs[i], LENGTH };
        requests[i] = (struct byre_request){
            .op = op, .goff = (uint64_t)(1 + i) * LENGTH, .length = LENGTH, .iov = &iov[i], .iov_count = 1,
            .cookie = &requests[i],
        };
    }
    assert_int_equal(byre_queue_submit(queue, requests, DEPTH), DEPTH);
    assert_int_equal(byre_queue_reap(queue, done, DEPTH, DEPTH, DEADLINE_MS), DEPTH);
    for (unsigned i = 0; i < DEPTH; i++) {
        assert_int_equal(done[i].result, 0);
        seen |= 1u << ((struct byre_request *)done[i].cookie - requests);
    }
    assert_int_equal(seen, (1u << DEPTH) - 1);
    assert_int_equal(byre_queue_pending(queue), 0);
    for (unsigned i = 0; i < DEPTH; i++) {
        assert_int_equal(bufs[i][0], (uint8_t)(byte + (int)i));
        assert_memory_equal(bufs[i], bufs[i] + 1, LENGTH - 1);
    }
}

/* True if queues have a ring here; the first requests of it are taken. */
static bool start(void)
{
    begin();
    memset(&kernel, 0, sizeof kernel);
    kernel.allowed = UINT_MAX;
    run_all(BYRE_OP_WRITE, 1);
    return kernel.taken > 0;
}

static void requests_that_the_kernel_refuses_are_done(void **state)
{
    static const int refusals[] = { -EAGAIN, -EBUSY, -ENOMEM, 0 };

    (void)state;
    if (!start()) {
        end();
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        kernel.allowed = 0;
        kernel.refusal = refusals[i];
        run_all(BYRE_OP_WRITE, 10 * (int)i);
        run_all(BYRE_OP_READ, 10 * (int)i);
    }
    end();
}

static void requests_that_the_kernel_takes_in_part_are_done(void **state)
{
    (void)state;
    if (!start()) {
        end();
        skip();
    }
    kernel.refusal = -EAGAIN;
    for (unsigned allowed = 0; allowed <= DEPTH; allowed++) {
        kernel.allowed = allowed;
        run_all(BYRE_OP_WRITE, 20 * (int)allowed);
        kernel.allowed = allowed / 2;
        run_all(BYRE_OP_READ, 20 * (int)allowed);
    }
    end();
}

static void without_a_ring_workers_do_it_all(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof kernel);
    kernel.forbidden = true;
    begin();
    assert_int_equal(kernel.asked, 1);
    for (int i = 0; i < ROUNDS; i++) {
        run_all(BYRE_OP_WRITE, i);
        run_all(BYRE_OP_READ, i);
    }
    assert_int_equal(kernel.calls, 0);
    end();
    kernel.forbidden = false;
}

/* What was refused does not clog the ring for ever, and is not done a second time. */
static void kernel_that_recovers_is_used_again(void **state)
{
    unsigned taken;

    (void)state;
    if (!start()) {
        end();
        skip();
    }
    kernel.allowed = 0;
    kernel.refusal = -ENOMEM;
    for (int i = 0; i < ROUNDS; i++)
        run_all(BYRE_OP_WRITE, i);
    kernel.allowed = UINT_MAX;
    run_all(BYRE_OP_READ, ROUNDS - 1);
    taken = kernel.taken;
    run_all(BYRE_OP_WRITE, 7);
    assert_int_equal(kernel.taken - taken, DEPTH);
    run_all(BYRE_OP_READ, 7);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_that_the_kernel_refuses_are_done),
        TEST(requests_that_the_kernel_takes_in_part_are_done),
        TEST(kernel_that_recovers_is_used_again),
        TEST(without_a_ring_workers_do_it_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    puts("SKIP: built without liburing");
    return 77;
}

#endif
