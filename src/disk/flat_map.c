/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The flat map: chunks of entries, filled on demand through the whole chain, evicted by clock.
 *
 *   M1. A chunk describes CHUNK_GRAINS grains.  An entry says where its grain starts; it is true of the
 *       grain's bytes up to where the entry's layer is visible to, after which they are zero.  That one
 *       layer answers for a whole grain follows from the grain being no larger than any subcluster of the
 *       chain; a raw file at the bottom counts as data where any part of the grain is.
 *   M2. A fill is published only if no change of layer 0 came to its range since before the tables were
 *       read: the generation tells.  What was mapped but not published still answers the one request that
 *       asked for it: it was true during that request.
 *   M3. A change bumps the generation first, and then corrects or forgets the entries that are there, each in
 *       one store.
 *   M4. The bytes of all chunks stay under the budget, one chunk apart; those of chunks that were taken out and may
 *       still be looked at, too.
 *   M5. `mutex` is the innermost lock: nothing that may wait is called while it is held.
 *   M6. A chunk is filled by one look-up at a time; those that need it meanwhile wait for that, for all would read the
 *       same tables.
 *   M7. A hit takes no lock.  Whoever looks is in the disk's epoch; a chunk that was taken out is released when all
 *       have left that could have found it.  Apart from its entries a chunk that can be found does not change.
 *   M8. Where there are subclusters, chunks are of clusters, and those of the finer grain are made only where clusters
 *       are `mixed`.  What a fine chunk says is true whatever the coarse one says.
 */
#include "config.h"

#include "disk/flat_map.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/rangelock.h"
#include "disk/flat_entry.h"

enum {
    CHUNK_GRAINS = 512,
    GENERATIONS = 1024, /* a power of two */
    BUCKETS_MAX = 1 << 14,
};

#define FINE (UINT64_C(1) << 63) /* in the number of a chunk of fine grain */

/* What is missing for a look-up. */
enum missing { NOTHING, COARSE_CHUNK, FINE_CHUNK };

struct chunk {
    uint64_t number;           /* of the first grain, divided by CHUNK_GRAINS; and FINE */
    struct chunk *_Atomic hash_next;
    struct chunk *prev, *next; /* the ring that the clock's hand goes round; or `next` of those taken out */
    uint64_t epoch;            /* in which it was taken out */
    unsigned version;          /* of layer 0's metadata when it was made: older ones are not written by */
    atomic_bool used;          /* since the hand came by */
    struct byre_flat_side side;
    _Atomic uint64_t entries[CHUNK_GRAINS];
};

struct byre_flat_map {
    struct byre_disk *disk;
    unsigned grain_bits, fine_bits; /* the same without subclusters */
    uint64_t budget;
    uint64_t *visible_end;      /* by layer: bytes from there on do not show */
    struct chunk *_Atomic *buckets; /* changed under the mutex */
    uint64_t bucket_mask;

    struct byre_range_lock fills; /* of chunks, by number; before all locks of images */
    pthread_mutex_t mutex;      /* all below */
    uint64_t generations[GENERATIONS]; /* of chunks, by number modulo GENERATIONS */
    struct chunk *hand;
    uint64_t bytes;
    struct chunk *taken_out, **taken_out_last; /* oldest first */
    uint64_t taken_out_bytes;
};

/* The grain of a chunk of that number. */
static unsigned bits_of(const struct byre_flat_map *map, uint64_t number)
{
    return number & FINE ? map->fine_bits : map->grain_bits;
}

static uint64_t chunk_number(const struct byre_flat_map *map, uint64_t goff)
{
    return (goff >> map->grain_bits) / CHUNK_GRAINS;
}

static uint64_t fine_number(const struct byre_flat_map *map, uint64_t goff)
{
    return (goff >> map->fine_bits) / CHUNK_GRAINS | FINE;
}

static uint64_t chunk_start(const struct byre_flat_map *map, uint64_t number)
{
    return (number & ~FINE) * CHUNK_GRAINS << bits_of(map, number);
}

