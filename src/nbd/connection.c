/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections: from bytes to ops, and from replies to bytes.
 */
#include "config.h"

#include "nbd/connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/arith.h"

#define IN_BYTES      (128u << 10) /* more than the longest option */
#define IN_FLIGHT_MAX 256u
#define BYTES_MAX     (64u << 20)
#define UNSENT_MAX    (1u << 20)
#define ROUND_MAX     (256u << 10)
#define VECTORS_MAX   256u         /* in one call */
#define LONG_PAYLOAD  (16u << 10)  /* behind it only HEADS_BYTES are received at once, not to copy the next one */
#define HEADS_BYTES   1024u

static uint64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int byre_nbd_connection_new(struct byre_nbd_loop *loop, int fd, struct byre_nbd_connection **ret_connection)
{
    struct byre_nbd_shared *shared = byre_nbd_loop_shared(loop);
    struct byre_nbd_connection *connection = calloc(1, sizeof *connection);
    uint8_t *in = malloc(IN_BYTES);

    if (!connection || !in ||
        byre_nbd_negotiation_start(&connection->negotiation, shared->exports, shared->tls,
                                   &connection->greetings) < 0) {
        free(connection);
        free(in);
        close(fd);
        return -ENOMEM;
    }
    connection->loop = loop;
    connection->fd = fd;
    connection->in = in;
    connection->last_reply = &connection->first_reply;
    if (shared->handshake_seconds)
        connection->deadline = now() + shared->handshake_seconds * 1000000000ULL;
    *ret_connection = connection;
    return 0;
}

void byre_nbd_connection_free(struct byre_nbd_connection *connection)
{
    struct byre_nbd_op *op;

    while ((op = connection->first_reply)) {
        connection->first_reply = op->next;
        byre_nbd_op_free(op);
    }
    byre_nbd_op_free(connection->incoming);
    if (connection->lane)
        byre_nbd_loop_leave_lane(connection->loop, connection->lane);
    byre_nbd_negotiation_done(&connection->negotiation);
    vec_done(&connection->greetings);
    byre_nbd_tls_free(connection->tls);
    free(connection->in);
    close(connection->fd);
    free(connection);
}

void byre_nbd_connection_end(struct byre_nbd_connection *connection, const char *why)
{
    struct byre_nbd_shared *shared = byre_nbd_loop_shared(connection->loop);

    if (!connection->deaf && why && shared->complain)
        shared->complain(shared->opaque, why);
    connection->deaf = true;
    connection->in_at = connection->in_end = 0;
}

void byre_nbd_connection_break_off(struct byre_nbd_connection *connection)
{
    connection->broken = true;
    byre_nbd_connection_end(connection, NULL);
}

bool byre_nbd_connection_is_over(const struct byre_nbd_connection *connection)
{
    bool told = !connection->first_reply && connection->greetings_at == connection->greetings.len &&
                (!connection->negotiation.secure || byre_nbd_tls_unsent(connection->tls) == 0);
    unsigned waiting = connection->incoming ? 1 : 0;

    if (connection->broken) {
        for (const struct byre_nbd_op *op = connection->first_reply; op; op = op->next)
            waiting++;
        return connection->in_flight == waiting;
    }
    return connection->deaf && told && connection->in_flight == waiting;
}

/* --- what comes in ---------------------------------------------------------------------------------------- */

static bool has_room(const struct byre_nbd_connection *connection)
{
    if (connection->greetings.len >= BYRE_NBD_OUT_ENOUGH)
        return false;
    return connection->in_flight == 0 ||
           (connection->in_flight < IN_FLIGHT_MAX && connection->bytes_in_flight < BYTES_MAX &&
            connection->unsent < UNSENT_MAX);
}

/* Is there a use for more of what comes, in this round? */
static bool wants_input(const struct byre_nbd_connection *connection)
{
    return !connection->asking &&
           (connection->incoming || (has_room(connection) && connection->in_round < ROUND_MAX));
}

static void start(struct byre_nbd_connection *connection, struct byre_nbd_op *op)
{
    if (byre_nbd_op_is_slow(op)) {
        byre_nbd_loop_run_slow(connection->loop, op);
    } else if (vec_push(&connection->lane->batch, byre_nbd_op_request(op)) < 0) {
        op->error = NBD_ENOMEM;
        op->why = "no memory";
        byre_nbd_connection_finish(connection, op);
    }
}

