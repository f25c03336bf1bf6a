/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mending entries of L2 tables.
 *
 *   - Reserved bits, COPIED of compressed clusters, and bits of subclusters that contradict each other are
 *     cleared: what is allocated stays so, where there is a cluster for it.
 *   - An offset that is not that of a cluster is rounded down, if no table is there.
 *   - An allocated zero cluster at an impossible place, or in the way of a table, loses its place.
 *   - Data in the way of a table, or with more references than a refcount can tell, is copied: the guest reads
 *     what it has read.  With LUKS it would not, for what is encrypted depends on its place: it stays there, which
 *     is an error as long as refcounts are no wider (amend).
 *   - Data past the end of the file, and what is compressed where it cannot be, is lost, and reads as zero
 *     from now on; that is what is there.
 *   - In a data file marked as raw, clusters are at their guest offset.  If one is not, the mark is wrong.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/check_entry.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/fmt_refcount.h"

struct walk {
    struct byre_check_state *state;
    const struct byre_check_l2 *l2;
    bool *changed;
    bool tangled; /* tables that are data of one another are changed, too */
    bool moved;   /* some cluster of a data file is not at its guest offset */
    struct byre_error *err;
};

/* The entry as it should be, and why. */
struct fix {
    uint64_t entry, bitmap;
    const char *why; /* NULL: it may stay */
};

/* Does a table, or too much, refer to the clusters of the entry? */
static bool is_in_the_way(const struct byre_check_state *state, const struct byre_check_entry *entry)
{
    uint64_t last = (entry->hoff + entry->length - 1) >> state->cluster_bits;

    for (uint64_t cluster = entry->hoff >> state->cluster_bits; cluster <= last; cluster++) {
        struct byre_cell cell = byre_counts_get(&state->counts, cluster);

        if ((cell.flags & BYRE_CELL_TABLE) || cell.count > byre_refcount_max(state->header->refcount_order))
            return true;
    }
    return false;
}

/* Is it data that can be read at this place only?  What a table is for, too, is no data. */
static bool is_bound(const struct byre_check_state *state, const struct byre_check_entry *entry)
{
    return state->header->crypt_method == BYRE_QCOW2_CRYPT_LUKS &&
           !(byre_counts_get(&state->counts, entry->hoff >> state->cluster_bits).flags & BYRE_CELL_TABLE);
}

static int forget_clusters(struct walk *walk, const struct byre_check_entry *entry)
{
    struct byre_check_state *state = walk->state;
    uint64_t last = (entry->hoff + entry->length - 1) >> state->cluster_bits;

    for (uint64_t cluster = entry->hoff >> state->cluster_bits; cluster <= last; cluster++) {
        int rc = byre_counts_take(&state->counts, cluster, walk->l2->times);

        if (rc < 0)
            return byre_check_count_failed(state, rc, walk->err);
    }
    return 0;
}

/* Gives the bytes a place of their own. */
static int move_away(struct walk *walk, const struct byre_check_entry *entry, struct fix *fix)
{
    struct byre_check_state *state = walk->state;
    uint64_t hoff;
    int rc;

    if ((rc = byre_check_mark(state, walk->err)) < 0 ||
        (rc = byre_check_copy(state, entry->hoff, entry->length, &hoff, walk->err)) < 0)
        return rc;
    fix->why = "it leads to a table, or has too many references; its data was copied";
    fix->entry = entry->compressed ? byre_l2_compressed_entry(hoff, entry->length, state->cluster_bits)
                                   : hoff | BYRE_L2_COPIED;
    return forget_clusters(walk, entry);
}

/* An entry for data that is not there.  Version 2 has no zero clusters: over a backing file it takes a cluster. */
static int lose(struct walk *walk, struct fix *fix, const char *why)
{
    struct byre_check_state *state = walk->state;
    uint64_t hoff;
    int rc;

    fix->why = why;
    fix->entry = fix->bitmap = 0;
    if (byre_check_entry_size(state) == 16)
        fix->bitmap = BYRE_SUBCLUSTER_ALL << 32;
    else if (state->header->version >= 3)
        fix->entry = BYRE_L2_ZERO;
    else if (state->header->backing_name) {
        rc = byre_check_copy(state, state->reader.size, state->cluster_size, &hoff, walk->err);
        if (rc < 0)
            return rc;
        fix->entry = hoff | BYRE_L2_COPIED;
    }
    return 0;
}

