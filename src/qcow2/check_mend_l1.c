/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mending entries of L1 tables, the active one's and those of snapshots.
 *
 *   - Reserved bits are cleared.
 *   - An offset that is not that of a cluster is rounded down, if an L2 table is there.
 *   - An entry that leads past the end of the file, to another table, or to what cannot be an L2 table although
 *     something else claims it, is cleared: the guest reads what it reads of clusters without a mapping.
 *   - An L2 table with more references than a refcount can tell is copied.
 *
 * What a table looks like is asked last, when nothing else is left to correct in L1 tables: a table that is taken for
 * an L2 table by mistake makes others look as if something else claimed them.
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

struct table {
    struct byre_check_state *state;
    const char *name;
    uint32_t index; /* of the snapshot */
    uint64_t hoff, size;
    uint8_t *cluster; /* a buffer of that size */
    bool doubt;       /* look into L2 tables whose place something else claims */
    struct byre_error *err;
};

/* Could this be an L2 table?  Most of its entries may be true. */
static bool is_plausible(const struct table *table, uint64_t hoff)
{
    const struct byre_check_state *state = table->state;
    unsigned size = byre_check_entry_size(state), used = 0, wrong = 0;

    if (byre_store_pread(state->store, table->cluster, state->cluster_size, hoff, NULL) < 0)
        return false;
    for (size_t at = 0; at < state->cluster_size; at += size) {
        uint64_t word = byre_get_be64(table->cluster + at);
        uint64_t bitmap = size == 16 ? byre_get_be64(table->cluster + at + 8) : 0;
        struct byre_check_entry entry;

        byre_check_entry_judge(state, word, bitmap, UINT64_MAX, &entry);
        used += word || bitmap;
        wrong += entry.faults != 0;
    }
    return wrong == 0 || wrong * 2 < used;
}

/* What the entry should be; *ret_why tells why, and is left alone if it may stay. */
static int mend_entry(struct table *table, uint64_t *entry, const char **ret_why)
{
    struct byre_check_state *state = table->state;
    uint64_t hoff = *entry & BYRE_L1_OFFSET_MASK, flags = *entry & BYRE_L2_COPIED;
    uint64_t base = byre_round_down(hoff, state->cluster_size), copy;
    struct byre_cell cell = byre_counts_get(&state->counts, base >> state->cluster_bits);
    int rc;

    if (*entry & BYRE_L1_RESERVED_MASK) {
        *ret_why = "reserved bits are set";
        *entry = hoff | flags;
    }
    if (hoff == 0)
        return 0;
    if (!byre_check_is_inside(state, base, state->cluster_size)) {
        *ret_why = "it leads past the end of the file";
        *entry = 0;
    } else if (base != hoff) {
        bool there = byre_check_is_l2_table(state, base) || (cell.count == 1 && is_plausible(table, base));

        *ret_why = there ? "it is not cluster aligned, but an L2 table is there"
                         : "it is not cluster aligned, and no L2 table is there";
        *entry = there ? base | flags : 0;
    } else if ((cell.flags & BYRE_CELL_CLASH) &&
               (byre_check_is_region(state, hoff >> state->cluster_bits) ||
                (table->doubt && !is_plausible(table, hoff)))) {
        *ret_why = "it leads to something else";
        *entry = 0;
    } else if (cell.count > byre_refcount_max(state->header->refcount_order)) {
        if ((rc = byre_check_mark(state, table->err)) < 0 ||
            (rc = byre_check_copy(state, hoff, state->cluster_size, &copy, table->err)) < 0)
            return rc;
        *ret_why = "its L2 table has too many references, and was copied";
        *entry = copy | BYRE_L2_COPIED;
        rc = byre_counts_take(&state->counts, hoff >> state->cluster_bits, 1);
        return rc == 0 ? 0 : byre_check_count_failed(state, rc, table->err);
    }
    return 0;
}

static int mend_part(struct table *table, uint64_t start, bool *ret_changed)
{
    struct byre_check_state *state = table->state;
    size_t length = (size_t)MIN(table->size - start, (uint64_t)state->buf_size);
    size_t first = SIZE_MAX, last = 0;
    bool empty = true;
    int rc;

    if (byre_check_load(state, table->hoff + start, length, &empty, NULL) < 0 || empty)
        return 0;
    for (size_t at = 0; at < length; at += 8) {
        uint64_t old = byre_get_be64(state->buf + at), entry = old;
        const char *why = NULL;

        rc = old ? mend_entry(table, &entry, &why) : 0;
        if (rc < 0)
            return rc;
        if (!why || entry == old)
            continue;
        byre_check_mended(state, 1, "%s %" PRIu32 ", entry %" PRIu64 ": %" PRIx64 " becomes %" PRIx64 ": %s",
                          table->name, table->index, (start + at) / 8, old, entry, why);
        byre_put_be64(state->buf + at, entry);
        first = MIN(first, at);
        last = at + 7;
    }
    if (first > last)
        return 0;
    *ret_changed = true;
    return byre_check_write_back(state, table->hoff + start, first, last, table->err);
}

static int mend_table(struct table *table, bool *ret_changed)
{
    for (uint64_t start = 0; start < table->size; start += table->state->buf_size) {
        int rc = mend_part(table, start, ret_changed);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The table that a region holds; false if it holds none, or one that must not be written to.  Data that is there,
 * too, is no reason: it is in the way of the table, and reads as a table anyway. */
static bool take_region(struct table *table, const struct byre_check_region *region)
{
    const struct byre_check_state *state = table->state;

    if (region->kind == BYRE_REGION_ACTIVE_L1) {
        table->name = "L1 table";
        table->hoff = state->header->l1_hoff;
        table->size = state->header->l1_size * 8ULL;
    } else if (region->kind == BYRE_REGION_SNAPSHOT_L1) {
        table->name = "L1 table of snapshot";
        table->hoff = state->snapshots.ptr[region->index].l1_hoff;
        table->size = state->snapshots.ptr[region->index].l1_size * 8ULL;
    } else {
        return false;
    }
    table->index = region->index;
    return !region->in_the_way && byre_check_is_inside(state, table->hoff, table->size);
}

int byre_check_mend_l1(struct byre_check_state *state, bool *ret_changed, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *cluster = malloc(state->cluster_size);
    struct table table = { .state = state, .cluster = cluster, .err = err };
    int rc = 0;

    if (!cluster)
        return byre_error_set_errno(err, -ENOMEM, "repairing the L1 table");
    for (int doubt = 0; doubt <= 1 && rc == 0 && !*ret_changed; doubt++) {
        table.doubt = doubt;
        for (size_t i = 0; i < state->regions.len && rc == 0; i++) {
            if (take_region(&table, &state->regions.ptr[i]))
                rc = mend_table(&table, ret_changed);
        }
    }
    return rc;
}