static _Atomic uint64_t *entry_of(const struct byre_flat_map *map, struct chunk *chunk, uint64_t goff)
{
    return &chunk->entries[(goff >> bits_of(map, chunk->number)) % CHUNK_GRAINS];
}

static uint64_t chunk_bytes(const struct chunk *chunk)
{
    return sizeof *chunk + chunk->side.cap * sizeof *chunk->side.ptr;
}

static void chunk_free(struct chunk *chunk)
{
    vec_done(&chunk->side);
    free(chunk);
}

static void chunks_free(struct chunk *chunk)
{
    for (struct chunk *next; chunk; chunk = next) {
        next = chunk->next;
        chunk_free(chunk);
    }
}

/* --- finding chunks: under the mutex or in the disk's epoch ---------------------------------------------- */

static struct chunk *_Atomic *bucket_of(struct byre_flat_map *map, uint64_t number)
{
    return &map->buckets[number & map->bucket_mask];
}

static struct chunk *find(struct byre_flat_map *map, uint64_t number)
{
    struct chunk *chunk = atomic_load(bucket_of(map, number));

    while (chunk && chunk->number != number)
        chunk = atomic_load(&chunk->hash_next);
    return chunk;
}

/* --- taking chunks out: all under the mutex -------------------------------------------------------------- */

/* Releases what nobody looks at any more. */
static void release_locked(struct byre_flat_map *map)
{
    struct chunk *chunk;

    while ((chunk = map->taken_out) && byre_epoch_passed(map->disk->epoch, chunk->epoch)) {
        map->taken_out = chunk->next;
        if (!map->taken_out)
            map->taken_out_last = &map->taken_out;
        map->taken_out_bytes -= chunk_bytes(chunk);
        chunk_free(chunk);
    }
}

/* Nobody finds it any more; who has found it may go on looking at it, and at what follows it in its bucket. */
static void remove_locked(struct byre_flat_map *map, struct chunk *chunk)
{
    struct chunk *_Atomic *link = bucket_of(map, chunk->number);

    while (atomic_load(link) != chunk)
        link = &atomic_load(link)->hash_next;
    atomic_store(link, atomic_load(&chunk->hash_next));
    if (map->hand == chunk)
        map->hand = chunk->next == chunk ? NULL : chunk->next;
    chunk->prev->next = chunk->next;
    chunk->next->prev = chunk->prev;
    chunk->next = NULL;
    chunk->epoch = byre_epoch_now(map->disk->epoch);
    *map->taken_out_last = chunk;
    map->taken_out_last = &chunk->next;
    map->taken_out_bytes += chunk_bytes(chunk);
    map->bytes -= chunk_bytes(chunk);
    release_locked(map);
}

/* Makes room for `bytes` more, as far as there are chunks. */
static void evict_locked(struct byre_flat_map *map, uint64_t bytes)
{
    while (map->hand && map->bytes + bytes > map->budget) {
        struct chunk *chunk = map->hand;

        map->hand = chunk->next;
        if (!atomic_exchange(&chunk->used, false))
            remove_locked(map, chunk);
    }
}

static void insert_locked(struct byre_flat_map *map, struct chunk *chunk)
{
    struct chunk *_Atomic *bucket = bucket_of(map, chunk->number);
    struct chunk *old = find(map, chunk->number);

    if (old)
        remove_locked(map, old);
    evict_locked(map, chunk_bytes(chunk));
    atomic_store(&chunk->hash_next, atomic_load(bucket));
    if (map->hand) {
        chunk->next = map->hand;
        chunk->prev = map->hand->prev;
        chunk->prev->next = chunk->next->prev = chunk;
    } else {
        map->hand = chunk->prev = chunk->next = chunk;
    }
    map->bytes += chunk_bytes(chunk);
    atomic_store(bucket, chunk);
}

/* --- entries become extents ----------------------------------------------------------------------------- */

