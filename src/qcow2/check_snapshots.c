/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The snapshot table (specification, "Snapshots"): counts its clusters and collects the snapshots' L1 tables.
 *
 * Entries have no fixed size, so the table's size is known only at its end.  It is read through a window.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "qcow2/check_state.h"
#include "qcow2/fmt_snapshot.h"

#define WINDOW    (64u << 10)
#define LABEL_MAX 64 /* bytes of an id or a name that a message shows */

struct walk {
    struct byre_check_state *state;
    uint64_t offset; /* of the entry, from the start of the table */
    uint64_t window; /* offset of what state->buf holds */
    bool loaded;
};

/* The `length` bytes (at most WINDOW / 2) at `offset` of the table; NULL on failure. */
static const uint8_t *peek(struct walk *walk, uint64_t offset, size_t length, struct byre_error *err)
{
    struct byre_check_state *state = walk->state;

    if (!walk->loaded || offset < walk->window || offset + length > walk->window + WINDOW) {
        bool empty;

        walk->loaded = false;
        if (byre_check_load(state, state->header->snapshots_hoff + offset, WINDOW, &empty, err) < 0)
            return NULL;
        if (empty)
            memset(state->buf, 0, WINDOW);
        walk->window = offset;
        walk->loaded = true;
    }
    return state->buf + (offset - walk->window);
}

/* Copies what is fit to print of a string of the table; a string that cannot be read is empty. */
static void read_label(struct walk *walk, uint64_t offset, size_t length, char label[LABEL_MAX + 1])
{
    size_t shown = MIN(length, (size_t)LABEL_MAX);
    const uint8_t *bytes = peek(walk, offset, shown, NULL);

    for (size_t i = 0; bytes && i < shown; i++)
        label[i] = bytes[i] < ' ' || bytes[i] == 0x7f ? '?' : (char)bytes[i];
    label[bytes ? shown : 0] = '\0';
}

static void report_entry(struct walk *walk, const struct byre_qcow2_snapshot *entry, const char *what,
                         const char *why)
{
    char id[LABEL_MAX + 1], name[LABEL_MAX + 1];
    uint64_t id_at = walk->offset + byre_qcow2_snapshot_id_at(entry);

    read_label(walk, id_at, entry->id_length, id);
    read_label(walk, id_at + entry->id_length, entry->name_length, name);
    byre_check_corrupt(walk->state, 1,
                       "ERROR snapshot %s (%s) %s: L1 table is %s; snapshot table entry corrupted", id, name,
                       what, why);
    walk->state->references_lost = true;
}

static int follow_l1(struct walk *walk, const struct byre_qcow2_snapshot *entry, struct byre_error *err)
{
    char what[48];

    if (!byre_is_aligned(entry->l1_hoff, walk->state->cluster_size)) {
        snprintf(what, sizeof what, "l1_offset=%#" PRIx64, entry->l1_hoff);
        report_entry(walk, entry, what, "not cluster aligned");
        return 0;
    }
    if (entry->l1_size > BYRE_QCOW2_L1_BYTES_MAX / 8) {
        snprintf(what, sizeof what, "l1_size=%#" PRIx32, entry->l1_size);
        report_entry(walk, entry, what, "too large");
        return 0;
    }
    return byre_check_add_span(walk->state, entry->l1_hoff, entry->l1_size, BYRE_CHECK_SNAPSHOT_L1, err);
}

static int walk_entry(struct walk *walk, uint32_t i, struct byre_error *err)
{
    const uint8_t *head = peek(walk, walk->offset, BYRE_QCOW2_SNAPSHOT_HEAD, err);
    struct byre_qcow2_snapshot entry;
    int rc;

    if (!head)
        return -EIO;
    byre_qcow2_snapshot_decode(head, 0, &entry);
    if (entry.extra_length > BYRE_QCOW2_SNAPSHOT_EXTRA_MAX)
        return byre_error_set(err, -EFBIG,
                              "failed to read the snapshot table: Too much extra metadata in snapshot table "
                              "entry %" PRIu32,
                              i);
    if (walk->state->header->version >= 3 && entry.extra_length < 16)
        byre_check_corrupt(walk->state, 1, "ERROR snapshot table entry %" PRIu32 " is incomplete", i);
    rc = follow_l1(walk, &entry, err);
    if (rc < 0)
        return rc;
    walk->offset += byre_qcow2_snapshot_length(&entry);
    if (walk->offset > BYRE_QCOW2_SNAPSHOT_TABLE_MAX)
        return byre_error_set(
            err, -EFBIG, "snapshot table too large: entry %" PRIu32 " ends %" PRIu64 " bytes from its start",
            i, walk->offset);
    return 0;
}

int byre_check_snapshots(struct byre_check_state *state, struct byre_error *err)
{
    const struct byre_qcow2_header *header = state->header;
    struct walk walk = { .state = state };
    int rc;

    if (header->snapshot_count == 0)
        return 0;
    for (uint32_t i = 0; i < header->snapshot_count; i++) {
        rc = walk_entry(&walk, i, err);
        if (rc < 0)
            return rc;
    }
    rc = byre_check_count_region(state, header->snapshots_hoff, walk.offset, 1, BYRE_CELL_TABLE, err);
    if (rc > 0)
        state->references_lost = true;
    return rc < 0 ? rc : 0;
}
