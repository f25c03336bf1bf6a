/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests that hang in the disk: others are answered meanwhile, out of order; a client that has gone takes nothing
 * with it; and the server does not end before they are answered.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <poll.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "../unit/disk_fixture.h"
#include "base/endian.h"
#include "byre/debug.h"
#include "server_fixture.h"

#define K 1024u

enum { SIZE = 1024 * 1024 * K };

static struct server server;
static struct byre_disk *disk;

static void start_server(void)
{
    const struct byre_nbd_export_options export_options = { .name = "", .shared = true };
    const struct byre_open_options options = { .writable = true };
    char name[512];

    make_image(path("disk"), SIZE, 64 * K, NULL, NULL);
    snprintf(name, sizeof name, "image-opts:driver=qcow2,file.driver=blkdebug,file.image.driver=file,"
             "file.image.filename=%s", path("disk"));
    must(byre_open(name, &options, &disk, err));
    put(disk, 0, 1024 * K, 1);
    put(disk, SIZE - 64 * K, 64 * K, 1);
    server_init(&server);
    server_add(&server, disk, &export_options);
    server_start(&server, path("socket"));
}

/* A client with simple replies. */
static int join(void)
{
    int fd = client_connect(path("socket"));

    client_greet(fd);
    client_go(fd);
    return fd;
}

static void say(int fd, uint16_t type, uint64_t cookie, uint64_t goff, uint32_t length)
{
    const struct client_request request = { .type = type, .cookie = cookie, .goff = goff, .length = length };
    static const uint8_t payload[64 * K];

    client_say_request(fd, false, &request);
    if (type == NBD_CMD_WRITE)
        client_say(fd, payload, length);
}

/* The next reply is of this request, and goes well; `length` bytes are all 1. */
static void hear(int fd, uint64_t cookie, size_t length)
{
    uint8_t head[NBD_SIMPLE_REPLY_BYTES], data[4 * K];

    client_hear(fd, head, sizeof head);
    assert_int_equal(byre_get_be32(head), NBD_SIMPLE_REPLY_MAGIC);
    assert_int_equal(byre_get_be32(head + 4), 0);
    assert_true(byre_get_be64(head + 8) == cookie);
    client_hear(fd, data, length);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(data[i], 1);
}

/* A read that hangs. */
static void say_hanging(int fd, uint64_t cookie)
{
    assert_int_equal(byre_debug_break(disk, "read_aio", "here"), 0);
    say(fd, NBD_CMD_READ, cookie, 0, 4 * K);
    assert_int_equal(byre_debug_wait_break(disk, "here"), 0);
}

static void nobody_waits_for_who_hangs(void **state)
{
    int one, other;

    (void)state;
    start_server();
    one = join();
    other = join();
    say_hanging(one, 1);
    for (uint64_t cookie = 2; cookie < 50; cookie++) {
        say(one, NBD_CMD_READ, cookie, cookie * 4 * K, 4 * K);
        say(other, NBD_CMD_READ, cookie, cookie * 4 * K, 4 * K);
        hear(one, cookie, 4 * K);
        hear(other, cookie, 4 * K);
    }
    say(one, NBD_CMD_WRITE, 50, 2048 * K, 64 * K);
    hear(one, 50, 0);
    say(one, NBD_CMD_FLUSH, 51, 0, 0);
    hear(one, 51, 0);
    assert_int_equal(byre_debug_resume(disk, "here"), 0);
    hear(one, 1, 4 * K);
    close(one);
    close(other);
    server_stop(&server);
}

/* The reply goes nowhere; the server and the others go on. */
static void who_leaves_takes_nothing_along(void **state)
{
    int one, other;

    (void)state;
    start_server();
    other = join();
    for (unsigned round = 0; round < 5; round++) {
        one = join();
        say_hanging(one, 1);
        for (uint64_t cookie = 2; cookie < 20; cookie++)
            say(one, NBD_CMD_READ, cookie, 0, 4 * K);
        if (round % 2)
            say(one, NBD_CMD_DISC, 0, 0, 0);
        close(one);
        say(other, NBD_CMD_READ, round, 0, 4 * K);
        hear(other, round, 4 * K);
        assert_int_equal(byre_debug_resume(disk, "here"), 0);
        say(other, NBD_CMD_READ, round, 0, 4 * K);
        hear(other, round, 4 * K);
    }
    close(other);
    server_stop(&server);
}

