/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From version 2 to 3 and back: see amend.h.
 *
 *   V1. The header is switched last, in a way that a crash leaves the old or the new one (header_replace.c): until then
 *       the image is one of the old version, whose disk and snapshots hold what they held.
 *   V2. Version 3 wants sizes in the snapshot table: a table that has them takes the place of the old one with the same
 *       switch.  Bit 0 of L2 entries, which version 2 ignores, is cleared before it gets a meaning.
 *   V3. Version 2 cannot say zero: see zero_entries.c.  Once entries were replaced in the file, memory forgets what it
 *       knew of them, also where the header cannot be switched.  (Bit 0, cleared or not, is the same to version 2.)
 */
#include "config.h"

#include "qcow2/amend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/header_replace.h"
#include "qcow2/snapshot_job.h"
#include "qcow2/zero_entries.h"

#define SIZES_LENGTH 16u /* of the extra data of a snapshot: the sizes of VM state and disk */
#define FEATURE_NAMES_CLUSTER_BITS 13 /* smaller header clusters have no room to spare */

/* The header as `next` says, which is released, and with the table of snapshots that memory knows. */
static int switch_version(struct byre_qcow2 *image, struct byre_qcow2_header *next, struct byre_error *err)
{
    struct byre_qcow2_header *header = &image->header;
    int rc = byre_header_replace_all_locked(image, next, err);

    if (rc == 0) {
        header->version = next->version;
        header->header_length = next->header_length;
        header->incompatible = next->incompatible;
        header->compatible = next->compatible;
        header->compression = next->compression;
        memcpy(header->reserved, next->reserved, sizeof header->reserved);
        if (!next->unknown_fields)
            free(STEAL(header->unknown_fields));
        header->snapshots_hoff = next->snapshots_hoff;
        image->lazy = image->lazy && header->version >= 3;
        image->dirty_bit_durable = false;
        byre_header_take_variant(header, next);
    }
    byre_header_variant_done(next);
    return rc;
}

/* --- to version 3 --- */

/* Gives each snapshot the sizes that it lacks; *ret_some: one did. */
static int add_sizes(struct byre_snapshot_table *table, bool *ret_some, struct byre_error *err)
{
    bool some = false;

    for (size_t i = 0; i < table->entries.len; i++) {
        struct byre_snapshot_entry *entry = &table->entries.ptr[i];
        uint8_t *extra;

        if (entry->fixed.extra_length >= SIZES_LENGTH)
            continue;
        extra = calloc(1, SIZES_LENGTH);
        if (!extra)
            return byre_error_set(err, -ENOMEM, "Could not allocate an entry of the snapshot table");
        if (entry->extra)
            memcpy(extra, entry->extra, entry->fixed.extra_length);
        free(entry->extra);
        entry->extra = extra;
        entry->fixed.extra_length = SIZES_LENGTH;
        some = true;
    }
    *ret_some = some;
    return 0;
}

/* Writes the table to a place of its own, durably, if it has to be another one. */
static int write_table(struct byre_snapshot_job *job, struct byre_place places[2], struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    uint64_t lengths[2] = { 0, 0 };
    bool some = false;
    int rc = add_sizes(&job->table, &some, err);

    if (rc < 0 || !some)
        return rc;
    rc = byre_snapshot_table_encode(&job->table, &bytes, &lengths[1], err);
    if (rc == 0)
        rc = byre_job_reserve(job, lengths, places, err);
    if (rc < 0)
        return rc;
    rc = byre_store_pwrite(job->image->store, bytes, lengths[1], places[1].hoff, err);
    if (rc == 0)
        rc = byre_barrier(job->image, err);
    if (rc < 0)
        byre_job_unreserve(job, places);
    return rc;
}

static int switch_to_3(struct byre_snapshot_job *job, const struct byre_place *table, struct byre_error *err)
{
    struct byre_qcow2 *image = job->image;
    struct byre_qcow2_header next;
    int rc = byre_header_variant(&image->header, BYRE_QCOW2_EXT_FEATURE_NAMES, NULL, 0, &next, err);

    if (rc < 0)
        return rc;
    next.version = 3;
    next.header_length = 112; /* up to the compression type and its padding */
    if (table->hoff)
        next.snapshots_hoff = table->hoff;
    if (image->cluster_bits >= FEATURE_NAMES_CLUSTER_BITS && byre_qcow2_header_add_feature_names(&next) < 0) {
        byre_header_variant_done(&next);
        return byre_error_set_errno(err, -ENOMEM, "header extensions");
    }
    return switch_version(image, &next, err);
}

