/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Zero detection.
 *
 * Data that is not zero nearly always shows it in its first, last or middle bytes, so those are asked before
 * anything is scanned.  The scan reads vectors of 16 bytes, eight to a round, which every 64-bit processor
 * has in its base set and which keeps up with memory.
 */
#include "config.h"

#include <stdint.h>
#include <string.h>

#include "base/zero.h"

typedef uint64_t vec128 __attribute__((vector_size(16)));

enum { ROUND = 8 * sizeof(vec128) };

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline vec128 load128(const uint8_t *p)
{
    vec128 v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* All bits that are set in the ROUND bytes at `p`, folded into one word. */
static inline uint64_t round_bits(const uint8_t *p)
{
    vec128 a = load128(p) | load128(p + 16);
    vec128 b = load128(p + 32) | load128(p + 48);
    vec128 c = load128(p + 64) | load128(p + 80);
    vec128 d = load128(p + 96) | load128(p + 112);
    vec128 all = (a | b) | (c | d);

    return all[0] | all[1];
}

/* Fewer than ROUND bytes. */
static bool is_zero_short(const uint8_t *p, size_t len)
{
    uint64_t bits = 0;

    for (; len >= 8; p += 8, len -= 8)
        bits |= load64(p);
    for (; len; p++, len--)
        bits |= *p;
    return bits == 0;
}

bool byre_is_zero(const void *buf, size_t len)
{
    const uint8_t *p = buf, *last_round;

    if (len < ROUND)
        return is_zero_short(p, len);
    if (load64(p) | load64(p + len - 8) | load64(p + len / 2 - 4))
        return false;
    last_round = p + len - ROUND;
    for (; p < last_round; p += ROUND) {
        if (round_bits(p))
            return false;
    }
    return round_bits(last_round) == 0; /* may overlap the round before it */
}
