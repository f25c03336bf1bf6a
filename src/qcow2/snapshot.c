/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making and deleting internal snapshots, and finding them.
 *
 *   I1. Create: what is shared from then on has no COPIED flag, durably, before references are raised; the references,
 *       the copy of the L1 table and the new snapshot table are durable before the header names that table.
 *   I2. Delete: the header names a table without the snapshot, durably, before references are lowered; these are
 *       durable before COPIED is set where one reference is left.
 *   I3. Where counts and COPIED may disagree meanwhile the dirty bit is set, in version 3.
 *   I4. A snapshot table is never changed where it stands; nobody's extra data is lost.
 */
#include "config.h"

#include "qcow2/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/snapshot_job.h"

/* --- finding --- */

int byre_snapshot_select(const struct byre_snapshot_table *table, const struct byre_snapshot_selector *which,
                         size_t *ret_index, struct byre_error *err)
{
    long index = -1;

    if (which->any)
        index = byre_snapshot_find_any(table, which->any);
    else if (which->id || which->name)
        index = byre_snapshot_find(table, which->id, which->name);
    if (index < 0)
        return byre_error_set(err, -ENOENT, "snapshot not found");
    *ret_index = (size_t)index;
    return 0;
}

int byre_qcow2_snapshot_size(struct byre_qcow2 *image, const struct byre_snapshot_selector *which,
                             uint64_t *ret_size, struct byre_error *err)
{
    struct byre_snapshot_table table;
    size_t index;
    int rc = byre_snapshot_table_read(image->store, &image->header, &table, err);

    if (rc < 0)
        return rc;
    rc = byre_snapshot_select(&table, which, &index, err);
    if (rc == 0)
        *ret_size = table.entries.ptr[index].fixed.disk_size;
    byre_snapshot_table_done(&table);
    return rc;
}

/* --- the table --- */

/* Writes the encoded table to its place, which holds zeros. */
static int write_table(struct byre_snapshot_job *job, const struct byre_place *place, const uint8_t *bytes,
                       uint64_t length, struct byre_error *err)
{
    return length ? byre_store_pwrite(job->image->store, bytes, length, place->hoff, err) : 0;
}

/* The header names the table at its place, from the next time on that it is written. */
static void name_table(struct byre_snapshot_job *job, const struct byre_place *place)
{
    struct byre_qcow2_header *header = &job->image->header;

    if (job->table.bytes)
        job->old[0] = byre_job_place(job, header->snapshots_hoff, job->table.bytes);
    header->snapshot_count = (uint32_t)job->table.entries.len;
    header->snapshots_hoff = place->hoff;
}

/* --- create --- */

static int check_new(const struct byre_snapshot_job *job, const char *name, struct byre_error *err)
{
    if (job->image->external)
        return byre_error_set(err, -ENOTSUP, "'%s': no snapshots go with an external data file",
                              job->image->store->name);
    if (strlen(name) > UINT16_MAX)
        return byre_error_set(err, -EINVAL, "the name of a snapshot has at most %u bytes", UINT16_MAX);
    if (job->table.entries.len >= BYRE_QCOW2_SNAPSHOTS_MAX)
        return byre_error_set(err, -EFBIG, "'%s' has %u snapshots, and cannot have more", job->image->store->name,
                              BYRE_QCOW2_SNAPSHOTS_MAX);
    return 0;
}

/* Adds an entry, whose L1 table has no place yet. */
static int add_entry(struct byre_snapshot_job *job, const struct byre_snapshot_create_options *options, const char *id,
                     struct byre_error *err)
{
    const struct byre_qcow2_header *header = &job->image->header;
    struct byre_snapshot_entry entry = { .id = strdup(id), .name = strdup(options->name) };
    struct timespec now = { 0, 0 };

