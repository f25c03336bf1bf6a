/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mending bitmaps.  They are a help, and no data: what is doubtful is marked as inconsistent, or given up.
 *
 *   - Where the extension or the directory makes no sense, the autoclear bit is cleared: no bitmap is valid.
 *     An extension whose length is wrong goes.
 *   - A bitmap without a table of its own leaves the directory, which is written anew elsewhere; the header's
 *     extension is switched to it where that is the change of one sector, otherwise all bitmaps are given up.
 *   - So does one whose table something else has, too, when nothing else is left to correct.
 *   - Entries of bitmap tables that cannot be true are cleared, after their bitmap is marked as in use, which
 *     is what makes it inconsistent for every program.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/check_bitmaps.h"
#include "qcow2/check_entry.h"

#define SECTOR    512u
#define AT_FLAGS  12 /* in a directory entry */
#define AT_COUNT  0  /* in the extension: number (4), reserved (4), size of the directory (8), its offset (8) */

/* None of them is valid any more; what they took up is leaked. */
static int give_up(struct byre_check_state *state, struct byre_error *err)
{
    uint64_t bits = state->header->autoclear & ~BYRE_QCOW2_AUTOCLEAR_BITMAPS;
    uint8_t bytes[8];
    int rc;

    byre_put_be64(bytes, bits);
    rc = byre_check_switch(state, BYRE_QCOW2_AT_AUTOCLEAR, bytes, sizeof bytes, err);
    if (rc == 0)
        state->header->autoclear = bits;
    return rc;
}

/* QEMU opens no image with an extension of another length, valid or not: it becomes one that nobody knows. */
static int drop_extension(struct byre_check_state *state, struct byre_error *err)
{
    uint8_t type[4], length[4];
    int rc = byre_store_pread(state->store, length, sizeof length, state->bitmaps_at - 4, err);

    if (rc < 0 || byre_get_be32(length) == BYRE_QCOW2_BITMAPS_LENGTH)
        return rc;
    byre_put_be32(type, BYRE_QCOW2_EXT_FILLER);
    return byre_check_switch(state, (size_t)state->bitmaps_at - 8, type, sizeof type, err);
}

/* Marks the bitmaps that are lost; returns how many are left, and whether the directory is in the way. */
static uint32_t judge_bitmaps(struct byre_check_state *state, bool *ret_move)
{
    uint32_t left = 0;

    for (size_t i = 0; i < state->regions.len; i++) {
        if (state->regions.ptr[i].kind == BYRE_REGION_BITMAP && state->regions.ptr[i].in_the_way)
            state->bitmaps.ptr[state->regions.ptr[i].index].lost = true;
        if (state->regions.ptr[i].kind == BYRE_REGION_DIRECTORY && state->regions.ptr[i].in_the_way)
            *ret_move = true;
    }
    for (size_t i = 0; i < state->bitmaps.len; i++)
        left += !state->bitmaps.ptr[i].lost;
    return left;
}

/* Writes the directory without the bitmaps that are lost; `fields` is what the extension is to hold. */
static int write_directory(struct byre_check_state *state, uint32_t left, uint8_t fields[24], struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *from = calloc(1, (size_t)state->directory_size + 1);
    CLEANUP(free_ptr) uint8_t *to = calloc(1, (size_t)byre_round_up(state->directory_size + 1, state->cluster_size));
    uint64_t hoff, used = 0;
    bool empty;
    int rc;

    if (!from || !to)
        return byre_error_set_errno(err, -ENOMEM, "repairing the bitmap directory");
    rc = byre_check_read(&state->reader, state->directory_hoff, from, (size_t)state->directory_size, &empty, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < state->bitmaps.len; i++) {
        const struct byre_check_bitmap *bitmap = &state->bitmaps.ptr[i];

        if (bitmap->lost)
            continue;
        memcpy(to + used, from + bitmap->at, bitmap->length);
        used += bitmap->length;
    }
    rc = byre_check_allocate(state, byre_div_up(used, state->cluster_size), &hoff, err);
    if (rc == 0)
        rc = byre_store_pwrite(state->store, to, (size_t)byre_round_up(used, state->cluster_size), hoff, err);
    state->wrote = true;
    memset(fields, 0, 24);
    byre_put_be32(fields + AT_COUNT, left);
    byre_put_be64(fields + 8, used);
    byre_put_be64(fields + 16, hoff);
    return rc;
}

static int drop_bitmaps(struct byre_check_state *state, uint32_t left, struct byre_error *err)
{
    uint8_t fields[24];
    int rc = byre_check_mark(state, err);

    for (size_t i = 0; i < state->bitmaps.len; i++) {
        if (state->bitmaps.ptr[i].lost)
            byre_check_mended(state, 1, "bitmap %zu: its table is not there; the bitmap is lost", i);
    }
    if (left == 0 || state->bitmaps_at / SECTOR != (state->bitmaps_at + sizeof fields - 1) / SECTOR)
        return rc < 0 ? rc : give_up(state, err);
    if (rc == 0)
        rc = write_directory(state, left, fields, err);
    if (rc == 0)
        rc = byre_check_switch(state, (size_t)state->bitmaps_at, fields, sizeof fields, err);
    if (rc == 0)
        memcpy(state->bitmaps_data, fields, sizeof fields);
    state->bitmaps_moved = state->bitmaps_moved || rc == 0;
    return rc;
}

