/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recovering: the header as far as it goes, and the search for clusters that look like L2 tables.
 *
 * A cluster is taken for an L2 table if every one of its entries may be one, and at least one is in use.  Of bytes that
 * mean something else that is as good as never true: an entry is mostly zeros, its offset is that of a cluster, and
 * within the file.  L1 tables and refcount tables look the same; what they lead to tells them from L2 tables.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "base/zero.h"
#include "qcow2/fmt_l2.h"
#include "crypt/luks_header.h"
#include "qcow2/header_read.h"
#include "qcow2/recover.h"

#define CHUNK (2u << 20) /* at least the largest cluster */
#define HEAD  4096u      /* more than any program writes of header and extensions */

uint64_t byre_recover_span(const struct byre_recover_plan *plan)
{
    return ((uint64_t)1 << plan->header.cluster_bits) / plan->entry_size << plan->header.cluster_bits;
}

/* The first cluster of a data file is one like others. */
bool byre_recover_has_cluster(const struct byre_recover_plan *plan, uint64_t entry)
{
    return byre_l2_offset(entry) || (plan->external && entry & BYRE_L2_COPIED);
}

bool byre_recover_is_entry(const struct byre_recover_plan *plan, uint64_t entry, uint64_t bitmap)
{
    uint64_t cluster = 1ULL << plan->header.cluster_bits, hoff;

    if (entry == 0)
        return (bitmap & 0xffffffffULL) == 0;
    if (entry & BYRE_L2_COMPRESSED) {
        hoff = entry & ((1ULL << byre_l2_compressed_shift(plan->header.cluster_bits)) - 1);
        return !plan->external && !(entry & BYRE_L2_COPIED) && bitmap == 0 && hoff >= cluster && hoff < plan->file_size;
    }
    hoff = byre_l2_offset(entry);
    return !(entry & BYRE_L2_RESERVED_MASK) && byre_is_aligned(hoff, cluster) && hoff < plan->limit &&
           !(bitmap & 0xffffffffULL & bitmap >> 32) &&
           (byre_recover_has_cluster(plan, entry) || entry == BYRE_L2_ZERO);
}

/* A table of nothing but zeros and zero flags cannot be told from a refcount block of 64-bit counts: it is none. */
static bool looks_like_table(const struct byre_recover_plan *plan, const uint8_t *cluster)
{
    uint32_t size = 1u << plan->header.cluster_bits;
    bool used = false;

    for (uint32_t at = 0; at < size; at += plan->entry_size) {
        uint64_t entry = byre_get_be64(cluster + at);
        uint64_t bitmap = plan->entry_size == 16 ? byre_get_be64(cluster + at + 8) : 0;

        if (!byre_recover_is_entry(plan, entry, bitmap))
            return false;
        used = used || entry & BYRE_L2_COMPRESSED || byre_recover_has_cluster(plan, entry);
    }
    return used;
}

static int scan_chunk(struct byre_recover_plan *plan, const uint8_t *bytes, size_t length, uint64_t hoff,
                      struct byre_error *err)
{
    size_t size = (size_t)1 << plan->header.cluster_bits;

    for (size_t at = 0; at + size <= length; at += size) {
        struct byre_recover_table table = { .hoff = hoff + at, .index = BYRE_RECOVER_NOWHERE };

        if (byre_luks_probe(bytes + at, size) && plan->luks_count < BYRE_RECOVER_LUKS_MAX)
            plan->luks_hoffs[plan->luks_count++] = hoff + at;
        if (hoff + at == 0 || !looks_like_table(plan, bytes + at))
            continue;
        if (vec_push(&plan->tables, table) < 0)
            return byre_error_set_errno(err, -ENOMEM, "collecting L2 tables");
    }
    return 0;
}

