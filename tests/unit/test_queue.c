/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues: random requests against a flat copy, from several threads, on raw files and chains; what is refused; what
 * waits.
 */
#include "config.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/endian.h"
#include "disk/queue_ring.h"
#include "disk_fixture.h"
#include "queue_fixture.h"

#define K 1024ULL
#define M (1024 * K)

/* --- against a flat copy --------------------------------------------------------------------------------- */

enum { LANES = 16, LANE = 96 << 10, THREADS = 3, STEPS = 1500 };

/* One request at a time in each lane, so that the copy is exact; many lanes at a time. */
struct lane {
    struct runner *runner;
    uint64_t start;
    uint8_t flat[LANE], buf[LANE];
    struct iovec iov[4];
    struct byre_request request;
    struct byre_error err;
    struct byre_places places;
    bool busy;
};

struct runner {
    struct byre_disk *disk;
    uint64_t random;
    pthread_t thread;
    struct lane lanes[LANES];
    const char *failure;
};

static unsigned pick(struct runner *runner, unsigned below)
{
    return (unsigned)(random_from(&runner->random) % below);
}

/* Cuts the buffer into pieces. */
static void make_vector(struct lane *lane, uint32_t at, uint32_t length)
{
    int count = 1 + (int)pick(lane->runner, 4);
    uint32_t done = 0;

    for (int i = 0; i < count; i++) {
        uint32_t part = i + 1 == count ? length - done : pick(lane->runner, length - done + 1);

        lane->iov[i] = (struct iovec){ lane->buf + at + done, part };
        done += part;
    }
    lane->request.iov = lane->iov;
    lane->request.iov_count = count;
}

static void start_one(struct lane *lane, struct byre_queue *queue)
{
    static const enum byre_op ops[] = { BYRE_OP_READ, BYRE_OP_READ, BYRE_OP_READ, BYRE_OP_WRITE, BYRE_OP_WRITE,
                                        BYRE_OP_WRITE_ZEROES, BYRE_OP_DISCARD, BYRE_OP_FLUSH };
    struct runner *runner = lane->runner;
    enum byre_op op = ops[pick(runner, ARRAY_LEN(ops))];
    uint32_t at = pick(runner, LANE), length = 1 + pick(runner, LANE - at);

    if (pick(runner, 2)) {
        at &= ~4095u;
        length = MAX(length & ~4095u, 1u);
    }
    lane->request = (struct byre_request){
        .op = op, .goff = lane->start + at, .length = length, .cookie = lane, .err = &lane->err,
    };
    make_vector(lane, at, length);
    if (op == BYRE_OP_WRITE) {
        for (uint32_t i = 0; i < length; i++)
            lane->flat[at + i] = lane->buf[at + i] = (uint8_t)(1 + (i + pick(runner, 2) * 7) % 251);
    } else {
        memset(lane->buf + at, 0xee, length);
    }
    if (op == BYRE_OP_WRITE_ZEROES)
        memset(lane->flat + at, 0, length);
    if (op == BYRE_OP_FLUSH)
        lane->request.goff = lane->request.length = 0;
    if (op == BYRE_OP_READ && pick(runner, 2))
        lane->request.places = &lane->places;
    lane->busy = true;
    if (byre_queue_submit(queue, &lane->request, 1) != 1)
        runner->failure = "a request was not taken";
}

/* The zeros that a read was told of, which the vector does not have. */
static void zero_lane(struct lane *lane)
{
    uint64_t at = lane->request.goff, end = at + lane->request.length;

    for (unsigned i = 0; i < lane->places.count; i++) {
        uint64_t goff = lane->places.list[i].goff, length = lane->places.list[i].length;
        uint8_t *to = lane->buf + (goff - lane->start);

        if (goff < at || length > end - goff || (i && goff == at) || length < BYRE_PLACE_ZERO_MIN) {
            lane->runner->failure = "zeros that are out of order, or elsewhere";
            return;
        }
        memset(to, 0, length);
        at = goff + length;
    }
}

