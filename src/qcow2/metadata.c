/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which host clusters hold metadata: asked before a cluster is taken for free, written to as data, or freed.
 *
 * In a sound image the refcounts and the L2 entries never lead there.  In a damaged or a hostile one they do, and
 * the damage would grow with every write.
 *
 *   K1. Known from the first change on: header, encryption header, L1 table, refcount table, and all L2 tables and
 *       refcount blocks that the tables name, those that were made since included; the snapshot table, and the L1
 *       tables of all snapshots with the L2 tables that these name; the bitmaps with all that is theirs.
 *   K2. Where pieces of metadata lie on each other the image is not changed at all.
 *   K3. An L2 table that was copied is no metadata any more, unless a snapshot has it too; its refcount keeps it from
 *       being used until that is durable.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/bitmaps.h"
#include "qcow2/image.h"
#include "qcow2/snapshot_table.h"

#define CHUNK_BYTES     (64u << 10)  /* of an L1 table that is read */
#define SNAPSHOT_L1_MAX (4ULL << 30) /* bytes of all L1 tables of snapshots: a file with holes may have any number */

/* Host offsets of clusters, multiples of 512 and not 0 here, have room for the kind, below. */
enum {
    KIND_BITMAP = 0,
    KIND_L2 = BYRE_TALLY_UNIT,
    KIND_REFBLOCK = 2 * BYRE_TALLY_UNIT,
    KIND_SNAPSHOT = 3 * BYRE_TALLY_UNIT,
};

static const char l2_table[] = "L2 table", refblock[] = "refcount block", snapshots[] = "snapshot table",
                  snapshot_l1[] = "L1 table of a snapshot";

static bool overlaps(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
    return a < b + b_length && b < a + a_length;
}

/* Header, L1 table, refcount table or encryption header. */
static const char *fixed_at(const struct byre_qcow2 *image, uint64_t hoff, uint64_t length)
{
    if (hoff < image->cluster_size)
        return "header";
    if (image->l1.hoff && overlaps(hoff, length, image->l1.hoff, image->l1.entry_count * 8ULL))
        return image->l1.what;
    if (overlaps(hoff, length, image->reftable.hoff, image->reftable.entry_count * 8ULL))
        return image->reftable.what;
    if (image->crypt.length && overlaps(hoff, length, image->crypt.hoff, image->crypt.length))
        return "encryption header";
    return NULL;
}

const char *byre_metadata_at_locked(const struct byre_qcow2 *image, uint64_t hoff, uint64_t length)
{
    const char *what = fixed_at(image, hoff, length);

    for (uint64_t at = hoff; !what && at < hoff + length; at += image->cluster_size) {
        if (byre_tally_count(&image->metadata, at | KIND_L2))
            what = l2_table;
        else if (byre_tally_count(&image->metadata, at | KIND_REFBLOCK))
            what = refblock;
        else if (byre_tally_count(&image->metadata, at | KIND_SNAPSHOT))
            what = snapshots;
        else if (image->bitmaps && byre_tally_count(&image->metadata, at | KIND_BITMAP))
            what = "bitmap";
    }
    return what;
}

int byre_metadata_room_locked(struct byre_qcow2 *image, size_t extra, struct byre_error *err)
{
    if (byre_tally_reserve(&image->metadata, extra) < 0)
        return byre_error_set(err, -ENOMEM, "Could not allocate the list of metadata clusters");
    return 0;
}

/* What was mapped before as data may lie there: it is to be mapped again before it is written to. */
static void add(struct byre_qcow2 *image, uint64_t number)
{
    byre_tally_add(&image->metadata, number);
    atomic_fetch_add(&image->metadata_version, 1);
}

void byre_metadata_add_l2_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    add(image, hoff | KIND_L2);
}

void byre_metadata_drop_l2_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    byre_tally_remove(&image->metadata, hoff | KIND_L2);
}

unsigned byre_metadata_l2_count_locked(const struct byre_qcow2 *image, uint64_t hoff)
{
    return byre_tally_count(&image->metadata, hoff | KIND_L2);
}

