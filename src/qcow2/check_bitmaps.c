/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The persistent bitmaps (specification, "Bitmaps"): counts the clusters of the directory, collects the
 * bitmap tables, and counts what they refer to.
 *
 * While the header's autoclear bit is off, a program that knows nothing of bitmaps has written to the image:
 * then nothing of this is valid, and its clusters are leaked.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/check_bitmaps.h"
#include "qcow2/check_entry.h"

/* Where its data stands is noted, too: extensions follow one another in the header. */
static const struct byre_qcow2_extension *find_extension(struct byre_check_state *state)
{
    const struct byre_qcow2_header *header = state->header;
    uint64_t at = header->header_length;

    for (size_t i = 0; i < header->extension_count; i++) {
        if (header->extensions[i].type == BYRE_QCOW2_EXT_BITMAPS) {
            state->bitmaps_at = at + 8;
            return &header->extensions[i];
        }
        at += 8 + byre_round_up(header->extensions[i].length, 8);
    }
    return NULL;
}

int byre_check_bitmap_entry(struct byre_check_state *state, uint64_t entry, uint64_t times,
                            struct byre_error *err)
{
    uint64_t hoff = entry & BYRE_BITMAP_ENTRY_OFFSET;
    int rc;

    if (byre_bitmap_entry_reserved(entry) || !byre_is_aligned(hoff, state->cluster_size))
        byre_check_corrupt(state, times, "ERROR bitmap table entry corrupted: %" PRIx64, entry);
    if (hoff == 0)
        return 0;
    rc = byre_check_count_region(state, hoff, state->cluster_size, times, BYRE_CELL_TABLE, err);
    return rc < 0 ? rc : 0;
}

/* Entries that a bitmap of the disk needs. */
static uint64_t entries_needed(const struct byre_check_state *state, const struct byre_qcow2_bitmap *bitmap)
{
    uint64_t bits = byre_div_up(state->header->size, 1ULL << bitmap->granularity_bits);

    return byre_div_up(bits, (uint64_t)state->cluster_size * 8);
}

static int follow_table(struct byre_check_state *state, uint32_t index, size_t at, size_t length,
                        const struct byre_qcow2_bitmap *bitmap, struct byre_error *err)
{
    struct byre_check_bitmap note = { at, (uint32_t)length, bitmap->table_hoff, bitmap->table_size, true };
    uint64_t size = bitmap->table_size * 8ULL;
    int rc = 0;

    if (!byre_is_aligned(bitmap->table_hoff, state->cluster_size)) {
        byre_check_corrupt(state, 1,
                           "ERROR bitmap %" PRIu32 " table_offset=%" PRIx64
                           ": Table is not cluster aligned; bitmap directory entry corrupted",
                           index, bitmap->table_hoff);
        state->references_lost = true;
    } else if (bitmap->table_size == 0 || (!(bitmap->flags & BYRE_QCOW2_BITMAP_IN_USE) &&
                                           bitmap->table_size != entries_needed(state, bitmap))) {
        byre_check_corrupt(state, 1,
                           "ERROR bitmap %" PRIu32 " table_size=%" PRIu32 ": %" PRIu64
                           " entries are needed; bitmap directory entry corrupted",
                           index, bitmap->table_size, entries_needed(state, bitmap));
        rc = byre_check_add_span(state, bitmap->table_hoff, bitmap->table_size, BYRE_CHECK_BITMAP, err);
    } else {
        rc = byre_check_add_span(state, bitmap->table_hoff, bitmap->table_size, BYRE_CHECK_BITMAP, err);
        note.lost = !byre_check_is_inside(state, bitmap->table_hoff, size);
    }
    if (rc == 0 && !note.lost)
        rc = byre_check_add_region(state, BYRE_REGION_BITMAP, (uint32_t)state->bitmaps.len, bitmap->table_hoff, size,
                                   err);
    if (rc == 0 && vec_push(&state->bitmaps, note) < 0)
        rc = byre_error_set_errno(err, -ENOMEM, "collecting the bitmaps");
    return rc;
}

