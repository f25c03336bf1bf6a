/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mending: correcting what cannot be true in the tables of an image, and taking apart what claims one place.
 * This file has the order of it, and what its parts write with.
 *
 * Where two structures claim a cluster, the header, the active L1 table and the encryption header stay where they
 * are.  The snapshot table, L1 tables of snapshots and the bitmap directory go elsewhere, whatever else it is: as a
 * copy if they make sense, so that nothing is lost to a wrong pointer.  Data goes elsewhere where there is a table,
 * and bitmap tables are given up where there is an L2 table.  Refcounts come last (check_rebuild.c).
 *
 * Invariants
 *   M1. New clusters are written, and durable, before anything refers to them.  They are past all that is in
 *       use, so nothing that is leaked is overwritten: it may be what is left of something.
 *   M2. A table is changed in place only where no other table has its clusters, and by whole entries, which a
 *       crash does not tear.
 *   M3. On version 3 the dirty bit is durable before the first change: the refcounts of new clusters follow
 *       in a later round.
 */
#include "config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/check_state.h"

#define SECTOR 512u

int byre_check_barrier(struct byre_check_state *state, struct byre_error *err)
{
    if (!state->wrote)
        return 0;
    state->wrote = false;
    return byre_store_flush(state->store, err);
}

int byre_check_mark(struct byre_check_state *state, struct byre_error *err)
{
    uint64_t bits = state->header->incompatible | BYRE_QCOW2_INCOMPAT_DIRTY;
    uint8_t bytes[8];
    int rc;

    if (state->header->version < 3 || bits == state->header->incompatible)
        return 0;
    byre_put_be64(bytes, bits);
    rc = byre_check_switch(state, BYRE_QCOW2_AT_INCOMPAT, bytes, sizeof bytes, err);
    if (rc == 0) {
        state->header->incompatible = bits;
        state->marked = true;
    }
    return rc;
}

int byre_check_switch(struct byre_check_state *state, size_t at, const void *bytes, size_t length,
                      struct byre_error *err)
{
    int rc = byre_check_barrier(state, err);

    if (rc < 0)
        return rc;
    state->wrote = true;
    rc = byre_store_pwrite(state->store, bytes, length, at, err);
    return rc < 0 ? rc : byre_check_barrier(state, err);
}

void byre_check_mended(struct byre_check_state *state, uint64_t times, const char *fmt, ...)
{
    char line[480];
    va_list args;

    state->result.corruptions_fixed += times;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    byre_check_say(state, "Repairing %s", line);
}

/* Clusters that a refcount table of the largest size describes. */
static uint64_t describable(const struct byre_check_state *state)
{
    return (uint64_t)(BYRE_QCOW2_REFTABLE_BYTES_MAX / 8) << (state->cluster_bits + 3 - state->header->refcount_order);
}

static bool is_block(const struct byre_check_state *state, uint64_t cluster)
{
    uint64_t table = state->header->reftable_hoff >> state->cluster_bits;

    if (cluster >= table && cluster - table < state->header->reftable_clusters)
        return true;
    for (size_t i = 0; i < state->blocks.len; i++) {
        if (state->blocks.ptr[i].usable && state->blocks.ptr[i].hoff >> state->cluster_bits == cluster)
            return true;
    }
    return false;
}

/* The first of `count` clusters from `from` on, below `end`, that nothing refers to; or `end`. */
static uint64_t find_run(const struct byre_check_state *state, uint64_t from, uint64_t end, uint64_t count)
{
    uint64_t run = 0;

    for (uint64_t cluster = from; cluster < end; cluster++) {
        if (byre_counts_get(&state->counts, cluster).count || is_block(state, cluster)) {
            run = 0;
            continue;
        }
        if (++run == count)
            return cluster + 1 - count;
    }
    return end;
}

/* One more than the last cluster that something refers to. */
static uint64_t end_of_use(const struct byre_check_state *state)
{
    uint64_t end = (state->header->reftable_hoff >> state->cluster_bits) + state->header->reftable_clusters;

    end = MIN(end, state->file_clusters);
    for (size_t i = 0; i < state->counts.page_count; i++)
        end = MAX(end, (byre_counts_page_at(&state->counts, i)->number + 1) * BYRE_COUNTS_PAGE);
    for (size_t i = 0; i < state->blocks.len; i++) {
        if (state->blocks.ptr[i].usable)
            end = MAX(end, (state->blocks.ptr[i].hoff >> state->cluster_bits) + 1);
    }
    return end;
}

int byre_check_allocate(struct byre_check_state *state, uint64_t count, uint64_t *ret_hoff, struct byre_error *err)
{
    uint64_t limit = describable(state), at = MAX(MAX(state->file_clusters, state->end_clusters), state->next_free);

    if (!state->store->growable || at > limit / 2) {
        limit = MIN(limit, state->store->growable ? limit : state->reader.size >> state->cluster_bits);
        at = MAX(end_of_use(state), state->next_free);
        if (at > limit || limit - at < count)
            at = find_run(state, state->next_free, limit, count);
    }
    if (at > limit || limit - at < count)
        return byre_error_set(err, -ENOSPC, "'%s' has no room for what is to be repaired (%" PRIu64 " clusters)",
                              state->store->name, count);
    state->next_free = at + count;
    *ret_hoff = at << state->cluster_bits;
    return 0;
}

