/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An op: one request of a client, from its head to the last byte of its reply.
 *
 *   O1. Reads, and all that changes a disk, are a queue's.  What asks for metadata is run by a worker with blocking
 *       calls: byre_nbd_op_run.
 *   O2. A failure is an error of the wire and words for people, in `error` and `why`; no data goes with it.
 */
#ifndef BYRE_NBD_OP_H
#define BYRE_NBD_OP_H

#include <sys/uio.h>

#include "base/pool.h"
#include "byre/queue.h"
#include "nbd/message.h"

/* A part of a reply, which is in memory, or in a file. */
struct byre_nbd_part {
    struct iovec bytes; /* in a file: how many is all that it says */
    int fd;             /* or -1 */
    uint64_t hoff;
};

#define BYRE_NBD_STATUS_BYTES (64u << 10) /* about what the extents of one context take at most */

struct byre_nbd_op {
    struct byre_job job; /* first: a job of the pool is an op */
    struct byre_nbd_op *next;
    void *owner;         /* the connection */
    const struct byre_nbd_terms *terms;
    struct byre_nbd_request request;
    uint8_t *data;       /* payload, or what was read: `room` bytes */
    size_t room;
    uint64_t counted;    /* bytes, towards what its connection may have under way */
    struct iovec vector; /* the data, for a queue */
    struct byre_places places; /* of a read: these parts are not in `data` */
    uint32_t error;      /* NBD_E*; 0: done */
    const char *why;     /* of the error, for the client; or NULL: `err` has words, for who runs the server */
    struct byre_error err;
    byre_nbd_bytes heads;     /* what `reply` has besides `data` */
    VEC(struct byre_nbd_part) reply; /* what is to be sent */
    size_t reply_at;          /* of its parts: those before were sent */
};

/* Room for `length` bytes of data; what was there is gone.  -ENOMEM. */
int byre_nbd_op_make_room(struct byre_nbd_op *op, size_t length);
/* Frees it with all it has.  NULL is allowed. */
void byre_nbd_op_free(struct byre_nbd_op *op);

/* From an offset in the disk, as op->request.goff is one once the request was judged, to one in the export. */
static inline uint64_t byre_nbd_op_wire_goff(const struct byre_nbd_op *op, uint64_t goff)
{
    return goff - op->terms->export->offset;
}

/* Is it for a worker? */
bool byre_nbd_op_is_slow(const struct byre_nbd_op *op);
/* The request for a queue. */
struct byre_request byre_nbd_op_request(struct byre_nbd_op *op);
/* Does what a worker does; its reply is made afterwards as that of others. */
void byre_nbd_op_run(struct byre_nbd_op *op);
/* Takes what a queue or a blocking call returned. */
void byre_nbd_op_take_result(struct byre_nbd_op *op, int result);

/* Makes the reply, unless byre_nbd_op_run has made it.  -ENOMEM: there is none, and the client waits in vain. */
int byre_nbd_op_reply(struct byre_nbd_op *op);

#endif