/* A zero cluster keeps that it reads as zero, and nothing else. */
static void drop_place(const struct byre_check_state *state, struct fix *fix, const char *why)
{
    fix->why = why;
    if (byre_check_entry_size(state) == 16) {
        fix->entry = 0;
        fix->bitmap &= ~BYRE_SUBCLUSTER_ALL;
    } else {
        fix->entry = BYRE_L2_ZERO;
    }
}

static int mend_compressed(struct walk *walk, const struct byre_check_entry *entry, struct fix *fix)
{
    if (entry->faults & BYRE_FAULT_DATA_FILE)
        return lose(walk, fix, "compressed data beside a data file; it is lost");
    if (entry->faults & BYRE_FAULT_OUTSIDE)
        return lose(walk, fix, "it leads past the end of the file; its data is lost");
    if (entry->faults & BYRE_FAULT_COPIED) {
        fix->entry &= ~BYRE_L2_COPIED;
        fix->why = "the copied flag must never be set for compressed clusters";
    }
    if (entry->faults & BYRE_FAULT_COMPRESSED) {
        fix->bitmap = 0;
        fix->why = "a compressed cluster has no subclusters";
    }
    return is_in_the_way(walk->state, entry) ? move_away(walk, entry, fix) : 0;
}

/* Bits that say nothing, or too much. */
static void mend_bits(const struct byre_check_entry *entry, struct fix *fix)
{
    if (entry->faults & BYRE_FAULT_RESERVED) {
        fix->entry &= ~BYRE_L2_RESERVED_MASK;
        fix->why = "reserved bits are set";
    }
    if (entry->faults & BYRE_FAULT_BOTH) {
        fix->bitmap &= ~((fix->bitmap & BYRE_SUBCLUSTER_ALL) << 32);
        fix->why = "subclusters are allocated, and read as zero";
    }
    if (entry->faults & BYRE_FAULT_NO_HOST) {
        fix->bitmap &= ~BYRE_SUBCLUSTER_ALL;
        fix->why = "subclusters are allocated in a cluster that is not";
    }
}

static int mend_unaligned(struct walk *walk, const struct byre_check_entry *entry, struct fix *fix)
{
    struct byre_check_state *state = walk->state;
    uint64_t base = byre_round_down(entry->hoff, state->cluster_size);
    struct byre_cell cell = byre_counts_get(&state->counts, base >> state->cluster_bits);

    if (entry->zero) {
        drop_place(state, fix, "the preallocated cluster is not properly aligned");
        return 0;
    }
    if (entry->counted && (!byre_check_is_inside(state, base, state->cluster_size) || base == 0 ||
                           (cell.flags & BYRE_CELL_TABLE)))
        return lose(walk, fix, "it is not cluster aligned, and no data is there; it is lost");
    fix->entry = base | (fix->entry & BYRE_L2_COPIED);
    fix->why = "the data cluster is not properly aligned";
    return 0;
}

static int mend_standard(struct walk *walk, const struct byre_check_entry *entry, struct fix *fix)
{
    struct byre_check_state *state = walk->state;

    mend_bits(entry, fix);
    walk->moved = walk->moved || (entry->faults & BYRE_FAULT_MOVED);
    if (!entry->allocated)
        return 0;
    if (entry->faults & BYRE_FAULT_UNALIGNED)
        return mend_unaligned(walk, entry, fix);
    if (entry->faults & BYRE_FAULT_OUTSIDE) {
        if (!entry->zero)
            return lose(walk, fix, "it leads past the end of the file; its data is lost");
        drop_place(state, fix, "the preallocated cluster is past the end of the file");
    } else if (entry->counted && is_in_the_way(state, entry)) {
        if (!entry->zero)
            return is_bound(state, entry) ? 0 : move_away(walk, entry, fix);
        drop_place(state, fix, "the preallocated cluster is a table, or has too many references");
        return forget_clusters(walk, entry);
    }
    return 0;
}

