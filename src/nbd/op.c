/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ops: what they ask of a disk, and what is answered.
 */
#include "config.h"

#include "nbd/op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "nbd/op_slow.h"

int byre_nbd_op_make_room(struct byre_nbd_op *op, size_t length)
{
    if (length <= op->room)
        return 0;
    free(op->data);
    op->data = malloc(length);
    op->room = op->data ? length : 0;
    return op->data ? 0 : -ENOMEM;
}

void byre_nbd_op_free(struct byre_nbd_op *op)
{
    if (!op)
        return;
    free(op->data);
    vec_done(&op->heads);
    vec_done(&op->reply);
    free(op);
}

bool byre_nbd_op_is_slow(const struct byre_nbd_op *op)
{
    switch (op->request.type) {
    case NBD_CMD_TRIM: return op->request.flags & NBD_CMD_FLAG_FUA;
    case NBD_CMD_CACHE:
    case NBD_CMD_BLOCK_STATUS: return true;
    default: return false;
    }
}

static unsigned zero_flags(uint16_t flags)
{
    return (flags & NBD_CMD_FLAG_FUA ? BYRE_WRITE_FUA : 0) |
           (flags & NBD_CMD_FLAG_NO_HOLE ? 0 : BYRE_WRITE_ZEROES_UNMAP) |
           (flags & NBD_CMD_FLAG_FAST_ZERO ? BYRE_WRITE_ZEROES_NO_FALLBACK : 0);
}

struct byre_request byre_nbd_op_request(struct byre_nbd_op *op)
{
    const struct byre_nbd_request *wire = &op->request;
    struct byre_request request = {
        .goff = wire->goff, .length = wire->length, .cookie = op, .err = &op->err, .iov = &op->vector, .iov_count = 1,
    };

    op->vector = (struct iovec){ op->data, (size_t)wire->length };
    op->places.count = 0;
    switch (wire->type) {
    case NBD_CMD_READ:
        request.op = BYRE_OP_READ;
        if (op->terms->replies != BYRE_NBD_REPLIES_SIMPLE && !(wire->flags & NBD_CMD_FLAG_DF))
            request.places = &op->places;
        op->places.with_data = op->terms->from_files;
        break;
    case NBD_CMD_WRITE:
        request.op = BYRE_OP_WRITE;
        request.flags = wire->flags & NBD_CMD_FLAG_FUA ? BYRE_WRITE_FUA : 0;
        break;
    case NBD_CMD_WRITE_ZEROES:
        request.op = BYRE_OP_WRITE_ZEROES;
        request.flags = zero_flags(wire->flags);
        break;
    case NBD_CMD_TRIM: request.op = BYRE_OP_DISCARD; break;
    default: request.op = BYRE_OP_FLUSH; break;
    }
    return request;
}

void byre_nbd_op_take_result(struct byre_nbd_op *op, int result)
{
    if (result == 0)
        return;
    op->error = byre_nbd_error_of(result);
}

static int add(struct byre_nbd_op *op, void *bytes, size_t length)
{
    return vec_push(&op->reply, (struct byre_nbd_part){ { bytes, length }, -1, 0 });
}

static int reply_simple(struct byre_nbd_op *op)
{
    size_t length = byre_nbd_put_simple(op->heads.ptr, op->request.cookie, op->error);
    int rc = add(op, op->heads.ptr, length);

    if (rc == 0 && op->error == 0 && op->request.type == NBD_CMD_READ)
        rc = add(op, op->data, (size_t)op->request.length);
    return rc;
}

/* Clients are not told what the disk says of it, which may have names of files in it. */
static int reply_error(struct byre_nbd_op *op)
{
    char words[64];
    const char *text = op->why ? op->why : strerror_r((int)op->error, words, sizeof words);
    size_t length = strnlen(text, 1024), at;
    uint8_t *head = op->heads.ptr;

    at = byre_nbd_put_chunk(head, op->terms, &op->request, true, NBD_CHUNK_ERROR, 6 + length);
    byre_put_be32(head + at, op->error);
    byre_put_be16(head + at + 4, (uint16_t)length);
    memcpy(head + at + 6, text, length);
    return add(op, head, at + 6 + length);
}

/* The chunk of a place: its head, and its data if it has some.  There is room for both. */
static void add_chunk(struct byre_nbd_op *op, const struct byre_place *place, bool hole)
{
    uint64_t from = place->goff - op->request.goff;
    uint8_t *head = op->heads.ptr + op->heads.len, *data = place->fd < 0 ? op->data + from : NULL;
    size_t at = byre_nbd_put_chunk(head, op->terms, &op->request, from + place->length == op->request.length,
                                   hole ? NBD_CHUNK_OFFSET_HOLE : NBD_CHUNK_OFFSET_DATA,
                                   hole ? 12 : 8 + place->length);

    byre_put_be64(head + at, byre_nbd_op_wire_goff(op, place->goff));
    if (hole)
        byre_put_be32(head + at + 8, (uint32_t)place->length);
    at += hole ? 12 : 8;
    op->heads.len += at;
    (void)add(op, head, at);
    if (hole)
        return;
    op->reply.ptr[op->reply.len++] =
        (struct byre_nbd_part){ { data, (size_t)place->length }, place->fd, place->hoff };
}

/* Data that was read, up to a place, or the end. */
static void add_read(struct byre_nbd_op *op, uint64_t goff, uint64_t end)
{
    const struct byre_place read = { .goff = goff, .length = end - goff, .fd = -1 };

    if (goff < end)
        add_chunk(op, &read, false);
}

static int reply_data(struct byre_nbd_op *op)
{
    const struct byre_places *places = &op->places;
    uint64_t at = op->request.goff;
    unsigned chunks = 2 * places->count + 1;

    if (vec_reserve(&op->heads, chunks * (BYRE_NBD_HEAD_MAX + 4)) < 0 || vec_reserve(&op->reply, 2 * chunks) < 0)
        return -ENOMEM;
    for (unsigned i = 0; i < places->count; i++) {
        const struct byre_place *place = &places->list[i];

        add_read(op, at, place->goff);
        add_chunk(op, place, place->fd < 0);
        at = place->goff + place->length;
    }
    add_read(op, at, op->request.goff + op->request.length);
    return 0;
}

static int reply_nothing(struct byre_nbd_op *op)
{
    return add(op, op->heads.ptr,
               byre_nbd_put_chunk(op->heads.ptr, op->terms, &op->request, true, NBD_CHUNK_NONE, 0));
}

int byre_nbd_op_reply(struct byre_nbd_op *op)
{
    if (op->reply.len && op->error == 0)
        return 0;
    op->reply.len = op->heads.len = 0;
    if (vec_reserve(&op->heads, op->error ? 1200 : BYRE_NBD_HEAD_MAX) < 0)
        return -ENOMEM;
    if (op->terms->replies == BYRE_NBD_REPLIES_SIMPLE)
        return reply_simple(op);
    if (op->error)
        return reply_error(op);
    return op->request.type == NBD_CMD_READ ? reply_data(op) : reply_nothing(op);
}

void byre_nbd_op_run(struct byre_nbd_op *op)
{
    int rc;

    switch (op->request.type) {
    case NBD_CMD_TRIM: rc = byre_nbd_slow_trim(op); break;
    case NBD_CMD_CACHE: rc = byre_nbd_slow_cache(op); break;
    default: rc = byre_nbd_slow_status(op); break;
    }
    byre_nbd_op_take_result(op, rc);
}
