/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Servers and clients for tests.
 */
#include "config.h"

#include "server_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"

#define PATIENCE 120000 /* milliseconds */
#define PAYLOAD_MAX (64u << 20)

#define require(what)                                                                \
    do {                                                                             \
        if (!(what)) {                                                               \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #what, strerror(errno)); \
            abort();                                                                 \
        }                                                                            \
    } while (0)

static void *serve(void *opaque)
{
    struct server *server = opaque;
    struct byre_error err = BYRE_ERROR_INIT;

    server->result = byre_nbd_serve(&server->options, &err);
    if (server->result < 0)
        fprintf(stderr, "server: %s\n", err.text);
    return NULL;
}

void server_init(struct server *server)
{
    *server = (struct server){ .child = 0 };
    require(pipe2(server->signals, O_CLOEXEC | O_NONBLOCK) == 0);
    byre_nbd_exports_init(&server->exports);
    server->options = (struct byre_nbd_server_options){
        .exports = &server->exports, .sockets = &server->sockets, .signal_fd = server->signals[0],
        .threads = 2,
        .persistent = true, .handshake_seconds = 30,
    };
}

void server_add(struct server *server, struct byre_disk *disk, const struct byre_nbd_export_options *options)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_nbd_export *export;

    if (byre_nbd_export_new(disk, options, &export, &err) < 0 ||
        byre_nbd_exports_add(&server->exports, export, &err) < 0) {
        fprintf(stderr, "export: %s\n", err.text);
        abort();
    }
}

void server_start(struct server *server, const char *path)
{
    (void)signal(SIGPIPE, SIG_IGN);
    require(byre_nbd_listen_unix(&server->sockets, path, NULL) == 0);
    require(pthread_create(&server->thread, NULL, serve, server) == 0);
}

void server_start_child(struct server *server, const char *path, struct byre_disk *(*open)(void *opaque), void *opaque,
                        const struct byre_nbd_export_options *options)
{
    (void)signal(SIGPIPE, SIG_IGN);
    require(byre_nbd_listen_unix(&server->sockets, path, NULL) == 0);
    server->child = fork();
    require(server->child >= 0);
    if (server->child)
        return;
    alarm(300);
    server_add(server, open(opaque), options);
    serve(server);
    (void)byre_nbd_exports_done(&server->exports, NULL);
    _exit(server->result != 0);
}

void server_stop(struct server *server)
{
    const struct signalfd_siginfo end = { .ssi_signo = SIGTERM };
    struct byre_error err = BYRE_ERROR_INIT;

    require(write(server->signals[1], &end, sizeof end) == sizeof end);
    require(pthread_join(server->thread, NULL) == 0);
    require(server->result == 0);
    byre_nbd_sockets_done(&server->sockets);
    require(byre_nbd_exports_done(&server->exports, &err) == 0);
    close(server->signals[0]);
    close(server->signals[1]);
}

void server_kill(struct server *server)
{
    int status;

    require(kill(server->child, SIGKILL) == 0);
    require(waitpid(server->child, &status, 0) == server->child);
    require(WIFSIGNALED(status));
    byre_nbd_sockets_done(&server->sockets);
    require(byre_nbd_exports_done(&server->exports, NULL) == 0);
    close(server->signals[0]);
    close(server->signals[1]);
}

/* --- the client -------------------------------------------------------------------------------------------- */

int client_connect(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    require(fd >= 0 && strlen(path) < sizeof address.sun_path);
    strcpy(address.sun_path, path);
    require(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

void client_say(int fd, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    while (length) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);

        require(sent > 0);
        at += sent;
        length -= (size_t)sent;
    }
}

static ssize_t receive(int fd, void *bytes, size_t length)
{
    struct pollfd wait = { .fd = fd, .events = POLLIN };

    require(poll(&wait, 1, PATIENCE) == 1);
    return recv(fd, bytes, length, 0);
}

void client_hear(int fd, void *bytes, size_t length)
{
    uint8_t *at = bytes;

    while (length) {
        ssize_t got = receive(fd, at, length);

        require(got > 0);
        at += got;
        length -= (size_t)got;
    }
}

