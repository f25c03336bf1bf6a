/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UTF-8, one character at a time: names of files may be any bytes.
 */
#ifndef BYRE_BASE_UTF8_H
#define BYRE_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Writes the bytes of a character of at most U+10FFFF, without a null byte: how many, 1 to 4. */
size_t byre_utf8_put(char *to, uint32_t character);

/* Length of the well-formed UTF-8 sequence at `s`, which ends with a null byte, or 0; `ret_char` may be NULL. */
size_t byre_utf8_length(const unsigned char *s, uint32_t *ret_char);

#endif
