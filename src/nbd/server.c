/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server's main thread: new clients, signals, and the end.
 */
#include "config.h"

#include "nbd/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arith.h"
#include "nbd/loop.h"

#define WORKERS_MIN 4u
#define SEND_BYTES  (1 << 20)
#define DRAIN_MS    10000 /* that clients have to hear their last answers */
#define CROWDED_MS  1000  /* until it is tried again where file descriptors were missing */

struct byre_nbd_server {
    const struct byre_nbd_server_options *options;
    struct byre_nbd_shared shared;
    VEC(struct byre_nbd_loop *) loops;
    size_t next;         /* loop */
    bool crowded;        /* there are no file descriptors for more: until somebody has gone, or for CROWDED_MS */
    struct byre_nbd_statistics statistics;
};

static bool is_full(const struct byre_nbd_server *server)
{
    unsigned most = server->options->clients_max;

    return server->crowded || (most && atomic_load(&server->shared.connections) >= most);
}

/* Replies are not to wait for others; a UNIX socket takes as much at once as it can, which TCP finds out by itself. */
static void set_up_socket(int fd)
{
    int on = 1, bytes = SEND_BYTES, domain = 0;
    socklen_t length = sizeof domain;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

/* Takes the socket of a client. */
static void adopt(struct byre_nbd_server *server, int fd)
{
    atomic_fetch_add(&server->shared.connections, 1);
    server->statistics.accepted++;
    byre_nbd_loop_adopt(server->loops.ptr[server->next++ % server->loops.len], fd);
}

static void accept_from(struct byre_nbd_server *server, int socket)
{
    int fd;

    while (!is_full(server)) {
        fd = accept4(socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
            server->crowded = true; /* until one has gone */
        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            return;
        set_up_socket(fd);
        adopt(server, fd);
    }
}

int byre_nbd_server_connect(struct byre_nbd_server *server, int *ret_fd, struct byre_error *err)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return byre_error_set_errno(err, -errno, "Failed to create a pair of sockets");
    adopt(server, fds[0]);
    *ret_fd = fds[1];
    return 0;
}

static void note_end(struct byre_nbd_server *server)
{
    uint64_t count;

    if (read(server->shared.ended_fd, &count, sizeof count) == sizeof count)
        server->crowded = false;
}

/* --- signals ----------------------------------------------------------------------------------------------- */

int byre_nbd_server_signals(void)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static void report(struct byre_nbd_server *server)
{
    const struct byre_nbd_server_options *options = server->options;
    char *text;

    server->statistics.connections = atomic_load(&server->shared.connections);
    if (!options->report || byre_nbd_statistics_put(&server->statistics, options->exports, &text) < 0)
        return;
    options->report(options->opaque, text);
    free(text);
}

static void reload(const struct byre_nbd_server_options *options)
{
    if (!options->reload) {
        if (options->complain)
            options->complain(options->opaque, "SIGHUP: there is nothing that could be looked for again");
        return;
    }
    if (options->notify)
        byre_nbd_notify_reloading(options->notify);
    options->reload(options->opaque);
    if (options->notify)
        byre_nbd_notify_ready(options->notify);
}

/* Does what the signals say that have come.  True: the server is to end. */
static bool take_signals(struct byre_nbd_server *server)
{
    struct signalfd_siginfo info;
    bool end = false;

    while (read(server->options->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGUSR1)
            report(server);
        else if (info.ssi_signo == SIGHUP && !server->options->hangup_ends)
            reload(server->options);
        else
            end = true;
    }
    return end;
}

/* --- from the beginning to the end ------------------------------------------------------------------------- */

/* Polls for signals, for clients that have gone, and, while there is room, for new ones. */
static int serve(struct byre_nbd_server *server, struct pollfd *fds, struct byre_error *err)
{
    const byre_nbd_sockets *sockets = server->options->sockets;
    size_t count = 2 + sockets->len;

    for (;;) {
        bool full = is_full(server);
        int ready;

        fds[0] = (struct pollfd){ .fd = server->options->signal_fd, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = server->shared.ended_fd, .events = POLLIN };
        for (size_t i = 0; i < sockets->len; i++)
            fds[2 + i] = (struct pollfd){ .fd = full ? -1 : sockets->ptr[i], .events = POLLIN };
        ready = poll(fds, (nfds_t)count, server->crowded ? CROWDED_MS : -1);
        if (ready < 0 && errno != EINTR)
            return byre_error_set_errno(err, -errno, "waiting for clients");
        if (ready == 0)
            server->crowded = false; /* it may be others who had them */
        if (fds[0].revents && take_signals(server))
            return 0;
        if (fds[1].revents)
            note_end(server);
        for (size_t i = 0; i < sockets->len; i++) {
            if (fds[2 + i].revents)
                accept_from(server, sockets->ptr[i]);
        }
        if (!server->options->persistent && atomic_load(&server->shared.connections) == 0 &&
            atomic_load(&server->shared.served))
            return 0;
    }
}

static int start(struct byre_nbd_server *server, struct byre_error *err)
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
            byre_nbd_loop_stop(loop, true);
            byre_nbd_loop_free(loop);
            rc = byre_error_set_errno(err, -ENOMEM, "server");
        }
    }
    return rc;
}

static void stop_loops(struct byre_nbd_server *server, bool cut)
{
    for (size_t i = 0; i < server->loops.len; i++)
        byre_nbd_loop_stop(server->loops.ptr[i], cut);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until all clients have heard their answers; those that will not, are cut off. */
static void drain(struct byre_nbd_server *server)
{
    int64_t deadline = now_ms() + DRAIN_MS;
    struct pollfd fds[] = {
        { .fd = server->options->signal_fd, .events = POLLIN },
        { .fd = server->shared.ended_fd, .events = POLLIN },
    };
    bool cut = false;

    while (atomic_load(&server->shared.connections) && !cut) {
        int64_t left = deadline - now_ms();

        if (left > 0)
            (void)poll(fds, 2, (int)left);
        cut = left <= 0 || take_signals(server);
        note_end(server);
    }
    if (cut)
        stop_loops(server, true);
}

static void stop(struct byre_nbd_server *server)
{
    stop_loops(server, false);
    drain(server);
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
    struct byre_nbd_server server = {
        .options = options,
        .shared = {
            .exports = options->exports, .tls = options->tls, .creds = options->creds,
            .authz = options->authz, .handshake_seconds = options->handshake_seconds,
            .complain = options->complain, .opaque = options->opaque, .ended_fd = -1,
        },
    };
    struct pollfd *fds = calloc(2 + options->sockets->len, sizeof *fds);
    int rc = fds ? start(&server, err) : byre_error_set_errno(err, -ENOMEM, "server");

    server.statistics.since = time(NULL);
    if (rc == 0 && options->started)
        rc = options->started(options->opaque, &server, err);
    if (rc == 0)
        rc = serve(&server, fds, err);
    if (options->notify)
        byre_nbd_notify_stopping(options->notify);
    if (options->stopping)
        options->stopping(options->opaque);
    stop(&server);
    free(fds);
    return rc;
}
