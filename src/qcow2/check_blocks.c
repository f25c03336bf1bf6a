/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The refcount table: which refcount blocks there are, whether they may be read, and whether they may be
 * corrected in place.  A table or block that is missing, outside the file, or shared with something else needs
 * new refcount structures (check_rebuild.c); until then its refcounts are taken as zero, or left as they are.
 *
 * Of all that the header leads to, refcounts are counted last: what else claims their place is right, for they
 * can be made anew from everything else, and nothing else can be made from them.
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

static int add_entry(struct byre_check_state *state, uint32_t index, uint64_t entry, struct byre_error *err)
{
    struct byre_check_block block = { .hoff = entry & BYRE_REFTABLE_OFFSET_MASK, .index = index };

    block.writable = true;
    if (entry & ~BYRE_REFTABLE_OFFSET_MASK) {
        byre_check_corrupt(state, 1, "ERROR refcount table entry %" PRIu32 " has reserved bits set", index);
        block.writable = false;
        state->rebuild = true;
    }
    if (block.hoff == 0)
        return 0;
    if (!byre_is_aligned(block.hoff, state->cluster_size))
        byre_check_corrupt(
            state, 1,
            "ERROR refcount block %" PRIu32 " is not cluster aligned; refcount table entry corrupted", index);
    else if (block.hoff >> state->cluster_bits >= state->file_clusters)
        byre_check_corrupt(state, 1, "ERROR refcount block %" PRIu32 " is outside image", index);
    else
        block.usable = true;
    if (!block.usable || !block.writable)
        state->rebuild = true;
    if (vec_push(&state->blocks, block) < 0)
        return byre_error_set_errno(err, -ENOMEM, "collecting the refcount blocks");
    return 0;
}

int byre_check_load_blocks(struct byre_check_state *state, struct byre_error *err)
{
    uint64_t size = (uint64_t)state->header->reftable_clusters << state->cluster_bits;

    for (uint64_t done = 0; done < size;) {
        struct byre_error reason = BYRE_ERROR_INIT;
        size_t length = (size_t)MIN(size - done, (uint64_t)state->buf_size);
        bool empty = true;

        if (byre_check_load(state, state->header->reftable_hoff + done, length, &empty, &reason) < 0) {
            byre_check_unreadable(state, &reason);
            state->blocks_lost = true;
        }
        for (size_t i = 0; !empty && i < length; i += 8) {
            uint64_t entry = byre_get_be64(state->buf + i);
            int rc = entry ? add_entry(state, (uint32_t)((done + i) / 8), entry, err) : 0;

            if (rc < 0)
                return rc;
        }
        done += length;
    }
    return 0;
}

static uint64_t count_of(const struct byre_check_state *state, const struct byre_check_block *block)
{
    uint64_t cluster = block->hoff >> state->cluster_bits;

    return byre_counts_get(&state->counts, cluster).count;
}

/* A shared block is reported once, by its own message. */
static int report_shared(struct byre_check_state *state, const struct byre_check_block *block,
                         struct byre_error *err)
{
    int rc = byre_counts_flag(&state->counts, block->hoff >> state->cluster_bits, 0, BYRE_CELL_CLASH);

    state->rebuild = true;
    byre_check_corrupt(state, 1, "ERROR refcount block %" PRIu32 " refcount=%" PRIu64, block->index,
                       count_of(state, block));
    return rc == 0 ? 0 : byre_check_count_failed(state, rc, err);
}

/* Counts the clusters of the table itself. */
static int count_table(struct byre_check_state *state, struct byre_error *err)
{
    const struct byre_qcow2_header *header = state->header;
    uint64_t first = header->reftable_hoff >> state->cluster_bits;
    int rc = byre_check_count_region(state, header->reftable_hoff,
                                     (uint64_t)header->reftable_clusters << state->cluster_bits, 1,
                                     BYRE_CELL_TABLE, err);

    if (header->reftable_clusters == 0)
        byre_check_corrupt(state, 1, "ERROR refcount table: there is none, or its place makes no sense");
    if (rc > 0 || header->reftable_clusters == 0)
        state->rebuild = true;
    for (uint32_t i = 0; rc == 0 && i < header->reftable_clusters; i++)
        state->rebuild |= byre_counts_get(&state->counts, first + i).count != 1;
    return rc < 0 ? rc : 0;
}

