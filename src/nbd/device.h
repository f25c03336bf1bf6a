/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's network block devices, /dev/nbdN: an export as one of them, and the end of one.
 */
#ifndef BYRE_NBD_DEVICE_H
#define BYRE_NBD_DEVICE_H

#include "nbd/netlink.h"
#include "nbd/server.h"

/* A netlink socket, and the number of the family; made by byre_nbd_link_open, or by tests. */
struct byre_nbd_link {
    int fd;
    uint16_t family;
    uint32_t sequence;
};

/* Asks at the other end of link->fd for the family "nbd".  -ENOENT: the kernel has no such devices. */
int byre_nbd_link_start(struct byre_nbd_link *link, struct byre_error *err);
/* Makes a device of connections; ends one. */
int byre_nbd_link_connect(struct byre_nbd_link *link, const struct byre_nbd_device_settings *settings,
                          struct byre_error *err);
int byre_nbd_link_disconnect(struct byre_nbd_link *link, unsigned index, struct byre_error *err);

/*
 * What a client says and hears to come to the transmission phase with simple replies, on a connected socket; waits ten
 * seconds at most.  The size of the export and its flags.
 */
int byre_nbd_device_greet(int fd, const char *export_name, uint64_t *ret_size, uint16_t *ret_flags,
                          struct byre_error *err);

struct byre_nbd_device {
    struct byre_nbd_link link;
    unsigned index;
    bool connected;
    const char *path; /* the caller's */
};

void byre_nbd_device_init(struct byre_nbd_device *device);
/* Makes the device at `path` show an export of the server, by as many connections as `clients_max` (0: any) allows. */
int byre_nbd_device_start(struct byre_nbd_device *device, struct byre_nbd_server *server, const char *path,
                          const char *export_name, unsigned clients_max, struct byre_error *err);
/* Writes back what the kernel has in its cache, and ends the device, if there is one. */
void byre_nbd_device_stop(struct byre_nbd_device *device);

/* Ends the device at `path`, whoever serves it. */
int byre_nbd_device_disconnect(const char *path, struct byre_error *err);

#endif
