/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ops that workers do, with blocking calls.
 */
#include "config.h"

#include "nbd/op_slow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "byre/bitmap.h"

#define CACHE_BYTES (1u << 20)   /* that are read at once, and dropped */
#define CACHE_MAX   (256u << 20) /* of them, for one request: it is a hint, and others wait for the worker */
#define STATUS_MAX  4096u        /* extents of a context in a reply */
#define STATUS_SPAN (1ULL << 38) /* that one request looks at; the client asks again for what is behind it */

static int no_memory(struct byre_nbd_op *op)
{
    return byre_error_set_errno(&op->err, -ENOMEM, "NBD request");
}

static bool is_zero(const struct byre_extent *extent)
{
    return extent->kind == BYRE_EXTENT_HOLE || extent->kind == BYRE_EXTENT_ZERO || extent->reserved;
}

/* --- trims ------------------------------------------------------------------------------------------------- */

int byre_nbd_slow_trim(struct byre_nbd_op *op)
{
    struct byre_disk *disk = op->terms->export->disk;
    int rc = byre_discard(disk, op->request.goff, op->request.length, &op->err);

    return rc < 0 ? rc : byre_flush(disk, &op->err);
}

/* --- prefetching ------------------------------------------------------------------------------------------- */

struct prefetch {
    struct byre_nbd_op *op;
    uint8_t *bytes;
    uint64_t left; /* of what may be read */
};

/* 1: that is enough.  What needs no reading is as near as it gets. */
static int prefetch(void *opaque, const struct byre_extent *extent)
{
    struct prefetch *state = opaque;
    uint64_t length = is_zero(extent) ? 0 : MIN(extent->length, state->left);
    int rc = 0;

    for (uint64_t at = 0, part; at < length && rc == 0; at += part) {
        part = MIN(length - at, (uint64_t)CACHE_BYTES);
        rc = byre_pread(state->op->terms->export->disk, state->bytes, (size_t)part, extent->goff + at, &state->op->err);
    }
    state->left -= length;
    return rc < 0 ? rc : state->left == 0;
}

int byre_nbd_slow_cache(struct byre_nbd_op *op)
{
    CLEANUP(free_ptr) uint8_t *bytes = malloc(CACHE_BYTES);
    struct prefetch state = { op, bytes, CACHE_MAX };
    const struct byre_nbd_request *request = &op->request;
    int rc;

    if (!bytes)
        return no_memory(op);
    rc = byre_extents(op->terms->export->disk, request->goff, MIN(request->length, STATUS_SPAN), prefetch, &state,
                      &op->err);
    return MIN(rc, 0);
}

/* --- the status of blocks ---------------------------------------------------------------------------------- */

#define STATE_DIRTY 1u /* qemu:dirty-bitmap */

struct status {
    enum byre_nbd_context_kind kind;
    uint64_t goff; /* of what comes next */
    unsigned count, most;
    struct {
        uint64_t length, flags;
    } list[STATUS_MAX];
};

static uint64_t flags_of(enum byre_nbd_context_kind kind, const struct byre_extent *extent)
{
    if (kind == BYRE_NBD_CONTEXT_DEPTH)
        return extent->kind == BYRE_EXTENT_HOLE ? 0 : extent->layer + 1;
    if (extent->reserved) /* there is space for it */
        return NBD_STATE_ZERO;
    return is_zero(extent) ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0;
}

/* 1: there is no room for more. */
static int add_run(struct status *status, uint64_t length, uint64_t flags)
{
    status->goff += length;
    if (status->count && status->list[status->count - 1].flags == flags) {
        status->list[status->count - 1].length += length;
        return 0;
    }
    if (status->count == status->most)
        return 1;
    status->list[status->count].length = length;
    status->list[status->count++].flags = flags;
    return 0;
}

static int add_extent(void *opaque, const struct byre_extent *extent)
{
    struct status *status = opaque;

    return add_run(status, extent->length, flags_of(status->kind, extent));
}

/* A dirty range, and the clean one before it. */
static int add_range(void *opaque, uint64_t goff, uint64_t length)
{
    struct status *status = opaque;
    int full = goff > status->goff ? add_run(status, goff - status->goff, 0) : 0;

    return full ? full : add_run(status, length, STATE_DIRTY);
}

