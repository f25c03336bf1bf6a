/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server: accepts clients, gives each to one of its loops, and does what signals say.
 */
#ifndef BYRE_NBD_SERVER_H
#define BYRE_NBD_SERVER_H

#include "nbd/authz.h"
#include "nbd/export.h"
#include "nbd/listen.h"
#include "nbd/negotiation.h"
#include "nbd/systemd.h"
#include "nbd/tls_creds.h"

struct byre_nbd_server;

/* The callbacks are called in the thread that serves, `complain` apart, with `opaque`. */
struct byre_nbd_server_options {
    struct byre_nbd_exports *exports; /* the caller's */
    const byre_nbd_sockets *sockets;  /* the caller's: where clients come */
    int signal_fd;                    /* of byre_nbd_server_signals(): where struct signalfd_siginfo are read */
    bool hangup_ends;                 /* SIGHUP is as SIGTERM */
    const struct byre_nbd_notify *notify; /* what is told how the server does; or NULL */
    unsigned threads;                 /* 0: one for each processor */
    unsigned clients_max;             /* at a time; 0: any number */
    bool persistent;                  /* goes on when the last client has gone */
    enum byre_nbd_tls tls;
    const struct byre_nbd_creds *creds; /* the caller's; NULL where TLS is off */
    struct byre_nbd_authz *authz;     /* the caller's; NULL: all whom the credentials let in */
    unsigned handshake_seconds;       /* that a client may take; 0: any number */
    void (*complain)(void *opaque, const char *text); /* of a client; called from any thread; or NULL */
    /* clients can come; or NULL */
    int (*started)(void *opaque, struct byre_nbd_server *server, struct byre_error *err);
    void (*stopping)(void *opaque);   /* told to end, while requests are still taken; or NULL */
    void (*reload)(void *opaque);     /* SIGHUP; NULL: that is told of in `complain` */
    void (*report)(void *opaque, const char *text); /* SIGUSR1: statistics, some lines; or NULL */
    void *opaque;
};

/*
 * Blocks the signals that a server takes (SIGTERM, SIGINT, SIGHUP, SIGUSR1), in this thread and those that it makes,
 * and has broken pipes ignored: a file descriptor to read the signals from, or -errno.
 */
int byre_nbd_server_signals(void);

/*
 * Serves until it is to end: then all requests that were taken are answered.  Clients that do not hear their answers
 * are cut off after ten seconds, or with a second signal.  It fails if it cannot begin.
 */
int byre_nbd_serve(const struct byre_nbd_server_options *options, struct byre_error *err);

/* For `started`: a socket with a client's end of a new connection, as if it had been accepted. */
int byre_nbd_server_connect(struct byre_nbd_server *server, int *ret_fd, struct byre_error *err);

#endif
