/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commits: how metadata in memory becomes durable, in the order that a crash at any moment forgives.
 *
 * A commit freezes its images of all changed metadata under the lock, then writes them without it:
 *   A. what nothing durable points to yet (new L2 tables, a moved refcount table), and refcounts: barrier, one more
 *      on an external data file before it
 *   B. if there are new refcount blocks: the refcount table's entries, or the header's pointer to it: barrier
 *   C. L2 tables and L1 entries, which make everything reachable: barrier
 *
 * Invariants
 *   C1. One commit runs at a time.  It covers every change made before it froze; a caller may join a commit only
 *       while it has not yet frozen: that is, wait for the one after it.
 *   C2. Data was written before the entry that reveals it was changed in memory, so the barrier of A, which
 *       comes after the freeze, covers all data of the entries in C.
 *   C3. If the first writes of A fail, nothing has happened: everything is taken as changed again.  The same holds if
 *       there is no room for refcounts (in a file with holes): those that were written are true, or leaks.  Any
 *       other failure leaves live metadata in doubt, and poisons the image.
 * With lazy refcounts the dirty bit is durable before all this.  Refcounts are written in the same order all
 * the same: they cost no barrier, and an image that was not closed needs less repair.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/commit_list.h"
#include "qcow2/image.h"

#define DIRTY_BYTES_MAX    (8u << 20)
#define DEFERRED_BYTES_MAX (256u << 20)
#define BUDGETS_MAX        4 /* dirty metadata that commits which fail leave behind */
#define FREES_MAX          1000000 /* the same, runs of freed clusters */

typedef VEC(uint32_t) byre_page_vec;

struct commit {
    struct byre_commit_list unlinked;  /* A: new L2 tables, a moved refcount table */
    struct byre_commit_list refcounts; /* A: refcount blocks */
    struct byre_commit_list entries;   /* B: refcount table entries */
    struct byre_commit_list links;     /* C: linked L2 tables, L1 entries */
    bool header_switch;                /* B */
    struct byre_qcow2_header header;   /* fields for the switch; owns nothing */
    byre_offset_vec l2_tables;         /* what image->unlinked_l2 was */
    byre_page_vec l1_pages, reftable_pages;
};

static void commit_done(struct commit *commit)
{
    byre_commit_list_done(&commit->unlinked);
    byre_commit_list_done(&commit->refcounts);
    byre_commit_list_done(&commit->entries);
    byre_commit_list_done(&commit->links);
    vec_done(&commit->l2_tables);
    vec_done(&commit->l1_pages);
    vec_done(&commit->reftable_pages);
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Is the slice part of an L2 table that nothing durable points to? */
static bool is_unlinked(const struct byre_qcow2 *image, const struct byre_slice *slice)
{
    uint64_t table = byre_cluster_start(image, slice->hoff);

    return image->unlinked_l2.len &&
           bsearch(&table, image->unlinked_l2.ptr, image->unlinked_l2.len, sizeof table, compare_offsets);
}

/* What is written of a refcount block is mostly a part of it. */
static enum byre_event refblock_event(const struct byre_qcow2 *image)
{
    return image->slice_size < image->cluster_size ? BYRE_EVENT_REFBLOCK_UPDATE_PART : BYRE_EVENT_REFBLOCK_UPDATE;
}

/* Copies every dirty slice into the list where it belongs. */
static int copy_slices_locked(struct byre_qcow2 *image, struct commit *commit)
{
    int rc = 0;

    if (image->unlinked_l2.len)
        qsort(image->unlinked_l2.ptr, image->unlinked_l2.len, sizeof *image->unlinked_l2.ptr,
              compare_offsets);
    for (struct byre_slice *slice = image->slices.lru.lru_next; rc == 0 && slice != &image->slices.lru;
         slice = slice->lru_next) {
        struct byre_commit_list *list = &commit->links;
        enum byre_event event = BYRE_EVENT_L2_UPDATE;

        if (!slice->dirty)
            continue;
        if (slice->kind == BYRE_SLICE_REFBLOCK) {
            list = &commit->refcounts;
            event = refblock_event(image);
        } else if (is_unlinked(image, slice)) {
            list = &commit->unlinked;
            event = BYRE_EVENT_L2_ALLOC_WRITE;
        }
        rc = byre_commit_list_add(list, event, slice->hoff, slice->bytes, image->slices.slice_size);
    }
    return rc;
}

static int copy_page(const struct byre_table *table, uint32_t page, enum byre_event event,
                     struct byre_commit_list *list)
{
    uint32_t length = byre_table_page_length(table, page);
    uint64_t entries[BYRE_TABLE_PAGE_ENTRIES];

    for (uint32_t i = 0; i < length; i++)
        byre_put_be64(&entries[i], table->pages[page]->entries[i]);
    return byre_commit_list_add(list, event, table->hoff + (uint64_t)page * sizeof entries, entries,
                                length * sizeof *entries);
}

/* Copies the pages that changed, and notes which; `whole`: all that are in memory. */
static int copy_pages(const struct byre_table *table, bool whole, byre_page_vec *pages,
                      enum byre_event event, struct byre_commit_list *list)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < byre_table_page_count(table); i++) {
        const struct byre_table_page *page = table->pages[i];

        if (!page || !(whole || page->dirty))
            continue;
        rc = copy_page(table, i, event, list);
        if (rc == 0 && page->dirty)
            rc = vec_push(pages, i);
    }
    return rc;
}

