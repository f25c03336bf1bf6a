/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * L1 entries, of the active table and of the snapshots.  What comes out is a list of L2 tables, each once
 * with the number of L1 entries that point to it: a table that a thousand snapshots share is read once.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "qcow2/check_state.h"
#include "qcow2/fmt_l2.h"

int byre_check_l1_entry(struct byre_check_state *state, uint64_t hoff, uint64_t entry, uint64_t times,
                        uint32_t active, struct byre_error *err)
{
    struct byre_check_l2 l2 = { entry & BYRE_L1_OFFSET_MASK, times, active, 0, 0 };
    int rc;

    if (entry & BYRE_L1_RESERVED_MASK)
        byre_check_corrupt(state, times, "ERROR found L1 entry with reserved bits set: %" PRIx64, entry);
    if (l2.hoff == 0)
        return 0;
    if (!byre_is_aligned(l2.hoff, state->cluster_size)) {
        byre_check_corrupt(state, times,
                           "ERROR l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 entry corrupted",
                           l2.hoff);
        state->references_lost = true;
        rc = byre_check_count_region(state, l2.hoff, state->cluster_size, times, BYRE_CELL_TABLE, err);
        return rc < 0 ? rc : 0;
    }
    if (active) {
        l2.flags = entry & BYRE_L2_COPIED ? BYRE_CELL_EXCLUSIVE : BYRE_CELL_SHARED;
        l2.l1_index = (uint32_t)((hoff - state->header->l1_hoff) / 8);
    }
    if (vec_push(&state->l2_tables, l2) < 0)
        return byre_error_set_errno(err, -ENOMEM, "collecting the L2 tables");
    return 0;
}

static int compare_l2(const void *pa, const void *pb)
{
    const struct byre_check_l2 *a = pa, *b = pb;

    return a->hoff < b->hoff ? -1 : a->hoff > b->hoff;
}

static void merge_l2_tables(struct byre_check_state *state)
{
    struct byre_check_l2 *tables = state->l2_tables.ptr;
    size_t used = 0;

    if (!state->l2_tables.len)
        return;
    qsort(tables, state->l2_tables.len, sizeof *tables, compare_l2);
    for (size_t i = 1; i < state->l2_tables.len; i++) {
        if (tables[i].hoff == tables[used].hoff) {
            tables[used].times += tables[i].times;
            tables[used].active += tables[i].active;
            tables[used].flags |= tables[i].flags;
            tables[used].l1_index = MAX(tables[used].l1_index, tables[i].l1_index);
        } else {
            tables[++used] = tables[i];
        }
    }
    state->l2_tables.len = used + 1;
}

/* Counts the clusters of the L2 tables, and drops those that are not in the file. */
static int count_l2_tables(struct byre_check_state *state, struct byre_error *err)
{
    size_t kept = 0;

    for (size_t i = 0; i < state->l2_tables.len; i++) {
        struct byre_check_l2 l2 = state->l2_tables.ptr[i];
        uint64_t cluster = l2.hoff >> state->cluster_bits;
        int rc;

        if (cluster < state->file_clusters) {
            rc = byre_check_count(state, cluster, l2.times, BYRE_CELL_TABLE | l2.flags, err);
            state->l2_tables.ptr[kept++] = l2;
        } else {
            rc = byre_check_count_region(state, l2.hoff, state->cluster_size, l2.times, 0, err);
            state->references_lost = true;
            if (l2.flags & BYRE_CELL_EXCLUSIVE)
                state->copied_suspect = true;
        }
        if (rc < 0)
            return rc;
    }
    state->l2_tables.len = kept;
    return 0;
}

int byre_check_collect_l2(struct byre_check_state *state, struct byre_error *err)
{
    merge_l2_tables(state);
    return count_l2_tables(state, err);
}
