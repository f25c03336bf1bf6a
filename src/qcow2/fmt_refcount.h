/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Refcount block entries (qcow2 specification, "Host cluster management"): widths of 1 to 64 bits.
 * Entries narrower than a byte start at the least significant bit of their byte.
 */
#ifndef BYRE_QCOW2_FMT_REFCOUNT_H
#define BYRE_QCOW2_FMT_REFCOUNT_H

#include <stddef.h>
#include <stdint.h>

#define BYRE_REFTABLE_OFFSET_MASK 0xfffffffffffffe00ULL

/* `order` is log2 of the width in bits: 0 to 6. */
uint64_t byre_refcount_get(const void *block, size_t index, unsigned order);

/* `value` fits the width. */
void byre_refcount_set(void *block, size_t index, unsigned order, uint64_t value);

/* The largest count that the width holds. */
static inline uint64_t byre_refcount_max(unsigned order)
{
    return order == 6 ? UINT64_MAX : (1ULL << (1u << order)) - 1;
}

#endif
