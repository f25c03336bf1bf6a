/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deferred frees: from the removal of a pointer to the lowering of a refcount.
 *
 * Invariants
 *   F1. A run moves pending -> committing -> durable with the commit that makes the removal of its pointer durable.
 *   F2. A refcount is lowered only from `frees_durable`, and only when the epochs of all requests that could
 *       have been mapped before the removal have passed.
 * Space is given back to the file system after that, and before the cluster can be found free.
 */
#include "config.h"

#include <errno.h>
#include <time.h>

#include "base/arith.h"
#include "qcow2/image.h"

#define READERS_WAIT_MS 2000 /* how long a request that has mapped a cluster may keep it from being used again */

int byre_free_room_locked(struct byre_qcow2 *image, size_t extra, struct byre_error *err)
{
    if (vec_reserve(&image->frees_pending, extra) < 0)
        return byre_error_set(err, -ENOMEM, "Could not allocate the list of clusters to be freed");
    return 0;
}

/* Room for one was made. */
void byre_free_later_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t count, bool discard)
{
    byre_free_vec *frees = &image->frees_pending;
    struct byre_free_run *last = frees->len ? &frees->ptr[frees->len - 1] : NULL;
    uint64_t now = byre_epoch_now(&image->epoch);

    image->clusters_pending += count;
    if (last && last->cluster + last->count == cluster && last->discard == discard && !last->table) {
        last->count += count;
        last->epoch = now;
        return;
    }
    frees->ptr[frees->len++] = (struct byre_free_run){ cluster, count, now, discard, false };
}

void byre_free_table_later_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    byre_free_vec *frees = &image->frees_pending;

    image->clusters_pending++;
    frees->ptr[frees->len++] = (struct byre_free_run){
        byre_cluster_of(image, hoff), 1, byre_epoch_now(&image->epoch), false, true
    };
}

void byre_free_entry_later_locked(struct byre_qcow2 *image, struct byre_l2_entry entry, bool discard)
{
    uint64_t first, last;

    if (image->external)
        return;
    switch (byre_entry_place(image, entry)) {
    case BYRE_PLACE_NONE:
        break;
    case BYRE_PLACE_CLUSTER:
        byre_free_later_locked(image, byre_cluster_of(image, byre_l2_offset(entry.word)), 1, discard);
        break;
    case BYRE_PLACE_COMPRESSED:
        first = byre_l2_compressed_offset(entry.word, image->cluster_bits);
        last = first + byre_l2_compressed_stored(entry.word, image->cluster_bits) - 1;
        first = byre_cluster_of(image, first);
        byre_free_later_locked(image, first, byre_cluster_of(image, last) - first + 1, false);
        break;
    }
}

/* How many clusters from `cluster` on, at most `count`, have no reference left. */
static uint64_t unreferenced(struct byre_qcow2 *image, uint64_t cluster, uint64_t count)
{
    uint64_t refcount = 0, i;

    for (i = 0; i < count; i++) {
        if (byre_refcount_read_locked(image, cluster + i, &refcount, NULL) < 0 || refcount != 0)
            break;
    }
    return i;
}

/* Of clusters that lost a reference, gives back and notes those that have none left. */
static void release(struct byre_qcow2 *image, const struct byre_free_run *run)
{
    for (uint64_t i = 0, count; i < run->count; i += count + (count == 0)) {
        uint64_t hoff = (run->cluster + i) << image->cluster_bits;

        count = unreferenced(image, run->cluster + i, run->count - i);
        if (count && run->discard)
            (void)byre_store_discard(image->data, hoff, count << image->cluster_bits, NULL);
        if (count)
            byre_alloc_freed_locked(image, run->cluster + i, count);
    }
}

/* How many clusters of the run, from the first one on, are all metadata, or are none (*ret_metadata). */
static uint64_t alike(const struct byre_qcow2 *image, const struct byre_free_run *run, bool *ret_metadata)
{
    uint64_t count = 0;

    for (; count < run->count; count++) {
        uint64_t hoff = (run->cluster + count) << image->cluster_bits;
        bool metadata = byre_metadata_at_locked(image, hoff, image->cluster_size);

        if (count && metadata != *ret_metadata)
            break;
        *ret_metadata = metadata;
    }
    return count;
}

/* May the table lose a reference, although metadata lies there?  If a snapshot has it, too. */
static bool is_shared_table(struct byre_qcow2 *image, const struct byre_free_run *run)
{
    uint64_t refcount;

    return run->table && byre_refcount_read_locked(image, run->cluster, &refcount, NULL) == 0 && refcount > 1;
}

/* Lowers the counts of a run.  What has become metadata since it was freed had a reference more than was counted, and
 * keeps this one; a count that cannot be lowered was wrong before.  Both are for check to mend. */
static void drop_references(struct byre_qcow2 *image, const struct byre_free_run *run)
{
    struct byre_free_run rest = *run;
    bool metadata = false;

    while (rest.count) {
        struct byre_free_run part = rest;

        part.count = alike(image, &rest, &metadata);
        if ((!metadata || is_shared_table(image, &part)) &&
            byre_refcount_change_locked(image, part.cluster, part.count, -1, NULL) == 0)
            release(image, &part);
        rest.cluster += part.count;
        rest.count -= part.count;
    }
}

void byre_free_reap_locked(struct byre_qcow2 *image)
{
    byre_free_vec *frees = &image->frees_durable;
    size_t kept = 0;

    for (size_t i = 0; i < frees->len; i++) {
        struct byre_free_run run = frees->ptr[i];

        if (!byre_epoch_passed(&image->epoch, run.epoch)) {
            frees->ptr[kept++] = run;
            continue;
        }
        byre_store_event(image->store, BYRE_EVENT_CLUSTER_FREE);
        drop_references(image, &run);
    }
    frees->len = kept;
}

void byre_free_await_locked(struct byre_qcow2 *image)
{
    const struct timespec pause = { 0, 1000000 };

    size_t count = image->frees_durable.len;

    /* Rare enough that requests need not tell when they leave. */
    for (int i = 0; i < READERS_WAIT_MS; i++) {
        byre_free_reap_locked(image);
        if (image->frees_durable.len < count || !count)
            return;
        pthread_mutex_unlock(&image->mutex);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&image->mutex);
    }
}
