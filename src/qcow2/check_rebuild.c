/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New refcount structures, from the counts alone: for images whose refcount table or blocks are missing, or
 * are somewhere where they cannot be corrected.
 *
 *   1. room is found for the table and for a block of each range of clusters that is in use
 *   2. blocks and table are written there              barrier
 *   3. the header is switched to the table             one sector, barrier
 *
 * Nothing that anything refers to is overwritten, the old structures included, so that a crash leaves the
 * image with the old ones, or with the new ones.  The old ones are free by not being counted in the new ones.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/check_state.h"
#include "qcow2/fmt_refcount.h"

struct rebuild {
    struct byre_check_state *state;
    VEC(uint32_t) indexes;  /* of the blocks: ascending, each once */
    uint64_t table_entries;
    uint64_t first, count;  /* clusters of the new structures: the table, then the blocks */
    struct byre_error *err;
};

static unsigned block_shift(const struct byre_check_state *state)
{
    return state->cluster_bits + 3 - state->header->refcount_order;
}

static uint64_t table_clusters(const struct rebuild *rebuild)
{
    return byre_div_up(rebuild->table_entries * 8, rebuild->state->cluster_size);
}

static int no_memory(struct rebuild *rebuild)
{
    return byre_error_set_errno(rebuild->err, -ENOMEM, "rebuilding the refcount structure");
}

/* Takes back what the old structures counted. */
static int forget_old(struct byre_check_state *state, struct byre_error *err)
{
    const struct byre_qcow2_header *header = state->header;
    uint64_t first = header->reftable_hoff >> state->cluster_bits;
    uint64_t size = (uint64_t)header->reftable_clusters << state->cluster_bits, end;
    bool counted = byre_add_fits(header->reftable_hoff, size, &end) &&
                   (end <= state->reader.size || end - state->reader.size < state->cluster_size);
    int rc = 0;

    for (uint32_t i = 0; counted && i < header->reftable_clusters && rc == 0; i++)
        rc = byre_counts_take(&state->counts, first + i, 1);
    for (size_t i = 0; i < state->blocks.len && rc == 0; i++) {
        if (state->blocks.ptr[i].counted)
            rc = byre_counts_take(&state->counts, state->blocks.ptr[i].hoff >> state->cluster_bits, 1);
    }
    return rc == 0 ? 0 : byre_check_count_failed(state, rc, err);
}

static int compare_indexes(const void *pa, const void *pb)
{
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;

    return a < b ? -1 : a > b;
}

static int add_index(struct rebuild *rebuild, uint64_t index)
{
    if (index >= BYRE_QCOW2_REFTABLE_BYTES_MAX / 8)
        return byre_error_set(rebuild->err, -EFBIG,
                              "'%s' uses clusters that no refcount table can describe (refcount_order is %" PRIu32 ")",
                              rebuild->state->store->name, rebuild->state->header->refcount_order);
    if (rebuild->indexes.len && rebuild->indexes.ptr[rebuild->indexes.len - 1] == index)
        return 0;
    return vec_push(&rebuild->indexes, (uint32_t)index) < 0 ? no_memory(rebuild) : 0;
}

static bool is_used(const struct byre_check_state *state, const struct byre_counts_page *page, unsigned group)
{
    struct byre_cell cells[BYRE_COUNTS_GROUP];

    byre_counts_get_group(&state->counts, page, group, cells);
    for (unsigned i = 0; i < BYRE_COUNTS_GROUP; i++) {
        if (cells[i].count)
            return true;
    }
    return false;
}

/* What old blocks say counts where not all references are known: nothing that they hold may become free. */
static int keep_old_blocks(struct rebuild *rebuild)
{
    struct byre_check_state *state = rebuild->state;
    int rc = 0;

    for (size_t i = 0; state->references_lost && i < state->blocks.len && rc == 0; i++) {
        if (state->blocks.ptr[i].usable)
            rc = add_index(rebuild, state->blocks.ptr[i].index);
    }
    return rc;
}

/* Finds which blocks are needed, those for the structures themselves included. */
static int collect_indexes(struct rebuild *rebuild)
{
    struct byre_check_state *state = rebuild->state;
    unsigned shift = block_shift(state);
    size_t kept = 0;
    int rc = 0;

    rebuild->indexes.len = 0;
    for (size_t i = 0; i < state->counts.page_count && rc == 0; i++) {
        const struct byre_counts_page *page = byre_counts_page_at(&state->counts, i);

        for (unsigned k = 0; k < BYRE_COUNTS_GROUPS && rc == 0; k++) {
            uint64_t index = (page->number * BYRE_COUNTS_PAGE + k * BYRE_COUNTS_GROUP) >> shift;

            if (rebuild->indexes.len && rebuild->indexes.ptr[rebuild->indexes.len - 1] == index)
                continue;
            if (is_used(state, page, k))
                rc = add_index(rebuild, index);
        }
    }
    for (uint64_t i = rebuild->first >> shift; rc == 0 && i <= (rebuild->first + rebuild->count - 1) >> shift; i++)
        rc = add_index(rebuild, i);
    if (rc == 0)
        rc = keep_old_blocks(rebuild);
    if (rc < 0)
        return rc;
    qsort(rebuild->indexes.ptr, rebuild->indexes.len, sizeof *rebuild->indexes.ptr, compare_indexes);
    for (size_t i = 0; i < rebuild->indexes.len; i++) {
        if (kept == 0 || rebuild->indexes.ptr[kept - 1] != rebuild->indexes.ptr[i])
            rebuild->indexes.ptr[kept++] = rebuild->indexes.ptr[i];
    }
    rebuild->indexes.len = kept;
    rebuild->table_entries = rebuild->indexes.ptr[kept - 1] + 1ULL;
    return 0;
}

