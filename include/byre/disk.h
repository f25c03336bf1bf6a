/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk: what a front end sees.  An image with its chain of backing files, opened as one flat range of bytes.
 *
 * All calls are blocking and thread-safe on one disk, byre_close apart.  Offsets and lengths
 * are bytes, of any alignment, within byre_get_size.  Calls return 0 or a negative errno and fill `err` (which
 * may be NULL).
 *   -EINVAL  misuse: a range past the end, a bad flag; nothing changed
 *   -EROFS   a write to a disk that was opened for reading, or that a failed write has made read-only
 *   -EIO     the medium or the image failed
 *   -ENOSPC  no room; this request had no effect that a later read would see as a whole
 */
#ifndef BYRE_DISK_H
#define BYRE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "byre/cache.h"
#include "byre/error.h"
#include "byre/extent.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_disk;
struct byre_snapshot_selector; /* byre/snapshot.h */
struct byre_secrets;

enum byre_detect_zeroes {
    BYRE_DETECT_ZEROES_OFF,
    BYRE_DETECT_ZEROES_ON,    /* a write of zeros alone becomes byre_write_zeroes */
    BYRE_DETECT_ZEROES_UNMAP, /* with BYRE_WRITE_ZEROES_UNMAP */
};

struct byre_open_options {
    const char *format;      /* "raw", "qcow2", "luks", or NULL: probe */
    enum byre_cache cache;   /* of the top image; backing files share it */
    bool writable;
    bool no_backing;         /* the top image alone: what it lacks reads as zero */
    bool force_share;        /* -U: open for reading although somebody writes */
    bool no_lock;            /* take no image locks */
    uint64_t map_bytes;      /* budget of the flat map; 0: the default, 16 MiB */
    enum byre_detect_zeroes detect_zeroes;
    bool copy_on_read;       /* what a read takes from below is written into the top image; needs `writable` */
    bool protocol_backing;   /* follow names in images that are no paths: they may lead anywhere */
    const char *options;     /* a list of options, as after "image-opts:", put over what the name says; or NULL */
    const char *backing;     /* what the image stands on, whatever it records: the caller's name; NULL: as recorded */
    const char *backing_format, *backing_options; /* `format` and `options` of that */
    const struct byre_snapshot_selector *snapshot; /* the disk as this snapshot of the top image has it, with its size
                                                      and VM state; not `writable`; -ENOENT; NULL: as it is */
    const struct byre_secrets *secrets; /* that options refer to: only while the disk is opened; or NULL */
};

/*
 * Names, of this call and of all others that take the name of an image: a path; "file:PATH",
 * "host_device:PATH", "null-co://", "null-aio://", "blkdebug:CONFIG:NAME"; "json:{...}", an object of
 * options; "image-opts:LIST", the same as KEY=VALUE,KEY=VALUE.  byre-image-options(7) describes them.  A
 * path with a colon before any slash is written "./a:b".
 */

/*
 * May a backing name that an image records be followed?  -ENOTSUP unless it is a path or, with `protocols`, a name
 * of another kind; "image-opts:" never is.
 */
int byre_backing_check(const char *name, bool protocols, struct byre_error *err);

/* Opens `name`; NULL options: read-only, probed, writeback.  Release with byre_close. */
int byre_open(const char *name, const struct byre_open_options *options, struct byre_disk **ret_disk,
              struct byre_error *err);

/*
 * Opens for reading what is open already: the disk that layer `layer` of `disk` and those below it make or, with
 * `snapshot`, as this snapshot of that layer has it; -ENOENT, and -EINVAL for layer 0 without a snapshot, which is
 * `disk` itself.  No name is followed, no lock taken and nothing asked for again, secrets included; what `disk` has
 * open is shared, so that it is to be closed after what this returns.  Meanwhile it may be used, and written to, but
 * its snapshots stay as they are.
 */
int byre_open_beside(struct byre_disk *disk, unsigned layer, const struct byre_snapshot_selector *snapshot,
                     struct byre_disk **ret_disk, struct byre_error *err);

/* Makes everything durable and releases the disk, also when it fails.  NULL is allowed.  No call may be
 * under way. */
int byre_close(struct byre_disk *disk, struct byre_error *err);

uint64_t byre_get_size(const struct byre_disk *disk);

int byre_pread(struct byre_disk *disk, void *buf, size_t length, uint64_t goff, struct byre_error *err);
int byre_pwrite(struct byre_disk *disk, const void *buf, size_t length, uint64_t goff, struct byre_error *err);

#define BYRE_WRITE_ZEROES_UNMAP       1u /* the host space may be given back */
#define BYRE_WRITE_FUA                2u /* durable when the call returns 0 */
#define BYRE_WRITE_ZEROES_NO_FALLBACK 4u /* -ENOTSUP, nothing changed, where zeros would have to be written as data */

