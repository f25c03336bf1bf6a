/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of the transmission phase: requests read and judged, heads of replies written.
 */
#ifndef BYRE_NBD_MESSAGE_H
#define BYRE_NBD_MESSAGE_H

#include "nbd/negotiation.h"
#include "nbd/protocol.h"

/* What was agreed with a client. */
struct byre_nbd_terms {
    struct byre_nbd_export *export;
    enum byre_nbd_replies replies;
    uint16_t flags; /* NBD_FLAG_* that the client was told */
    const uint32_t *contexts;
    unsigned context_count;
    bool from_files; /* data may go from files to the socket as it is */
};

struct byre_nbd_request {
    uint16_t flags, type;
    uint64_t cookie, goff;
    uint64_t length; /* of what it is about: 0 for commands that are about nothing */
    uint64_t payload; /* bytes that follow the request */
};

/* Bytes of a request's head. */
static inline size_t byre_nbd_request_bytes(const struct byre_nbd_terms *terms)
{
    return terms->replies == BYRE_NBD_REPLIES_EXTENDED ? NBD_EXTENDED_REQUEST_BYTES : NBD_REQUEST_BYTES;
}

/* Reads the head of a request, all of which is there.  -EPROTO: what came is none, and nothing behind it is either. */
int byre_nbd_request_read(const struct byre_nbd_terms *terms, const uint8_t *bytes,
                          struct byre_nbd_request *ret_request);

/* May it be done?  0, or the NBD_E* of the answer, with words for people. */
uint32_t byre_nbd_request_judge(const struct byre_nbd_terms *terms, const struct byre_nbd_request *request,
                                const char **ret_why);

/* The largest payload that is read and thrown away; after a larger one the client is not listened to any more. */
#define BYRE_NBD_PAYLOAD_MAX (32u << 20)

/* The NBD_E* of a negative errno. */
uint32_t byre_nbd_error_of(int rc);

#define BYRE_NBD_HEAD_MAX (NBD_EXTENDED_REPLY_BYTES + 8u)

/* Heads of replies, into BYRE_NBD_HEAD_MAX bytes: their lengths. */
size_t byre_nbd_put_simple(uint8_t *head, uint64_t cookie, uint32_t error);
/* The head of a chunk with `length` bytes of payload, in the form that was agreed on. */
size_t byre_nbd_put_chunk(uint8_t *head, const struct byre_nbd_terms *terms, const struct byre_nbd_request *request,
                          bool done, enum nbd_chunk type, uint64_t length);

#endif
