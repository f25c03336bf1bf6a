/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credentials for TLS: by what a server proves who it is, and by what it judges its clients.  As the properties of
 * QEMU's objects tls-creds-x509, tls-creds-psk and tls-creds-anon with endpoint=server, in the files that QEMU names.
 *
 *   C1. Nothing is left to be found out by the first client: all files are read, and judged, when the server starts.
 *   C2. Once made they do not change, and any thread may use them.
 */
#ifndef BYRE_NBD_TLS_CREDS_H
#define BYRE_NBD_TLS_CREDS_H

#include <gnutls/gnutls.h>
#include <stdbool.h>

#include "byre/error.h"

enum byre_nbd_creds_kind {
    BYRE_NBD_CREDS_X509, /* ca-cert.pem, server-cert.pem, server-key.pem; where they are: ca-crl.pem, dh-params.pem */
    BYRE_NBD_CREDS_PSK,  /* keys.psk: lines "USERNAME:KEY", the key in hexadecimal digits; dh-params.pem */
    BYRE_NBD_CREDS_ANON, /* encrypted, and nobody knows who is there; dh-params.pem */
};

struct byre_nbd_creds_options {
    enum byre_nbd_creds_kind kind;
    const char *dir;      /* of the files; NULL only for BYRE_NBD_CREDS_ANON */
    const char *priority; /* of GnuTLS; NULL: what is good by default, from TLS 1.2 on */
    const char *password; /* of server-key.pem; NULL: none */
    bool verify_peer;     /* X509: clients prove who they are, too */
    bool sanity_check;    /* X509: the server's own certificates are judged as a client would judge them */
};

struct byre_nbd_creds;

/* -EINVAL, -ENOENT and the like name the file. */
int byre_nbd_creds_new(const struct byre_nbd_creds_options *options, struct byre_nbd_creds **ret_creds,
                       struct byre_error *err);
/* No session uses them any more.  NULL is allowed. */
void byre_nbd_creds_free(struct byre_nbd_creds *creds);

/* Do clients say who they are, so that they can be told apart? */
bool byre_nbd_creds_identify(const struct byre_nbd_creds *creds);
enum byre_nbd_creds_kind byre_nbd_creds_kind(const struct byre_nbd_creds *creds);
/* X509: clients have to show a certificate. */
bool byre_nbd_creds_verify_peer(const struct byre_nbd_creds *creds);

/* A session of the server's side with these credentials; gnutls_deinit() is the caller's.  -ENOMEM. */
int byre_nbd_creds_session(const struct byre_nbd_creds *creds, gnutls_session_t *ret_session);

#endif
