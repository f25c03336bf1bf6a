/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several disks, one after the other, as one range of bytes.  Sizes need no alignment.  It borrows the disks.
 */
#ifndef BYRE_OPS_CONCAT_H
#define BYRE_OPS_CONCAT_H

#include "byre/disk.h"

struct byre_concat {
    struct byre_disk *const *disks;
    uint64_t *starts; /* where each disk starts, and one more: the end */
    unsigned count;
    uint64_t size;
};

/* -EINVAL without disks, -EFBIG if the sizes do not add up to 63 bits.  Release with byre_concat_done. */
int byre_concat_init(struct byre_concat *concat, struct byre_disk *const *disks, unsigned count,
                     struct byre_error *err);
void byre_concat_done(struct byre_concat *concat);

/* As byre_pread, over the whole. */
int byre_concat_pread(const struct byre_concat *concat, void *buf, size_t length, uint64_t goff,
                      struct byre_error *err);

/* As byre_extents, over the whole: `goff` of the extents counts from the start of the first disk. */
int byre_concat_extents(const struct byre_concat *concat, uint64_t goff, uint64_t length,
                        int (*each)(void *opaque, const struct byre_extent *extent, struct byre_disk *disk),
                        void *opaque, struct byre_error *err);

#endif
