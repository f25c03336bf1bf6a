/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to the kernel's network block devices, by generic netlink (linux/genetlink.h, linux/nbd-netlink.h; the
 * family is "nbd").  Bytes in, bytes out; no socket is known here.  Numbers are in the order of the machine.
 */
#ifndef BYRE_NBD_NETLINK_H
#define BYRE_NBD_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nbd/negotiation.h"

/* A device that is to be made. */
struct byre_nbd_device_settings {
    unsigned index;        /* of /dev/nbdINDEX */
    uint64_t size;         /* bytes */
    uint64_t flags;        /* NBD_FLAG_* that the server told of */
    uint64_t block_size;   /* bytes: a power of two from 512 on */
    const int *sockets;    /* of connections in the transmission phase, with simple replies */
    unsigned socket_count;
};

/* Each makes `out` one message with that number of a sequence, to be answered in any case.  -ENOMEM. */
int byre_nbd_netlink_ask_family(byre_nbd_bytes *out, uint32_t sequence);
int byre_nbd_netlink_connect(byre_nbd_bytes *out, uint32_t sequence, uint16_t family,
                             const struct byre_nbd_device_settings *settings);
int byre_nbd_netlink_disconnect(byre_nbd_bytes *out, uint32_t sequence, uint16_t family, unsigned index);

/* What came in answer to a message. */
struct byre_nbd_netlink_reply {
    bool over;       /* the last part is there */
    int error;       /* 0, or a negative errno */
    uint16_t family; /* 0: nothing was said of it */
};

/*
 * Takes what one receive has brought, of which what answers other messages is passed over.  Parts of one answer are
 * given one after the other, with the same *reply.  -EPROTO: that is no netlink message.
 */
int byre_nbd_netlink_take(const uint8_t *bytes, size_t length, uint32_t sequence,
                          struct byre_nbd_netlink_reply *reply);

#endif
