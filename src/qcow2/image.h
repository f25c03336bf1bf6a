/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of an open image, shared by the engine's files.
 *
 * Locks, in the order in which they are taken:
 *   1. `ranges`: guest clusters that somebody changes or is about to change
 *   2. `mutex`: all metadata; every field below it.  Held over metadata I/O, never over data I/O, and given
 *      up by a commit while it writes.
 *
 * Life of a host cluster: free (refcount 0, in no list) -> reserved (refcount raised in memory, nothing points to it)
 * -> linked (an entry points to it) -> unlinked (in `frees_pending`, its refcount unchanged) -> after the commit
 * that made the removal durable in `frees_durable` -> after the epochs of its last readers free again.
 */
#ifndef BYRE_QCOW2_IMAGE_H
#define BYRE_QCOW2_IMAGE_H

#include <pthread.h>

#include "base/epoch.h"
#include "base/rangelock.h"
#include "qcow2/fmt_header.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/fmt_refcount.h"
#include "qcow2/qcow2.h"
#include "qcow2/slices.h"
#include "qcow2/table.h"

/* `count` host clusters from `cluster` on lose one reference each. */
struct byre_free_run {
    uint64_t cluster, count;
    uint64_t epoch; /* of the removal */
};

typedef VEC(struct byre_free_run) byre_free_vec;
typedef VEC(uint64_t) byre_offset_vec;

struct byre_codec_slot; /* an idle decompressor */

struct byre_qcow2 {
    /* Fixed while the image is open. */
    struct byre_store *store;
    struct byre_qcow2_below below;
    unsigned cluster_bits;
    uint32_t cluster_size;
    unsigned l2_bits;         /* log2 of the entries in an L2 table */
    unsigned refblock_bits;   /* log2 of the entries in a refcount block */
    uint32_t slice_size;      /* bytes of metadata cached as one: a table or a part of it */
    uint64_t store_limit;     /* host offset that no allocation may cross */
    bool writable;
    bool lazy;                /* refcounts may lag behind: the dirty bit protects them */

    struct byre_epoch epoch;
    struct byre_range_lock ranges;

    pthread_mutex_t mutex;
    struct byre_qcow2_header header;
    struct byre_table l1;
    struct byre_table reftable;
    struct byre_slices slices;
    int poisoned;             /* 0, or the error that made the image read-only */

    /* allocation */
    uint64_t next_free;       /* no cluster below this index is known to be free */
    uint64_t used_end;        /* bytes of the store from here on were never written by us nor before */
    uint64_t pack_hoff;       /* where the next compressed cluster may continue; 0: in a new cluster */
    bool append_only;
    byre_free_vec frees_pending, frees_committing, frees_durable;
    uint64_t free_clusters_pending;

    /* what the next commit has to know beyond dirty slices and table pages */
    byre_offset_vec unlinked_l2; /* L2 tables whose L1 entry is not yet durable */
    bool blocks_added;           /* the refcount table has entries that are not durable */
    bool reftable_moved;         /* the header still points to another refcount table */
    bool dirty_bit_durable;      /* the header on the medium says dirty */
    bool sealed;                 /* the header has its magic */

    pthread_cond_t commit_done;
    bool commit_running;
    uint64_t commits_frozen;     /* how many commits have frozen their images */
    uint64_t commits_done;

    pthread_mutex_t codec_mutex;
    VEC(struct byre_codec *) idle_codecs; /* under codec_mutex */
};

static inline uint64_t byre_cluster_of(const struct byre_qcow2 *image, uint64_t offset)
{
    return offset >> image->cluster_bits;
}

static inline uint64_t byre_cluster_start(const struct byre_qcow2 *image, uint64_t offset)
{
    return offset & ~(uint64_t)(image->cluster_size - 1);
}

static inline uint64_t byre_cluster_ceil(const struct byre_qcow2 *image, uint64_t offset)
{
    return (offset + image->cluster_size - 1) & ~(uint64_t)(image->cluster_size - 1);
}

/* L2 slices: see l2.c.  All with the mutex held. */

/* Where the L2 table for guest offset `goff` is: 0 if there is none.  `ret_copied` may be NULL. */
int byre_l2_table_locked(struct byre_qcow2 *image, uint64_t goff, uint64_t *ret_hoff, bool *ret_copied,
                         struct byre_error *err);
/* The slice with the entry for `goff`, and the entry's index in it; NULL slice if there is no table.  A slice
 * stays valid until the next call that may load one. */
