/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disk encryption: AES over sectors of 512 bytes, each with an initialization vector of its own that is made from its
 * number.
 *
 * GnuTLS has AES in CBC, and in XTS with keys of 128 and 256 bits.  ECB, CTR and XTS with keys of 192 bits are made
 * from single blocks here: right, but slow.
 */
#ifndef BYRE_CRYPT_CIPHER_H
#define BYRE_CRYPT_CIPHER_H

#include <stdbool.h>

#include "crypt/hash.h"
#include "crypt/secret.h"

#define BYRE_CIPHER_SECTOR 512u
#define BYRE_CIPHER_KEY_MAX 64u /* bytes: XTS has two keys */

enum byre_cipher_mode { BYRE_CIPHER_XTS, BYRE_CIPHER_CBC, BYRE_CIPHER_ECB, BYRE_CIPHER_CTR, BYRE_CIPHER_MODE_COUNT };

enum byre_ivgen {
    BYRE_IVGEN_PLAIN,   /* the lower 32 bits of the number, little-endian */
    BYRE_IVGEN_PLAIN64, /* 64 bits */
    BYRE_IVGEN_ESSIV,   /* these, encrypted with a hash of the key */
    BYRE_IVGEN_COUNT,
};

struct byre_cipher_spec {
    unsigned bits; /* of AES: 128, 192 or 256 */
    enum byre_cipher_mode mode;
    enum byre_ivgen ivgen;
    int ivgen_hash; /* enum byre_hash; -1: none was named */
};

struct byre_cipher;

const char *byre_cipher_mode_name(enum byre_cipher_mode mode); /* "xts" */
const char *byre_ivgen_name(enum byre_ivgen ivgen);            /* "plain64" */
int byre_cipher_mode_find(const char *name);                   /* -1: there is none */
int byre_ivgen_find(const char *name);

/* Bytes of key that the cipher takes. */
size_t byre_cipher_key_bytes(const struct byre_cipher_spec *spec);

/* `key` has that length, else -EINVAL; it is copied.  -EINVAL also for ESSIV with a hash whose digests are no keys of
 * AES.  Release with byre_cipher_free. */
int byre_cipher_new(const struct byre_cipher_spec *spec, const struct byre_secret *key, struct byre_cipher **ret_cipher,
                    struct byre_error *err);
void byre_cipher_free(struct byre_cipher *cipher);

/* En- or decrypt whole sectors in place, the first of which has the number `sector`.  Thread-safe. */
int byre_cipher_encrypt(struct byre_cipher *cipher, uint64_t sector, void *buf, size_t length);
int byre_cipher_decrypt(struct byre_cipher *cipher, uint64_t sector, void *buf, size_t length);

#endif
