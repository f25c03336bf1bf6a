/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Persistent dirty bitmaps: which parts of a disk were written to since some moment.  They are stored in the top image,
 * which is qcow2 of version 3.
 *
 * An enabled bitmap follows every change that is made through the disk: writes, zeros, discards.  What copy-on-read
 * brings up is no change.  While it has followed changes it is marked in use in the image, until the disk is closed; if
 * it is not (a crash), it is inconsistent, and can only be removed.
 *
 * Calls that change bitmaps wait until all others on the disk are over, as byre_truncate does.  Each is durable when it
 * returns 0; a crash leaves the bitmaps of before or of after.  Names are UTF-8 of 1 to 1023 bytes.
 *   -ENOENT   there is no bitmap of that name
 *   -EEXIST   there is one already
 *   -EINVAL   it cannot be used, or the argument makes no sense
 *   -ENOTSUP  the format has no bitmaps
 */
#ifndef BYRE_BITMAP_H
#define BYRE_BITMAP_H

#include "byre/disk.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_bitmap_status {
    const char *name;
    uint64_t granularity; /* bytes */
    bool enabled;         /* it follows changes */
    bool in_use;          /* marked so in the image */
    bool inconsistent;    /* it was not stored: it can only be removed */
    const char *fault;    /* why byre cannot use it, or NULL */
};

/* Calls `each` for the bitmaps of the top image, in order, until it returns nonzero, which is returned.  `each`
 * makes no call on the disk, and copies what it wants to keep.  None where the format has none. */
int byre_bitmap_list(struct byre_disk *disk, int (*each)(void *opaque, const struct byre_bitmap_status *status),
                     void *opaque, struct byre_error *err);

/* The image has bitmaps, but all are void: a program that does not know bitmaps has written to it. */
bool byre_bitmap_stale(struct byre_disk *disk);

/* Can bitmaps be stored in the top image? */
bool byre_bitmap_supported(const struct byre_disk *disk);

/* Adds a clean bitmap.  `granularity`: a power of two from 512 to 2 GiB; 0: that of a cluster, but from 4 to 64 KiB. */
int byre_bitmap_add(struct byre_disk *disk, const char *name, uint64_t granularity, bool enabled,
                    struct byre_error *err);
int byre_bitmap_remove(struct byre_disk *disk, const char *name, struct byre_error *err);
int byre_bitmap_clear(struct byre_disk *disk, const char *name, struct byre_error *err);
int byre_bitmap_enable(struct byre_disk *disk, const char *name, struct byre_error *err);
int byre_bitmap_disable(struct byre_disk *disk, const char *name, struct byre_error *err);

/* Makes dirty in the bitmap what is dirty in another one, of `source` (which may be the same disk) of the same size,
 * whose bitmaps nobody changes meanwhile.  Any granularities: a granule becomes dirty if a part of it was. */
int byre_bitmap_merge(struct byre_disk *disk, const char *name, struct byre_disk *source, const char *source_name,
                      struct byre_error *err);

/*
 * Calls `each` for the dirty ranges within [goff, goff+length), in order, until it returns nonzero, which is returned.
 * Neighbouring ranges may come apart.  `each` does not write to the disk.
 */
int byre_bitmap_ranges(struct byre_disk *disk, const char *name, uint64_t goff, uint64_t length,
                       int (*each)(void *opaque, uint64_t goff, uint64_t length), void *opaque,
                       struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
