/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is this memory all zero?  At memory speed, any length and alignment.
 */
#ifndef BYRE_BASE_ZERO_H
#define BYRE_BASE_ZERO_H

#include <stdbool.h>
#include <stddef.h>

bool byre_is_zero(const void *buf, size_t len);

#endif