/* Where the extents of a look-up go. */
struct sink {
    struct byre_extent *extents;
    int count, max;
    uint64_t at, end; /* the guest range still to be described */
    bool write;       /* it is for writing without the engine */
};

static unsigned version_of(const struct byre_flat_map *map)
{
    return byre_qcow2_metadata_version(map->disk->layers[0].qcow2);
}

/* Appends the next `length` bytes: false if there is no room. */
static bool emit(const struct byre_flat_map *map, struct sink *sink, struct byre_extent extent)
{
    struct byre_extent *last = sink->count ? &sink->extents[sink->count - 1] : NULL;

    if (last && byre_flat_continues(map->disk, last, &extent)) {
        last->length += extent.length;
    } else {
        if (sink->count == sink->max)
            return false;
        sink->extents[sink->count++] = extent;
    }
    sink->at += extent.length;
    return true;
}

/* Describes from sink->at to the end of its grain, of `bits`: false if there is no room. */
static bool emit_grain(const struct byre_flat_map *map, struct sink *sink, const struct chunk *chunk, unsigned bits,
                       uint64_t entry)
{
    uint64_t grain = 1ULL << bits;
    uint64_t start = byre_round_down(sink->at, grain), end = MIN(start + grain, sink->end), shown;
    struct byre_extent extent = byre_flat_decode(map->disk, entry, &chunk->side, start);

    shown = extent.kind == BYRE_EXTENT_HOLE ? end : MIN(end, map->visible_end[extent.layer]);
    if (sink->at < shown) {
        if (extent.kind == BYRE_EXTENT_DATA)
            extent.hoff += sink->at - start;
        extent.goff = sink->at;
        extent.length = shown - sink->at;
        if (!emit(map, sink, extent))
            return false;
    }
    if (sink->at == end)
        return true;
    return emit(map, sink, (struct byre_extent){ .goff = sink->at, .length = end - sink->at,
                                                 .kind = BYRE_EXTENT_HOLE });
}

/* Describes as much up to `end` as the chunk knows by itself.  Returns where to look for the rest. */
static enum missing emit_chunk(const struct byre_flat_map *map, struct sink *sink, struct chunk *chunk, uint64_t end)
{
    unsigned bits = bits_of(map, chunk->number);

    end = MIN(MIN(sink->end, end), chunk_start(map, chunk->number + 1));
    while (sink->at < end) {
        uint64_t entry = atomic_load(&chunk->entries[(sink->at >> bits) % CHUNK_GRAINS]);

        if (!entry || entry == BYRE_FLAT_MIXED)
            return entry || chunk->number & FINE ? FINE_CHUNK : COARSE_CHUNK;
        if (!emit_grain(map, sink, chunk, bits, entry))
            break;
    }
    return NOTHING;
}

/* --- filling -------------------------------------------------------------------------------------------- */

/* Sets the entry of the grain at `at`, of which the extent describes a part. */
static int set_entry(const struct byre_flat_map *map, struct chunk *chunk, const struct byre_extent *extent,
                     uint64_t at)
{
    uint64_t end = at + (1ULL << bits_of(map, chunk->number)), next = BYRE_FLAT_MIXED;
    bool whole = at >= extent->goff && MIN(end, map->disk->size) <= extent->goff + extent->length;
    _Atomic uint64_t *entry = entry_of(map, chunk, at);
    int r = 0;

    if (whole || map->grain_bits == map->fine_bits || chunk->number & FINE) {
        if (byre_flat_outranks(atomic_load(entry), extent))
            return 0;
        r = byre_flat_encode(map->disk, extent, at, &chunk->side, &next);
    }
    if (r == 0)
        atomic_store_explicit(entry, next, memory_order_relaxed); /* nobody else sees it yet */
    return r;
}

/* Sets the entries of the grains that the extents of byre_disk_map cover.  Where several extents share a
 * grain that cannot be mixed, data wins, and then whatever is not past an end (M1). */
