/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding and reserving free host clusters.
 *
 * Invariants
 *   A1. A reserved cluster has its refcount raised in memory, so that nobody else finds it.
 *   A2. No cluster below `next_free` is free.
 *   A3. Bytes from `used_end` and from `freed_end` on were written by nobody, neither now nor before the image was
 *       opened.  (A truncated image may map clusters past the end of its file, which are written and then freed.)
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/arith.h"
#include "qcow2/image.h"

#define ZEROS_BYTES (64u << 10)

int byre_alloc_check_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t count,
                            struct byre_error *err)
{
    const char *what =
        byre_metadata_at_locked(image, cluster << image->cluster_bits, count << image->cluster_bits);

    if (!what)
        return 0;
    return byre_refcount_missing_locked(image, cluster, what, err);
}

int byre_alloc_zero_fill(struct byre_qcow2 *image, uint64_t hoff, uint64_t length, struct byre_error *err)
{
    static const uint8_t zeros[ZEROS_BYTES];

    /* A short write is cheaper than a call that changes the file's extents. */
    if (length <= sizeof zeros)
        return byre_store_pwrite(image->store, zeros, length, hoff, err);
    return byre_store_write_zeroes(image->store, hoff, length, 0, err);
}

/* A search for free clusters: what it has found so far. */
struct search {
    uint64_t want;
    bool exact; /* all of them in one piece */
    uint64_t first, got;
};

/* Looks at the counts from `at` on, up to the end of the slice; true when the search is over. */
static bool search_slice(const struct byre_qcow2 *image, struct search *search,
                         const struct byre_slice *slice, size_t index, uint64_t at)
{
    size_t entries = byre_refcount_slice_entries(image);

    for (; index < entries && search->got < search->want; index++, at++) {
        if (byre_refcount_get(slice->bytes, index, image->header.refcount_order) == 0) {
            if (search->got++ == 0)
                search->first = at;
        } else if (search->got && !search->exact) {
            return true;
        } else {
            search->got = 0;
        }
    }
    return search->got == search->want;
}

/* Finds free clusters from `at` on, adding refcount blocks where there are none. */
static int search_locked(struct byre_qcow2 *image, uint64_t at, struct search *search, struct byre_error *err)
{
    size_t entries = byre_refcount_slice_entries(image);
    uint64_t limit = byre_cluster_of(image, image->store_limit);

    while (at < limit) {
        struct byre_slice *slice = NULL;
        size_t index;
        int rc = byre_refcount_slice_locked(image, at, &slice, &index, err);

        if (rc < 0)
            return rc;
        if (!slice) {
            if (search->got && !search->exact)
                return 0;
            search->got = 0;
            rc = byre_refblock_add_locked(image, at, err);
            if (rc < 0)
                return rc;
        } else if (search_slice(image, search, slice, index, at)) {
            break;
        } else {
            at += entries - index;
        }
    }
    /* The store may end within what was found. */
    if (search->got && search->first + search->got > limit)
        search->got = limit > search->first && !search->exact ? limit - search->first : 0;
    if (search->got == 0 || (search->exact && search->got < search->want))
        return byre_error_set_errno(err, -ENOSPC, "'%s': no free clusters below offset %" PRIu64,
                                    image->store->name, image->store_limit);
    return 0;
}

static int alloc_locked(struct byre_qcow2 *image, struct search *search, bool *ret_fresh,
                        struct byre_error *err)
{
    uint64_t *cursor = image->append_only ? &image->next_append : &image->next_free;
    uint64_t hoff;
    int rc;

    byre_store_event(image->store, BYRE_EVENT_CLUSTER_ALLOC);
    rc = search_locked(image, *cursor, search, err);
    if (rc == 0)
        rc = byre_alloc_check_locked(image, search->first, search->got, err);
    if (rc == 0)
        rc = byre_refcount_change_locked(image, search->first, search->got, 1, err);
    if (rc < 0)
        return rc;
    if (image->append_only || !search->exact)
        *cursor = search->first + search->got;
    hoff = search->first << image->cluster_bits;
    if (ret_fresh)
        *ret_fresh = hoff >= MAX(image->used_end, image->freed_end) && image->data->growable &&
                     image->data->limits.zero_on_grow;
    image->used_end = MAX(image->used_end, hoff + (search->got << image->cluster_bits));
    return 0;
}

int byre_alloc_run_locked(struct byre_qcow2 *image, uint64_t want, uint64_t *ret_hoff, uint64_t *ret_got,
                          bool *ret_fresh, struct byre_error *err)
{
    struct search search = { .want = want };
    int rc = alloc_locked(image, &search, ret_fresh, err);

    if (rc == 0) {
        *ret_hoff = search.first << image->cluster_bits;
        *ret_got = search.got;
    }
    return rc;
}

int byre_alloc_exact_locked(struct byre_qcow2 *image, uint64_t count, uint64_t *ret_hoff,
                            struct byre_error *err)
{
    struct search search = { .want = count, .exact = true };
    int rc;

    /* A range that gets a refcount block has all of its clusters but one left. */
    if (count < 1ULL << image->refblock_bits)
        rc = alloc_locked(image, &search, NULL, err);
    else
        rc = byre_refblock_reserve_run_locked(image, count, &search.first, err);
    if (rc == 0)
        *ret_hoff = search.first << image->cluster_bits;
    return rc;
}

void byre_alloc_freed_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t count)
{
    uint64_t packing = byre_cluster_of(image, image->pack_hoff);

    image->next_free = MIN(image->next_free, cluster);
    image->freed_end = MAX(image->freed_end, (cluster + count) << image->cluster_bits);
    if (image->pack_hoff && packing >= cluster && packing - cluster < count)
        image->pack_hoff = 0;
}

void byre_alloc_undo_locked(struct byre_qcow2 *image, uint64_t hoff, uint64_t count)
{
    uint64_t cluster = byre_cluster_of(image, hoff);

    /* Should this fail, the clusters are leaked: nothing refers to them. */
    if (byre_refcount_change_locked(image, cluster, count, -1, NULL) == 0)
        byre_alloc_freed_locked(image, cluster, count);
}
