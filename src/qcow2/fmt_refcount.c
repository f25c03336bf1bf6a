/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Refcount block entries: see fmt_refcount.h.  Blocks are big-endian bytes as they stand in the file; any
 * alignment.
 */
#include "config.h"

#include "base/endian.h"
#include "qcow2/fmt_refcount.h"

/* Where an entry of less than 8 bits stands: the shift within its byte. */
static unsigned narrow_shift(size_t index, unsigned order)
{
    unsigned per_byte = 8u >> order;

    return (unsigned)(index & (per_byte - 1)) << order;
}

uint64_t byre_refcount_get(const void *block, size_t index, unsigned order)
{
    const uint8_t *bytes = block;

    switch (order) {
    case 3:
        return bytes[index];
    case 4:
        return byre_get_be16(bytes + index * 2);
    case 5:
        return byre_get_be32(bytes + index * 4);
    case 6:
        return byre_get_be64(bytes + index * 8);
    default:
        return bytes[index >> (3 - order)] >> narrow_shift(index, order) & byre_refcount_max(order);
    }
}

void byre_refcount_set(void *block, size_t index, unsigned order, uint64_t value)
{
    uint8_t *bytes = block;
    uint8_t *byte;
    unsigned shift;

    switch (order) {
    case 3:
        bytes[index] = (uint8_t)value;
        break;
    case 4:
        byre_put_be16(bytes + index * 2, (uint16_t)value);
        break;
    case 5:
        byre_put_be32(bytes + index * 4, (uint32_t)value);
        break;
    case 6:
        byre_put_be64(bytes + index * 8, value);
        break;
    default:
        byte = &bytes[index >> (3 - order)];
        shift = narrow_shift(index, order);
        *byte = (uint8_t)((*byte & ~(byre_refcount_max(order) << shift)) | value << shift);
    }
}
