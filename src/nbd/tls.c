/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS by GnuTLS, over memory.  GnuTLS never sees the socket, so that it does not give keys to the kernel either.
 */
#include "config.h"

#include "nbd/tls.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/arith.h"
#include "nbd/negotiation.h"

#define IN_BYTES     (64u << 10)
#define OUT_MAX      (256u << 10)
#define RECORD_MAX   16384u       /* RFC 8446, 5.1 */

struct byre_nbd_tls_session {
    gnutls_session_t session;
    struct byre_nbd_authz *authz;
    const struct byre_nbd_creds *creds;
    int fd;
    bool secure;         /* the handshake is over */
    bool broken;         /* nothing can be sent any more */
    bool hung_up;        /* the socket has ended */
    bool has_end;        /* `end` is what the next reader is told */
    ssize_t end;
    struct byre_error err; /* of the client's certificate */
    uint8_t *in;         /* from in_at to in_end: read, and not decrypted */
    size_t in_at, in_end;
    byre_nbd_bytes out;  /* encrypted, from out_at on: not sent */
    size_t out_at;
};

/* --- what GnuTLS calls ------------------------------------------------------------------------------------- */

static ssize_t pull(gnutls_transport_ptr_t opaque, void *data, size_t size)
{
    struct byre_nbd_tls_session *tls = opaque;
    size_t part = MIN(size, tls->in_end - tls->in_at);

    if (!part && !tls->hung_up) {
        gnutls_transport_set_errno(tls->session, EAGAIN);
        return -1;
    }
    if (part)
        memcpy(data, tls->in + tls->in_at, part);
    tls->in_at += part;
    return (ssize_t)part;
}

static ssize_t push(gnutls_transport_ptr_t opaque, const void *data, size_t size)
{
    struct byre_nbd_tls_session *tls = opaque;

    if (vec_reserve(&tls->out, size) < 0) {
        gnutls_transport_set_errno(tls->session, ENOMEM);
        return -1;
    }
    memcpy(tls->out.ptr + tls->out.len, data, size);
    tls->out.len += size;
    return (ssize_t)size;
}

/* --- who is there ------------------------------------------------------------------------------------------ */

static int deny(struct byre_nbd_tls_session *tls, const char *identity)
{
    return byre_error_set(&tls->err, -EACCES, "TLS: '%.400s' is not authorized", identity ? identity : "");
}

/* The distinguished name of the client's own certificate, as RFC 4514 writes it.  To be freed by gnutls_free(). */
static int get_name(gnutls_session_t session, gnutls_datum_t *ret_name)
{
    unsigned count;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    gnutls_x509_crt_t certificate;
    int code;

    if (!chain || !count)
        return GNUTLS_E_NO_CERTIFICATE_FOUND;
    code = gnutls_x509_crt_init(&certificate);
    if (code < 0)
        return code;
    code = gnutls_x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER);
    if (code >= 0)
        code = gnutls_x509_crt_get_dn2(certificate, ret_name);
    gnutls_x509_crt_deinit(certificate);
    return code;
}

/* GnuTLS calls it when the client's certificate has come, before it says that all is well. */
static int judge_certificate(gnutls_session_t session)
{
    gnutls_typed_vdata_st purpose = { GNUTLS_DT_KEY_PURPOSE_OID, (uint8_t *)GNUTLS_KP_TLS_WWW_CLIENT, 0 };
    struct byre_nbd_tls_session *tls = gnutls_session_get_ptr(session);
    gnutls_datum_t text = { NULL, 0 };
    unsigned status = 0;
    int code = gnutls_certificate_verify_peers(session, &purpose, 1, &status);

    if (code < 0 || status) {
        if (code >= 0)
            (void)gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
        byre_error_set(&tls->err, -EACCES, "TLS: the client's certificate is not accepted: %s",
                       code < 0 ? gnutls_strerror(code) : text.data ? (const char *)text.data : "it is not valid");
        gnutls_free(text.data);
        return GNUTLS_E_CERTIFICATE_ERROR;
    }
    if (!tls->authz)
        return 0;
    if (get_name(session, &text) >= 0 && byre_nbd_authz_allows(tls->authz, (const char *)text.data))
        code = 0;
    else
        code = deny(tls, (const char *)text.data);
    gnutls_free(text.data);
    return code < 0 ? GNUTLS_E_CERTIFICATE_ERROR : 0;
}

/* Those who have no certificate are judged once they have proved that they know their key. */
static bool may_others(struct byre_nbd_tls_session *tls)
{
    const char *name = NULL;

    if (!tls->authz || byre_nbd_creds_verify_peer(tls->creds))
        return true;
    if (byre_nbd_creds_kind(tls->creds) == BYRE_NBD_CREDS_PSK)
        name = gnutls_psk_server_get_username(tls->session);
    if (byre_nbd_authz_allows(tls->authz, name))
        return true;
    (void)deny(tls, name);
    return false;
}

