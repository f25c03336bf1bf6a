/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The L2 tables: counts the clusters that their entries refer to, takes the statistics of the active ones,
 * and notes for each cluster how the active entries are marked (COPIED), to be compared with the refcounts.
 *
 * Tables are read in ascending order, neighbours in one request.  Statistics need no guest order: a cluster
 * is fragmented if it does not follow the one before it in the same table.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/check_state.h"
#include "qcow2/fmt_l2.h"

struct walk {
    struct byre_check_state *state;
    const struct byre_check_l2 *l2;
    uint8_t *bytes; /* of the table, in state->buf */
    bool may_correct;
    uint64_t expected;              /* the host offset that follows the last one; 0: none yet */
    size_t dirty_first, dirty_last; /* entries that were corrected; none if first > last */
    struct byre_error *err;
};

static int count_compressed(struct walk *walk, uint64_t entry)
{
    struct byre_check_state *state = walk->state;
    /* All bits of the offset, also those that no file can have: they show as a region outside the file. */
    uint64_t hoff = entry & ((1ULL << byre_l2_compressed_shift(state->cluster_bits)) - 1);
    uint32_t stored = byre_l2_compressed_stored(entry, state->cluster_bits);
    int rc;

    if (entry & BYRE_L2_COPIED)
        byre_check_corrupt(
            state, walk->l2->times,
            "ERROR: coffset=0x%" PRIx64 ": copied flag must never be set for compressed clusters", hoff);
    state->result.allocated_clusters += walk->l2->active;
    state->result.compressed_clusters += walk->l2->active;
    state->result.fragmented_clusters += walk->l2->active;
    rc = byre_check_count_region(state, hoff, stored, walk->l2->times, 0, walk->err);
    return rc < 0 ? rc : 0;
}

/* An allocated zero cluster at an impossible place: the place does not matter to the guest, so drop it. */
static void drop_place(struct walk *walk, size_t i, uint64_t hoff)
{
    struct byre_check_state *state = walk->state;

    byre_check_say(state,
                   "Repairing offset=%" PRIx64
                   ": Preallocated cluster is not properly aligned; L2 entry corrupted.",
                   hoff);
    byre_put_be64(walk->bytes + i * 8, BYRE_L2_ZERO);
    walk->dirty_first = MIN(walk->dirty_first, i);
    walk->dirty_last = MAX(walk->dirty_last, i);
    state->result.corruptions_fixed += walk->l2->times;
}

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

/* An entry that is unaligned or lies outside the file. */
static int count_odd(struct walk *walk, size_t i, uint64_t entry, unsigned flags)
{
    struct byre_check_state *state = walk->state;
    uint64_t hoff = byre_l2_offset(entry);
    int rc;

    if (!byre_is_aligned(hoff, state->cluster_size)) {
        bool zero = entry & BYRE_L2_ZERO;

        if (zero && walk->may_correct) {
            drop_place(walk, i, hoff);
            return 0;
        }
        byre_check_corrupt(state, walk->l2->times,
                           "ERROR offset=%" PRIx64
                           ": %s cluster is not properly aligned; L2 entry corrupted.",
                           hoff, zero ? "Preallocated" : "Data");
    }
    take_statistics(walk, hoff);
    rc = byre_check_count_region(state, hoff, state->cluster_size, walk->l2->times, 0, walk->err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return byre_check_count(state, hoff >> state->cluster_bits, 0, flags, walk->err);
    if (flags & BYRE_CELL_EXCLUSIVE)
        state->copied_suspect = true;
    return 0;
}

static int count_standard(struct walk *walk, size_t i, uint64_t entry)
{
    struct byre_check_state *state = walk->state;
    uint64_t hoff = byre_l2_offset(entry);
    unsigned flags = 0;

    if (entry & BYRE_L2_RESERVED_MASK)
        byre_check_corrupt(state, walk->l2->times, "ERROR found l2 entry with reserved bits set: %" PRIx64,
                           entry);
    if (hoff == 0)
        return 0;
    if (walk->l2->active)
        flags = entry & BYRE_L2_COPIED ? BYRE_CELL_EXCLUSIVE : BYRE_CELL_SHARED;
    if ((hoff & (state->cluster_size - 1)) || hoff >> state->cluster_bits >= state->file_clusters)
        return count_odd(walk, i, entry, flags);
    take_statistics(walk, hoff);
    return byre_check_count(state, hoff >> state->cluster_bits, walk->l2->times, flags, walk->err);
}

static int walk_table(struct byre_check_state *state, const struct byre_check_l2 *l2, size_t at,
                      struct byre_error *err)
{
    struct walk walk = {
        .state = state, .l2 = l2, .bytes = state->buf + at, .dirty_first = SIZE_MAX, .err = err
    };
    size_t entries = state->cluster_size / 8;

    walk.may_correct = (state->repair & BYRE_REPAIR_ERRORS) && state->header->version >= 3 &&
                       byre_check_is_alone(state, l2->hoff, state->cluster_size, l2->times);

    for (size_t i = 0; i < entries; i++) {
        uint64_t entry = byre_get_be64(walk.bytes + i * 8);
        int rc;

        if (!entry)
            continue;
        rc = entry & BYRE_L2_COMPRESSED ? count_compressed(&walk, entry) : count_standard(&walk, i, entry);
        if (rc < 0)
            return rc;
    }
    if (walk.dirty_first > walk.dirty_last)
        return 0;
    return byre_check_write_back(state, l2->hoff - at, at + walk.dirty_first * 8,
                                 at + walk.dirty_last * 8 + 7, err);
}

/* How many of the tables from the i-th on lie one behind the other and fit the buffer. */
static size_t batch_length(const struct byre_check_state *state, size_t i)
{
    const struct byre_check_l2 *tables = state->l2_tables.ptr;
    size_t n = 1;

    while (i + n < state->l2_tables.len && (n + 1) * state->cluster_size <= state->buf_size &&
           tables[i + n].hoff == tables[i + n - 1].hoff + state->cluster_size)
        n++;
    return n;
}

static int walk_batch(struct byre_check_state *state, size_t i, size_t n, struct byre_error *err)
{
    const struct byre_check_l2 *tables = &state->l2_tables.ptr[i];
    struct byre_error reason = BYRE_ERROR_INIT;
    bool empty = false;

    if (byre_check_load(state, tables[0].hoff, n * state->cluster_size, &empty, &reason) < 0) {
        if (n == 1) {
            byre_check_unreadable(state, &reason);
            return 0;
        }
        for (size_t k = 0; k < n; k++) {
            int rc = walk_batch(state, i + k, 1, err);

            if (rc < 0)
                return rc;
        }
        return 0;
    }
    for (size_t k = 0; k < n && !empty; k++) {
        int rc = walk_table(state, &tables[k], k * state->cluster_size, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

int byre_check_walk_l2(struct byre_check_state *state, struct byre_error *err)
{
    for (size_t i = 0; i < state->l2_tables.len;) {
        size_t n = batch_length(state, i);
        int rc = walk_batch(state, i, n, err);

        if (rc < 0)
            return rc;
        byre_check_progress(state, n);
        i += n;
    }
    return 0;
}
