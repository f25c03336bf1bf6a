/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Entries of bitmap tables (specification, "Bitmap table"), as the checker counts and mends them.
 */
#ifndef BYRE_QCOW2_CHECK_BITMAPS_H
#define BYRE_QCOW2_CHECK_BITMAPS_H

#include "qcow2/check_state.h"
#include "qcow2/fmt_bitmap.h"

#define BYRE_BITMAP_ENTRY_RESERVED 0xff000000000001feULL
#define BYRE_BITMAP_ENTRY_OFFSET   0x00fffffffffffe00ULL

/* Bit 0 says that all bits are ones, of an entry without a cluster; beside one it is reserved, too. */
static inline bool byre_bitmap_entry_reserved(uint64_t entry)
{
    return (entry & BYRE_BITMAP_ENTRY_RESERVED) || ((entry & BYRE_BITMAP_ENTRY_OFFSET) && (entry & 1));
}

#endif
