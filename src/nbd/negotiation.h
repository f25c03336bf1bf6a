/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake: from the greeting to the transmission phase.  Bytes in, bytes out; no socket is known here.
 *
 *   N1. What a client sends is used up option by option; at most one option is kept in memory, and OPTION_MAX bytes of
 *       it.  Longer ones are skipped, and answered with TOO_BIG; absurd ones end the session.
 *       What is put out grows by one answer at most once there is enough of it.
 *   N2. Where TLS is required, nothing is said of exports before it.
 *   N3. STARTTLS forgets all that was agreed before it, and bytes that came along with it end the session: somebody in
 *       between could have put them there.
 */
#ifndef BYRE_NBD_NEGOTIATION_H
#define BYRE_NBD_NEGOTIATION_H

#include "nbd/export.h"

typedef VEC(uint8_t) byre_nbd_bytes;

enum byre_nbd_tls {
    BYRE_NBD_TLS_OFF,
    BYRE_NBD_TLS_ALLOWED,
    BYRE_NBD_TLS_REQUIRED,
};

enum byre_nbd_phase {
    BYRE_NBD_PHASE_FLAGS,    /* the client's flags are awaited */
    BYRE_NBD_PHASE_OPTIONS,
    BYRE_NBD_PHASE_WAIT,     /* the caller has `ask` answered, and calls byre_nbd_negotiation_answered */
    BYRE_NBD_PHASE_TLS,      /* the caller starts TLS, and calls byre_nbd_negotiation_secured */
    BYRE_NBD_PHASE_TRANSMIT, /* agreed: `export` and the rest is what counts from now on */
    BYRE_NBD_PHASE_END,      /* the session is over, once what was put out is sent */
};

enum byre_nbd_replies {
    BYRE_NBD_REPLIES_SIMPLE,
    BYRE_NBD_REPLIES_STRUCTURED,
    BYRE_NBD_REPLIES_EXTENDED,
};

#define BYRE_NBD_CONTEXTS_MAX 64u

struct byre_nbd_ask; /* keeper.h */

struct byre_nbd_negotiation {
    struct byre_nbd_exports *exports; /* the caller's */
    enum byre_nbd_tls tls;
    bool secure;                      /* TLS is there */
    bool fixed, no_zeroes;            /* the client's flags */
    enum byre_nbd_phase phase;
    uint64_t skip;                    /* bytes of an option that is too long */
    uint32_t skipped;                 /* which option that is */
    enum byre_nbd_replies replies;
    struct byre_nbd_export *context_export;         /* whose contexts were chosen; referred to; or NULL */
    uint32_t contexts[BYRE_NBD_CONTEXTS_MAX];       /* their ids */
    unsigned context_count;
    struct byre_nbd_export *export;                 /* the chosen one, referred to */
    struct byre_nbd_ask *ask;                       /* for an export that was not open; or NULL */
    char trouble[200];                              /* why there is no such export, for people */
    const char *why;                                /* of the end; NULL: the client wanted it */
};

/* Puts out the greeting. */
int byre_nbd_negotiation_start(struct byre_nbd_negotiation *negotiation, struct byre_nbd_exports *exports,
                               enum byre_nbd_tls tls, byre_nbd_bytes *out);
void byre_nbd_negotiation_done(struct byre_nbd_negotiation *negotiation);

/* With so much to be sent, no more is taken: who asks has to hear the answers. */
#define BYRE_NBD_OUT_ENOUGH (64u << 10)

/*
 * Takes as much of the `length` bytes as makes sense now, and puts out the answers; it stops where there is enough in
 * `out`.  The rest is given again, with more behind it.  -ENOMEM; all else that a client can do wrong leads to the
 * phase END.
 */
int byre_nbd_negotiation_feed(struct byre_nbd_negotiation *negotiation, const uint8_t *bytes, size_t length,
                              size_t *ret_used, byre_nbd_bytes *out);

/* TLS is there: goes on after the phase TLS. */
void byre_nbd_negotiation_secured(struct byre_nbd_negotiation *negotiation);

/* What was asked for was answered: goes on after the phase WAIT, with the option that it was for. */
void byre_nbd_negotiation_answered(struct byre_nbd_negotiation *negotiation);

/*
 * For the parts of the handshake: a reference to an export.  -ENOENT: there is none, or it cannot be opened, and
 * `trouble` says so; -EINPROGRESS: it is to be asked for, and the option is done again after that.  -ENOMEM.
 */
int byre_nbd_negotiation_find(struct byre_nbd_negotiation *negotiation, const void *name, size_t length,
                              struct byre_nbd_export **ret_export);

/* The transmission flags of what was agreed. */
uint16_t byre_nbd_negotiation_flags(const struct byre_nbd_negotiation *negotiation,
                                    const struct byre_nbd_export *export);

/* For the parts of the handshake: the reply to an option, and one that is an error with a message for people. */
int byre_nbd_put_reply(byre_nbd_bytes *out, uint32_t option, uint32_t type, const void *data, size_t length);
int byre_nbd_put_error(byre_nbd_bytes *out, uint32_t option, uint32_t type, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
