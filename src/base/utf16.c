/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From UTF-16 to UTF-8.
 */
#include "config.h"

#include "base/utf16.h"

#include <stdbool.h>

#include "base/utf8.h"

#define REPLACEMENT 0xfffdu

static bool is_high(uint32_t unit)
{
    return unit >= 0xd800 && unit < 0xdc00;
}

static bool is_low(uint32_t unit)
{
    return unit >= 0xdc00 && unit < 0xe000;
}

void byre_utf16_to_utf8(const uint16_t *units, size_t count, char *text)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t c = units[i];
        uint32_t next = i + 1 < count ? units[i + 1] : 0;

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
