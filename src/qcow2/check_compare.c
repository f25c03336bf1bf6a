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

/* 64 neighbouring clusters. */
struct group {
    uint64_t number;                /* of the first cluster / BYRE_COUNTS_PAGE */
    struct byre_counts_page *page;  /* NULL: nothing refers to them */
    struct byre_check_block *block; /* NULL: no refcounts are there */
    uint64_t refcounts[BYRE_COUNTS_PAGE];
};

uint64_t byre_check_planned(const struct byre_check_state *state, const struct byre_check_block *block,
                            uint64_t refcount, uint64_t references)
{
    bool raise = state->repair & BYRE_REPAIR_ERRORS;
    bool lower = (state->repair & BYRE_REPAIR_LEAKS) && !state->references_lost;

    if (references > byre_refcount_max(state->header->refcount_order))
        references = byre_refcount_max(state->header->refcount_order);
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
    else if (planned > refcount)
        block->raise = true;
    else
        block->lower = true;
}

static void compare_cluster(struct byre_check_state *state, struct group *group, unsigned i)
{
    uint16_t none = 0, *cell = group->page ? &group->page->cells[i] : &none;
    uint64_t cluster = group->number * BYRE_COUNTS_PAGE + i;
    uint64_t refcount = group->refcounts[i];
    uint64_t references = group->page ? byre_counts_get(&state->counts, group->page, i) : 0;
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
    if ((*cell & BYRE_CELL_CLASH) && planned == references && (refcount == references || state->repair))
        byre_check_corrupt(state, 1,
                           "ERROR cluster %" PRIu64 " holds a table and is used for something else, "
                           "reference=%" PRIu64,
                           cluster, references);
    if (*cell & (planned == 1 ? BYRE_CELL_SHARED : BYRE_CELL_EXCLUSIVE)) {
        *cell |= BYRE_CELL_SUSPECT;
        state->copied_suspect = true;
    }
    if (planned || references)
        state->last_used = MAX(state->last_used, cluster + 1);
}

/* True if nothing about the group needs compare_cluster. */
static bool group_is_right(const struct group *group)
{
    const uint16_t *cells = group->page->cells;
    uint64_t wrong = 0;

    for (unsigned i = 0; i < BYRE_COUNTS_PAGE; i++) {
        uint64_t count = cells[i] & BYRE_CELL_COUNT;
        unsigned bad = group->refcounts[i] == 1 ? BYRE_CELL_SHARED : BYRE_CELL_EXCLUSIVE;

        wrong |= group->refcounts[i] ^ count;
        wrong |= cells[i] & (bad | BYRE_CELL_CLASH);
        wrong |= count == BYRE_CELL_MANY;
    }
    return wrong == 0;
}

static void compare_group(struct byre_check_state *state, struct group *group)
{
    uint64_t first = group->number * BYRE_COUNTS_PAGE;
    unsigned count;

    if (first >= state->end_clusters)
        return;
    count = (unsigned)MIN(state->end_clusters - first, (uint64_t)BYRE_COUNTS_PAGE);
    if (group->page && count == BYRE_COUNTS_PAGE && group_is_right(group)) {
        for (unsigned i = BYRE_COUNTS_PAGE; i > 0; i--) {
            if (group->refcounts[i - 1]) {
                state->last_used = MAX(state->last_used, first + i);
                break;
            }
        }
        return;
    }
    for (unsigned i = 0; i < count; i++)
        compare_cluster(state, group, i);
}

static void decode(const uint8_t *bytes, size_t index, unsigned order, uint64_t refcounts[BYRE_COUNTS_PAGE])
{
    if (order == 4) {
        for (size_t i = 0; i < BYRE_COUNTS_PAGE; i++)
            refcounts[i] = byre_get_be16(bytes + (index + i) * 2);
        return;
    }
    for (size_t i = 0; i < BYRE_COUNTS_PAGE; i++)
        refcounts[i] = byre_refcount_get(bytes, index + i, order);
}

