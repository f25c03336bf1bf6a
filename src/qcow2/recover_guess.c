/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which size have the clusters of an image without a header?
 *
 * Offsets in table entries are multiples of it, and half of them are odd multiples: clusters are mostly used one after
 * the other.  So the size is the one that most offsets have as their largest power of two.  Entries are looked for in
 * sectors in which every word may be one.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/recover.h"

#define CHUNK    (1u << 20)
#define SECTOR   512u
#define EVIDENCE 8u /* two entries that are flagged are the least to go by */

/* Counts the offsets of a sector by their largest power of two, if all of its words may be entries. */
static void look_at(const struct byre_recover_plan *plan, const uint8_t *sector, uint64_t counts[64])
{
    uint64_t mine[64] = { 0 };

    for (unsigned at = 0; at < SECTOR; at += 8) {
        uint64_t entry = byre_get_be64(sector + at), hoff = byre_l2_offset(entry);

        if (entry == 0 || entry == BYRE_L2_ZERO)
            continue;
        if ((entry & (BYRE_L2_COMPRESSED | BYRE_L2_RESERVED_MASK)) || hoff == 0 || hoff >= plan->limit)
            return;
        mine[byre_log2(hoff & -hoff)] += entry & BYRE_L2_COPIED ? 4 : 1; /* which is a sign of an entry, too */
    }
    for (unsigned i = 0; i < 64; i++)
        counts[i] += mine[i];
}

int byre_recover_guess_clusters(struct byre_recover_plan *plan, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = malloc(CHUNK);
    uint64_t counts[64] = { 0 }, length = 0;
    unsigned best = BYRE_QCOW2_CLUSTER_BITS_MIN;

    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "recovering '%s'", plan->store->name);
    for (uint64_t hoff = 0; hoff < plan->file_size; hoff += length) {
        bool hole = false;

        if (byre_store_extent(plan->store, hoff, &length, &hole, NULL) < 0 || length == 0)
            length = CHUNK;
        if (hole)
            continue;
        length = MIN(length, (uint64_t)CHUNK);
        if (byre_store_pread(plan->store, bytes, CHUNK, hoff, NULL) < 0)
            continue;
        for (size_t at = 0; at + SECTOR <= length; at += SECTOR)
            look_at(plan, bytes + at, counts);
    }
    for (unsigned bits = BYRE_QCOW2_CLUSTER_BITS_MIN; bits <= BYRE_QCOW2_CLUSTER_BITS_MAX; bits++) {
        if (counts[bits] > counts[best])
            best = bits;
    }
    if (counts[best] < EVIDENCE)
        return byre_error_set(err, -EINVAL,
                              "'%s' has no header, and too little of it is left to tell the size of its clusters",
                              plan->store->name);
    plan->header.cluster_bits = best;
    return 0;
}
