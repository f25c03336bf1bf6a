/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What was written to an NBD server since its last flush: see nbd_unflushed.h.
 */
#include "config.h"

#include "store/nbd_unflushed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

static uint64_t weight(const struct byre_nbd_request *request)
{
    return sizeof *request + (request->buf ? request->length : 0);
}

int byre_nbd_unflushed_add(struct byre_nbd_unflushed *unflushed, const struct byre_nbd_request *request)
{
    struct byre_nbd_request copy = {
        .op = request->op, .no_hole = request->no_hole, .offset = request->offset, .length = request->length,
    };

    if (request->op == BYRE_NBD_WRITE) {
        copy.buf = malloc(request->length);
        if (!copy.buf)
            return -ENOMEM;
        memcpy(copy.buf, request->buf, request->length);
    }
    if (vec_push(&unflushed->requests, copy) < 0) {
        free(copy.buf);
        return -ENOMEM;
    }
    unflushed->bytes += weight(&copy);
    return 0;
}

uint64_t byre_nbd_unflushed_mark(const struct byre_nbd_unflushed *unflushed)
{
    return unflushed->first + unflushed->requests.len;
}

void byre_nbd_unflushed_drop(struct byre_nbd_unflushed *unflushed, uint64_t mark)
{
    size_t count = mark > unflushed->first ? MIN((size_t)(mark - unflushed->first), unflushed->requests.len) : 0;

    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        unflushed->bytes -= weight(&unflushed->requests.ptr[i]);
        free(unflushed->requests.ptr[i].buf);
    }
    unflushed->requests.len -= count;
    memmove(unflushed->requests.ptr, unflushed->requests.ptr + count,
            unflushed->requests.len * sizeof *unflushed->requests.ptr);
    unflushed->first += count;
}

void byre_nbd_unflushed_done(struct byre_nbd_unflushed *unflushed)
{
    byre_nbd_unflushed_drop(unflushed, UINT64_MAX);
    vec_done(&unflushed->requests);
}
