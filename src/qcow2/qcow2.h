/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The qcow2 engine: what the layers above may call.
 *
 * One `struct byre_qcow2` is one open image.  It maps guest ranges to extents of its own file, and changes
 * that map.  It never opens a backing file: what lies below comes through `struct byre_qcow2_below`.
 * Plain data of extents is moved by the caller, straight from and to the store.
 */
#ifndef BYRE_QCOW2_QCOW2_H
#define BYRE_QCOW2_QCOW2_H

#include "base/epoch.h"
#include "base/rangelock.h"
#include "base/vec.h"
#include "byre/extent.h"
#include "qcow2/fmt_header.h"
#include "store/store.h"

struct byre_luks_options;
struct byre_luks_volume;
struct byre_qcow2;
struct byre_snapshot_selector;
struct byre_secret;

typedef VEC(struct byre_extent) byre_extent_vec;

/* What the engine needs from the disk it is the top layer of.  `opaque` is passed back. */
struct byre_qcow2_below {
    void *opaque;
    /* Reads what the layers below show at [goff, goff+length); zeros past their end.  NULL: no backing. */
    int (*read)(void *opaque, uint64_t goff, void *buf, size_t length, struct byre_error *err);
    /* The map changed to `now`; called with the metadata lock held.  NULL: nobody asks. */
    void (*remapped)(void *opaque, const struct byre_extent *now);
};

struct byre_qcow2_open_options {
    bool writable;
    uint64_t cache_bytes;     /* budget for metadata slices; 0: the default, 16 MiB */
    const struct byre_snapshot_selector *snapshot; /* the disk as this snapshot has it; not `writable`; or NULL */
    const char *crypt_format; /* "luks" or "aes": what an encrypted image has to be; NULL: either */
    const struct byre_secret *password; /* of an encrypted image, which cannot be opened without; or NULL */
    bool keep_discarded;      /* clusters that are discarded keep their places in the file, as zeros; version 3 */
    bool lazy_set, lazy;      /* with lazy_set: refcounts may lag, or not, whatever the header says; version 3 */
    /* Asked for the store of the data file if the image has one; it stays the caller's, and outlives the image.  NULL:
     * such images are refused.  `opaque` is passed to it. */
    int (*open_data)(void *opaque, const struct byre_qcow2_header *header, struct byre_store **ret_data,
                     struct byre_error *err);
    void *opaque;
    /* The same image, which is open in the same store and outlives this one: it has unlocked the data, and needs
     * neither `crypt_format` nor `password` for that; not `writable`.  Or NULL. */
    struct byre_qcow2 *beside;
};

/*
 * Opens the image in `store`.  The store stays the caller's, and outlives the image.  Reads no more than the
 * first cluster.  A writable open of a dirty image repairs its refcounts first; of a corrupt one it fails; of
 * one with unsupported features, or with snapshots or bitmaps that lie in no place where they can be, it fails and
 * names them.
 */
int byre_qcow2_open(struct byre_store *store, const struct byre_qcow2_open_options *options,
                    struct byre_qcow2 **ret_image, struct byre_error *err);

/* Makes everything durable (if writable), tidies, and releases the image; it is released also on failure. */
int byre_qcow2_close(struct byre_qcow2 *image, struct byre_error *err);

/* The parsed header; unchanged while the image is open, table positions apart. */
const struct byre_qcow2_header *byre_qcow2_header(const struct byre_qcow2 *image);

/* What the map can tell apart: a subcluster, or a cluster where there are none.  Bytes, a power of two. */
uint32_t byre_qcow2_subcluster_size(const struct byre_qcow2 *image);
/* The store that extents of kind data lie in: the image's own, or a filter on it, which lives as long as the image. */
struct byre_store *byre_qcow2_data(struct byre_qcow2 *image);

/* The LUKS header of an encrypted image, for its key slots; NULL: it is none, or of the encryption of old. */
struct byre_luks_volume *byre_qcow2_luks(struct byre_qcow2 *image);

