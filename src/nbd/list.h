/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listing the exports of another server, as qemu-nbd -L does, through libnbd.
 *
 *   I1. Whatever a server does or does not do, it is waited for no longer than TIMEOUT_MS at each step.
 *   I2. What it says is shown without control characters, and EXPORTS_MAX exports of it at most.
 */
#ifndef BYRE_NBD_LIST_H
#define BYRE_NBD_LIST_H

#include <stdbool.h>
#include <stdio.h>

#include "byre/error.h"

struct byre_nbd_list_options {
    const char *socket;           /* a path, or "@" and an abstract name; or NULL */
    const char *host, *port;      /* where there is no socket */
    const char *tls_certificates; /* a directory; TLS where this or tls_psk_file is not NULL */
    const char *tls_psk_file, *tls_username;
    bool tls_verify_peer;         /* the server's certificate has to be that of `host` */
};

/* Writes the list to `out`.  -ENOTSUP: byre was built without libnbd. */
int byre_nbd_list(const struct byre_nbd_list_options *options, FILE *out, struct byre_error *err);

#endif
