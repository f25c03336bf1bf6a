/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that ask and do not hear the answers: what is kept for them is bounded, and so is the time of a handshake.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "../unit/disk_fixture.h"
#include "server_fixture.h"

enum { CLUSTER = 512, CLUSTERS = 8192, SIZE = CLUSTER * CLUSTERS, REQUESTS = 240, FEWEST = 30 };

static struct server server;

/* Every second cluster has data. */
static void start_server(unsigned handshake_seconds)
{
    const struct byre_nbd_export_options export_options = { .name = "", .shared = true };
    const struct byre_open_options options = { .writable = true };
    struct byre_disk *disk;

    make_image(path("disk"), SIZE, CLUSTER, NULL, NULL);
    must(byre_open(path("disk"), &options, &disk, err));
    for (unsigned i = 0; i < CLUSTERS; i += 2)
        put(disk, i * CLUSTER, CLUSTER, 1);
    server_init(&server);
    server.options.handshake_seconds = handshake_seconds;
    server_add(&server, disk, &export_options);
    server_start(&server, path("socket"));
}

/* Says it again and again, as fast as the server takes it, until that has hung up; false if it does not do so. */
static bool says_until_hung_up(int fd, const void *bytes, size_t length)
{
    struct pollfd wait = { .fd = fd, .events = POLLOUT };
    size_t at = 0;

    while (poll(&wait, 1, 120000) == 1) {
        ssize_t n = send(fd, (const uint8_t *)bytes + at, length - at, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            return true;
        at = (at + (size_t)(n > 0 ? n : 0)) % length;
    }
    return false;
}

/* Who does not hear the answers is sent away in time, too. */
static void handshakes_that_are_not_heard_end(void **state)
{
    static const char list[] = "IHAVEOPT" "\0\0\0\3" "\0\0\0\0";
    int fd;

    (void)state;
    start_server(1);
    fd = client_connect(path("socket"));
    client_greet(fd);
    assert_true(says_until_hung_up(fd, list, sizeof list - 1));
    close(fd);
    server_stop(&server);
}

/* How many requests the server has done, answered or not. */
static uint64_t count_done(void)
{
    struct byre_nbd_tallies *tallies = &server.exports.list.ptr[0]->tallies;
    uint64_t done = 0;

    pthread_mutex_lock(&tallies->mutex);
    for (const struct byre_nbd_tally *tally = tallies->first; tally; tally = tally->next)
        done += atomic_load(&tally->done);
    pthread_mutex_unlock(&tallies->mutex);
    return done;
}

static void choose_allocation(int fd)
{
    static const uint8_t wish[] = "\0\0\0\0" "\0\0\0\1" "\0\0\0\17base:allocation";
    const uint32_t set = NBD_OPT_SET_META_CONTEXT;
    uint8_t data[256];
    size_t length;

    client_say_option(fd, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    assert_int_equal(client_hear_option(fd, NBD_OPT_STRUCTURED_REPLY, data, sizeof data, &length), NBD_REP_ACK);
    client_say_option(fd, set, wish, sizeof wish - 1);
    assert_int_equal(client_hear_option(fd, set, data, sizeof data, &length), NBD_REP_META_CONTEXT);
    assert_int_equal(client_hear_option(fd, set, data, sizeof data, &length), NBD_REP_ACK);
}

/* Each answer has 32 KiB: as many of them wait as of reads of that length, and not as many as may be under way. */
static void maps_that_are_not_heard_are_few(void **state)
{
    const struct client_request request = { .type = NBD_CMD_BLOCK_STATUS, .length = SIZE };
    bool full = false;
    int fd;

    (void)state;
    start_server(0);
    fd = client_connect(path("socket"));
    client_greet(fd);
    choose_allocation(fd);
    client_go(fd);
    for (unsigned i = 0; i < REQUESTS; i++) {
        client_say_request(fd, false, &request);
        for (unsigned ms = 0; !full && count_done() <= i; ms++)
            full = poll(NULL, 0, 1) == 0 && ms >= 1000 && i >= FEWEST;
    }
    assert_true(full);
    assert_in_range(count_done(), FEWEST, 130);
    for (unsigned i = 0; i < REQUESTS; i++) { /* and none is lost */
        struct client_chunk chunk;

        client_hear_chunk(fd, false, &chunk);
        assert_int_equal(chunk.type, NBD_CHUNK_BLOCK_STATUS);
        assert_int_equal(chunk.length, 4 + 8 * 4096);
        free(chunk.payload);
    }
    close(fd);
    server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(handshakes_that_are_not_heard_end),
        TEST(maps_that_are_not_heard_are_few),
    };

    return cmocka_run_group_tests_name("nbd_hoarding", tests, NULL, NULL);
}
