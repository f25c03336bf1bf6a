/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which part of the disk does an L2 table map?
 *
 *   1. What the L1 table says that the header names, entry by entry                        certain
 *   2. Without a header: what an L1 table says that was found.  It is a cluster whose entries all lead to what looks
 *      like L2 tables; of several, the first one in the file: those of snapshots are made later
 *                                                                                          guessed
 *   3. For a part that neither says anything sound of, what another L1 table says: that of a snapshot, or one that the
 *      image has outgrown                                                                  guessed
 *   4. Without any L1 table, the order of allocation: images are mostly written from front to back
 *                                                                                          guessed
 *   5. Where as many tables are left as parts without one, in order                          guessed
 *
 * Other tables that are left belong to snapshots, or to nobody knows which part: unplaced.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/recover.h"

#define INDEX_MAX     (BYRE_QCOW2_L1_BYTES_MAX / 8)
#define L1_TABLES_MAX 64u /* that are looked at */

static struct byre_recover_table *find_table(const struct byre_recover_plan *plan, uint64_t hoff)
{
    size_t low = 0, high = plan->tables.len;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (plan->tables.ptr[middle].hoff < hoff)
            low = middle + 1;
        else
            high = middle;
    }
    return low < plan->tables.len && plan->tables.ptr[low].hoff == hoff ? &plan->tables.ptr[low] : NULL;
}

static uint64_t entry_at(const struct byre_recover_plan *plan, uint64_t hoff)
{
    uint8_t bytes[8] = { 0 };

    if (byre_store_pread(plan->store, bytes, sizeof bytes, hoff, NULL) < 0)
        return 0;
    return byre_get_be64(bytes);
}

static int no_memory(struct byre_error *err)
{
    return byre_error_set_errno(err, -ENOMEM, "placing L2 tables");
}

/* Is this a sound entry of an L1 table?  0 is one, too. */
static bool is_sound(const struct byre_recover_plan *plan, uint64_t entry)
{
    uint64_t hoff = entry & BYRE_L1_OFFSET_MASK;

    return !(entry & BYRE_L1_RESERVED_MASK) && byre_is_aligned(hoff, 1ULL << plan->header.cluster_bits) &&
           hoff < plan->file_size && (hoff || entry == 0);
}

static int compare_places(const void *pa, const void *pb)
{
    const struct byre_recover_table *a = pa, *b = pb;

    return a->hoff < b->hoff ? -1 : a->hoff > b->hoff;
}

static int follow_entry(struct byre_recover_plan *plan, uint64_t index, uint64_t entry, size_t scanned)
{
    struct byre_recover_table table = { .hoff = entry & BYRE_L1_OFFSET_MASK, .index = BYRE_RECOVER_NOWHERE };
    struct byre_recover_table *found;
    size_t all = plan->tables.len;

    plan->tables.len = scanned; /* those are sorted */
    found = find_table(plan, table.hoff);
    plan->tables.len = all;
    found = found && found->index == BYRE_RECOVER_NOWHERE ? found : &table;
    found->index = index;
    found->by_header = true;
    found->certainty = plan->header_known;
    found->why = "from the L1 table that the header names";
    return found == &table && vec_push(&plan->tables, table) < 0 ? -ENOMEM : 0;
}

/* Step 1.  What an entry leads to is the table, whatever it looks like: reading it tells what is left. */
static int follow_header(struct byre_recover_plan *plan, bool *ret_any, struct byre_error *err)
{
    const struct byre_qcow2_header *header = &plan->header;
    uint64_t parts = header->size ? byre_div_up(header->size, byre_recover_span(plan)) : header->l1_size;
    size_t scanned = plan->tables.len;
    int rc = 0;

    for (uint64_t i = 0; i < MIN(parts, (uint64_t)header->l1_size) && rc == 0; i++) {
        uint64_t entry = entry_at(plan, header->l1_hoff + i * 8);

        if (!is_sound(plan, entry)) {
            rc = vec_push(&plan->lost, i);
        } else if (entry) {
            *ret_any = true;
            rc = follow_entry(plan, i, entry, scanned);
        }
    }
    if (plan->tables.len)
        qsort(plan->tables.ptr, plan->tables.len, sizeof *plan->tables.ptr, compare_places);
    return rc < 0 ? no_memory(err) : 0;
}

