/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Getting rid of zero entries: see zero_entries.h.
 *
 *   1. all tables are read: which entries say zero, which clusters do they hold?            nothing is changed
 *   2. where layers below would show through, clusters of zeros are written and counted       settled
 *   3. the tables are changed in place                                                        barrier
 *   4. references of the clusters that zero entries held are dropped, and where one is left COPIED is set; barriers
 *
 * Invariants
 *   Z1. The new entry of each sector reads as the old one did, whether the crash comes before it is there or after.
 *   Z2. A cluster of zeros is shared by all entries that need one, up to what a refcount holds: each L1 entry that
 *       leads to a table counts its entries once.  Who writes there copies it first: it has no COPIED flag.
 *   Z3. What zero entries held is never written to, and loses its references when no entry leads there (D2).
 * Tables are visited once each, however many snapshots share them.  Version 3 is marked dirty during 3 and 4.
 */
#include "config.h"

#include "qcow2/zero_entries.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"

/* Clusters in a row that zero entries hold, each with so many references. */
struct held_run {
    uint64_t cluster, count;
    int32_t times;
};

/* A cluster of zeros, and how many references it gets. */
struct zero_cluster {
    uint64_t hoff, count;
};

struct zero_job {
    struct byre_snapshot_job *job;
    const struct byre_amend_progress *progress;
    bool clearing;      /* bit 0 means nothing, and is to go */
    bool shows_through; /* entries without a cluster show what is below */
    bool writing;       /* step 3 */
    VEC(struct held_run) held;
    VEC(struct zero_cluster) zeros;
    size_t next;        /* step 3: the one of `zeros` in use */
    uint64_t given;     /* references to that */
    uint64_t found;     /* entries */
    uint64_t done;      /* tables, both times */
};

static int no_memory(struct byre_error *err)
{
    return byre_error_set_errno(err, -ENOMEM, "zero clusters");
}

/* --- entries --- */

static int hold(struct zero_job *zero, uint64_t hoff, int32_t times, struct byre_error *err)
{
    struct byre_qcow2 *image = zero->job->image;
    uint64_t cluster = byre_cluster_of(image, hoff);
    struct held_run *last = zero->held.len ? &zero->held.ptr[zero->held.len - 1] : NULL;

    if (hoff & (image->cluster_size - 1) || cluster >= zero->job->sweep->end)
        return byre_corrupt_locked(image, err, "Preallocated zero cluster offset %#" PRIx64 " unaligned or without a "
                                   "refcount", hoff);
    if (last && last->times == times && last->cluster + last->count == cluster) {
        last->count++;
        return 0;
    }
    return vec_push(&zero->held, (struct held_run){ cluster, 1, times }) < 0 ? no_memory(err) : 0;
}

/* The cluster of zeros that takes `times` more references: its place in `zeros`, in both passes the same. */
static int pick_zeros(struct zero_job *zero, int32_t times, uint64_t *ret_word, struct byre_error *err)
{
    struct zero_cluster *at;

    if (!zero->zeros.len || (zero->given + (uint64_t)times > UINT16_MAX && !zero->writing)) {
        if (vec_push(&zero->zeros, (struct zero_cluster){ 0, 0 }) < 0)
            return no_memory(err);
        zero->given = 0;
    }
    if (!zero->writing) {
        zero->given += (uint64_t)times;
        zero->zeros.ptr[zero->zeros.len - 1].count = zero->given;
        return 0;
    }
    if (zero->given + (uint64_t)times > zero->zeros.ptr[zero->next].count) {
        zero->next++;
        zero->given = 0;
    }
    zero->given += (uint64_t)times;
    at = &zero->zeros.ptr[zero->next];
    *ret_word = at->hoff | (at->count == 1 ? BYRE_L2_COPIED : 0);
    return 0;
}

/* What the entry becomes: it says zero. */
static int replace_entry(struct zero_job *zero, uint64_t *word, int32_t times, struct byre_error *err)
{
    uint64_t hoff = byre_l2_offset(*word);
    int rc = 0;

    zero->found++;
    if (zero->clearing) {
        *word &= ~BYRE_L2_ZERO;
        return 0;
    }
    if (hoff && !zero->writing)
        rc = hold(zero, hoff, times, err);
    *word = 0;
    return rc == 0 && zero->shows_through ? pick_zeros(zero, times, word, err) : rc;
}

