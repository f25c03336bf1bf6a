/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to the kernel's network block devices, byte by byte, and with a kernel that is played here.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/endian.h"
#include "nbd/device.h"
#include "nbd/protocol.h"

/* The messages, as machines with the little end first have them; others are not compared. */
static bool is_little(void)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
}

static void family_is_asked_for(void **state)
{
    static const uint8_t wanted[] = {
        28, 0, 0, 0, 16, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, /* length, GENL_ID_CTRL, REQUEST | ACK, sequence, port */
        3, 2, 0, 0,                                       /* CTRL_CMD_GETFAMILY, version */
        8, 0, 2, 0, 'n', 'b', 'd', 0,                     /* CTRL_ATTR_FAMILY_NAME */
    };
    byre_nbd_bytes out = VEC_INIT;

    (void)state;
    assert_int_equal(byre_nbd_netlink_ask_family(&out, 7), 0);
    assert_int_equal(out.len, sizeof wanted);
    if (is_little())
        assert_memory_equal(out.ptr, wanted, sizeof wanted);
    vec_done(&out);
}

static void connect_has_size_flags_and_sockets(void **state)
{
    static const uint8_t wanted[] = {
        92, 0, 0, 0, 0x1c, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0,
        1, 1, 0, 0,                                       /* NBD_CMD_CONNECT, version */
        8, 0, 1, 0, 3, 0, 0, 0,                           /* NBD_ATTR_INDEX */
        12, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0,              /* NBD_ATTR_SIZE_BYTES */
        12, 0, 3, 0, 0, 2, 0, 0, 0, 0, 0, 0,              /* NBD_ATTR_BLOCK_SIZE_BYTES */
        12, 0, 5, 0, 0xed, 1, 0, 0, 0, 0, 0, 0,           /* NBD_ATTR_SERVER_FLAGS */
        28, 0, 7, 0x80,                                   /* NBD_ATTR_SOCKETS, nested */
        12, 0, 1, 0x80, 8, 0, 1, 0, 5, 0, 0, 0,           /* NBD_SOCK_ITEM, NBD_SOCK_FD */
        12, 0, 1, 0x80, 8, 0, 1, 0, 6, 0, 0, 0,
    };
    const int sockets[] = { 5, 6 };
    const struct byre_nbd_device_settings settings = {
        .index = 3, .size = 1ULL << 32, .flags = 0x1ed, .block_size = 512, .sockets = sockets, .socket_count = 2,
    };
    byre_nbd_bytes out = VEC_INIT;

    (void)state;
    assert_int_equal(byre_nbd_netlink_connect(&out, 9, 0x1c, &settings), 0);
    assert_int_equal(out.len, sizeof wanted);
    if (is_little())
        assert_memory_equal(out.ptr, wanted, sizeof wanted);
    vec_done(&out);
}

static void disconnect_has_an_index(void **state)
{
    static const uint8_t wanted[] = {
        28, 0, 0, 0, 0x1c, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 8, 0, 1, 0, 17, 0, 0, 0,
    };
    byre_nbd_bytes out = VEC_INIT;

    (void)state;
    assert_int_equal(byre_nbd_netlink_disconnect(&out, 9, 0x1c, 17), 0);
    assert_int_equal(out.len, sizeof wanted);
    if (is_little())
        assert_memory_equal(out.ptr, wanted, sizeof wanted);
    vec_done(&out);
}

/* --- answers ----------------------------------------------------------------------------------------------- */

static size_t put16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, sizeof value);
    return sizeof value;
}

static size_t put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
    return sizeof value;
}

static size_t put_head(uint8_t *at, uint32_t length, uint16_t type, uint32_t sequence)
{
    put32(at, length);
    put16(at + 4, type);
    put16(at + 6, 0);
    put32(at + 8, sequence);
    put32(at + 12, 0);
    return 16;
}