void byre_metadata_add_refblock_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    add(image, hoff | KIND_REFBLOCK);
}

void byre_metadata_drop_refblock_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    byre_tally_remove(&image->metadata, hoff | KIND_REFBLOCK);
}

void byre_metadata_add_bitmap_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    add(image, hoff | KIND_BITMAP);
}

void byre_metadata_drop_bitmap_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    byre_tally_remove(&image->metadata, hoff | KIND_BITMAP);
}

void byre_metadata_note_bitmap_locked(struct byre_qcow2 *image, const char *what, uint64_t hoff)
{
    const char *other = byre_metadata_at_locked(image, hoff, image->cluster_size);

    if (other && !image->conflict.what)
        image->conflict = (struct byre_conflict){ what, other, hoff };
    byre_tally_add(&image->metadata, hoff | KIND_BITMAP);
}

unsigned byre_qcow2_metadata_version(struct byre_qcow2 *image)
{
    return atomic_load(&image->metadata_version);
}

/* Notes that `what` lies at `hoff`, and what else does.  An L2 table may be there twice: snapshots share it. */
static void note(struct byre_qcow2 *image, const char *what, uint64_t hoff)
{
    const char *other = fixed_at(image, hoff, image->cluster_size);

    if (!other && what == l2_table && byre_tally_count(&image->metadata, hoff | KIND_SNAPSHOT))
        other = snapshots;
    if (!other && what != l2_table)
        other = byre_metadata_at_locked(image, hoff, image->cluster_size);
    if (other && !image->conflict.what)
        image->conflict = (struct byre_conflict){ what, other, hoff };
    byre_tally_add(&image->metadata,
                   hoff | (what == l2_table ? KIND_L2 : what == refblock ? KIND_REFBLOCK : KIND_SNAPSHOT));
}

/* Notes all clusters of the snapshot table, or of a snapshot's L1 table. */
static int note_range(struct byre_qcow2 *image, const char *what, uint64_t hoff, uint64_t length,
                      struct byre_error *err)
{
    uint64_t end = byre_cluster_ceil(image, hoff + length);
    int rc = byre_metadata_room_locked(image, (end - hoff) >> image->cluster_bits, err);

    for (uint64_t at = hoff; rc == 0 && at < end && !image->conflict.what; at += image->cluster_size)
        note(image, what, at);
    return rc;
}

/* Notes the L2 tables that a part of a snapshot's L1 table names. */
static int note_entries(struct byre_qcow2 *image, const uint8_t *bytes, size_t count, struct byre_error *err)
{
    int rc = byre_metadata_room_locked(image, count, err);

    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint64_t entry = byre_get_be64(bytes + i * 8) & BYRE_L1_OFFSET_MASK;

        if (entry && !(entry & (image->cluster_size - 1)))
            note(image, l2_table, entry);
    }
    return rc;
}

static int learn_snapshot(struct byre_qcow2 *image, const struct byre_qcow2_snapshot *snapshot, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = malloc(CHUNK_BYTES);
    uint64_t length = snapshot->l1_size * 8ULL, part;
    int rc = bytes ? 0 : byre_error_set(err, -ENOMEM, "Could not allocate the list of metadata clusters");

    if (rc == 0)
        rc = note_range(image, snapshot_l1, snapshot->l1_hoff, length, err);
    for (uint64_t at = 0; rc == 0 && at < length && !image->conflict.what; at += part) {
        part = MIN(length - at, (uint64_t)CHUNK_BYTES);
        rc = byre_store_pread(image->store, bytes, part, snapshot->l1_hoff + at, err);
        if (rc == 0)
            rc = note_entries(image, bytes, part / 8, err);
    }
    return rc;
}