void byre_qcow2_set_below(struct byre_qcow2 *image, const struct byre_qcow2_below *below);

enum byre_preallocation {
    BYRE_PREALLOC_OFF,
    BYRE_PREALLOC_METADATA,
    BYRE_PREALLOC_FALLOC,
    BYRE_PREALLOC_FULL,
};

struct byre_qcow2_create_options {
    uint64_t size;               /* virtual size; rounded up to 512 */
    unsigned version;            /* 2 or 3 */
    unsigned cluster_bits;
    unsigned refcount_order;
    bool lazy_refcounts;
    unsigned compression;        /* enum byre_qcow2_compression */
    bool extended_l2;            /* 32 subclusters in a cluster; version 3, clusters of at least 16 KiB */
    enum byre_preallocation preallocation;
    const char *backing_name;    /* NULL: none */
    const char *backing_format;  /* NULL: not recorded */
    const char *data_file;       /* NULL: none */
    struct byre_store *data;     /* with a data file: its store, which stays the caller's and outlives the image */
    bool keep_data;              /* what the data file holds stays */
    bool data_raw;               /* the data file reads as the disk does, without the image */
    const struct byre_luks_options *luks; /* encrypt it so, with `password`; NULL: plain */
    const struct byre_secret *password;
};

/* Checks which options go together, and that there is such an image: -EINVAL, or -ENOTSUP if this build cannot
 * write it. */
int byre_qcow2_create_check(const struct byre_qcow2_create_options *options, struct byre_error *err);

/*
 * Lays out a new image in an empty writable `store` and opens it.  The magic is missing from the header until
 * byre_qcow2_seal (or byre_qcow2_close after a seal): an unsealed file is no image.  The options are
 * checked as above.
 */
int byre_qcow2_create(struct byre_store *store, const struct byre_qcow2_create_options *options,
                      struct byre_qcow2 **ret_image, struct byre_error *err);

/* Commits, then writes the magic of a new image and makes it durable.  No effect on an image that has it. */
int byre_qcow2_seal(struct byre_qcow2 *image, struct byre_error *err);

/*
 * Mapping.  Appends the extents of [goff, goff+length) (within the virtual size, or rounded up to clusters)
 * to `out` in order, without gaps; `layer` is 0; HOLE means: look below (it is `allocated`, and has an `hoff`, in a
 * host cluster of which other subclusters may be used).  Neighbours are merged where host
 * offsets are consecutive.  A compressed extent keeps the `hoff` and `stored` of its whole cluster where the range
 * begins or ends within it.  At most one L2 slice is read for each 512 entries.  Thread-safe.
 */
int byre_qcow2_map(struct byre_qcow2 *image, uint64_t goff, uint64_t length, byre_extent_vec *out,
                   struct byre_error *err);

/* For an image that is only read: from now on it keeps about `bytes` of metadata in memory at most, though a slice and
 * two pages of tables in any case.  Nobody else uses it yet. */
void byre_qcow2_limit_metadata(struct byre_qcow2 *image, uint64_t bytes);
/* How many bytes of metadata are in memory. */
uint64_t byre_qcow2_metadata_bytes(struct byre_qcow2 *image);

/*
 * Counts host clusters with a reference, until there are more than `enough`, or `most` bytes of refcounts were looked
 * at: an image may name refcount blocks without number, at places where its file has none.
 */
int byre_qcow2_used_clusters(struct byre_qcow2 *image, uint64_t enough, uint64_t most, uint64_t *ret_count,
                             struct byre_error *err);

/* Reads and inflates the compressed cluster of `extent` into `buf` of one cluster.  Thread-safe. */
int byre_qcow2_read_compressed(struct byre_qcow2 *image, uint64_t hoff, uint32_t stored, void *buf,
                               struct byre_error *err);

