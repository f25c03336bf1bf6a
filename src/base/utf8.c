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

size_t byre_utf8_length(const void *at, size_t left, uint32_t *ret_char)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const uint8_t *s = at;
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    uint32_t c = n < 2 ? s[0] : s[0] & (0x7fu >> n);

    if (!n || n > left)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < least[n] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
        return 0;
    if (ret_char)
        *ret_char = c;
    return n;
}

bool byre_utf8_is_text(const void *at, size_t length)
{
    const uint8_t *s = at;

    for (size_t i = 0, n; i < length; i += n) {
        n = byre_utf8_length(s + i, length - i, NULL);
        if (!n)
            return false;
    }
    return true;
}