static int set_entries(const struct byre_flat_map *map, struct chunk *chunk, const byre_extent_vec *extents)
{
    uint64_t grain = 1ULL << bits_of(map, chunk->number);
    int r = 0;

    for (size_t i = 0; i < extents->len; i++) {
        const struct byre_extent *extent = &extents->ptr[i];
        uint64_t end = extent->goff + extent->length;

        for (uint64_t at = byre_round_down(extent->goff, grain); r == 0 && at < end; at += grain)
            r = set_entry(map, chunk, extent, at);
    }
    return r;
}

/* The chunk of that number, with the entries for [goff, end). */
static int make_chunk(struct byre_flat_map *map, uint64_t number, uint64_t goff, uint64_t end,
                      struct chunk **ret_chunk, struct byre_error *err)
{
    byre_extent_vec extents = VEC_INIT;
    struct chunk *chunk = calloc(1, sizeof *chunk);
    int r;

    if (!chunk)
        return byre_error_set_errno(err, -ENOMEM, "could not map a part of '%s'", map->disk->layers[0].name);
    chunk->number = number;
    chunk->version = version_of(map); /* before tables are read */
    r = byre_disk_map(map->disk, 0, goff, end - goff, &extents, err);
    if (r == 0) {
        r = set_entries(map, chunk, &extents);
        if (r < 0)
            byre_error_set_errno(err, r, "could not map a part of '%s'", map->disk->layers[0].name);
    }
    vec_done(&extents);
    if (r < 0) {
        chunk_free(chunk);
        return r;
    }
    *ret_chunk = chunk;
    return 0;
}

/* Maps the whole chunk of that number, or, where that fails, only what is asked for: damage elsewhere is no
 * reason to fail.  *ret_whole tells which. */
static int map_chunk(struct byre_flat_map *map, const struct sink *sink, uint64_t number, struct chunk **ret_chunk,
                     bool *ret_whole, struct byre_error *err)
{
    uint64_t grain = 1ULL << bits_of(map, number);
    uint64_t end = MIN(chunk_start(map, number + 1), map->disk->size);
    int r = make_chunk(map, number, chunk_start(map, number), end, ret_chunk, NULL);

    *ret_whole = r == 0;
    if (r == 0)
        return 0;
    end = MIN(end, byre_round_up(sink->end, grain));
    return make_chunk(map, number, byre_round_down(sink->at, grain), end, ret_chunk, err);
}

/* The generation of `goff`.  Under the mutex. */
static uint64_t *generation_locked(struct byre_flat_map *map, uint64_t goff)
{
    return &map->generations[chunk_number(map, goff) % GENERATIONS];
}

/* Before tables are read (M2). */
static uint64_t generation_of(struct byre_flat_map *map, uint64_t goff)
{
    LOCK_SCOPE(&map->mutex);
    return *generation_locked(map, goff);
}

/* Describes what the chunk of that number, which is the one of sink->at, has of the range, by reading tables.  The
 * chunk's turn is held.  Returns what is missing then, or a negative errno. */
static int fill(struct byre_flat_map *map, struct sink *sink, uint64_t number, struct byre_error *err)
{
    uint64_t start = chunk_start(map, number), generation = generation_of(map, start);
    struct chunk *chunk;
    bool whole;
    int r = map_chunk(map, sink, number, &chunk, &whole, err);

    if (r < 0)
        return r;
    r = emit_chunk(map, sink, chunk, sink->end);
    pthread_mutex_lock(&map->mutex);
    release_locked(map);
    if (whole && *generation_locked(map, start) == generation && map->taken_out_bytes < map->budget)
        insert_locked(map, STEAL(chunk));
    pthread_mutex_unlock(&map->mutex);
    chunks_free(chunk);
    return r;
}

/* The chunk of that number, unless it is too old to write by. */
static struct chunk *find_usable(struct byre_flat_map *map, const struct sink *sink, uint64_t number)
{
    struct chunk *chunk = find(map, number);

