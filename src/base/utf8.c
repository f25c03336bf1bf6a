/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which bytes are UTF-8 (RFC 3629): the shortest form, no surrogates, nothing above U+10FFFF.
 */
#include "config.h"

#include "base/utf8.h"

size_t byre_utf8_put(char *to, uint32_t c)
{
    static const uint8_t heads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    for (size_t i = length - 1; i > 0; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)(heads[length] | c);
    return length;
}

size_t byre_utf8_length(const unsigned char *s, uint32_t *ret_char)
{
    uint32_t c = s[0];
    size_t n;

    n = s[0] < 0x80                     ? 1
        : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
        : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
        : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                                      : 0;
    if (!n)
        return 0;
    if (n > 1)
        c &= 0xffu >> (n + 1);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if ((n == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) || (n == 4 && (c < 0x10000 || c > 0x10ffff)))
        return 0;
    if (ret_char)
        *ret_char = c;
    return n;
}