/* Makes the bitmap inconsistent, durably. */
static int mark_inconsistent(struct byre_check_state *state, const struct byre_check_bitmap *bitmap,
                             struct byre_error *err)
{
    uint64_t hoff = state->directory_hoff + bitmap->at + AT_FLAGS;
    uint8_t bytes[4];
    int rc = byre_store_pread(state->store, bytes, sizeof bytes, hoff, err);

    if (rc < 0)
        return rc;
    byre_put_be32(bytes, byre_get_be32(bytes) | BYRE_QCOW2_BITMAP_IN_USE);
    rc = byre_store_pwrite(state->store, bytes, sizeof bytes, hoff, err);
    state->wrote = true;
    return rc < 0 ? rc : byre_check_barrier(state, err);
}

static bool is_wrong(const struct byre_check_state *state, uint64_t entry)
{
    uint64_t hoff = entry & BYRE_BITMAP_ENTRY_OFFSET;

    if (byre_bitmap_entry_reserved(entry) || !byre_is_aligned(hoff, state->cluster_size))
        return true;
    return hoff && (!byre_check_is_inside(state, hoff, state->cluster_size) ||
                    !byre_check_is_alone(state, hoff, state->cluster_size, 1));
}

/* The part of a bitmap's table that starts at byte `start` of it and fits the buffer. */
static int mend_part(struct byre_check_state *state, size_t index, uint64_t start, bool *ret_changed,
                     struct byre_error *err)
{
    const struct byre_check_bitmap *bitmap = &state->bitmaps.ptr[index];
    size_t length = (size_t)MIN(bitmap->table_size * 8ULL - start, (uint64_t)state->buf_size);
    size_t first = SIZE_MAX, last = 0;
    bool empty = true;
    int rc;

    if (byre_check_load(state, bitmap->table_hoff + start, length, &empty, NULL) < 0 || empty)
        return 0;
    for (size_t at = 0; at < length; at += 8) {
        uint64_t entry = byre_get_be64(state->buf + at);

        if (!entry || !is_wrong(state, entry))
            continue;
        byre_check_mended(state, 1, "bitmap %zu, table entry %" PRIu64 ": %" PRIx64 "; the bitmap is inconsistent",
                          index, (start + at) / 8, entry);
        byre_put_be64(state->buf + at, 0);
        first = MIN(first, at);
        last = at + 7;
    }
    if (first > last)
        return 0;
    *ret_changed = true;
    rc = mark_inconsistent(state, bitmap, err);
    return rc < 0 ? rc : byre_check_write_back(state, bitmap->table_hoff + start, first, last, err);
}

static int mend_tables(struct byre_check_state *state, bool *ret_changed, struct byre_error *err)
{
    if (state->bitmaps.len && !byre_check_is_alone(state, state->directory_hoff, state->directory_size, 1))
        return 0;
    for (size_t i = 0; i < state->bitmaps.len; i++) {
        const struct byre_check_bitmap *bitmap = &state->bitmaps.ptr[i];
        uint64_t size = bitmap->table_size * 8ULL;

        if (size == 0 || !byre_check_is_alone(state, bitmap->table_hoff, size, 1))
            continue;
        for (uint64_t start = 0; start < size; start += state->buf_size) {
            int rc = mend_part(state, i, start, ret_changed, err);

            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

/* When nothing else can be corrected: tables that something has besides. */
int byre_check_drop_bitmaps(struct byre_check_state *state, bool *ret_changed, struct byre_error *err)
{
    uint32_t left = 0;

    for (size_t i = 0; i < state->bitmaps.len; i++) {
        struct byre_check_bitmap *bitmap = &state->bitmaps.ptr[i];

        if (bitmap->table_size && !byre_check_is_alone(state, bitmap->table_hoff, bitmap->table_size * 8ULL, 1))
            bitmap->lost = true;
        left += !bitmap->lost;
    }
    if (state->bitmaps.len && !byre_check_is_alone(state, state->directory_hoff, state->directory_size, 1)) {
        byre_check_mended(state, 1, "bitmap directory: it is something else; all bitmaps are lost");
        *ret_changed = true;
        return give_up(state, err);
    }
    if (left == state->bitmaps.len)
        return 0;
    *ret_changed = true;
    return drop_bitmaps(state, left, err);
}

int byre_check_mend_bitmaps(struct byre_check_state *state, bool *ret_changed, struct byre_error *err)
{
    bool move = false;
    uint32_t left = judge_bitmaps(state, &move);

    if (state->bitmaps_lost) {
        int rc = give_up(state, err);

        *ret_changed = true;
        byre_check_mended(state, 1, "bitmap directory: all bitmaps are lost");
        return rc < 0 ? rc : drop_extension(state, err);
    }
    if (move)
        byre_check_mended(state, 1, "bitmap directory: copied from 0x%" PRIx64 ", which is something else",
                          state->directory_hoff);
    if (move || left < state->bitmaps.len) {
        *ret_changed = true;
        return drop_bitmaps(state, left, err);
    }
    return mend_tables(state, ret_changed, err);
}