/* Does every cluster that something refers to have a block for its refcount? */
static bool is_covered(struct byre_check_state *state)
{
    static const struct byre_counts_group none;
    unsigned shift = state->cluster_bits + 3 - state->header->refcount_order;
    uint64_t last = UINT64_MAX;

    for (size_t i = 0; i < state->counts.page_count; i++) {
        const struct byre_counts_page *page = byre_counts_page_at(&state->counts, i);

        for (unsigned k = 0; k < BYRE_COUNTS_GROUPS; k++) {
            uint64_t cluster = page->number * BYRE_COUNTS_PAGE + k * BYRE_COUNTS_GROUP;

            if (cluster >> shift == last ||
                (!(page->wide >> k & 1) && memcmp(&page->groups[k], &none, sizeof none) == 0))
                continue;
            last = cluster >> shift;
            if (!byre_check_find_block(state, cluster))
                return false;
        }
    }
    return true;
}

static int compare_blocks(const void *pa, const void *pb)
{
    const struct byre_check_block *a = *(struct byre_check_block *const *)pa;
    const struct byre_check_block *b = *(struct byre_check_block *const *)pb;

    if (a->hoff != b->hoff)
        return a->hoff < b->hoff ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* Of table entries that point to the same block, only the first one is used. */
static int drop_duplicates(struct byre_check_state *state, struct byre_error *err)
{
    CLEANUP(free_ptr) struct byre_check_block **sorted = malloc(state->blocks.len * sizeof *sorted);

    if (!sorted)
        return byre_error_set_errno(err, -ENOMEM, "collecting the refcount blocks");
    for (size_t i = 0; i < state->blocks.len; i++)
        sorted[i] = &state->blocks.ptr[i];
    qsort(sorted, state->blocks.len, sizeof *sorted, compare_blocks);
    for (size_t i = 1; i < state->blocks.len; i++) {
        if (sorted[i]->hoff == sorted[i - 1]->hoff)
            sorted[i]->usable = false;
    }
    return 0;
}

static int count_blocks(struct byre_check_state *state, bool *ret_shared, struct byre_error *err)
{
    for (size_t i = 0; i < state->blocks.len; i++) {
        struct byre_check_block *block = &state->blocks.ptr[i];
        int rc;

        if (!block->usable)
            continue;
        rc = byre_check_count(state, block->hoff >> state->cluster_bits, 1, BYRE_CELL_TABLE, err);
        block->counted = rc == 0;
        if (rc == 0 && count_of(state, block) != 1) {
            *ret_shared = true;
            rc = report_shared(state, block, err);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

int byre_check_count_blocks(struct byre_check_state *state, struct byre_error *err)
{
    bool shared = false;
    int rc = count_table(state, err);

    if (rc == 0)
        rc = count_blocks(state, &shared, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; shared && i < state->blocks.len; i++) {
        if (state->blocks.ptr[i].usable && count_of(state, &state->blocks.ptr[i]) != 1)
            state->blocks.ptr[i].writable = false;
    }
    rc = shared ? drop_duplicates(state, err) : 0;
    /* What could not be read may be read the next time: nothing takes its place. */
    state->rebuild = !state->blocks_lost && (state->rebuild || !is_covered(state));
    return rc;
}

struct byre_check_block *byre_check_find_block(struct byre_check_state *state, uint64_t cluster)
{
    uint64_t index = cluster >> (state->cluster_bits + 3 - state->header->refcount_order);
    size_t low = 0, high = state->blocks.len;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (state->blocks.ptr[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == state->blocks.len || state->blocks.ptr[low].index != index || !state->blocks.ptr[low].usable)
        return NULL;
    return &state->blocks.ptr[low];
}
