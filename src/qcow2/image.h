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
#include "base/tally.h"
#include "qcow2/crypt.h"
#include "qcow2/fmt_header.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/fmt_refcount.h"
#include "qcow2/qcow2.h"
#include "qcow2/slices.h"
#include "qcow2/table.h"
#include "store/event.h"

/* `count` host clusters from `cluster` on lose one reference each. */
struct byre_free_run {
    uint64_t cluster, count;
    uint64_t epoch; /* of the removal */
    bool discard;   /* the space may be given back */
    bool table;     /* an L2 table, which may still be that of a snapshot */
};

typedef VEC(struct byre_free_run) byre_free_vec;
typedef VEC(uint64_t) byre_offset_vec;

struct byre_bitmaps;
struct byre_codec;

/* Two pieces of metadata at the same place. */
struct byre_conflict {
    const char *what, *other; /* NULL: there is none */
    uint64_t hoff;
};

struct byre_qcow2 {
    /* Fixed while the image is open. */
    struct byre_store *store; /* the metadata, and the compressed clusters */
    struct byre_store *data;  /* the plain clusters: the same store, that of a data file, or what stands on one of
                                 these (crypt.h) */
    struct byre_image_crypt crypt;
    bool external;            /* there is a data file: see external.c; so is the next */
    bool data_raw;            /* it reads as the disk does */
    struct byre_qcow2_below below;
    unsigned cluster_bits;
    uint32_t cluster_size;
    bool extended_l2;         /* L2 entries have 16 bytes, and tell of 32 subclusters */
    unsigned subcluster_bits; /* without, a cluster is one subcluster: see subclusters.h */
    unsigned l2_bits;         /* log2 of the entries in an L2 table */
    unsigned refblock_bits;   /* log2 of the entries in a refcount block */
    uint32_t slice_size;      /* bytes of metadata cached as one: a table or a part of it */
    uint64_t store_limit;     /* host offset that no allocation may cross */
    bool writable;
    uint64_t sweep_cells;     /* of a window of a sweep (refcount_sweep.h), at most; 0: as many as usual */
    bool lazy;                /* refcounts may lag behind: the dirty bit protects them */
    bool keeps_discarded;     /* clusters that are discarded, or zeroed, keep their places */

    struct byre_epoch epoch;
    struct byre_range_lock ranges;

    pthread_mutex_t mutex;
    struct byre_qcow2_header header;
    struct byre_table l1;
    struct byre_table reftable;
    struct byre_slices slices;
    struct byre_tally metadata; /* see metadata.c */
    bool metadata_known;
    bool metadata_missed;     /* a look-up has tried to learn it in vain: the next change tries again */
    _Atomic unsigned metadata_version; /* changes whenever clusters become metadata */
    struct byre_conflict conflict;
    _Atomic int poisoned;     /* 0, or the error that made the image read-only; changed under the mutex */
    char corruption[256];     /* the first thing that was found to be wrong, or empty: see corrupt.c */
    _Atomic bool corrupt;     /* read-only because of it; `corruption` does not change any more */

    struct byre_bitmaps *bitmaps; /* see bitmaps.h; owned; NULL: not read */
    _Atomic int bitmaps_tracking; /* enum byre_bitmaps_tracking */

    /* allocation */
    uint64_t next_free;       /* no cluster below this index is free */
    uint64_t next_append;     /* append_only: where to look instead */
    uint64_t used_end;        /* bytes of the store from here on were never allocated by us, nor there before */
    uint64_t freed_end;       /* no cluster from here on was ever freed by us */
    uint64_t pack_hoff;       /* where the next compressed cluster may continue; 0: in a new cluster */
    bool append_only;         /* until there is no more room at the end */
    uint64_t opened_end;      /* what used_end was when the image was opened */
    byre_free_vec frees_pending, frees_committing, frees_durable;
    uint64_t clusters_pending; /* in frees_pending */