/* Each L1 table is read once: those that lie on each other are a conflict, which ends it. */
static int learn_snapshots(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_snapshot_table table;
    uint64_t size, total = 0;
    int rc = byre_store_size(image->store, &size, err);

    if (rc == 0)
        rc = byre_snapshot_table_read(image->store, &image->header, &table, err);
    if (rc < 0)
        return rc;
    if (table.bytes)
        rc = note_range(image, snapshots, image->header.snapshots_hoff, table.bytes, err);
    for (size_t i = 0; rc == 0 && i < table.entries.len && !image->conflict.what; i++) {
        rc = byre_snapshot_check_l1(&image->header, &table.entries.ptr[i], i, size, err);
        total += table.entries.ptr[i].fixed.l1_size * 8ULL;
        if (rc == 0 && total > SNAPSHOT_L1_MAX)
            rc = byre_error_set(err, -EFBIG, "'%s': the L1 tables of the snapshots up to snapshot table entry %zu have "
                                "more than %llu bytes", image->store->name, i, SNAPSHOT_L1_MAX);
        if (rc == 0)
            rc = learn_snapshot(image, &table.entries.ptr[i].fixed, err);
    }
    byre_snapshot_table_done(&table);
    return rc;
}

/* Goes through the entries of a table, apart from those that no cluster can be: notes what they point to, or with
 * `ret_count` only counts them. */
static int learn_table(struct byre_qcow2 *image, struct byre_table *table, uint64_t mask, const char *what,
                       size_t *ret_count, struct byre_error *err)
{
    for (uint32_t i = 0; i < table->entry_count; i++) {
        uint64_t entry;
        int rc;

        if (i % BYRE_TABLE_PAGE_ENTRIES == 0 && byre_table_page_blank(table, i)) {
            i += byre_table_page_length(table, i / BYRE_TABLE_PAGE_ENTRIES) - 1;
            continue;
        }
        rc = byre_table_get(table, image->store, i, &entry, err);
        if (rc < 0)
            return rc;
        entry &= mask;
        if (!entry || entry & (image->cluster_size - 1))
            continue;
        if (ret_count)
            ++*ret_count;
        else
            note(image, what, entry);
    }
    return 0;
}

int byre_metadata_learn_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    struct byre_table *l1 = &image->l1, *reftable = &image->reftable;
    size_t count = 0;
    int rc;

    if (image->metadata_known)
        return 0;
    rc = learn_table(image, l1, BYRE_L1_OFFSET_MASK, l2_table, &count, err);
    if (rc == 0)
        rc = learn_table(image, reftable, BYRE_REFTABLE_OFFSET_MASK, refblock, &count, err);
    if (rc == 0)
        rc = byre_metadata_room_locked(image, count, err);
    if (rc < 0)
        return rc;
    /* The tables are in memory now. */
    (void)learn_table(image, l1, BYRE_L1_OFFSET_MASK, l2_table, NULL, NULL);
    if (image->header.snapshot_count)
        rc = learn_snapshots(image, err);
    if (rc == 0)
        rc = byre_metadata_room_locked(image, count, err);
    if (rc < 0) {
        byre_metadata_forget_locked(image);
        return rc;
    }
    (void)learn_table(image, reftable, BYRE_REFTABLE_OFFSET_MASK, refblock, NULL, NULL);
    image->metadata_known = true;
    rc = byre_bitmaps_learn_locked(image, err);
    if (rc < 0) {
        byre_tally_done(&image->metadata);
        image->metadata = (struct byre_tally){ 0 };
        image->metadata_known = false;
    }
    return rc;
}

void byre_metadata_forget_locked(struct byre_qcow2 *image)
{
    byre_tally_done(&image->metadata);
    image->metadata_known = false;
    image->conflict = (struct byre_conflict){ .what = NULL };
    atomic_fetch_add(&image->metadata_version, 1);
}

int byre_metadata_check_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc = byre_metadata_learn_locked(image, err);

    if (rc < 0 || !image->conflict.what)
        return rc;
    return byre_corrupt_locked(image, err, "%s and %s lie at the same host offset %#" PRIx64, image->conflict.what,
                               image->conflict.other, image->conflict.hoff);
}
