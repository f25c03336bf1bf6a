/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre-nbd: serves a disk over NBD.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "nbd/command_line.h"
#include "nbd/server.h"

/* GnuTLS is set up where it is used. */
GNUTLS_SKIP_GLOBAL_INIT

/* --- the background ---------------------------------------------------------------------------------------- */

/* What the parent waits for: a byte once clients can come; nothing, if that is never. */
static int ready_fd = -1;

static int wait_for_child(int fd, pid_t child)
{
    char byte;
    int status;

    while (read(fd, &byte, 1) < 0 && errno == EINTR)
        ;
    if (byte == 1)
        return 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
}

/* In the parent: does not return.  In the child: 0. */
static int go_to_background(void)
{
    int fds[2];
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return byre_complain("Failed to create a pipe: %s", strerror(errno));
    child = fork();
    if (child < 0)
        return byre_complain("Failed to fork: %s", strerror(errno));
    if (child > 0) {
        close(fds[1]);
        _exit(wait_for_child(fds[0], child));
    }
    close(fds[0]);
    ready_fd = fds[1];
    (void)setsid();
    return 0;
}

/* Clients can come: whoever waits for that may go on. */
static void tell_ready(void)
{
    int null;

    if (ready_fd < 0)
        return;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        (void)dup2(null, fd);
    while (write(ready_fd, "\1", 1) < 0 && errno == EINTR)
        ;
    close(ready_fd);
    ready_fd = -1;
}

/* --- serving ----------------------------------------------------------------------------------------------- */

static int write_pid_file(const char *path)
{
    char text[32];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());

    if (fd < 0 || write(fd, text, (size_t)length) != length) {
        byre_complain("Cannot write the pid file '%s': %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return 1;
    }
    close(fd);
    return 0;
}

static int listen_at(const struct byre_nbd_command_line *line, byre_nbd_sockets *sockets)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = line->socket ? byre_nbd_listen_unix(sockets, line->socket, &err)
                          : byre_nbd_listen_tcp(sockets, line->bind, line->port ? line->port : "10809", &err);

    return rc < 0 ? byre_complain_error(&err, "%s", "") : 0;
}

static void complain_of_client(void *opaque, const char *text)
{
    (void)opaque;
    byre_complain("a client was sent away: %s", text);
}

struct signals {
    int fd;
    struct byre_nbd_directory *directory; /* or NULL */
};

/* SIGHUP is for the directory, where there is one.  Is it time to end? */
static bool take_signal(void *opaque)
{
    const struct signals *signals = opaque;
    struct signalfd_siginfo signal;
    struct byre_error err = BYRE_ERROR_INIT;

    if (read(signals->fd, &signal, sizeof signal) != sizeof signal)
        return false;
    if (signal.ssi_signo != SIGHUP || !signals->directory)
        return true;
    if (byre_nbd_directory_rescan(signals->directory, &err) < 0)
        byre_complain_error(&err, "%s", "");
    return false;
}

static int serve(const struct byre_nbd_command_line *line, struct byre_nbd_exports *exports,
                 const byre_nbd_sockets *sockets, struct signals *signals)
{
    const struct byre_nbd_server_options options = {
        .exports = exports,
        .sockets = sockets,
        .stop_fd = signals->fd,
        .at_signal = take_signal,
        .signals = signals,
        .clients_max = line->clients_max,
        .persistent = line->persistent,
        .handshake_seconds = line->handshake_seconds,
        .complain = line->verbose ? complain_of_client : NULL,
    };
    struct byre_error err = BYRE_ERROR_INIT;

    if (line->pid_file && write_pid_file(line->pid_file) != 0)
        return 1;
    tell_ready();
    return byre_nbd_serve(&options, &err) < 0 ? byre_complain_error(&err, "%s", "") : 0;
}

/* The signals that end the server are read from a file descriptor; those of broken pipes are nobody's. */
static int take_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int run(const struct byre_nbd_command_line *line)
{
    CLEANUP(close_fd) int stop_fd = take_signals();
    struct signals stop = { .fd = stop_fd };
    struct byre_nbd_exports exports;
    byre_nbd_sockets sockets = VEC_INIT;
    struct byre_error err = BYRE_ERROR_INIT;
    int exit_code;

    if (stop_fd < 0)
        return byre_complain("Failed to create a signalfd: %s", strerror(errno));
    byre_nbd_exports_init(&exports);
    exit_code = byre_nbd_exports_open(line, &exports, &stop.directory);
    if (exit_code == 0)
        exit_code = listen_at(line, &sockets);
    if (exit_code == 0)
        exit_code = serve(line, &exports, &sockets, &stop);
    if (sockets.len && line->socket)
        (void)unlink(line->socket);
    if (sockets.len && line->pid_file)
        (void)unlink(line->pid_file);
    byre_nbd_sockets_done(&sockets);
    if (byre_nbd_exports_done(&exports, &err) < 0)
        exit_code = byre_complain_error(&err, "%s", "");
    return exit_code;
}

int main(int argc, char **argv)
{
    struct byre_nbd_command_line line;
    int exit_code;

    byre_program_init(argv[0]);
    if (argc == 2 && strcmp(argv[1], "__options") == 0) {
        byre_options_dump(&byre_verb_serve);
        return 0;
    }
    if (byre_nbd_command_line_read(argc, argv, &line, &exit_code) == 0) {
        exit_code = line.fork ? go_to_background() : 0;
        if (exit_code == 0)
            exit_code = run(&line);
    }
    byre_nbd_command_line_done(&line);
    byre_objects_done();
    return exit_code;
}
