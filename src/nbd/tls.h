/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS on one connection, the server's side: between a socket that does not block and what is said and heard.
 *
 * What has come is read into memory in large pieces, and decrypted from there; what is encrypted is gathered there, and
 * sent in one piece.  So there are no system calls for single records.
 *
 *   T1. No call waits.
 *   T2. What was read and not yet decrypted (byre_nbd_tls_unread) is not announced by the socket any more: whoever
 *       stops taking has to come back by himself.
 *   T3. What was taken to be sent is encrypted already: the memory that it came from is the caller's again.
 *   T4. No more than OUT_MAX bytes, and a record, wait to be sent.
 *   T5. Nobody who is not known, where clients are to be known, and allowed, gets past the handshake.
 */
#ifndef BYRE_NBD_TLS_H
#define BYRE_NBD_TLS_H

#include <sys/uio.h>

#include "nbd/authz.h"
#include "nbd/tls_creds.h"

struct byre_nbd_tls_session;

/*
 * Begins, on a socket that stays the caller's.  `plain` is sent in the clear before all else.  `authz`: NULL: whoever
 * the credentials let in may.  -ENOMEM.
 */
int byre_nbd_tls_new(const struct byre_nbd_creds *creds, struct byre_nbd_authz *authz, int fd, const void *plain,
                     size_t length, struct byre_nbd_tls_session **ret_tls);
/* With good-bye, if the handshake was over, nothing is broken, and the socket takes it at once.  NULL is allowed. */
void byre_nbd_tls_free(struct byre_nbd_tls_session *tls);

/* Reads once from the socket: 1; 0: the peer has ended, which is heard of in its turn; -EAGAIN: nothing; -errno. */
int byre_nbd_tls_fill(struct byre_nbd_tls_session *tls);
/* Bytes (or what counts as such) that wait to be decrypted. */
size_t byre_nbd_tls_unread(const struct byre_nbd_tls_session *tls);
/* Bytes that wait to be sent. */
size_t byre_nbd_tls_unsent(const struct byre_nbd_tls_session *tls);

/*
 * Goes on with the handshake: 0 when it is over; -EAGAIN: more has to come, or to be sent, before that.  Any other
 * error is the end; the client is told, as far as the socket takes it at once.
 */
int byre_nbd_tls_shake(struct byre_nbd_tls_session *tls, struct byre_error *err);

/* Decrypts what was read: its bytes; 0: the peer has ended; -EAGAIN: there are none yet; any other error is the end. */
ssize_t byre_nbd_tls_receive(struct byre_nbd_tls_session *tls, const struct iovec *iov, unsigned count);

/*
 * Encrypts and sends: the bytes that were taken (T3); -EAGAIN: none now, for the socket takes no more; -errno.  With
 * none to take it sends what waits, and returns 0 when that is gone.
 */
ssize_t byre_nbd_tls_send(struct byre_nbd_tls_session *tls, const struct iovec *iov, unsigned count);

#endif
