/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Subclusters of an open image, for the engine's files.
 *
 * With extended L2 entries a cluster has 32 subclusters, of which each is data, zero or a hole by itself; all of them
 * have their place in the one host cluster.  Without, a cluster is one subcluster, so that the same code serves both.
 * A set of subclusters is a mask, bit x for subcluster x; within a set of one cluster, offsets ascend with the bits.
 */
#ifndef BYRE_QCOW2_SUBCLUSTERS_H
#define BYRE_QCOW2_SUBCLUSTERS_H

#include "base/arith.h"
#include "qcow2/image.h"

/* All subclusters of a cluster. */
static inline uint32_t byre_subclusters_all(const struct byre_qcow2 *image)
{
    return image->extended_l2 ? UINT32_MAX : 1;
}

static inline uint64_t byre_subcluster_size(const struct byre_qcow2 *image)
{
    return 1ULL << image->subcluster_bits;
}

static inline uint64_t byre_subcluster_start(const struct byre_qcow2 *image, uint64_t offset)
{
    return byre_round_down(offset, byre_subcluster_size(image));
}

static inline uint64_t byre_subcluster_ceil(const struct byre_qcow2 *image, uint64_t offset)
{
    return byre_round_up(offset, byre_subcluster_size(image));
}

/* Those of the cluster at `cluster_goff`, its start, that [goff, end) touches: none if it does not reach there. */
static inline uint32_t byre_subclusters_touched(const struct byre_qcow2 *image, uint64_t cluster_goff, uint64_t goff,
                                                uint64_t end)
{
    uint64_t from = MAX(goff, cluster_goff), to = MIN(end, cluster_goff + image->cluster_size);
    unsigned first, count;

    if (from >= to)
        return 0;
    first = (unsigned)((from - cluster_goff) >> image->subcluster_bits);
    count = (unsigned)((to - 1 - cluster_goff) >> image->subcluster_bits) + 1 - first;
    return (uint32_t)(((1ULL << count) - 1) << first);
}

/* The first run of a mask that is not empty: its first subcluster, and how many they are. */
static inline unsigned byre_subclusters_run(uint32_t mask, unsigned *ret_count)
{
    unsigned first = (unsigned)__builtin_ctz(mask);

    *ret_count = (unsigned)__builtin_ctzll(~(uint64_t)(mask >> first));
    return first;
}

static inline struct byre_subclusters byre_subclusters_of(const struct byre_qcow2 *image, struct byre_l2_entry entry)
{
    struct byre_subclusters subclusters = byre_l2_subclusters(entry, image->header.version, image->extended_l2);

    /* The cluster at offset 0 of a data file. */
    if (!subclusters.data && !subclusters.zero && !image->extended_l2 &&
        byre_entry_place(image, entry) == BYRE_PLACE_CLUSTER)
        subclusters.data = 1;
    return subclusters;
}

#define BYRE_NOWHERE UINT64_MAX

/* The entry of a cluster at `hoff` (BYRE_NOWHERE: it has no place) with these subclusters. */
static inline struct byre_l2_entry byre_subclusters_entry(const struct byre_qcow2 *image, uint64_t hoff,
                                                          struct byre_subclusters subclusters)
{
    bool placed = hoff != BYRE_NOWHERE;

    return byre_l2_standard_entry(placed ? hoff : 0, placed, subclusters, image->header.version, image->extended_l2);
}

/* As byre_remapped_locked, of these subclusters of the cluster at `goff` alone. */
void byre_remapped_subclusters_locked(struct byre_qcow2 *image, uint64_t goff, struct byre_l2_entry entry,
                                      uint32_t mask);

#endif