/* Codes after which the same call is made again: it has used up some of what came. */
static bool goes_on(ssize_t code)
{
    return code == GNUTLS_E_INTERRUPTED || code == GNUTLS_E_WARNING_ALERT_RECEIVED;
}

/* --- the session ------------------------------------------------------------------------------------------- */

int byre_nbd_tls_new(const struct byre_nbd_creds *creds, struct byre_nbd_authz *authz, int fd, const void *plain,
                     size_t length, struct byre_nbd_tls_session **ret_tls)
{
    struct byre_nbd_tls_session *tls = calloc(1, sizeof *tls);

    if (!tls)
        return -ENOMEM;
    tls->in = malloc(IN_BYTES);
    if (!tls->in || vec_reserve(&tls->out, length) < 0 || byre_nbd_creds_session(creds, &tls->session) < 0) {
        vec_done(&tls->out);
        free(tls->in);
        free(tls);
        return -ENOMEM;
    }
    tls->creds = creds;
    tls->authz = authz;
    tls->fd = fd;
    if (length)
        memcpy(tls->out.ptr, plain, length);
    tls->out.len = length;
    gnutls_session_set_ptr(tls->session, tls);
    gnutls_transport_set_ptr(tls->session, tls);
    gnutls_transport_set_pull_function(tls->session, pull);
    gnutls_transport_set_push_function(tls->session, push);
    if (byre_nbd_creds_verify_peer(creds))
        gnutls_session_set_verify_function(tls->session, judge_certificate);
    *ret_tls = tls;
    return 0;
}

size_t byre_nbd_tls_unread(const struct byre_nbd_tls_session *tls)
{
    return tls->in_end - tls->in_at + gnutls_record_check_pending(tls->session) + (tls->has_end || tls->hung_up);
}

size_t byre_nbd_tls_unsent(const struct byre_nbd_tls_session *tls)
{
    return tls->out.len - tls->out_at;
}

/* Sends what waits: 0, -EAGAIN, -errno. */
static int flush(struct byre_nbd_tls_session *tls)
{
    ssize_t sent = 0;
    size_t rest;

    while (tls->out_at < tls->out.len) {
        sent = send(tls->fd, tls->out.ptr + tls->out_at, tls->out.len - tls->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            sent = -errno;
            break;
        }
        tls->out_at += (size_t)sent;
    }
    rest = tls->out.len - tls->out_at;
    if (rest <= tls->out_at) { /* what is moved was sent before, as many bytes at least */
        memmove(tls->out.ptr, tls->out.ptr + tls->out_at, rest);
        tls->out.len = rest;
        tls->out_at = 0;
    }
    tls->broken = tls->broken || (sent < 0 && sent != -EAGAIN);
    return sent < 0 ? (int)sent : 0;
}

void byre_nbd_tls_free(struct byre_nbd_tls_session *tls)
{
    if (!tls)
        return;
    if (tls->secure && !tls->broken && tls->out_at == tls->out.len) {
        (void)gnutls_bye(tls->session, GNUTLS_SHUT_WR);
        (void)flush(tls);
    }
    gnutls_deinit(tls->session);
    vec_done(&tls->out);
    free(tls->in);
    free(tls);
}

/* The session is over for a mistake of the client's: he is told which. */
static void alert(struct byre_nbd_tls_session *tls, int code)
{
    if (tls->err.code && code == GNUTLS_E_CERTIFICATE_ERROR)
        (void)gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, GNUTLS_A_ACCESS_DENIED);
    else if (code == GNUTLS_E_REHANDSHAKE) /* NBD's document recommends that there is none */
        (void)gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, GNUTLS_A_NO_RENEGOTIATION);
    else
        (void)gnutls_alert_send_appropriate(tls->session, code);
    (void)flush(tls);
    tls->broken = true;
}