static int visit_table(struct zero_job *zero, const struct byre_pass_table *table, struct byre_error *err)
{
    struct byre_qcow2 *image = zero->job->image;
    uint8_t *bytes = zero->job->changes.buf;
    bool changed = false;
    int rc = byre_store_pread(image->store, bytes, image->cluster_size, table->hoff, err);

    for (size_t at = 0; rc == 0 && at < image->cluster_size; at += 8) {
        uint64_t word = byre_get_be64(bytes + at);

        if (!(word & BYRE_L2_ZERO) || word & BYRE_L2_COMPRESSED)
            continue;
        rc = replace_entry(zero, &word, table->times, err);
        byre_put_be64(bytes + at, word);
        changed = true;
    }
    if (rc < 0 || !changed || !zero->writing)
        return rc;
    byre_store_event(image->store, BYRE_EVENT_L2_UPDATE);
    return byre_store_pwrite(image->store, bytes, image->cluster_size, table->hoff, err);
}

static int visit_all(struct zero_job *zero, struct byre_error *err)
{
    const struct byre_pass *pass = &zero->job->changes;
    int rc = 0;

    zero->given = 0;
    for (size_t i = 0; i < pass->tables.len && rc == 0; i++) {
        if (zero->progress->report)
            zero->progress->report(zero->progress->opaque, zero->done, 2 * pass->tables.len);
        zero->done++;
        rc = visit_table(zero, &pass->tables.ptr[i], err);
    }
    return rc;
}

/* The L2 tables of the disk and of all snapshots, each with the number of L1 entries that lead there. */
static int list_tables(struct byre_snapshot_job *job, struct byre_error *err)
{
    int rc = byre_pass_add_l1(&job->changes, &job->active, 1, err);

    if (rc == 0)
        rc = byre_pass_add_l1(&job->kept, &job->active, 1, err);
    for (size_t i = 0; i < job->table.entries.len && rc == 0; i++) {
        byre_l1_copy_done(&job->other);
        job->other = (struct byre_l1_copy){ .bytes = NULL };
        rc = byre_job_read_other(job, i, err);
        if (rc == 0)
            rc = byre_pass_add_l1(&job->changes, &job->other, 1, err);
    }
    if (rc < 0)
        return rc;
    byre_pass_merge(&job->changes);
    byre_pass_merge(&job->kept);
    return byre_pass_check_tables(&job->changes, err);
}

/* --- clusters of zeros --- */

static int make_zeros(struct zero_job *zero, struct zero_cluster *cluster, const uint8_t *bytes, struct byre_error *err)
{
    struct byre_qcow2 *image = zero->job->image;
    struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = image->cluster_size };
    uint64_t hoff;
    int rc = byre_alloc_exact_locked(image, 1, &hoff, err);

    if (rc < 0)
        return rc;
    cluster->hoff = hoff;
    rc = byre_data_writev(image, &iov, 1, hoff, err);
    for (uint64_t i = 1; i < cluster->count && rc == 0; i++)
        rc = byre_refcount_change_locked(image, byre_cluster_of(image, hoff), 1, 1, err);
    return rc;
}

/* Nothing points to them. */
static void drop_zeros(struct zero_job *zero)
{
    struct byre_qcow2 *image = zero->job->image;

    for (size_t i = 0; i < zero->zeros.len && zero->zeros.ptr[i].hoff; i++) {
        uint64_t cluster = byre_cluster_of(image, zero->zeros.ptr[i].hoff), count = 0;

        if (byre_refcount_read_locked(image, cluster, &count, NULL) < 0)
            continue;
        while (count-- > 1)
            (void)byre_refcount_change_locked(image, cluster, 1, -1, NULL);
        byre_alloc_undo_locked(image, zero->zeros.ptr[i].hoff, 1);
    }
}

static int prepare_zeros(struct zero_job *zero, struct byre_error *err)
{
    struct byre_qcow2 *image = zero->job->image;
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    int rc = 0;

    if (!zero->zeros.len)
        return 0;
    bytes = aligned_alloc(MAX(image->cluster_size, 4096u), MAX(image->cluster_size, 4096u));
    if (!bytes)
        return no_memory(err);
    memset(bytes, 0, image->cluster_size);
    for (size_t i = 0; i < zero->zeros.len && rc == 0; i++)
        rc = make_zeros(zero, &zero->zeros.ptr[i], bytes, err);
    if (rc == 0) {
        pthread_mutex_unlock(&image->mutex);
        rc = byre_image_settle(image, err);
        pthread_mutex_lock(&image->mutex);
    }
    if (rc < 0)
        drop_zeros(zero);
    return rc;
}

