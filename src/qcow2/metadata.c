/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which host clusters hold metadata: asked before a cluster is taken for free, written to as data, or freed.
 *
 * In a sound image the refcounts and the L2 entries never lead there.  In a damaged or a hostile one they do, and
 * the damage would grow with every write.
 *
 *   K1. Known from the first change on: header, L1 table, refcount table, and all L2 tables and refcount blocks that
 *       the tables name, those that were made since included.
 *   K2. Where pieces of metadata lie on each other the image is not changed at all.
 *   K3. An L2 table that was copied is no metadata any more; its refcount keeps it from being used until that is
 *       durable.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "qcow2/image.h"

/* Host offsets of clusters have room for the kind, below. */
enum { KIND_L2 = 1, KIND_REFBLOCK = 2 };

static const char l2_table[] = "L2 table", refblock[] = "refcount block";

static bool overlaps(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
    return a < b + b_length && b < a + a_length;
}

/* Header, L1 table or refcount table. */
static const char *fixed_at(const struct byre_qcow2 *image, uint64_t hoff, uint64_t length)
{
    if (hoff < image->cluster_size)
        return "header";
    if (image->l1.hoff && overlaps(hoff, length, image->l1.hoff, image->l1.entry_count * 8ULL))
        return image->l1.what;
    if (overlaps(hoff, length, image->reftable.hoff, image->reftable.entry_count * 8ULL))
        return image->reftable.what;
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
    }
    return what;
}

int byre_metadata_room_locked(struct byre_qcow2 *image, size_t extra, struct byre_error *err)
{
    if (byre_tally_reserve(&image->metadata, extra) < 0)
        return byre_error_set(err, -ENOMEM, "Could not allocate the list of metadata clusters");
    return 0;
}

void byre_metadata_add_l2_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    byre_tally_add(&image->metadata, hoff | KIND_L2);
}

void byre_metadata_drop_l2_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    byre_tally_remove(&image->metadata, hoff | KIND_L2);
}

void byre_metadata_add_refblock_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    byre_tally_add(&image->metadata, hoff | KIND_REFBLOCK);
}

/* Notes that `what` lies at `hoff`, and what else does.  An L2 table may be there twice: snapshots share it. */
static void note(struct byre_qcow2 *image, const char *what, uint64_t hoff)
{
    const char *other = fixed_at(image, hoff, image->cluster_size);

    if (!other && what == refblock)
        other = byre_metadata_at_locked(image, hoff, image->cluster_size);
    if (other && !image->conflict.what)
        image->conflict = (struct byre_conflict){ what, other, hoff };
    byre_tally_add(&image->metadata, hoff | (what == refblock ? KIND_REFBLOCK : KIND_L2));
}

/* Notes what the entries of a table point to, apart from what no cluster can be. */
static int learn_table(struct byre_qcow2 *image, struct byre_table *table, uint64_t mask, const char *what,
                       struct byre_error *err)
{
    for (uint32_t i = 0; i < table->entry_count; i++) {
        uint64_t entry;
        int rc;

        if (i % BYRE_TABLE_PAGE_ENTRIES == 0 && byre_table_page_blank(table, i)) {
            i += byre_table_page_length(table, i / BYRE_TABLE_PAGE_ENTRIES) - 1;
            continue;
        }
        rc = byre_table_get(table, image->store, i, &entry, err);
        entry &= mask;
        if (rc == 0 && entry && !(entry & (image->cluster_size - 1))) {
            rc = byre_metadata_room_locked(image, 1, err);
            if (rc == 0)
                note(image, what, entry);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

int byre_metadata_learn_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc;

    if (image->metadata_known)
        return 0;
    rc = learn_table(image, &image->l1, BYRE_L1_OFFSET_MASK, l2_table, err);
    if (rc == 0)
        rc = learn_table(image, &image->reftable, BYRE_REFTABLE_OFFSET_MASK, refblock, err);
    if (rc < 0)
        byre_tally_done(&image->metadata);
    image->metadata_known = rc == 0;
    return rc;
}

int byre_metadata_check_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc = byre_metadata_learn_locked(image, err);

    if (rc < 0 || !image->conflict.what)
        return rc;
    return byre_corrupt_locked(image, err, "%s and %s lie at the same host offset %#" PRIx64, image->conflict.what,
                               image->conflict.other, image->conflict.hoff);
}
