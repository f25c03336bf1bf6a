/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Judging L2 entries (specification, "L2 table entry", "Extended L2 Entries"): see check_entry.h.
 */
#include "config.h"

#include "base/arith.h"
#include "qcow2/check_entry.h"
#include "qcow2/fmt_l2.h"

bool byre_check_is_inside(const struct byre_check_state *state, uint64_t hoff, uint64_t size)
{
    uint64_t end;

    return byre_add_fits(hoff, size, &end) &&
           (end <= state->reader.size || end - state->reader.size < state->cluster_size);
}

static void judge_compressed(const struct byre_check_state *state, struct byre_check_entry *ret)
{
    ret->compressed = true;
    if (ret->bitmap)
        ret->faults |= BYRE_FAULT_COMPRESSED;
    if (byre_check_has_data_file(state)) {
        ret->faults |= BYRE_FAULT_DATA_FILE;
        return;
    }
    if (ret->entry & BYRE_L2_COPIED)
        ret->faults |= BYRE_FAULT_COPIED;
    /* All bits of the offset, also those that no file can have: they show as a region outside the file. */
    ret->hoff = ret->entry & ((1ULL << byre_l2_compressed_shift(state->cluster_bits)) - 1);
    ret->length = byre_l2_compressed_stored(ret->entry, state->cluster_bits);
    ret->allocated = ret->counted = true;
    if (!byre_check_is_inside(state, ret->hoff, ret->length))
        ret->faults |= BYRE_FAULT_OUTSIDE;
}

static void judge_bitmap(struct byre_check_entry *ret)
{
    uint64_t allocated = ret->bitmap & BYRE_SUBCLUSTER_ALL, zero = ret->bitmap >> 32;

    if (ret->allocated && (allocated & zero))
        ret->faults |= BYRE_FAULT_BOTH;
    if (!ret->allocated && allocated)
        ret->faults |= BYRE_FAULT_NO_HOST;
    ret->zero = zero == BYRE_SUBCLUSTER_ALL;
}

void byre_check_entry_judge(const struct byre_check_state *state, uint64_t entry, uint64_t bitmap, uint64_t goff,
                            struct byre_check_entry *ret)
{
    bool extended = byre_check_entry_size(state) == 16, data_file = byre_check_has_data_file(state);

    *ret = (struct byre_check_entry){ .entry = entry, .bitmap = extended ? bitmap : 0 };
    if (entry & BYRE_L2_COMPRESSED) {
        judge_compressed(state, ret);
        return;
    }
    if (entry & BYRE_L2_RESERVED_MASK)
        ret->faults |= BYRE_FAULT_RESERVED;
    ret->hoff = byre_l2_offset(entry);
    ret->length = state->cluster_size;
    /* In a data file there may be a cluster at offset 0; COPIED tells. */
    ret->allocated = ret->hoff || (data_file && (entry & BYRE_L2_COPIED));
    ret->counted = ret->allocated && !data_file;
    ret->zero = !extended && state->header->version >= 3 && (entry & BYRE_L2_ZERO);
    if (extended)
        judge_bitmap(ret);
    if (!ret->allocated)
        return;
    if (!byre_is_aligned(ret->hoff, state->cluster_size))
        ret->faults |= BYRE_FAULT_UNALIGNED;
    else if (state->data_file_raw && goff != UINT64_MAX && ret->hoff != goff)
        ret->faults |= BYRE_FAULT_MOVED;
    if (ret->counted && !byre_check_is_inside(state, ret->hoff, ret->length))
        ret->faults |= BYRE_FAULT_OUTSIDE;
}
