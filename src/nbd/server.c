/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server's main thread.
 */
#include "config.h"

#include "nbd/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arith.h"
#include "nbd/loop.h"

#define WORKERS_MIN 4u

struct server {
    const struct byre_nbd_server_options *options;
    struct byre_nbd_shared shared;
    VEC(struct byre_nbd_loop *) loops;
    size_t next;         /* loop */
    bool served, crowded; /* crowded: there are no file descriptors for more */
};

static bool is_full(const struct server *server)
{
    unsigned most = server->options->clients_max;

    return server->crowded || (most && atomic_load(&server->shared.connections) >= most);
}

static void accept_from(struct server *server, int socket)
{
    int on = 1, fd;

    while (!is_full(server)) {
        fd = accept4(socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
            server->crowded = true; /* until one has gone */
        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            return;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails for a UNIX socket */
        atomic_fetch_add(&server->shared.connections, 1);
        server->served = true;
        byre_nbd_loop_adopt(server->loops.ptr[server->next++ % server->loops.len], fd);
    }
}

static void note_end(struct server *server)
{
    uint64_t count;

    if (read(server->shared.ended_fd, &count, sizeof count) == sizeof count)
        server->crowded = false;
}

/* Polls for the end, for clients that have gone, and, while there is room, for new ones. */
static int serve(struct server *server, struct pollfd *fds, struct byre_error *err)
{
    const byre_nbd_sockets *sockets = server->options->sockets;
    size_t count = 2 + sockets->len;

    for (;;) {
        bool full = is_full(server);

        fds[0] = (struct pollfd){ .fd = server->options->stop_fd, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = server->shared.ended_fd, .events = POLLIN };
        for (size_t i = 0; i < sockets->len; i++)
            fds[2 + i] = (struct pollfd){ .fd = full ? -1 : sockets->ptr[i], .events = POLLIN };
        if (poll(fds, count, -1) < 0 && errno != EINTR)
            return byre_error_set_errno(err, -errno, "waiting for clients");
        if (fds[0].revents && (!server->options->at_signal || server->options->at_signal(server->options->signals)))
            return 0;
        if (fds[1].revents)
            note_end(server);
        for (size_t i = 0; i < sockets->len; i++) {
            if (fds[2 + i].revents)
                accept_from(server, sockets->ptr[i]);
        }
        if (!server->options->persistent && server->served && atomic_load(&server->shared.connections) == 0)
            return 0;
    }
}

static int start(struct server *server, struct byre_error *err)
{
    unsigned threads = server->options->threads ? server->options->threads : byre_cpu_count();
    int rc;

    server->shared.ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->shared.ended_fd < 0)
        return byre_error_set_errno(err, -errno, "Failed to create an eventfd");
    rc = byre_workers_new(MAX(2 * threads, WORKERS_MIN), &server->shared.workers, err);
    if (rc == 0)
        rc = byre_pool_new(MAX(2 * threads, WORKERS_MIN), &server->shared.pool, err);
    for (unsigned i = 0; i < threads && rc == 0; i++) {
        struct byre_nbd_loop *loop;

        rc = byre_nbd_loop_new(&server->shared, &loop, err);
        if (rc == 0 && vec_push(&server->loops, loop) < 0) {
            byre_nbd_loop_stop(loop);
            byre_nbd_loop_free(loop);
            rc = byre_error_set_errno(err, -ENOMEM, "server");
        }
    }
    return rc;
}

static void stop(struct server *server)
{
    for (size_t i = 0; i < server->loops.len; i++)
        byre_nbd_loop_stop(server->loops.ptr[i]);
    for (size_t i = 0; i < server->loops.len; i++)
        byre_nbd_loop_free(server->loops.ptr[i]);
    vec_done(&server->loops);
    byre_pool_free(server->shared.pool);
    byre_workers_free(server->shared.workers);
    if (server->shared.ended_fd >= 0)
        close(server->shared.ended_fd);
}

int byre_nbd_serve(const struct byre_nbd_server_options *options, struct byre_error *err)
{
    struct server server = {
        .options = options,
        .shared = {
            .exports = options->exports, .tls = options->tls, .handshake_seconds = options->handshake_seconds,
            .complain = options->complain, .opaque = options->opaque, .ended_fd = -1,
        },
    };
    struct pollfd *fds = calloc(2 + options->sockets->len, sizeof *fds);
    int rc = fds ? start(&server, err) : byre_error_set_errno(err, -ENOMEM, "server");

    if (rc == 0)
        rc = serve(&server, fds, err);
    stop(&server);
    free(fds);
    return rc;
}
