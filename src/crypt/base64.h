/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Base64 (RFC 4648), for secrets.
 */
#ifndef BYRE_CRYPT_BASE64_H
#define BYRE_CRYPT_BASE64_H

#include "crypt/secret.h"

/* Decodes; white space between the characters does not count.  0, -EINVAL, or -ENOMEM. */
int byre_base64_decode(const uint8_t *text, size_t length, struct byre_secret **ret_secret);

#endif
