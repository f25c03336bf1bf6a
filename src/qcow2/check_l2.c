/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The L2 tables: counts the clusters that their entries refer to, takes the statistics of the active ones,
 * and notes for each cluster how the active entries are marked (COPIED), to be compared with the refcounts.
 *
 * Tables are read in ascending order, ahead.  Nothing is changed here.  Statistics need no guest order: a
 * cluster is fragmented if it does not follow the one before it in the same table.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/check_ahead.h"
#include "qcow2/check_entry.h"
#include "qcow2/fmt_l2.h"

struct walk {
    struct byre_check_state *state;
    const struct byre_check_l2 *l2;
    uint64_t expected; /* the host offset that follows the last one; 0: none yet */
    uint64_t goff;     /* what the first entry maps; UINT64_MAX: not known */
    struct byre_error *err;
};

static void take_statistics(struct walk *walk, uint64_t hoff)
{
    struct byre_check_result *result = &walk->state->result;

    if (!walk->l2->active)
        return;
    result->allocated_clusters += walk->l2->active;
    if (walk->expected && hoff != walk->expected)
        result->fragmented_clusters += walk->l2->active;
    walk->expected = hoff + walk->state->cluster_size;
}

static void report_compressed(struct walk *walk, size_t i, const struct byre_check_entry *entry)
{
    struct byre_check_state *state = walk->state;

    if (entry->faults & BYRE_FAULT_COPIED)
        byre_check_corrupt(state, walk->l2->times,
                           "ERROR: coffset=0x%" PRIx64 ": copied flag must never be set for compressed clusters",
                           entry->hoff);
    if (entry->faults & BYRE_FAULT_DATA_FILE)
        byre_check_corrupt(state, walk->l2->times,
                           "ERROR compressed cluster %zu with data file, entry=0x%" PRIx64, i, entry->entry);
    if (entry->faults & BYRE_FAULT_COMPRESSED)
        byre_check_corrupt(
            state, walk->l2->times,
            "ERROR compressed cluster %zu with non-zero subcluster allocation bitmap, entry=0x%" PRIx64, i,
            entry->entry);
}

static int count_compressed(struct walk *walk, size_t i, const struct byre_check_entry *entry)
{
    struct byre_check_state *state = walk->state;
    int rc;

    report_compressed(walk, i, entry);
    if (!entry->counted)
        return 0;
    state->result.allocated_clusters += walk->l2->active;
    state->result.compressed_clusters += walk->l2->active;
    state->result.fragmented_clusters += walk->l2->active;
    rc = byre_check_count_region(state, entry->hoff, entry->length, walk->l2->times, 0, walk->err);
    return rc < 0 ? rc : 0;
}

static void report_standard(struct walk *walk, size_t i, const struct byre_check_entry *entry)
{
    struct byre_check_state *state = walk->state;
    uint64_t times = walk->l2->times;

    if (entry->faults & BYRE_FAULT_RESERVED)
        byre_check_corrupt(state, times, "ERROR found l2 entry with reserved bits set: %" PRIx64, entry->entry);
    if (entry->faults & BYRE_FAULT_BOTH)
        byre_check_corrupt(state, times,
                           "ERROR offset=%" PRIx64
                           ": Allocated cluster has corrupted subcluster allocation bitmap",
                           entry->hoff);
    if (entry->faults & BYRE_FAULT_NO_HOST)
        byre_check_corrupt(state, times,
                           "ERROR: Unallocated cluster has non-zero subcluster allocation map");
    if (entry->faults & BYRE_FAULT_UNALIGNED)
        byre_check_corrupt(state, times,
                           "ERROR offset=%" PRIx64 ": %s cluster is not properly aligned; L2 entry corrupted.",
                           entry->hoff,
                           /* QEMU says so of version 2, too, where the bit means nothing. */
                           entry->zero || (!entry->bitmap && entry->entry & BYRE_L2_ZERO) ? "Preallocated" : "Data");
    if (entry->faults & BYRE_FAULT_MOVED)
        byre_check_corrupt(state, times,
                           "ERROR offset=%" PRIx64 ": the data file is marked as raw, but this is the cluster "
                           "of guest offset %" PRIx64 "; L2 table at %" PRIx64 ", entry %zu",
                           entry->hoff, walk->goff + (uint64_t)i * state->cluster_size, walk->l2->hoff, i);
}

