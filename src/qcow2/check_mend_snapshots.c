/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mending the snapshot table.
 *
 *   - An L1 offset that is not that of a cluster is rounded down, if an L1 table is there that nothing else has.
 *   - A snapshot whose L1 table cannot be (too large, outside the file, not there) is given up: nothing leads
 *     to its data.  So are the entries after one that makes no sense.
 *   - An entry of version 3 that lacks the size of its VM state or disk gets them.
 *   - An L1 table in the way of something else is copied to a place of its own.
 *   - A snapshot table in the way of something else is written anew; one of which a part makes no sense was no
 *     snapshot table there.
 *
 * A table is written anew elsewhere, and the header is switched to it; only an L1 offset is changed in place.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/check_entry.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/fmt_snapshot.h"

#define AT_SNAPSHOTS 60 /* in the header: their number (4), offset of the table (8) */

static const struct byre_check_region *region_of(const struct byre_check_state *state,
                                                 enum byre_check_region_kind kind, uint32_t index)
{
    for (size_t i = 0; i < state->regions.len; i++) {
        const struct byre_check_region *region = &state->regions.ptr[i];

        if (region->kind == kind && region->index == index)
            return region;
    }
    return NULL;
}

static bool has_faults(const struct byre_check_state *state)
{
    for (size_t i = 0; i < state->snapshots.len; i++) {
        if (state->snapshots.ptr[i].lost || state->snapshots.ptr[i].incomplete)
            return true;
    }
    return state->snapshots_cut;
}

static bool wants_new_table(struct byre_check_state *state)
{
    const struct byre_check_region *table = region_of(state, BYRE_REGION_SNAPSHOTS, 0);

    if (!table || !table->in_the_way)
        return has_faults(state);
    for (size_t i = 0; has_faults(state) && i < state->snapshots.len; i++)
        state->snapshots.ptr[i].never = true;
    return true;
}

/* Could there be an L1 table, of nobody else? */
static bool is_l1_table(struct byre_check_state *state, uint64_t hoff, uint64_t size)
{
    if (hoff == 0 || size == 0 || size > BYRE_QCOW2_L1_BYTES_MAX || !byre_check_is_inside(state, hoff, size) ||
        !byre_check_is_alone(state, hoff, size, 0))
        return false;
    for (uint64_t done = 0; done < size; done += state->buf_size) {
        size_t length = (size_t)MIN(size - done, (uint64_t)state->buf_size);
        bool empty = true;

        if (byre_check_load(state, hoff + done, length, &empty, NULL) < 0)
            return false;
        for (size_t at = 0; !empty && at < length; at += 8) {
            uint64_t entry = byre_get_be64(state->buf + at), l2 = entry & BYRE_L1_OFFSET_MASK;

            if ((entry & BYRE_L1_RESERVED_MASK) || !byre_is_aligned(l2, state->cluster_size) ||
                !byre_check_is_inside(state, l2, state->cluster_size))
                return false;
        }
    }
    return true;
}

/* Finds L1 tables whose offset is only a little wrong. */
static void find_l1_tables(struct byre_check_state *state)
{
    for (size_t i = 0; i < state->snapshots.len; i++) {
        struct byre_check_snapshot *snapshot = &state->snapshots.ptr[i];
        uint64_t base = byre_round_down(snapshot->l1_hoff, state->cluster_size);

        if (snapshot->lost && !snapshot->never && base != snapshot->l1_hoff &&
            is_l1_table(state, base, snapshot->l1_size * 8ULL)) {
            snapshot->lost = false;
            snapshot->moved = true;
            snapshot->l1_hoff = base;
        }
    }
}

/* Appends the entry at `from`, `length` bytes, to the table at `to`: returns its new length. */
static size_t append_entry(const struct byre_check_state *state, const uint8_t *from, size_t length,
                           bool incomplete, uint8_t *to)
{
    uint8_t head[BYRE_QCOW2_SNAPSHOT_HEAD] = { 0 };
    struct byre_qcow2_snapshot entry;
    size_t strings_at;

    if (!incomplete) {
        memcpy(to, from, length);
        return length;
    }
    memcpy(head, from, MIN(length, sizeof head));
    byre_qcow2_snapshot_decode(head, state->header->size, &entry);
    strings_at = (size_t)byre_qcow2_snapshot_id_at(&entry);
    memcpy(to, from, BYRE_QCOW2_SNAPSHOT_FIXED);
    byre_put_be32(to + 36, 16);
    byre_put_be64(to + 40, entry.vm_state_size);
    byre_put_be64(to + 48, entry.disk_size);
    memcpy(to + 56, from + strings_at, (size_t)entry.id_length + entry.name_length);
    entry.extra_length = 16;
    return (size_t)byre_qcow2_snapshot_length(&entry);
}

