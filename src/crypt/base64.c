/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Base64, decoded into memory for secrets.
 */
#include "config.h"

#include "crypt/base64.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Takes one group of four characters, `pad` of which were "=". */
static int put_group(uint32_t bits, unsigned pad, uint8_t *out, size_t *at)
{
    if (pad > 2)
        return -EINVAL;
    out[(*at)++] = (uint8_t)(bits >> 16);
    if (pad < 2)
        out[(*at)++] = (uint8_t)(bits >> 8);
    if (pad < 1)
        out[(*at)++] = (uint8_t)bits;
    return 0;
}

int byre_base64_decode(const uint8_t *text, size_t length, struct byre_secret **ret_secret)
{
    struct byre_secret *secret = byre_secret_new(length);
    unsigned count = 0, pad = 0;
    uint32_t bits = 0;
    size_t at = 0;
    int r = secret ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < length; i++) {
        const char *found = text[i] && text[i] != '=' ? strchr(alphabet, text[i]) : NULL;

        if (is_space(text[i]))
            continue;
        if ((!found && text[i] != '=') || (found && pad))
            r = -EINVAL;
        pad += !found;
        bits = bits << 6 | (found ? (uint32_t)(found - alphabet) : 0);
        if (r == 0 && ++count % 4 == 0)
            r = put_group(bits & 0xffffff, pad, secret->bytes, &at);
    }
    if (r == 0 && count % 4)
        r = -EINVAL;
    if (r < 0) {
        byre_secret_free(secret);
        return r;
    }
    secret->length = at;
    *ret_secret = secret;
    return 0;
}
