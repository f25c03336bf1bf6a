/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bits in memory, one for each granule of a disk, as sparse as a bitmap is in the file: in chunks, of which those that
 * are all zeros or all ones take no room.
 *
 * Setting is thread-safe, takes no lock and cannot fail.  Everything else wants the bits for itself.
 */
#ifndef BYRE_QCOW2_BITMAP_BITS_H
#define BYRE_QCOW2_BITMAP_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre/error.h"

struct byre_bits;

/* All zeros, for a disk of `size` bytes; `chunk_bytes`, a power of two from 8 on, hold one chunk's bits.  -ENOMEM. */
int byre_bits_new(uint64_t size, unsigned granularity_bits, uint32_t chunk_bytes, struct byre_bits **ret_bits,
                  struct byre_error *err);
void byre_bits_free(struct byre_bits *bits);

/* Sets the bits of all granules that [goff, goff+length) touches, as far as they are on the disk.  If memory is short,
 * more of them: of the whole chunk. */
void byre_bits_set(struct byre_bits *bits, uint64_t goff, uint64_t length);

/* How many bits there are, and how many chunks. */
uint64_t byre_bits_count(const struct byre_bits *bits);
size_t byre_bits_chunks(const struct byre_bits *bits);

/* Is no bit of the chunk set? */
bool byre_bits_chunk_empty(const struct byre_bits *bits, size_t chunk);
/* Sets in `bytes`, a chunk as it is in the file, those bits that are set here. */
void byre_bits_merge_into(const struct byre_bits *bits, size_t chunk, uint8_t *bytes);

/* In `bytes`, bits as they are in the file: the first bit from `first` on, before `end`, that is `value`; `end` if
 * there is none. */
uint64_t byre_bits_find(const uint8_t *bytes, uint64_t first, uint64_t end, bool value);

#endif
