/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frame of the operations on snapshots: see snapshot_job.h.
 *
 *   J1. Everything is read and judged before anything is changed: what cannot be done is refused with the image as it
 *       was.
 *   J2. While an operation is under way the file is the truth; memory follows when it is durable.
 */
#include "config.h"

#include "qcow2/snapshot_job.h"

#include <errno.h>

#include "base/arith.h"

static int begin_locked(struct byre_snapshot_job *job, struct byre_error *err)
{
    struct byre_qcow2 *image = job->image;
    int rc = byre_qcow2_check_writable(image, err);

    if (rc == 0)
        rc = byre_snapshot_table_read(image->store, &image->header, &job->table, err);
    if (rc == 0)
        rc = byre_l1_copy_read(image, image->header.l1_hoff, image->header.l1_size, &job->active, err);
    if (rc == 0)
        rc = byre_pass_init(&job->changes, image, err);
    if (rc == 0)
        rc = byre_pass_init(&job->kept, image, err);
    if (rc == 0)
        rc = byre_sweep_new(image, &job->sweep, err);
    return rc;
}

int byre_job_begin(struct byre_snapshot_job *job, struct byre_qcow2 *image, struct byre_error *err)
{
    int rc;

    *job = (struct byre_snapshot_job){ .image = image };
    pthread_mutex_lock(&image->mutex);
    rc = byre_check_writable_locked(image, err);
    pthread_mutex_unlock(&image->mutex);
    if (rc == 0)
        rc = byre_image_settle(image, err);
    pthread_mutex_lock(&image->mutex);
    return rc < 0 ? rc : begin_locked(job, err);
}

int byre_job_end(struct byre_snapshot_job *job, int rc)
{
    pthread_mutex_unlock(&job->image->mutex);
    byre_snapshot_table_done(&job->table);
    byre_l1_copy_done(&job->active);
    byre_l1_copy_done(&job->other);
    byre_pass_done(&job->changes);
    byre_pass_done(&job->kept);
    byre_sweep_free(job->sweep);
    vec_done(&job->freed);
    return rc;
}

int byre_job_read_other(struct byre_snapshot_job *job, size_t index, struct byre_error *err)
{
    struct byre_qcow2 *image = job->image;
    const struct byre_snapshot_entry *entry = &job->table.entries.ptr[index];
    uint64_t size;
    int rc = byre_store_size(image->store, &size, err);

    if (rc == 0)
        rc = byre_snapshot_check_l1(&image->header, entry, index, size, err);
    return rc < 0 ? rc : byre_l1_copy_read(image, entry->fixed.l1_hoff, entry->fixed.l1_size, &job->other, err);
}

/* --- the changes --- */

int byre_job_check(struct byre_snapshot_job *job, struct byre_error *err)
{
    bool more = true, some = false;
    int rc;

    byre_pass_merge(&job->changes);
    byre_pass_merge(&job->kept);
    rc = byre_pass_check_tables(&job->changes, err);
    while (rc == 0 && more) {
        rc = byre_pass_count(&job->changes, job->sweep, err);
        if (rc == 0)
            rc = byre_sweep_check(job->sweep, &some, err);
        if (rc == 0 && some)
            rc = byre_pass_check_unmarked(&job->kept, job->sweep, err);
        /* So that what is reserved need not be looked for from the start. */
        if (rc == 0)
            job->image->next_free = MAX(job->image->next_free, byre_sweep_used_prefix(job->sweep));
        more = job->sweep->beyond < job->sweep->end;
        job->many_windows |= more;
        if (rc == 0 && more)
            rc = byre_sweep_next(job->sweep, &more, err);
    }
    return rc;
}

int byre_job_sweep(struct byre_snapshot_job *job,
                   int (*step)(struct byre_snapshot_job *job, struct byre_error *err), struct byre_error *err)
{
    bool more = true;
    int rc;

    if (!job->many_windows)
        return step(job, err);
    rc = byre_sweep_restart(job->sweep, err);
    while (rc == 0 && more) {
        rc = byre_pass_count(&job->changes, job->sweep, err);
        if (rc == 0)
            rc = step(job, err);
        if (rc == 0)
            rc = byre_sweep_next(job->sweep, &more, err);
    }
    return rc;
}

int byre_job_raise(struct byre_snapshot_job *job, struct byre_error *err)
{
    return byre_sweep_raise(job->sweep, err);
}

int byre_job_lower(struct byre_snapshot_job *job, struct byre_error *err)
{
    return byre_sweep_lower(job->sweep, &job->freed, &job->some_last, err);
}

/* --- new tables --- */

