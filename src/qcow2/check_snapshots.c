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
#include "qcow2/check_entry.h"
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

/* `note` is filled: does the entry lead to an L1 table? */
static int follow_l1(struct walk *walk, const struct byre_qcow2_snapshot *entry, struct byre_check_snapshot *note,
                     struct byre_error *err)
{
    struct byre_check_state *state = walk->state;
    char what[48];
    int rc;

    note->lost = true;

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
    rc = byre_check_add_span(state, entry->l1_hoff, entry->l1_size, BYRE_CHECK_SNAPSHOT_L1, err);
    if (rc < 0 || !byre_check_is_inside(state, entry->l1_hoff, entry->l1_size * 8ULL))
        return rc;
    note->lost = false;
    return byre_check_add_region(state, BYRE_REGION_SNAPSHOT_L1, (uint32_t)state->snapshots.len, entry->l1_hoff,
                                 entry->l1_size * 8ULL, err);
}

/* The rest of the table makes no sense: a repair gives it up; without one, nothing more is said of the image. */
static int cut_table(struct walk *walk, const struct byre_error *reason, struct byre_error *err)
{
    if (!(walk->state->repair & BYRE_REPAIR_ERRORS))
        return byre_error_set(err, reason->code, "%s", reason->text);
    byre_check_corrupt(walk->state, 1, "ERROR %s", reason->text);
    walk->state->snapshots_cut = walk->state->references_lost = true;
    return 1;
}

/* 0, 1 after the last entry that makes sense, or negative. */
static int walk_entry(struct walk *walk, uint32_t i, struct byre_error *err)
{
    const uint8_t *head = peek(walk, walk->offset, BYRE_QCOW2_SNAPSHOT_HEAD, err);
    struct byre_check_snapshot note = { .at = walk->offset };
    struct byre_error reason = BYRE_ERROR_INIT;
    struct byre_qcow2_snapshot entry;
    int rc;

    if (!head)
        return -EIO;
    byre_qcow2_snapshot_decode(head, 0, &entry);
    if (entry.extra_length > BYRE_QCOW2_SNAPSHOT_EXTRA_MAX) {
        byre_error_set(&reason, -EFBIG,
                       "failed to read the snapshot table: Too much extra metadata in snapshot table "
                       "entry %" PRIu32,
                       i);
        return cut_table(walk, &reason, err);
    }
    if (walk->offset + byre_qcow2_snapshot_length(&entry) > BYRE_QCOW2_SNAPSHOT_TABLE_MAX) {
        byre_error_set(&reason, -EFBIG,
                       "snapshot table too large: entry %" PRIu32 " ends %" PRIu64 " bytes from its start", i,
                       walk->offset + byre_qcow2_snapshot_length(&entry));
        return cut_table(walk, &reason, err);
    }
    note.l1_hoff = entry.l1_hoff;
    note.l1_size = entry.l1_size;
    note.incomplete = walk->state->header->version >= 3 && entry.extra_length < 16;
    if (note.incomplete)
        byre_check_corrupt(walk->state, 1, "ERROR snapshot table entry %" PRIu32 " is incomplete", i);
    rc = follow_l1(walk, &entry, &note, err);
    if (rc < 0)
        return rc;
    if (vec_push(&walk->state->snapshots, note) < 0)
        return byre_error_set_errno(err, -ENOMEM, "collecting the snapshots");
    walk->offset += byre_qcow2_snapshot_length(&entry);
    return 0;
}

int byre_check_snapshots(struct byre_check_state *state, struct byre_error *err)
{
    const struct byre_qcow2_header *header = state->header;
    struct walk walk = { .state = state };
    int rc = 0;

    if (header->snapshot_count == 0)
        return 0;
    for (uint32_t i = 0; i < header->snapshot_count && rc == 0; i++)
        rc = walk_entry(&walk, i, err);
    if (rc < 0)
        return rc;
    state->snapshots_size = walk.offset;
    rc = byre_check_count_region(state, header->snapshots_hoff, walk.offset, 1, BYRE_CELL_TABLE, err);
    if (rc > 0)
        state->references_lost = state->snapshots_cut = true;
    return rc == 0 ? byre_check_add_region(state, BYRE_REGION_SNAPSHOTS, 0, header->snapshots_hoff, walk.offset, err)
                   : MIN(rc, 0);
}
