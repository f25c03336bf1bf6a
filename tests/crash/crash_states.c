/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The walk over crash states.  A choice says for each call of the epoch how much of it is kept.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "crash_states.h"
#include "record_store.h"
#include "store/memory.h"

enum { EXACT_DEFAULT = 6, SAMPLES_DEFAULT = 100 };

/* How much of a call is kept.  The tears make a difference to calls of more than one sector only. */
enum part {
    NONE,
    ALL,
    FIRST_SECTOR,
    ALL_BUT_FIRST_SECTOR,
    LAST_SECTOR,
    ALL_BUT_LAST_SECTOR,
    EVEN_SECTORS,
    ODD_SECTORS,
    PARTS,
};

static const char part_letters[] = "-+fFlLeo";

struct walk {
    struct byre_store *store;
    struct byre_store *after; /* of one crash after the other */
    struct crash_options options;
    crash_visit *visit;
    void *opaque;
    uint64_t visited;

    size_t start, end;   /* the epoch: calls [start, end) of the log */
    size_t size_end;     /* the choice: where the size comes from, */
    uint8_t *parts;      /* and an enum part for each call of the epoch */
};

static bool is_kept(void *opaque, size_t index, uint64_t sector)
{
    const struct walk *walk = opaque;
    const struct record_call *call = record_store_call(walk->store, index);
    uint64_t first = call->hoff / RECORD_SECTOR, last = (call->hoff + call->length - 1) / RECORD_SECTOR;

    switch (walk->parts[index - walk->start]) {
    case NONE:
        return false;
    case FIRST_SECTOR:
        return sector == first;
    case ALL_BUT_FIRST_SECTOR:
        return sector != first;
    case LAST_SECTOR:
        return sector == last;
    case ALL_BUT_LAST_SECTOR:
        return sector != last;
    case EVEN_SECTORS:
        return (sector - first) % 2 == 0;
    case ODD_SECTORS:
        return (sector - first) % 2 == 1;
    default:
        return true;
    }
}

static void describe(const struct walk *walk, struct crash_state *state)
{
    size_t n = MIN(walk->end - walk->start, (size_t)128);
    char letters[129];

    for (size_t i = 0; i < n; i++)
        letters[i] = part_letters[walk->parts[i]];
    letters[n] = '\0';
    snprintf(state->text, sizeof state->text, "the first %zu calls are durable, then %s%s, size after %zu",
             walk->start, letters, n < walk->end - walk->start ? "..." : "", walk->size_end);
}

static int visit_choice(struct walk *walk)
{
    struct record_crash crash = {
        .end = walk->end, .size_end = walk->size_end, .kept = is_kept, .opaque = walk,
    };
    struct crash_state state = { .durable = walk->start, .end = walk->end };
    int r = record_store_rebuild_into(walk->store, &crash, walk->after);

    if (r < 0)
        return r;
    describe(walk, &state);
    walk->visited++;
    return walk->visit(walk->opaque, walk->after, &state);
}

static uint64_t size_at(const struct walk *walk, size_t end)
{
    return record_store_size_after(walk->store, end);
}

static int visit_size(struct walk *walk, size_t size_end)
{
    walk->size_end = size_end;
    return visit_choice(walk);
}

/* Visits the present parts with the sizes that the file had: all of them, or the first and the last. */
static int visit_sizes(struct walk *walk, bool all)
{
    int r = visit_size(walk, walk->start);

    if (!all && r == 0 && size_at(walk, walk->end) != size_at(walk, walk->start))
        r = visit_size(walk, walk->end);
    for (size_t end = walk->start + 1; all && r == 0 && end <= walk->end; end++) {
        if (size_at(walk, end) != size_at(walk, end - 1))
            r = visit_size(walk, end);
    }
    return r;
}

static void set_all(struct walk *walk, enum part part)
{
    memset(walk->parts, part, walk->end - walk->start);
}

