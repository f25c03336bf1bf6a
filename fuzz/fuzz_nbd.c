/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: an NBD client.  The first byte of the input says what the server's TLS is, the second one how what
 * follows is cut to pieces; the rest is what the client says: a handshake, and requests.
 *
 *   - No more is taken than was given, and what is there of the largest option is always enough to go on.
 *   - The handshake goes on or ends, and keeps little in memory: what is put out at once is bounded.
 *   - Nobody is told the name of an export before TLS, where that is required.
 *   - A request that may be done is within the disk; its reply is chunks of the form that was agreed on, of which the
 *     last one is marked.
 *   - In the end nobody refers to an export but the server.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "fuzz/require.h"
#include "nbd/op.h"

#define IN_BYTES  (128u << 10)
#define SIZE      (1u << 20)
#define SECRET    "secret"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct byre_nbd_exports exports;

/* A client that is being listened to. */
struct session {
    struct byre_nbd_negotiation negotiation;
    byre_nbd_bytes out;
    uint8_t *in; /* what was not taken: in_length bytes */
    size_t in_length;
    const uint8_t *data; /* that will come */
    size_t left;
    unsigned pieces;
};

static void add_export(const char *name, const char *description, bool read_only)
{
    const struct byre_nbd_export_options options = {
        .name = name, .description = description, .shared = true, .read_only = read_only, .allocation_depth = true,
    };
    const struct byre_open_options open_options = { .writable = !read_only };
    struct byre_nbd_export *export;
    struct byre_disk *disk;

    require(byre_open("image-opts:driver=null-co,size=1M,read-zeroes=on", &open_options, &disk, NULL) == 0);
    require(byre_nbd_export_new(disk, &options, &export, NULL) == 0);
    require(byre_nbd_exports_add(&exports, export, NULL) == 0);
}

static void add_exports(void)
{
    static char longest[NBD_NAME_MAX + 1];

    if (exports.list.len)
        return;
    byre_nbd_exports_init(&exports);
    memset(longest, 'x', NBD_NAME_MAX);
    memcpy(longest, SECRET, sizeof SECRET - 1);
    add_export("", SECRET " of all", false);
    add_export(SECRET, NULL, true);
    add_export(longest, longest, false);
}

/* The next piece comes: from one byte to all there is room for. */
static bool hear_more(struct session *session)
{
    static const size_t lengths[] = { 1, 2, 3, 7, 16, 100, 4096, SIZE_MAX };
    size_t length = lengths[session->pieces % ARRAY_LEN(lengths)];

    session->pieces = session->pieces * 5 + 3;
    length = MIN(length, session->left);
    length = MIN(length, IN_BYTES - session->in_length);
    memcpy(session->in + session->in_length, session->data, length);
    session->in_length += length;
    session->data += length;
    session->left -= length;
    return length > 0;
}

static void take(struct session *session, size_t used)
{
    require(used <= session->in_length);
    memmove(session->in, session->in + used, session->in_length - used);
    session->in_length -= used;
}

/* --- the handshake ----------------------------------------------------------------------------------------- */

static void check_out(struct session *session)
{
    const struct byre_nbd_negotiation *negotiation = &session->negotiation;

    require(session->out.len <= 2 * BYRE_NBD_OUT_ENOUGH);
    if (negotiation->tls == BYRE_NBD_TLS_REQUIRED && !negotiation->secure && session->out.len)
        require(!memmem(session->out.ptr, session->out.len, SECRET, sizeof SECRET - 1));
    session->out.len = 0; /* the client reads */
}

static void feed(struct session *session)
{
    enum byre_nbd_phase before = session->negotiation.phase;
    uint8_t *exact = malloc(session->in_length ? session->in_length : 1); /* a sanitizer sees what is behind it */
    size_t used;

    require(exact != NULL);
    memcpy(exact, session->in, session->in_length);
    require(byre_nbd_negotiation_feed(&session->negotiation, exact, session->in_length, &used, &session->out) == 0);
    free(exact);
    require(session->negotiation.phase >= before);
    require(used || session->in_length < IN_BYTES || session->negotiation.phase != before);
    require(session->negotiation.context_count <= BYRE_NBD_CONTEXTS_MAX);
    take(session, used);
    check_out(session);
}

static void shake_hands(struct session *session)
{
    struct byre_nbd_negotiation *negotiation = &session->negotiation;
    size_t before;

    do {
        do { /* as long as that leads to something: it stops when much was put out */
            before = session->in_length;
            feed(session);
        } while (session->in_length < before && negotiation->phase < BYRE_NBD_PHASE_TLS);
        if (negotiation->phase == BYRE_NBD_PHASE_TLS) {
            require(negotiation->tls != BYRE_NBD_TLS_OFF && !negotiation->secure && session->in_length == 0);
            byre_nbd_negotiation_secured(negotiation);
        }
    } while (negotiation->phase < BYRE_NBD_PHASE_TLS && hear_more(session));
    if (negotiation->phase == BYRE_NBD_PHASE_TRANSMIT)
        require(negotiation->export && (negotiation->secure || negotiation->tls != BYRE_NBD_TLS_REQUIRED));
}

/* --- requests ---------------------------------------------------------------------------------------------- */