static void clean_pages(struct byre_table *table, const byre_page_vec *pages)
{
    for (size_t i = 0; i < pages->len; i++)
        table->pages[pages->ptr[i]]->dirty = false;
    table->dirty_pages -= pages->len;
}

static void soil_pages(struct byre_table *table, const byre_page_vec *pages)
{
    for (size_t i = 0; i < pages->len; i++) {
        struct byre_table_page *page = table->pages[pages->ptr[i]];

        if (!page)
            continue;
        table->dirty_pages += !page->dirty;
        page->dirty = true;
    }
}

/* What was copied counts as clean from here on: cannot fail. */
static void take_over_locked(struct byre_qcow2 *image, struct commit *commit)
{
    for (struct byre_slice *slice = image->slices.lru.lru_next; slice != &image->slices.lru;
         slice = slice->lru_next) {
        slice->frozen = slice->dirty;
        slice->dirty = false;
    }
    image->slices.dirty_count = 0;
    clean_pages(&image->l1, &commit->l1_pages);
    clean_pages(&image->reftable, &commit->reftable_pages);
    commit->l2_tables = image->unlinked_l2;
    image->unlinked_l2 = (byre_offset_vec)VEC_INIT;
    commit->header_switch = image->reftable_moved;
    commit->header = image->header;
    image->reftable_moved = false;

    byre_free_vec empty = image->frees_committing;
    image->frees_committing = image->frees_pending;
    image->frees_pending = empty;
    image->clusters_pending = 0;
}

static int freeze_locked(struct byre_qcow2 *image, struct commit *commit, struct byre_error *err)
{
    bool moved = image->reftable_moved;
    int rc = vec_reserve(&image->frees_durable, image->frees_pending.len);

    if (rc == 0)
        rc = copy_slices_locked(image, commit);
    if (rc == 0)
        rc = copy_pages(&image->l1, false, &commit->l1_pages, BYRE_EVENT_L1_UPDATE, &commit->links);
    if (rc == 0)
        rc = copy_pages(&image->reftable, moved, &commit->reftable_pages,
                        moved ? BYRE_EVENT_REFBLOCK_ALLOC_WRITE_TABLE : BYRE_EVENT_REFTABLE_UPDATE,
                        moved ? &commit->unlinked : &commit->entries);
    if (rc < 0)
        return byre_error_set(err, rc, "Could not allocate a copy of the changed metadata");
    take_over_locked(image, commit);
    return 0;
}