    if (!chunk || (sink->write && chunk->version != version_of(map)))
        return NULL;
    if (!atomic_load_explicit(&chunk->used, memory_order_relaxed))
        atomic_store_explicit(&chunk->used, true, memory_order_relaxed);
    return chunk;
}

/* Describes what is known of the coarse chunk of sink->at, and of the fine ones there. */
static enum missing emit_known(struct byre_flat_map *map, struct sink *sink)
{
    struct chunk *chunk = find_usable(map, sink, chunk_number(map, sink->at)), *fine;
    enum missing missing = chunk ? emit_chunk(map, sink, chunk, sink->end) : COARSE_CHUNK;

    while (missing == FINE_CHUNK) {
        uint64_t before = sink->at, grain = map->disk->coarse_grain;

        fine = find_usable(map, sink, fine_number(map, before));
        if (fine)
            missing = emit_chunk(map, sink, fine, byre_round_down(before, grain) + grain);
        if (missing != NOTHING || sink->at == before)
            break;
        missing = emit_chunk(map, sink, chunk, sink->end);
    }
    return missing;
}

/* Describes the start of what is missing at sink->at, unless it has become known while others filled it.  Returns what
 * is missing then, or a negative errno. */
static int emit_unknown(struct byre_flat_map *map, struct sink *sink, enum missing missing, struct byre_error *err)
{
    uint64_t number = missing == FINE_CHUNK ? fine_number(map, sink->at) : chunk_number(map, sink->at);
    uint64_t before = sink->at;
    struct byre_range_hold turn;
    int r;

    byre_range_lock_acquire(&map->fills, &turn, number, number + 1);
    r = emit_known(map, sink);
    /* A fine chunk is of use whatever has happened to the coarse one. */
    if (r != NOTHING && sink->at == before && (missing == FINE_CHUNK || r == COARSE_CHUNK))
        r = fill(map, sink, number, err);
    byre_range_lock_release(&map->fills, &turn);
    return r;
}

int byre_flat_map_lookup(struct byre_flat_map *map, uint64_t goff, uint64_t length, bool write,
                         struct byre_extent *extents, int max, struct byre_error *err)
{
    struct sink sink = { extents, 0, max, goff, goff + length, write };

    while (sink.at < sink.end) {
        uint64_t before = sink.at;
        int r = emit_known(map, &sink);

        if (r != NOTHING)
            r = emit_unknown(map, &sink, (enum missing)r, err);
        /* A mixed grain comes second, so that there is progress whatever becomes of chunks. */
        if (r == FINE_CHUNK && sink.at == before)
            r = emit_unknown(map, &sink, FINE_CHUNK, err);
        if (r < 0 && !sink.count)
            return r;
        if (r < 0 || sink.at == before)
            break; /* what comes before a failure, or fits, is told first */
    }
    return sink.count;
}

int byre_flat_map_peek(struct byre_flat_map *map, uint64_t goff, uint64_t length, bool write,
                       struct byre_extent *extents, int max)
{
    struct sink sink = { extents, 0, max, goff, goff + length, write };

    while (sink.at < sink.end) {
        uint64_t before = sink.at;

        if (emit_known(map, &sink) || sink.at == before)
            return 0;
    }
    return sink.count;
}

/* --- changes -------------------------------------------------------------------------------------------- */

/* Corrects the entries of the chunk that `now` is about; a grain that it is about in part is mixed from now on. */
static void correct_chunk(const struct byre_flat_map *map, struct chunk *chunk, const struct byre_extent *now)
{
    uint64_t grain = 1ULL << bits_of(map, chunk->number), now_end = now->goff + now->length;
    uint64_t at = MAX(byre_round_down(now->goff, grain), chunk_start(map, chunk->number));
    uint64_t end = MIN(now_end, chunk_start(map, chunk->number + 1));

    for (; at < end; at += grain) {
        uint64_t entry = 0;

        if (at < now->goff || at + grain > now_end)
            entry = BYRE_FLAT_MIXED;
        /* What a hole shows is for the next look-up to find out; compressed clusters would need memory. */
        else if (now->kind == BYRE_EXTENT_DATA || now->kind == BYRE_EXTENT_ZERO)
            (void)byre_flat_encode(map->disk, now, at, NULL, &entry);
        atomic_store(entry_of(map, chunk, at), entry);
    }
}

