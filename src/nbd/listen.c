/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets that wait for clients.
 */
#include "config.h"

#include "nbd/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "base/cleanup.h"

#define BACKLOG 128

/* Takes the socket. */
static int add_socket(byre_nbd_sockets *sockets, int fd, struct byre_error *err)
{
    if (vec_push(sockets, fd) == 0)
        return 0;
    close(fd);
    return byre_error_set_errno(err, -ENOMEM, "listening");
}

/* Removes a socket that nobody listens at any more. */
static void remove_stale(const struct sockaddr_un *address)
{
    /* It does not wait: a server that is there may have clients enough that wait. */
    CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;

    if (fd < 0 || lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno == ECONNREFUSED)
        (void)unlink(address->sun_path);
}

int byre_nbd_listen_unix(byre_nbd_sockets *sockets, const char *path, struct byre_error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    bool abstract = *path == '@';
    socklen_t length = abstract ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)) : sizeof address;
    int fd, rc = 0;

    if (strlen(path) >= sizeof address.sun_path)
        return byre_error_set(err, -ENAMETOOLONG, "UNIX socket path '%s' is too long: it may have %zu bytes", path,
                              sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return byre_error_set_errno(err, -errno, "Failed to create a socket");
    if (abstract)
        address.sun_path[0] = '\0';
    else
        remove_stale(&address);
    if (bind(fd, (struct sockaddr *)&address, length) < 0)
        rc = byre_error_set_errno(err, -errno, "Failed to bind socket to %s", path);
    else if (listen(fd, BACKLOG) < 0)
        rc = byre_error_set_errno(err, -errno, "Failed to listen on socket %s", path);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return add_socket(sockets, fd, err);
}

static int listen_at(byre_nbd_sockets *sockets, const struct addrinfo *address, struct byre_error *err)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, rc;

    if (fd < 0)
        return byre_error_set_errno(err, -errno, "Failed to create a socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return add_socket(sockets, fd, err);
    rc = -errno;
    close(fd);
    return byre_error_set_errno(err, rc, "Failed to bind socket");
}

/* An address that this machine lacks, IPv6 mostly, is no failure if there is another one. */
int byre_nbd_listen_tcp(byre_nbd_sockets *sockets, const char *host, const char *port, struct byre_error *err)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct byre_error failure = BYRE_ERROR_INIT;
    size_t before = sockets->len;
    struct addrinfo *list;
    int rc = getaddrinfo(host, port, &hints, &list);

    if (rc)
        return byre_error_set(err, -EINVAL, "address resolution failed for %s:%s: %s", host ? host : "", port,
                              gai_strerror(rc));
    rc = -EADDRNOTAVAIL;
    for (const struct addrinfo *at = list; at; at = at->ai_next) {
        rc = listen_at(sockets, at, &failure);
        if (rc < 0 && rc != -EADDRNOTAVAIL && rc != -EAFNOSUPPORT)
            break;
    }
    freeaddrinfo(list);
    if (rc == 0 || (sockets->len > before && (rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT)))
        return 0;
    return byre_error_set(err, rc, "%s:%s: %s", host ? host : "", port, failure.text);
}

/* A number of 32 bits, which `end` follows. */
static int read_u32(const char *text, char end, uint32_t *ret_number)
{
    unsigned long long number;
    char *rest;

    if (*text < '0' || *text > '9')
        return -1;
    number = strtoull(text, &rest, 10);
    *ret_number = (uint32_t)number;
    return *rest == end && number <= UINT32_MAX ? 0 : -1;
}

/* "[CID:]PORT" */
static int read_vsock(const char *text, struct sockaddr_vm *address)
{
    const char *colon = strchr(text, ':');

    *address = (struct sockaddr_vm){ .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
    if (colon && read_u32(text, ':', &address->svm_cid) < 0)
        return -1;
    return read_u32(colon ? colon + 1 : text, '\0', &address->svm_port);
}

int byre_nbd_listen_vsock(byre_nbd_sockets *sockets, const char *text, struct byre_error *err)
{
    struct sockaddr_vm address;
    int fd, rc;

    if (read_vsock(text, &address) < 0)
        return byre_error_set(err, -EINVAL, "Invalid vsock address '%.80s': it is [CID:]PORT", text);
    fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 && errno == EAFNOSUPPORT)
        return byre_error_set(err, -errno, "vsock:%s: this kernel has no vsock", text);
    if (fd < 0)
        return byre_error_set_errno(err, -errno, "Failed to create a socket");
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, BACKLOG) == 0)
        return add_socket(sockets, fd, err);
    rc = -errno;
    close(fd);
    return byre_error_set_errno(err, rc, "vsock:%s: Failed to bind socket", text);
}

/* The kernel has a file for it; an empty write is the policy's own label. */
int byre_nbd_listen_label(const char *label, struct byre_error *err)
{
    CLEANUP(close_fd) int fd = open("/proc/thread-self/attr/sockcreate", O_WRONLY | O_CLOEXEC);
    size_t length = label ? strlen(label) + 1 : 0;

    if (fd >= 0 && write(fd, label, length) == (ssize_t)length)
        return 0;
    return byre_error_set_errno(err, errno ? -errno : -EINVAL, "Cannot set SELinux socket create context to %s",
                                label ? label : "default");
}

void byre_nbd_sockets_done(byre_nbd_sockets *sockets)
{
    for (size_t i = 0; i < sockets->len; i++)
        close(sockets->ptr[i]);
    vec_done(sockets);
}
