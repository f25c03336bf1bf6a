/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: the qcow2 header codec.  Whatever the bytes are, parsing does not read outside of them; what
 * parses serializes, and comes back the same.
 */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/require.h"
#include "qcow2/fmt_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same_string(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_fields(const struct byre_qcow2_header *a, const struct byre_qcow2_header *b)
{
    return a->version == b->version && a->cluster_bits == b->cluster_bits && a->size == b->size &&
           a->crypt_method == b->crypt_method && a->l1_size == b->l1_size && a->l1_hoff == b->l1_hoff &&
           a->reftable_hoff == b->reftable_hoff && a->reftable_clusters == b->reftable_clusters &&
           a->snapshot_count == b->snapshot_count && a->snapshots_hoff == b->snapshots_hoff &&
           a->incompatible == b->incompatible && a->compatible == b->compatible &&
           a->autoclear == b->autoclear && a->refcount_order == b->refcount_order &&
           a->header_length == b->header_length && a->compression == b->compression &&
           memcmp(a->reserved, b->reserved, sizeof a->reserved) == 0;
}

static bool same_header(const struct byre_qcow2_header *a, const struct byre_qcow2_header *b)
{
    if (!same_fields(a, b) || !same_string(a->backing_name, b->backing_name) ||
        !same_string(a->backing_format, b->backing_format) || a->extension_count != b->extension_count)
        return false;
    if (!a->unknown_fields != !b->unknown_fields)
        return false;
    if (a->unknown_fields && memcmp(a->unknown_fields, b->unknown_fields, a->header_length - 112) != 0)
        return false;
    for (size_t i = 0; i < a->extension_count; i++) {
        const struct byre_qcow2_extension *x = &a->extensions[i], *y = &b->extensions[i];

        if (x->type != y->type || x->length != y->length ||
            (x->length > 0 && memcmp(x->data, y->data, x->length) != 0))
            return false;
    }
    return true;
}

/* What the file used of its cluster: more than that, and an end mark, may not fit. */
static bool fits_for_sure(const struct byre_qcow2_header *header)
{
    size_t used = header->header_length + 8;

    for (size_t i = 0; i < header->extension_count; i++)
        used += 8 + (((size_t)header->extensions[i].length + 7) & ~(size_t)7);
    if (header->backing_name)
        used += strlen(header->backing_name);
    return used <= (size_t)1 << header->cluster_bits;
}

static void round_trip(const struct byre_qcow2_header *header)
{
    size_t length = (size_t)1 << header->cluster_bits;
    uint8_t *cluster = malloc(length);
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2_header again;
    int rc;

    require(cluster != NULL);
    rc = byre_qcow2_header_serialize(header, true, cluster, length, &err);
    if (rc < 0) {
        require(rc == -ENOSPC && err.text[0] && !fits_for_sure(header));
    } else {
        require(byre_qcow2_header_parse(cluster, length, &again, &err) == 0);
        require(same_header(header, &again));
        byre_qcow2_header_done(&again);
    }
    free(cluster);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct byre_qcow2_header header;
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_qcow2_header_parse(data, size, &header, &err);

    if (rc < 0) {
        require(err.code == rc && err.text[0] != 0);
        return 0;
    }
    round_trip(&header);
    if (byre_qcow2_header_check_tables(&header, size, &err) < 0)
        require(err.text[0] != 0);
    byre_qcow2_header_done(&header);
    return 0;
}