    /* what the next commit has to know beyond dirty slices and table pages */
    byre_offset_vec unlinked_l2; /* L2 tables whose L1 entry is not yet durable */
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

/* What an entry refers to; with an external data file the cluster at offset 0 is told from none by COPIED. */
static inline enum byre_l2_place byre_entry_place(const struct byre_qcow2 *image, struct byre_l2_entry entry)
{
    enum byre_l2_place place = byre_l2_place(entry);

    return place == BYRE_PLACE_NONE && image->external && (entry.word & BYRE_L2_COPIED) ? BYRE_PLACE_CLUSTER : place;
}

/* L2 slices: see l2.c.  All with the mutex held. */

/* The first host byte of the L2 table for `goff`: 0 if there is none.  `ret_copied` may be NULL. */
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
    return image->slice_size >> byre_l2_entry_bits(image->extended_l2);
}
/* The entry of that index: nobody else reads or changes the bytes of an L2 slice. */
static inline struct byre_l2_entry byre_l2_get(const struct byre_qcow2 *image, const struct byre_slice *slice,
                                               unsigned index)
{
    return byre_l2_entry_load(slice->bytes + ((size_t)index << byre_l2_entry_bits(image->extended_l2)),
                              image->extended_l2);
}
static inline void byre_l2_put(struct byre_qcow2 *image, struct byre_slice *slice, unsigned index,
                               struct byre_l2_entry entry)
{
    byre_l2_entry_store(slice->bytes + ((size_t)index << byre_l2_entry_bits(image->extended_l2)),
                        image->extended_l2, entry);
    byre_slices_mark_dirty(&image->slices, slice);
}
/* The end of the guest range that the slice with `goff` maps. */
static inline uint64_t byre_l2_slice_end(const struct byre_qcow2 *image, uint64_t goff)
{
    uint64_t span = (uint64_t)byre_l2_slice_entries(image) << image->cluster_bits;

    return (goff / span + 1) * span;
}
/* Checks an entry against the format: -EIO names what is wrong. */
int byre_l2_entry_check_locked(struct byre_qcow2 *image, struct byre_l2_entry entry, uint64_t goff,
                               struct byre_error *err);
/* As above, before what it points to is written to or freed: -EIO if metadata lies there, too. */
int byre_l2_entry_check_change_locked(struct byre_qcow2 *image, struct byre_l2_entry entry, uint64_t goff,
                                      struct byre_error *err);

/* Mapping: see map.c. */

/* Describes what `entry`, which was checked, says of its cluster from `goff` on, a subcluster's start: as far as its
 * subclusters are alike. */
struct byre_extent byre_l2_extent(const struct byre_qcow2 *image, struct byre_l2_entry entry, uint64_t goff);
/* Tells the disk above that the `count` clusters from `goff` on now have the entry `entry`, each of them a cluster
 * further on in the store if it has a place there.  Their subclusters are alike. */
void byre_remapped_locked(struct byre_qcow2 *image, uint64_t goff, uint64_t count, struct byre_l2_entry entry);

/* Refcounts: see refcount.c.  All with the mutex held. */

/* A cluster without a refcount block has the count 0. */
int byre_refcount_read_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t *ret_count,
                              struct byre_error *err);
/* -EIO, and the image is corrupt: `cluster` has no reference, although `what` lies there. */
int byre_refcount_missing_locked(struct byre_qcow2 *image, uint64_t cluster, const char *what,
                                 struct byre_error *err);
/* -EIO unless each cluster of [hoff, hoff+length) has a reference; `what` lies there. */
int byre_refcount_check_locked(struct byre_qcow2 *image, uint64_t hoff, uint64_t length, const char *what,
                               struct byre_error *err);
/* Adds 1 (or -1) to each of `count` clusters; undone on failure.  Their refcount blocks exist, or -EIO. */
int byre_refcount_change_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t count, int delta,
                                struct byre_error *err);
/* The slice with the count of `cluster`, and its index there; NULL if there is no refcount block. */
int byre_refcount_slice_locked(struct byre_qcow2 *image, uint64_t cluster, struct byre_slice **ret_slice,
                               size_t *ret_index, struct byre_error *err);