static void correct_many(struct byre_flat_map *map, const struct byre_extent *now)
{
    struct chunk *chunk = map->hand;

    for (int i = 0; i < GENERATIONS; i++)
        map->generations[i]++;
    if (!chunk)
        return;
    do
        correct_chunk(map, chunk, now);
    while ((chunk = chunk->next) != map->hand);
}

static void correct_numbers(struct byre_flat_map *map, uint64_t first, uint64_t last, const struct byre_extent *now)
{
    for (uint64_t number = first; number <= last; number++) {
        struct chunk *chunk = find(map, number);

        if (chunk)
            correct_chunk(map, chunk, now);
    }
}

void byre_flat_map_remapped(struct byre_flat_map *map, const struct byre_extent *now)
{
    uint64_t end = now->goff + now->length - 1, first = chunk_number(map, now->goff), last = chunk_number(map, end);
    LOCK_SCOPE(&map->mutex);

    if (last - first >= GENERATIONS) {
        correct_many(map, now);
        return;
    }
    for (uint64_t number = first; number <= last; number++)
        map->generations[number % GENERATIONS]++;
    correct_numbers(map, first, last, now);
    if (map->fine_bits < map->grain_bits)
        correct_numbers(map, fine_number(map, now->goff), fine_number(map, end), now);
}

/* --- making and releasing ------------------------------------------------------------------------------- */

static uint64_t bucket_count(const struct byre_flat_map *map)
{
    uint64_t wanted = map->budget / sizeof(struct chunk), count = 16;

    wanted = MIN(wanted, (map->disk->layers[0].size >> map->fine_bits) / CHUNK_GRAINS + 1);
    while (count < wanted && count < BUCKETS_MAX)
        count *= 2;
    return count;
}

int byre_flat_map_new(struct byre_disk *disk, uint64_t budget, struct byre_flat_map **ret_map,
                      struct byre_error *err)
{
    struct byre_flat_map *map = calloc(1, sizeof *map);
    uint64_t end = UINT64_MAX;

    if (!map)
        return byre_error_set_errno(err, -ENOMEM, "could not make a map of '%s'", disk->layers[0].name);
    pthread_mutex_init(&map->mutex, NULL);
    byre_range_lock_init(&map->fills);
    map->disk = disk;
    map->taken_out_last = &map->taken_out;
    map->grain_bits = byre_log2(disk->coarse_grain);
    map->fine_bits = byre_log2(disk->grain);
    map->budget = budget ? budget : BYRE_FLAT_MAP_BYTES;
    map->bucket_mask = bucket_count(map) - 1;
    map->buckets = calloc(map->bucket_mask + 1, sizeof *map->buckets);
    map->visible_end = calloc(disk->layer_count, sizeof *map->visible_end);
    if (!map->buckets || !map->visible_end) {
        byre_flat_map_free(map);
        return byre_error_set_errno(err, -ENOMEM, "could not make a map of '%s'", disk->layers[0].name);
    }
    for (unsigned i = 0; i < disk->layer_count; i++) {
        end = MIN(end, disk->layers[i].size);
        map->visible_end[i] = end;
    }
    *ret_map = map;
    return 0;
}

void byre_flat_map_free(struct byre_flat_map *map)
{
    if (!map)
        return;
    if (map->hand)
        map->hand->prev->next = NULL;
    chunks_free(map->hand);
    chunks_free(map->taken_out);
    free(map->buckets);
    free(map->visible_end);
    byre_range_lock_done(&map->fills);
    pthread_mutex_destroy(&map->mutex);
    free(map);
}

uint64_t byre_flat_map_bytes(struct byre_flat_map *map)
{
    LOCK_SCOPE(&map->mutex);

    return map->bytes + map->taken_out_bytes;
}