static uint64_t cpu_ns(void)
{
    struct timespec ts;

    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The server does not look again and again whether who has left is still not there. */
static void who_leaves_keeps_nobody_busy(void **state)
{
    struct pollfd wait = { .events = POLLIN };
    uint64_t before;
    int one;

    (void)state;
    start_server();
    one = join();
    say_hanging(one, 1);
    say(one, NBD_CMD_READ, 2, 4 * K, 4 * K);
    wait.fd = one;
    assert_int_equal(poll(&wait, 1, 120000), 1);
    close(one); /* without hearing the answer: that is an error of the socket */
    one = join();
    wait.fd = one;
    before = cpu_ns();
    assert_int_equal(poll(&wait, 1, 400), 0); /* nothing is to be done all this time */
    assert_true(cpu_ns() - before < 100000000);
    assert_int_equal(byre_debug_resume(disk, "here"), 0);
    close(one);
    server_stop(&server);
}

/* More requests than a connection may have under way are not read, and are not lost. */
static void who_asks_too_much_waits(void **state)
{
    enum { HANGING = 64, MOST = 40000 };
    static bool open[MOST + 1];
    const struct client_request request = { .type = NBD_CMD_READ, .length = 512 };
    uint8_t head[NBD_REQUEST_BYTES] = { 0 }, data[512];
    size_t sent = 0, at = 0;
    ssize_t n;
    int fd;

    (void)state;
    start_server();
    fd = join();
    for (unsigned i = 0; i < HANGING; i++) /* whatever works */
        assert_int_equal(byre_debug_break(disk, "read_aio", "here"), 0);
    byre_put_be32(head, NBD_REQUEST_MAGIC);
    byre_put_be32(head + 24, (uint32_t)request.length);
    do {
        struct pollfd wait = { .fd = fd, .events = POLLOUT };

        byre_put_be64(head + 8, sent);
        n = send(fd, head + at, sizeof head - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        at = n > 0 ? (at + (size_t)n) % sizeof head : at;
        sent += n > 0 && at == 0;
        if (n < 0 && poll(&wait, 1, 500) == 0)
            break;
    } while (sent < MOST);
    assert_in_range(sent, 200, MOST - 1); /* what the socket and the connection keep, and 256 */
    assert_int_equal(byre_debug_remove_break(disk, "here"), 0);
    client_say(fd, head + at, at ? sizeof head - at : 0);
    sent += at != 0;
    for (size_t i = 0; i < sent; i++)
        open[i] = true;
    for (size_t i = 0; i < sent; i++) {
        uint8_t reply[NBD_SIMPLE_REPLY_BYTES];
        uint64_t cookie;

        client_hear(fd, reply, sizeof reply);
        client_hear(fd, data, sizeof data);
        cookie = byre_get_be64(reply + 8);
        assert_int_equal(byre_get_be32(reply + 4), 0);
        assert_true(cookie < sent && open[cookie]);
        open[cookie] = false;
    }
    say(fd, NBD_CMD_FLUSH, 1, 0, 0);
    hear(fd, 1, 0); /* and nothing before it */
    close(fd);
    server_stop(&server);
}

/* Prefetching reads what there is to be read, and only that. */
static void prefetching_reads_data(void **state)
{
    int fd;

    (void)state;
    start_server();
    fd = join();
    assert_int_equal(byre_debug_break(disk, "read_aio", "here"), 0);
    say(fd, NBD_CMD_CACHE, 1, 1024 * K, SIZE - 1088 * K);
    hear(fd, 1, 0);
    say(fd, NBD_CMD_CACHE, 2, 1024 * K, SIZE - 1024 * K); /* what is not there takes nothing of what may be read */
    assert_int_equal(byre_debug_wait_break(disk, "here"), 0);
    assert_int_equal(byre_debug_resume(disk, "here"), 0);
    hear(fd, 2, 0);
    close(fd);
    server_stop(&server);
}

static void *stop_server(void *opaque)
{
    (void)opaque;
    server_stop(&server);
    return NULL;
}

static void the_end_waits_for_what_was_taken(void **state)
{
    struct pollfd wait;
    pthread_t stopper;
    int one, silent;

    (void)state;
    start_server();
    one = join();
    silent = client_connect(path("socket"));
    client_greet(silent);
    say_hanging(one, 1);
    say(one, NBD_CMD_READ, 2, 4 * K, 4 * K);
    hear(one, 2, 4 * K);
    assert_int_equal(pthread_create(&stopper, NULL, stop_server, NULL), 0);
    /* who is only greeting is sent away at once: so the server is ending */
    client_hear_end(silent);
    wait = (struct pollfd){ .fd = one, .events = POLLIN };
    assert_int_equal(poll(&wait, 1, 200), 0); /* nor is it cut off in this time */
    assert_int_equal(byre_debug_resume(disk, "here"), 0);
    hear(one, 1, 4 * K);
    client_hear_end(one);
    assert_int_equal(pthread_join(stopper, NULL), 0);
    close(one);
    close(silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_waits_for_who_hangs),
        TEST(who_leaves_takes_nothing_along),
        TEST(who_leaves_keeps_nobody_busy),
        TEST(who_asks_too_much_waits),
        TEST(prefetching_reads_data),
        TEST(the_end_waits_for_what_was_taken),
    };

    return cmocka_run_group_tests_name("nbd_hanging", tests, NULL, NULL);
}
