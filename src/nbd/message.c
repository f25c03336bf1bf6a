/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of the transmission phase (proto.md, "Transmission phase", "Request types").
 */
#include "config.h"

#include "nbd/message.h"

#include <errno.h>

#include "base/arith.h"
#include "base/endian.h"

/* Which flags each command may have.  FUA is one of all, and tells something of those alone that change the disk. */
static const uint16_t allowed_flags[] = {
    [NBD_CMD_READ] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF,
    [NBD_CMD_WRITE] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_PAYLOAD_LEN,
    [NBD_CMD_DISC] = 0,
    [NBD_CMD_FLUSH] = NBD_CMD_FLAG_FUA,
    [NBD_CMD_TRIM] = NBD_CMD_FLAG_FUA,
    [NBD_CMD_CACHE] = NBD_CMD_FLAG_FUA,
    [NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
    [NBD_CMD_BLOCK_STATUS] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE | NBD_CMD_FLAG_PAYLOAD_LEN,
};

int byre_nbd_request_read(const struct byre_nbd_terms *terms, const uint8_t *bytes,
                          struct byre_nbd_request *ret_request)
{
    bool extended = terms->replies == BYRE_NBD_REPLIES_EXTENDED;
    struct byre_nbd_request request = {
        .flags = byre_get_be16(bytes + 4),
        .type = byre_get_be16(bytes + 6),
        .cookie = byre_get_be64(bytes + 8),
        .goff = byre_get_be64(bytes + 16),
        .length = extended ? byre_get_be64(bytes + 24) : byre_get_be32(bytes + 24),
    };

    if (byre_get_be32(bytes) != (extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC))
        return -EPROTO;
    /* With extended headers a flag says that the length is that of a payload; else it is so for writes alone. */
    if (request.type == NBD_CMD_WRITE || (extended && request.flags & NBD_CMD_FLAG_PAYLOAD_LEN))
        request.payload = request.length;
    *ret_request = request;
    return 0;
}

static uint32_t refuse(uint32_t error, const char *why, const char **ret_why)
{
    *ret_why = why;
    return error;
}

static bool is_change(uint16_t type)
{
    return type == NBD_CMD_WRITE || type == NBD_CMD_TRIM || type == NBD_CMD_WRITE_ZEROES;
}

static uint32_t judge_flags(const struct byre_nbd_terms *terms, const struct byre_nbd_request *request,
                            const char **ret_why)
{
    uint16_t allowed = allowed_flags[request->type];

    if (terms->replies != BYRE_NBD_REPLIES_EXTENDED)
        allowed &= (uint16_t)~NBD_CMD_FLAG_PAYLOAD_LEN;
    if (terms->replies == BYRE_NBD_REPLIES_SIMPLE)
        allowed &= (uint16_t)~NBD_CMD_FLAG_DF;
    if (request->flags & ~allowed)
        return refuse(NBD_EINVAL, "the command does not have such flags", ret_why);
    if (request->type == NBD_CMD_WRITE && terms->replies == BYRE_NBD_REPLIES_EXTENDED &&
        !(request->flags & NBD_CMD_FLAG_PAYLOAD_LEN))
        return refuse(NBD_EINVAL, "with extended headers a write says that it has a payload", ret_why);
    return 0;
}

static uint32_t judge_range(const struct byre_nbd_terms *terms, const struct byre_nbd_request *request,
                            const char **ret_why)
{
    bool moves = request->type == NBD_CMD_READ || request->type == NBD_CMD_WRITE;

    if (request->type == NBD_CMD_BLOCK_STATUS && request->payload) {
        if (request->payload < 8 || request->payload % 4 || request->payload > 8 + 4 * BYRE_NBD_CONTEXTS_MAX)
            return refuse(NBD_EINVAL, "the payload is no length with contexts", ret_why);
        return 0; /* what is in it is judged later */
    }
    if (moves && request->length > terms->export->block_max)
        return refuse(request->type == NBD_CMD_READ ? NBD_EOVERFLOW : NBD_EINVAL, "the request is too long", ret_why);
    if (request->length == 0)
        return refuse(NBD_EINVAL, "the request is about nothing", ret_why);
    if (!byre_range_within(request->goff, request->length, terms->export->size))
        return refuse(request->type == NBD_CMD_WRITE || request->type == NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC : NBD_EINVAL,
                      "the request reaches past the end", ret_why);
    return 0;
}

uint32_t byre_nbd_request_judge(const struct byre_nbd_terms *terms, const struct byre_nbd_request *request,
                                const char **ret_why)
{
    uint32_t error;

    if (request->type >= ARRAY_LEN(allowed_flags))
        return refuse(NBD_EINVAL, "there is no such command", ret_why);
    if (is_change(request->type) && terms->flags & NBD_FLAG_READ_ONLY)
        return refuse(NBD_EPERM, "the export is read-only", ret_why);
    error = judge_flags(terms, request, ret_why);
    if (error)
        return error;
    if (request->type == NBD_CMD_BLOCK_STATUS && !terms->context_count)
        return refuse(NBD_EINVAL, "no metadata contexts were chosen", ret_why);
    if (request->type == NBD_CMD_FLUSH)
        return request->goff || request->length ? refuse(NBD_EINVAL, "a flush has no range", ret_why) : 0;
    return judge_range(terms, request, ret_why);
}

uint32_t byre_nbd_error_of(int rc)
{
    switch (rc) {
    case 0: return 0;
    case -EPERM:
    case -EROFS:
    case -EACCES: return NBD_EPERM;
    case -ENOMEM: return NBD_ENOMEM;
    case -EINVAL: return NBD_EINVAL;
    case -ENOSPC:
    case -EFBIG:
    case -EDQUOT: return NBD_ENOSPC;
    case -EOVERFLOW: return NBD_EOVERFLOW;
    case -ENOTSUP: return NBD_ENOTSUP;
    case -ESHUTDOWN: return NBD_ESHUTDOWN;
    default: return NBD_EIO;
    }
}

size_t byre_nbd_put_simple(uint8_t *head, uint64_t cookie, uint32_t error)
{
    byre_put_be32(head, NBD_SIMPLE_REPLY_MAGIC);
    byre_put_be32(head + 4, error);
    byre_put_be64(head + 8, cookie);
    return NBD_SIMPLE_REPLY_BYTES;
}

size_t byre_nbd_put_chunk(uint8_t *head, const struct byre_nbd_terms *terms, const struct byre_nbd_request *request,
                          bool done, enum nbd_chunk type, uint64_t length)
{
    bool extended = terms->replies == BYRE_NBD_REPLIES_EXTENDED;

    byre_put_be32(head, extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_CHUNK_MAGIC);
    byre_put_be16(head + 4, done ? NBD_CHUNK_FLAG_DONE : 0);
    byre_put_be16(head + 6, (uint16_t)type);
    byre_put_be64(head + 8, request->cookie);
    if (!extended) {
        byre_put_be32(head + 16, (uint32_t)length);
        return NBD_CHUNK_BYTES;
    }
    byre_put_be64(head + 16, request->goff - terms->export->offset);
    byre_put_be64(head + 24, length);
    return NBD_EXTENDED_REPLY_BYTES;
}