void client_hear_end(int fd)
{
    uint8_t byte;
    ssize_t got = receive(fd, &byte, 1);

    require(got == 0 || (got < 0 && errno == ECONNRESET));
}

void client_greet(int fd)
{
    uint8_t bytes[18];

    client_hear(fd, bytes, sizeof bytes);
    require(byre_get_be64(bytes) == NBD_MAGIC && byre_get_be64(bytes + 8) == NBD_OPTION_MAGIC);
    byre_put_be32(bytes, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    client_say(fd, bytes, 4);
}

void client_say_option(int fd, uint32_t option, const void *data, size_t length)
{
    uint8_t head[16];

    byre_put_be64(head, NBD_OPTION_MAGIC);
    byre_put_be32(head + 8, option);
    byre_put_be32(head + 12, (uint32_t)length);
    client_say(fd, head, sizeof head);
    client_say(fd, data, length);
}

uint32_t client_hear_option(int fd, uint32_t option, void *data, size_t room, size_t *ret_length)
{
    uint8_t head[20];
    uint32_t length;

    client_hear(fd, head, sizeof head);
    length = byre_get_be32(head + 16);
    require(byre_get_be64(head) == NBD_REPLY_MAGIC && byre_get_be32(head + 8) == option && length <= room);
    client_hear(fd, data, length);
    *ret_length = length;
    return byre_get_be32(head + 12);
}

uint16_t client_go(int fd)
{
    static const uint8_t nothing[6]; /* no name, no wishes */
    uint8_t data[4096];
    uint16_t flags = 0;
    uint32_t type;
    size_t length;

    client_say_option(fd, NBD_OPT_GO, nothing, sizeof nothing);
    while ((type = client_hear_option(fd, NBD_OPT_GO, data, sizeof data, &length)) == NBD_REP_INFO) {
        require(length >= 2);
        if (byre_get_be16(data) == NBD_INFO_EXPORT) {
            require(length == 12);
            flags = byre_get_be16(data + 10);
        }
    }
    require(type == NBD_REP_ACK && length == 0 && flags & NBD_FLAG_HAS_FLAGS);
    return flags;
}

void client_say_request(int fd, bool extended, const struct client_request *request)
{
    uint8_t head[NBD_EXTENDED_REQUEST_BYTES];

    byre_put_be32(head, extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC);
    byre_put_be16(head + 4, request->flags);
    byre_put_be16(head + 6, request->type);
    byre_put_be64(head + 8, request->cookie);
    byre_put_be64(head + 16, request->goff);
    if (extended)
        byre_put_be64(head + 24, request->length);
    else
        byre_put_be32(head + 24, (uint32_t)request->length);
    client_say(fd, head, extended ? NBD_EXTENDED_REQUEST_BYTES : NBD_REQUEST_BYTES);
}

void client_hear_chunk(int fd, bool extended, struct client_chunk *ret_chunk)
{
    uint8_t head[NBD_EXTENDED_REPLY_BYTES];

    client_hear(fd, head, extended ? NBD_EXTENDED_REPLY_BYTES : NBD_CHUNK_BYTES);
    require(byre_get_be32(head) == (extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_CHUNK_MAGIC));
    *ret_chunk = (struct client_chunk){
        .flags = byre_get_be16(head + 4),
        .type = byre_get_be16(head + 6),
        .cookie = byre_get_be64(head + 8),
        .goff = extended ? byre_get_be64(head + 16) : 0,
        .length = extended ? byre_get_be64(head + 24) : byre_get_be32(head + 16),
    };
    require(ret_chunk->length <= PAYLOAD_MAX && !(ret_chunk->flags & ~NBD_CHUNK_FLAG_DONE));
    ret_chunk->payload = malloc(ret_chunk->length ? (size_t)ret_chunk->length : 1);
    require(ret_chunk->payload != NULL);
    client_hear(fd, ret_chunk->payload, (size_t)ret_chunk->length);
}
