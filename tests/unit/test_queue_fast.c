/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues: what is known and cached takes no worker, zeros that are known are told, and events tell of what ends later.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk_fixture.h"
#include "queue_fixture.h"

#define K 1024ULL
#define M (1024 * K)
#define SYS_CACHESTAT 451

/* What is known and cached is done when submit returns; so it went through no worker. */
static void known_and_cached_bytes_are_there_at_once(void **state)
{
    struct byre_completion done[2];
    uint8_t buf[8192];
    struct byre_disk *disk;
    struct byre_queue *queue;
    struct iovec iov = { buf, sizeof buf };
    struct byre_request requests[2] = {
        { .op = BYRE_OP_READ, .goff = 2048, .length = sizeof buf, .iov = &iov, .iov_count = 1 },
        { .op = BYRE_OP_WRITE, .goff = 4096, .length = sizeof buf, .iov = &iov, .iov_count = 1 },
    };

    (void)state;
    make_image(path("x"), 64 * K, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 64 * K, 3);
    close_disk(disk);
    disk = open_disk(path("x"), true);
    expect(disk, 0, 64 * K, 3);
    queue = new_queue(disk, 4);
    watch(disk->layers[0].store);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(byre_queue_submit(queue, &requests[i], 1), 1);
        assert_int_equal(byre_queue_reap(queue, done, 2, 0, 0), 1);
        assert_int_equal(done[0].result, 0);
    }
    /* Not through the blocking calls of the store, either. */
    assert_int_equal(watched.reads + watched.writes, 0);
    unwatch();
    byre_queue_free(queue);
    close_disk(disk);
}

/* Zeros are told instead of written, and in order: by a worker, and at once when the map has them. */
static void zeros_are_told(void **state)
{
    static const struct {
        uint64_t goff, length;
    } told[] = { { 4 * K, 8 * K }, { 24 * K, 4 * K }, { 31 * K, 33 * K } };
    struct byre_places zeros = { 0 };
    static uint8_t buf[64 * K];
    struct byre_completion done;
    struct byre_disk *disk;
    struct byre_queue *queue;
    struct iovec iov[2] = { { buf, 5 * K }, { buf + 5 * K, sizeof buf - 5 * K } };
    struct byre_request request = { .op = BYRE_OP_READ, .length = sizeof buf, .iov = iov, .iov_count = 2,
                                    .places = &zeros };

    (void)state;
    make_image(path("x"), 64 * K, 1024, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 4 * K, 3);
    put(disk, 12 * K, 12 * K, 3);
    put(disk, 28 * K, K, 3); /* too short are the zeros of 29 K and 1 K */
    put(disk, 30 * K, K, 3);
    close_disk(disk);
    disk = open_disk(path("x"), false);
    queue = new_queue(disk, 4);
    for (unsigned round = 0; round < 2; round++) {
        zeros.count = 77;
        memset(buf, 0xee, sizeof buf);
        assert_int_equal(byre_queue_submit(queue, &request, 1), 1);
        assert_int_equal(byre_queue_reap(queue, &done, 1, round ? 0 : 1, 60000), 1); /* at first by a worker */
        assert_int_equal(done.result, 0);
        assert_int_equal(zeros.count, ARRAY_LEN(told));
        for (unsigned i = 0; i < ARRAY_LEN(told); i++) {
            assert_int_equal(zeros.list[i].goff, told[i].goff);
            assert_int_equal(zeros.list[i].length, told[i].length);
            assert_int_equal(buf[told[i].goff], 0xee);
            assert_int_equal(buf[told[i].goff + told[i].length - 1], 0xee);
        }
        assert_int_equal(buf[4 * K - 1], 3);
        assert_int_equal(buf[12 * K], 3);
        assert_int_equal(buf[29 * K], 0);
        assert_int_equal(buf[30 * K], 3);
    }
    byre_queue_free(queue);
    close_disk(disk);
}