/* Blocking, thread-safe changes of the top layer; any alignment, within the virtual size. */
int byre_qcow2_writev(struct byre_qcow2 *image, uint64_t goff, const struct iovec *iov, int iov_count,
                      uint64_t length, struct byre_error *err);
int byre_qcow2_write_zeroes(struct byre_qcow2 *image, uint64_t goff, uint64_t length, unsigned flags,
                            struct byre_error *err);
int byre_qcow2_discard(struct byre_qcow2 *image, uint64_t goff, uint64_t length, struct byre_error *err);

/*
 * Copy-on-read: writes what the layers below show into those subclusters of [goff, goff+length), rounded to such,
 * that are holes.  Never overwrites a newer write: it takes place under the range lock.  Nothing
 * without layers below.  The caller is in no epoch.
 */
int byre_qcow2_copy_on_read(struct byre_qcow2 *image, uint64_t goff, uint64_t length, struct byre_error *err);

/*
 * Makes the disk larger, durably; what is new reads as zero, although the layers below show something up to
 * `below_end` (0: there are none), and is preallocated as `mode` says.  No other call may be under way.  -EINVAL:
 * the new size is smaller, or no multiple of 512; -ENOTSUP: a version 2 image has snapshots; -EFBIG: there is no such
 * image.  After a failure the disk
 * has its old size.
 */
int byre_qcow2_grow(struct byre_qcow2 *image, uint64_t size, uint64_t below_end, enum byre_preallocation mode,
                    struct byre_error *err);

/*
 * Makes the disk smaller, durably; what was past the new end is gone, the VM state with it, and the file loses what is
 * free at its end.  No other call may be under way.  -EINVAL: the size is larger, or no multiple of 512; -ENOTSUP: a
 * version 2 image has snapshots.  After a failure the disk has its old size, or its new one.
 */
int byre_qcow2_shrink(struct byre_qcow2 *image, uint64_t size, struct byre_error *err);

/*
 * The VM state of the image, behind the disk; it has no size, and reads as zero where it was not written.  No other
 * call may be under way beside a write.  -EFBIG: `position` is too far away.
 */
int byre_qcow2_read_vm_state(struct byre_qcow2 *image, uint64_t position, void *buf, size_t length,
                             struct byre_error *err);
int byre_qcow2_write_vm_state(struct byre_qcow2 *image, uint64_t position, const struct iovec *iov, int iov_count,
                              uint64_t length, struct byre_error *err);

/*
 * After a request that failed with -EIO: if the reason was that the metadata cannot be true, the image becomes
 * read-only, and its corrupt bit is set if it is writable and has one.  No effect otherwise, or the second time.  The
 * caller holds no lock and no reservation.
 */
void byre_qcow2_mark_corrupt(struct byre_qcow2 *image);

/* -EROFS with the reason if the image may not be changed: not opened for it, found to be corrupt, or poisoned by a
 * failed write to live metadata.  Who writes to exclusive data without the engine asks first. */
int byre_qcow2_check_writable(struct byre_qcow2 *image, struct byre_error *err);

/*
 * What guests read at [goff, goff+length) is about to change: enabled bitmaps are to say so.  The engine's own calls
 * note what they change; who writes to exclusive data without the engine, or changes the map in another way, does it
 * here.  The first call marks bitmaps in use, durably; on failure nothing may be changed.  Thread-safe.
 */
int byre_qcow2_note_change(struct byre_qcow2 *image, uint64_t goff, uint64_t length, struct byre_error *err);
/* The same without waiting: false if the call above has to be made. */
bool byre_qcow2_try_note_change(struct byre_qcow2 *image, uint64_t goff, uint64_t length);

/* Makes durable everything that was written before the call.  Concurrent callers share commits. */
int byre_qcow2_flush(struct byre_qcow2 *image, struct byre_error *err);

/* Another number whenever clusters have become metadata.  Data that was mapped as exclusive before may be on them if
 * the image is damaged, and is to be mapped again before it is written to without the engine. */
