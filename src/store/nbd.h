/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stores that are exports of NBD servers, over libnbd.
 *
 * A store has as many connections as the server and the work to do allow.  Where a connection is lost, requests fail
 * from then on, unless `reconnect_delay` gives the server time to come back: then they wait, and are sent again, and so
 * is what was written and not yet flushed, which the server may have lost.
 */
#ifndef BYRE_STORE_NBD_H
#define BYRE_STORE_NBD_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/error.h"

#define BYRE_NBD_EXPORT_MAX 4096u      /* bytes of an export's name (the protocol's limit of strings) */
#define BYRE_NBD_DELAY_MAX (24u * 3600) /* seconds that one may wait for a server */

struct byre_store;

struct byre_nbd_options {
    const char *name;         /* what messages call the store */
    const char *path;         /* of a unix socket; NULL: host and port are given */
    const char *host, *port;
    const char *export_name;  /* "": the server's default export */
    bool tls;                 /* the server has to encrypt, and to prove who it is */
    const char *tls_certificates; /* directory of certificates; NULL: those of the system and the user */
    const char *tls_psk_file; /* keys in place of certificates; NULL: none */
    const char *tls_username; /* NULL: who runs the program */
    unsigned open_timeout;    /* seconds to try again to connect at first; 0: one attempt */
    unsigned reconnect_delay; /* seconds to try to connect again when a connection is lost; 0: not at all */
    bool writable;
};

/*
 * Connects, and makes a store of the export.  -ENOTSUP where byre was built without libnbd.  Errors have no name in
 * front; one from the server comes with its message.
 */
int byre_nbd_open(const struct byre_nbd_options *options, struct byre_store **ret_store, struct byre_error *err);

#endif
