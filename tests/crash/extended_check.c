/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counting what an image with extended L2 entries refers to, all of it in memory.
 */
#include "config.h"

#include "extended_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/fmt_l2.h"
#include "qcow2/fmt_refcount.h"
#include "qcow2/header_read.h"

struct count {
    struct byre_qcow2_header header;
    uint8_t *bytes;
    uint64_t length, clusters;
    uint32_t *references;
    struct extended_result *result;
};

static void refer(struct count *count, uint64_t hoff, uint64_t length)
{
    uint64_t first = hoff >> count->header.cluster_bits, last = (hoff + length - 1) >> count->header.cluster_bits;

    for (; length && first <= last; first++) {
        if (first < count->clusters)
            count->references[first]++;
        else
            count->result->corruptions++; /* past the end of the file */
    }
}

static uint64_t at(const struct count *count, uint64_t hoff)
{
    return hoff + 8 <= count->length ? byre_get_be64(count->bytes + hoff) : 0;
}

static uint64_t refcount_of(struct count *count, uint64_t cluster)
{
    unsigned bits = count->header.cluster_bits + 3 - count->header.refcount_order;
    uint64_t block = at(count, count->header.reftable_hoff + (cluster >> bits) * 8) & ~511ULL;

    if (cluster >> bits >= (uint64_t)count->header.reftable_clusters << (count->header.cluster_bits - 3) || !block ||
        block + (1ULL << count->header.cluster_bits) > count->length)
        return 0;
    return byre_refcount_get(count->bytes + block, cluster & ((1ULL << bits) - 1), count->header.refcount_order);
}

static void count_entry(struct count *count, struct byre_l2_entry entry)
{
    unsigned cluster_bits = count->header.cluster_bits;
    struct byre_subclusters subclusters = byre_l2_subclusters(entry, 3, true);
    bool copied = entry.word & BYRE_L2_COPIED, reserved = entry.word & BYRE_L2_RESERVED_MASK;
    uint64_t hoff = byre_l2_offset(entry.word);

    switch (byre_l2_place(entry)) {
    case BYRE_PLACE_NONE:
        count->result->corruptions += subclusters.data || copied || reserved;
        break;
    case BYRE_PLACE_CLUSTER:
        refer(count, hoff, 1ULL << cluster_bits);
        count->result->corruptions += (hoff & ((1ULL << cluster_bits) - 1)) || (subclusters.data & subclusters.zero) ||
                                      reserved || (entry.word & BYRE_L2_ZERO) ||
                                      copied != (refcount_of(count, hoff >> cluster_bits) == 1);
        break;
    case BYRE_PLACE_COMPRESSED:
        refer(count, byre_l2_compressed_offset(entry.word, cluster_bits),
              byre_l2_compressed_stored(entry.word, cluster_bits));
        count->result->corruptions += entry.bitmap || copied;
        break;
    }
}

static void count_all(struct count *count)
{
    const struct byre_qcow2_header *header = &count->header;
    uint64_t cluster = 1ULL << header->cluster_bits, table, block;

    refer(count, 0, cluster);
    refer(count, header->l1_hoff, header->l1_size * 8ULL);
    refer(count, header->reftable_hoff, header->reftable_clusters * cluster);
    for (uint64_t i = 0; i < header->reftable_clusters * cluster / 8; i++) {
        block = at(count, header->reftable_hoff + i * 8);
        refer(count, block, block ? cluster : 0);
    }
    for (uint32_t i = 0; i < header->l1_size; i++) {
        table = at(count, header->l1_hoff + i * 8ULL) & BYRE_L1_OFFSET_MASK;
        if (table)
            refer(count, table, cluster);
        for (uint64_t entry = table; table && entry < table + cluster; entry += 16)
            count_entry(count, (struct byre_l2_entry){ at(count, entry), at(count, entry + 8) });
    }
    for (uint64_t i = 0; i < count->clusters; i++) {
        uint64_t refcount = refcount_of(count, i);

        count->result->corruptions += refcount < count->references[i];
        count->result->leaks += refcount > count->references[i];
    }
}

int extended_check(struct byre_store *store, struct extended_result *ret_result)
{
    struct count count = { .result = ret_result };
    int rc = byre_qcow2_header_read(store, &count.header, NULL);

    *ret_result = (struct extended_result){ 0 };
    if (rc == 0)
        rc = byre_store_size(store, &count.length, NULL);
    if (rc == 0) {
        count.clusters = byre_div_up(count.length, 1ULL << count.header.cluster_bits);
        count.bytes = malloc(count.length);
        count.references = calloc(count.clusters, sizeof *count.references);
        rc = count.bytes && count.references ? byre_store_pread(store, count.bytes, count.length, 0, NULL) : -ENOMEM;
    }
    if (rc == 0)
        count_all(&count);
    free(count.bytes);
    free(count.references);
    byre_qcow2_header_done(&count.header);
    return rc;
}