static void end_one(const struct byre_completion *completion)
{
    struct lane *lane = completion->cookie;
    uint64_t at = lane->request.goff - lane->start;

    lane->busy = false;
    if (completion->result == 0 && lane->request.places)
        zero_lane(lane);
    if (completion->result < 0)
        lane->runner->failure = lane->err.text;
    else if (lane->request.op == BYRE_OP_READ && memcmp(lane->buf + at, lane->flat + at, lane->request.length) != 0)
        lane->runner->failure = "foreign data";
    else if (lane->request.op == BYRE_OP_DISCARD && byre_pread(lane->runner->disk, lane->flat + at,
                                                             lane->request.length, lane->request.goff, NULL) < 0)
        lane->runner->failure = "cannot read what was discarded";
}

static void *run_lanes(void *opaque)
{
    struct runner *runner = opaque;
    struct byre_queue *queue = new_queue(runner->disk, LANES);
    struct byre_completion done[LANES];
    unsigned count;

    for (int i = 0; i < STEPS && !runner->failure; i++) {
        for (unsigned l = 0; l < LANES && !runner->failure; l++) {
            if (!runner->lanes[l].busy)
                start_one(&runner->lanes[l], queue);
        }
        count = byre_queue_reap(queue, done, LANES, 1 + pick(runner, 3), -1);
        for (unsigned l = 0; l < count; l++)
            end_one(&done[l]);
    }
    byre_queue_drain(queue);
    count = byre_queue_reap(queue, done, LANES, 0, 0);
    for (unsigned l = 0; l < count; l++)
        end_one(&done[l]);
    if (byre_queue_pending(queue))
        runner->failure = "requests are left";
    byre_queue_free(queue);
    return NULL;
}

static struct runner runners[THREADS];

static void check_disk(struct byre_disk *disk)
{
    memset(runners, 0, sizeof runners);
    for (unsigned t = 0; t < THREADS; t++) {
        struct runner *runner = &runners[t];

        *runner = (struct runner){ .disk = disk, .random = random_below(UINT64_MAX) };
        for (unsigned l = 0; l < LANES; l++) {
            struct lane *lane = &runner->lanes[l];

            lane->runner = runner;
            lane->start = (uint64_t)(l * THREADS + t) * LANE;
            must(byre_pread(disk, lane->flat, LANE, lane->start, err));
        }
    }
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&runners[t].thread, NULL, run_lanes, &runners[t]), 0);
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(runners[t].thread, NULL), 0);
    for (unsigned t = 0; t < THREADS; t++) {
        if (runners[t].failure)
            fail_msg("thread %u: %s", t, runners[t].failure);
    }
}

static struct byre_disk *open_with(const char *name, enum byre_cache cache, uint64_t map_bytes)
{
    const struct byre_open_options options = { .writable = true, .cache = cache, .map_bytes = map_bytes };
    struct byre_disk *disk = NULL;

    must(byre_open(path(name), &options, &disk, err));
    return disk;
}

static void requests_do_what_blocking_calls_do(void **state)
{
    static const struct {
        uint32_t cluster_size;
        enum byre_cache cache;
        uint64_t map_bytes;
        enum byre_aio aio;
    } cases[] = {
        { 512, BYRE_CACHE_WRITEBACK, 20000, BYRE_AIO_IO_URING },
        { 4096, BYRE_CACHE_NONE, 0, BYRE_AIO_IO_URING },
        { 65536, BYRE_CACHE_WRITEBACK, 0, BYRE_AIO_THREADS },
    };
    const uint64_t size = (uint64_t)LANES * LANE * THREADS;
    struct byre_disk *disk;

    (void)state;
    random_start();
    write_file(path("raw"), "", 0);
    assert_int_equal(truncate(path("raw"), (off_t)size), 0);
    disk = open_with("raw", BYRE_CACHE_WRITEBACK, 0);
    check_disk(disk);
    close_disk(disk);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        make_image(path("base"), size, 4096, NULL, NULL);
        disk = open_with("base", BYRE_CACHE_WRITEBACK, 0);
        put(disk, 1 * M, 2 * M, 9);
        close_disk(disk);
        make_image(path("x"), size, cases[i].cluster_size, "base", "qcow2");
        disk = open_with("x", cases[i].cache, cases[i].map_bytes);
        aio = cases[i].aio;
        check_disk(disk);
        close_disk(disk);
    }
    aio = BYRE_AIO_IO_URING;
}