static struct byre_nbd_op *new_op(struct byre_nbd_connection *connection, const struct byre_nbd_request *request)
{
    struct byre_nbd_op *op = byre_nbd_loop_take_op(connection->loop);

    if (!op) {
        byre_nbd_connection_end(connection, "no memory for a request");
        return NULL;
    }
    op->owner = connection;
    op->terms = &connection->terms;
    op->request = *request;
    op->request.goff += connection->terms.export->offset; /* of the disk, from here on; it may wrap, and back again */
    connection->in_flight++;
    byre_nbd_tally_add(&connection->lane->tally->taken, 1);
    return op;
}

/* What the op needs in memory: nothing for what is about a range alone. */
static size_t bytes_of(const struct byre_nbd_request *request)
{
    return request->type == NBD_CMD_READ ? (size_t)request->length : (size_t)request->payload;
}

/* What it may take until its answer is sent. */
static uint64_t weight_of(const struct byre_nbd_terms *terms, const struct byre_nbd_request *request)
{
    if (request->type == NBD_CMD_BLOCK_STATUS && !(request->flags & NBD_CMD_FLAG_REQ_ONE))
        return (uint64_t)terms->context_count * BYRE_NBD_STATUS_BYTES;
    return bytes_of(request);
}

static void refuse(struct byre_nbd_connection *connection, struct byre_nbd_op *op, uint32_t error, const char *why)
{
    bool too_much = op->request.payload > BYRE_NBD_PAYLOAD_MAX;

    op->error = error;
    op->why = why;
    connection->skip = op->request.payload;
    byre_nbd_connection_finish(connection, op);
    if (too_much)
        byre_nbd_connection_end(connection, "a payload is too long");
}

/* A request whose head is there. */
static void take_request(struct byre_nbd_connection *connection, const struct byre_nbd_request *request)
{
    struct byre_nbd_op *op = new_op(connection, request);
    const char *why = NULL;
    uint32_t error;

    if (!op)
        return;
    error = byre_nbd_request_judge(&connection->terms, request, &why);
    if (error) {
        refuse(connection, op, error, why);
        return;
    }
    if (byre_nbd_op_make_room(op, bytes_of(request)) < 0) {
        refuse(connection, op, NBD_ENOMEM, "no memory for the data");
        return;
    }
    op->counted = weight_of(&connection->terms, request);
    connection->bytes_in_flight += op->counted;
    connection->in_round += bytes_of(request);
    if (request->payload) {
        connection->incoming = op;
        connection->filled = 0;
    } else {
        start(connection, op);
    }
}

/* The bytes of a payload that are there. */
static void take_payload(struct byre_nbd_connection *connection)
{
    struct byre_nbd_op *op = connection->incoming;
    size_t part = MIN((size_t)op->request.payload - connection->filled, connection->in_end - connection->in_at);

    if (part)
        memcpy(op->data + connection->filled, connection->in + connection->in_at, part);
    connection->in_at += part;
    connection->filled += part;
    if (connection->filled < op->request.payload)
        return;
    connection->incoming = NULL;
    start(connection, op);
}

/* One thing of what has come: false if there is not enough of it. */
static bool take_one(struct byre_nbd_connection *connection)
{
    size_t length = connection->in_end - connection->in_at, part = (size_t)MIN(connection->skip, (uint64_t)length);
    struct byre_nbd_request request;

    if (connection->incoming) {
        take_payload(connection);
        return !connection->incoming;
    }
    connection->skip -= part;
    connection->in_at += part;
    length -= part;
    if (length < byre_nbd_request_bytes(&connection->terms))
        return false;
    if (byre_nbd_request_read(&connection->terms, connection->in + connection->in_at, &request) < 0) {
        byre_nbd_connection_end(connection, "what came is no request");
        return false;
    }
    connection->in_at += byre_nbd_request_bytes(&connection->terms);
    if (request.type == NBD_CMD_DISC) {
        byre_nbd_connection_end(connection, NULL);
        return false;
    }
    take_request(connection, &request);
    return !connection->deaf;
}