/* The commit is durable. */
static void settle_locked(struct byre_qcow2 *image)
{
    for (struct byre_slice *slice = image->slices.lru.lru_next; slice != &image->slices.lru;
         slice = slice->lru_next)
        slice->frozen = false;
    for (size_t i = 0; i < image->frees_committing.len; i++)
        (void)vec_push(&image->frees_durable, image->frees_committing.ptr[i]);
    image->frees_committing.len = 0;
}

/* Nothing of the commit has happened: everything is to be done again.  -ENOMEM if that cannot be noted. */
static int take_back_locked(struct byre_qcow2 *image, const struct commit *commit)
{
    if (vec_reserve(&image->unlinked_l2, commit->l2_tables.len) < 0 ||
        vec_reserve(&image->frees_pending, image->frees_committing.len) < 0)
        return -ENOMEM;
    for (struct byre_slice *slice = image->slices.lru.lru_next; slice != &image->slices.lru;
         slice = slice->lru_next) {
        if (slice->frozen)
            byre_slices_mark_dirty(&image->slices, slice);
        slice->frozen = false;
    }
    soil_pages(&image->l1, &commit->l1_pages);
    soil_pages(&image->reftable, &commit->reftable_pages);
    for (size_t i = 0; i < commit->l2_tables.len; i++)
        (void)vec_push(&image->unlinked_l2, commit->l2_tables.ptr[i]);
    for (size_t i = 0; i < image->frees_committing.len; i++) {
        (void)vec_push(&image->frees_pending, image->frees_committing.ptr[i]);
        image->clusters_pending += image->frees_committing.ptr[i].count;
    }
    image->frees_committing.len = 0;
    image->reftable_moved |= commit->header_switch;
    return 0;
}

int byre_barrier(struct byre_qcow2 *image, struct byre_error *err)
{
    return image->sealed ? byre_store_flush(image->store, err) : 0;
}

/* *ret_harmless: on failure, whether nothing was touched that anything refers to. */
static int write_phases(struct byre_qcow2 *image, struct commit *commit, bool *ret_harmless,
                        struct byre_error *err)
{
    int rc;

    *ret_harmless = true;
    rc = byre_commit_list_write(&commit->unlinked, image->store, err);
    if (rc < 0)
        return rc;
    rc = byre_commit_list_write(&commit->refcounts, image->store, err);
    *ret_harmless = rc == -ENOSPC || rc == -EDQUOT;
    if (rc == 0 && image->sealed)
        rc = byre_external_flush(image, err);
    if (rc == 0)
        rc = byre_barrier(image, err);
    if (rc == 0 && (commit->header_switch || commit->entries.pieces.len)) {
        byre_store_event(image->store, commit->header_switch ? BYRE_EVENT_REFBLOCK_ALLOC_SWITCH_TABLE
                                                             : BYRE_EVENT_REFBLOCK_ALLOC_HOOKUP);
        rc = commit->header_switch ? byre_header_switch(image->store, &commit->header, image->sealed, err)
                                   : byre_commit_list_write(&commit->entries, image->store, err);
        if (rc == 0)
            rc = byre_barrier(image, err);
    }
    if (rc == 0 && commit->links.pieces.len) {
        rc = byre_commit_list_write(&commit->links, image->store, err);
        if (rc == 0)
            rc = byre_barrier(image, err);
    }
    return rc;
}

void byre_poison_locked(struct byre_qcow2 *image, int code)
{
    if (!image->poisoned)
        image->poisoned = code;
}