/* "It was done", or an error, with nothing of the message that it is about. */
static size_t put_answer(uint8_t *at, uint32_t sequence, int error)
{
    put_head(at, 20, 2, sequence);
    put32(at + 16, (uint32_t)error);
    return 20;
}

/* What the kernel says of a family, with another attribute before its number. */
static size_t put_family(uint8_t *at, uint32_t sequence, uint16_t family)
{
    size_t n = put_head(at, 16 + 4 + 8 + 8, 16, sequence);

    n += put32(at + n, 0x0201);
    n += put16(at + n, 8);
    n += put16(at + n, 2);
    memcpy(at + n, "nbd", 4);
    n += 4;
    n += put16(at + n, 6);
    n += put16(at + n, 1);
    n += put16(at + n, family);
    n += put16(at + n, 0);
    return n;
}

static void answers_are_taken(void **state)
{
    uint8_t bytes[200];
    struct byre_nbd_netlink_reply reply = { .over = false };
    size_t n = put_family(bytes, 4, 77); /* of another question */

    (void)state;
    n += put_family(bytes + n, 5, 31);
    assert_int_equal(byre_nbd_netlink_take(bytes, n, 5, &reply), 0);
    assert_int_equal(reply.family, 31);
    assert_false(reply.over);
    n = put_answer(bytes, 5, 0);
    assert_int_equal(byre_nbd_netlink_take(bytes, n, 5, &reply), 0);
    assert_true(reply.over);
    assert_int_equal(reply.error, 0);
    n = put_answer(bytes, 5, -EBUSY);
    assert_int_equal(byre_nbd_netlink_take(bytes, n, 5, &reply), 0);
    assert_int_equal(reply.error, -EBUSY);
}

static void lengths_that_lie_are_found_out(void **state)
{
    uint8_t bytes[200];
    size_t n = put_family(bytes, 5, 31);

    (void)state;
    for (size_t cut = 1; cut < n; cut++) { /* cut off */
        struct byre_nbd_netlink_reply reply = { .over = false };

        assert_int_equal(byre_nbd_netlink_take(bytes, cut, 5, &reply), -EPROTO);
        assert_int_equal(reply.family, 0);
    }
    for (uint32_t length = 0; length < 16; length++) {
        struct byre_nbd_netlink_reply reply = { .over = false };

        put32(bytes, length);
        assert_int_equal(byre_nbd_netlink_take(bytes, n, 5, &reply), -EPROTO);
    }
    put32(bytes, (uint32_t)n);
    for (uint16_t length = 0; length < 300; length++) { /* of the first attribute */
        struct byre_nbd_netlink_reply reply = { .over = false };

        put16(bytes + 20, length);
        assert_int_equal(byre_nbd_netlink_take(bytes, n, 5, &reply), 0);
        assert_int_equal(reply.family, length >= 5 && length <= 8 ? 31 : 0);
    }
    assert_int_equal(byre_nbd_netlink_take(bytes, 0, 5, &(struct byre_nbd_netlink_reply){ .over = false }), 0);
}

/* --- a kernel ---------------------------------------------------------------------------------------------- */

struct kernel {
    int fd;
    uint16_t family; /* 0: none */
    int error;       /* of commands */
    uint8_t commands[8];
    unsigned count;
};

static void *play_kernel(void *opaque)
{
    struct kernel *kernel = opaque;
    uint8_t bytes[512];

    while (recv(kernel->fd, bytes, sizeof bytes, 0) >= 20) {
        uint8_t answer[200];
        uint32_t sequence;
        uint16_t type;
        size_t n = 0;

        memcpy(&type, bytes + 4, sizeof type);
        memcpy(&sequence, bytes + 8, sizeof sequence);
        kernel->commands[kernel->count++ % ARRAY_LEN(kernel->commands)] = bytes[16];
        if (type == 16) {
            if (kernel->family) { /* in two pieces */
                n = put_family(answer, sequence, kernel->family);
                assert_int_equal(send(kernel->fd, answer, n, 0), n);
            }
            n = put_answer(answer, sequence, kernel->family ? 0 : -ENOENT);
        } else {
            n = put_answer(answer, sequence, type == kernel->family ? kernel->error : -EOPNOTSUPP);
        }
        assert_int_equal(send(kernel->fd, answer, n, 0), n);
    }
    return NULL;
}

