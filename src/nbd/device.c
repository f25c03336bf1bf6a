/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Network block devices, by way of netlink.
 */
#include "config.h"

#include "nbd/device.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/netlink.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "base/pool.h"
#include "nbd/protocol.h"

#define TIMEOUT_MS      10000
#define CONNECTIONS_MAX 16u
#define BLOCK_SIZE      512u  /* the smallest that the kernel has, so that no byte of the disk is out of reach */
#define REPLY_MAX       16384u
#define GREETING_BYTES  18u
#define INDEX_MAX       65535u

/* --- netlink ----------------------------------------------------------------------------------------------- */

/* Sends a message, and takes what comes until its answer is there. */
static int call(struct byre_nbd_link *link, const byre_nbd_bytes *message, struct byre_nbd_netlink_reply *ret_reply)
{
    struct byre_nbd_netlink_reply reply = { .over = false };
    uint8_t bytes[REPLY_MAX];

    if (send(link->fd, message->ptr, message->len, MSG_NOSIGNAL) != (ssize_t)message->len)
        return errno ? -errno : -EIO;
    while (!reply.over) {
        struct pollfd fds = { .fd = link->fd, .events = POLLIN };
        int rc = poll(&fds, 1, TIMEOUT_MS);
        ssize_t got;

        if (rc == 0)
            return -ETIMEDOUT;
        got = recv(link->fd, bytes, sizeof bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EPROTO;
        rc = byre_nbd_netlink_take(bytes, (size_t)got, link->sequence, &reply);
        if (rc < 0)
            return rc;
    }
    *ret_reply = reply;
    return reply.error;
}

int byre_nbd_link_start(struct byre_nbd_link *link, struct byre_error *err)
{
    struct byre_nbd_netlink_reply reply;
    byre_nbd_bytes message = VEC_INIT;
    int rc = byre_nbd_netlink_ask_family(&message, ++link->sequence);

    if (rc == 0)
        rc = call(link, &message, &reply);
    vec_done(&message);
    if (rc == -ENOENT || (rc == 0 && !reply.family))
        return byre_error_set(err, -ENOENT, "the kernel has no netlink family 'nbd': its module nbd is not loaded");
    if (rc < 0)
        return byre_error_set_errno(err, rc, "Failed to ask the kernel for its netlink family 'nbd'");
    link->family = reply.family;
    return 0;
}

static int command(struct byre_nbd_link *link, const char *what, unsigned index, byre_nbd_bytes *message, int rc,
                   struct byre_error *err)
{
    struct byre_nbd_netlink_reply reply;

    if (rc == 0)
        rc = call(link, message, &reply);
    vec_done(message);
    return rc < 0 ? byre_error_set_errno(err, rc, "Failed to %s /dev/nbd%u", what, index) : 0;
}

int byre_nbd_link_connect(struct byre_nbd_link *link, const struct byre_nbd_device_settings *settings,
                          struct byre_error *err)
{
    byre_nbd_bytes message = VEC_INIT;
    int rc = byre_nbd_netlink_connect(&message, ++link->sequence, link->family, settings);

    return command(link, "connect", settings->index, &message, rc, err);
}

int byre_nbd_link_disconnect(struct byre_nbd_link *link, unsigned index, struct byre_error *err)
{
    byre_nbd_bytes message = VEC_INIT;
    int rc = byre_nbd_netlink_disconnect(&message, ++link->sequence, link->family, index);

    return command(link, "disconnect", index, &message, rc, err);
}

static int open_link(struct byre_nbd_link *ret_link, struct byre_error *err)
{
    const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    struct byre_nbd_link link = { .fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC) };
    int rc;

    if (link.fd < 0 || connect(link.fd, (const struct sockaddr *)&kernel, sizeof kernel) < 0)
        rc = byre_error_set_errno(err, -errno, "Failed to open a netlink socket");
    else
        rc = byre_nbd_link_start(&link, err);
    if (rc == 0)
        *ret_link = link;
    else if (link.fd >= 0)
        close(link.fd);
    return rc;
}

/* --- a client's handshake ---------------------------------------------------------------------------------- */

