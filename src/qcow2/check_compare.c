/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Comparing the counts with the refcounts on disk, 64 clusters at a time: a quick test that says whether all
 * is well with them, and a slow path that finds out what is not.
 *
 * A refcount that is too low is a corruption, one that is too high a leak.  Clusters past the end of the file
 * are looked at only where something refers to them.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "base/zero.h"
#include "qcow2/check_state.h"
#include "qcow2/fmt_refcount.h"

#define ZERO_SLICE 4096u /* bytes of a refcount block; at least 64 refcounts of any width */

#define GROUP BYRE_COUNTS_GROUP

/* 64 neighbouring clusters. */
struct group {
    uint64_t number;                /* of the first cluster / GROUP */
    struct byre_counts_page *page;  /* NULL: nothing refers to them */
    struct byre_check_block *block; /* NULL: no refcounts are there */
    uint64_t refcounts[GROUP];
};

static unsigned index_of(const struct group *group)
{
    return group->number % BYRE_COUNTS_GROUPS;
}

uint64_t byre_check_planned(const struct byre_check_state *state, const struct byre_check_block *block,
                            uint64_t refcount, uint64_t references)
{
    bool raise = state->repair & BYRE_REPAIR_ERRORS;
    bool lower = (state->repair & BYRE_REPAIR_LEAKS) && !state->references_lost;

    if (references > byre_refcount_max(state->header->refcount_order))
        references = byre_refcount_max(state->header->refcount_order);
    if (state->rebuild && raise)
        return lower ? references : MAX(refcount, references);
    if (!block || !block->writable || !(refcount < references ? raise : lower))
        return refcount;
    return references;
}

/* Reports a wrong refcount and notes what to do about it. */
static void report_mismatch(struct byre_check_state *state, struct byre_check_block *block, uint64_t cluster,
                            uint64_t refcount, uint64_t references, uint64_t planned)
{
    if (refcount > references) {
        state->result.leaks++;
        byre_check_say(state, "Leaked cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64, cluster,
                       refcount, references);
    } else {
        byre_check_corrupt(state, 1, "ERROR cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
                           cluster, refcount, references);
    }
    if (planned == refcount)
        state->refcounts_left = true;
    else if (state->rebuild)
        return;
    else if (planned > refcount)
        block->raise = true;
    else
        block->lower = true;
}

/* Both flags make every active entry of the cluster be looked at. */
static int suspect(struct byre_check_state *state, uint64_t cluster, struct byre_error *err)
{
    int rc = byre_counts_flag(&state->counts, cluster, BYRE_CELL_SUSPECT, 0);

    state->copied_suspect = true;
    return rc == 0 ? 0 : byre_check_count_failed(state, rc, err);
}

static int compare_cluster(struct byre_check_state *state, struct group *group, unsigned i,
                           const struct byre_cell *cell, struct byre_error *err)
{
    uint64_t cluster = group->number * GROUP + i;
    uint64_t refcount = group->refcounts[i];
    uint64_t references = cell->count;
    uint64_t most = byre_refcount_max(state->header->refcount_order);
    uint64_t planned;

    if (references > most) {
        byre_check_corrupt(state, references - most, "ERROR: overflow cluster offset=0x%" PRIx64,
                           cluster << state->cluster_bits);
        state->refcounts_left = true;
        references = most;
    }
    planned = byre_check_planned(state, group->block, refcount, references);
    if (refcount != references)
        report_mismatch(state, group->block, cluster, refcount, references, planned);
    if ((cell->flags & BYRE_CELL_CLASH) && planned == references && (refcount == references || state->repair))
        byre_check_corrupt(state, 1,
                           "ERROR cluster %" PRIu64 " holds a table and is used for something else, "
                           "reference=%" PRIu64,
                           cluster, references);
    if (planned || references)
        state->last_used = MAX(state->last_used, cluster + 1);
    if (cell->flags & (planned == 1 ? BYRE_CELL_SHARED : BYRE_CELL_EXCLUSIVE))
        return suspect(state, cluster, err);
    return 0;
}

