/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much of a file is its header?  The first cluster; how long that is stands in its first bytes.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/header_read.h"

#define AT_CLUSTER_BITS 20
#define FIRST_READ 65536 /* the usual cluster: mostly one read is all */

/* The size of the header cluster that `buf` tells of; a length that is as good as any if it makes no sense,
 * for then parsing will say so. */
static size_t header_cluster_size(const uint8_t *buf, size_t length)
{
    uint32_t bits;

    if (length < AT_CLUSTER_BITS + 4 || byre_get_be32(buf) != BYRE_QCOW2_MAGIC)
        return length;
    bits = byre_get_be32(buf + AT_CLUSTER_BITS);
    if (bits < BYRE_QCOW2_CLUSTER_BITS_MIN || bits > BYRE_QCOW2_CLUSTER_BITS_MAX)
        return length;
    return (size_t)1 << bits;
}

static int read_first_cluster(struct byre_store *store, uint8_t **ret_buf, size_t *ret_length,
                              struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *buf = NULL;
    uint8_t *grown;
    uint64_t size;
    size_t length, whole;
    int rc;

    rc = byre_store_size(store, &size, err);
    if (rc < 0)
        return rc;
    length = (size_t)MIN(size, (uint64_t)FIRST_READ);
    buf = malloc(MAX(length, (size_t)1));
    if (!buf)
        return byre_error_set_errno(err, -ENOMEM, "header");
    rc = length ? byre_store_pread(store, buf, length, 0, err) : 0;
    if (rc < 0)
        return rc;
    whole = (size_t)MIN(size, (uint64_t)header_cluster_size(buf, length));
    if (whole > length) {
        grown = realloc(buf, whole);
        if (!grown)
            return byre_error_set_errno(err, -ENOMEM, "header");
        buf = grown;
        rc = byre_store_pread(store, buf + length, whole - length, length, err);
        if (rc < 0)
            return rc;
    }
    *ret_length = whole;
    *ret_buf = STEAL(buf);
    return 0;
}

int byre_qcow2_header_read(struct byre_store *store, struct byre_qcow2_header *ret_header,
                           struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *buf = NULL;
    size_t length = 0;
    int rc = read_first_cluster(store, &buf, &length, err);

    if (rc == 0)
        rc = byre_qcow2_header_parse(buf, length, ret_header, err);
    if (rc < 0)
        byre_error_prepend(err, "Could not open '%s': ", store->name);
    return rc;
}

int byre_qcow2_header_read_without_refcounts(struct byre_store *store, struct byre_qcow2_header *ret_header,
                                             struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *buf = NULL;
    size_t length = 0;
    int rc = read_first_cluster(store, &buf, &length, err);

    if (rc == 0 && length >= BYRE_QCOW2_AT_REFTABLE + 12)
        memset(buf + BYRE_QCOW2_AT_REFTABLE, 0, 12);
    if (rc == 0)
        rc = byre_qcow2_header_parse(buf, length, ret_header, err);
    if (rc < 0)
        byre_error_prepend(err, "Could not open '%s': ", store->name);
    return rc;
}