/* Looks at the entry in state->buf; returns 1 if it was changed. */
static int mend_entry(struct walk *walk, size_t i)
{
    struct byre_check_state *state = walk->state;
    unsigned size = byre_check_entry_size(state);
    uint8_t *at = state->buf + i * size;
    uint64_t entries = state->cluster_size / size, goff = UINT64_MAX;
    struct byre_check_entry entry;
    struct fix fix = { byre_get_be64(at), size == 16 ? byre_get_be64(at + 8) : 0, NULL };
    int rc;

    if (!fix.entry && !fix.bitmap)
        return 0;
    if (walk->l2->active == 1 && walk->l2->times == 1)
        goff = (walk->l2->l1_index * entries + i) * state->cluster_size;
    byre_check_entry_judge(state, fix.entry, fix.bitmap, goff, &entry);
    rc = entry.compressed ? mend_compressed(walk, &entry, &fix) : mend_standard(walk, &entry, &fix);
    if (rc < 0 || !fix.why || (fix.entry == entry.entry && fix.bitmap == entry.bitmap))
        return rc;
    byre_check_mended(state, walk->l2->times,
                      "L2 table at 0x%" PRIx64 ", entry %zu: %" PRIx64 " becomes %" PRIx64 ": %s", walk->l2->hoff,
                      i, entry.entry, fix.entry, fix.why);
    byre_put_be64(at, fix.entry);
    if (size == 16)
        byre_put_be64(at + 8, fix.bitmap);
    return 1;
}

/* Data that is in the way is moved from here first; where tables are data of one another, that cannot be, and what is
 * there as data is no data anyway. */
static bool may_write(const struct walk *walk)
{
    const struct byre_check_state *state = walk->state;

    if (walk->tangled)
        return !byre_check_is_region(state, walk->l2->hoff >> state->cluster_bits);
    return byre_check_is_alone(state, walk->l2->hoff, state->cluster_size, walk->l2->times);
}

static int mend_table(struct walk *walk)
{
    struct byre_check_state *state = walk->state;
    unsigned size = byre_check_entry_size(state);
    size_t first = SIZE_MAX, last = 0;
    bool empty = true;

    if (!may_write(walk) ||
        byre_check_load(state, walk->l2->hoff, state->cluster_size, &empty, NULL) < 0 || empty)
        return 0;
    for (size_t i = 0; i < state->cluster_size / size; i++) {
        int rc = mend_entry(walk, i);

        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        first = MIN(first, i * size);
        last = (i + 1) * size - 1;
    }
    if (first > last)
        return 0;
    *walk->changed = true;
    return byre_check_write_back(state, walk->l2->hoff, first, last, walk->err);
}

static int clear_raw(struct byre_check_state *state, struct byre_error *err)
{
    uint64_t bits = state->header->autoclear & ~BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    uint8_t bytes[8];
    int rc;

    byre_put_be64(bytes, bits);
    byre_check_mended(state, 1, "autoclear_features: the data file is not raw");
    rc = byre_check_switch(state, BYRE_QCOW2_AT_AUTOCLEAR, bytes, sizeof bytes, err);
    if (rc == 0)
        state->header->autoclear = bits;
    return rc;
}

int byre_check_mend_l2(struct byre_check_state *state, bool *ret_changed, struct byre_error *err)
{
    struct walk walk = { .state = state, .changed = ret_changed, .err = err };
    int rc = 0;

    for (int tangled = 0; tangled <= 1 && rc == 0 && !*ret_changed; tangled++) {
        walk.tangled = tangled;
        for (size_t i = 0; i < state->l2_tables.len && rc == 0; i++) {
            walk.l2 = &state->l2_tables.ptr[i];
            rc = mend_table(&walk);
        }
    }
    if (rc < 0 || !walk.moved)
        return rc;
    *ret_changed = true;
    return clear_raw(state, err);
}