/* --- what is refused ------------------------------------------------------------------------------------- */

static void misuse_is_refused_and_changes_nothing(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk, *reader;
    struct byre_queue *queue;
    uint8_t buf[1024] = { 1 };
    struct iovec iov = { buf, sizeof buf };

    (void)state;
    make_image(path("x"), 64 * K, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    assert_int_equal(byre_queue_new(disk, workers, &(struct byre_queue_options){ 0 }, &queue, NULL), -EINVAL);
    assert_int_equal(byre_queue_new(disk, workers, &(struct byre_queue_options){ .depth = 65537 }, &queue, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "65537"));
    queue = new_queue(disk, 4);
    assert_int_equal(move(queue, BYRE_OP_WRITE, buf, sizeof buf, 64 * K - 512), -EINVAL);
    assert_int_equal(move(queue, BYRE_OP_READ, buf, sizeof buf, UINT64_MAX - 5), -EINVAL);
    assert_int_equal(move(queue, (enum byre_op)77, buf, sizeof buf, 0), -EINVAL);
    assert_int_equal(run(queue, (struct byre_request){ .op = BYRE_OP_READ, .flags = 1, .length = 512 }), -EINVAL);
    assert_int_equal(run(queue, (struct byre_request){ .op = BYRE_OP_WRITE, .flags = 1, .length = 512 }), -EINVAL);
    assert_int_equal(run(queue, (struct byre_request){
        .op = BYRE_OP_WRITE, .length = sizeof buf + 1, .iov = &iov, .iov_count = 1, .err = &err,
    }), -EINVAL);
    assert_string_equal(err.text, "the buffers are shorter than the request");
    expect(disk, 0, sizeof buf, 0);
    assert_int_equal(move(queue, BYRE_OP_WRITE, buf, 0, 0), 0);
    assert_int_equal(run(queue, (struct byre_request){ .op = BYRE_OP_FLUSH }), 0);
    byre_queue_free(queue);
    close_disk(disk);

    reader = open_disk(path("x"), false);
    queue = new_queue(reader, 4);
    assert_int_equal(move(queue, BYRE_OP_WRITE, buf, sizeof buf, 0), -EROFS);
    assert_int_equal(move(queue, BYRE_OP_DISCARD, buf, sizeof buf, 0), -EROFS);
    byre_queue_free(queue);
    close_disk(reader);
}

/* A raw disk that was taken for one because nothing else matched must stay one. */
static void guarded_sector_is_guarded(void **state)
{
    uint8_t sector[4096] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };
    const struct byre_open_options options = { .writable = true };
    struct byre_disk *disk = NULL;
    struct byre_queue *queue;

    (void)state;
    write_file(path("raw"), "", 0);
    assert_int_equal(truncate(path("raw"), 64 * K), 0);
    must(byre_open(path("raw"), &options, &disk, err));
    queue = new_queue(disk, 4);
    assert_int_equal(move(queue, BYRE_OP_WRITE, sector, sizeof sector, 0), -EPERM);
    assert_int_equal(move(queue, BYRE_OP_WRITE, sector, sizeof sector, 4096), 0);
    byre_queue_free(queue);
    close_disk(disk);
}

/* --- room, waiting, failures ----------------------------------------------------------------------------- */

