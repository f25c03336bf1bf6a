/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Comparing the contents of two disks.
 */
#ifndef BYRE_COMPARE_H
#define BYRE_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/disk.h"

#ifdef __cplusplus
extern "C" {
#endif

enum byre_compare_outcome {
    BYRE_COMPARE_SAME,
    BYRE_COMPARE_CONTENT,    /* bytes differ at `goff` */
    BYRE_COMPARE_ALLOCATION, /* strict: one is allocated at `goff`, the other is not */
    BYRE_COMPARE_SIZE,       /* strict: the sizes differ */
};

struct byre_compare_result {
    enum byre_compare_outcome outcome;
    uint64_t goff;     /* the first such place; of bytes, the sector of 512 that they are in */
    bool sizes_differ; /* not strict: the longer one has only zeros past the end of the other, if SAME */
    int failed_disk;   /* on error: 0 none in particular, 1 or 2 */
    bool map_failed;   /* on error: it was the allocation that could not be read, not the data */
};

struct byre_compare_options {
    bool strict;
    unsigned threads; /* 0: one a processor */
    void (*progress)(void *opaque, uint64_t done, uint64_t total); /* bytes; may be NULL */
    void *opaque;
};

/*
 * Compares up to the first difference or error, whichever comes first on the disk: the result does not depend
 * on the number of threads.  `strict`: the sizes must be the same (looked at first), and at each place both
 * or neither must be allocated, data, or zero.  `ret_result` is also written on failure, for `failed_disk`.
 */
int byre_compare(struct byre_disk *a, struct byre_disk *b, const struct byre_compare_options *options,
                 struct byre_compare_result *ret_result, struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
