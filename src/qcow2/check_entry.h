/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an L2 entry says by itself, and what of it cannot be true: shared by the counting, which reports it,
 * and by the mending, which corrects it.
 */
#ifndef BYRE_QCOW2_CHECK_ENTRY_H
#define BYRE_QCOW2_CHECK_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "qcow2/check_state.h"

/* Subclusters of an extended entry: the bitmap's low half says "allocated", its high half "reads as zero". */
#define BYRE_SUBCLUSTER_ALL 0xffffffffULL

enum byre_entry_fault {
    BYRE_FAULT_RESERVED = 1 << 0,   /* reserved bits are set */
    BYRE_FAULT_COPIED = 1 << 1,     /* a compressed cluster has COPIED */
    BYRE_FAULT_DATA_FILE = 1 << 2,  /* ... or is in an image with a data file */
    BYRE_FAULT_UNALIGNED = 1 << 3,  /* the offset is not that of a cluster */
    BYRE_FAULT_OUTSIDE = 1 << 4,    /* it exceeds the file by a cluster or more */
    BYRE_FAULT_BOTH = 1 << 5,       /* a subcluster is allocated, and reads as zero */
    BYRE_FAULT_NO_HOST = 1 << 6,    /* a subcluster is allocated in a cluster that is not */
    BYRE_FAULT_COMPRESSED = 1 << 7, /* a compressed cluster has a bitmap */
    BYRE_FAULT_MOVED = 1 << 8,      /* not at its guest offset, in a data file that claims to be raw */
};

struct byre_check_entry {
    uint64_t entry, bitmap; /* bitmap: 0 without extended L2 entries */
    bool compressed;
    bool zero;      /* reads as zero, all of it */
    bool allocated; /* refers to [hoff, hoff+length) */
    bool counted;   /* ... of this file */
    uint64_t hoff;
    uint32_t length;
    unsigned faults; /* enum byre_entry_fault */
};

/* Bytes of an entry: 8, or 16 with extended L2 entries. */
static inline unsigned byre_check_entry_size(const struct byre_check_state *state)
{
    return state->header->incompatible & BYRE_QCOW2_INCOMPAT_EXTENDED_L2 ? 16 : 8;
}

static inline bool byre_check_has_data_file(const struct byre_check_state *state)
{
    return state->header->incompatible & BYRE_QCOW2_INCOMPAT_DATA_FILE;
}

/* `goff` is what the entry maps; UINT64_MAX: not known. */
void byre_check_entry_judge(const struct byre_check_state *state, uint64_t entry, uint64_t bitmap, uint64_t goff,
                            struct byre_check_entry *ret);

/* May [hoff, hoff+size) be referred to?  The file's last cluster may be there in part, and a region may exceed
 * it by less than a cluster. */
bool byre_check_is_inside(const struct byre_check_state *state, uint64_t hoff, uint64_t size);

#endif