/* Compares the clusters whose refcounts are bytes [from, to) of `block`, which is in state->buf. */
static void compare_slice(struct byre_check_state *state, struct byre_check_block *block, size_t from,
                          size_t to)
{
    unsigned order = state->header->refcount_order;
    uint64_t first = block->index * ((uint64_t)state->cluster_size * 8 >> order);
    size_t end = to * 8 >> order;
    struct group group = { .block = block };

    for (size_t i = from * 8 >> order; i < end && first + i < state->end_clusters; i += BYRE_COUNTS_PAGE) {
        group.number = (first + i) / BYRE_COUNTS_PAGE;
        group.page = byre_counts_find(&state->counts, group.number);
        if (group.page)
            group.page->visited = 1;
        decode(state->buf, i, order, group.refcounts);
        compare_group(state, &group);
    }
}

/* Slices of zeros are left to compare_uncovered, which looks only at what is referred to. */
static void compare_block(struct byre_check_state *state, struct byre_check_block *block)
{
    size_t slice = MIN(ZERO_SLICE, state->cluster_size);

    for (size_t at = 0; at < state->cluster_size; at += slice) {
        if (!byre_is_zero(state->buf + at, slice))
            compare_slice(state, block, at, at + slice);
    }
}

static int compare_pages(const void *pa, const void *pb)
{
    const struct byre_counts_page *a = *(struct byre_counts_page *const *)pa;
    const struct byre_counts_page *b = *(struct byre_counts_page *const *)pb;

    return a->number < b->number ? -1 : a->number > b->number;
}

/* The pages that no refcount block has covered: those clusters have refcount 0. */
static int compare_uncovered(struct byre_check_state *state, struct byre_error *err)
{
    CLEANUP(free_ptr) struct byre_counts_page **pages = NULL;
    struct group group = { .block = NULL };
    size_t left = 0;

    for (size_t i = 0; i < state->counts.page_count; i++)
        left += !byre_counts_page_at(&state->counts, i)->visited;
    if (left == 0)
        return 0;
    pages = malloc(left * sizeof *pages);
    if (!pages)
        return byre_error_set_errno(err, -ENOMEM, "comparing the refcounts");
    left = 0;
    for (size_t i = 0; i < state->counts.page_count; i++) {
        struct byre_counts_page *page = byre_counts_page_at(&state->counts, i);

        if (!page->visited)
            pages[left++] = page;
    }
    qsort(pages, left, sizeof *pages, compare_pages);
    for (size_t i = 0; i < left; i++) {
        group.number = pages[i]->number;
        group.page = pages[i];
        group.block = byre_check_find_block(state, group.number * BYRE_COUNTS_PAGE);
        compare_group(state, &group);
    }
    return 0;
}

/* The pages of an unreadable block are left out: nothing can be said of them. */
static void skip_block(struct byre_check_state *state, struct byre_check_block *block, uint64_t entries)
{
    uint64_t first = block->index * entries / BYRE_COUNTS_PAGE;

    block->usable = false;
    state->refcounts_left = true;
    for (size_t i = 0; i < state->counts.page_count; i++) {
        struct byre_counts_page *page = byre_counts_page_at(&state->counts, i);

        if (page->number >= first && page->number - first < entries / BYRE_COUNTS_PAGE)
            page->visited = 1;
    }
}

int byre_check_compare(struct byre_check_state *state, struct byre_error *err)
{
    uint64_t entries = (uint64_t)state->cluster_size * 8 >> state->header->refcount_order;

    for (size_t i = 0; i < state->blocks.len; i++) {
        struct byre_check_block *block = &state->blocks.ptr[i];
        struct byre_error reason = BYRE_ERROR_INIT;
        bool empty = false;

        byre_check_progress(state, 1);
        if (!block->usable)
            continue;
        if (byre_check_load(state, block->hoff, state->cluster_size, &empty, &reason) < 0) {
            byre_check_unreadable(state, &reason);
            skip_block(state, block, entries);
        } else if (!empty) {
            compare_block(state, block);
        }
    }
    if (!state->blocks_lost)
        return compare_uncovered(state, err);
    state->refcounts_left = true; /* no word on refcounts that nobody has seen */
    return 0;
}
