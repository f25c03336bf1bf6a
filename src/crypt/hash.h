/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hashes of LUKS: digests, and keys out of passwords (RFC 8018, PBKDF2 with HMAC).
 */
#ifndef BYRE_CRYPT_HASH_H
#define BYRE_CRYPT_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "byre/error.h"

enum byre_hash {
    BYRE_HASH_MD5,
    BYRE_HASH_SHA1,
    BYRE_HASH_SHA224,
    BYRE_HASH_SHA256,
    BYRE_HASH_SHA384,
    BYRE_HASH_SHA512,
    BYRE_HASH_RIPEMD160,
    BYRE_HASH_COUNT,
};

#define BYRE_HASH_BYTES_MAX 64

const char *byre_hash_name(enum byre_hash hash); /* "sha256" */
size_t byre_hash_bytes(enum byre_hash hash);

/* The hash called `name`: -1 if there is none. */
int byre_hash_find(const char *name);

/* The digest of `first` and then `second`, of byre_hash_bytes.  -ENOTSUP names a hash that GnuTLS does not have. */
int byre_hash_digest(enum byre_hash hash, const void *first, size_t first_length, const void *second,
                     size_t second_length, uint8_t *ret_digest, struct byre_error *err);

int byre_hash_pbkdf2(enum byre_hash hash, const void *password, size_t password_length, const void *salt,
                     size_t salt_length, uint32_t iterations, void *ret_key, size_t key_length, struct byre_error *err);

/* How many iterations of PBKDF2 for such a key this machine does in `milliseconds`, measured: at least 1000.  -ERANGE,
 * with qemu-img's words, if the number does not fit its field. */
int byre_hash_iterations(enum byre_hash hash, size_t key_length, uint64_t milliseconds, uint32_t *ret_iterations,
                         struct byre_error *err);

#endif