unsigned byre_qcow2_metadata_version(struct byre_qcow2 *image);

/* The epoch that readers and fast writers of this image's clusters must be in. */
struct byre_epoch *byre_qcow2_epoch(struct byre_qcow2 *image);

/* Allocate from the end only, so that the layout depends on the order of reservations alone; until there is no more
 * room at the end. */
void byre_qcow2_set_append_only(struct byre_qcow2 *image, bool append_only);

/* After a call that returned `rc`: if that is -ENOSPC, makes usable what was freed, which takes a commit.  True if it
 * is worth trying again.  The caller is in no epoch. */
bool byre_qcow2_make_room(struct byre_qcow2 *image, int rc);

/*
 * A write in three steps, for callers that order reservations and move data in parallel: reserve (in the
 * order that the layout shall have), fill (any thread), then publish or abandon.  A reservation covers one
 * host run; `length` tells how much of the asked-for range it covers: whole clusters, except at the ends of
 * an unaligned range.  A reservation stays where it is in memory until it is published or abandoned; one of the two
 * must happen.
 */
struct byre_qcow2_reservation {
    uint64_t goff, length;      /* what this reservation covers of the request */
    uint64_t hoff;              /* where the first cluster of the run starts in the store */
    uint64_t first, end;        /* the run rounded out to clusters, guest offsets */
    bool overwrite;             /* the clusters are exclusive data: no map change will be needed */
    bool fresh;                 /* the store reads as zero there */
    bool keeps_host;            /* subclusters that are no data yet are filled where they are */
    bool blank;                 /* set before publish: the clusters get their places alone.  Extended L2 entries */
    const uint32_t *skip;       /* set before fill, the caller's until it is published: NULL, or a mask for each cluster
                                 * of the subclusters whose data is zero and need not be written.  Extended L2 entries;
                                 * `goff` is a cluster's start */
    uint64_t fill_start, fill_end; /* what is written in one go, the data and what stands around it */
    uint32_t copy_first, copy_last; /* subclusters of the first and last cluster that are copied apart from that */
    struct byre_range_hold hold;
};

int byre_qcow2_reserve(struct byre_qcow2 *image, uint64_t goff, uint64_t length,
                       struct byre_qcow2_reservation *ret_reservation, struct byre_error *err);
/* Writes the data of the reservation (`length` bytes of `iov`) and what copy-on-write needs around it. */
int byre_qcow2_fill(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                    const struct iovec *iov, int iov_count, struct byre_error *err);
int byre_qcow2_publish(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation,
                       struct byre_error *err);
void byre_qcow2_abandon(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation);

/*
 * Compressed clusters, in the same three steps.  Each item is one whole guest cluster (the last one of the disk
 * may be short), given in ascending order; reserving places them one after the other, packed, and fills in
 * `hoff`.  The caller writes the bytes through byre_qcow2_fill_compressed.
 */
struct byre_qcow2_compressed {
    uint64_t goff;
    const void *data;
    uint32_t length;
    uint64_t hoff; /* set by reserve */
    struct byre_range_hold hold; /* the first item's covers the batch: do not move it until published */
};

int byre_qcow2_reserve_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items, size_t count,
                                  struct byre_error *err);
int byre_qcow2_fill_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items,
                               size_t count, struct byre_error *err);
int byre_qcow2_publish_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items,
                                  size_t count, struct byre_error *err);
void byre_qcow2_abandon_compressed(struct byre_qcow2 *image, struct byre_qcow2_compressed *items,
                                   size_t count);

/* Compresses and writes whole clusters, the last one of the disk may be short; one that does not get smaller is
 * written plain.  -EINVAL if the range is not of whole clusters.  Thread-safe. */
int byre_qcow2_write_compressed(struct byre_qcow2 *image, uint64_t goff, const void *buf, uint64_t length,
                                struct byre_error *err);

#endif