static void start_transmission(struct byre_nbd_connection *connection)
{
    struct byre_nbd_negotiation *negotiation = &connection->negotiation;

    connection->terms = (struct byre_nbd_terms){
        .export = negotiation->export,
        .replies = negotiation->replies,
        .flags = byre_nbd_negotiation_flags(negotiation, negotiation->export),
        .contexts = negotiation->contexts,
        .context_count = negotiation->context_count,
        .from_files = !negotiation->secure,
    };
    connection->greeting_over = true;
    connection->lane = byre_nbd_loop_lane(connection->loop, negotiation->export);
    if (!connection->lane)
        byre_nbd_connection_end(connection, "no memory for a queue");
}

/* Of the greetings what is not sent yet goes before all that is encrypted. */
static void start_tls(struct byre_nbd_connection *connection)
{
    struct byre_nbd_shared *shared = byre_nbd_loop_shared(connection->loop);
    byre_nbd_bytes *greetings = &connection->greetings;

    if (byre_nbd_tls_new(shared->creds, shared->authz, connection->fd, greetings->ptr + connection->greetings_at,
                         greetings->len - connection->greetings_at, &connection->tls) < 0)
        byre_nbd_connection_end(connection, "no memory for TLS");
    else
        greetings->len = connection->greetings_at = 0;
}

static void shake_hands(struct byre_nbd_connection *connection)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_nbd_tls_shake(connection->tls, &err);

    if (rc == -EAGAIN)
        return;
    if (rc == 0) {
        byre_nbd_negotiation_secured(&connection->negotiation);
    } else {
        byre_nbd_connection_end(connection, err.text);
        byre_nbd_connection_break_off(connection);
    }
}

/* For an export that is not open; until then it counts as a request under way. */
static void ask(struct byre_nbd_connection *connection)
{
    connection->asking = true;
    connection->in_flight++;
    byre_nbd_loop_ask(connection->loop, connection, connection->negotiation.ask);
}

void byre_nbd_connection_answer(struct byre_nbd_connection *connection)
{
    struct byre_nbd_shared *shared = byre_nbd_loop_shared(connection->loop);
    const struct byre_nbd_ask *answer = connection->negotiation.ask;

    if (answer->rc < 0 && answer->rc != -ENOENT && shared->complain)
        shared->complain(shared->opaque, answer->err.text);
    connection->asking = false;
    connection->in_flight--;
    byre_nbd_negotiation_answered(&connection->negotiation);
    byre_nbd_connection_go_on(connection);
    byre_nbd_loop_mark(connection->loop, connection);
}

static void negotiate(struct byre_nbd_connection *connection)
{
    struct byre_nbd_negotiation *negotiation = &connection->negotiation;
    size_t used;

    if (byre_nbd_negotiation_feed(negotiation, connection->in + connection->in_at,
                                  connection->in_end - connection->in_at, &used, &connection->greetings) < 0) {
        byre_nbd_connection_end(connection, "no memory for the handshake");
        return;
    }
    connection->in_at += used;
    if (negotiation->phase == BYRE_NBD_PHASE_END)
        byre_nbd_connection_end(connection, negotiation->why);
    else if (negotiation->phase == BYRE_NBD_PHASE_TLS && !connection->tls)
        start_tls(connection);
    else if (negotiation->phase == BYRE_NBD_PHASE_TRANSMIT)
        start_transmission(connection);
    else if (negotiation->phase == BYRE_NBD_PHASE_WAIT)
        ask(connection);
}

size_t byre_nbd_connection_waiting(const struct byre_nbd_connection *connection)
{
    size_t unread = connection->tls && !connection->deaf ? byre_nbd_tls_unread(connection->tls) : 0;

    return connection->in_end - connection->in_at + unread;
}

static void take_input(struct byre_nbd_connection *connection)
{
    if (!connection->deaf && !connection->greeting_over && wants_input(connection))
        negotiate(connection);
    while (!connection->deaf && connection->greeting_over && wants_input(connection) && take_one(connection))
        ;
    if (connection->in_at && connection->in_at < connection->in_end)
        memmove(connection->in, connection->in + connection->in_at, connection->in_end - connection->in_at);
    connection->in_end -= connection->in_at;
    connection->in_at = 0;
}

