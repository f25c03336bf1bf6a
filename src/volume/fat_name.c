/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names: short ones from code page 437, which Linux takes, too, and long ones from UTF-16; both become UTF-8.  Pure
 * functions.
 *
 *   N1. What comes out can be shown: not empty, not "." nor "..", no slash and no control characters.
 *   N2. Halves of surrogates become U+FFFD.
 *   N3. Case is ignored in the Latin, Greek, Cyrillic, Armenian and full-width letters that have two; all else is
 *       compared as it is.  Dots at the end count for nothing, as on Linux and Windows.
 */
#include "config.h"

#include "volume/fat.h"

#include <string.h>

#include "base/arith.h"
#include "base/utf16.h"
#include "base/utf8.h"

#define LOWER_BASE      0x08 /* bits of the byte at NT_CASE */
#define LOWER_EXTENSION 0x10
#define NT_CASE         12

static const uint16_t page_437[128] = {
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7,
    0x00ea, 0x00eb, 0x00e8, 0x00ef, 0x00ee, 0x00ec, 0x00c4, 0x00c5,
    0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9,
    0x00ff, 0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192,
    0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa, 0x00ba,
    0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb,
    0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556,
    0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510,
    0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
    0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567,
    0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b,
    0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
    0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4,
    0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229,
    0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248,
    0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
};

/* --- UTF-8 ------------------------------------------------------------------------------------------------- */

/* The next character before `end`; a byte that belongs to none stands for itself, above all characters. */
static uint32_t take_character(const char **from, const char *end)
{
    uint32_t c = 0x110000u + (uint8_t)**from;
    size_t length = byre_utf8_length(*from, (size_t)(end - *from), &c);

    *from += MAX(length, 1u);
    return c;
}

/* --- case -------------------------------------------------------------------------------------------------- */

/* Capital letters: the small one is `distance` further, or with 0 the pairs stand side by side from `first` on. */
static const struct capitals {
    uint16_t first, last, distance;
} capitals[] = {
    { 'A', 'Z', 32 },         { 0x00c0, 0x00d6, 32 },   { 0x00d8, 0x00de, 32 },   { 0x0100, 0x012f, 0 },
    { 0x0132, 0x0137, 0 },    { 0x0139, 0x0148, 0 },    { 0x014a, 0x0177, 0 },    { 0x0179, 0x017e, 0 },
    { 0x0386, 0x0386, 38 },   { 0x0388, 0x038a, 37 },   { 0x038c, 0x038c, 64 },   { 0x038e, 0x038f, 63 },
    { 0x0391, 0x03a1, 32 },   { 0x03a3, 0x03ab, 32 },   { 0x03d8, 0x03ef, 0 },    { 0x0400, 0x040f, 80 },
    { 0x0410, 0x042f, 32 },   { 0x0460, 0x0481, 0 },    { 0x048a, 0x04bf, 0 },    { 0x04c1, 0x04ce, 0 },
    { 0x04d0, 0x052f, 0 },    { 0x0531, 0x0556, 48 },   { 0x1e00, 0x1e95, 0 },    { 0x1ea0, 0x1eff, 0 },
    { 0xff21, 0xff3a, 32 },
};

static uint32_t small(uint32_t c)
{
    for (unsigned i = 0; i < ARRAY_LEN(capitals) && capitals[i].first <= c; i++) {
        const struct capitals *range = &capitals[i];

        if (c <= range->last)
            return range->distance ? c + range->distance : c + !((c - range->first) & 1);
    }
    if (c == 0x0178)
        return 0x00ff;
    return c == 0x03c2 ? 0x03c3 : c; /* a sigma at the end of a word */
}

/* --- names of entries -------------------------------------------------------------------------------------- */

static bool can_be_shown(const char *name, size_t length)
{
    if (!length || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        if ((uint8_t)name[i] < 0x20 || name[i] == '/' || name[i] == 0x7f)
            return false;
    }
    return true;
}