static int bitmap_status(struct byre_nbd_op *op, uint64_t length, struct status *status, const char *name)
{
    uint64_t end = op->request.goff + length;
    int rc = byre_bitmap_ranges(op->terms->export->disk, name, op->request.goff, length, add_range, status, &op->err);

    if (rc == 0 && status->goff < end)
        rc = add_run(status, end - status->goff, 0);
    return rc;
}

/* A chunk with the extents of one context; the client asks again for what it does not have. */
static int put_status(struct byre_nbd_op *op, const struct status *status, uint32_t id, bool last)
{
    bool extended = op->terms->replies == BYRE_NBD_REPLIES_EXTENDED;
    size_t each = extended ? 16 : 8, length = (extended ? 8 : 4) + status->count * each, at;
    uint8_t *head;

    if (vec_reserve(&op->heads, BYRE_NBD_HEAD_MAX + length) < 0)
        return no_memory(op);
    head = op->heads.ptr + op->heads.len;
    at = byre_nbd_put_chunk(head, op->terms, &op->request, last,
                            extended ? NBD_CHUNK_BLOCK_STATUS_EXT : NBD_CHUNK_BLOCK_STATUS, length);
    byre_put_be32(head + at, id);
    if (extended)
        byre_put_be32(head + at + 4, status->count);
    at += extended ? 8 : 4;
    for (unsigned i = 0; i < status->count; i++, at += each) {
        if (extended) {
            byre_put_be64(head + at, status->list[i].length);
            byre_put_be64(head + at + 8, status->list[i].flags);
        } else {
            byre_put_be32(head + at, (uint32_t)status->list[i].length);
            byre_put_be32(head + at + 4, (uint32_t)status->list[i].flags);
        }
    }
    op->heads.len += at;
    return 0;
}

static bool is_one_of(uint32_t id, const uint32_t *ids, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

static int refuse(struct byre_nbd_op *op, const char *why)
{
    op->why = why;
    return -EINVAL;
}

/* With a payload: how far, and which contexts (proto.md, NBD_CMD_BLOCK_STATUS).  Else all that were chosen. */
static int read_wishes(struct byre_nbd_op *op, uint32_t ids[BYRE_NBD_CONTEXTS_MAX], unsigned *ret_count)
{
    struct byre_nbd_request *request = &op->request;
    unsigned count = 0;

    if (!request->payload) {
        memcpy(ids, op->terms->contexts, op->terms->context_count * sizeof *ids);
        *ret_count = op->terms->context_count;
        return 0;
    }
    request->length = byre_get_be64(op->data);
    for (uint64_t at = 8; at < request->payload; at += 4) {
        uint32_t id = byre_get_be32(op->data + at);

        if (!is_one_of(id, op->terms->contexts, op->terms->context_count))
            return refuse(op, "a context was not chosen");
        if (is_one_of(id, ids, count))
            return refuse(op, "a context is there twice");
        ids[count++] = id;
    }
    if (!request->length ||
        !byre_range_within(byre_nbd_op_wire_goff(op, request->goff), request->length, op->terms->export->size))
        return refuse(op, "the request reaches past the end");
    *ret_count = count;
    return 0;
}

static int status_of(struct byre_nbd_op *op, struct status *status, uint32_t id, bool last)
{
    const struct byre_nbd_export *export = op->terms->export;
    const struct byre_nbd_context *context = &export->contexts.ptr[id];
    uint64_t length = MIN(op->request.length, STATUS_SPAN);
    int rc;

    status->kind = context->kind;
    status->goff = op->request.goff;
    status->count = 0;
    status->most = op->request.flags & NBD_CMD_FLAG_REQ_ONE ? 1 : STATUS_MAX;
    if (context->kind == BYRE_NBD_CONTEXT_BITMAP)
        rc = bitmap_status(op, length, status, byre_nbd_context_bitmap(context));
    else
        rc = byre_extents_reserved(export->disk, op->request.goff, length, add_extent, status, &op->err);
    return rc < 0 ? rc : put_status(op, status, id, last);
}

int byre_nbd_slow_status(struct byre_nbd_op *op)
{
    CLEANUP(free_ptr) struct status *status = malloc(sizeof *status);
    uint32_t ids[BYRE_NBD_CONTEXTS_MAX];
    unsigned count = 0;
    int rc = status ? read_wishes(op, ids, &count) : no_memory(op);

    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = status_of(op, status, ids[i], i + 1 == count);
    if (rc == 0 && count && vec_push(&op->reply, (struct byre_nbd_part){ { op->heads.ptr, op->heads.len }, -1, 0 }) < 0)
        rc = no_memory(op);
    return rc;
}