/* Runs a commit; the lock is given up while it writes. */
static int lead_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    struct commit commit = { 0 };
    bool harmless = false;
    uint64_t number;
    int rc = freeze_locked(image, &commit, err);

    if (rc == 0) {
        image->commit_running = true;
        number = ++image->commits_frozen;
        pthread_mutex_unlock(&image->mutex);
        rc = write_phases(image, &commit, &harmless, err);
        pthread_mutex_lock(&image->mutex);
        image->commit_running = false;
        if (rc == 0) {
            settle_locked(image);
            image->commits_done = number;
            byre_free_reap_locked(image);
        } else if (!harmless || take_back_locked(image, &commit) < 0) {
            byre_poison_locked(image, rc);
        }
        pthread_cond_broadcast(&image->commit_done);
    }
    commit_done(&commit);
    return rc;
}

static int poison_error(const struct byre_qcow2 *image, int code, struct byre_error *err)
{
    return byre_error_set_errno(err, code, "'%s': read-only since an earlier failure (%s)",
                                image->store->name, strerror(-image->poisoned));
}

/* Returns when a commit that had not frozen at the time of the call is durable. */
static int commit_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    uint64_t target = image->commits_frozen + 1;
    int rc = 0;

    while (rc == 0 && image->commits_done < target) {
        if (image->poisoned)
            return poison_error(image, image->poisoned, err);
        if (image->commit_running)
            pthread_cond_wait(&image->commit_done, &image->mutex);
        else
            rc = lead_locked(image, err);
    }
    return rc;
}

int byre_commit(struct byre_qcow2 *image, struct byre_error *err)
{
    byre_store_event(image->store, BYRE_EVENT_FLUSH_TO_OS);
    LOCK_SCOPE(&image->mutex);
    return commit_locked(image, err);
}

int byre_commit_if_due(struct byre_qcow2 *image, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);
    const struct byre_slices *slices = &image->slices;
    uint64_t budget = MIN((uint64_t)DIRTY_BYTES_MAX, (uint64_t)slices->max_count * slices->slice_size / 2);
    uint64_t dirty = (uint64_t)slices->dirty_count * slices->slice_size;
    uint64_t deferred = image->clusters_pending << image->cluster_bits;
    int rc;

    if (dirty <= budget && deferred <= DEFERRED_BYTES_MAX)
        return 0;
    /* The commit under way will not take these, but the next writer starts one that does. */
    if (image->commit_running && slices->dirty_count < slices->max_count)
        return 0;
    rc = commit_locked(image, err);
    return image->poisoned || dirty > BUDGETS_MAX * budget || image->frees_pending.len > FREES_MAX ? rc : 0;
}

bool byre_qcow2_make_room(struct byre_qcow2 *image, int rc)
{
    if (rc != -ENOSPC)
        return false;
    LOCK_SCOPE(&image->mutex);
    image->append_only = false;
    if (!image->frees_pending.len && !image->frees_committing.len && !image->frees_durable.len)
        return true; /* another thread may have made room in the meantime */
    if (commit_locked(image, NULL) < 0)
        return false;
    byre_free_await_locked(image);
    return true;
}

int byre_qcow2_check_writable(struct byre_qcow2 *image, struct byre_error *err)
{
    if (!image->writable)
        return byre_error_set(err, -EROFS, "'%s' was opened read-only", image->store->name);
    if (image->corrupt)
        return byre_error_set(err, -EROFS, "'%s': read-only since it was found to be corrupt: %s", image->store->name,
                              image->corruption);
    return image->poisoned ? poison_error(image, -EROFS, err) : 0;
}

int byre_qcow2_flush(struct byre_qcow2 *image, struct byre_error *err)
{
    return image->writable ? byre_commit(image, err) : 0;
}

int byre_check_writable_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc = byre_qcow2_check_writable(image, err);

    if (rc == 0)
        rc = byre_metadata_check_locked(image, err);
    if (rc < 0 || !image->lazy || image->dirty_bit_durable)
        return rc;
    image->header.incompatible |= BYRE_QCOW2_INCOMPAT_DIRTY;
    rc = byre_header_settle_locked(image, err);
    image->dirty_bit_durable = rc == 0;
    return rc;
}
