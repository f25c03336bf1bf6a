/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of requests.
 */
#include "config.h"

#include "requests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../crash/guest.h"
#include "base/arith.h"
#include "disk/filter.h"

enum { CLUSTER = REQUEST_CLUSTER, HALF = CLUSTER / 2, FEW = 3 };

/* --- what is written --- */

static void write_model(const struct request *request, struct request_model *model, uint64_t goff, uint64_t length)
{
    guest_pattern(model->bytes + goff, goff, length, request->number);
}

static void zero_model(struct request_model *model, uint64_t goff, uint64_t length)
{
    memset(model->bytes + goff, 0, length);
}

static int write_bytes(struct request *request, uint64_t goff, uint64_t length, unsigned flags,
                       struct byre_error *err)
{
    uint8_t bytes[FEW * CLUSTER];
    struct iovec iov = { bytes, length };

    guest_pattern(bytes, goff, length, request->number);
    return byre_pwritev(request->disk, &iov, 1, goff, flags, err);
}

/* --- plain writes --- */

static int make_write(struct request *request, struct byre_error *err)
{
    return write_bytes(request, request->goff, CLUSTER, 0, err);
}

static void apply_write(const struct request *request, struct request_model *model)
{
    write_model(request, model, request->goff, CLUSTER);
}

static int make_part(struct request *request, struct byre_error *err)
{
    return write_bytes(request, request->goff + HALF, HALF, 0, err);
}

static void apply_part(const struct request *request, struct request_model *model)
{
    write_model(request, model, request->goff + HALF, HALF);
}

static int make_across(struct request *request, struct byre_error *err)
{
    return write_bytes(request, request->goff - HALF, CLUSTER, 0, err);
}

static void apply_across(const struct request *request, struct request_model *model)
{
    write_model(request, model, request->goff - HALF, CLUSTER);
}

static int make_fua(struct request *request, struct byre_error *err)
{
    return write_bytes(request, request->goff, HALF, BYRE_WRITE_FUA, err);
}

static void apply_fua(const struct request *request, struct request_model *model)
{
    write_model(request, model, request->goff, HALF);
}

/* --- compressed writes --- */

static void compressible(const struct request *request, uint8_t *bytes)
{
    guest_pattern(bytes, request->goff, CLUSTER / 8, request->number);
    for (unsigned i = CLUSTER / 8; i < CLUSTER; i++)
        bytes[i] = bytes[i - CLUSTER / 8];
}

static int make_compressed(struct request *request, struct byre_error *err)
{
    uint8_t bytes[CLUSTER];

    compressible(request, bytes);
    return byre_write_compressed(request->disk, bytes, CLUSTER, request->goff, err);
}

static void apply_compressed(const struct request *request, struct request_model *model)
{
    compressible(request, model->bytes + request->goff);
}

/* --- zeros and discards --- */

static int make_zero(struct request *request, struct byre_error *err)
{
    return byre_write_zeroes(request->disk, request->goff, CLUSTER, 0, err);
}

static int make_unmap(struct request *request, struct byre_error *err)
{
    return byre_write_zeroes(request->disk, request->goff, CLUSTER, BYRE_WRITE_ZEROES_UNMAP, err);
}

static int make_zero_fua(struct request *request, struct byre_error *err)
{
    return byre_write_zeroes(request->disk, request->goff, CLUSTER, BYRE_WRITE_ZEROES_UNMAP | BYRE_WRITE_FUA, err);
}

static void apply_zero(const struct request *request, struct request_model *model)
{
    zero_model(model, request->goff, CLUSTER);
}

static int make_zero_part(struct request *request, struct byre_error *err)
{
    return byre_write_zeroes(request->disk, request->goff - HALF, CLUSTER, 0, err);
}

static void apply_zero_part(const struct request *request, struct request_model *model)
{
    zero_model(model, request->goff - HALF, CLUSTER);
}

static int make_discard(struct request *request, struct byre_error *err)
{
    return byre_discard(request->disk, request->goff, CLUSTER, err);
}

static void apply_discard(const struct request *request, struct request_model *model)
{
    if (model->discards)
        zero_model(model, request->goff, CLUSTER);
}

/* --- what changes nothing --- */

