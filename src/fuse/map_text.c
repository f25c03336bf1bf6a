/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The map as text, made piece by piece.
 *
 *   M1. A piece is made of whole entries: where it ends, all that is needed to go on is a place.
 *   M2. A piece ends with the entry that fills it, so memory does not depend on the map; places that are remembered are
 *       at most PLACES, further apart the longer the text gets.
 *   M3. The place moves on extent by extent, so that after an error it stands before what could not be read, with
 *       nothing said twice.
 */
#include "config.h"

#include "fuse/map_text.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/vec.h"
#include "cli/map_entry.h"

#define PIECE      65536u
#define PIECE_ROOM (PIECE + 2 * BYRE_MAP_ENTRY_MAX) /* the last two entries, and the end */
#define PLACES     256u

#define STEP_MIN (64u << 20) /* bytes of the disk between two looks at the clock */

struct place {
    uint64_t offset;            /* in the text */
    uint64_t goff;              /* where the map goes on */
    struct byre_map_entry held; /* what comes before it and is no text yet */
    bool begun, ended;
};

/* What byre_map_text_all may take. */
struct limits {
    uint64_t extents;
    struct timespec start;
};

struct byre_map_text {
    struct byre_disk *disk;
    pthread_mutex_t lock; /* over all that follows */
    struct place place;   /* where the piece ends */
    uint64_t piece_offset;
    size_t piece_length;
    struct place places[PLACES]; /* in order; the first one is the start */
    unsigned place_count;
    uint64_t spacing;            /* of places, in the text */
    struct limits *limits;       /* NULL: none */
    char piece[PIECE_ROOM];
};

static void put(struct byre_map_text *text, const char *bytes, size_t length)
{
    memcpy(text->piece + text->piece_length, bytes, length);
    text->piece_length += length;
    text->place.offset += length;
}

static void put_entry(struct byre_map_text *text, const struct byre_map_entry *entry)
{
    char line[BYRE_MAP_ENTRY_MAX];

    put(text, line, byre_map_entry_to_json(text->disk, entry, !text->place.begun, line));
    text->place.begun = true;
}

/* 1: the piece is full, -EFBIG: the limit is reached; the extent is left for later. */
static int each_extent(void *opaque, const struct byre_extent *extent)
{
    struct byre_map_text *text = opaque;
    struct byre_map_entry entry = byre_map_entry_of(text->disk, extent);

    if (text->piece_length >= PIECE)
        return 1;
    if (text->limits && text->limits->extents-- == 0)
        return -EFBIG;
    if (!byre_map_entry_join(&text->place.held, &entry)) {
        if (text->place.held.length)
            put_entry(text, &text->place.held);
        text->place.held = entry;
    }
    text->place.goff = extent->goff + extent->length;
    return 0;
}

static uint64_t milliseconds_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)((now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000);
}

/* From the place on to the end of the disk or of the piece.  With limits the clock is looked at now and then, for a
 * walk through much that is alike tells of nothing meanwhile. */
static int walk(struct byre_map_text *text, struct byre_error *err)
{
    uint64_t size = byre_get_size(text->disk), step = text->limits ? STEP_MIN : UINT64_MAX, before = 0;
    int r = 0;

    while (r == 0 && text->place.goff < size) {
        r = byre_extents_reserved(text->disk, text->place.goff, MIN(step, size - text->place.goff), each_extent, text,
                                  err);
        if (r == 0 && text->limits && text->place.goff < size) {
            uint64_t elapsed = milliseconds_since(&text->limits->start);

            if (elapsed > BYRE_MAP_TEXT_ALL_MS)
                r = -EFBIG;
            step = elapsed - before > 1 ? MAX(step / 2, STEP_MIN) : MIN(2 * step, UINT64_C(1) << 60);
            before = elapsed;
        }
    }
    return r == -EFBIG ? byre_error_set(err, r, "the map is too long") : r;
}

static void put_end(struct byre_map_text *text)
{
    if (text->place.held.length || !text->place.begun)
        put_entry(text, &text->place.held);
    put(text, BYRE_MAP_END, sizeof BYRE_MAP_END - 1);
    text->place.ended = true;
}