static void check_request(const struct byre_nbd_terms *terms, const struct byre_nbd_request *request)
{
    bool ranged = request->type != NBD_CMD_FLUSH && request->type != NBD_CMD_DISC;

    require(request->type <= NBD_CMD_BLOCK_STATUS && request->payload <= BYRE_NBD_PAYLOAD_MAX);
    if (terms->flags & NBD_FLAG_READ_ONLY)
        require(request->type != NBD_CMD_WRITE && request->type != NBD_CMD_TRIM &&
                request->type != NBD_CMD_WRITE_ZEROES);
    if (ranged && !(request->type == NBD_CMD_BLOCK_STATUS && request->payload))
        require(request->length && byre_range_within(request->goff, request->length, terms->export->size));
}

static uint8_t *gathered(const struct byre_nbd_op *op, size_t *ret_length)
{
    size_t length = 0;
    uint8_t *bytes;

    for (size_t i = 0; i < op->reply.len; i++)
        length += op->reply.ptr[i].bytes.iov_len;
    bytes = malloc(length ? length : 1);
    require(bytes != NULL);
    *ret_length = length;
    length = 0;
    for (size_t i = 0; i < op->reply.len; i++) {
        memcpy(bytes + length, op->reply.ptr[i].bytes.iov_base, op->reply.ptr[i].bytes.iov_len);
        length += op->reply.ptr[i].bytes.iov_len;
    }
    return bytes;
}

/* Chunks, one behind the other, with nothing behind the last one. */
static void check_chunks(const struct byre_nbd_op *op, const uint8_t *bytes, size_t length)
{
    bool extended = op->terms->replies == BYRE_NBD_REPLIES_EXTENDED, last = false;
    size_t head = extended ? NBD_EXTENDED_REPLY_BYTES : NBD_CHUNK_BYTES;

    while (!last) {
        uint64_t payload;

        require(length >= head);
        require(byre_get_be32(bytes) == (extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_CHUNK_MAGIC));
        require(byre_get_be64(bytes + 8) == op->request.cookie);
        payload = extended ? byre_get_be64(bytes + 24) : byre_get_be32(bytes + 16);
        last = byre_get_be16(bytes + 4) & NBD_CHUNK_FLAG_DONE;
        require(payload <= length - head);
        bytes += head + payload;
        length -= head + payload;
    }
    require(length == 0);
}

static void check_reply(struct byre_nbd_op *op)
{
    size_t length;
    uint8_t *bytes;

    require(byre_nbd_op_reply(op) == 0);
    bytes = gathered(op, &length);
    if (op->terms->replies == BYRE_NBD_REPLIES_SIMPLE) {
        bool data = op->request.type == NBD_CMD_READ && !op->error;

        require(length == NBD_SIMPLE_REPLY_BYTES + (data ? op->request.length : 0));
        require(byre_get_be32(bytes) == NBD_SIMPLE_REPLY_MAGIC && byre_get_be32(bytes + 4) == op->error);
    } else {
        check_chunks(op, bytes, length);
    }
    free(bytes);
}

/* A request whose head is there, and its payload as far as it comes; false: that is the end. */
static bool do_request(struct session *session, const struct byre_nbd_terms *terms, struct byre_nbd_op *op)
{
    size_t room, part;

    op->error = byre_nbd_request_judge(terms, &op->request, &op->why);
    require(!op->error == !op->why);
    if (op->error) {
        check_reply(op);
        return op->request.payload <= session->left + session->in_length;
    }
    check_request(terms, &op->request);
    room = (size_t)(op->request.type == NBD_CMD_READ ? op->request.length : op->request.payload);
    require(byre_nbd_op_make_room(op, room) == 0);
    if (room)
        memset(op->data, 0, room);
    for (size_t at = 0; at < op->request.payload; at += part) {
        if (!session->in_length && !hear_more(session))
            return false;
        part = MIN((size_t)op->request.payload - at, session->in_length);
        memcpy(op->data + at, session->in, part);
        take(session, part);
    }
    if (byre_nbd_op_is_slow(op))
        byre_nbd_op_run(op);
    check_reply(op);
    return op->request.type != NBD_CMD_DISC;
}

static void transmit(struct session *session)
{
    const struct byre_nbd_negotiation *negotiation = &session->negotiation;
    const struct byre_nbd_terms terms = {
        .export = negotiation->export, .replies = negotiation->replies, .contexts = negotiation->contexts,
        .context_count = negotiation->context_count,
        .flags = byre_nbd_negotiation_flags(negotiation, negotiation->export),
    };
    bool more = true;

    while (more) {
        struct byre_nbd_op *op;

        if (session->in_length < byre_nbd_request_bytes(&terms)) {
            more = hear_more(session);
            continue;
        }
        op = calloc(1, sizeof *op);
        require(op != NULL);
        op->terms = &terms;
        more = byre_nbd_request_read(&terms, session->in, &op->request) == 0;
        take(session, byre_nbd_request_bytes(&terms));
        more = more && do_request(session, &terms, op);
        byre_nbd_op_free(op);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session session = { .data = data + 2, .left = size - 2 };

    if (size < 2)
        return 0;
    add_exports();
    session.pieces = data[1];
    session.in = malloc(IN_BYTES);
    require(session.in != NULL);
    require(byre_nbd_negotiation_start(&session.negotiation, &exports, (enum byre_nbd_tls)(data[0] % 3),
                                       &session.out) == 0);
    check_out(&session);
    shake_hands(&session);
    if (session.negotiation.phase == BYRE_NBD_PHASE_TRANSMIT)
        transmit(&session);
    byre_nbd_negotiation_done(&session.negotiation);
    for (size_t i = 0; i < exports.list.len; i++)
        require(exports.list.ptr[i]->references == 1);
    vec_done(&session.out);
    free(session.in);
    return 0;
}
