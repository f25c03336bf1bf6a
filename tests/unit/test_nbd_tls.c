/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS on a connection: a client of GnuTLS at the other end of a pair of sockets, in one thread, so that each byte comes
 * when the test wants it.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arith.h"
#include "nbd/tls.h"
#include "tempdir.h"

#define KEY "07070707070707070707070707070707"

enum { DATA = 3 << 20 };

struct pair {
    struct tempdir dir;
    struct byre_nbd_creds *creds;
    struct byre_nbd_authz *authz;
    struct byre_nbd_tls_session *server;
    gnutls_session_t client;
    gnutls_psk_client_credentials_t key;
    int fds[2];  /* the server's, the client's */
    size_t step; /* bytes that the client says at a time */
};

static ssize_t push(gnutls_transport_ptr_t opaque, const void *data, size_t size)
{
    const struct pair *pair = opaque;
    ssize_t sent = send(pair->fds[1], data, MIN(size, pair->step), MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0)
        gnutls_transport_set_errno(pair->client, errno);
    return sent;
}

static ssize_t pull(gnutls_transport_ptr_t opaque, void *data, size_t size)
{
    const struct pair *pair = opaque;
    ssize_t got = recv(pair->fds[1], data, size, MSG_DONTWAIT);

    if (got < 0)
        gnutls_transport_set_errno(pair->client, errno);
    return got;
}