/* Does the cluster look like an L1 table? */
static bool judge_l1(const struct byre_recover_plan *plan, uint64_t hoff, const uint8_t *cluster)
{
    bool used = false;

    for (uint32_t at = 0; at < 1u << plan->header.cluster_bits; at += 8) {
        uint64_t entry = byre_get_be64(cluster + at);

        if (entry == 0)
            continue;
        if (!is_sound(plan, entry) || (entry & BYRE_L1_OFFSET_MASK) == hoff ||
            !find_table(plan, entry & BYRE_L1_OFFSET_MASK))
            return false;
        used = true;
    }
    return used;
}

struct search {
    struct byre_recover_plan *plan;
    uint8_t *cluster;
    uint8_t *known; /* indexes that have a table, or are known to have none */
    uint64_t limit; /* indexes that the disk has */
};

/* What is referred to from the L1 table at `hoff`, for parts of which nothing is known yet.  A table that fills its
 * cluster goes on in the next one, if that looks like one, too. */
static void follow_found(struct search *search, uint64_t hoff, const char *why)
{
    struct byre_recover_plan *plan = search->plan;
    uint64_t size = 1ULL << plan->header.cluster_bits, entries = size / 8, entry = 1;
    struct byre_recover_table *l1 = find_table(plan, hoff), *table;

    for (uint64_t first = 0; l1 && l1->is_l1 && entry; first += entries, l1 = find_table(plan, hoff + first * 8)) {
        l1->used = true;
        if (byre_store_pread(plan->store, search->cluster, (size_t)size, l1->hoff, NULL) < 0)
            return;
        for (uint64_t i = 0; i < entries && first + i < search->limit; i++) {
            entry = byre_get_be64(search->cluster + i * 8);
            table = entry ? find_table(plan, entry & BYRE_L1_OFFSET_MASK) : NULL;
            if (!table || table->index != BYRE_RECOVER_NOWHERE || (search->known[(first + i) / 8] >> i % 8 & 1))
                continue;
            table->index = first + i;
            table->certainty = BYRE_RECOVER_GUESSED;
            table->why = why;
        }
    }
}

static void mark_known(struct search *search, bool by_header)
{
    const struct byre_recover_plan *plan = search->plan;

    for (uint64_t i = 0; by_header && i < plan->header.l1_size && i < INDEX_MAX; i++)
        search->known[i / 8] |= (uint8_t)(1u << i % 8);
    for (size_t i = 0; i < plan->lost.len; i++)
        search->known[plan->lost.ptr[i] / 8] &= (uint8_t)~(1u << plan->lost.ptr[i] % 8);
    for (size_t i = 0; i < plan->tables.len; i++) {
        uint64_t index = plan->tables.ptr[i].index;

        if (index < INDEX_MAX)
            search->known[index / 8] |= (uint8_t)(1u << index % 8);
    }
}

/* Steps 2 and 3: L1 tables that look like such, the first one in the file first. */
static void follow_l1_tables(struct search *search, bool by_header, bool *ret_any)
{
    struct byre_recover_plan *plan = search->plan;

    for (size_t i = 0; i < plan->tables.len; i++) {
        struct byre_recover_table *table = &plan->tables.ptr[i];

        if (!table->by_header && byre_store_pread(plan->store, search->cluster, (size_t)1 << plan->header.cluster_bits,
                                                  table->hoff, NULL) == 0)
            table->is_l1 = judge_l1(plan, table->hoff, search->cluster);
    }
    for (unsigned round = 0; round < L1_TABLES_MAX; round++) {
        struct byre_recover_table *best = NULL;

        for (size_t i = 0; i < plan->tables.len; i++) {
            struct byre_recover_table *table = &plan->tables.ptr[i];

            if (table->is_l1 && !table->used && !best)
                best = table;
        }
        if (!best)
            return;
        mark_known(search, by_header);
        follow_found(search, best->hoff,
                     by_header || round ? "from another L1 table that was found" : "from an L1 table that was found");
        *ret_any = true;
    }
}

/* Refcount tables look like tables, too: what they lead to does not. */
static bool leads_to_data(const struct byre_recover_plan *plan, uint64_t hoff)
{
    for (uint32_t at = 0; at < 1u << plan->header.cluster_bits; at += plan->entry_size) {
        if (entry_at(plan, hoff + at) >> 62)
            return true; /* no entry of a refcount table has one of the two flags */
    }
    return false;
}