/* The most frequent: all of them are data, and have one reference. */
static bool group_is_plain(const struct group *group)
{
    const uint64_t *planes = group->page->groups[index_of(group)].planes;
    uint64_t wrong = 0;

    if ((group->page->wide >> index_of(group) & 1) || planes[0] != UINT64_MAX || planes[1] || planes[2])
        return false;
    for (unsigned i = 0; i < GROUP; i++)
        wrong |= group->refcounts[i] ^ 1;
    return wrong == 0;
}

/* True if nothing about the cells needs compare_cluster. */
static bool cells_are_right(struct byre_check_state *state, const struct group *group,
                            const struct byre_cell cells[GROUP])
{
    uint64_t wrong = 0, last = 0;

    for (unsigned i = 0; i < GROUP; i++) {
        wrong |= group->refcounts[i] ^ cells[i].count;
        wrong |= cells[i].flags &
                 (BYRE_CELL_CLASH | (group->refcounts[i] == 1 ? BYRE_CELL_SHARED : BYRE_CELL_EXCLUSIVE));
        last = group->refcounts[i] ? i + 1 : last;
    }
    if (wrong == 0 && last)
        state->last_used = MAX(state->last_used, group->number * GROUP + last);
    return wrong == 0;
}

static int compare_group(struct byre_check_state *state, struct group *group, struct byre_error *err)
{
    struct byre_cell cells[GROUP] = { { 0, 0 } };
    uint64_t first = group->number * GROUP;
    unsigned count;

    if (first >= state->end_clusters)
        return 0;
    count = (unsigned)MIN(state->end_clusters - first, (uint64_t)GROUP);
    if (group->page && count == GROUP && group_is_plain(group)) {
        state->last_used = MAX(state->last_used, first + GROUP);
        return 0;
    }
    if (group->page)
        byre_counts_get_group(&state->counts, group->page, index_of(group), cells);
    if (count == GROUP && cells_are_right(state, group, cells))
        return 0;
    for (unsigned i = 0; i < count; i++) {
        int rc = compare_cluster(state, group, i, &cells[i], err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static void decode(const uint8_t *bytes, size_t index, unsigned order, uint64_t refcounts[GROUP])
{
    if (order == 4) {
        for (size_t i = 0; i < GROUP; i++)
            refcounts[i] = byre_get_be16(bytes + (index + i) * 2);
        return;
    }
    for (size_t i = 0; i < GROUP; i++)
        refcounts[i] = byre_refcount_get(bytes, index + i, order);
}

/* Compares the clusters whose refcounts are bytes [from, to) of `block`, which is at `bytes`. */
static int compare_slice(struct byre_check_state *state, struct byre_check_block *block, const uint8_t *bytes,
                         size_t from, size_t to, struct byre_error *err)
{
    unsigned order = state->header->refcount_order;
    uint64_t first = block->index * ((uint64_t)state->cluster_size * 8 >> order);
    size_t end = to * 8 >> order;
    struct group group = { .block = block };

    for (size_t i = from * 8 >> order; i < end && first + i < state->end_clusters; i += GROUP) {
        uint64_t page = (first + i) / BYRE_COUNTS_PAGE;
        int rc;

        group.number = (first + i) / GROUP;
        if (!group.page || group.page->number != page)
            group.page = byre_counts_find(&state->counts, page);
        if (group.page)
            group.page->visited |= (uint8_t)(1u << index_of(&group));
        decode(bytes, i, order, group.refcounts);
        rc = compare_group(state, &group, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Slices of zeros are left to compare_uncovered, which looks only at what is referred to. */
static int compare_block(struct byre_check_state *state, struct byre_check_block *block, const uint8_t *bytes,
                         struct byre_error *err)
{
    size_t slice = MIN(ZERO_SLICE, state->cluster_size);

    for (size_t at = 0; at < state->cluster_size; at += slice) {
        int rc = byre_is_zero(bytes + at, slice) ? 0 : compare_slice(state, block, bytes, at, at + slice, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static int compare_pages(const void *pa, const void *pb)
{
    const struct byre_counts_page *a = *(struct byre_counts_page *const *)pa;
    const struct byre_counts_page *b = *(struct byre_counts_page *const *)pb;

    return a->number < b->number ? -1 : a->number > b->number;
}

#define VISITED 0xff /* all groups of a page */

/* The groups that no refcount block has covered: those clusters have refcount 0. */
static int compare_uncovered(struct byre_check_state *state, struct byre_error *err)
{
    CLEANUP(free_ptr) struct byre_counts_page **pages = NULL;
    struct group group = { .block = NULL };
    size_t left = 0;
    int rc = 0;

    for (size_t i = 0; i < state->counts.page_count; i++)
        left += byre_counts_page_at(&state->counts, i)->visited != VISITED;
    if (left == 0)
        return 0;
    pages = malloc(left * sizeof *pages);
    if (!pages)
        return byre_error_set_errno(err, -ENOMEM, "comparing the refcounts");
    left = 0;
    for (size_t i = 0; i < state->counts.page_count; i++) {
        struct byre_counts_page *page = byre_counts_page_at(&state->counts, i);

        if (page->visited != VISITED)
            pages[left++] = page;
    }
    qsort(pages, left, sizeof *pages, compare_pages);
    for (size_t i = 0; i < left && rc == 0; i++) {
        for (unsigned k = 0; k < BYRE_COUNTS_GROUPS && rc == 0; k++) {
            if (pages[i]->visited >> k & 1)
                continue;
            group.number = pages[i]->number * BYRE_COUNTS_GROUPS + k;
            group.page = pages[i];
            group.block = byre_check_find_block(state, group.number * GROUP);
            rc = compare_group(state, &group, err);
        }
    }
    return rc;
}

/* The cells of an unreadable block are left out: nothing can be said of them. */
static void skip_block(struct byre_check_state *state, struct byre_check_block *block, uint64_t entries)
{
    uint64_t first = block->index * entries / GROUP;

    block->usable = false;
    state->refcounts_left = true;
    for (size_t i = 0; i < state->counts.page_count; i++) {
        struct byre_counts_page *page = byre_counts_page_at(&state->counts, i);

        for (unsigned k = 0; k < BYRE_COUNTS_GROUPS; k++) {
            uint64_t number = page->number * BYRE_COUNTS_GROUPS + k;

            if (number >= first && number - first < entries / GROUP)
                page->visited |= (uint8_t)(1u << k);
        }
    }
}

static bool place_block(void *opaque, size_t i, uint64_t *ret_hoff)
{
    const struct byre_check_state *state = opaque;

    *ret_hoff = state->blocks.ptr[i].hoff;
    return state->blocks.ptr[i].usable;
}

static int compare_blocks(struct byre_check_state *state, struct byre_check_ahead *ahead, struct byre_error *err)
{
    uint64_t entries = (uint64_t)state->cluster_size * 8 >> state->header->refcount_order;
    struct byre_check_piece piece;
    int rc = 0;

    while (rc == 0 && byre_check_ahead_next(ahead, &piece)) {
        struct byre_check_block *block = &state->blocks.ptr[piece.number];

        byre_check_progress(state, 1);
        if (piece.rc < 0) {
            byre_check_unreadable(state, piece.err);
            skip_block(state, block, entries);
        } else if (!piece.empty) {
            rc = compare_block(state, block, piece.bytes, err);
        }
    }
    return rc;
}

int byre_check_compare(struct byre_check_state *state, struct byre_error *err)
{
    struct byre_check_ahead *ahead;
    int rc = byre_check_ahead_new(&state->reader, state->cluster_size, state->blocks.len, place_block, state,
                                  &ahead, err);

    if (rc < 0)
        return rc;
    rc = compare_blocks(state, ahead, err);
    byre_check_ahead_free(ahead);
    if (rc < 0)
        return rc;
    if (!state->blocks_lost)
        return compare_uncovered(state, err);
    state->refcounts_left = true; /* no word on refcounts that nobody has seen */
    return 0;
}
