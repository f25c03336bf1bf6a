/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server: accepts clients, and gives each to one of its loops.
 */
#ifndef BYRE_NBD_SERVER_H
#define BYRE_NBD_SERVER_H

#include "nbd/export.h"
#include "nbd/listen.h"
#include "nbd/negotiation.h"

struct byre_nbd_server_options {
    struct byre_nbd_exports *exports; /* the caller's */
    const byre_nbd_sockets *sockets;  /* the caller's: where clients come */
    int stop_fd;                      /* readable: it is time to end, if `at_signal`, called with `signals`, says so */
    bool (*at_signal)(void *signals); /* or NULL */
    void *signals;
    unsigned threads;                 /* 0: one for each processor */
    unsigned clients_max;             /* at a time; 0: any number */
    bool persistent;                  /* goes on when the last client has gone */
    enum byre_nbd_tls tls;
    unsigned handshake_seconds;       /* that a client may take; 0: any number */
    void (*complain)(void *opaque, const char *text); /* of a client; called from any thread; or NULL */
    void *opaque;
};

/*
 * Serves until it is to end: then all requests that were taken are answered.  It fails if it cannot begin.  Signals are
 * for the caller to block.
 */
int byre_nbd_serve(const struct byre_nbd_server_options *options, struct byre_error *err);

#endif