struct byre_place byre_job_place(const struct byre_snapshot_job *job, uint64_t hoff, uint64_t length)
{
    return (struct byre_place){ hoff, byre_cluster_ceil(job->image, length) >> job->image->cluster_bits };
}

static int reserve_locked(struct byre_snapshot_job *job, struct byre_place *place, struct byre_error *err)
{
    struct byre_qcow2 *image = job->image;
    uint64_t hoff;
    int rc = byre_alloc_exact_locked(image, place->clusters, &hoff, err);

    if (rc < 0)
        return rc;
    rc = byre_alloc_zero_fill(image, hoff, place->clusters << image->cluster_bits, err);
    if (rc < 0)
        byre_alloc_undo_locked(image, hoff, place->clusters);
    else
        place->hoff = hoff;
    return rc;
}

void byre_job_unreserve(struct byre_snapshot_job *job, const struct byre_place places[2])
{
    for (unsigned i = 0; i < 2; i++) {
        if (places[i].hoff)
            byre_alloc_undo_locked(job->image, places[i].hoff, places[i].clusters);
    }
}

int byre_job_reserve(struct byre_snapshot_job *job, const uint64_t lengths[2], struct byre_place ret_places[2],
                     struct byre_error *err)
{
    struct byre_place places[2];
    int rc = 0;

    for (unsigned i = 0; i < 2; i++) {
        places[i] = byre_job_place(job, 0, lengths[i]);
        if (rc == 0 && places[i].clusters)
            rc = reserve_locked(job, &places[i], err);
    }
    if (rc == 0) {
        pthread_mutex_unlock(&job->image->mutex);
        rc = byre_image_settle(job->image, err);
        pthread_mutex_lock(&job->image->mutex);
    }
    if (rc == 0)
        rc = byre_free_room_locked(job->image, ARRAY_LEN(job->old), err);
    if (rc < 0) {
        byre_job_unreserve(job, places);
        return rc;
    }
    memcpy(ret_places, places, sizeof places);
    return 0;
}

/* --- the end --- */

int byre_job_poison(struct byre_snapshot_job *job, int rc)
{
    if (rc < 0)
        byre_poison_locked(job->image, rc);
    return rc;
}

void byre_job_set_dirty(struct byre_snapshot_job *job)
{
    struct byre_qcow2_header *header = &job->image->header;

    if (header->version < 3 || header->incompatible & BYRE_QCOW2_INCOMPAT_DIRTY)
        return;
    header->incompatible |= BYRE_QCOW2_INCOMPAT_DIRTY;
    job->dirty = true;
}

void byre_job_clear_dirty(struct byre_snapshot_job *job)
{
    if (job->dirty)
        job->image->header.incompatible &= ~BYRE_QCOW2_INCOMPAT_DIRTY;
    job->dirty = false;
}

/* Memory forgets what it knew of the file. */
static int renew_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_table l1;
    int rc = byre_table_init(&l1, image->l1.what, image->header.l1_hoff, image->header.l1_size, false, err);

    if (rc < 0)
        return rc;
    byre_table_done(&image->l1);
    image->l1 = l1;
    byre_slices_clear(&image->slices);
    byre_metadata_forget_locked(image);
    image->pack_hoff = 0; /* what is in that cluster is shared */
    return 0;
}

/* Where clusters are free now, and what may have been written there. */
static void note_freed_locked(struct byre_snapshot_job *job)
{
    for (size_t i = 0; i < job->freed.len; i++)
        byre_alloc_freed_locked(job->image, job->freed.ptr[i].cluster, job->freed.ptr[i].count);
    if (job->freed.len >= BYRE_SWEEP_FREED_MAX)
        byre_alloc_freed_locked(job->image, job->sweep->end - 1, 1);
}

int byre_job_finish(struct byre_snapshot_job *job, struct byre_error *err)
{
    struct byre_qcow2 *image = job->image;
    int rc = byre_job_poison(job, renew_locked(image, err));

    if (rc < 0)
        return rc;
    note_freed_locked(job);
    for (unsigned i = 0; i < ARRAY_LEN(job->old); i++) {
        if (job->old[i].clusters)
            byre_free_later_locked(image, byre_cluster_of(image, job->old[i].hoff), job->old[i].clusters, false);
    }
    /* Space that cannot be given back is no failure. */
    for (size_t i = 0; i < job->freed.len; i++)
        (void)byre_store_discard(image->data, job->freed.ptr[i].cluster << image->cluster_bits,
                                 job->freed.ptr[i].count << image->cluster_bits, NULL);
    pthread_mutex_unlock(&image->mutex);
    rc = byre_image_settle(image, err);
    pthread_mutex_lock(&image->mutex);
    /* The operation has succeeded: what could not be given back is leaked. */
    return image->poisoned ? rc : 0;
}