static int upgrade_locked(struct byre_snapshot_job *job, const struct byre_amend_progress *progress,
                          struct byre_error *err)
{
    struct byre_place places[2] = { { 0, 0 }, { 0, 0 } };
    struct byre_place old = byre_job_place(job, job->image->header.snapshots_hoff, job->table.bytes);
    int rc = byre_zero_entries_clear(job, progress, err);

    if (rc == 0)
        rc = write_table(job, places, err);
    if (rc < 0)
        return rc;
    rc = switch_to_3(job, &places[1], err);
    if (rc < 0) {
        byre_job_unreserve(job, places);
        return rc;
    }
    if (places[1].hoff)
        job->old[0] = old;
    return byre_job_finish(job, err);
}

int byre_qcow2_upgrade(struct byre_qcow2 *image, const struct byre_amend_progress *progress, struct byre_error *err)
{
    struct byre_snapshot_job job;
    int rc;

    if (image->header.version >= 3)
        return 0;
    rc = byre_job_begin(&job, image, err);
    if (rc == 0)
        rc = upgrade_locked(&job, progress, err);
    return byre_job_end(&job, rc);
}

/* --- to version 2 --- */

static int check_snapshots(const struct byre_snapshot_table *table, uint64_t size, struct byre_error *err)
{
    for (size_t i = 0; i < table->entries.len; i++) {
        const struct byre_qcow2_snapshot *fixed = &table->entries.ptr[i].fixed;

        if (fixed->disk_size != size || fixed->vm_state_size > UINT32_MAX)
            return byre_error_set(err, -ENOTSUP, "Internal snapshots prevent downgrade of image");
    }
    return 0;
}

int byre_qcow2_check_downgrade(struct byre_qcow2 *image, unsigned refcount_order, uint64_t size,
                               struct byre_error *err)
{
    const struct byre_qcow2_header *header = &image->header;
    uint64_t features = header->incompatible & ~BYRE_QCOW2_INCOMPAT_DIRTY;
    struct byre_snapshot_table table;
    int rc;

    if (refcount_order != 4)
        return byre_error_set(err, -ENOTSUP, "compat=0.10 requires refcount_bits=16");
    if (features & BYRE_QCOW2_INCOMPAT_DATA_FILE)
        return byre_error_set(err, -ENOTSUP, "Cannot downgrade an image with a data file");
    if (features)
        return byre_error_set(err, -ENOTSUP, "Cannot downgrade an image with incompatible features %#llx set",
                              (unsigned long long)features);
    if (byre_qcow2_header_find_extension(header, BYRE_QCOW2_EXT_BITMAPS))
        return byre_error_set(err, -ENOTSUP, "Cannot downgrade an image with bitmaps");
    rc = byre_snapshot_table_read(image->store, header, &table, err);
    if (rc < 0)
        return rc;
    rc = check_snapshots(&table, size, err);
    byre_snapshot_table_done(&table);
    return rc;
}

static int switch_to_2(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_qcow2_header next;
    int rc = byre_header_variant(&image->header, BYRE_QCOW2_EXT_FEATURE_NAMES, NULL, 0, &next, err);

    if (rc < 0)
        return rc;
    next.version = 2;
    next.header_length = BYRE_QCOW2_V2_HEADER_LENGTH;
    next.incompatible = next.compatible = next.autoclear = 0;
    memset(next.reserved, 0, sizeof next.reserved);
    next.unknown_fields = NULL; /* they are the image's */
    return switch_version(image, &next, err);
}

static int downgrade_locked(struct byre_snapshot_job *job, const struct byre_amend_progress *progress,
                            struct byre_error *err)
{
    int finished, rc = byre_zero_entries_replace(job, progress, err);

    if (rc < 0)
        return rc; /* nothing was changed, or the image is poisoned */
    rc = switch_to_2(job->image, err);
    if (rc < 0 && job->image->poisoned)
        return rc;
    finished = byre_job_finish(job, rc < 0 ? NULL : err);
    return rc < 0 ? rc : finished;
}

int byre_qcow2_downgrade(struct byre_qcow2 *image, const struct byre_amend_progress *progress, struct byre_error *err)
{
    struct byre_snapshot_job job;
    int rc;

    if (image->header.version < 3)
        return 0;
    rc = byre_qcow2_check_downgrade(image, image->header.refcount_order, image->header.size, err);
    if (rc < 0)
        return rc;
    rc = byre_job_begin(&job, image, err);
    if (rc == 0)
        rc = downgrade_locked(&job, progress, err);
    return byre_job_end(&job, rc);
}