/* How much is received besides the rest of a payload. */
static size_t room_behind(const struct byre_nbd_connection *connection, size_t missing)
{
    size_t room = IN_BYTES - connection->in_end;

    return missing >= LONG_PAYLOAD ? MIN(room, HEADS_BYTES) : room;
}

/* A payload goes where it belongs; what is behind it, into the buffer: how many places these are. */
static unsigned places_for_input(const struct byre_nbd_connection *connection, struct iovec *iov)
{
    struct byre_nbd_op *op = connection->incoming;
    size_t missing = op ? (size_t)op->request.payload - connection->filled : 0;
    unsigned count = 0;

    if (op)
        iov[count++] = (struct iovec){ op->data + connection->filled, missing };
    iov[count++] = (struct iovec){ connection->in + connection->in_end, room_behind(connection, missing) };
    return count;
}

/* What a read gave: bytes, 0 at the end, or an errno.  False: nothing has come. */
static bool note_input(struct byre_nbd_connection *connection, ssize_t got)
{
    struct byre_nbd_op *op = connection->incoming;
    size_t missing = op ? (size_t)op->request.payload - connection->filled : 0, payload;

    if (got <= 0) {
        if (got == 0)
            byre_nbd_connection_end(connection, NULL); /* it may wait for its replies */
        else if (got != -EAGAIN && got != -EINTR)
            byre_nbd_connection_break_off(connection);
        return false;
    }
    payload = MIN((size_t)got, missing);
    connection->filled += payload;
    connection->in_end += (size_t)got - payload;
    return true;
}

/* Out of what TLS has read already. */
static bool decrypt(struct byre_nbd_connection *connection)
{
    struct iovec iov[2];

    if (connection->deaf || !wants_input(connection) || !connection->tls || byre_nbd_tls_unread(connection->tls) == 0)
        return false;
    if (connection->negotiation.phase == BYRE_NBD_PHASE_TLS) {
        shake_hands(connection);
        return connection->negotiation.secure;
    }
    return note_input(connection,
                      byre_nbd_tls_receive(connection->tls, iov, places_for_input(connection, iov)));
}

void byre_nbd_connection_go_on(struct byre_nbd_connection *connection)
{
    do
        take_input(connection);
    while (decrypt(connection));
}

void byre_nbd_connection_receive(struct byre_nbd_connection *connection)
{
    struct iovec iov[2];
    struct msghdr message = { .msg_iov = iov };
    ssize_t got;

    if (connection->deaf)
        return;
    if (connection->tls) {
        got = byre_nbd_tls_fill(connection->tls);
        if (got < 0)
            (void)note_input(connection, got);
        else
            byre_nbd_connection_go_on(connection);
        return;
    }
    message.msg_iovlen = places_for_input(connection, iov);
    got = recvmsg(connection->fd, &message, MSG_DONTWAIT);
    if (note_input(connection, got < 0 ? -errno : got))
        byre_nbd_connection_go_on(connection);
}

/* --- what goes out ---------------------------------------------------------------------------------------- */

/* What the disk says of a failure is for who runs the server. */
static void complain_of(const struct byre_nbd_connection *connection, const struct byre_nbd_op *op)
{
    const struct byre_nbd_shared *shared = byre_nbd_loop_shared(connection->loop);

    if (op->error && !op->why && shared->complain)
        shared->complain(shared->opaque, op->err.text);
}

void byre_nbd_connection_finish(struct byre_nbd_connection *connection, struct byre_nbd_op *op)
{
    if (byre_nbd_op_reply(op) < 0)
        byre_nbd_connection_break_off(connection);
    complain_of(connection, op);
    byre_nbd_tally_done(connection->lane->tally, op->request.type, op->request.length, op->error);
    op->next = NULL;
    op->reply_at = 0;
    if (op->request.type == NBD_CMD_BLOCK_STATUS) { /* now it is known how long the answer is */
        connection->bytes_in_flight += op->heads.len - op->counted;
        op->counted = op->heads.len;
    }
    connection->unsent += op->counted;
    *connection->last_reply = op;
    connection->last_reply = &op->next;
    byre_nbd_loop_mark(connection->loop, connection);
}