/* Goes through all of the file that is stored, a chunk at a time. */
static int scan(struct byre_recover_plan *plan, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = malloc(CHUNK);
    uint64_t run_end = 0;
    int rc = 0;

    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "recovering '%s'", plan->store->name);
    for (uint64_t hoff = 0; hoff < plan->file_size && rc == 0; hoff += CHUNK) {
        uint64_t length;
        bool hole = false;

        while (hoff >= run_end && hoff < plan->file_size) {
            if (byre_store_extent(plan->store, hoff, &length, &hole, NULL) < 0 || length == 0)
                length = plan->file_size - hoff;
            run_end = hoff + length;
            if (!hole)
                break;
            hoff = byre_round_down(run_end, CHUNK);
            run_end = MAX(run_end, hoff + (run_end == hoff)); /* the chunk that the hole ends in has data, too */
            if (hoff < run_end)
                break;
        }
        if (hoff >= plan->file_size)
            break;
        /* Past the end, and where it cannot be read, there is nothing. */
        if (byre_store_pread(plan->store, bytes, CHUNK, hoff, NULL) < 0)
            memset(bytes, 0, CHUNK);
        if (!byre_is_zero(bytes, CHUNK))
            rc = scan_chunk(plan, bytes, CHUNK, hoff, err);
        if (plan->progress)
            plan->progress(plan->opaque, hoff, plan->file_size);
    }
    return rc;
}

/* Takes the first `length` bytes with the magic and version put right, and without the refcount table. */
static bool mend_header(struct byre_recover_plan *plan, size_t length)
{
    uint8_t head[HEAD] = { 0 };

    if (byre_store_pread(plan->store, head, length, 0, NULL) < 0)
        return false;
    byre_put_be32(head, BYRE_QCOW2_MAGIC);
    if (byre_get_be32(head + 4) != 2)
        byre_put_be32(head + 4, 3);
    memset(head + BYRE_QCOW2_AT_REFTABLE, 0, 12);
    if (byre_qcow2_header_parse(head, sizeof head, &plan->header, NULL) < 0)
        return false;
    if (plan->header.size && plan->header.l1_size)
        return true;
    byre_qcow2_header_done(&plan->header);
    return false;
}

/* Tries the header as it is, without its refcount table, and mended: as a whole, and without what follows it. */
static void read_header(struct byre_recover_plan *plan)
{
    plan->header_known = BYRE_RECOVER_CERTAIN;
    if (byre_qcow2_header_read(plan->store, &plan->header, NULL) == 0 ||
        byre_qcow2_header_read_without_refcounts(plan->store, &plan->header, NULL) == 0)
        return;
    plan->header_known = BYRE_RECOVER_GUESSED;
    if (mend_header(plan, HEAD) || mend_header(plan, 512))
        return;
    plan->header = (struct byre_qcow2_header){ .version = 3, .refcount_order = 4, .header_length = 104 };
    plan->header_known = BYRE_RECOVER_LOST;
}

static int find_cluster_size(struct byre_recover_plan *plan, uint32_t given, struct byre_error *err)
{
    plan->cluster_size_known = plan->header_known;
    if (given) {
        plan->header.cluster_bits = byre_log2(given);
        plan->cluster_size_known = BYRE_RECOVER_CERTAIN;
        return 0;
    }
    if (plan->header_known != BYRE_RECOVER_LOST)
        return 0;
    plan->cluster_size_known = BYRE_RECOVER_GUESSED;
    return byre_recover_guess_clusters(plan, err);
}

int byre_recover_plan_make(const struct byre_recover_input *input, const struct byre_recover_options *options,
                           struct byre_recover_plan *plan, struct byre_error *err)
{
    struct byre_store *store = input->image;
    int rc;

    *plan = (struct byre_recover_plan){ .store = store, .progress = options->progress, .opaque = options->opaque };
    rc = byre_store_size(store, &plan->file_size, err);
    if (rc < 0)
        return rc;
    read_header(plan);
    if ((rc = byre_recover_contents_find(plan, input, err)) < 0 ||
        (rc = byre_recover_contents_unlock(plan, input->password, err)) < 0 ||
        (rc = find_cluster_size(plan, options->cluster_size, err)) < 0)
        return rc;
    plan->entry_size = plan->header.incompatible & BYRE_QCOW2_INCOMPAT_EXTENDED_L2 ? 16 : 8;
    rc = scan(plan, err);
    if (rc == 0 && !plan->tables.len && plan->header_known == BYRE_RECOVER_LOST)
        rc = byre_error_set(err, -ENODATA, "nothing in '%s' looks like a part of a qcow2 image", store->name);
    if (rc == 0 && input->password && !plan->cipher)
        rc = byre_recover_contents_unlock_found(plan, input->password, err);
    return rc < 0 ? rc : byre_recover_place(plan, err);
}

void byre_recover_plan_done(struct byre_recover_plan *plan)
{
    byre_cipher_free(plan->cipher);
    vec_done(&plan->tables);
    vec_done(&plan->lost);
    byre_qcow2_header_done(&plan->header);
}