/* How many counts a slice has. */
static inline size_t byre_refcount_slice_entries(const struct byre_qcow2 *image)
{
    return (size_t)image->slice_size * 8 >> image->header.refcount_order;
}

/* The refcount table: see reftable.c.  With the mutex held. */

/*
 * Makes a refcount block for the range of `cluster`, which has none, out of `cluster` itself; or grows the
 * table if it does not reach as far, and makes no block then.  Either way the caller has to look again.
 */
int byre_refblock_add_locked(struct byre_qcow2 *image, uint64_t cluster, struct byre_error *err);

/* Reserves `count` clusters in a row where there are no refcount blocks yet, and makes those that are needed.  For
 * runs too long for the clusters of one block; `count` is not 0. */
int byre_refblock_reserve_run_locked(struct byre_qcow2 *image, uint64_t count, uint64_t *ret_cluster,
                                     struct byre_error *err);

/* Allocation: see alloc.c.  All with the mutex held. */

/* Reserves a run of 1 to `want` clusters.  `ret_fresh` (may be NULL): the store reads as zero there. */
int byre_alloc_run_locked(struct byre_qcow2 *image, uint64_t want, uint64_t *ret_hoff, uint64_t *ret_got,
                          bool *ret_fresh, struct byre_error *err);
/* Reserves exactly `count` consecutive clusters. */
int byre_alloc_exact_locked(struct byre_qcow2 *image, uint64_t count, uint64_t *ret_hoff,
                            struct byre_error *err);
/* Gives back clusters that nothing ever pointed to. */
void byre_alloc_undo_locked(struct byre_qcow2 *image, uint64_t hoff, uint64_t count);
/* Notes that the clusters have no reference left. */
void byre_alloc_freed_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t count);
/* -EIO if metadata lies where the refcounts say that clusters are free. */
int byre_alloc_check_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t count,
                            struct byre_error *err);
/* Fills a new metadata cluster with zeros on the medium, so that it has its space. */
int byre_alloc_zero_fill(struct byre_qcow2 *image, uint64_t hoff, uint64_t length, struct byre_error *err);

/* Which host clusters hold metadata: see metadata.c.  All with the mutex held. */

/* Reads the tables once, to know where metadata lies. */
int byre_metadata_learn_locked(struct byre_qcow2 *image, struct byre_error *err);
/* The same, and -EIO if the image cannot be changed since pieces of metadata lie on each other. */
int byre_metadata_check_locked(struct byre_qcow2 *image, struct byre_error *err);
/* Forgets it all: the tables were changed in the file, or could not be read to the end. */
void byre_metadata_forget_locked(struct byre_qcow2 *image);
/* What of the metadata lies in [hoff, hoff+length), both cluster-aligned: NULL if there is nothing. */
const char *byre_metadata_at_locked(const struct byre_qcow2 *image, uint64_t hoff, uint64_t length);
/* Makes room for `extra` calls of those that add. */
int byre_metadata_room_locked(struct byre_qcow2 *image, size_t extra, struct byre_error *err);
void byre_metadata_add_l2_locked(struct byre_qcow2 *image, uint64_t hoff);
void byre_metadata_drop_l2_locked(struct byre_qcow2 *image, uint64_t hoff);
/* How many L1 entries, those of snapshots included, lead to the L2 table; not more than 127 are counted. */
unsigned byre_metadata_l2_count_locked(const struct byre_qcow2 *image, uint64_t hoff);
void byre_metadata_add_refblock_locked(struct byre_qcow2 *image, uint64_t hoff);
void byre_metadata_drop_refblock_locked(struct byre_qcow2 *image, uint64_t hoff);
void byre_metadata_add_bitmap_locked(struct byre_qcow2 *image, uint64_t hoff);
void byre_metadata_drop_bitmap_locked(struct byre_qcow2 *image, uint64_t hoff);
/* While metadata is learned: a cluster of `what`, which should be alone there.  Room for it was made. */
void byre_metadata_note_bitmap_locked(struct byre_qcow2 *image, const char *what, uint64_t hoff);

