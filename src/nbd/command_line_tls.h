/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre-nbd's options of TLS, and the objects that they refer to: tls-creds-x509, tls-creds-psk, tls-creds-anon,
 * authz-simple, authz-list and authz-list-file.
 */
#ifndef BYRE_NBD_COMMAND_LINE_TLS_H
#define BYRE_NBD_COMMAND_LINE_TLS_H

#include "nbd/authz.h"
#include "nbd/negotiation.h"
#include "nbd/tls_creds.h"

/* Credentials of a client, for listing: NULL and false where they are not of that kind. */
struct byre_nbd_tls_client {
    char *certificates;    /* a directory */
    char *psk_file, *username;
    bool verify_peer;
};

struct byre_nbd_tls_choice {
    const char *creds_id, *authz_id, *hostname, *mode; /* as they are written, or NULL */
    enum byre_nbd_tls tls;              /* what comes of it: by byre_nbd_tls_choose() */
    const struct byre_nbd_creds *creds;
    struct byre_nbd_authz *authz;
    const struct byre_nbd_tls_client *client; /* NULL: no TLS */
};

/* Before the options are read: --object knows these kinds from now on. */
void byre_nbd_objects_know(void);

/* After that: what was chosen, for a server, or for listing the exports of one at `host` (NULL: at a UNIX socket, or
 * none was given).  0, or -1 after a complaint. */
int byre_nbd_tls_choose(struct byre_nbd_tls_choice *choice, bool listing, const char *host);

/* Releases the objects. */
void byre_nbd_objects_done(void);

#endif
