/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UTF-8, one character at a time: names of files may be any bytes.  Pure; RFC 3629.
 */
#ifndef BYRE_BASE_UTF8_H
#define BYRE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes the bytes of a character of at most U+10FFFF, without a null byte: how many, 1 to 4. */
size_t byre_utf8_put(char *to, uint32_t character);

#define BYRE_UTF8_TEXT SIZE_MAX /* instead of `left`: a null byte ends the text */

/* Length of the well-formed character at `at`, of which `left` bytes are there, at least one; 0 if there is none, and
 * `ret_char`, which may be NULL, stays as it was. */
size_t byre_utf8_length(const void *at, size_t left, uint32_t *ret_char);

/* Is all of it well-formed? */
bool byre_utf8_is_text(const void *at, size_t length);

#endif