/* Data that is cached is told where nobody can change the disk, and read where somebody may. */
static void cached_data_of_what_is_only_read_is_told(void **state)
{
    static uint8_t buf[128 * K], bytes[128 * K];
    struct byre_places places = { .with_data = true };
    struct iovec iov = { buf, sizeof buf };
    struct byre_request request = { .op = BYRE_OP_READ, .length = sizeof buf, .iov = &iov, .iov_count = 1,
                                    .places = &places };
    struct byre_disk *disk;
    struct byre_queue *queue;

    (void)state;
    if (syscall(SYS_CACHESTAT, -1, NULL, NULL, 0) < 0 && errno == ENOSYS)
        skip();
    make_image(path("x"), 128 * K, 65536, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 64 * K, 3);
    put(disk, 64 * K, 64 * K, 5);
    close_disk(disk);
    for (unsigned writable = 0; writable < 2; writable++) {
        disk = open_disk(path("x"), writable);
        expect(disk, 0, 64 * K, 3);
        expect(disk, 64 * K, 64 * K, 5);
        queue = new_queue(disk, 1);
        memset(buf, 0xee, sizeof buf);
        assert_int_equal(run(queue, request), 0);
        if (writable) {
            assert_int_equal(places.count, 0);
            assert_int_equal(buf[64 * K], 5);
        } else {
            /* Both clusters are neighbours in the file. */
            assert_int_equal(places.count, 1);
            assert_int_equal(places.list[0].length, 128 * K);
            assert_int_equal(buf[64 * K], 0xee);
            assert_int_equal(pread(places.list[0].fd, bytes, 128 * K, (off_t)places.list[0].hoff), 128 * K);
            assert_int_equal(bytes[0], 3);
            assert_int_equal(bytes[64 * K], 5);
            assert_int_equal(bytes[128 * K - 1], 5);
        }
        byre_queue_free(queue);
        close_disk(disk);
    }
}

/* The ring's own work may interrupt it. */
static bool wait_for_event(int epoll_fd)
{
    struct epoll_event event;
    int count;

    do
        count = epoll_wait(epoll_fd, &event, 1, 60000);
    while (count < 0 && errno == EINTR);
    return count == 1;
}

/* With EPOLLET there is an event for whatever ends after it was submitted, and none has to be taken back. */
static void edges_tell_of_each_end(void **state)
{
    const struct byre_queue_options options = { .depth = 4, .aio = aio, .edges = true };
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct byre_completion done[4];
    struct byre_disk *disk;
    struct byre_queue *queue;

    (void)state;
    make_image(path("x"), M, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    must(byre_queue_new(disk, workers, &options, &queue, err));
    assert_int_equal(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, byre_queue_fd(queue), &event), 0);
    for (unsigned i = 0; i < 200; i++) {
        static uint8_t buf[4096];
        struct iovec iov = { buf, sizeof buf };
        const struct byre_request requests[3] = {
            { .op = BYRE_OP_WRITE, .goff = i * 4096, .length = 4096, .iov = &iov, .iov_count = 1 },
            { .op = BYRE_OP_FLUSH },
            { .op = BYRE_OP_READ, .goff = 0, .length = 4096, .iov = &iov, .iov_count = 1 },
        };
        unsigned count;

        assert_int_equal(byre_queue_submit(queue, requests, 3), 3);
        for (count = byre_queue_reap(queue, done, 4, 0, 0); count < 3; count += byre_queue_reap(queue, done, 4, 0, 0))
            assert_true(wait_for_event(epoll_fd));
    }
    byre_queue_free(queue);
    close(epoll_fd);
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(known_and_cached_bytes_are_there_at_once),
        TEST(zeros_are_told),
        TEST(cached_data_of_what_is_only_read_is_told),
        TEST(edges_tell_of_each_end),
    };

    return cmocka_run_group_tests(tests, start_workers, end_workers);
}
