/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An extent: where a run of guest bytes is.  Mapping yields extents, moving consumes them.
 */
#ifndef BYRE_EXTENT_H
#define BYRE_EXTENT_H

#include <stdbool.h>
#include <stdint.h>

enum byre_extent_kind {
    BYRE_EXTENT_HOLE,       /* in no layer of the chain: reads as zero */
    BYRE_EXTENT_ZERO,       /* a layer says: zero.  `hoff` is valid if `allocated` */
    BYRE_EXTENT_DATA,       /* plain bytes at `hoff` in the layer's store */
    BYRE_EXTENT_COMPRESSED, /* one compressed cluster at `hoff` (never longer than a cluster) */
};

struct byre_extent {
    uint64_t goff;   /* guest offset, bytes */
    uint64_t length; /* bytes */
    uint64_t hoff;   /* host offset in the store of `layer`, bytes; 0 unless data, compressed, or allocated */
    uint32_t layer;  /* 0 is the top image; meaningless for a hole */
    uint32_t stored; /* compressed: bytes that may have to be read at `hoff`; else 0 */
    enum byre_extent_kind kind;
    bool exclusive;  /* data that this image alone refers to (COPIED): may be overwritten in place */
    bool allocated;  /* zero, or a hole between subclusters: it has a place in a host cluster */
    bool at_eof;     /* hole because the range lies past the end of a shorter backing file */
    bool reserved;   /* data that lies in a hole of the file, and reads as zero: byre_extents_reserved alone tells */
};

#endif