static void remember(struct byre_map_text *text)
{
    if (text->place_count && text->place.offset < text->places[text->place_count - 1].offset + text->spacing)
        return;
    if (text->place_count == PLACES) {
        for (unsigned i = 1; 2 * i < PLACES; i++)
            text->places[i] = text->places[2 * i];
        text->place_count = PLACES / 2;
        text->spacing *= 2;
    }
    text->places[text->place_count++] = text->place;
}

/* Makes the next piece.  What comes before an error is a piece, too. */
static int make_piece(struct byre_map_text *text, struct byre_error *err)
{
    int r;

    remember(text);
    text->piece_offset = text->place.offset;
    text->piece_length = 0;
    r = walk(text, err);
    if (r == 0)
        put_end(text);
    return r < 0 && (r == -EFBIG || text->piece_length == 0) ? r : 0;
}

/* To the last place that is remembered before `offset`, unless going on leads there sooner. */
static void go_to(struct byre_map_text *text, uint64_t offset)
{
    unsigned i = text->place_count;

    while (i > 0 && text->places[i - 1].offset > offset)
        i--;
    if (i == 0 || (text->place.offset <= offset && text->places[i - 1].offset <= text->place.offset))
        return;
    text->place = text->places[i - 1];
    text->piece_offset = text->place.offset;
    text->piece_length = 0;
}

struct byre_map_text *byre_map_text_new(struct byre_disk *disk)
{
    struct byre_map_text *text = calloc(1, sizeof *text);

    if (!text)
        return NULL;
    text->disk = disk;
    text->spacing = PIECE;
    pthread_mutex_init(&text->lock, NULL);
    return text;
}

void byre_map_text_free(struct byre_map_text *text)
{
    if (!text)
        return;
    pthread_mutex_destroy(&text->lock);
    free(text);
}

int byre_map_text_read(struct byre_map_text *text, void *buf, size_t size, uint64_t offset, size_t *ret_length,
                       struct byre_error *err)
{
    size_t done = 0;
    int rc = 0;
    LOCK_SCOPE(&text->lock);

    while (rc == 0 && done < size) {
        uint64_t at = offset + done;

        if (at >= text->piece_offset && at < text->place.offset) {
            size_t start = (size_t)(at - text->piece_offset), length = MIN(size - done, text->piece_length - start);

            memcpy((char *)buf + done, text->piece + start, length);
            done += length;
        } else if (at >= text->place.offset && text->place.ended) {
            break;
        } else {
            go_to(text, at);
            rc = make_piece(text, err);
        }
    }
    if (rc < 0 && !done)
        return rc;
    *ret_length = done;
    return 0;
}

static int read_all(struct byre_map_text *text, size_t max_bytes, char **ret_text, size_t *ret_length,
                    struct byre_error *err)
{
    VEC(char) all = VEC_INIT;
    int rc = 0;

    while (rc == 0 && !text->place.ended) {
        rc = make_piece(text, err);
        if (rc == 0 && text->place.offset > max_bytes)
            rc = byre_error_set(err, -EFBIG, "the map is too long");
        if (rc == 0 && vec_reserve(&all, text->piece_length) < 0)
            rc = byre_error_set_errno(err, -ENOMEM, "map");
        if (rc == 0) {
            memcpy(all.ptr + all.len, text->piece, text->piece_length);
            all.len += text->piece_length;
        }
    }
    if (rc < 0) {
        vec_done(&all);
        return rc;
    }
    *ret_text = all.ptr;
    *ret_length = all.len;
    return 0;
}

int byre_map_text_all(struct byre_disk *disk, size_t max_bytes, uint64_t max_extents, char **ret_text,
                      size_t *ret_length, struct byre_error *err)
{
    struct limits limits = { .extents = max_extents };
    struct byre_map_text *text = byre_map_text_new(disk);
    int rc;

    if (!text)
        return byre_error_set_errno(err, -ENOMEM, "map");
    clock_gettime(CLOCK_MONOTONIC, &limits.start);
    text->limits = &limits;
    rc = read_all(text, max_bytes, ret_text, ret_length, err);
    byre_map_text_free(text);
    return rc;
}