void request_read_range(const struct request *request, uint64_t *ret_start, uint64_t *ret_length)
{
    *ret_start = request->goff - HALF;
    *ret_length = CLUSTER + HALF;
}

static int make_read(struct request *request, struct byre_error *err)
{
    uint64_t start, length;

    request_read_range(request, &start, &length);
    return byre_pread(request->disk, request->found, length, start, err);
}

/* As byre_pread on a disk with copy-on-read. */
static int make_copy_up(struct request *request, struct byre_error *err)
{
    uint64_t start, length;
    int rc;

    request_read_range(request, &start, &length);
    byre_gate_enter(&request->disk->gate);
    rc = byre_filter_copy_up(request->disk, start, length, err);
    byre_gate_leave(&request->disk->gate);
    return rc < 0 ? rc : make_read(request, err);
}

static int follow(void *opaque, const struct byre_extent *extent)
{
    uint64_t *at = opaque;

    if (extent->goff != *at || !extent->length)
        return -EBADMSG;
    *at += extent->length;
    return 0;
}

static int make_extents(struct request *request, struct byre_error *err)
{
    uint64_t at = request->goff - CLUSTER;
    int rc = byre_extents(request->disk, at, 3 * CLUSTER, follow, &at, err);

    if (rc == 0 && at != request->goff + 2 * CLUSTER)
        return byre_error_set(err, -EBADMSG, "the extents end at %llu", (unsigned long long)at);
    return rc;
}

static int make_grow(struct request *request, struct byre_error *err)
{
    return byre_truncate(request->disk, request->grown, NULL, err);
}

static void apply_grow(const struct request *request, struct request_model *model)
{
    if (request->grown > model->size)
        zero_model(model, model->size, request->grown - model->size);
    model->size = request->grown;
}

static int make_flush(struct request *request, struct byre_error *err)
{
    return byre_flush(request->disk, err);
}

static void apply_nothing(const struct request *request, struct request_model *model)
{
    (void)request;
    (void)model;
}

/* --- more than one --- */

/* Gives the cluster away, and has its place used for something else. */
static int make_recycle(struct request *request, struct byre_error *err)
{
    int rc = byre_discard(request->disk, request->goff, CLUSTER, err);

    if (rc == 0)
        rc = byre_flush(request->disk, err);
    if (rc == 0)
        rc = write_bytes(request, REQUEST_ELSEWHERE, FEW * CLUSTER, 0, err);
    return rc;
}

static void apply_recycle(const struct request *request, struct request_model *model)
{
    apply_discard(request, model);
    write_model(request, model, REQUEST_ELSEWHERE, FEW * CLUSTER);
}

const struct request_kind request_kinds[] = {
    { "write", make_write, apply_write, .changes = true },
    { "write of a part", make_part, apply_part, .changes = true },
    { "write across", make_across, apply_across, .changes = true },
    { "write with FUA", make_fua, apply_fua, .changes = true, .flushes = true },
    { "compressed write", make_compressed, apply_compressed, .changes = true },
    { "zero", make_zero, apply_zero, .changes = true },
    { "zero with unmap", make_unmap, apply_zero, .changes = true },
    { "zero with FUA", make_zero_fua, apply_zero, .changes = true, .flushes = true },
    { "zero of parts", make_zero_part, apply_zero_part, .changes = true },
    { "discard", make_discard, apply_discard, .changes = true },
    { "recycle", make_recycle, apply_recycle, .changes = true },
    { "grow", make_grow, apply_grow, .changes = true, .flushes = true },
    { "read", make_read, apply_nothing, .reads = true },
    { "read with copy-on-read", make_copy_up, apply_nothing, .reads = true },
    { "extents", make_extents, apply_nothing, .reads = false },
    { "flush", make_flush, apply_nothing, .flushes = true },
};

const size_t request_kind_count = ARRAY_LEN(request_kinds);

const struct request_kind *request_kind(const char *name)
{
    for (size_t i = 0; i < request_kind_count; i++) {
        if (strcmp(request_kinds[i].name, name) == 0)
            return &request_kinds[i];
    }
    fprintf(stderr, "there is no request '%s'\n", name);
    abort();
}

int request_make(void *opaque, struct byre_error *err)
{
    struct request *request = opaque;

    return request->kind->make(request, err);
}
