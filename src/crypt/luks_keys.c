/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Master keys, slots and the anti-forensic splitter.
 */
#include "config.h"

#include "crypt/luks_keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <gnutls/crypto.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"

#define ITER_TIME_DEFAULT 2000u /* milliseconds */
#define DIGEST_SHARE      8u    /* the digest of the master key, which is tried once a slot, takes this part of it */
#define DIGEST_ITERATIONS_MIN 1000u

int byre_luks_random(void *buf, size_t length, struct byre_error *err)
{
    int code = gnutls_global_init();

    if (code == 0)
        code = gnutls_rnd(GNUTLS_RND_KEY, buf, length);
    return code < 0 ? byre_error_set(err, -EIO, "no random bytes: %s", gnutls_strerror(code)) : 0;
}

/* --- the splitter ----------------------------------------------------------------------------------------- */

/* Hashes each piece of a digest's length, with its number in front. */
static int diffuse(enum byre_hash hash, uint8_t *block, size_t length, struct byre_error *err)
{
    size_t bytes = byre_hash_bytes(hash);
    uint8_t digest[BYRE_HASH_BYTES_MAX], number[4];
    int r = 0;

    for (size_t at = 0; r == 0 && at < length; at += bytes) {
        size_t part = MIN(bytes, length - at);

        byre_put_be32(number, (uint32_t)(at / bytes));
        r = byre_hash_digest(hash, number, sizeof number, block + at, part, digest, err);
        if (r == 0)
            memcpy(block + at, digest, part);
    }
    byre_secret_wipe(digest, sizeof digest);
    return r;
}

static void exclusive_or(uint8_t *to, const uint8_t *from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        to[i] ^= from[i];
}

/* `block` becomes what all stripes but the last one add up to. */
static int add_up(enum byre_hash hash, const uint8_t *split, size_t length, uint32_t stripes, uint8_t *block,
                  struct byre_error *err)
{
    int r = 0;

    memset(block, 0, length);
    for (uint32_t i = 0; r == 0 && i + 1 < stripes; i++) {
        exclusive_or(block, split + (size_t)i * length, length);
        r = diffuse(hash, block, length, err);
    }
    return r;
}

int byre_luks_split(enum byre_hash hash, const uint8_t *key, size_t length, uint32_t stripes, uint8_t *ret_split,
                    struct byre_error *err)
{
    uint8_t *last = ret_split + (size_t)(stripes - 1) * length;
    int r = byre_luks_random(ret_split, (size_t)(stripes - 1) * length, err);

    if (r == 0)
        r = add_up(hash, ret_split, length, stripes, last, err);
    if (r == 0)
        exclusive_or(last, key, length);
    return r;
}

int byre_luks_merge(enum byre_hash hash, const uint8_t *split, size_t length, uint32_t stripes, uint8_t *ret_key,
                    struct byre_error *err)
{
    int r = add_up(hash, split, length, stripes, ret_key, err);

    if (r == 0)
        exclusive_or(ret_key, split + (size_t)(stripes - 1) * length, length);
    return r;
}

/* --- the master key --------------------------------------------------------------------------------------- */

static int digest_of(const struct byre_luks_header *header, const struct byre_secret *master,
                     uint8_t ret_digest[BYRE_LUKS_DIGEST_BYTES], struct byre_error *err)
{
    return byre_hash_pbkdf2(header->hash, master->bytes, master->length, header->salt, sizeof header->salt,
                            header->iterations, ret_digest, BYRE_LUKS_DIGEST_BYTES, err);
}

