/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sizes in text.  What is accepted, and how a fraction is rounded, is what qemu-img does:
 *   - white space and one '+' may come first, nothing may follow the suffix,
 *   - digits come before the point, digits after it are optional; no exponents,
 *   - a fraction of a byte is refused by intention ("1.5b") and rounded to the nearest byte otherwise,
 *   - hexadecimal numbers have no fraction, and no suffix b or e since those are digits.
 * The arithmetic is exact, where qemu-img gets long fractions of an exbibyte wrong by some bytes.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "base/size.h"

/* Digits of a fraction that can make a difference: more than that is less than a byte in an exbibyte. */
enum { FRACTION_DIGITS = 19 };

struct number {
    uint64_t whole;
    bool too_big;        /* the whole part does not fit */
    uint64_t fraction;   /* digits after the point, as a number */
    uint64_t divisor;    /* 10 to the power of their count */
};

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

/* Reads digits of `base`; NULL if there is none.  Returns what follows them. */
static const char *parse_whole(const char *p, unsigned base, struct number *number)
{
    const char *start = p;
    unsigned digit;

    for (; (digit = (unsigned)digit_value(*p)) < base; p++) {
        if (!byre_mul_fits(number->whole, base, &number->whole) ||
            !byre_add_fits(number->whole, digit, &number->whole))
            number->too_big = true;
    }
    return p == start ? NULL : p;
}

static const char *parse_fraction(const char *p, struct number *number)
{
    for (int n = 0; *p >= '0' && *p <= '9'; p++, n++) {
        if (n < FRACTION_DIGITS) {
            number->fraction = number->fraction * 10 + (uint64_t)(*p - '0');
            number->divisor *= 10;
        }
    }
    return p;
}

/* The power of two that a suffix stands for, or -1. */
static int suffix_shift(char suffix)
{
    static const char suffixes[] = "bkmgtpe";
    const char *found = suffix ? strchr(suffixes, tolower((unsigned char)suffix)) : NULL;

    return found ? (int)(found - suffixes) * 10 : -1;
}

static int scale(const struct number *number, int shift, uint64_t *ret_size)
{
    unsigned __int128 size = (unsigned __int128)number->whole << shift;
    unsigned __int128 part = (unsigned __int128)number->fraction << shift;

    if (number->fraction && shift == 0)
        return -EINVAL;
    size += (part + number->divisor / 2) / number->divisor;
    if (number->too_big || size > INT64_MAX)
        return -ERANGE;
    *ret_size = (uint64_t)size;
    return 0;
}

int byre_size_parse(const char *text, char default_suffix, uint64_t *ret_size)
{
    struct number number = { .divisor = 1 };
    const char *p = text;
    int shift;

    while (isspace((unsigned char)*p))
        p++;
    if (*p == '+')
        p++;
    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
        p = parse_whole(p + 2, 16, &number);
    } else {
        p = parse_whole(p, 10, &number);
        if (p && *p == '.')
            p = parse_fraction(p + 1, &number);
    }
    if (!p)
        return -EINVAL;
    shift = suffix_shift(*p ? *p++ : default_suffix);
    if (shift < 0 || *p)
        return -EINVAL;
    return scale(&number, shift, ret_size);
}

char *byre_size_format(uint64_t size, char *buf, size_t buf_size)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    size_t unit = 0;

    /* The next unit starts at a thousand, not at 1024: three digits are all that is shown. */
    while (unit + 1 < ARRAY_LEN(units) && size >> (10 * unit) >= 1000)
        unit++;
    snprintf(buf, buf_size, "%.3g %s", (double)size / (double)(1ULL << (10 * unit)), units[unit]);
    return buf;
}