static int hear(int fd, uint8_t *bytes, size_t length)
{
    while (length) {
        struct pollfd fds = { .fd = fd, .events = POLLIN };
        ssize_t got;

        if (poll(&fds, 1, TIMEOUT_MS) == 0)
            return -ETIMEDOUT;
        got = recv(fd, bytes, length, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ECONNRESET;
        bytes += got;
        length -= (size_t)got;
    }
    return 0;
}

/* What is said is short: it goes out at once. */
static int say(int fd, const char *export_name)
{
    uint8_t head[4 + 16];
    size_t length = strlen(export_name);

    byre_put_be32(head, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    byre_put_be64(head + 4, NBD_OPTION_MAGIC);
    byre_put_be32(head + 12, NBD_OPT_EXPORT_NAME);
    byre_put_be32(head + 16, (uint32_t)length);
    if (send(fd, head, sizeof head, MSG_NOSIGNAL) != (ssize_t)sizeof head ||
        send(fd, export_name, length, MSG_NOSIGNAL) != (ssize_t)length)
        return -EIO;
    return 0;
}

int byre_nbd_device_greet(int fd, const char *export_name, uint64_t *ret_size, uint16_t *ret_flags,
                          struct byre_error *err)
{
    uint8_t bytes[GREETING_BYTES];
    int rc = hear(fd, bytes, GREETING_BYTES);

    if (rc == 0 && (byre_get_be64(bytes) != NBD_MAGIC || byre_get_be64(bytes + 8) != NBD_OPTION_MAGIC))
        rc = -EPROTO;
    if (rc == 0)
        rc = say(fd, export_name);
    if (rc == 0)
        rc = hear(fd, bytes, 8 + 2); /* size and flags; no zeroes were wanted */
    if (rc < 0)
        return byre_error_set_errno(err, rc, "Failed to connect to export '%s'", export_name);
    *ret_size = byre_get_be64(bytes);
    *ret_flags = byre_get_be16(bytes + 8);
    return 0;
}

/* --- devices ----------------------------------------------------------------------------------------------- */

/* The N of /dev/nbdN. */
static int find_index(const char *path, unsigned *ret_index, struct byre_error *err)
{
    const char *module = access("/sys/module/nbd", F_OK) == 0 ? "" : " (the kernel's module nbd is not loaded)";
    CLEANUP(free_ptr) char *real = realpath(path, NULL);
    unsigned index;
    struct stat st;
    char end;

    if (!real || stat(real, &st) < 0)
        return byre_error_set(err, -errno, "Failed to open %s: %s%s", path, strerror(errno), module);
    if (!S_ISBLK(st.st_mode) || sscanf(real, "/dev/nbd%5u%c", &index, &end) != 1 || index > INDEX_MAX)
        return byre_error_set(err, -EINVAL, "'%s' is no network block device, which are /dev/nbd0 and so on%s", path,
                              module);
    *ret_index = index;
    return 0;
}

void byre_nbd_device_init(struct byre_nbd_device *device)
{
    *device = (struct byre_nbd_device){ .link = { .fd = -1 } };
}

static unsigned connections_for(unsigned clients_max)
{
    unsigned most = MIN(byre_cpu_count(), CONNECTIONS_MAX);

    return clients_max ? MIN(clients_max, most) : most;
}

/* Connects to the server, several times, and gives the sockets to the kernel. */
static int connect_device(struct byre_nbd_device *device, struct byre_nbd_server *server, const char *export_name,
                          unsigned clients_max, struct byre_error *err)
{
    struct byre_nbd_device_settings settings = { .index = device->index, .block_size = BLOCK_SIZE };
    unsigned wanted = connections_for(clients_max), count = 0;
    int sockets[CONNECTIONS_MAX], rc = 0;
    uint16_t flags = NBD_FLAG_CAN_MULTI_CONN;

    for (; count < wanted && rc == 0 && (flags & NBD_FLAG_CAN_MULTI_CONN); count += rc == 0) {
        rc = byre_nbd_server_connect(server, &sockets[count], err);
        if (rc == 0) {
            rc = byre_nbd_device_greet(sockets[count], export_name, &settings.size, &flags, err);
            if (rc < 0)
                close(sockets[count]);
        }
    }
    settings.flags = flags;
    settings.sockets = sockets;
    settings.socket_count = count;
    if (rc == 0)
        rc = byre_nbd_link_connect(&device->link, &settings, err);
    for (unsigned i = 0; i < count; i++)
        close(sockets[i]); /* the kernel has its own */
    return rc;
}

int byre_nbd_device_start(struct byre_nbd_device *device, struct byre_nbd_server *server, const char *path,
                          const char *export_name, unsigned clients_max, struct byre_error *err)
{
    int rc = find_index(path, &device->index, err);

    if (rc == 0)
        rc = open_link(&device->link, err);
    if (rc == 0)
        rc = connect_device(device, server, export_name, clients_max, err);
    device->connected = rc == 0;
    device->path = path;
    return rc;
}

void byre_nbd_device_stop(struct byre_nbd_device *device)
{
    if (device->connected) {
        CLEANUP(close_fd) int fd = open(device->path, O_RDWR | O_CLOEXEC);

        if (fd >= 0)
            (void)fsync(fd);
        (void)byre_nbd_link_disconnect(&device->link, device->index, NULL); /* somebody may have done it already */
    }
    if (device->link.fd >= 0)
        close(device->link.fd);
    byre_nbd_device_init(device);
}

int byre_nbd_device_disconnect(const char *path, struct byre_error *err)
{
    struct byre_nbd_link link;
    unsigned index;
    int rc = find_index(path, &index, err);

    if (rc == 0)
        rc = open_link(&link, err);
    if (rc < 0)
        return rc;
    rc = byre_nbd_link_disconnect(&link, index, err);
    close(link.fd);
    return rc;
}