static void pair_init(struct pair *pair, const char *priority, size_t step)
{
    const gnutls_datum_t key = { (unsigned char *)KEY, sizeof KEY - 1 };
    int size = 16384;
    FILE *file;

    *pair = (struct pair){ .step = step };
    assert_int_equal(tempdir_make(&pair->dir), 0);
    file = fopen(tempdir_path(&pair->dir, "keys.psk"), "w");
    assert_non_null(file);
    fputs("me:" KEY "\n", file);
    fclose(file);
    assert_int_equal(byre_nbd_creds_new(&(struct byre_nbd_creds_options){ .kind = BYRE_NBD_CREDS_PSK,
                                                                          .dir = pair->dir.dir },
                                        &pair->creds, NULL), 0);
    assert_int_equal(byre_nbd_authz_new("deny", &pair->authz, NULL), 0);
    assert_int_equal(byre_nbd_authz_add(pair->authz, "m?", "allow", "glob", NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair->fds), 0);
    assert_int_equal(setsockopt(pair->fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    assert_int_equal(byre_nbd_tls_new(pair->creds, pair->authz, pair->fds[0], "clear", 5, &pair->server), 0);

    assert_int_equal(gnutls_init(&pair->client, GNUTLS_CLIENT | GNUTLS_NONBLOCK), 0);
    assert_int_equal(gnutls_priority_set_direct(pair->client, priority, NULL), 0);
    assert_int_equal(gnutls_psk_allocate_client_credentials(&pair->key), 0);
    assert_int_equal(gnutls_psk_set_client_credentials(pair->key, "me", &key, GNUTLS_PSK_KEY_HEX), 0);
    assert_int_equal(gnutls_credentials_set(pair->client, GNUTLS_CRD_PSK, pair->key), 0);
    gnutls_transport_set_ptr(pair->client, pair);
    gnutls_transport_set_push_function(pair->client, push);
    gnutls_transport_set_pull_function(pair->client, pull);
}

static void pair_done(struct pair *pair)
{
    byre_nbd_tls_free(pair->server);
    gnutls_deinit(pair->client);
    gnutls_psk_free_client_credentials(pair->key);
    close(pair->fds[0]);
    close(pair->fds[1]);
    byre_nbd_authz_free(pair->authz);
    byre_nbd_creds_free(pair->creds);
    (void)tempdir_remove(&pair->dir);
}

/* Both, in turns: what was said in the clear comes first. */
static void shake(struct pair *pair)
{
    int client = GNUTLS_E_AGAIN, server = -EAGAIN;
    char plain[5];

    assert_int_equal(byre_nbd_tls_send(pair->server, NULL, 0), 0);
    assert_int_equal(recv(pair->fds[1], plain, 5, 0), 5);
    assert_memory_equal(plain, "clear", 5);
    while (client || server) {
        if (client)
            client = gnutls_handshake(pair->client);
        assert_true(client == 0 || client == GNUTLS_E_AGAIN);
        (void)byre_nbd_tls_fill(pair->server);
        if (server)
            server = byre_nbd_tls_shake(pair->server, NULL);
        assert_true(server == 0 || server == -EAGAIN);
        assert_true(byre_nbd_tls_send(pair->server, NULL, 0) <= 0);
    }
}

static ssize_t hear(struct pair *pair, void *data, size_t size)
{
    const struct iovec iov[] = { { data, MIN(size, 7u) }, { (uint8_t *)data + MIN(size, 7u), size - MIN(size, 7u) } };

    (void)byre_nbd_tls_fill(pair->server);
    return byre_nbd_tls_receive(pair->server, iov, 2);
}

static void exchange(const char *priority, size_t step, size_t length)
{
    uint8_t *data = test_malloc(DATA), *copy = test_calloc(DATA, 1);
    struct iovec iov[3];
    struct pair pair;
    ssize_t n;

    for (size_t i = 0; i < DATA; i++)
        data[i] = (uint8_t)(i * 7 + i / 1000);
    pair_init(&pair, priority, step);
    shake(&pair);
    for (size_t said = 0, heard = 0; heard < length;) {
        if (said < length) {
            n = gnutls_record_send(pair.client, data + said, length - said);
            assert_true(n > 0 || n == GNUTLS_E_AGAIN);
            said += (size_t)MAX(n, 0);
        }
        n = hear(&pair, copy + heard, length - heard);
        assert_true(n > 0 || n == -EAGAIN);
        heard += (size_t)MAX(n, 0);
    }
    assert_memory_equal(data, copy, length);
    memset(copy, 0, DATA);
    for (size_t said = 0, heard = 0; heard < length;) {
        /* in pieces of odd sizes, one of them empty */
        size_t first = MIN(length - said, 13u), rest = length - said - first;

        iov[0] = (struct iovec){ data + said, first };
        iov[1] = (struct iovec){ NULL, 0 };
        iov[2] = (struct iovec){ data + said + first, rest };
        n = byre_nbd_tls_send(pair.server, iov, said < length ? 3 : 0);
        assert_true(n >= 0 || n == -EAGAIN);
        said += (size_t)MAX(n, 0);
        assert_true(byre_nbd_tls_unsent(pair.server) < 512 << 10);
        n = gnutls_record_recv(pair.client, copy + heard, length - heard);
        assert_true(n > 0 || n == GNUTLS_E_AGAIN);
        heard += (size_t)MAX(n, 0);
    }
    assert_memory_equal(data, copy, length);
    pair_done(&pair);
    test_free(data);
    test_free(copy);
}

#define TLS12 "NORMAL:-VERS-ALL:+VERS-TLS1.2:+ECDHE-PSK"
#define TLS13 "NORMAL:-VERS-ALL:+VERS-TLS1.3:+ECDHE-PSK"

static void data_comes_and_goes_as_it_was(void **state)
{
    (void)state;
    exchange(TLS13, SIZE_MAX, DATA);
    exchange(TLS12, 1000, DATA);
    exchange(TLS13, 1, 5000); /* byte by byte, the handshake too */
    exchange(TLS12, 1, 5000);
}

static void what_was_read_is_told_of_until_it_is_taken(void **state)
{
    struct pair pair;
    char byte;

    (void)state;
    pair_init(&pair, TLS13, SIZE_MAX);
    shake(&pair);
    assert_int_equal(gnutls_record_send(pair.client, "ab", 2), 2);
    assert_int_equal(gnutls_record_send(pair.client, "c", 1), 1);
    assert_int_equal(gnutls_bye(pair.client, GNUTLS_SHUT_WR), 0);
    assert_int_equal(byre_nbd_tls_fill(pair.server), 1);
    for (const char *at = "abc"; *at; at++) {
        assert_true(byre_nbd_tls_unread(pair.server) > 0);
        assert_int_equal(byre_nbd_tls_receive(pair.server, &(struct iovec){ &byte, 1 }, 1), 1);
        assert_int_equal(byte, *at);
    }
    assert_true(byre_nbd_tls_unread(pair.server) > 0);
    assert_int_equal(byre_nbd_tls_receive(pair.server, &(struct iovec){ &byte, 1 }, 1), 0);
    pair_done(&pair);
}

static void an_end_behind_data_is_told_after_it(void **state)
{
    struct pair pair;
    char bytes[10];

    (void)state;
    pair_init(&pair, TLS13, SIZE_MAX);
    shake(&pair);
    assert_int_equal(gnutls_record_send(pair.client, "abc", 3), 3);
    assert_int_equal(shutdown(pair.fds[1], SHUT_WR), 0);
    assert_int_equal(hear(&pair, bytes, 10), 3);
    assert_true(byre_nbd_tls_fill(pair.server) == 0 || byre_nbd_tls_unread(pair.server) > 0);
    assert_true(byre_nbd_tls_unread(pair.server) > 0);
    assert_int_equal(hear(&pair, bytes, 10), 0);
    pair_done(&pair);
}

static void other_keys_are_agreed_on_within_the_session(void **state)
{
    struct pair pair;
    char bytes[10];
    unsigned tries = 0;
    ssize_t got;

    (void)state;
    pair_init(&pair, TLS13, SIZE_MAX);
    shake(&pair);
    assert_int_equal(gnutls_session_key_update(pair.client, GNUTLS_KU_PEER), 0);
    assert_int_equal(gnutls_record_send(pair.client, "abc", 3), 3);
    assert_int_equal(hear(&pair, bytes, 10), 3);
    assert_int_equal(byre_nbd_tls_send(pair.server, &(struct iovec){ bytes, 3 }, 1), 3);
    while ((got = gnutls_record_recv(pair.client, bytes, 10)) == GNUTLS_E_AGAIN && tries++ < 9)
        ;
    assert_int_equal(got, 3);
    assert_memory_equal(bytes, "abc", 3);
    pair_done(&pair);
}

static void another_handshake_is_refused(void **state)
{
    struct pair pair;
    char bytes[10];

    (void)state;
    pair_init(&pair, TLS12, SIZE_MAX);
    shake(&pair);
    assert_int_equal(gnutls_handshake(pair.client), GNUTLS_E_AGAIN);
    assert_int_equal(hear(&pair, bytes, 10), -EPROTO);
    assert_int_equal(gnutls_handshake(pair.client), GNUTLS_E_FATAL_ALERT_RECEIVED);
    assert_int_equal(gnutls_alert_get(pair.client), GNUTLS_A_NO_RENEGOTIATION);
    pair_done(&pair);
}

static void what_was_tampered_with_ends_the_session(void **state)
{
    struct pair pair;
    char bytes[10];

    (void)state;
    pair_init(&pair, TLS13, SIZE_MAX);
    shake(&pair);
    assert_int_equal(send(pair.fds[1], "\x17\x03\x03\0\x20" "01234567890123456789012345678901", 37, 0), 37);
    assert_int_equal(hear(&pair, bytes, 10), -EPROTO);
    assert_int_equal(byre_nbd_tls_send(pair.server, &(struct iovec){ bytes, 3 }, 1), -EPIPE);
    assert_int_equal(gnutls_record_recv(pair.client, bytes, 10), GNUTLS_E_FATAL_ALERT_RECEIVED);
    pair_done(&pair);
}

static void globs_match_whole_names(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool matches;
    } cases[] = {
        { "", "", true },          { "*", "", true },         { "?", "", false },       { "a*", "abc", true },
        { "*c", "abc", true },     { "*b", "abc", false },    { "a?c", "abc", true },
        { "a?c", "a\xc3\xa4" "c", true },
        { "*a*b*", "xaxxb", true }, { "*a*b", "xaxbx", false }, { "a", "ab", false },    { "ab", "a", false },
        { "[a]", "a", false },     { "\\a", "\\a", true },    { "**?", "", false },     { "*aab", "aaaab", true },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct byre_nbd_authz *authz;

        assert_int_equal(byre_nbd_authz_new(NULL, &authz, NULL), 0);
        assert_int_equal(byre_nbd_authz_add(authz, cases[i].pattern, "allow", "glob", NULL), 0);
        assert_int_equal(byre_nbd_authz_allows(authz, cases[i].name), cases[i].matches);
        assert_false(byre_nbd_authz_allows(authz, NULL));
        byre_nbd_authz_free(authz);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_comes_and_goes_as_it_was),
        cmocka_unit_test(what_was_read_is_told_of_until_it_is_taken),
        cmocka_unit_test(an_end_behind_data_is_told_after_it),
        cmocka_unit_test(other_keys_are_agreed_on_within_the_session),
        cmocka_unit_test(another_handshake_is_refused),
        cmocka_unit_test(what_was_tampered_with_ends_the_session),
        cmocka_unit_test(globs_match_whole_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
