/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The FAT, read in pieces of PIECE_BYTES, of which BYRE_FAT_PIECES are kept, each in the one place where its number
 * puts it (specification, "FAT Data Structure").
 *
 *   T1. No entry lies across two pieces: a FAT of 12-bit entries, where that could be, is smaller than a piece.
 *   T2. A piece is read without the lock; where two threads read the same one, the cache gets the later one.
 *   T3. A cluster that is asked for has an entry within the FAT (byre_fat_layout.clusters).
 *   T4. Of what cannot be read, each sector costs its own entries only, and those only if no copy of the FAT has them.
 *       A piece that lacks some is not kept: the next one who asks may have more luck.
 */
#include "config.h"

#include "volume/fat.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"

#define PIECE_BYTES  8192u
#define SECTOR_BYTES 512u

static void put_piece_locked(struct byre_fat_piece *piece)
{
    if (--piece->users == 0)
        free(piece);
}

/* A sector, or what there is of it, from the first FAT that has it. */
static bool read_sector(struct byre_fat *fat, uint8_t *bytes, uint32_t length, uint64_t offset)
{
    for (unsigned copy = 0; copy <= fat->layout.table_copies; copy++) {
        uint64_t table = fat->layout.table_offset + copy * fat->layout.table_bytes;

        if (byre_filesystem_pread(&fat->files, bytes, length, table + offset, NULL) == 0)
            return true;
    }
    return false;
}

static int read_piece(struct byre_fat *fat, uint32_t number, struct byre_fat_piece **ret_piece,
                      struct byre_error *err)
{
    uint64_t start = (uint64_t)number * PIECE_BYTES;
    uint32_t length = (uint32_t)MIN(fat->layout.table_bytes - start, (uint64_t)PIECE_BYTES);
    struct byre_fat_piece *piece = malloc(sizeof *piece + length);
    int rc;

    if (!piece)
        return byre_error_set_errno(err, -ENOMEM, "file allocation table");
    *piece = (struct byre_fat_piece){ .users = 1, .number = number, .length = length };
    rc = byre_filesystem_pread(&fat->files, piece->bytes, length, fat->layout.table_offset + start, NULL);
    for (uint32_t at = 0; rc < 0 && at < length; at += SECTOR_BYTES) {
        if (!read_sector(fat, piece->bytes + at, MIN(SECTOR_BYTES, length - at), start + at))
            piece->bad |= 1u << at / SECTOR_BYTES;
    }
    *ret_piece = piece;
    return 0;
}

static int get_piece(struct byre_fat *fat, uint32_t number, struct byre_fat_piece **ret_piece, struct byre_error *err)
{
    struct byre_fat_piece **kept = &fat->pieces[number % BYRE_FAT_PIECES], *piece;
    int rc;

    pthread_mutex_lock(&fat->lock);
    piece = *kept && (*kept)->number == number ? *kept : NULL;
    if (piece)
        piece->users++;
    pthread_mutex_unlock(&fat->lock);
    if (!piece) {
        rc = read_piece(fat, number, &piece, err);
        if (rc < 0)
            return rc;
        LOCK_SCOPE(&fat->lock);
        if (!piece->bad) {
            if (*kept)
                put_piece_locked(*kept);
            *kept = piece;
            piece->users++;
        }
    }
    *ret_piece = piece;
    return 0;
}

static void release_piece(struct byre_fat *fat, struct byre_fat_cursor *cursor)
{
    LOCK_SCOPE(&fat->lock);
    put_piece_locked(cursor->piece);
    cursor->piece = NULL;
    fat->steps += cursor->steps;
    cursor->steps = 0;
}

void byre_fat_cursor_done(struct byre_fat *fat, struct byre_fat_cursor *cursor)
{
    if (cursor->piece)
        release_piece(fat, cursor);
}

static uint32_t entry_of(const uint8_t *bytes, unsigned bits, uint32_t number)
{
    if (bits == 32)
        return byre_get_le32(bytes + (size_t)number * 4) & 0x0fffffff; /* the upper bits are reserved */
    if (bits == 16)
        return byre_get_le16(bytes + (size_t)number * 2);
    return byre_get_le16(bytes + number + number / 2) >> (number & 1 ? 4 : 0) & 0xfff;
}

/* Are the bytes of an entry there? */
static bool has_entry(const struct byre_fat_piece *piece, unsigned bits, uint32_t number)
{
    uint64_t bit = (uint64_t)number * bits;
    uint32_t first = (uint32_t)(bit / 8), last = (uint32_t)((bit + bits - 1) / 8);

    return !(piece->bad >> first / SECTOR_BYTES & 1) && !(piece->bad >> last / SECTOR_BYTES & 1);
}

