/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets that wait for clients.
 */
#ifndef BYRE_NBD_LISTEN_H
#define BYRE_NBD_LISTEN_H

#include "base/vec.h"
#include "byre/error.h"

typedef VEC(int) byre_nbd_sockets;

/*
 * A socket at a path, or, where that begins with "@", with an abstract name.  What a server that is gone has left at a
 * path is replaced; -EADDRINUSE: somebody answers there, or it is no socket.
 */
int byre_nbd_listen_unix(byre_nbd_sockets *sockets, const char *path, struct byre_error *err);

/* Sockets for all addresses that `host` (NULL: all of this machine's) has, IPv4 and IPv6; `port` may be a name. */
int byre_nbd_listen_tcp(byre_nbd_sockets *sockets, const char *host, const char *port, struct byre_error *err);

/* A socket of the family vsock, which virtual machines have: `text` is "[CID:]PORT"; without CID, any. */
int byre_nbd_listen_vsock(byre_nbd_sockets *sockets, const char *text, struct byre_error *err);

/*
 * The SELinux label of the sockets that this thread makes from now on; NULL: as the policy says.  The kernel's error
 * where it has no SELinux, or no such label.
 */
int byre_nbd_listen_label(const char *label, struct byre_error *err);

/* Closes all. */
void byre_nbd_sockets_done(byre_nbd_sockets *sockets);

#endif
