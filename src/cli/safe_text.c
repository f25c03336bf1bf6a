/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text from strangers on a terminal: nothing that it could take for a command, or that shows another name than there
 * is.
 */
#include "config.h"

#include "cli/safe_text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/utf8.h"
#include "cli/message.h"

/* Characters that change what is shown around them: directions of writing, and lines of their own. */
static bool is_formatting(uint32_t c)
{
    return (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x61c ||
           c == 0xfeff;
}

static bool is_shown(uint32_t c)
{
    return c >= 0x20 && !(c >= 0x7f && c < 0xa0) && !is_formatting(c);
}

/* East Asian wide characters and most pictures take two places. */
static unsigned columns_of(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } wide[] = {
        { 0x1100, 0x115f },   { 0x2e80, 0x303e },   { 0x3041, 0xa4cf },   { 0xac00, 0xd7a3 },   { 0xf900, 0xfaff },
        { 0xfe30, 0xfe6f },   { 0xff00, 0xff60 },   { 0xffe0, 0xffe6 },   { 0x1f300, 0x1faff }, { 0x20000, 0x3fffd },
    };

    if (c >= 0x300 && c < 0x370)
        return 0;
    for (unsigned i = 0; i < ARRAY_LEN(wide); i++) {
        if (c >= wide[i].first && c <= wide[i].last)
            return 2;
    }
    return 1;
}

/* Writes one byte as an escape of four places at most; returns how many. */
static unsigned escape(char *out, unsigned char byte)
{
    static const char plain[] = "\a\b\t\n\v\f\r\\", letters[] = "abtnvfr\\";
    const char *at = byte ? strchr(plain, byte) : NULL;

    if (at)
        return (unsigned)sprintf(out, "\\%c", letters[at - plain]);
    return (unsigned)sprintf(out, "\\%03o", byte);
}

/* Characters of `kept` stay.  NULL: memory is short. */
static char *make_safe(const char *text, const char *kept, unsigned *ret_columns)
{
    char *safe = malloc(4 * strlen(text) + 1), *out = safe;
    unsigned columns = 0;

    if (!safe)
        return NULL;
    while (*text) {
        uint32_t c = 0;
        size_t n = byre_utf8_length(text, BYRE_UTF8_TEXT, &c);

        if (n && (strchr(kept, *text) || (c != '\\' && is_shown(c)))) {
            out = mempcpy(out, text, n);
            text += n;
            columns += columns_of(c);
            continue;
        }
        for (n = n ? n : 1; n; n--) {
            unsigned width = escape(out, (unsigned char)*text++);

            out += width;
            columns += width;
        }
    }
    *out = '\0';
    if (ret_columns)
        *ret_columns = columns;
    return safe;
}

char *byre_safe_text(const char *text, unsigned *ret_columns)
{
    char *safe = make_safe(text, "", ret_columns);

    if (!safe)
        byre_die_no_memory();
    return safe;
}

char *byre_safe_message(const char *text)
{
    return make_safe(text, "\\\n", NULL);
}