int byre_l2_slice_locked(struct byre_qcow2 *image, uint64_t goff, struct byre_slice **ret_slice,
                         unsigned *ret_index, struct byre_error *err);
/* As above, and makes sure that the table exists and is this image's alone. */
int byre_l2_slice_for_write_locked(struct byre_qcow2 *image, uint64_t goff, struct byre_slice **ret_slice,
                                   unsigned *ret_index, struct byre_error *err);
/* How many entries a slice has. */
static inline unsigned byre_l2_slice_entries(const struct byre_qcow2 *image)
{
    return image->slice_size / 8;
}
/* Checks an entry against the format: -EIO names what is wrong. */
int byre_l2_entry_check(const struct byre_qcow2 *image, uint64_t entry, uint64_t goff, struct byre_error *err);

/* Refcounts: see refcount.c.  All with the mutex held. */

int byre_refcount_read_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t *ret_count,
                              struct byre_error *err);
/* Adds 1 (or -1) to each of `count` clusters; undone on failure. */
int byre_refcount_change_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t count, int delta,
                                struct byre_error *err);
/* Makes sure that the refcount block of `cluster` exists. */
int byre_refblock_ensure_locked(struct byre_qcow2 *image, uint64_t cluster, struct byre_error *err);
/* Whether the refcount block of `cluster` exists. */
int byre_refblock_exists_locked(struct byre_qcow2 *image, uint64_t cluster, bool *ret_exists,
                                struct byre_error *err);

/* Allocation: see alloc.c.  All with the mutex held. */

/* Reserves a run of 1 to `want` clusters.  `ret_fresh` (may be NULL): the store reads as zero there. */
int byre_alloc_run_locked(struct byre_qcow2 *image, uint64_t want, uint64_t *ret_hoff, uint64_t *ret_got,
                          bool *ret_fresh, struct byre_error *err);
/* Reserves exactly `count` consecutive clusters. */
int byre_alloc_exact_locked(struct byre_qcow2 *image, uint64_t count, uint64_t *ret_hoff, struct byre_error *err);
/* Gives back clusters that nothing ever pointed to. */
void byre_alloc_undo_locked(struct byre_qcow2 *image, uint64_t hoff, uint64_t count);
/* Places `length` bytes of compressed data, packed behind the last ones where possible. */
int byre_alloc_bytes_locked(struct byre_qcow2 *image, uint32_t length, uint64_t *ret_hoff,
                            struct byre_error *err);
/* Takes back what byre_alloc_bytes_locked placed. */
void byre_alloc_bytes_undo_locked(struct byre_qcow2 *image, uint64_t hoff, uint32_t length);
/* Makes room so that `extra` calls of byre_free_later_locked cannot fail. */
int byre_free_room_locked(struct byre_qcow2 *image, size_t extra, struct byre_error *err);
/* What `entry` pointed to loses its reference once its removal is durable. */
void byre_free_entry_later_locked(struct byre_qcow2 *image, uint64_t entry);
void byre_free_later_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t count);
/* Lowers the refcounts of what no request can reach any more. */
void byre_free_reap_locked(struct byre_qcow2 *image);
/* Fills a new metadata cluster with zeros on the medium, so that it has its space. */
int byre_alloc_zero_fill(struct byre_qcow2 *image, uint64_t hoff, uint64_t length, struct byre_error *err);

/* Commit: see commit.c. */

/* -EROFS with the reason unless the image may be changed. */
int byre_check_writable_locked(struct byre_qcow2 *image, struct byre_error *err);
/* Starts a commit if the dirty metadata or the deferred frees are over their budgets. */
int byre_commit_if_due(struct byre_qcow2 *image, struct byre_error *err);
/* Makes the image read-only for good because of `code`. */
void byre_poison_locked(struct byre_qcow2 *image, int code);
/* Rewrites sector 0 with the header's present switchable fields. */
int byre_header_sector_write(struct byre_qcow2 *image, const struct byre_qcow2_header *header, bool magic,
                             struct byre_error *err);

/* Old contents: what guests read at [goff, goff+length) now, for copy-on-write.  The range is locked. */
int byre_read_old(struct byre_qcow2 *image, uint64_t goff, void *buf, size_t length, bool *ret_all_zero,
                  struct byre_error *err);

/* Preallocates the whole disk: see prealloc.c. */
int byre_qcow2_preallocate(struct byre_qcow2 *image, enum byre_preallocation mode, struct byre_error *err);

#endif