static int count_standard(struct walk *walk, size_t i, const struct byre_check_entry *entry)
{
    struct byre_check_state *state = walk->state;
    unsigned flags = 0;
    int rc;

    report_standard(walk, i, entry);
    if (!entry->allocated)
        return 0;
    take_statistics(walk, entry->hoff);
    if (!entry->counted) {
        if (!(entry->entry & BYRE_L2_COPIED))
            state->copied_suspect = true; /* what is in a data file belongs to this image alone */
        return 0;
    }
    if (walk->l2->active)
        flags = entry->entry & BYRE_L2_COPIED ? BYRE_CELL_EXCLUSIVE : BYRE_CELL_SHARED;
    if (!(entry->faults & (BYRE_FAULT_UNALIGNED | BYRE_FAULT_OUTSIDE)) &&
        entry->hoff >> state->cluster_bits < state->file_clusters)
        return byre_check_count(state, entry->hoff >> state->cluster_bits, walk->l2->times, flags, walk->err);
    rc = byre_check_count_region(state, entry->hoff, entry->length, walk->l2->times, 0, walk->err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return byre_check_count(state, entry->hoff >> state->cluster_bits, 0, flags, walk->err);
    if (flags & BYRE_CELL_EXCLUSIVE)
        state->copied_suspect = true;
    return 0;
}

static int count_entry(struct walk *walk, size_t i, uint64_t word, uint64_t bitmap)
{
    uint64_t goff = walk->goff == UINT64_MAX ? walk->goff : walk->goff + (uint64_t)i * walk->state->cluster_size;
    struct byre_check_entry entry;

    byre_check_entry_judge(walk->state, word, bitmap, goff, &entry);
    return entry.compressed ? count_compressed(walk, i, &entry) : count_standard(walk, i, &entry);
}

/* The most frequent entry: data, with nothing to say about it. */
static int walk_table(struct byre_check_state *state, const struct byre_check_l2 *l2, const uint8_t *bytes,
                      struct byre_error *err)
{
    struct walk walk = { .state = state, .l2 = l2, .err = err };
    unsigned size = byre_check_entry_size(state), flags = l2->active ? BYRE_CELL_EXCLUSIVE : 0;
    size_t entries = state->cluster_size / size;
    uint64_t odd = ~(BYRE_L2_OFFSET_MASK & ~(uint64_t)(state->cluster_size - 1)) ^ BYRE_L2_COPIED;

    if (size == 16 || byre_check_has_data_file(state))
        odd = UINT64_MAX;
    walk.goff = l2->active == 1 && l2->times == 1 ? (uint64_t)l2->l1_index * entries * state->cluster_size : UINT64_MAX;
    for (size_t i = 0; i < entries; i++) {
        uint64_t entry = byre_get_be64(bytes + i * size);
        uint64_t bitmap = size == 16 ? byre_get_be64(bytes + i * 16 + 8) : 0;
        uint64_t cluster = byre_l2_offset(entry) >> state->cluster_bits;
        int rc;

        if (!entry && !bitmap)
            continue;
        if (!(entry & odd) && cluster && cluster < state->file_clusters) {
            unsigned seen = entry & BYRE_L2_COPIED ? flags : flags ? BYRE_CELL_SHARED : 0;

            take_statistics(&walk, byre_l2_offset(entry));
            rc = byre_check_count(state, cluster, l2->times, seen, err);
        } else {
            rc = count_entry(&walk, i, entry, bitmap);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

static bool place_table(void *opaque, size_t i, uint64_t *ret_hoff)
{
    const struct byre_check_state *state = opaque;

    *ret_hoff = state->l2_tables.ptr[i].hoff;
    return true;
}

int byre_check_walk_l2(struct byre_check_state *state, struct byre_error *err)
{
    struct byre_check_ahead *ahead;
    struct byre_check_piece piece;
    int rc = byre_check_ahead_new(&state->reader, state->cluster_size, state->l2_tables.len, place_table, state,
                                  &ahead, err);

    if (rc < 0)
        return rc;
    while (rc == 0 && byre_check_ahead_next(ahead, &piece)) {
        byre_check_allow_counts(state);
        if (piece.rc < 0)
            byre_check_unreadable(state, piece.err);
        else if (!piece.empty)
            rc = walk_table(state, &state->l2_tables.ptr[piece.number], piece.bytes, err);
        byre_check_progress(state, 1);
    }
    byre_check_ahead_free(ahead);
    return rc;
}
