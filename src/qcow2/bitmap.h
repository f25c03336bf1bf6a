/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The persistent bitmaps of an image: what the layers above may call.
 *
 * Changes of the list want the image for themselves: no other call on it is under way.  Each is durable and whole when
 * it returns 0, and has not happened if it fails, unless the image is read-only then.  Messages are qemu's where it
 * has one.
 */
#ifndef BYRE_QCOW2_BITMAP_H
#define BYRE_QCOW2_BITMAP_H

#include "qcow2/qcow2.h"

struct byre_qcow2_bitmap_state {
    const char *name;     /* as long as the list does not change */
    unsigned granularity_bits;
    bool enabled;         /* it follows changes */
    bool in_use;          /* the file says so: not stored now, or inconsistent */
    bool inconsistent;    /* it was not stored: it can be removed only */
    const char *fault;    /* why it cannot be used, or NULL */
};

/* Can bitmaps be stored in the image? */
bool byre_qcow2_bitmaps_supported(const struct byre_qcow2 *image);
/* How many there are; *ret_stale: those in the file are void, for somebody wrote to the image who did not know them. */
int byre_qcow2_bitmaps_count(struct byre_qcow2 *image, unsigned *ret_count, bool *ret_stale, struct byre_error *err);
/* The bitmap at `index` of the list. */
void byre_qcow2_bitmap_get(struct byre_qcow2 *image, unsigned index, struct byre_qcow2_bitmap_state *ret_state);

/* `granularity_bits` 0: that of a cluster, but from 4 KiB to 64 KiB. */
int byre_qcow2_bitmap_add(struct byre_qcow2 *image, const char *name, unsigned granularity_bits, bool enabled,
                          struct byre_error *err);
int byre_qcow2_bitmap_remove(struct byre_qcow2 *image, const char *name, struct byre_error *err);
int byre_qcow2_bitmap_clear(struct byre_qcow2 *image, const char *name, struct byre_error *err);
int byre_qcow2_bitmap_enable(struct byre_qcow2 *image, const char *name, bool enabled, struct byre_error *err);
/* Sets all bits whose granules a bitmap of `source`, which may be the same image, has dirty in part. */
int byre_qcow2_bitmap_merge(struct byre_qcow2 *image, const char *name, struct byre_qcow2 *source,
                            const char *source_name, struct byre_error *err);

/* Adds copies of all bitmaps of `source` that can be used, in one change: the same granularity, contents and state.
 * The disks have the same size.  Errors begin with "Failed to create bitmap NAME: " or "Failed to populate ...". */
int byre_qcow2_bitmaps_copy(struct byre_qcow2 *image, struct byre_qcow2 *source, struct byre_error *err);
/* Would that be refused?  Nothing is changed. */
int byre_qcow2_bitmaps_check_copy(struct byre_qcow2 *image, struct byre_qcow2 *source, struct byre_error *err);

/*
 * Calls `each` for the runs of dirty granules within [goff, goff+length), in order, not merged across clusters of bits,
 * until it returns nonzero, which is returned.  No lock is held; what is being written meanwhile may be missing.
 */
int byre_qcow2_bitmap_walk(struct byre_qcow2 *image, const char *name, uint64_t goff, uint64_t length,
                           int (*each)(void *opaque, uint64_t goff, uint64_t length), void *opaque,
                           struct byre_error *err);

#endif
