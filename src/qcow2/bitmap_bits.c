/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bits in memory: see bitmap_bits.h.
 *
 * Invariants
 *   B1. A chunk is NULL (zeros), `all_ones`, or words of its own.  It only goes from NULL to one of the others, by one
 *       exchange, so that no thread ever holds words that are released.
 *   B2. Words are in the file's order, the lowest bit of the first byte first.
 */
#include "config.h"

#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "qcow2/bitmap_bits.h"

#define WORD_BITS 64u

typedef _Atomic uint64_t word;

struct byre_bits {
    uint64_t size, count;
    unsigned granularity_bits, chunk_bits; /* log2 of the bits in a chunk */
    size_t chunk_count;
    word all_ones;                         /* its address stands for a chunk */
    _Atomic(word *) chunks[];
};

int byre_bits_new(uint64_t size, unsigned granularity_bits, uint32_t chunk_bytes, struct byre_bits **ret_bits,
                  struct byre_error *err)
{
    unsigned chunk_bits = (unsigned)__builtin_ctz(chunk_bytes) + 3;
    uint64_t count = byre_div_up(size, 1ULL << granularity_bits);
    uint64_t chunks = byre_div_up(count, 1ULL << chunk_bits);
    struct byre_bits *bits = NULL;

    if (chunks <= SIZE_MAX / 2 / sizeof bits->chunks[0])
        bits = calloc(1, sizeof *bits + (size_t)chunks * sizeof bits->chunks[0]);
    if (!bits)
        return byre_error_set(err, -ENOMEM, "Could not allocate a bitmap of %llu bits", (unsigned long long)count);
    bits->size = size;
    bits->count = count;
    bits->granularity_bits = granularity_bits;
    bits->chunk_bits = chunk_bits;
    bits->chunk_count = (size_t)chunks;
    *ret_bits = bits;
    return 0;
}

void byre_bits_free(struct byre_bits *bits)
{
    if (!bits)
        return;
    for (size_t i = 0; i < bits->chunk_count; i++) {
        word *words = atomic_load_explicit(&bits->chunks[i], memory_order_relaxed);

        if (words != &bits->all_ones)
            free((void *)words);
    }
    free(bits);
}

uint64_t byre_bits_count(const struct byre_bits *bits)
{
    return bits->count;
}

size_t byre_bits_chunks(const struct byre_bits *bits)
{
    return bits->chunk_count;
}

/* --- setting -------------------------------------------------------------------------------------------- */

/* The words of a chunk that has none; `whole`, or without memory: all ones. */
static word *make_chunk(struct byre_bits *bits, size_t chunk, bool whole)
{
    word *words = whole ? NULL : calloc(1ULL << (bits->chunk_bits - 6), sizeof *words), *there = NULL;

    if (!words)
        words = &bits->all_ones;
    if (atomic_compare_exchange_strong(&bits->chunks[chunk], &there, words))
        return words;
    if (words != &bits->all_ones)
        free((void *)words);
    return there;
}

static void set_word(word *at, uint64_t mask)
{
    mask = htole64(mask);
    if ((atomic_load_explicit(at, memory_order_relaxed) & mask) != mask)
        atomic_fetch_or_explicit(at, mask, memory_order_relaxed);
}

/* The bits [first, end) of a word; `first` is less than `end`. */
static uint64_t mask_of(unsigned first, unsigned end)
{
    return (UINT64_MAX << first) & (UINT64_MAX >> (WORD_BITS - end));
}

/* Sets the bits [first, end) of a chunk. */
static void set_in_chunk(struct byre_bits *bits, size_t chunk, uint64_t first, uint64_t end)
{
    word *words = atomic_load_explicit(&bits->chunks[chunk], memory_order_acquire);

    if (!words)
        words = make_chunk(bits, chunk, end - first == 1ULL << bits->chunk_bits);
    if (words == &bits->all_ones)
        return;
    while (first < end) {
        uint64_t base = first & ~(uint64_t)(WORD_BITS - 1), next = MIN(base + WORD_BITS, end);

        set_word(&words[first / WORD_BITS], mask_of((unsigned)(first - base), (unsigned)(next - base)));
        first = next;
    }
}

void byre_bits_set(struct byre_bits *bits, uint64_t goff, uint64_t length)
{
    uint64_t first, end, last;

    if (!length || goff >= bits->size)
        return;
    last = length - 1 < bits->size - 1 - goff ? goff + length - 1 : bits->size - 1;
    first = goff >> bits->granularity_bits;
    end = (last >> bits->granularity_bits) + 1;
    while (first < end) {
        uint64_t chunk = first >> bits->chunk_bits, base = chunk << bits->chunk_bits;
        uint64_t next = MIN(end, base + (1ULL << bits->chunk_bits));

        set_in_chunk(bits, (size_t)chunk, first - base, next - base);
        first = next;
    }
}

/* --- reading -------------------------------------------------------------------------------------------- */

bool byre_bits_chunk_empty(const struct byre_bits *bits, size_t chunk)
{
    return !atomic_load_explicit(&bits->chunks[chunk], memory_order_relaxed);
}

void byre_bits_merge_into(const struct byre_bits *bits, size_t chunk, uint8_t *bytes)
{
    word *words = atomic_load_explicit(&bits->chunks[chunk], memory_order_acquire);
    uint64_t base = (uint64_t)chunk << bits->chunk_bits, valid = MIN(1ULL << bits->chunk_bits, bits->count - base);

    for (uint64_t at = 0; words && at < valid; at += WORD_BITS) {
        uint64_t mine = htole64(mask_of(0, (unsigned)MIN(valid - at, (uint64_t)WORD_BITS))), old;

        if (words != &bits->all_ones)
            mine = atomic_load_explicit(&words[at / WORD_BITS], memory_order_relaxed);
        memcpy(&old, bytes + at / 8, sizeof old);
        old |= mine;
        memcpy(bytes + at / 8, &old, sizeof old);
    }
}

uint64_t byre_bits_find(const uint8_t *bytes, uint64_t first, uint64_t end, bool value)
{
    while (first < end) {
        uint64_t base = first & ~(uint64_t)(WORD_BITS - 1), bits;

        memcpy(&bits, bytes + base / 8, sizeof bits);
        bits = le64toh(bits);
        bits = (value ? bits : ~bits) & (UINT64_MAX << (first - base));
        if (bits)
            return MIN(base + (unsigned)__builtin_ctzll(bits), end);
        first = base + WORD_BITS;
    }
    return end;
}