/* Puts what is kept of the table into `to`; returns its length. */
static size_t build_table(struct byre_check_state *state, const uint8_t *from, uint8_t *to, uint32_t *ret_count)
{
    size_t used = 0, length;
    uint32_t count = 0;

    for (size_t i = 0; i < state->snapshots.len; i++) {
        const struct byre_check_snapshot *snapshot = &state->snapshots.ptr[i];
        uint64_t end = i + 1 < state->snapshots.len ? snapshot[1].at : state->snapshots_size;

        if (snapshot->lost || snapshot->never) {
            byre_check_mended(state, 1, "snapshot table entry %zu: its L1 table is not there; the snapshot is lost", i);
            continue;
        }
        if (snapshot->incomplete)
            byre_check_mended(state, 1, "snapshot table entry %zu is incomplete", i);
        if (snapshot->moved)
            byre_check_mended(state, 1, "snapshot table entry %zu: its L1 table is at 0x%" PRIx64, i,
                              snapshot->l1_hoff);
        length = append_entry(state, from + snapshot->at, (size_t)(end - snapshot->at), snapshot->incomplete,
                              to + used);
        byre_put_be64(to + used, snapshot->l1_hoff);
        used += length;
        count++;
    }
    if (state->snapshots_cut)
        byre_check_mended(state, 1, "snapshot table: entries after the first %zu are lost", state->snapshots.len);
    *ret_count = count;
    return used;
}

static int write_table(struct byre_check_state *state, const uint8_t *table, size_t length, uint32_t count,
                       struct byre_error *err)
{
    uint64_t hoff = 0, clusters = byre_div_up(length, state->cluster_size);
    uint8_t fields[12];
    int rc = byre_check_mark(state, err);

    if (rc == 0 && count)
        rc = byre_check_allocate(state, clusters, &hoff, err);
    if (rc == 0 && count)
        rc = byre_store_pwrite(state->store, table, (size_t)(clusters << state->cluster_bits), hoff, err);
    if (rc < 0)
        return rc;
    state->wrote = true;
    byre_put_be32(fields, count);
    byre_put_be64(fields + 4, hoff);
    rc = byre_check_switch(state, AT_SNAPSHOTS, fields, sizeof fields, err);
    if (rc == 0) {
        state->header->snapshot_count = count;
        state->header->snapshots_hoff = hoff;
    }
    return rc;
}

static int rewrite_table(struct byre_check_state *state, struct byre_error *err)
{
    /* 16 more for each entry, and padding to clusters */
    size_t room = (size_t)byre_round_up(state->snapshots_size + state->snapshots.len * 24 + 1, state->cluster_size);
    CLEANUP(free_ptr) uint8_t *from = calloc(1, (size_t)state->snapshots_size + BYRE_QCOW2_SNAPSHOT_HEAD);
    CLEANUP(free_ptr) uint8_t *to = calloc(1, room);
    uint32_t count;
    size_t length;
    bool empty;
    int rc;

    if (!from || !to)
        return byre_error_set_errno(err, -ENOMEM, "repairing the snapshot table");
    rc = byre_check_read(&state->reader, state->header->snapshots_hoff, from, (size_t)state->snapshots_size, &empty,
                         err);
    if (rc < 0)
        return rc;
    find_l1_tables(state);
    length = build_table(state, from, to, &count);
    return write_table(state, to, length, count, err);
}

/* The tables that claim the place of another one. */
static int move_l1_tables(struct byre_check_state *state, bool *ret_changed, struct byre_error *err)
{
    for (size_t i = 0; i < state->regions.len; i++) {
        const struct byre_check_region *region = &state->regions.ptr[i];
        const struct byre_check_snapshot *snapshot;
        uint8_t bytes[8];
        uint64_t hoff;
        int rc;

        if (region->kind != BYRE_REGION_SNAPSHOT_L1 || !region->in_the_way)
            continue;
        snapshot = &state->snapshots.ptr[region->index];
        if ((rc = byre_check_mark(state, err)) < 0 ||
            (rc = byre_check_copy(state, snapshot->l1_hoff, snapshot->l1_size * 8ULL, &hoff, err)) < 0)
            return rc;
        byre_check_mended(state, 1,
                          "snapshot table entry %" PRIu32 ": L1 table copied from 0x%" PRIx64 ", which is something "
                          "else, to 0x%" PRIx64,
                          region->index, snapshot->l1_hoff, hoff);
        byre_put_be64(bytes, hoff);
        rc = byre_store_pwrite(state->store, bytes, sizeof bytes, state->header->snapshots_hoff + snapshot->at, err);
        if (rc < 0)
            return rc;
        state->wrote = *ret_changed = true;
    }
    return 0;
}

int byre_check_mend_snapshots(struct byre_check_state *state, bool *ret_changed, struct byre_error *err)
{
    if (state->header->snapshot_count == 0)
        return 0;
    if (wants_new_table(state)) {
        *ret_changed = true;
        return rewrite_table(state, err);
    }
    return move_l1_tables(state, ret_changed, err);
}