/* Corruption: see corrupt.c. */

/* Metadata cannot be true: -EIO with the text, after the image's name. */
int byre_corrupt_locked(struct byre_qcow2 *image, struct byre_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Deferred frees: see free.c.  All with the mutex held. */

/* Makes room so that the next `extra` calls of byre_free_later_locked or byre_free_entry_later_locked cannot fail.
 * Allocating clusters and byre_l2_slice_for_write_locked make such calls, too. */
int byre_free_room_locked(struct byre_qcow2 *image, size_t extra, struct byre_error *err);
/* The clusters lose a reference once the removal of the pointer, which has happened, is durable.  `discard`:
 * their space may then be given back. */
void byre_free_later_locked(struct byre_qcow2 *image, uint64_t cluster, uint64_t count, bool discard);
/* The same for an L2 table, which may still be that of a snapshot. */
void byre_free_table_later_locked(struct byre_qcow2 *image, uint64_t hoff);
/* The same for what an L2 entry pointed to. */
void byre_free_entry_later_locked(struct byre_qcow2 *image, struct byre_l2_entry entry, bool discard);
/* Lowers the refcounts of what no request can reach any more. */
void byre_free_reap_locked(struct byre_qcow2 *image);
/* Waits, the mutex given up, until something of what is durably freed has been reaped, or for two seconds. */
void byre_free_await_locked(struct byre_qcow2 *image);

/* Commit: see commit.c. */

/* -EROFS with the reason unless the image may be changed, -EIO if its metadata forbids it.  Makes the dirty bit
 * durable where one is needed. */
int byre_check_writable_locked(struct byre_qcow2 *image, struct byre_error *err);
/* Starts a commit if the dirty metadata or the deferred frees are over their budgets.  A failure that changed nothing
 * is none yet: the changes wait for the next commit, as far as memory allows. */
int byre_commit_if_due(struct byre_qcow2 *image, struct byre_error *err);
/* A commit that covers everything up to now. */
int byre_commit(struct byre_qcow2 *image, struct byre_error *err);
/* A barrier on the store, once the image is sealed: nothing refers to a new one, so that its order of writing does not
 * matter. */
int byre_barrier(struct byre_qcow2 *image, struct byre_error *err);
/* Live metadata is in doubt: nothing is changed any more. */
void byre_poison_locked(struct byre_qcow2 *image, int code);

/* The header in the file: see header_write.c. */

/* Writes the fields of `header` that change while an image is open into sector 0: no barrier. */
int byre_header_switch(struct byre_store *store, const struct byre_qcow2_header *header, bool magic,
                       struct byre_error *err);
/* Writes those fields durably, when no commit is under way; a failure makes the image read-only. */
int byre_header_settle_locked(struct byre_qcow2 *image, struct byre_error *err);
/* Writes the virtual size, which the above do not, in the same way. */
int byre_header_switch_size_locked(struct byre_qcow2 *image, uint64_t size, struct byre_error *err);

/* Writes all these fields of `header`, which becomes the image's if that succeeds: another disk in one sector. */
int byre_header_switch_disk_locked(struct byre_qcow2 *image, const struct byre_qcow2_header *header,
                                   struct byre_error *err);

/* Writing where the range is locked already: see write.c and zero.c. */

/* Finds a place for a reservation whose `goff`, `length`, `first` and `end` are set and whose range is locked, and
 * shortens it to that.  On failure the range stays locked. */
int byre_reserve_held(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation, struct byre_error *err);
/* Makes the subclusters of [goff, end), whose clusters are locked, not compressed, and in one slice, read as zero. */
int byre_zero_clusters(struct byre_qcow2 *image, uint64_t goff, uint64_t end, struct byre_error *err);

/* Changes the size in the header, durably, and with it what bitmaps there are, which are paused. */
int byre_size_switch(struct byre_qcow2 *image, uint64_t size, struct byre_error *err);

/* Makes the L1 table longer, durably.  Nobody else uses the image: see grow.c. */
int byre_l1_grow(struct byre_qcow2 *image, uint32_t entries, struct byre_error *err);

/* The VM state area: see vm_state.c. */

/* Where it starts. */
uint64_t byre_vm_state_goff(const struct byre_qcow2 *image);
/* Is the range one of the disk, or of that area as far as the L1 table reaches? */
bool byre_range_is_known(const struct byre_qcow2 *image, uint64_t goff, uint64_t length);

/* Guest data at its place in the store: see data.c.  The clusters are the caller's to write, or cannot be freed. */

int byre_data_read(struct byre_qcow2 *image, void *buf, size_t length, uint64_t hoff, struct byre_error *err);
int byre_data_writev(struct byre_qcow2 *image, const struct iovec *iov, int iov_count, uint64_t hoff,
                     struct byre_error *err);
int byre_data_zero(struct byre_qcow2 *image, uint64_t hoff, uint64_t length, struct byre_error *err);

/* External data files: see external.c.  Without one these do nothing, and say no. */

/* The data is in the file behind `data`, as the header says. */
void byre_external_set(struct byre_qcow2 *image, struct byre_store *data);
/* A disk of `start` bytes is to have `size`: makes the data file reach as far, and *mode what such a file needs.  Where
 * clusters are preallocated it reads as zero then, unless what it holds is to be kept. */
int byre_external_reach(struct byre_qcow2 *image, uint64_t start, uint64_t size, bool keep,
                        enum byre_preallocation *mode, struct byre_error *err);
/* The disk has ended at `size` since the last commit: so may the data file. */
int byre_external_trim(struct byre_qcow2 *image, uint64_t size, struct byre_error *err);
/* A barrier on the data file. */
int byre_external_flush(struct byre_qcow2 *image, struct byre_error *err);
/* Makes [goff, end), whole clusters whose range is locked, read as zero in the data file, if the map alone will not do:
 * because their space is given back, or as the file has to show it.  `flags` are those of byre_qcow2_write_zeroes. */
int byre_external_zero(struct byre_qcow2 *image, uint64_t goff, uint64_t end, unsigned flags, struct byre_error *err);

/* Contents: see contents.c. */

/* What guests read at [goff, goff+length) now, for copy-on-write.  The range is locked. */
int byre_read_old(struct byre_qcow2 *image, uint64_t goff, void *buf, size_t length, struct byre_error *err);
/* What the clusters say at [goff, goff+length), up to the end of the disk's last cluster. */
int byre_read_mapped(struct byre_qcow2 *image, uint64_t goff, void *buf, size_t length, struct byre_error *err);
/* A codec of this image's compression type for this thread alone, until it is given back. */
int byre_codec_take(struct byre_qcow2 *image, struct byre_codec **ret_codec, struct byre_error *err);
void byre_codec_give(struct byre_qcow2 *image, struct byre_codec *codec);

/* The image struct: see open.c. */

/* An image around `store` that takes over `header`; tables `blank` are not read. */
int byre_image_new(struct byre_store *store, struct byre_qcow2_header *header, bool blank, uint64_t cache_bytes,
                   struct byre_qcow2 **ret_image, struct byre_error *err);
void byre_image_free(struct byre_qcow2 *image);
/* Commits all changes and all frees; the file then holds all that it should.  No request is under way. */
int byre_image_settle(struct byre_qcow2 *image, struct byre_error *err);

/* Takes the free end off the file, if it has one: see trim.c.  No request is under way. */
int byre_image_trim(struct byre_qcow2 *image, struct byre_error *err);

/* Preallocates the disk from `start`, a cluster's start, to its end: see prealloc.c. */
int byre_qcow2_preallocate(struct byre_qcow2 *image, uint64_t start, enum byre_preallocation mode,
                           struct byre_error *err);

#endif
