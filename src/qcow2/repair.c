/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Repair: correcting what the comparison has marked, in an order in which a crash adds no damage.
 *
 *   1. refcounts that are too low are raised                       barrier
 *   2. COPIED flags get the value that the final refcounts ask for  barrier
 *   3. refcounts that are too high are lowered                      barrier
 *   4. the header's dirty and corrupt bits are cleared              barrier
 *
 * Between 2 and 3 a flag may be ahead of its refcount, so on version 3 the dirty bit is made durable first:
 * an image that crashes there is checked again before it is written.  Refcounts are not raised past what
 * their width holds, and blocks that something else refers to are not written at all.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/check_state.h"
#include "qcow2/fmt_refcount.h"

enum pass {
    ANNOUNCE, /* say what will be done, in the order of clusters */
    RAISE,
    LOWER,
};

static bool pass_takes(enum pass pass, uint64_t refcount, uint64_t planned)
{
    return pass == RAISE ? planned > refcount : pass == LOWER ? planned < refcount : planned != refcount;
}

static void settle(struct byre_check_result *result, enum pass pass)
{
    if (pass == RAISE) {
        result->corruptions--;
        result->corruptions_fixed++;
    } else {
        result->leaks--;
        result->leaks_fixed++;
    }
}

/* Goes through the refcounts of 64 clusters in state->buf: returns whether one was changed. */
static bool correct_group(struct byre_check_state *state, const struct byre_check_block *block,
                          uint64_t first, size_t index, enum pass pass)
{
    unsigned order = state->header->refcount_order;
    unsigned count = (unsigned)MIN(state->end_clusters - first, (uint64_t)BYRE_COUNTS_GROUP);
    bool changed = false;

    for (unsigned i = 0; i < count; i++) {
        uint64_t refcount = byre_refcount_get(state->buf, index + i, order);
        uint64_t references = byre_counts_get(&state->counts, first + i).count;
        uint64_t planned = byre_check_planned(state, block, refcount, references);

        if (!pass_takes(pass, refcount, planned))
            continue;
        if (pass == ANNOUNCE) {
            byre_check_say(state, "Repairing cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
                           first + i, refcount, references);
            continue;
        }
        byre_refcount_set(state->buf, index + i, order, planned);
        settle(&state->result, pass);
        changed = true;
    }
    return changed;
}

static int correct_block(struct byre_check_state *state, const struct byre_check_block *block, enum pass pass,
                         struct byre_error *err)
{
    unsigned order = state->header->refcount_order;
    uint64_t entries = (uint64_t)state->cluster_size * 8 >> order;
    uint64_t first = block->index * entries;
    size_t from = SIZE_MAX, to = 0;
    int rc = byre_store_pread(state->store, state->buf, state->cluster_size, block->hoff, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < entries && first + i < state->end_clusters; i += BYRE_COUNTS_GROUP) {
        if (!correct_group(state, block, first + i, i, pass))
            continue;
        from = MIN(from, i << order >> 3);
        to = ((i + BYRE_COUNTS_GROUP) << order >> 3) - 1;
    }
    return from == SIZE_MAX ? 0 : byre_check_write_back(state, block->hoff, from, to, err);
}

static int correct_blocks(struct byre_check_state *state, enum pass pass, struct byre_error *err)
{
    for (size_t i = 0; i < state->blocks.len; i++) {
        const struct byre_check_block *block = &state->blocks.ptr[i];
        int rc;

        if (!((pass != LOWER && block->raise) || (pass != RAISE && block->lower)))
            continue;
        rc = correct_block(state, block, pass, err);
        if (rc < 0)
            return rc;
    }
    return byre_check_barrier(state, err);
}

static int write_incompatible(struct byre_check_state *state, uint64_t bits, struct byre_error *err)
{
    uint8_t bytes[8];
    int rc;

    byre_put_be64(bytes, bits);
    rc = byre_store_pwrite(state->store, bytes, sizeof bytes, BYRE_QCOW2_AT_INCOMPAT, err);
    state->wrote = true;
    return rc < 0 ? rc : byre_check_barrier(state, err);
}

/* The incompatible bits that the image shall have in the end. */
static uint64_t final_bits(const struct byre_check_state *state)
{
    const struct byre_check_result *result = &state->result;
    uint64_t bits = state->header->incompatible;

    if (state->marked)
        bits &= ~BYRE_QCOW2_INCOMPAT_DIRTY;
    if (!state->refcounts_left && !state->references_lost)
        bits &= ~BYRE_QCOW2_INCOMPAT_DIRTY;
    if (result->corruptions == 0 && result->leaks == 0 && result->check_errors == 0)
        bits &= ~BYRE_QCOW2_INCOMPAT_CORRUPT;
    return bits;
}

static bool raises_anything(const struct byre_check_state *state)
{
    for (size_t i = 0; i < state->blocks.len; i++) {
        if (state->blocks.ptr[i].raise)
            return true;
    }
    return false;
}

int byre_check_repair(struct byre_check_state *state, struct byre_error *err)
{
    uint64_t bits = state->header->incompatible;
    int rc;

    if (state->header->version >= 3 && (raises_anything(state) || state->copied_suspect))
        bits |= BYRE_QCOW2_INCOMPAT_DIRTY;
    if (bits != state->header->incompatible && (rc = write_incompatible(state, bits, err)) < 0)
        return rc;
    if ((rc = correct_blocks(state, ANNOUNCE, err)) < 0 || (rc = correct_blocks(state, RAISE, err)) < 0)
        return rc;
    /* Flags are no leaks, but they follow from them: without other damage they are corrected with them. */
    rc =
        byre_check_copied(state, (state->repair & BYRE_REPAIR_ERRORS) || state->result.corruptions == 0, err);
    if (rc < 0 || (rc = byre_check_barrier(state, err)) < 0 || (rc = correct_blocks(state, LOWER, err)) < 0)
        return rc;
    if (state->header->version >= 3 && final_bits(state) != bits)
        return write_incompatible(state, final_bits(state), err);
    return 0;
}