static void drop_reply(struct byre_nbd_connection *connection)
{
    struct byre_nbd_op *op = connection->first_reply;

    connection->first_reply = op->next;
    if (!connection->first_reply)
        connection->last_reply = &connection->first_reply;
    connection->in_flight--;
    connection->bytes_in_flight -= op->counted;
    connection->unsent -= op->counted;
    byre_nbd_loop_give_op(connection->loop, op);
}

/* What is in memory, up to what is to be sent from a file. */
static unsigned gather(const struct byre_nbd_connection *connection, struct iovec *iov)
{
    unsigned count = 0;

    if (connection->greetings_at < connection->greetings.len)
        iov[count++] = (struct iovec){ connection->greetings.ptr + connection->greetings_at,
                                       connection->greetings.len - connection->greetings_at };
    for (const struct byre_nbd_op *op = connection->first_reply; op && count < VECTORS_MAX; op = op->next) {
        for (size_t i = op->reply_at; i < op->reply.len && count < VECTORS_MAX; i++) {
            if (op->reply.ptr[i].fd >= 0)
                return count;
            iov[count++] = op->reply.ptr[i].bytes;
        }
    }
    return count;
}

/* `sent` bytes are gone. */
static void advance(struct byre_nbd_connection *connection, size_t sent)
{
    size_t part = MIN(sent, connection->greetings.len - connection->greetings_at);

    connection->greetings_at += part;
    sent -= part;
    if (connection->greetings_at == connection->greetings.len)
        connection->greetings_at = connection->greetings.len = 0;
    while (connection->first_reply) {
        struct byre_nbd_op *op = connection->first_reply;

        for (; op->reply_at < op->reply.len; op->reply_at++) {
            struct byre_nbd_part *at = &op->reply.ptr[op->reply_at];

            part = MIN(sent, at->bytes.iov_len);
            at->bytes.iov_base = at->fd < 0 ? (uint8_t *)at->bytes.iov_base + part : NULL;
            at->hoff += part;
            at->bytes.iov_len -= part;
            sent -= part;
            if (at->bytes.iov_len)
                return;
        }
        drop_reply(connection);
    }
}

/* From the page cache to the socket: nothing is copied.  -EIO: the file has become shorter. */
static ssize_t send_from_file(int fd, const struct byre_nbd_part *part)
{
    off_t hoff = (off_t)part->hoff;
    ssize_t sent = sendfile(fd, part->fd, &hoff, part->bytes.iov_len);

    return sent < 0 ? -errno : sent == 0 ? -EIO : sent;
}

static ssize_t send_next(const struct byre_nbd_connection *connection)
{
    const struct byre_nbd_op *op = connection->first_reply;
    struct iovec iov[VECTORS_MAX];
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = gather(connection, iov) };
    ssize_t sent;

    if (connection->tls)
        return byre_nbd_tls_send(connection->tls, iov, (unsigned)message.msg_iovlen);
    if (!message.msg_iovlen)
        return op ? send_from_file(connection->fd, &op->reply.ptr[op->reply_at]) : 0;
    sent = sendmsg(connection->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

static bool send_some(struct byre_nbd_connection *connection)
{
    ssize_t sent = send_next(connection);

    if (sent == -EINTR)
        return true;
    if (sent < 0 && sent != -EAGAIN)
        byre_nbd_connection_break_off(connection);
    if (sent <= 0)
        return false;
    advance(connection, (size_t)sent);
    return true;
}

void byre_nbd_connection_send(struct byre_nbd_connection *connection)
{
    uint32_t wanted = 0;

    connection->in_round = 0;
    while (!connection->broken && send_some(connection))
        ;
    if (connection->broken) {
        while (connection->first_reply)
            drop_reply(connection);
        if (connection->watched) /* its end would be told again and again while ops are under way */
            (void)byre_nbd_loop_watch(connection->loop, connection, 0);
        return;
    }
    if (connection->first_reply || connection->greetings_at < connection->greetings.len ||
        (connection->tls && byre_nbd_tls_unsent(connection->tls)))
        wanted |= EPOLLOUT;
    if (!connection->deaf && wants_input(connection))
        wanted |= EPOLLIN;
    if (wanted != connection->watched && byre_nbd_loop_watch(connection->loop, connection, wanted) < 0)
        byre_nbd_connection_break_off(connection);
}