static void queue_takes_as_many_as_it_has_room_for(void **state)
{
    struct byre_completion done[8];
    struct byre_request requests[8];
    struct byre_disk *disk;
    struct byre_queue *queue;

    (void)state;
    make_image(path("x"), 64 * K, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    queue = new_queue(disk, 5);
    for (unsigned i = 0; i < 8; i++)
        requests[i] = (struct byre_request){ .op = BYRE_OP_FLUSH, .cookie = &requests[i] };
    assert_int_equal(byre_queue_submit(queue, requests, 8), 5);
    assert_int_equal(byre_queue_submit(queue, requests, 8), 0);
    assert_int_equal(byre_queue_reap(queue, done, 2, 2, -1), 2);
    assert_int_equal(byre_queue_submit(queue, requests + 5, 3), 2);
    assert_int_equal(byre_queue_reap(queue, done, 8, 8, -1), 5); /* all there are */
    assert_int_equal(byre_queue_reap(queue, done, 8, 8, -1), 0);
    byre_queue_free(queue);
    close_disk(disk);
}

/* A read of tables that waits until it is told to go on. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void wait_at_gate(void)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

static void reaping_waits_no_longer_than_it_is_told(void **state)
{
    struct byre_completion done;
    uint8_t buf[4096] = { 1 };
    struct byre_disk *disk;
    struct byre_queue *queue;
    struct iovec iov = { buf, 512 };
    struct byre_request read = { .op = BYRE_OP_READ, .length = 512, .iov = &iov, .iov_count = 1 };
    struct pollfd pollfd = { .events = POLLIN };

    (void)state;
    make_image(path("x"), 64 * K, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 4096, 3);
    close_disk(disk);
    disk = open_disk(path("x"), true);
    queue = new_queue(disk, 4);
    pollfd.fd = byre_queue_fd(queue);
    assert_int_equal(byre_queue_reap(queue, &done, 1, 0, -1), 0);
    assert_int_equal(poll(&pollfd, 1, 0), 0);
    watch(disk->layers[0].store);
    watched.before_read = wait_at_gate;
    pthread_mutex_lock(&gate);
    /* Nothing is mapped yet, so a worker reads tables, and comes to the gate. */
    assert_int_equal(byre_queue_submit(queue, &read, 1), 1);
    assert_int_equal(byre_queue_reap(queue, &done, 1, 0, -1), 0);
    assert_int_equal(byre_queue_reap(queue, &done, 1, 1, 20), 0);
    assert_int_equal(poll(&pollfd, 1, 0), 0);
    pthread_mutex_unlock(&gate);
    assert_int_equal(poll(&pollfd, 1, 120000), 1);
    assert_int_equal(byre_queue_reap(queue, &done, 1, 1, -1), 1);
    assert_int_equal(done.result, 0);
    assert_int_equal(buf[0], 3);
    assert_int_equal(byre_queue_reap(queue, &done, 1, 0, 0), 0);
    assert_int_equal(poll(&pollfd, 1, 0), 0);
    unwatch();
    /* Known now, and done at once: the descriptor tells of it until it is reaped. */
    assert_int_equal(byre_queue_submit(queue, &read, 1), 1);
    assert_int_equal(poll(&pollfd, 1, 0), 1);
    assert_int_equal(byre_queue_reap(queue, &done, 1, 0, 0), 1);
    assert_int_equal(poll(&pollfd, 1, 0), 0);
    byre_queue_free(queue);
    close_disk(disk);
}

static void failure_is_told_with_its_message(void **state)
{
    const uint8_t bad[8] = { 0x80, 0, 0, 0, 0, 0, 0x12, 0 };
    struct byre_error err = BYRE_ERROR_INIT;
    uint8_t buf[512], entry[8];
    struct iovec iov = { buf, sizeof buf };
    struct byre_disk *disk;
    struct byre_queue *queue;

    (void)state;
    make_image(path("x"), 64 * K, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 64 * K, 3);
    must(byre_flush(disk, err));
    must(byre_store_pread(disk->layers[0].store, entry, sizeof entry,
                          byre_qcow2_header(disk->layers[0].qcow2)->l1_hoff, err));
    must(byre_store_pwrite(disk->layers[0].store, bad, sizeof bad,
                           (byre_get_be64(entry) & 0x00fffffffffffe00ULL) + 5 * 8, err));
    close_disk(disk);
    disk = open_disk(path("x"), false);
    queue = new_queue(disk, 4);
    assert_int_equal(run(queue, (struct byre_request){
        .op = BYRE_OP_READ, .goff = 5 * 4096, .length = 512, .iov = &iov, .iov_count = 1, .err = &err,
    }), -EIO);
    assert_non_null(strstr(err.text, "unaligned"));
    byre_queue_free(queue);
    byre_close(disk, NULL);
}

