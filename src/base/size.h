/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sizes as people write and read them.
 */
#ifndef BYRE_BASE_SIZE_H
#define BYRE_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Parses a size as qemu-img does: a decimal or 0x number, an optional fraction where a suffix follows, and a
 * suffix b, k/K, M, G, T, P or E in powers of 1024; `default_suffix` ('B', 'K', 'M', ...) applies where none
 * is written.  Returns 0, -EINVAL for what is no size, -ERANGE for one that does not fit into 63 bits.
 */
int byre_size_parse(const char *text, char default_suffix, uint64_t *ret_size);

/* Writes "512 B", "64 KiB", "1.5 GiB" as qemu-img info does: three significant digits.  Returns `buf`. */
char *byre_size_format(uint64_t size, char *buf, size_t buf_size);

#define BYRE_SIZE_TEXT_MAX 32

#endif