    clock_gettime(CLOCK_REALTIME, &now);
    entry.fixed = (struct byre_qcow2_snapshot){
        .l1_size = header->l1_size,
        .id_length = (uint16_t)strlen(id),
        .name_length = (uint16_t)strlen(options->name),
        .date_sec = (uint32_t)now.tv_sec,
        .date_nsec = (uint32_t)now.tv_nsec,
        .vm_clock_nsec = options->vm_clock_nsec,
        .vm_state_size = options->vm_state_size,
        .disk_size = header->size,
        .icount = options->icount,
        .extra_length = BYRE_QCOW2_SNAPSHOT_EXTRA,
    };
    if (!entry.id || !entry.name || vec_push(&job->table.entries, entry) < 0) {
        byre_snapshot_entry_done(&entry);
        return byre_error_set(err, -ENOMEM, "Could not allocate an entry of the snapshot table");
    }
    return 0;
}

/* What nothing points to yet: the copy of the L1 table, whose flags were cleared, and the table. */
static int write_new(struct byre_snapshot_job *job, const struct byre_place places[2], const uint8_t *bytes,
                     uint64_t length, struct byre_error *err)
{
    int rc = 0;

    if (job->active.count)
        rc = byre_store_pwrite(job->image->store, job->active.bytes, job->active.count * 8ULL, places[0].hoff, err);
    return rc < 0 ? rc : write_table(job, &places[1], bytes, length, err);
}

/* From here on live metadata is changed. */
static int make_shared(struct byre_snapshot_job *job, const struct byre_place places[2], const uint8_t *bytes,
                       uint64_t length, struct byre_error *err)
{
    struct byre_qcow2 *image = job->image;
    int rc = 0;

    byre_job_set_dirty(job);
    if (job->dirty)
        rc = byre_header_settle_locked(image, err);
    if (rc == 0)
        rc = byre_pass_clear_copied(&job->changes, err);
    if (rc == 0)
        rc = byre_l1_clear_copied(image, &job->active, err);
    if (rc == 0)
        rc = byre_barrier(image, err);
    if (rc == 0)
        rc = byre_job_sweep(job, byre_job_raise, err);
    if (rc == 0)
        rc = write_new(job, places, bytes, length, err);
    if (rc == 0)
        rc = byre_barrier(image, err);
    if (rc < 0)
        return rc;
    name_table(job, &places[1]);
    byre_job_clear_dirty(job); /* in the same sector */
    return byre_header_settle_locked(image, err);
}

static int create_locked(struct byre_snapshot_job *job, const struct byre_snapshot_create_options *options,
                         char id[21], struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    struct byre_place places[2];
    uint64_t lengths[2] = { job->image->header.l1_size * 8ULL, 0 };
    struct byre_snapshot_entry *entry;
    int rc = check_new(job, options->name, err);

    if (rc == 0)
        rc = byre_pass_add_l1(&job->changes, &job->active, 1, err);
    if (rc == 0)
        rc = byre_job_check(job, err);
    if (rc < 0)
        return rc;
    byre_snapshot_new_id(&job->table, id);
    rc = add_entry(job, options, id, err);
    if (rc == 0)
        rc = byre_snapshot_table_encode(&job->table, &bytes, &lengths[1], err);
    if (rc == 0)
        rc = byre_job_reserve(job, lengths, places, err);
    if (rc < 0)
        return rc;
    /* Now its place is known. */
    entry = &job->table.entries.ptr[job->table.entries.len - 1];
    entry->fixed.l1_hoff = places[0].hoff;
    free(STEAL(bytes));
    rc = byre_snapshot_table_encode(&job->table, &bytes, &lengths[1], err);
    if (rc < 0) {
        byre_job_unreserve(job, places);
        return rc;
    }
    rc = byre_job_poison(job, make_shared(job, places, bytes, lengths[1], err));
    return rc < 0 ? rc : byre_job_finish(job, err);
}

