/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets from a service manager, and what it is told.
 */
#include "config.h"

#include "nbd/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FIRST_FD   3 /* SD_LISTEN_FDS_START */
#define SOCKETS_MAX 4096

/* A number that is all of the text, or -1. */
static long number_of(const char *text)
{
    char *end;
    long number;

    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    number = strtol(text, &end, 10);
    return errno || *end ? -1 : number;
}

static int check_socket(int fd, struct byre_error *err)
{
    int type = 0, listens = 0;
    socklen_t length = sizeof type;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
        return byre_error_set_errno(err, -errno, "Failed to use socket activation: file descriptor %d", fd);
    length = sizeof listens;
    if (type != SOCK_STREAM || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) < 0 || !listens)
        return byre_error_set(err, -EINVAL, "Failed to use socket activation: file descriptor %d is no stream "
                              "socket that listens", fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        return byre_error_set_errno(err, -errno, "Failed to use socket activation: file descriptor %d", fd);
    return 0;
}

static int take_sockets(byre_nbd_sockets *sockets, const char *text, struct byre_error *err)
{
    long count = number_of(text);
    int rc = 0;

    if (count < 0 || count > SOCKETS_MAX)
        return byre_error_set(err, -EINVAL, "Failed to use socket activation: invalid LISTEN_FDS '%.40s'", text);
    for (int fd = FIRST_FD; fd < FIRST_FD + count && rc == 0; fd++) {
        rc = check_socket(fd, err);
        if (rc == 0 && vec_push(sockets, fd) < 0)
            rc = byre_error_set_errno(err, -ENOMEM, "Failed to use socket activation");
    }
    return rc;
}

int byre_nbd_systemd_sockets(byre_nbd_sockets *sockets, struct byre_error *err)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    int rc = 0;

    if (pid && fds && number_of(pid) == (long)getpid())
        rc = take_sockets(sockets, fds, err);
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return rc;
}

/* --- what the manager is told ------------------------------------------------------------------------------ */

/* The address of a name: a path, or "@" and an abstract name. */
static int address_of(const char *name, struct sockaddr_un *ret_address, socklen_t *ret_length,
                      struct byre_error *err)
{
    size_t length = strlen(name);

    if ((*name != '/' && *name != '@') || length < 2)
        return byre_error_set(err, -EINVAL, "invalid NOTIFY_SOCKET '%.40s': neither a path nor an abstract name", name);
    if (length >= sizeof ret_address->sun_path)
        return byre_error_set(err, -ENAMETOOLONG, "NOTIFY_SOCKET '%.40s...' is too long", name);
    *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    memcpy(ret_address->sun_path, name, length);
    *ret_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (*name == '@')
        ret_address->sun_path[0] = '\0';
    else
        ++*ret_length;
    return 0;
}

static int connect_to(const char *name, int *ret_fd, struct byre_error *err)
{
    struct sockaddr_un address;
    socklen_t length = 0;
    int fd, rc = address_of(name, &address, &length, err);

    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, length) == 0) {
        *ret_fd = fd;
        return 0;
    }
    rc = byre_error_set_errno(err, -errno, "Failed to connect to NOTIFY_SOCKET '%s'", name);
    if (fd >= 0)
        close(fd);
    return rc;
}

int byre_nbd_notify_open(struct byre_nbd_notify *ret_notify, struct byre_error *err)
{
    const char *name = getenv("NOTIFY_SOCKET");
    int rc = 0;

    ret_notify->fd = -1;
    if (name && *name)
        rc = connect_to(name, &ret_notify->fd, err);
    (void)unsetenv("NOTIFY_SOCKET");
    return rc;
}

void byre_nbd_notify_close(struct byre_nbd_notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    notify->fd = -1;
}

void byre_nbd_notify_say(const struct byre_nbd_notify *notify, const char *text)
{
    if (notify->fd >= 0)
        (void)send(notify->fd, text, strlen(text), MSG_NOSIGNAL);
}

void byre_nbd_notify_ready(const struct byre_nbd_notify *notify)
{
    char text[64];

    snprintf(text, sizeof text, "READY=1\nMAINPID=%ld", (long)getpid());
    byre_nbd_notify_say(notify, text);
}

void byre_nbd_notify_reloading(const struct byre_nbd_notify *notify)
{
    struct timespec now;
    char text[64];

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000);
    byre_nbd_notify_say(notify, text);
}

void byre_nbd_notify_stopping(const struct byre_nbd_notify *notify)
{
    byre_nbd_notify_say(notify, "STOPPING=1");
}