/* A random UUID (RFC 9562, version 4). */
static int make_uuid(char ret_text[41], struct byre_error *err)
{
    uint8_t b[16];
    int r = byre_luks_random(b, sizeof b, err);

    if (r < 0)
        return r;
    b[6] = (uint8_t)(b[6] & 0x0f) | 0x40;
    b[8] = (uint8_t)(b[8] & 0x3f) | 0x80;
    snprintf(ret_text, 41, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
             b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return 0;
}

static uint64_t iter_time_of(uint64_t milliseconds)
{
    return milliseconds ? milliseconds : ITER_TIME_DEFAULT;
}

static int iterations_for(enum byre_hash hash, size_t length, uint64_t milliseconds, uint32_t *ret_iterations,
                          struct byre_error *err)
{
    uint32_t iterations;
    int r = byre_hash_iterations(hash, length, milliseconds, &iterations, err);

    if (r == 0 && iterations > BYRE_LUKS_ITERATIONS_MAX)
        return byre_error_set(err, -ERANGE, "PBKDF iterations %u larger than %u: %s", iterations,
                              BYRE_LUKS_ITERATIONS_MAX, strerror(ERANGE));
    if (r == 0)
        *ret_iterations = iterations;
    return r;
}

int byre_luks_header_new(const struct byre_luks_options *options, struct byre_luks_header *ret_header,
                         struct byre_secret **ret_master, struct byre_error *err)
{
    struct byre_luks_header header = { .spec = options->spec, .hash = options->hash };
    CLEANUP(secret) struct byre_secret *master = byre_secret_new(byre_cipher_key_bytes(&options->spec));
    struct byre_cipher *cipher;
    int r;

    if (!master)
        return byre_error_set_errno(err, -ENOMEM, "master key");
    byre_luks_header_lay_out(&header);
    r = byre_luks_random(master->bytes, master->length, err);
    if (r == 0)
        r = byre_luks_random(header.salt, sizeof header.salt, err);
    if (r == 0)
        r = make_uuid(header.uuid, err);
    if (r == 0)
        r = byre_cipher_new(&options->spec, master, &cipher, err);
    if (r < 0)
        return r;
    byre_cipher_free(cipher); /* there is such a one */
    r = iterations_for(header.hash, sizeof header.digest, iter_time_of(options->iter_time), &header.iterations, err);
    if (r < 0)
        return r;
    header.iterations = MAX(header.iterations / DIGEST_SHARE, DIGEST_ITERATIONS_MIN);
    r = digest_of(&header, master, header.digest, err);
    if (r < 0)
        return r;
    *ret_header = header;
    *ret_master = STEAL(master);
    return 0;
}

/* --- slots ------------------------------------------------------------------------------------------------ */

/* The cipher of a slot's key material. */
static int slot_cipher(const struct byre_luks_header *header, unsigned slot, const struct byre_secret *password,
                       struct byre_cipher **ret_cipher, struct byre_error *err)
{
    const struct byre_luks_slot *s = &header->slots[slot];
    CLEANUP(secret) struct byre_secret *key = byre_secret_new(byre_cipher_key_bytes(&header->spec));
    int r;

    if (!key)
        return byre_error_set_errno(err, -ENOMEM, "keyslot %u", slot);
    r = byre_hash_pbkdf2(header->hash, password->bytes, password->length, s->salt, sizeof s->salt, s->iterations,
                         key->bytes, key->length, err);
    return r < 0 ? r : byre_cipher_new(&header->spec, key, ret_cipher, err);
}

int byre_luks_slot_seal(struct byre_luks_header *header, unsigned slot, const struct byre_secret *master,
                        const struct byre_secret *password, uint64_t iter_time, uint8_t *ret_material,
                        struct byre_error *err)
{
    uint32_t bytes = byre_luks_material_bytes(header);
    struct byre_luks_header changed = *header;
    struct byre_luks_slot *s = &changed.slots[slot];
    struct byre_cipher *cipher = NULL;
    int r = iterations_for(header->hash, master->length, iter_time_of(iter_time), &s->iterations, err);

    if (r == 0)
        r = byre_luks_random(s->salt, sizeof s->salt, err);
    if (r == 0)
        r = slot_cipher(&changed, slot, password, &cipher, err);
    if (r < 0)
        return r;
    memset(ret_material, 0, bytes);
    r = byre_luks_split(header->hash, master->bytes, master->length, BYRE_LUKS_STRIPES, ret_material, err);
    if (r == 0 && byre_cipher_encrypt(cipher, 0, ret_material, bytes) < 0)
        r = byre_error_set(err, -EIO, "keyslot %u could not be encrypted", slot);
    byre_cipher_free(cipher);
    if (r < 0) {
        byre_secret_wipe(ret_material, bytes);
        return r;
    }
    s->active = true;
    *header = changed;
    return 0;
}

static int try_material(const struct byre_luks_header *header, struct byre_cipher *cipher, uint8_t *material,
                        struct byre_secret *master, struct byre_error *err)
{
    uint8_t digest[BYRE_LUKS_DIGEST_BYTES];
    int r;

    if (byre_cipher_decrypt(cipher, 0, material, byre_luks_material_bytes(header)) < 0)
        return byre_error_set(err, -EIO, "key material could not be decrypted");
    r = byre_luks_merge(header->hash, material, master->length, BYRE_LUKS_STRIPES, master->bytes, err);
    if (r == 0)
        r = digest_of(header, master, digest, err);
    return r < 0 ? r : memcmp(digest, header->digest, sizeof digest) == 0;
}

int byre_luks_slot_try(const struct byre_luks_header *header, unsigned slot, const struct byre_secret *password,
                       uint8_t *material, struct byre_secret **ret_master, struct byre_error *err)
{
    CLEANUP(secret) struct byre_secret *master = byre_secret_new(byre_cipher_key_bytes(&header->spec));
    struct byre_cipher *cipher = NULL;
    int r;

    if (!master)
        return byre_error_set_errno(err, -ENOMEM, "keyslot %u", slot);
    r = slot_cipher(header, slot, password, &cipher, err);
    if (r == 0)
        r = try_material(header, cipher, material, master, err);
    byre_cipher_free(cipher);
    byre_secret_wipe(material, byre_luks_material_bytes(header));
    if (r > 0)
        *ret_master = STEAL(master);
    return r;
}
