/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The refcount table: which refcount blocks there are, whether they may be read, and whether they may be
 * corrected in place.  A block that is missing, outside the file, or shared with something else needs a new
 * refcount structure, which is not made here: its refcounts are taken as zero, or left as they are.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/check_state.h"
#include "qcow2/fmt_refcount.h"

/* A table at the same place shall not be written to: say so before the block itself is counted. */
static void warn_tables(struct byre_check_state *state, const struct byre_check_block *block)
{
    uint64_t cluster = block->hoff >> state->cluster_bits;
    struct byre_counts_page *page = byre_counts_find(&state->counts, cluster / BYRE_COUNTS_PAGE);

    if (page && (page->cells[cluster % BYRE_COUNTS_PAGE] & BYRE_CELL_TABLE))
        page->cells[cluster % BYRE_COUNTS_PAGE] |= BYRE_CELL_CLASH;
}

static int add_entry(struct byre_check_state *state, uint32_t index, uint64_t entry, struct byre_error *err)
{
    struct byre_check_block block = { .hoff = entry & BYRE_REFTABLE_OFFSET_MASK, .index = index };

    block.writable = true;
    if (entry & ~BYRE_REFTABLE_OFFSET_MASK) {
        byre_check_corrupt(state, 1, "ERROR refcount table entry %" PRIu32 " has reserved bits set", index);
        block.writable = false;
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
    if (block.usable)
        warn_tables(state, &block);
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
    struct byre_counts_page *page = byre_counts_find(&state->counts, cluster / BYRE_COUNTS_PAGE);

    return page ? byre_counts_get(&state->counts, page, cluster % BYRE_COUNTS_PAGE) : 0;
}

/* A shared block is reported once, by its own message. */
static void report_shared(struct byre_check_state *state, const struct byre_check_block *block)
{
    uint64_t cluster = block->hoff >> state->cluster_bits;
    struct byre_counts_page *page = byre_counts_find(&state->counts, cluster / BYRE_COUNTS_PAGE);

    page->cells[cluster % BYRE_COUNTS_PAGE] &= (uint16_t)~BYRE_CELL_CLASH;
    byre_check_corrupt(state, 1, "ERROR refcount block %" PRIu32 " refcount=%" PRIu64, block->index,
                       count_of(state, block));
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

int byre_check_count_blocks(struct byre_check_state *state, struct byre_error *err)
{
    bool shared = false;

    for (size_t i = 0; i < state->blocks.len; i++) {
        const struct byre_check_block *block = &state->blocks.ptr[i];
        int rc;

        if (!block->usable)
            continue;
        rc = byre_check_count(state, block->hoff >> state->cluster_bits, 1, BYRE_CELL_TABLE, err);
        if (rc < 0)
            return rc;
        if (count_of(state, block) != 1) {
            report_shared(state, block);
            shared = true;
        }
    }
    if (!shared)
        return 0;
    for (size_t i = 0; i < state->blocks.len; i++) {
        if (state->blocks.ptr[i].usable && count_of(state, &state->blocks.ptr[i]) != 1)
            state->blocks.ptr[i].writable = false;
    }
    return drop_duplicates(state, err);
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