/* Room for structures that describe their own place, too: it grows until that is so. */
static int find_room(struct rebuild *rebuild)
{
    struct byre_check_state *state = rebuild->state;
    uint64_t start = state->next_free, hoff;

    for (rebuild->count = 2;;) {
        uint64_t needed;
        int rc;

        state->next_free = start;
        rc = byre_check_allocate(state, rebuild->count, &hoff, rebuild->err);
        if (rc < 0)
            return rc;
        rebuild->first = hoff >> state->cluster_bits;
        rc = collect_indexes(rebuild);
        if (rc < 0)
            return rc;
        needed = table_clusters(rebuild) + rebuild->indexes.len;
        if (needed <= rebuild->count) {
            rebuild->count = needed;
            return 0;
        }
        rebuild->count = needed;
    }
}

/* What the old block says of the clusters of the new one, in `old`; zero where nothing is known or wanted. */
static int read_old(const struct rebuild *rebuild, uint32_t index, uint8_t *old)
{
    struct byre_check_state *state = rebuild->state;
    const struct byre_check_block *block = byre_check_find_block(state, (uint64_t)index << block_shift(state));

    memset(old, 0, state->cluster_size);
    if (!state->references_lost || !block)
        return 0;
    return byre_store_pread(state->store, old, state->cluster_size, block->hoff, rebuild->err);
}

static int write_block(struct rebuild *rebuild, size_t i, uint8_t *block, uint8_t *old)
{
    struct byre_check_state *state = rebuild->state;
    unsigned order = state->header->refcount_order;
    uint64_t entries = 1ULL << block_shift(state), first = rebuild->indexes.ptr[i] * entries;
    uint64_t hoff = (rebuild->first + table_clusters(rebuild) + i) << state->cluster_bits;
    int rc = read_old(rebuild, rebuild->indexes.ptr[i], old);

    if (rc < 0)
        return rc;
    memset(block, 0, state->cluster_size);
    for (uint64_t k = 0; k < entries; k++) {
        uint64_t cluster = first + k;
        uint64_t count = byre_counts_get(&state->counts, cluster).count;

        count += cluster - rebuild->first < rebuild->count;
        count = MAX(count, byre_refcount_get(old, (size_t)k, order));
        byre_refcount_set(block, (size_t)k, order, MIN(count, byre_refcount_max(order)));
    }
    return byre_store_pwrite(state->store, block, state->cluster_size, hoff, rebuild->err);
}

static int write_table(struct rebuild *rebuild, uint8_t *cluster)
{
    struct byre_check_state *state = rebuild->state;
    uint64_t blocks = rebuild->first + table_clusters(rebuild), per_cluster = state->cluster_size / 8;
    size_t i = 0;

    for (uint64_t c = 0; c < table_clusters(rebuild); c++) {
        int rc;

        memset(cluster, 0, state->cluster_size);
        for (; i < rebuild->indexes.len && rebuild->indexes.ptr[i] / per_cluster == c; i++)
            byre_put_be64(cluster + rebuild->indexes.ptr[i] % per_cluster * 8, (blocks + i) << state->cluster_bits);
        rc = byre_store_pwrite(state->store, cluster, state->cluster_size, (rebuild->first + c) << state->cluster_bits,
                               rebuild->err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int write_structures(struct rebuild *rebuild)
{
    struct byre_check_state *state = rebuild->state;
    CLEANUP(free_ptr) uint8_t *block = malloc(state->cluster_size);
    CLEANUP(free_ptr) uint8_t *old = malloc(state->cluster_size);
    int rc = 0;

    if (!block || !old)
        return no_memory(rebuild);
    state->wrote = true;
    for (size_t i = 0; i < rebuild->indexes.len && rc == 0; i++)
        rc = write_block(rebuild, i, block, old);
    return rc < 0 ? rc : write_table(rebuild, block);
}

static int switch_header(struct rebuild *rebuild)
{
    struct byre_check_state *state = rebuild->state;
    uint8_t fields[12];
    int rc;

    byre_put_be64(fields, rebuild->first << state->cluster_bits);
    byre_put_be32(fields + 8, (uint32_t)table_clusters(rebuild));
    rc = byre_check_switch(state, BYRE_QCOW2_AT_REFTABLE, fields, sizeof fields, rebuild->err);
    if (rc < 0)
        return rc;
    state->header->reftable_hoff = rebuild->first << state->cluster_bits;
    state->header->reftable_clusters = (uint32_t)table_clusters(rebuild);
    return 0;
}

int byre_check_rebuild(struct byre_check_state *state, struct byre_error *err)
{
    struct rebuild rebuild = { .state = state, .err = err };
    int rc;

    byre_check_say(state, "Rebuilding refcount structure");
    rc = byre_check_mark(state, err);
    if (rc == 0)
        rc = forget_old(state, err);
    if (rc == 0)
        rc = find_room(&rebuild);
    if (rc == 0)
        rc = write_structures(&rebuild);
    if (rc == 0)
        rc = switch_header(&rebuild);
    vec_done(&rebuild.indexes);
    if (rc < 0)
        return rc;
    state->result.corruptions_fixed += state->result.corruptions - state->structural;
    if (!state->references_lost)
        state->result.leaks_fixed += state->result.leaks;
    return 0;
}