/* The same with vectors, which are not changed; any count, any lengths.  `flags`: BYRE_WRITE_FUA. */
int byre_preadv(struct byre_disk *disk, const struct iovec *iov, int iov_count, uint64_t goff,
                struct byre_error *err);
int byre_pwritev(struct byre_disk *disk, const struct iovec *iov, int iov_count, uint64_t goff, unsigned flags,
                 struct byre_error *err);

int byre_write_zeroes(struct byre_disk *disk, uint64_t goff, uint64_t length, unsigned flags,
                      struct byre_error *err);

/*
 * Writes whole clusters in compressed form, those that do not get smaller as they are.  `goff` and `length` are
 * multiples of the cluster size, but the last cluster of the disk may be short: -EINVAL.  -ENOTSUP where the
 * format has no compression.
 */
int byre_write_compressed(struct byre_disk *disk, const void *buf, size_t length, uint64_t goff,
                          struct byre_error *err);

/* The contents are not needed any more.  Whole clusters then read as zero; the rest keeps its contents. */
int byre_discard(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_error *err);

/*
 * Makes the disk larger or smaller, durably.  What is new reads as zero; what was past a smaller end is gone, the VM
 * state with it.  `preallocation`, for growing: "off", "falloc", "full", for qcow2 also "metadata"; NULL: off.  A size
 * of qcow2 is a multiple of 512, that of a raw file is rounded up to one.  After a failure a qcow2 disk has its old
 * size, or, shrunk, its new one: byre_get_size tells.  -ENOTSUP for a device that would shrink, and for version 2 with
 * snapshots.  Waits until all calls on the disk and all requests of queues that have begun are over, while others wait
 * for it: whoever owns a queue has drained it, or goes on reaping.
 */
int byre_truncate(struct byre_disk *disk, uint64_t size, const char *preallocation, struct byre_error *err);

/*
 * The VM state beside the disk, which snapshots keep: bytes without an end, zeros where nothing was written.  -ENOTSUP
 * where the format has none; -EFBIG: `position` is too far away.  Writing waits for others as byre_truncate does.
 */
int byre_read_vm_state(struct byre_disk *disk, void *buf, size_t length, uint64_t position, struct byre_error *err);
int byre_write_vm_state(struct byre_disk *disk, const void *buf, size_t length, uint64_t position,
                        struct byre_error *err);

/* Every write that was completed before the call is durable when it returns 0. */
int byre_flush(struct byre_disk *disk, struct byre_error *err);

/*
 * The extents of [goff, goff+length), in order, without gaps, through the whole chain: calls `each` until it
 * returns nonzero, which ends the walk and is returned.  `each` must not write to the disk.
 */
int byre_extents(struct byre_disk *disk, uint64_t goff, uint64_t length,
                 int (*each)(void *opaque, const struct byre_extent *extent), void *opaque,
                 struct byre_error *err);

/*
 * The same, with data cut in two where a hole of a layer's file begins or ends, if space was reserved there without
 * being written (byre_layer_is_preallocated): those parts are marked `reserved`.  Thread-safe; requests that write
 * meanwhile may or may not be seen.
 */
int byre_extents_reserved(struct byre_disk *disk, uint64_t goff, uint64_t length,
                          int (*each)(void *opaque, const struct byre_extent *extent), void *opaque,
                          struct byre_error *err);

/* The chain, top first.  Strings live as long as the disk. */
unsigned byre_layer_count(const struct byre_disk *disk);
const char *byre_layer_name(const struct byre_disk *disk, unsigned layer);   /* as QEMU prints it: short, or json: */
const char *byre_layer_format(const struct byre_disk *disk, unsigned layer); /* "raw", "qcow2", "luks" */
bool byre_layer_is_encrypted(const struct byre_disk *disk, unsigned layer);

/* What host offsets of the layer count from: the name of what its format stands on, and the place of its start there,
 * which is 0 but for a raw image with an offset. */
const char *byre_layer_file_name(const struct byre_disk *disk, unsigned layer);
uint64_t byre_layer_file_offset(const struct byre_disk *disk, unsigned layer);

/*
 * Does the file of a qcow2 layer take up less of the medium than its clusters in use would, by a tenth or more and by
 * two clusters or more?  Then space was reserved without being written, and holes of the file read as zero within
 * data extents.  False for a raw layer, and where that cannot be told, or not without looking at more refcounts than
 * 16 MiB and than the file has bytes on the medium.
 */
bool byre_layer_is_preallocated(struct byre_disk *disk, unsigned layer);

#ifdef __cplusplus
}
#endif
#endif
