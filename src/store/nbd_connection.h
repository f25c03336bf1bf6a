/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection to an NBD server, which any number of threads send requests over at once.
 *
 * There is no thread of its own: of those that wait for replies one waits for the socket, and wakes the others.
 *
 *   C1. libnbd's handle is only used under `lock`.
 *   C2. At most one thread is in poll(); it is woken when what it waits for is no longer what the handle wants.
 *   C3. A thread that leaves while others wait wakes one of them, which goes on waiting for the socket.
 *   C4. When the connection is lost, every request that has no reply yet is completed as lost.
 */
#ifndef BYRE_STORE_NBD_CONNECTION_H
#define BYRE_STORE_NBD_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/nbd.h"

struct byre_nbd_connection;

enum byre_nbd_op {
    BYRE_NBD_READ,
    BYRE_NBD_WRITE,
    BYRE_NBD_FLUSH,
    BYRE_NBD_TRIM,
    BYRE_NBD_ZERO,
    BYRE_NBD_STATUS,
};

/* Bytes up to `end` that are of one kind. */
struct byre_nbd_run {
    uint64_t end;
    bool zero; /* they read as zero */
};

/* On the stack of the thread that waits for it. */
struct byre_nbd_request {
    enum byre_nbd_op op;
    bool no_hole, fast;    /* of ZERO */
    void *buf;             /* of READ and WRITE */
    uint64_t offset, length;
    struct byre_nbd_run *runs; /* of STATUS: the first one starts at `offset`, and is not empty */
    size_t runs_max;           /* how many there is room for; with room for one, the server is asked for one */
    size_t ret_runs;           /* how many there are: at least 1 */
    /* Private: */
    bool runs_full;
    bool done, lost;
    int code;
    pthread_cond_t wake;
    struct byre_nbd_request *next, *prev;
};

/* What the server said in the handshake. */
struct byre_nbd_export {
    uint64_t size;
    bool read_only, can_flush, can_trim, can_zero, can_fast_zero, can_status, multi_conn;
    uint64_t block_min, block_preferred, block_max; /* 0: not said */
};

/*
 * Connects within `seconds`.  *ret_again, if it fails: the server is not there, or went away, so that another attempt
 * may succeed.  Errors name the address, or have the server's message.
 */
int byre_nbd_connect(const struct byre_nbd_options *options, unsigned seconds, struct byre_nbd_export *ret_export,
                     struct byre_nbd_connection **ret_connection, bool *ret_again, struct byre_error *err);

/* Says goodbye, for a second or two at most, and releases the connection, which nobody uses.  NULL is allowed. */
void byre_nbd_disconnect(struct byre_nbd_connection *connection);

/* Sends the request and waits for the reply: 0, or a negative errno; *ret_lost: there is none, for the connection is
 * lost. */
int byre_nbd_connection_run(struct byre_nbd_connection *connection, struct byre_nbd_request *request, bool *ret_lost);

#endif
