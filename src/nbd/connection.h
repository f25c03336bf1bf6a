/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection: a socket, what its client has said, and what it is to be told.  All of it in its loop's thread.
 *
 *   K1. No more is taken while IN_FLIGHT_MAX ops are under way, or BYTES_MAX bytes of them, or UNSENT_MAX bytes wait to
 *       be sent; and in one round no more than ROUND_MAX bytes are: what was read is sent while a cache still has it.
 *       Nor while the client does not hear what it has asked for in its handshake.
 *   K2. A connection lives until its last op is done, also when its peer is gone.
 *   K3. What goes over the socket after STARTTLS goes through `tls`, and nothing else does.
 */
#ifndef BYRE_NBD_CONNECTION_H
#define BYRE_NBD_CONNECTION_H

#include "nbd/loop.h"
#include "nbd/tls.h"

struct byre_nbd_connection {
    struct byre_nbd_loop *loop;
    TAILQ_ENTRY(byre_nbd_connection) all, greeting, mark; /* the loop's lists */
    int fd;
    struct byre_nbd_tls_session *tls; /* or NULL: in the clear */
    uint32_t watched;      /* EPOLLIN, EPOLLOUT */
    uint64_t deadline;     /* of the handshake: CLOCK_MONOTONIC nanoseconds; 0: none */
    bool greeting_over;    /* the transmission phase is there */
    bool asking;           /* for an export that is not open: nothing is read until it is */
    bool deaf;             /* nothing more is read */
    bool broken;           /* nothing can be sent any more */
    bool marked, greets;   /* in these lists of the loop's */
    struct byre_nbd_negotiation negotiation;
    struct byre_nbd_terms terms;
    struct byre_nbd_lane *lane;
    uint8_t *in;           /* what has come and was not taken: from in_at to in_end */
    size_t in_at, in_end;
    struct byre_nbd_op *incoming; /* whose payload is coming */
    size_t filled;         /* of it */
    uint64_t skip;         /* bytes of a payload that nobody wants */
    byre_nbd_bytes greetings;     /* what the handshake says: from greetings_at on */
    size_t greetings_at;
    struct byre_nbd_op *first_reply, **last_reply;
    unsigned in_flight;    /* ops, replies included */
    uint64_t bytes_in_flight, unsent, in_round;
};

/* Takes the socket, also when it fails: -ENOMEM. */
int byre_nbd_connection_new(struct byre_nbd_loop *loop, int fd, struct byre_nbd_connection **ret_connection);
/* Nothing of it is under way. */
void byre_nbd_connection_free(struct byre_nbd_connection *connection);

/* The socket has something: takes it. */
void byre_nbd_connection_receive(struct byre_nbd_connection *connection);
/* Goes on with what has come, as far as there is room for more ops. */
void byre_nbd_connection_go_on(struct byre_nbd_connection *connection);
/* Bytes that have come and wait to be gone on with; no event of the socket tells of them any more. */
size_t byre_nbd_connection_waiting(const struct byre_nbd_connection *connection);
/* An op is done. */
void byre_nbd_connection_finish(struct byre_nbd_connection *connection, struct byre_nbd_op *op);
/* What it asked for in negotiation.ask is there, or is not to be had. */
void byre_nbd_connection_answer(struct byre_nbd_connection *connection);
/* Sends what is there to be sent, and says what of the socket to wait for. */
void byre_nbd_connection_send(struct byre_nbd_connection *connection);
/* Nothing more is taken from the client.  `why`: NULL if that is as it should be. */
void byre_nbd_connection_end(struct byre_nbd_connection *connection, const char *why);
/* Nothing more is sent to it, either. */
void byre_nbd_connection_break_off(struct byre_nbd_connection *connection);
/* Is there nothing left to be done with it? */
bool byre_nbd_connection_is_over(const struct byre_nbd_connection *connection);

#endif