/* Each call torn in each way, with all others kept and with none. */
static int visit_tears(struct walk *walk, bool all_sizes)
{
    int r = 0;

    for (size_t i = walk->start; r == 0 && i < walk->end; i++) {
        const struct record_call *call = record_store_call(walk->store, i);

        if (!call->length || call->hoff / RECORD_SECTOR == (call->hoff + call->length - 1) / RECORD_SECTOR)
            continue;
        if (walk->options.torn > 1 && (size_t)rand_r(&walk->options.seed) / 3 % walk->options.torn)
            continue;
        for (int others = NONE; r == 0 && others <= ALL; others++) {
            set_all(walk, (enum part)others);
            for (int part = FIRST_SECTOR; r == 0 && part < PARTS; part++) {
                walk->parts[i - walk->start] = (uint8_t)part;
                r = visit_sizes(walk, all_sizes);
            }
        }
    }
    return r;
}

static int visit_short_epoch(struct walk *walk)
{
    size_t n = walk->end - walk->start;
    int r = 0;

    for (uint64_t kept = 0; r == 0 && kept < (uint64_t)1 << n; kept++) {
        for (size_t i = 0; i < n; i++)
            walk->parts[i] = kept >> i & 1;
        r = visit_sizes(walk, true);
    }
    return r == 0 ? visit_tears(walk, true) : r;
}

/* All calls are `others`, but for the calls a and b. */
static int visit_exceptions(struct walk *walk, enum part others, size_t a, size_t b)
{
    set_all(walk, others);
    walk->parts[a] = walk->parts[b] = others == ALL ? NONE : ALL;
    return visit_sizes(walk, false);
}

static int visit_beginnings(struct walk *walk)
{
    size_t n = walk->end - walk->start;
    int r = 0;

    for (size_t kept = 0; r == 0 && kept <= n; kept++) {
        set_all(walk, NONE);
        memset(walk->parts, ALL, kept);
        r = visit_sizes(walk, false);
    }
    return r;
}

/* Single calls and pairs (a == b is a single), left out and alone. */
static int visit_pairs(struct walk *walk)
{
    size_t n = walk->end - walk->start, pairs = n * (n - 1) / 2;
    int r = 0;

    for (size_t a = 0; a < n; a++) {
        for (size_t b = a; r == 0 && b < n; b++) {
            if (a != b && pairs > walk->options.samples &&
                (size_t)rand_r(&walk->options.seed) % pairs >= walk->options.samples)
                continue;
            r = visit_exceptions(walk, ALL, a, b);
            if (r == 0)
                r = visit_exceptions(walk, NONE, a, b);
        }
    }
    return r;
}

static int visit_random(struct walk *walk)
{
    int r = 0;

    for (size_t sample = 0; r == 0 && sample < walk->options.samples; sample++) {
        for (size_t i = 0; i < walk->end - walk->start; i++)
            walk->parts[i] = (uint8_t)(rand_r(&walk->options.seed) >> 4 & 1);
        r = visit_sizes(walk, false);
    }
    return r;
}

static int visit_long_epoch(struct walk *walk)
{
    int r = visit_beginnings(walk);

    if (r == 0)
        r = visit_pairs(walk);
    if (r == 0)
        r = visit_random(walk);
    return r == 0 ? visit_tears(walk, false) : r;
}

static int visit_epoch(struct walk *walk)
{
    size_t n = walk->end - walk->start;
    int r;

    walk->parts = calloc(n + 1, 1);
    if (!walk->parts)
        return -ENOMEM;
    r = n <= walk->options.exact ? visit_short_epoch(walk) : visit_long_epoch(walk);
    free(walk->parts);
    return r;
}

int crash_states_each(struct byre_store *store, const struct crash_options *options, crash_visit *visit,
                      void *opaque, uint64_t *ret_visited)
{
    struct walk walk = { .store = store, .visit = visit, .opaque = opaque };
    size_t count = record_store_count(store);
    int r = byre_memory_new(NULL, 0, &walk.after, NULL);

    if (r < 0)
        return r;
    if (options)
        walk.options = *options;
    walk.options.exact = MIN(walk.options.exact ? walk.options.exact : EXACT_DEFAULT, (size_t)16);
    walk.options.samples = walk.options.samples ? walk.options.samples : SAMPLES_DEFAULT;
    for (size_t end = 0; r == 0 && end <= count; end++) {
        /* An epoch ends before a flush, and the last one at the end of the log. */
        if (end < count && record_store_call(store, end)->kind != RECORD_FLUSH)
            continue;
        walk.start = record_store_durable(store, end);
        walk.end = end;
        r = visit_epoch(&walk);
    }
    byre_store_close(walk.after);
    if (ret_visited)
        *ret_visited = walk.visited;
    return r;
}