int byre_qcow2_snapshot_create(struct byre_qcow2 *image, const struct byre_snapshot_create_options *options,
                               char ret_id[21], struct byre_error *err)
{
    struct byre_snapshot_job job;
    char id[21];
    int rc = byre_job_begin(&job, image, err);

    if (rc == 0)
        rc = create_locked(&job, options, id, err);
    if (rc == 0 && ret_id)
        memcpy(ret_id, id, sizeof id);
    return byre_job_end(&job, rc);
}

/* --- delete --- */

/* Sets COPIED where the window's changes have left one reference. */
static int set_copied(struct byre_snapshot_job *job, struct byre_error *err)
{
    bool some = job->some_last;
    int rc = job->many_windows ? byre_sweep_mark_last(job->sweep, &some, err) : 0;

    if (rc == 0 && some)
        rc = byre_pass_set_copied(&job->kept, job->sweep, err);
    if (rc == 0 && some)
        rc = byre_l1_set_copied(job->image, &job->active, job->sweep, err);
    return rc;
}

/* Nothing points to the new table yet; from here on live metadata is changed. */
static int make_unshared(struct byre_snapshot_job *job, const struct byre_place *place, struct byre_error *err)
{
    struct byre_qcow2 *image = job->image;
    int rc;

    name_table(job, place);
    byre_job_set_dirty(job); /* in the same sector */
    rc = byre_header_settle_locked(image, err);
    if (rc == 0)
        rc = byre_job_sweep(job, byre_job_lower, err);
    if (rc == 0)
        rc = byre_barrier(image, err);
    if (rc == 0)
        rc = byre_job_sweep(job, set_copied, err);
    if (rc == 0)
        rc = byre_barrier(image, err);
    if (rc < 0 || !job->dirty)
        return rc;
    byre_job_clear_dirty(job);
    return byre_header_settle_locked(image, err);
}

static void remove_entry(struct byre_snapshot_job *job, size_t index)
{
    struct byre_snapshot_entry *entries = job->table.entries.ptr;

    job->old[1] = byre_job_place(job, entries[index].fixed.l1_hoff, entries[index].fixed.l1_size * 8ULL);
    byre_snapshot_entry_done(&entries[index]);
    job->table.entries.len--;
    memmove(&entries[index], &entries[index + 1], (job->table.entries.len - index) * sizeof *entries);
}

static int delete_locked(struct byre_snapshot_job *job, const struct byre_snapshot_selector *which,
                         struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    struct byre_place places[2];
    uint64_t lengths[2] = { 0, 0 };
    size_t index;
    int rc = byre_snapshot_select(&job->table, which, &index, err);

    if (rc == 0)
        rc = byre_job_read_other(job, index, err);
    if (rc == 0)
        rc = byre_pass_add_l1(&job->changes, &job->other, -1, err);
    if (rc == 0)
        rc = byre_pass_add_l1(&job->kept, &job->active, 1, err);
    if (rc == 0)
        rc = byre_job_check(job, err);
    if (rc < 0)
        return rc;
    remove_entry(job, index);
    rc = byre_snapshot_table_encode(&job->table, &bytes, &lengths[1], err);
    if (rc == 0)
        rc = byre_job_reserve(job, lengths, places, err);
    if (rc < 0)
        return rc;
    rc = write_table(job, &places[1], bytes, lengths[1], err);
    if (rc < 0) {
        byre_job_unreserve(job, places);
        return rc;
    }
    rc = byre_job_poison(job, byre_barrier(job->image, err));
    if (rc == 0)
        rc = byre_job_poison(job, make_unshared(job, &places[1], err));
    return rc < 0 ? rc : byre_job_finish(job, err);
}

int byre_qcow2_snapshot_delete(struct byre_qcow2 *image, const struct byre_snapshot_selector *which,
                               struct byre_error *err)
{
    struct byre_snapshot_job job;
    int rc = byre_job_begin(&job, image, err);

    if (rc == 0)
        rc = delete_locked(&job, which, err);
    return byre_job_end(&job, rc);
}
