/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The COPIED flags: an active L1 or L2 entry has it if and only if the refcount of its cluster is one.
 *
 * The comparison has marked the cells for which some entry is wrong.  If there are none, nothing is read
 * here; otherwise the active tables are read a second time to find the entries, and to correct them where
 * `fix` says so.  Flags are judged by what the refcounts will be when the repair is done, and are corrected
 * only where that is the right number: a flag is not made to fit a wrong refcount.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/check_entry.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/fmt_refcount.h"

#define SLICE  4096u /* bytes of a refcount block that are read at once */
#define SLICES 64u

/* Parts of refcount blocks that were read lately, by hash of their place. */
struct slice {
    uint64_t hoff; /* 0: none */
    uint8_t bytes[SLICE];
};

struct walk {
    struct byre_check_state *state;
    bool alone;           /* nothing else refers to the table that is being read */
    struct slice *slices; /* SLICES of them */
    bool fix;
    struct byre_error *err;
};

/* The refcount of `cluster` on disk: 0 where none can be read. */
static uint64_t read_refcount(struct walk *walk, const struct byre_check_block *block, uint64_t cluster)
{
    struct byre_check_state *state = walk->state;
    unsigned order = state->header->refcount_order;
    uint32_t slice_size = MIN(SLICE, state->cluster_size);
    uint64_t entries = (uint64_t)state->cluster_size * 8 >> order;
    uint64_t bit = (cluster % entries) << order;
    uint64_t hoff = block->hoff + byre_round_down(bit >> 3, slice_size);
    struct slice *slice = &walk->slices[hoff / slice_size % SLICES];

    if (slice->hoff != hoff) {
        slice->hoff = 0;
        if (byre_store_pread(state->store, slice->bytes, slice_size, hoff, NULL) < 0)
            return 0;
        slice->hoff = hoff;
    }
    return byre_refcount_get(slice->bytes, (bit - (hoff - block->hoff) * 8) >> order, order);
}

/* An entry whose flag is wrong. */
struct finding {
    uint64_t refcount; /* that tells so: the one that its cluster has when the repair is done */
    bool fixable;      /* the refcount is right: the flag may follow it */
};

static void judge(struct walk *walk, uint64_t cluster, struct finding *ret)
{
    struct byre_check_state *state = walk->state;
    struct byre_check_block *block = byre_check_find_block(state, cluster);
    uint64_t references = byre_counts_get(&state->counts, cluster).count;
    uint64_t refcount = block ? read_refcount(walk, block, cluster) : 0;

    if (cluster < state->end_clusters)
        refcount = byre_check_planned(state, block, refcount, references);
    ret->refcount = refcount;
    ret->fixable = walk->fix && walk->alone && (refcount == references || cluster >= state->end_clusters);
}

/* True if the entry's COPIED flag is wrong. */
static bool is_wrong(struct walk *walk, uint64_t entry, struct finding *ret)
{
    struct byre_check_state *state = walk->state;
    uint64_t cluster = byre_l2_offset(entry) >> state->cluster_bits;
    unsigned suspect;

    if (byre_l2_offset(entry) == 0)
        return false;
    if (cluster < state->end_clusters) {
        suspect = byre_counts_get(&state->counts, cluster).flags & BYRE_CELL_SUSPECT;
        if (suspect != BYRE_CELL_SUSPECT)
            return false;
    }
    judge(walk, cluster, ret);
    return (ret->refcount == 1) != !!(entry & BYRE_L2_COPIED);
}

/* The same for an entry that refers to a data file: what is there has one reference. */
static bool is_unowned(const struct walk *walk, uint64_t entry, struct finding *ret)
{
    *ret = (struct finding){ 1, walk->fix && walk->alone };
    return byre_l2_offset(entry) && !(entry & BYRE_L2_COPIED);
}

static void settle(struct byre_check_state *state, const struct finding *finding, uint64_t times)
{
    if (finding->fixable) {
        state->result.corruptions_fixed++; /* at once for all that share the table */
    } else {
        state->result.corruptions += times;
        state->refcounts_left = true;
    }
}

static const char *verb(const struct finding *finding)
{
    return finding->fixable ? "Repairing" : "ERROR";
}