int byre_nbd_tls_fill(struct byre_nbd_tls_session *tls)
{
    ssize_t got;

    if (tls->in_at == tls->in_end)
        tls->in_at = tls->in_end = 0;
    if (tls->in_end == IN_BYTES)
        return 1; /* there is enough to go on with */
    got = recv(tls->fd, tls->in + tls->in_end, IN_BYTES - tls->in_end, MSG_DONTWAIT);
    if (got < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    tls->hung_up = tls->hung_up || got == 0;
    tls->in_end += (size_t)got;
    return got > 0;
}

int byre_nbd_tls_shake(struct byre_nbd_tls_session *tls, struct byre_error *err)
{
    size_t before;
    int code;

    do {
        before = tls->in_at;
        code = gnutls_handshake(tls->session);
    } while (goes_on(code) || (code == GNUTLS_E_AGAIN && tls->in_at > before && tls->in_at < tls->in_end));
    if (code == GNUTLS_E_AGAIN)
        return -EAGAIN;
    if (code == 0 && !may_others(tls))
        code = GNUTLS_E_CERTIFICATE_ERROR;
    if (code == 0) {
        tls->secure = true;
        return 0;
    }
    alert(tls, code);
    if (err && tls->err.code)
        *err = tls->err;
    else
        byre_error_set(err, -EPROTO, "TLS: the handshake failed: %s", gnutls_strerror(code));
    return -EPROTO;
}

/* --- what comes in ----------------------------------------------------------------------------------------- */

/*
 * A part of a record, or more than one: bytes; 0: the end; -EAGAIN; -EPROTO.  GnuTLS wants to be called again after a
 * record that is no data, too, and then there may be more.
 */
static ssize_t receive_some(struct byre_nbd_tls_session *tls, void *data, size_t size)
{
    ssize_t got;
    size_t before;

    for (;;) {
        before = tls->in_at;
        got = gnutls_record_recv(tls->session, data, size);
        if (got >= 0)
            return got;
        if (got == GNUTLS_E_AGAIN && tls->in_at > before && tls->in_at < tls->in_end)
            continue;
        if (got == GNUTLS_E_AGAIN)
            return -EAGAIN;
        if (got == GNUTLS_E_PREMATURE_TERMINATION)
            return 0;
        if (got < 0 && !goes_on(got)) {
            alert(tls, (int)got);
            return -EPROTO;
        }
    }
}

ssize_t byre_nbd_tls_receive(struct byre_nbd_tls_session *tls, const struct iovec *iov, unsigned count)
{
    ssize_t total = 0, got = 1;

    if (tls->has_end)
        return tls->end;
    for (unsigned i = 0; i < count; i++) {
        for (size_t at = 0; at < iov[i].iov_len; at += (size_t)got) {
            got = receive_some(tls, (uint8_t *)iov[i].iov_base + at, iov[i].iov_len - at);
            if (got <= 0)
                goto out;
            total += got;
        }
    }
out:
    if (got <= 0 && got != -EAGAIN && total) {
        tls->has_end = true;
        tls->end = got;
    }
    return total ? total : got;
}

/* --- what goes out ----------------------------------------------------------------------------------------- */

struct cursor {
    const struct iovec *iov;
    unsigned count;
    size_t at; /* in the first of them */
};

static void advance(struct cursor *cursor, size_t bytes)
{
    while (cursor->count && cursor->at + bytes >= cursor->iov->iov_len) {
        bytes -= cursor->iov->iov_len - cursor->at;
        cursor->iov++;
        cursor->count--;
        cursor->at = 0;
    }
    cursor->at += bytes;
}

/* One record: out of one place where there is enough, and else gathered. */
static ssize_t put_record(struct byre_nbd_tls_session *tls, struct cursor *cursor)
{
    const uint8_t *data = (const uint8_t *)cursor->iov->iov_base + cursor->at;
    size_t length = cursor->iov->iov_len - cursor->at;
    uint8_t gathered[RECORD_MAX];
    ssize_t sent;

    if (length < RECORD_MAX && cursor->count > 1) {
        struct cursor from = *cursor;

        for (length = 0; from.count && length < RECORD_MAX;) {
            size_t part = MIN(from.iov->iov_len - from.at, RECORD_MAX - length);

            if (part)
                memcpy(gathered + length, (const uint8_t *)from.iov->iov_base + from.at, part);
            length += part;
            advance(&from, part);
        }
        data = gathered;
    }
    sent = gnutls_record_send(tls->session, data, MIN(length, (size_t)RECORD_MAX));
    if (sent <= 0) {
        tls->broken = true;
        return -EIO;
    }
    advance(cursor, (size_t)sent);
    return sent;
}

ssize_t byre_nbd_tls_send(struct byre_nbd_tls_session *tls, const struct iovec *iov, unsigned count)
{
    struct cursor cursor = { iov, count, 0 };
    ssize_t total = 0, part;
    int rc;

    if (tls->broken)
        return -EPIPE;
    advance(&cursor, 0);
    while (cursor.count && byre_nbd_tls_unsent(tls) < OUT_MAX) {
        part = put_record(tls, &cursor);
        if (part < 0)
            return part;
        total += part;
    }
    rc = flush(tls);
    if (rc < 0 && rc != -EAGAIN)
        return rc;
    return total ? total : rc;
}
