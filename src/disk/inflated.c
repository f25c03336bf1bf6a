/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cache of inflated clusters: a few slots, the least recently used one goes first.
 *
 *   I1. A cluster of layer 0 is only put in if the map of layer 0 has not changed since its extent was
 *       looked up; every change of that map takes all clusters of layer 0 out.  So a host cluster that is
 *       used again is never found with its old contents, and who finds a cluster was mapped while its
 *       contents were these.
 *   I2. The other layers do not change: their clusters stay.
 *   I3. A buffer is never changed once it is in a slot, and lives as long as a slot or a reader holds it.
 *
 * No lock is taken while the cache's own is held, so that the purge may come with any lock held.
 */
#include "config.h"

#include "disk/inflated.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { SLOTS = 8 };

struct buffer {
    unsigned holders; /* under the cache's mutex */
    uint8_t bytes[];
};

struct slot {
    struct buffer *buffer; /* NULL: empty */
    uint64_t hoff, used;
    uint32_t layer, stored;
};

struct byre_inflated {
    pthread_mutex_t mutex;
    struct slot slots[SLOTS];  /* under mutex, as is the rest */
    uint64_t clock;
    unsigned of_top;           /* slots with clusters of layer 0 */
    _Atomic uint64_t purges;   /* changed under mutex */
};

int byre_inflated_new(struct byre_inflated **ret_cache, struct byre_error *err)
{
    struct byre_inflated *cache = calloc(1, sizeof *cache);

    if (!cache)
        return byre_error_set_errno(err, -ENOMEM, "could not make a cache");
    pthread_mutex_init(&cache->mutex, NULL);
    atomic_init(&cache->purges, 0);
    *ret_cache = cache;
    return 0;
}

static void let_go(struct buffer *buffer)
{
    if (--buffer->holders == 0)
        free(buffer);
}

static void empty_slot(struct byre_inflated *cache, struct slot *slot)
{
    if (!slot->buffer)
        return;
    let_go(slot->buffer);
    slot->buffer = NULL;
    cache->of_top -= slot->layer == 0;
}

void byre_inflated_free(struct byre_inflated *cache)
{
    if (!cache)
        return;
    for (int i = 0; i < SLOTS; i++)
        empty_slot(cache, &cache->slots[i]);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

uint64_t byre_inflated_purges(const struct byre_inflated *cache)
{
    return atomic_load(&cache->purges);
}

void byre_inflated_purge(struct byre_inflated *cache)
{
    LOCK_SCOPE(&cache->mutex);

    atomic_fetch_add(&cache->purges, 1);
    for (int i = 0; i < SLOTS && cache->of_top; i++) {
        if (cache->slots[i].layer == 0)
            empty_slot(cache, &cache->slots[i]);
    }
}

/* The buffer with the cluster, held for the caller; NULL if there is none. */
static struct buffer *find(struct byre_inflated *cache, const struct byre_extent *extent)
{
    LOCK_SCOPE(&cache->mutex);

    for (int i = 0; i < SLOTS; i++) {
        struct slot *slot = &cache->slots[i];

        if (slot->buffer && slot->hoff == extent->hoff && slot->layer == extent->layer &&
            slot->stored == extent->stored) {
            slot->used = ++cache->clock;
            slot->buffer->holders++;
            return slot->buffer;
        }
    }
    return NULL;
}

static struct slot *oldest_slot(struct byre_inflated *cache)
{
    struct slot *oldest = &cache->slots[0];

    for (int i = 1; i < SLOTS && oldest->buffer; i++) {
        if (!cache->slots[i].buffer || cache->slots[i].used < oldest->used)
            oldest = &cache->slots[i];
    }
    return oldest;
}

/* Puts the buffer into a slot (I1), which holds it then, too. */
static void keep(struct byre_inflated *cache, const struct byre_extent *extent, uint64_t purges,
                 struct buffer *buffer)
{
    LOCK_SCOPE(&cache->mutex);
    struct slot *slot = oldest_slot(cache);

    if (extent->layer == 0 && atomic_load(&cache->purges) != purges)
        return;
    empty_slot(cache, slot);
    *slot = (struct slot){
        .buffer = buffer,
        .hoff = extent->hoff,
        .used = ++cache->clock,
        .layer = extent->layer,
        .stored = extent->stored,
    };
    buffer->holders++;
    cache->of_top += extent->layer == 0;
}

static int inflate(struct byre_inflated *cache, struct byre_qcow2 *image, uint32_t cluster_size,
                   const struct byre_extent *extent, uint64_t purges, struct buffer **ret_buffer,
                   struct byre_error *err)
{
    struct buffer *buffer = malloc(sizeof *buffer + cluster_size);
    int r;

    if (!buffer)
        return byre_error_set_errno(err, -ENOMEM, "could not inflate a cluster");
    buffer->holders = 1;
    r = byre_qcow2_read_compressed(image, extent->hoff, extent->stored, buffer->bytes, err);
    if (r < 0) {
        free(buffer);
        return r;
    }
    keep(cache, extent, purges, buffer);
    *ret_buffer = buffer;
    return 0;
}

int byre_inflated_read(struct byre_inflated *cache, struct byre_qcow2 *image, uint32_t cluster_size,
                       const struct byre_extent *extent, uint64_t purges, uint32_t offset, uint8_t *buf,
                       struct byre_error *err)
{
    struct buffer *buffer = find(cache, extent);
    int r = buffer ? 0 : inflate(cache, image, cluster_size, extent, purges, &buffer, err);

    if (r < 0)
        return r;
    memcpy(buf, buffer->bytes + offset, extent->length);
    LOCK_SCOPE(&cache->mutex);
    let_go(buffer);
    return 0;
}
