/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Applying an internal snapshot: the disk becomes what it was.
 *
 *   Y1. The active L1 table in use is never written to: a new one takes its place, with the size of the disk, in one
 *       sector of the header.
 *   Y2. Before that, nothing that the new disk needs lacks a reference; what only the old one needed loses its own
 *       after that.  References that would come and go stay as they are, so that nothing is counted too often.
 *   Y3. Everything that the new disk has is the snapshot's too, so that no COPIED flag is set; those that are set in
 *       the snapshot's tables, where they say nothing, are cleared before the disk has these tables.
 * So nothing disagrees at any moment, and the dirty bit is not needed.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "qcow2/snapshot_job.h"

/* A bitmap tells what changed since some moment: everything may have. */
static int check_bitmaps(const struct byre_qcow2 *image, struct byre_error *err)
{
    if ((image->header.autoclear & BYRE_QCOW2_AUTOCLEAR_BITMAPS) &&
        byre_qcow2_header_find_extension(&image->header, BYRE_QCOW2_EXT_BITMAPS))
        return byre_error_set(err, -ENOTSUP, "Device has active dirty bitmaps");
    return 0;
}

/* What the snapshot's tables and the new L1 table need before the header leads there: all durable. */
static int prepare(struct byre_snapshot_job *job, const struct byre_place *place, struct byre_error *err)
{
    struct byre_qcow2 *image = job->image;
    struct byre_l1_copy fresh = { .bytes = job->other.bytes, .hoff = place->hoff, .count = job->other.count };
    int rc = byre_pass_clear_copied(&job->changes, err);

    if (rc == 0)
        rc = byre_job_sweep(job, byre_job_raise, err);
    for (uint32_t i = 0; i < fresh.count; i++)
        fresh.bytes[(size_t)i * 8] &= (uint8_t)~(BYRE_L2_COPIED >> 56);
    if (rc == 0 && fresh.count)
        rc = byre_store_pwrite(image->store, fresh.bytes, fresh.count * 8ULL, fresh.hoff, err);
    return rc < 0 ? rc : byre_barrier(image, err);
}

static int switch_disk(struct byre_snapshot_job *job, const struct byre_place *place, uint64_t size, uint32_t entries,
                       struct byre_error *err)
{
    struct byre_qcow2 *image = job->image;
    struct byre_qcow2_header header = image->header;
    int rc;

    header.l1_hoff = place->hoff;
    header.l1_size = entries;
    header.size = size;
    rc = byre_header_switch_disk_locked(image, &header, err);
    if (rc < 0)
        return rc;
    job->old[0] = byre_job_place(job, image->header.l1_hoff, image->header.l1_size * 8ULL);
    image->header = header; /* what it owns is the same */
    return 0;
}

static int change(struct byre_snapshot_job *job, const struct byre_place *place, uint64_t size, uint32_t entries,
                  struct byre_error *err)
{
    int rc = prepare(job, place, err);

    if (rc == 0)
        rc = switch_disk(job, place, size, entries, err);
    if (rc == 0)
        rc = byre_job_sweep(job, byre_job_lower, err);
    return rc < 0 ? rc : byre_barrier(job->image, err);
}

static int apply_locked(struct byre_snapshot_job *job, const struct byre_snapshot_selector *which,
                        struct byre_error *err)
{
    const struct byre_qcow2_snapshot *fixed;
    struct byre_place places[2];
    uint64_t lengths[2] = { 0, 0 };
    uint32_t entries;
    size_t index;
    int rc = byre_snapshot_select(&job->table, which, &index, err);

    if (rc == 0)
        rc = check_bitmaps(job->image, err);
    if (rc == 0)
        rc = byre_job_read_other(job, index, err);
    if (rc == 0)
        rc = byre_pass_add_l1(&job->changes, &job->other, 1, err);
    if (rc == 0)
        rc = byre_pass_add_l1(&job->changes, &job->active, -1, err);
    if (rc == 0)
        rc = byre_pass_add_l1(&job->kept, &job->other, 1, err);
    if (rc == 0)
        rc = byre_job_check(job, err);
    if (rc < 0)
        return rc;
    fixed = &job->table.entries.ptr[index].fixed;
    entries = (uint32_t)byre_qcow2_header_l1_needed(&job->image->header, fixed->disk_size);
    entries = MAX(MAX(entries, fixed->l1_size), UINT32_C(1));
    lengths[0] = entries * 8ULL;
    rc = byre_job_reserve(job, lengths, places, err);
    if (rc == 0)
        rc = byre_job_poison(job, change(job, &places[0], fixed->disk_size, entries, err));
    return rc < 0 ? rc : byre_job_finish(job, err);
}

int byre_qcow2_snapshot_apply(struct byre_qcow2 *image, const struct byre_snapshot_selector *which,
                              struct byre_error *err)
{
    struct byre_snapshot_job job;
    int rc = byre_job_begin(&job, image, err);

    if (rc == 0)
        rc = apply_locked(&job, which, err);
    return byre_job_end(&job, rc);
}