int byre_check_copy(struct byre_check_state *state, uint64_t from, uint64_t length, uint64_t *ret_hoff,
                    struct byre_error *err)
{
    uint64_t hoff, whole = byre_round_up(length, state->cluster_size);
    uint8_t *bytes;
    int rc = byre_check_allocate(state, whole >> state->cluster_bits, &hoff, err);

    if (rc < 0)
        return rc;
    bytes = calloc(1, state->buf_size); /* state->buf is the caller's */
    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "repairing '%s'", state->store->name);
    for (uint64_t at = 0; at < whole && rc == 0; at += state->buf_size) {
        size_t piece = (size_t)MIN(whole - at, (uint64_t)state->buf_size);
        size_t kept = (size_t)(at < length ? MIN(length - at, (uint64_t)piece) : 0);

        memset(bytes + kept, 0, piece - kept);
        if (kept)
            rc = byre_store_pread(state->store, bytes, kept, from + at, err);
        if (rc == 0)
            rc = byre_store_pwrite(state->store, bytes, piece, hoff + at, err);
    }
    free(bytes);
    state->wrote = true;
    if (rc == 0)
        rc = byre_check_barrier(state, err);
    if (rc == 0)
        *ret_hoff = hoff;
    return rc;
}

static int compare_regions(const void *pa, const void *pb)
{
    const struct byre_check_region *a = pa, *b = pb;

    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static bool yields(const struct byre_check_region *a, const struct byre_check_region *b)
{
    return a->kind != b->kind ? a->kind > b->kind : a->index > b->index;
}

/* Is anything else there, before which it has to yield?  What can be copied elsewhere is, so that both stay; a bitmap
 * table is worth less than an L2 table, and more than what looks like data there. */
static bool has_to_yield(const struct byre_check_state *state, const struct byre_check_region *region)
{
    for (uint64_t cluster = region->first; cluster < region->end; cluster++) {
        if (region->kind == BYRE_REGION_BITMAP ? byre_check_is_l2_table(state, cluster << state->cluster_bits)
                                               : byre_counts_get(&state->counts, cluster).count > 1)
            return true;
    }
    return false;
}

/* Sorts the regions, and finds those that are in the way of others: enough of them, so that rounds end. */
static void judge_regions(struct byre_check_state *state)
{
    struct byre_check_region *regions = state->regions.ptr;
    size_t owner = 0;

    if (state->regions.len)
        qsort(regions, state->regions.len, sizeof *regions, compare_regions);
    for (size_t i = 1; i < state->regions.len; i++) {
        if (regions[i].first >= regions[owner].end) {
            owner = i;
        } else if (yields(&regions[i], &regions[owner])) {
            regions[i].in_the_way = true;
        } else {
            regions[owner].in_the_way = true;
            owner = i;
        }
    }
    for (size_t i = 0; i < state->regions.len; i++) {
        if (regions[i].kind >= BYRE_REGION_SNAPSHOTS && has_to_yield(state, &regions[i]))
            regions[i].in_the_way = true;
    }
}

bool byre_check_is_l2_table(const struct byre_check_state *state, uint64_t hoff)
{
    size_t low = 0, high = state->l2_tables.len;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (state->l2_tables.ptr[middle].hoff < hoff)
            low = middle + 1;
        else
            high = middle;
    }
    return low < state->l2_tables.len && state->l2_tables.ptr[low].hoff == hoff;
}

/* Regions are sorted, but may overlap: one that began long before may reach here.  What follows looks at those that
 * begin at or before the cluster, from the nearest; a long one that others overlap is in the way, or they are. */
bool byre_check_is_region(const struct byre_check_state *state, uint64_t cluster)
{
    size_t low = 0, high = state->regions.len;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (state->regions.ptr[middle].first <= cluster)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low > 0; low--) {
        if (cluster < state->regions.ptr[low - 1].end)
            return true;
        if (!state->regions.ptr[low - 1].in_the_way)
            return false;
    }
    return false;
}

/* The parts build on one another: what a part has changed is counted before the next one looks at it. */
int byre_check_mend(struct byre_check_state *state, bool *ret_changed, struct byre_error *err)
{
    static int (*const parts[])(struct byre_check_state *, bool *, struct byre_error *) = {
        byre_check_mend_bitmaps,
        byre_check_mend_snapshots,
        byre_check_mend_l1,
        byre_check_mend_l2,
        byre_check_drop_bitmaps,
    };
    int rc = 0;

    judge_regions(state);
    for (size_t i = 0; i < ARRAY_LEN(parts) && rc == 0 && !*ret_changed; i++)
        rc = parts[i](state, ret_changed, err);
    return rc < 0 ? rc : byre_check_barrier(state, err);
}
