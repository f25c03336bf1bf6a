/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copying disks into new or existing images.
 */
#ifndef BYRE_CONVERT_H
#define BYRE_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/disk.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_convert_options {
    bool compress;           /* write compressed clusters; the target is a new qcow2 image */
    int compress_level;      /* 0: the default */
    bool target_is_zero;     /* the target reads as zero already (or is new): zeros need not be written */
    bool target_has_backing; /* -B: what a source takes from below its first `source_layers` layers is left to
                                the target's backing file, which shall hold the same there */
    unsigned source_layers;  /* with target_has_backing; 0: 1, the top layer alone, as qemu-img does */
    uint64_t sparse_size;    /* -S: runs of zeros of at least this many bytes become holes; 0: never look, and
                                copy zeros and holes as data */
    unsigned threads;        /* 0: one a processor */
    bool out_of_order;       /* -W: reserve as data comes, not in guest order: the layout may vary */
    bool salvage;            /* unreadable sectors become zeros and are reported */
    void (*warn)(void *opaque, const char *line);                       /* may be NULL */
    void (*progress)(void *opaque, uint64_t done, uint64_t total);      /* bytes; may be NULL; any thread */
    void *opaque;
};

/*
 * Copies the sources, one after the other, to the start of `target`, which is at least as large.  Memory is
 * bounded whatever the sizes are.  Given the same sources and options, the bytes of a new target do not
 * depend on the number of threads, out_of_order apart.  The caller seals or flushes the target.
 */
int byre_convert(struct byre_disk *const *sources, unsigned source_count, struct byre_disk *target,
                 const struct byre_convert_options *options, struct byre_error *err);

/* Can the bitmaps of the top image of `source` be copied?  -EINVAL names one that is inconsistent, unless
 * `skip_broken`: then options->warn hears of it. */
int byre_convert_check_bitmaps(struct byre_disk *source, const struct byre_convert_options *options,
                               bool skip_broken, struct byre_error *err);

/* Would byre_convert_bitmaps refuse the target?  Before byre_convert, which changes it. */
int byre_convert_check_target_bitmaps(struct byre_disk *source, struct byre_disk *target, struct byre_error *err);

/*
 * Copies all bitmaps of the top image of `source`, apart from inconsistent ones, into `target`, which may not be sealed
 * yet, as one change.  After byre_convert, for they do not follow that.  -EEXIST if there is one of the same name,
 * -EINVAL if the sizes differ, -ENOTSUP without bitmaps.
 */
int byre_convert_bitmaps(struct byre_disk *source, struct byre_disk *target, struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