/* The number of an entry's piece, and its number within that. */
static uint32_t piece_of(const struct byre_fat *fat, uint32_t *number)
{
    uint32_t in_piece = PIECE_BYTES * 8 / fat->layout.bits, piece = *number / in_piece;

    if (fat->layout.bits == 12)
        return 0;
    *number %= in_piece;
    return piece;
}

static int table_entry(struct byre_fat *fat, struct byre_fat_cursor *cursor, uint32_t number, uint32_t *ret_entry,
                       struct byre_error *err)
{
    uint32_t piece = piece_of(fat, &number);

    if (!cursor->piece || cursor->piece->number != piece) {
        int rc;

        byre_fat_cursor_done(fat, cursor);
        rc = get_piece(fat, piece, &cursor->piece, err);
        if (rc < 0)
            return rc;
    }
    cursor->steps++;
    if (!has_entry(cursor->piece, fat->layout.bits, number))
        return byre_error_set(err, -EIO, "a sector of the file allocation table, and its copies, cannot be read");
    *ret_entry = entry_of(cursor->piece->bytes, fat->layout.bits, number);
    return 0;
}

int byre_fat_table_link(struct byre_fat *fat, struct byre_fat_cursor *cursor, uint32_t cluster, uint32_t *ret_next,
                        struct byre_error *err)
{
    uint32_t last = fat->layout.bits == 32 ? 0x0fffffff : (1u << fat->layout.bits) - 1, entry;
    int rc = table_entry(fat, cursor, cluster, &entry, err);

    if (rc < 0)
        return rc;
    if (byre_fat_is_cluster(fat, entry)) {
        *ret_next = entry;
        return BYRE_FAT_LINK_NEXT;
    }
    if (entry == 0)
        return BYRE_FAT_LINK_FREE;
    if (entry == last - 8)
        return BYRE_FAT_LINK_BAD;
    return entry > last - 8 ? BYRE_FAT_LINK_END : BYRE_FAT_LINK_OUTSIDE;
}

int byre_fat_table_flags(struct byre_fat *fat, uint32_t *ret_flags, struct byre_error *err)
{
    struct byre_fat_cursor cursor = { NULL };
    int rc = table_entry(fat, &cursor, 1, ret_flags, err);

    byre_fat_cursor_done(fat, &cursor);
    return rc;
}

/* FSInfo says it, where the volume was closed; what it says may be wrong, but not absurd. */
static bool info_free(struct byre_fat *fat, uint32_t *ret_count)
{
    uint8_t info[BYRE_FAT_BOOT_BYTES];

    if (!fat->layout.info_offset || fat->unclean ||
        byre_filesystem_pread(&fat->files, info, sizeof info, fat->layout.info_offset, NULL) < 0 ||
        byre_get_le32(info) != 0x41615252 || byre_get_le32(info + 484) != 0x61417272)
        return false;
    *ret_count = byre_get_le32(info + 488);
    return *ret_count <= fat->layout.clusters;
}

/* Does not go through the cache, which it would empty. */
static int count_free(struct byre_fat *fat, uint32_t *ret_count, struct byre_error *err)
{
    uint32_t end = fat->layout.clusters + BYRE_FAT_FIRST_CLUSTER, count = 0;

    for (uint32_t at = BYRE_FAT_FIRST_CLUSTER; at < end;) {
        struct byre_fat_piece *piece;
        uint32_t number = at, from;
        int rc = read_piece(fat, piece_of(fat, &number), &piece, err);

        if (rc < 0)
            return rc;
        if (piece->bad) {
            free(piece);
            return byre_error_set(err, -EIO, "a part of the file allocation table cannot be read");
        }
        from = number;
        while (at < end && (uint64_t)(number + 1) * fat->layout.bits <= (uint64_t)piece->length * 8) {
            count += entry_of(piece->bytes, fat->layout.bits, number++) == 0;
            at++;
        }
        free(piece);
        if (number == from)
            break; /* cannot be, by T3 */
    }
    *ret_count = count;
    return 0;
}

int byre_fat_table_free(struct byre_fat *fat, uint32_t *ret_count, struct byre_error *err)
{
    bool known;
    int rc;

    pthread_mutex_lock(&fat->lock);
    known = fat->free_known;
    *ret_count = fat->free_clusters;
    pthread_mutex_unlock(&fat->lock);
    if (known)
        return 0;
    if (!info_free(fat, ret_count)) {
        rc = count_free(fat, ret_count, err);
        if (rc < 0)
            return rc;
    }
    LOCK_SCOPE(&fat->lock);
    fat->free_clusters = *ret_count;
    fat->free_known = true;
    return 0;
}

void byre_fat_table_done(struct byre_fat *fat)
{
    for (unsigned i = 0; i < BYRE_FAT_PIECES; i++) {
        if (fat->pieces[i])
            put_piece_locked(fat->pieces[i]);
    }
}
