/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ciphers over sectors, by GnuTLS.
 *
 *   X1. A handle of GnuTLS holds an initialization vector, so one thread uses it at a time: they are in sets, `lanes`,
 *       of which there are as many as threads were ever at work at once.
 */
#include "config.h"

#include "crypt/cipher.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <gnutls/crypto.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/vec.h"

#define BLOCK 16u

struct lane {
    gnutls_cipher_hd_t data;  /* of the mode, where GnuTLS has it; else of single blocks */
    gnutls_cipher_hd_t tweak; /* XTS from single blocks: the other key */
    gnutls_cipher_hd_t essiv;
};

struct byre_cipher {
    struct byre_cipher_spec spec; /* fixed, as are the keys */
    struct byre_secret *key;
    struct byre_secret *essiv_key; /* or NULL */
    pthread_mutex_t mutex;
    VEC(struct lane *) idle; /* under it */
};

static const char *const modes[] = { "xts", "cbc", "ecb", "ctr" };
static const char *const ivgens[] = { "plain", "plain64", "essiv" };

const char *byre_cipher_mode_name(enum byre_cipher_mode mode)
{
    return modes[mode];
}

const char *byre_ivgen_name(enum byre_ivgen ivgen)
{
    return ivgens[ivgen];
}

static int find(const char *name, const char *const *names, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

int byre_cipher_mode_find(const char *name)
{
    return find(name, modes, ARRAY_LEN(modes));
}

int byre_ivgen_find(const char *name)
{
    return find(name, ivgens, ARRAY_LEN(ivgens));
}

size_t byre_cipher_key_bytes(const struct byre_cipher_spec *spec)
{
    return (size_t)spec->bits / 8 * (spec->mode == BYRE_CIPHER_XTS ? 2 : 1);
}

/* --- lanes ------------------------------------------------------------------------------------------------ */

static bool is_whole_xts(const struct byre_cipher_spec *spec)
{
    return spec->mode == BYRE_CIPHER_XTS && spec->bits != 192;
}

static gnutls_cipher_algorithm_t xts_algorithm(unsigned bits)
{
    return bits == 128 ? GNUTLS_CIPHER_AES_128_XTS : GNUTLS_CIPHER_AES_256_XTS;
}

static gnutls_cipher_algorithm_t cbc_algorithm(size_t key_bytes)
{
    return key_bytes == 16 ? GNUTLS_CIPHER_AES_128_CBC
         : key_bytes == 24 ? GNUTLS_CIPHER_AES_192_CBC : GNUTLS_CIPHER_AES_256_CBC;
}

static int open_handle(gnutls_cipher_hd_t *ret_handle, gnutls_cipher_algorithm_t algorithm, const uint8_t *key,
                       size_t key_bytes)
{
    uint8_t zeros[BLOCK] = { 0 };
    const gnutls_datum_t keys = { (void *)key, (unsigned)key_bytes }, iv = { zeros, sizeof zeros };

    /* A program may have left this to us: see byre_hash_digest. */
    if (gnutls_global_init() < 0)
        return -ENOTSUP;
    return gnutls_cipher_init(ret_handle, algorithm, &keys, &iv) < 0 ? -ENOTSUP : 0;
}

static void lane_free(struct lane *lane)
{
    if (lane->data)
        gnutls_cipher_deinit(lane->data);
    if (lane->tweak)
        gnutls_cipher_deinit(lane->tweak);
    if (lane->essiv)
        gnutls_cipher_deinit(lane->essiv);
    free(lane);
}

static int lane_new(const struct byre_cipher *cipher, struct lane **ret_lane)
{
    const struct byre_cipher_spec *spec = &cipher->spec;
    size_t half = spec->bits / 8;
    struct lane *lane = calloc(1, sizeof *lane);
    int r;

    if (!lane)
        return -ENOMEM;
    if (is_whole_xts(spec))
        r = open_handle(&lane->data, xts_algorithm(spec->bits), cipher->key->bytes, 2 * half);
    else
        r = open_handle(&lane->data, cbc_algorithm(half), cipher->key->bytes, half);
    if (r == 0 && spec->mode == BYRE_CIPHER_XTS && !is_whole_xts(spec))
        r = open_handle(&lane->tweak, cbc_algorithm(half), cipher->key->bytes + half, half);
    if (r == 0 && cipher->essiv_key)
        r = open_handle(&lane->essiv, cbc_algorithm(cipher->essiv_key->length), cipher->essiv_key->bytes,
                        cipher->essiv_key->length);
    if (r < 0)
        lane_free(lane);
    else
        *ret_lane = lane;
    return r;
}

static int lane_take(struct byre_cipher *cipher, struct lane **ret_lane)
{
    struct lane *lane = NULL;

    pthread_mutex_lock(&cipher->mutex);
    if (cipher->idle.len)
        lane = cipher->idle.ptr[--cipher->idle.len];
    pthread_mutex_unlock(&cipher->mutex);
    *ret_lane = lane;
    return lane ? 0 : lane_new(cipher, ret_lane);
}

static void lane_give(struct byre_cipher *cipher, struct lane *lane)
{
    int r;

    pthread_mutex_lock(&cipher->mutex);
    r = vec_push(&cipher->idle, lane);
    pthread_mutex_unlock(&cipher->mutex);
    if (r < 0)
        lane_free(lane);
}

/* --- the cipher ------------------------------------------------------------------------------------------- */

static int make_essiv_key(struct byre_cipher *cipher, struct byre_error *err)
{
    size_t bytes;

    if (cipher->spec.ivgen_hash < 0)
        return byre_error_set(err, -EINVAL, "the IV generator essiv needs a hash");
    bytes = byre_hash_bytes((enum byre_hash)cipher->spec.ivgen_hash);
    if (bytes != 16 && bytes != 24 && bytes != 32)
        return byre_error_set(err, -EINVAL, "No AES cipher with key size %zu available", bytes);
    cipher->essiv_key = byre_secret_new(bytes);
    if (!cipher->essiv_key)
        return byre_error_set_errno(err, -ENOMEM, "cipher");
    return byre_hash_digest((enum byre_hash)cipher->spec.ivgen_hash, cipher->key->bytes, cipher->key->length, "", 0,
                            cipher->essiv_key->bytes, err);
}

static int set_up(struct byre_cipher *cipher, const struct byre_secret *key, struct byre_error *err)
{
    struct lane *lane;
    int r = 0;

    cipher->key = byre_secret_copy(key->bytes, key->length);
    if (!cipher->key)
        return byre_error_set_errno(err, -ENOMEM, "cipher");
    if (cipher->spec.ivgen == BYRE_IVGEN_ESSIV)
        r = make_essiv_key(cipher, err);
    if (r < 0)
        return r;
    r = lane_take(cipher, &lane);
    if (r < 0)
        return byre_error_set(err, r, "Cipher aes-%u-%s is not supported", cipher->spec.bits, modes[cipher->spec.mode]);
    lane_give(cipher, lane);
    return 0;
}

int byre_cipher_new(const struct byre_cipher_spec *spec, const struct byre_secret *key, struct byre_cipher **ret_cipher,
                    struct byre_error *err)
{
    struct byre_cipher *cipher;
    int r;

    if (key->length != byre_cipher_key_bytes(spec))
        return byre_error_set(err, -EINVAL, "a key of %zu bytes for aes-%u-%s", key->length, spec->bits,
                              modes[spec->mode]);
    cipher = calloc(1, sizeof *cipher);
    if (!cipher)
        return byre_error_set_errno(err, -ENOMEM, "cipher");
    cipher->spec = *spec;
    pthread_mutex_init(&cipher->mutex, NULL);
    r = set_up(cipher, key, err);
    if (r < 0) {
        byre_cipher_free(cipher);
        return r;
    }
    *ret_cipher = cipher;
    return 0;
}

void byre_cipher_free(struct byre_cipher *cipher)
{
    if (!cipher)
        return;
    for (size_t i = 0; i < cipher->idle.len; i++)
        lane_free(cipher->idle.ptr[i]);
    vec_done(&cipher->idle);
    byre_secret_free(cipher->key);
    byre_secret_free(cipher->essiv_key);
    pthread_mutex_destroy(&cipher->mutex);
    free(cipher);
}

/* --- sectors ---------------------------------------------------------------------------------------------- */

/* One block by itself: CBC with a vector of zeros. */
static int one_block(gnutls_cipher_hd_t handle, bool encrypt, uint8_t *block)
{
    uint8_t zeros[BLOCK] = { 0 };
    int code;

    gnutls_cipher_set_iv(handle, zeros, sizeof zeros);
    code = encrypt ? gnutls_cipher_encrypt2(handle, block, BLOCK, block, BLOCK)
                   : gnutls_cipher_decrypt2(handle, block, BLOCK, block, BLOCK);
    return code < 0 ? -EIO : 0;
}

static int make_iv(const struct byre_cipher *cipher, const struct lane *lane, uint64_t sector, uint8_t iv[BLOCK])
{
    uint64_t number = htole64(cipher->spec.ivgen == BYRE_IVGEN_PLAIN ? (uint32_t)sector : sector);

    memset(iv, 0, BLOCK);
    memcpy(iv, &number, sizeof number);
    return cipher->spec.ivgen == BYRE_IVGEN_ESSIV ? one_block(lane->essiv, true, iv) : 0;
}

static void exclusive_or(uint8_t *block, const uint8_t *other)
{
    for (unsigned i = 0; i < BLOCK; i++)
        block[i] ^= other[i];
}

/* The tweak of the next block (IEEE 1619): times the primitive element of the field. */
static void next_tweak(uint8_t tweak[BLOCK])
{
    unsigned carry = 0;

    for (unsigned i = 0; i < BLOCK; i++) {
        unsigned next = tweak[i] >> 7;

        tweak[i] = (uint8_t)(tweak[i] << 1 | carry);
        carry = next;
    }
    if (carry)
        tweak[0] ^= 0x87;
}

static int xts_blocks(const struct lane *lane, bool encrypt, uint8_t iv[BLOCK], uint8_t *sector)
{
    int r = one_block(lane->tweak, true, iv);

    for (unsigned at = 0; r == 0 && at < BYRE_CIPHER_SECTOR; at += BLOCK) {
        exclusive_or(sector + at, iv);
        r = one_block(lane->data, encrypt, sector + at);
        exclusive_or(sector + at, iv);
        next_tweak(iv);
    }
    return r;
}

/* The vector is a big-endian counter. */
static int ctr_blocks(const struct lane *lane, uint8_t iv[BLOCK], uint8_t *sector)
{
    int r = 0;

    for (unsigned at = 0; r == 0 && at < BYRE_CIPHER_SECTOR; at += BLOCK) {
        uint8_t pad[BLOCK];

        memcpy(pad, iv, BLOCK);
        r = one_block(lane->data, true, pad);
        exclusive_or(sector + at, pad);
        for (unsigned i = BLOCK; i-- > 0 && ++iv[i] == 0;)
            ;
    }
    return r;
}

static int ecb_blocks(const struct lane *lane, bool encrypt, uint8_t *sector)
{
    int r = 0;

    for (unsigned at = 0; r == 0 && at < BYRE_CIPHER_SECTOR; at += BLOCK)
        r = one_block(lane->data, encrypt, sector + at);
    return r;
}

static int whole_sector(const struct lane *lane, bool encrypt, uint8_t iv[BLOCK], uint8_t *sector)
{
    int code;

    gnutls_cipher_set_iv(lane->data, iv, BLOCK);
    code = encrypt ? gnutls_cipher_encrypt2(lane->data, sector, BYRE_CIPHER_SECTOR, sector, BYRE_CIPHER_SECTOR)
                   : gnutls_cipher_decrypt2(lane->data, sector, BYRE_CIPHER_SECTOR, sector, BYRE_CIPHER_SECTOR);
    return code < 0 ? -EIO : 0;
}

static int one_sector(const struct byre_cipher *cipher, const struct lane *lane, bool encrypt, uint64_t number,
                      uint8_t *sector)
{
    uint8_t iv[BLOCK];
    int r;

    if (cipher->spec.mode == BYRE_CIPHER_ECB)
        return ecb_blocks(lane, encrypt, sector);
    r = make_iv(cipher, lane, number, iv);
    if (r < 0)
        return r;
    if (cipher->spec.mode == BYRE_CIPHER_CTR)
        return ctr_blocks(lane, iv, sector);
    if (lane->tweak)
        return xts_blocks(lane, encrypt, iv, sector);
    return whole_sector(lane, encrypt, iv, sector);
}

static int sectors(struct byre_cipher *cipher, bool encrypt, uint64_t sector, uint8_t *buf, size_t length)
{
    struct lane *lane;
    int r = length % BYRE_CIPHER_SECTOR ? -EINVAL : lane_take(cipher, &lane);

    if (r < 0)
        return r;
    for (size_t at = 0; r == 0 && at < length; at += BYRE_CIPHER_SECTOR)
        r = one_sector(cipher, lane, encrypt, sector++, buf + at);
    lane_give(cipher, lane);
    return r;
}

int byre_cipher_encrypt(struct byre_cipher *cipher, uint64_t sector, void *buf, size_t length)
{
    return sectors(cipher, true, sector, buf, length);
}

int byre_cipher_decrypt(struct byre_cipher *cipher, uint64_t sector, void *buf, size_t length)
{
    return sectors(cipher, false, sector, buf, length);
}
