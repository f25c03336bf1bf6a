/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Decrypting secrets.
 */
#include "config.h"

#include "crypt/wrapped.h"

#include <errno.h>

#include <gnutls/crypto.h>

#include "base/cleanup.h"

enum { KEY_BYTES = 32, BLOCK = 16 };

/* How many bytes of padding there are at the end of whole blocks: 0 if it is none. */
static unsigned padding(const struct byre_secret *secret)
{
    unsigned pad = secret->length ? secret->bytes[secret->length - 1] : 0;

    if (pad > BLOCK)
        return 0;
    for (unsigned i = 0; i < pad; i++) {
        if (secret->bytes[secret->length - 1 - i] != pad)
            return 0;
    }
    return pad;
}

static inline void byre_cleanup_cipher_handle(gnutls_cipher_hd_t *handle)
{
    if (*handle)
        gnutls_cipher_deinit(*handle);
}

int byre_secret_unwrap(const struct byre_secret *wrapped, const struct byre_secret *key, const struct byre_secret *iv,
                       struct byre_secret **ret_secret, struct byre_error *err)
{
    const gnutls_datum_t keys = { key->bytes, (unsigned)key->length }, ivs = { iv->bytes, (unsigned)iv->length };
    CLEANUP(cipher_handle) gnutls_cipher_hd_t handle = NULL;
    CLEANUP(secret) struct byre_secret *plain = NULL;
    unsigned pad;

    if (key->length != KEY_BYTES)
        return byre_error_set(err, -EINVAL, "Key should be %d bytes in length", KEY_BYTES);
    if (iv->length != BLOCK)
        return byre_error_set(err, -EINVAL, "IV should be %d bytes in length not %zu", BLOCK, iv->length);
    if (wrapped->length == 0 || wrapped->length % BLOCK)
        return byre_error_set(err, -EINVAL, "Encrypted data should be a multiple of %d bytes in length", BLOCK);
    plain = byre_secret_copy(wrapped->bytes, wrapped->length);
    if (!plain)
        return byre_error_set_errno(err, -ENOMEM, "secret");
    /* Which a program may have left to us: see byre_hash_digest. */
    if (gnutls_global_init() < 0 || gnutls_cipher_init(&handle, GNUTLS_CIPHER_AES_256_CBC, &keys, &ivs) < 0 ||
        gnutls_cipher_decrypt(handle, plain->bytes, plain->length) < 0)
        return byre_error_set(err, -EIO, "secret could not be decrypted");
    pad = padding(plain);
    if (!pad)
        return byre_error_set(err, -EINVAL, "Incorrect number of padding bytes found on decrypted data");
    plain->length -= pad;
    *ret_secret = STEAL(plain);
    return 0;
}
