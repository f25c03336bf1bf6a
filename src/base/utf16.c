/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From UTF-16 to UTF-8.
 */
#include "config.h"

#include "base/utf16.h"

#include <stdbool.h>

#include "base/endian.h"

#define REPLACEMENT 0xfffdu

static bool is_high(uint32_t unit)
{
    return unit >= 0xd800 && unit < 0xdc00;
}

static bool is_low(uint32_t unit)
{
    return unit >= 0xdc00 && unit < 0xe000;
}

size_t byre_utf8_put(char *to, uint32_t c)
{
    static const uint8_t heads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    for (size_t i = length - 1; i > 0; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)(heads[length] | c);
    return length;
}

void byre_utf16_to_utf8(const uint8_t *units, size_t count, char *text)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t c = byre_get_le16(units + 2 * i);
        uint32_t next = i + 1 < count ? byre_get_le16(units + 2 * i + 2) : 0;

        if (!c)
            break;
        if (is_high(c) && is_low(next)) {
            c = 0x10000 + ((c - 0xd800) << 10) + (next - 0xdc00);
            i++;
        } else if (is_high(c) || is_low(c)) {
            c = REPLACEMENT;
        }
        text += byre_utf8_put(text, c);
    }
    *text = '\0';
}