/* --- what zero entries held --- */

/* Adds what is in the sweep's window. */
static int add_held(struct zero_job *zero, struct byre_error *err)
{
    struct byre_sweep *sweep = zero->job->sweep;

    for (size_t i = 0; i < zero->held.len; i++) {
        const struct held_run *run = &zero->held.ptr[i];

        for (uint64_t k = 0; k < run->count; k++) {
            if (!byre_sweep_add(sweep, run->cluster + k, -run->times))
                return byre_corrupt_locked(zero->job->image, err, "Preallocated zero cluster at %#" PRIx64
                                           " is metadata, too", (run->cluster + k) << zero->job->image->cluster_bits);
        }
    }
    return 0;
}

static int each_window(struct zero_job *zero, int (*step)(struct zero_job *zero, struct byre_error *err),
                       struct byre_error *err)
{
    bool more = true;
    int rc = byre_sweep_restart(zero->job->sweep, err);

    while (rc == 0 && more) {
        rc = add_held(zero, err);
        if (rc == 0)
            rc = step(zero, err);
        if (rc == 0)
            rc = byre_sweep_next(zero->job->sweep, &more, err);
    }
    return rc;
}

static int check_step(struct zero_job *zero, struct byre_error *err)
{
    bool some;

    return byre_sweep_check(zero->job->sweep, &some, err);
}

static int lower_step(struct zero_job *zero, struct byre_error *err)
{
    return byre_sweep_lower(zero->job->sweep, &zero->job->freed, &zero->job->some_last, err);
}

static int copied_step(struct zero_job *zero, struct byre_error *err)
{
    bool some = false;
    int rc = byre_sweep_mark_last(zero->job->sweep, &some, err);

    return rc == 0 && some ? byre_pass_set_copied(&zero->job->kept, zero->job->sweep, err) : rc;
}

/* --- all of it --- */

/* From here on live metadata is changed. */
static int change_tables(struct zero_job *zero, struct byre_error *err)
{
    struct byre_qcow2 *image = zero->job->image;
    int rc = 0;

    byre_job_set_dirty(zero->job);
    if (zero->job->dirty)
        rc = byre_header_settle_locked(image, err);
    zero->writing = true;
    if (rc == 0)
        rc = visit_all(zero, err);
    if (rc == 0)
        rc = byre_barrier(image, err);
    if (rc == 0 && zero->held.len) {
        rc = each_window(zero, lower_step, err);
        if (rc == 0)
            rc = byre_barrier(image, err);
        if (rc == 0)
            rc = each_window(zero, copied_step, err);
        if (rc == 0)
            rc = byre_barrier(image, err);
    }
    if (rc < 0 || !zero->job->dirty)
        return rc;
    byre_job_clear_dirty(zero->job);
    return byre_header_settle_locked(image, err);
}

static int run(struct zero_job *zero, struct byre_error *err)
{
    int rc = list_tables(zero->job, err);

    if (rc == 0)
        rc = visit_all(zero, err);
    if (rc == 0 && zero->held.len)
        rc = each_window(zero, check_step, err);
    if (rc == 0)
        rc = prepare_zeros(zero, err);
    if (rc == 0 && zero->found)
        rc = byre_job_poison(zero->job, change_tables(zero, err));
    vec_done(&zero->held);
    vec_done(&zero->zeros);
    return rc;
}

int byre_zero_entries_replace(struct byre_snapshot_job *job, const struct byre_amend_progress *progress,
                              struct byre_error *err)
{
    struct byre_qcow2 *image = job->image;

    return run(&(struct zero_job){ .job = job, .progress = progress,
                                   .shows_through = image->header.backing_name || image->below.read }, err);
}

int byre_zero_entries_clear(struct byre_snapshot_job *job, const struct byre_amend_progress *progress,
                            struct byre_error *err)
{
    return run(&(struct zero_job){ .job = job, .progress = progress, .clearing = true }, err);
}