static size_t without_spaces(const uint8_t *bytes, size_t length)
{
    while (length && bytes[length - 1] == ' ')
        length--;
    return length;
}

static char *put_437(char *to, const uint8_t *bytes, size_t length, bool lower)
{
    for (size_t i = 0; i < length; i++) {
        uint32_t c = bytes[i] < 0x80 ? bytes[i] : page_437[bytes[i] - 0x80];

        to += byre_utf8_put(to, lower ? small(c) : c);
    }
    return to;
}

bool byre_fat_name_short(const uint8_t *entry, char *ret_name)
{
    uint8_t bytes[11];
    size_t base, extension;
    char *end;

    memcpy(bytes, entry, sizeof bytes);
    if (bytes[0] == 0x05) /* 0xe5 would mean that the entry is free */
        bytes[0] = 0xe5;
    base = without_spaces(bytes, 8);
    extension = without_spaces(bytes + 8, 3);
    end = put_437(ret_name, bytes, base, entry[NT_CASE] & LOWER_BASE);
    if (extension) {
        *end++ = '.';
        end = put_437(end, bytes + 8, extension, entry[NT_CASE] & LOWER_EXTENSION);
    }
    *end = '\0';
    return base && can_be_shown(ret_name, (size_t)(end - ret_name));
}

bool byre_fat_name_long(const uint16_t *units, unsigned count, char *ret_name)
{
    byre_utf16_to_utf8(units, MIN(count, BYRE_FAT_UNITS_MAX), ret_name);
    return can_be_shown(ret_name, strlen(ret_name));
}

void byre_fat_name_label(const uint8_t *label, char *ret_label)
{
    uint8_t bytes[11];
    char *end;

    memcpy(bytes, label, sizeof bytes);
    if (bytes[0] == 0x05)
        bytes[0] = 0xe5;
    for (unsigned i = 0; i < sizeof bytes; i++) {
        if (bytes[i] < 0x20 || bytes[i] == 0x7f)
            bytes[i] = bytes[i] ? '?' : ' ';
    }
    end = put_437(ret_label, bytes, without_spaces(bytes, sizeof bytes), false);
    *end = '\0';
}

uint8_t byre_fat_name_checksum(const uint8_t *short_name)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < 11; i++)
        sum = (uint8_t)((sum << 7 | sum >> 1) + short_name[i]);
    return sum;
}

/* --- comparing ---------------------------------------------------------------------------------------------- */

static const char *end_of_name(const char *name)
{
    const char *end = name + strlen(name), *last = end;

    while (last > name && last[-1] == '.')
        last--;
    return last > name ? last : end;
}

/* One more character of a polynomial modulo 2^61 - 1: two different ones have few points in common. */
static uint64_t add_character(uint64_t hash, uint64_t key, uint32_t c)
{
    const uint64_t prime = (UINT64_C(1) << 61) - 1;
    unsigned __int128 product = (unsigned __int128)hash * key + c + 1;
    uint64_t sum = (uint64_t)(product & prime) + (uint64_t)(product >> 61);

    return sum >= prime ? sum - prime : sum;
}

uint64_t byre_fat_name_hash(const char *name, bool fold, uint64_t key)
{
    const char *end = fold ? end_of_name(name) : name + strlen(name);
    uint64_t hash = 1;

    while (name < end) {
        uint32_t c = take_character(&name, end);

        hash = add_character(hash, key, fold ? small(c) : c);
    }
    hash = add_character(hash, key, 0) * 0x9e3779b97f4a7c15;
    return (hash ^ hash >> 32) * 0xbf58476d1ce4e5b9;
}

bool byre_fat_name_same(const char *a, const char *b)
{
    const char *a_end = end_of_name(a), *b_end = end_of_name(b);

    while (a < a_end && b < b_end) {
        if (small(take_character(&a, a_end)) != small(take_character(&b, b_end)))
            return false;
    }
    return a == a_end && b == b_end;
}
