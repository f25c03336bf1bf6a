/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * L1 and L2 entries (qcow2 specification, "Cluster mapping"): between 64-bit words and their meaning.
 * Pure functions, no I/O.
 */
#ifndef BYRE_QCOW2_FMT_L2_H
#define BYRE_QCOW2_FMT_L2_H

#include <stdbool.h>
#include <stdint.h>

#include "base/endian.h"

#define BYRE_L2_COPIED (1ULL << 63)
#define BYRE_L2_COMPRESSED (1ULL << 62)
#define BYRE_L2_ZERO (1ULL << 0)
#define BYRE_L2_OFFSET_MASK 0x00fffffffffffe00ULL
#define BYRE_L1_OFFSET_MASK BYRE_L2_OFFSET_MASK
#define BYRE_L1_RESERVED_MASK 0x7f000000000001ffULL
#define BYRE_L2_RESERVED_MASK 0x3f000000000001feULL /* standard cluster descriptor, version 3 */

enum byre_cluster_kind {
    BYRE_CLUSTER_UNALLOCATED,
    BYRE_CLUSTER_ZERO_PLAIN,
    BYRE_CLUSTER_ZERO_ALLOCATED,
    BYRE_CLUSTER_DATA,
    BYRE_CLUSTER_COMPRESSED,
};

/* An entry of an L2 table: the cluster descriptor, and the subcluster bitmap, which is 0 where entries are not
 * extended. */
struct byre_l2_entry {
    uint64_t word, bitmap;
};

#define BYRE_L2_EMPTY ((struct byre_l2_entry){ 0, 0 })

/* Entries have 8 bytes, extended ones 16. */
static inline unsigned byre_l2_entry_bits(bool extended)
{
    return extended ? 4 : 3;
}

static inline struct byre_l2_entry byre_l2_entry_load(const uint8_t *bytes, bool extended)
{
    return (struct byre_l2_entry){ byre_get_be64(bytes), extended ? byre_get_be64(bytes + 8) : 0 };
}

static inline void byre_l2_entry_store(uint8_t *bytes, bool extended, struct byre_l2_entry entry)
{
    byre_put_be64(bytes, entry.word);
    if (extended)
        byre_put_be64(bytes + 8, entry.bitmap);
}

static inline bool byre_l2_entry_equal(struct byre_l2_entry a, struct byre_l2_entry b)
{
    return a.word == b.word && a.bitmap == b.bitmap;
}

/* `version` 2 has no zero flag: bit 0 is ignored there. */
static inline enum byre_cluster_kind byre_l2_kind(uint64_t entry, unsigned version)
{
    if (entry & BYRE_L2_COMPRESSED)
        return BYRE_CLUSTER_COMPRESSED;
    if (version >= 3 && (entry & BYRE_L2_ZERO))
        return entry & BYRE_L2_OFFSET_MASK ? BYRE_CLUSTER_ZERO_ALLOCATED : BYRE_CLUSTER_ZERO_PLAIN;
    return entry & BYRE_L2_OFFSET_MASK ? BYRE_CLUSTER_DATA : BYRE_CLUSTER_UNALLOCATED;
}

static inline uint64_t byre_l2_offset(uint64_t entry)
{
    return entry & BYRE_L2_OFFSET_MASK;
}

/* What an entry refers to in the file, whatever guests see of it. */
enum byre_l2_place {
    BYRE_PLACE_NONE,
    BYRE_PLACE_CLUSTER,    /* a host cluster of its own, at byre_l2_offset */
    BYRE_PLACE_COMPRESSED, /* the clusters that hold compressed data */
};

static inline enum byre_l2_place byre_l2_place(struct byre_l2_entry entry)
{
    if (entry.word & BYRE_L2_COMPRESSED)
        return BYRE_PLACE_COMPRESSED;
    return byre_l2_offset(entry.word) ? BYRE_PLACE_CLUSTER : BYRE_PLACE_NONE;
}

/*
 * The subclusters of a cluster ("Extended L2 Entries"), one bit each: those that are data at their place in the host
 * cluster, and those that read as zero.  What is neither is a hole: the layers below show there.  Without extended
 * entries a cluster is one subcluster.
 */
struct byre_subclusters {
    uint32_t data, zero;
};

#define BYRE_SUBCLUSTER_COUNT_BITS 5 /* 32 in a cluster */

/*
 * Bits 0 to 31 of the bitmap say allocated, bits 32 to 63 zero; both at once is invalid, as is allocated without a host
 * cluster.  Bit 0 of the descriptor, the zero flag, means nothing there.  A compressed cluster is data as a whole; its
 * bitmap is reserved.
 */
static inline struct byre_subclusters byre_l2_subclusters(struct byre_l2_entry entry, unsigned version, bool extended)
{
    if (extended && !(entry.word & BYRE_L2_COMPRESSED))
        return (struct byre_subclusters){ (uint32_t)entry.bitmap, (uint32_t)(entry.bitmap >> 32) };
    switch (byre_l2_kind(entry.word, version)) {
    case BYRE_CLUSTER_ZERO_PLAIN:
    case BYRE_CLUSTER_ZERO_ALLOCATED:
        return (struct byre_subclusters){ 0, 1 };
    case BYRE_CLUSTER_DATA:
    case BYRE_CLUSTER_COMPRESSED:
        return (struct byre_subclusters){ extended ? UINT32_MAX : 1, 0 };
    case BYRE_CLUSTER_UNALLOCATED:
        break;
    }
    return (struct byre_subclusters){ 0, 0 };
}

/* The entry of a cluster at `hoff`, which is its alone, or of one that has no place (not `placed`).  Version 2 cannot
 * say zero. */
static inline struct byre_l2_entry byre_l2_standard_entry(uint64_t hoff, bool placed,
                                                          struct byre_subclusters subclusters, unsigned version,
                                                          bool extended)
{
    struct byre_l2_entry entry = { placed ? hoff | BYRE_L2_COPIED : 0, 0 };

    if (extended)
        entry.bitmap = subclusters.data | (uint64_t)subclusters.zero << 32;
    else if (subclusters.zero && version >= 3)
        entry.word |= BYRE_L2_ZERO;
    return entry;
}

/* A compressed cluster descriptor: x = 62 - (cluster_bits - 8) bits of byte offset, then the number of
 * additional 512-byte sectors. */
static inline unsigned byre_l2_compressed_shift(unsigned cluster_bits)
{
    return 62 - (cluster_bits - 8);
}

static inline uint64_t byre_l2_compressed_offset(uint64_t entry, unsigned cluster_bits)
{
    return entry & ((1ULL << byre_l2_compressed_shift(cluster_bits)) - 1) & 0x00ffffffffffffffULL;
}

/* Bytes from the compressed offset to the end of the last sector: what may have to be read. */
static inline uint32_t byre_l2_compressed_stored(uint64_t entry, unsigned cluster_bits)
{
    uint64_t sectors =
        ((entry & (BYRE_L2_COMPRESSED - 1)) >> byre_l2_compressed_shift(cluster_bits)) + 1;
    return (uint32_t)(sectors * 512 - (byre_l2_compressed_offset(entry, cluster_bits) & 511));
}

static inline uint64_t byre_l2_compressed_entry(uint64_t hoff, uint32_t length, unsigned cluster_bits)
{
    uint64_t sectors = ((hoff + length - 1) >> 9) - (hoff >> 9);
    return BYRE_L2_COMPRESSED | hoff | sectors << byre_l2_compressed_shift(cluster_bits);
}

#endif