/* The bytes of state->buf that were corrected. */
struct patch {
    size_t first, last; /* none if first > last */
};

static void correct(struct byre_check_state *state, size_t at, uint64_t entry, struct patch *patch)
{
    byre_put_be64(state->buf + at, entry ^ BYRE_L2_COPIED);
    patch->first = MIN(patch->first, at);
    patch->last = at + 7;
}

static int write_patch(struct walk *walk, uint64_t hoff, const struct patch *patch)
{
    if (patch->first > patch->last)
        return 0;
    return byre_check_write_back(walk->state, hoff, patch->first, patch->last, walk->err);
}

static int walk_l2(struct walk *walk, const struct byre_check_l2 *l2)
{
    struct byre_check_state *state = walk->state;
    struct patch patch = { SIZE_MAX, 0 };
    bool empty = false;

    unsigned size = byre_check_entry_size(state);

    walk->alone = byre_check_is_alone(state, l2->hoff, state->cluster_size, l2->times);
    if (byre_check_load(state, l2->hoff, state->cluster_size, &empty, NULL) < 0 || empty)
        return 0; /* reported when it was read first */
    for (size_t at = 0; at < state->cluster_size; at += size) {
        uint64_t entry = byre_get_be64(state->buf + at);
        struct finding finding;

        if (!entry || (entry & BYRE_L2_COMPRESSED) ||
            !(byre_check_has_data_file(state) ? is_unowned(walk, entry, &finding) : is_wrong(walk, entry, &finding)))
            continue;
        byre_check_say(state, "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64 " refcount=%" PRIu64,
                       verb(&finding), entry, finding.refcount);
        settle(state, &finding, l2->active);
        if (finding.fixable)
            correct(state, at, entry, &patch);
    }
    return write_patch(walk, l2->hoff, &patch);
}

/* Looks at the part of the active L1 table that starts at byte `start` of it and fits the buffer. */
static int walk_l1_part(struct walk *walk, const struct byre_check_span *l1, uint64_t start)
{
    struct byre_check_state *state = walk->state;
    size_t length = (size_t)MIN(l1->end - l1->start - start, (uint64_t)state->buf_size);
    struct patch patch = { SIZE_MAX, 0 };
    bool empty = false;

    walk->alone = byre_check_is_alone(state, l1->start + start, length, 1);
    if (byre_check_load(state, l1->start + start, length, &empty, NULL) < 0 || empty)
        return 0;
    for (size_t at = 0; at < length; at += 8) {
        uint64_t entry = byre_get_be64(state->buf + at);
        struct finding finding;

        if (!is_wrong(walk, entry, &finding))
            continue;
        byre_check_say(
            state, "%s OFLAG_COPIED L2 cluster: l1_index=%" PRIu64 " l1_entry=%" PRIx64 " refcount=%" PRIu64,
            verb(&finding), (start + at) / 8, entry, finding.refcount);
        settle(state, &finding, 1);
        if (finding.fixable)
            correct(state, at, entry, &patch);
    }
    return write_patch(walk, l1->start + start, &patch);
}

static int walk_l1(struct walk *walk)
{
    struct byre_check_state *state = walk->state;

    for (size_t i = 0; i < state->spans.len; i++) {
        const struct byre_check_span *l1 = &state->spans.ptr[i];

        if (l1->kind != BYRE_CHECK_ACTIVE_L1)
            continue;
        for (uint64_t start = 0; start < l1->end - l1->start; start += state->buf_size) {
            int rc = walk_l1_part(walk, l1, start);

            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

int byre_check_copied(struct byre_check_state *state, bool fix, struct byre_error *err)
{
    CLEANUP(free_ptr) struct slice *slices = NULL;
    struct walk walk = { .state = state, .fix = fix, .err = err };
    int rc;

    if (!state->copied_suspect)
        return 0;
    slices = calloc(SLICES, sizeof *slices);
    if (!slices)
        return byre_error_set_errno(err, -ENOMEM, "checking the COPIED flags");
    walk.slices = slices;
    rc = walk_l1(&walk);
    for (size_t i = 0; i < state->l2_tables.len && rc == 0; i++) {
        if (state->l2_tables.ptr[i].active)
            rc = walk_l2(&walk, &state->l2_tables.ptr[i]);
    }
    return rc;
}