/* Entries that cannot be parsed end it with -EINVAL. */
static int walk_directory(struct byre_check_state *state, const struct byre_qcow2_bitmaps *bitmaps,
                          const uint8_t *bytes, struct byre_error *err)
{
    size_t at = 0;

    for (uint32_t i = 0; i < bitmaps->count; i++) {
        struct byre_qcow2_bitmap bitmap;
        size_t length;
        int rc = byre_qcow2_bitmap_parse(bytes + at, bitmaps->directory_size - at, &bitmap, &length, err);

        if (rc < 0)
            return rc;
        rc = follow_table(state, i, at, length, &bitmap, err);
        if (rc < 0)
            return rc;
        at += length;
    }
    if (at != bitmaps->directory_size)
        return byre_error_set(err, -EINVAL, "More bitmaps found than specified in header extension");
    return 0;
}

/* Reads and checks the extension; the directory shall lie within the file. */
static int read_extension(const struct byre_check_state *state, const struct byre_qcow2_extension *extension,
                          struct byre_qcow2_bitmaps *ret_bitmaps, struct byre_error *err)
{
    struct byre_qcow2_extension now = *extension;
    uint8_t data[sizeof state->bitmaps_data];
    int rc;

    if (state->bitmaps_moved) {
        memcpy(data, state->bitmaps_data, sizeof data);
        now.data = data;
    }
    rc = byre_qcow2_bitmaps_parse(&now, state->cluster_bits, ret_bitmaps, err);

    if (rc < 0)
        return rc;
    if (!byre_range_within(ret_bitmaps->directory_hoff, ret_bitmaps->directory_size, state->reader.size))
        return byre_error_set(err, -EINVAL,
                              "bitmaps_ext: bitmap directory exceeds the end of the file (it is at 0x%" PRIx64
                              ", %" PRIu64 " bytes long)",
                              ret_bitmaps->directory_hoff, ret_bitmaps->directory_size);
    return 0;
}

static int read_bitmaps(struct byre_check_state *state, const struct byre_qcow2_extension *extension,
                        struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    struct byre_qcow2_bitmaps bitmaps;
    bool empty;
    int rc = read_extension(state, extension, &bitmaps, err);

    if (rc < 0)
        return rc;
    bytes = calloc(1, bitmaps.directory_size + 1);
    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "reading the bitmap directory");
    rc = byre_check_read(&state->reader, bitmaps.directory_hoff, bytes, bitmaps.directory_size, &empty, err);
    if (rc < 0)
        return rc;
    state->directory_hoff = bitmaps.directory_hoff;
    state->directory_size = bitmaps.directory_size;
    rc = byre_check_count_region(state, bitmaps.directory_hoff, bitmaps.directory_size, 1, BYRE_CELL_TABLE,
                                 err);
    if (rc == 0)
        rc = byre_check_add_region(state, BYRE_REGION_DIRECTORY, 0, bitmaps.directory_hoff, bitmaps.directory_size,
                                   err);
    return rc < 0 ? rc : walk_directory(state, &bitmaps, bytes, err);
}

int byre_check_bitmaps(struct byre_check_state *state, struct byre_error *err)
{
    const struct byre_qcow2_extension *extension = find_extension(state);
    struct byre_error reason = BYRE_ERROR_INIT;
    int rc;

    if (!extension)
        return 0;
    if (!(state->header->autoclear & BYRE_QCOW2_AUTOCLEAR_BITMAPS)) {
        byre_check_say(state, "WARNING: a program lacking bitmap support modified this file, so all bitmaps "
                              "are now considered inconsistent");
        return 0;
    }
    rc = read_bitmaps(state, extension, &reason);
    if (rc == -EINVAL && (state->repair & BYRE_REPAIR_ERRORS)) {
        byre_check_corrupt(state, 1, "ERROR %s", reason.text);
        state->bitmaps_lost = state->references_lost = true;
        return 0;
    }
    return rc == 0 ? 0 : byre_error_set(err, rc, "%s", reason.text);
}