static void devices_are_made_and_ended(void **state)
{
    const int sockets[] = { 0 };
    const struct byre_nbd_device_settings settings = { .index = 4, .sockets = sockets, .socket_count = 1 };
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct kernel kernel = { .family = i == 0 ? 0 : 29, .error = i == 1 ? 0 : -EBUSY };
        struct byre_nbd_link link = { .fd = -1 };
        pthread_t thread;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
        kernel.fd = fds[0];
        link.fd = fds[1];
        assert_int_equal(pthread_create(&thread, NULL, play_kernel, &kernel), 0);
        if (i == 0) {
            assert_int_equal(byre_nbd_link_start(&link, &err), -ENOENT);
            assert_non_null(strstr(err.text, "the kernel has no netlink family 'nbd'"));
        } else {
            assert_int_equal(byre_nbd_link_start(&link, &err), 0);
            assert_int_equal(byre_nbd_link_connect(&link, &settings, &err), kernel.error);
            assert_int_equal(byre_nbd_link_disconnect(&link, 4, &err), kernel.error);
            if (i == 2)
                assert_string_equal(err.text, "Failed to disconnect /dev/nbd4: Device or resource busy");
        }
        close(link.fd);
        pthread_join(thread, NULL);
        close(kernel.fd);
        if (i > 0)
            assert_memory_equal(kernel.commands, ((uint8_t[]){ 3, 1, 2 }), 3);
    }
}

/* --- the handshake of the kernel's connections -------------------------------------------------------------- */

static void a_device_greets_as_a_client(void **state)
{
    uint8_t bytes[64] = { 0 };
    struct byre_error err = BYRE_ERROR_INIT;
    uint64_t size;
    uint16_t flags;
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    byre_put_be64(bytes, NBD_MAGIC);
    byre_put_be64(bytes + 8, NBD_OPTION_MAGIC);
    byre_put_be16(bytes + 16, 3);
    byre_put_be64(bytes + 18, 12345);
    byre_put_be16(bytes + 26, 0x1ed);
    assert_int_equal(send(fds[0], bytes, 28, 0), 28);
    assert_int_equal(byre_nbd_device_greet(fds[1], "disk", &size, &flags, &err), 0);
    assert_int_equal(size, 12345);
    assert_int_equal(flags, 0x1ed);
    assert_int_equal(recv(fds[0], bytes, sizeof bytes, 0), 24);
    assert_int_equal(byre_get_be32(bytes), 3);
    assert_true(byre_get_be64(bytes + 4) == NBD_OPTION_MAGIC);
    assert_int_equal(byre_get_be32(bytes + 12), NBD_OPT_EXPORT_NAME);
    assert_int_equal(byre_get_be32(bytes + 16), 4);
    assert_memory_equal(bytes + 20, "disk", 4);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(send(fds[0], bytes, 28, 0), 28);
    assert_int_equal(byre_nbd_device_greet(fds[1], "disk", &size, &flags, &err), -EPROTO);
    close(fds[0]);
    assert_true(byre_nbd_device_greet(fds[1], "disk", &size, &flags, &err) < 0);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(family_is_asked_for),
        cmocka_unit_test(connect_has_size_flags_and_sockets),
        cmocka_unit_test(disconnect_has_an_index),
        cmocka_unit_test(answers_are_taken),
        cmocka_unit_test(lengths_that_lie_are_found_out),
        cmocka_unit_test(devices_are_made_and_ended),
        cmocka_unit_test(a_device_greets_as_a_client),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
