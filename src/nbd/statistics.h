/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What clients have asked for, counted.
 *
 *   C1. A tally is written to by one thread, its loop's, and read by any: numbers are stored and loaded whole, and
 *       nothing else is promised of them, so that counting costs an addition.
 *   C2. A loop has at most one tally on an export, which lives as long as the export, however many clients come and
 *       go.
 */
#ifndef BYRE_NBD_STATISTICS_H
#define BYRE_NBD_STATISTICS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "base/vec.h"

#define BYRE_NBD_TALLY_TYPES 8u /* commands of the protocol: NBD_CMD_READ to NBD_CMD_BLOCK_STATUS */

struct byre_nbd_tally {
    struct byre_nbd_tally *next;
    const void *loop;                /* whose it is */
    _Atomic uint64_t connections, gone; /* that came to the transmission phase; that have left it */
    _Atomic uint64_t taken, done;    /* requests */
    _Atomic uint64_t errors;         /* requests that were answered with an error */
    _Atomic uint64_t requests[BYRE_NBD_TALLY_TYPES]; /* that succeeded */
    _Atomic uint64_t bytes[BYRE_NBD_TALLY_TYPES];    /* that those were about */
};

/* Adds to a number of the thread's own tally. */
static inline void byre_nbd_tally_add(_Atomic uint64_t *number, uint64_t more)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + more, memory_order_relaxed);
}

/* A request was answered: what `error` is not 0 for has done nothing. */
static inline void byre_nbd_tally_done(struct byre_nbd_tally *tally, unsigned type, uint64_t length, uint32_t error)
{
    byre_nbd_tally_add(&tally->done, 1);
    if (error || type >= BYRE_NBD_TALLY_TYPES) {
        byre_nbd_tally_add(&tally->errors, 1);
        return;
    }
    byre_nbd_tally_add(&tally->requests[type], 1);
    byre_nbd_tally_add(&tally->bytes[type], length);
}

/* The tallies of an export. */
struct byre_nbd_tallies {
    pthread_mutex_t mutex;
    struct byre_nbd_tally *first; /* under it */
};

void byre_nbd_tallies_init(struct byre_nbd_tallies *tallies);
void byre_nbd_tallies_done(struct byre_nbd_tallies *tallies);
/* The one of that loop; NULL: no memory. */
struct byre_nbd_tally *byre_nbd_tallies_get(struct byre_nbd_tallies *tallies, const void *loop);

struct byre_nbd_exports;

/* What the server as a whole knows. */
struct byre_nbd_statistics {
    time_t since;          /* CLOCK_REALTIME */
    uint64_t accepted;     /* clients, ever */
    unsigned connections;  /* now, those in the handshake included */
};

/* A text for people, for free(): a line for the server, some for each export.  -ENOMEM. */
int byre_nbd_statistics_put(const struct byre_nbd_statistics *statistics, struct byre_nbd_exports *exports,
                            char **ret_text);

#endif