/* While somebody has the disk to himself nothing begins, and what has begun is over before he has it. */
static void requests_wait_while_the_gate_is_closed(void **state)
{
    struct byre_completion completion;
    struct byre_request request;
    struct byre_queue *queue;
    struct byre_disk *disk;
    uint8_t buf[4096];
    struct iovec iov = { buf, sizeof buf };

    (void)state;
    make_image(path("a.qcow2"), 1 << 20, 65536, NULL, NULL);
    disk = open_disk(path("a.qcow2"), true);
    put(disk, 0, 65536, 'a');
    queue = new_queue(disk, 4);
    assert_int_equal(move(queue, BYRE_OP_READ, buf, sizeof buf, 0), 0);
    assert_int_equal(atomic_load(&disk->gate.inside), 0);
    byre_gate_close(&disk->gate);
    request = (struct byre_request){ .op = BYRE_OP_READ, .length = sizeof buf, .iov = &iov, .iov_count = 1 };
    assert_int_equal(byre_queue_submit(queue, &request, 1), 1);
    for (int i = 0; i < 100; i++)
        assert_int_equal(byre_queue_reap(queue, &completion, 1, 0, 0), 0);
    byre_gate_open(&disk->gate);
    assert_int_equal(byre_queue_reap(queue, &completion, 1, 1, 60000), 1);
    assert_int_equal(completion.result, 0);
    assert_int_equal(buf[0], 'a');
    byre_queue_free(queue);
    close_disk(disk);
}

/* A ring is allowed here? */
static bool there_are_rings(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    struct byre_ring *ring = fd < 0 ? NULL : byre_ring_new(1, fd);
    bool there = ring != NULL;

    byre_ring_free(ring);
    if (fd >= 0)
        close(fd);
    return there;
}

/* Until it is reaped, what is with the kernel keeps its clusters from being used again, and the gate from closing. */
static void request_of_the_kernel_is_in_the_epoch_and_the_gate(void **state)
{
    struct byre_completion completion;
    struct byre_request request;
    struct byre_queue *queue;
    struct byre_disk *disk;
    uint8_t buf[512] = { 1 };
    struct iovec iov = { buf, sizeof buf };
    uint64_t tag;

    (void)state;
    if (!there_are_rings())
        skip();
    make_image(path("x"), 64 * K, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 64 * K, 3);
    close_disk(disk);
    disk = open_disk(path("x"), true);
    expect(disk, 0, 64 * K, 3);
    queue = new_queue(disk, 4);
    /* Parts of pages are not written at once. */
    request = (struct byre_request){
        .op = BYRE_OP_WRITE, .goff = 512, .length = sizeof buf, .iov = &iov, .iov_count = 1,
    };
    assert_int_equal(byre_queue_submit(queue, &request, 1), 1);
    tag = byre_epoch_now(disk->epoch);
    assert_int_equal(atomic_load(&disk->gate.inside), 1);
    assert_false(byre_epoch_passed(disk->epoch, tag));
    assert_int_equal(byre_queue_reap(queue, &completion, 1, 1, 60000), 1);
    assert_int_equal(completion.result, 0);
    assert_int_equal(atomic_load(&disk->gate.inside), 0);
    assert_true(byre_epoch_passed(disk->epoch, tag));
    byre_queue_free(queue);
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_do_what_blocking_calls_do),
        TEST(misuse_is_refused_and_changes_nothing),
        TEST(guarded_sector_is_guarded),
        TEST(queue_takes_as_many_as_it_has_room_for),
        TEST(reaping_waits_no_longer_than_it_is_told),
        TEST(failure_is_told_with_its_message),
        TEST(requests_wait_while_the_gate_is_closed),
        TEST(request_of_the_kernel_is_in_the_epoch_and_the_gate),
    };

    return cmocka_run_group_tests(tests, start_workers, end_workers);
}
