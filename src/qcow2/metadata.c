/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which host clusters hold metadata: asked before a cluster is taken for free, written to as data, or freed.
 *
 * In a sound image the refcounts and the L2 entries never lead there.  In a damaged or a hostile one they do, and
 * the damage would grow with every write.
 *
 *   K1. Known from the first change on: header, encryption header, L1 table, refcount table, and all L2 tables and
 *       refcount blocks that the tables name, those that were made since included.
 *   K2. Where pieces of metadata lie on each other the image is not changed at all.
 *   K3. An L2 table that was copied is no metadata any more; its refcount keeps it from being used until that is
 *       durable.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>

#include "qcow2/image.h"

/* Host offsets of clusters, multiples of 512, have room for the kind, below. */
enum { KIND_L2 = BYRE_TALLY_UNIT, KIND_REFBLOCK = 2 * BYRE_TALLY_UNIT };

static const char l2_table[] = "L2 table", refblock[] = "refcount block";

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

void byre_metadata_add_refblock_locked(struct byre_qcow2 *image, uint64_t hoff)
{
    add(image, hoff | KIND_REFBLOCK);
}

unsigned byre_qcow2_metadata_version(struct byre_qcow2 *image)
{
    return atomic_load(&image->metadata_version);
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
    (void)learn_table(image, reftable, BYRE_REFTABLE_OFFSET_MASK, refblock, NULL, NULL);
    image->metadata_known = true;
    return 0;
}

int byre_metadata_check_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc = byre_metadata_learn_locked(image, err);

    if (rc < 0 || !image->conflict.what)
        return rc;
    return byre_corrupt_locked(image, err, "%s and %s lie at the same host offset %#" PRIx64, image->conflict.what,
                               image->conflict.other, image->conflict.hoff);
}
