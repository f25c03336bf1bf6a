/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A loop: one thread, the connections that are its own, and its queues.
 *
 *   W1. A round takes what all ready sockets have, submits all requests, reaps all that is done, and sends to each
 *       connection what is ready for it in one go.
 *   W2. Connections and lanes are the thread's alone.  What others give to a loop goes through `mutex`, and wakes it.
 */
#ifndef BYRE_NBD_LOOP_H
#define BYRE_NBD_LOOP_H

#include <sys/queue.h>

#include "nbd/authz.h"
#include "nbd/keeper.h"
#include "nbd/op.h"
#include "nbd/tls_creds.h"

struct byre_nbd_connection;
struct byre_nbd_loop;

/* What all loops of a server have; the server's. */
struct byre_nbd_shared {
    struct byre_nbd_exports *exports;
    struct byre_workers *workers; /* of the queues */
    struct byre_pool *pool;       /* for slow ops */
    enum byre_nbd_tls tls;
    const struct byre_nbd_creds *creds; /* where TLS is not off */
    struct byre_nbd_authz *authz;       /* who may, with TLS; NULL: whom the credentials let in */
    unsigned handshake_seconds;   /* 0: no limit */
    atomic_uint connections;      /* there are, or were accepted */
    atomic_bool served;           /* some client has come to the transmission phase */
    int ended_fd;                 /* an eventfd: written when a connection has ended */
    void (*complain)(void *opaque, const char *text); /* of one connection; thread-safe */
    void *opaque;
};

/* The queue of a loop on an export. */
struct byre_nbd_lane {
    struct byre_nbd_export *export; /* referred to */
    struct byre_queue *queue;
    VEC(struct byre_request) batch; /* to be submitted */
    unsigned users;                 /* connections */
    struct byre_nbd_tally *tally;   /* the loop's on the export */
};

int byre_nbd_loop_new(struct byre_nbd_shared *shared, struct byre_nbd_loop **ret_loop, struct byre_error *err);
/* Takes the socket, which does not block, and greets. */
void byre_nbd_loop_adopt(struct byre_nbd_loop *loop, int fd);
/*
 * No more requests are taken; the thread ends when all that were taken are answered.  `cut`: when they are done, and
 * nobody is told.
 */
void byre_nbd_loop_stop(struct byre_nbd_loop *loop, bool cut);
/* Waits for the end of the thread. */
void byre_nbd_loop_free(struct byre_nbd_loop *loop);

/* --- for connections, in the loop's thread --- */

struct byre_nbd_shared *byre_nbd_loop_shared(struct byre_nbd_loop *loop);
/* The lane of an export, with one user more; NULL: no memory. */
struct byre_nbd_lane *byre_nbd_loop_lane(struct byre_nbd_loop *loop, struct byre_nbd_export *export);
void byre_nbd_loop_leave_lane(struct byre_nbd_loop *loop, struct byre_nbd_lane *lane);
/* Gives an op to a worker, which gives it back to the loop. */
void byre_nbd_loop_run_slow(struct byre_nbd_loop *loop, struct byre_nbd_op *op);
/* Has the keeper asked, for the connection: byre_nbd_connection_answer follows. */
void byre_nbd_loop_ask(struct byre_nbd_loop *loop, struct byre_nbd_connection *connection, struct byre_nbd_ask *ask);
/* An op, new or used before; NULL: no memory.  And back. */
struct byre_nbd_op *byre_nbd_loop_take_op(struct byre_nbd_loop *loop);
void byre_nbd_loop_give_op(struct byre_nbd_loop *loop, struct byre_nbd_op *op);
/* Which events of its socket are waited for: EPOLLIN, EPOLLOUT; 0: none, not even its end. */
int byre_nbd_loop_watch(struct byre_nbd_loop *loop, struct byre_nbd_connection *connection, uint32_t events);
/* In this round there is something to send to it, or to go on with. */
void byre_nbd_loop_mark(struct byre_nbd_loop *loop, struct byre_nbd_connection *connection);

#endif