/* Step 4. */
static void follow_order(struct byre_recover_plan *plan)
{
    uint64_t next = 0;

    for (size_t i = 0; i < plan->tables.len; i++) {
        struct byre_recover_table *table = &plan->tables.ptr[i];

        if (table->is_l1 || !leads_to_data(plan, table->hoff))
            continue;
        table->index = next++;
        table->certainty = BYRE_RECOVER_GUESSED;
        table->why = "by the order in the file";
    }
}

static int compare_tables(const void *pa, const void *pb)
{
    const struct byre_recover_table *a = pa, *b = pb;

    if (a->index != b->index)
        return a->index < b->index ? -1 : 1;
    return a->hoff < b->hoff ? -1 : a->hoff > b->hoff;
}

/* Leaves what is placed, by index, and then what is not and may be of the disk. */
static void settle(struct byre_recover_plan *plan)
{
    size_t kept = 0;

    for (size_t i = 0; i < plan->tables.len; i++) {
        struct byre_recover_table *table = &plan->tables.ptr[i];

        if (table->index == BYRE_RECOVER_NOWHERE) {
            if (table->is_l1 || !leads_to_data(plan, table->hoff))
                continue;
            table->certainty = BYRE_RECOVER_UNPLACED;
            table->why = "nothing leads to it; it may be of a snapshot";
        }
        plan->tables.ptr[kept++] = *table;
    }
    plan->tables.len = kept;
    if (kept)
        qsort(plan->tables.ptr, kept, sizeof *plan->tables.ptr, compare_tables);
}

/* Leaves the parts that the L1 table had something for, and that have nothing now. */
static void settle_lost(struct search *search)
{
    struct byre_recover_plan *plan = search->plan;
    size_t kept = 0;

    mark_known(search, false);
    for (size_t i = 0; i < plan->tables.len; i++) {
        uint64_t index = plan->tables.ptr[i].index;

        if (index < INDEX_MAX)
            search->known[index / 8] |= (uint8_t)(1u << index % 8);
    }
    for (size_t i = 0; i < plan->lost.len; i++) {
        uint64_t index = plan->lost.ptr[i];

        if (!(search->known[index / 8] >> index % 8 & 1))
            plan->lost.ptr[kept++] = index;
    }
    plan->lost.len = kept;
}

/* As many tables without a place as parts without a table: they belong together, in order. */
static void match_rest(struct byre_recover_plan *plan)
{
    size_t unplaced = 0, next = 0;

    for (size_t i = 0; i < plan->tables.len; i++)
        unplaced += plan->tables.ptr[i].index == BYRE_RECOVER_NOWHERE;
    if (unplaced != plan->lost.len)
        return;
    for (size_t i = 0; i < plan->tables.len; i++) {
        struct byre_recover_table *table = &plan->tables.ptr[i];

        if (table->index != BYRE_RECOVER_NOWHERE)
            continue;
        table->index = plan->lost.ptr[next++];
        table->certainty = BYRE_RECOVER_GUESSED;
        table->why = "the table that is left for it";
    }
    plan->lost.len = 0;
}

static int place(struct search *search, struct byre_error *err)
{
    struct byre_recover_plan *plan = search->plan;
    bool by_header = false, found = false;
    int rc = plan->header_known != BYRE_RECOVER_LOST ? follow_header(plan, &by_header, err) : 0;

    if (rc < 0)
        return rc;
    /* An L1 table without a single entry is an empty one only if nothing looks like the tables of a disk. */
    follow_l1_tables(search, by_header, &found);
    if (by_header)
        plan->l1_known = plan->lost.len ? BYRE_RECOVER_GUESSED : plan->header_known;
    else
        plan->l1_known = found ? BYRE_RECOVER_GUESSED : BYRE_RECOVER_LOST;
    if (!by_header && !found)
        follow_order(plan);
    settle(plan);
    settle_lost(search);
    match_rest(plan);
    return 0;
}

int byre_recover_place(struct byre_recover_plan *plan, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *cluster = malloc((size_t)1 << plan->header.cluster_bits);
    CLEANUP(free_ptr) uint8_t *known = calloc(1, INDEX_MAX / 8 + 1);
    struct search search = { plan, cluster, known, INDEX_MAX };

    if (!cluster || !known)
        return no_memory(err);
    if (plan->header.size)
        search.limit = MIN(search.limit, byre_div_up(plan->header.size, byre_recover_span(plan)));
    return place(&search, err);
}
