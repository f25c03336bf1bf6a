/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checked and rounding arithmetic on offsets and sizes.  Alignments are powers of two.
 */
#ifndef BYRE_BASE_ARITH_H
#define BYRE_BASE_ARITH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ({ __typeof__(a) a_ = (a); __typeof__(b) b_ = (b); a_ < b_ ? a_ : b_; })
#define MAX(a, b) ({ __typeof__(a) a_ = (a); __typeof__(b) b_ = (b); a_ > b_ ? a_ : b_; })

static inline uint64_t byre_round_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}

/* The caller knows that the result fits. */
static inline uint64_t byre_round_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

static inline bool byre_is_aligned(uint64_t v, uint64_t align)
{
    return (v & (align - 1)) == 0;
}

static inline uint64_t byre_div_up(uint64_t v, uint64_t by)
{
    return v / by + (v % by != 0);
}

/* True if a + b does not overflow; then it is stored. */
static inline bool byre_add_fits(uint64_t a, uint64_t b, uint64_t *ret)
{
    return !__builtin_add_overflow(a, b, ret);
}

static inline bool byre_mul_fits(uint64_t a, uint64_t b, uint64_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

/* True if [off, off + len) lies within [0, size). */
static inline bool byre_range_within(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

static inline unsigned byre_log2(uint64_t power_of_two)
{
    return (unsigned)__builtin_ctzll(power_of_two);
}

static inline bool byre_is_power_of_two(uint64_t v)
{
    return v && !(v & (v - 1));
}

#endif
