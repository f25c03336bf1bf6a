/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text in UTF-16, as firmware and FAT store it.
 */
#ifndef BYRE_BASE_UTF16_H
#define BYRE_BASE_UTF16_H

#include <stddef.h>
#include <stdint.h>

#define BYRE_UTF16_ROOM(count) (3 * (count) + 1) /* bytes that `count` units may become */

/* `count` units, up to the first that is null, as UTF-8 with a null byte behind it; a surrogate without
 * its other half becomes U+FFFD. */
void byre_utf16_to_utf8(const uint16_t *units, size_t count, char *ret_text);

#endif
