/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Secrets that are encrypted with another one: AES-256-CBC with padding (RFC 5652, 6.3).
 */
#ifndef BYRE_CRYPT_WRAPPED_H
#define BYRE_CRYPT_WRAPPED_H

#include "byre/error.h"
#include "crypt/secret.h"

/* Decrypts `wrapped`; `key` has 32 bytes and `iv` 16, else -EINVAL. */
int byre_secret_unwrap(const struct byre_secret *wrapped, const struct byre_secret *key, const struct byre_secret *iv,
                       struct byre_secret **ret_secret, struct byre_error *err);

#endif
