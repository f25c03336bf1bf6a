/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ciphers over sectors, against published vectors.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/endian.h"
#include "crypt/cipher.h"

#define SECTOR BYRE_CIPHER_SECTOR

static void from_hex(const char *text, uint8_t *bytes)
{
    for (size_t i = 0; text[2 * i]; i++) {
        char pair[] = { text[2 * i], text[2 * i + 1], 0 };

        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
}

static struct byre_cipher *cipher_of(unsigned bits, enum byre_cipher_mode mode, enum byre_ivgen ivgen, int hash,
                                     const char *key_text)
{
    const struct byre_cipher_spec spec = { bits, mode, ivgen, hash };
    struct byre_secret *key = byre_secret_new(strlen(key_text) / 2);
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_cipher *cipher = NULL;

    from_hex(key_text, key->bytes);
    assert_int_equal(byre_cipher_new(&spec, key, &cipher, &err), 0);
    byre_secret_free(key);
    return cipher;
}

static void count_up(uint8_t sector[SECTOR])
{
    for (unsigned i = 0; i < SECTOR; i++)
        sector[i] = (uint8_t)i;
}

/* Does the ciphertext of `plain` begin so and have this SHA-256, and does it become `plain` again? */
static void check_vector(struct byre_cipher *cipher, uint64_t number, const char *begin, const char *digest)
{
    uint8_t plain[SECTOR], bytes[SECTOR], found[32], wanted[32];

    count_up(plain);
    memcpy(bytes, plain, SECTOR);
    assert_int_equal(byre_cipher_encrypt(cipher, number, bytes, SECTOR), 0);
    from_hex(begin, wanted);
    assert_memory_equal(bytes, wanted, strlen(begin) / 2);
    assert_int_equal(byre_hash_digest(BYRE_HASH_SHA256, bytes, SECTOR, "", 0, found, NULL), 0);
    from_hex(digest, wanted);
    assert_memory_equal(found, wanted, 32);
    assert_int_equal(byre_cipher_decrypt(cipher, number, bytes, SECTOR), 0);
    assert_memory_equal(bytes, plain, SECTOR);
    byre_cipher_free(cipher);
}

/* IEEE 1619-2007, vectors 4 and 10. */
static void xts_encrypts_as_ieee_1619_says(void **state)
{
    (void)state;
    check_vector(cipher_of(128, BYRE_CIPHER_XTS, BYRE_IVGEN_PLAIN64, -1,
                           "2718281828459045235360287471352631415926535897932384626433832795"),
                 0, "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c",
                 "ebee4d64dd2395bb2d6a2d37a0a48ecb2bf4913cfc99d27c2214f2f4144715ea");
    check_vector(cipher_of(256, BYRE_CIPHER_XTS, BYRE_IVGEN_PLAIN, -1,
                           "2718281828459045235360287471352662497757247093699959574966967627"
                           "3141592653589793238462643383279502884197169399375105820974944592"),
                 0xff, "1c3b3a102f770386e4836c99e370cf9b",
                 "e97e974fa393af794f7a4684395814cf820de60a01eaec677d87b452e316b364");
}

/* NIST SP 800-38A, F.1. */
static void ecb_encrypts_as_nist_says(void **state)
{
    static const struct {
        unsigned bits;
        const char *key, *cipher;
    } vectors[] = {
        { 128, "2b7e151628aed2a6abf7158809cf4f3c", "3ad77bb40d7a3660a89ecaf32466ef97" },
        { 192, "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "bd334f1d6e45f25ff712a214571fa5cc" },
        { 256, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
          "f3eed1bdb5d2a03c064b5a7e3db181f8" },
    };

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct byre_cipher *cipher = cipher_of(vectors[i].bits, BYRE_CIPHER_ECB, BYRE_IVGEN_PLAIN64, -1,
                                               vectors[i].key);
        uint8_t sector[SECTOR] = { 0 }, wanted[16];

        from_hex("6bc1bee22e409f96e93d7e117393172a", sector);
        assert_int_equal(byre_cipher_encrypt(cipher, 77, sector, SECTOR), 0);
        from_hex(vectors[i].cipher, wanted);
        assert_memory_equal(sector, wanted, 16);
        byre_cipher_free(cipher);
    }
}

#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* One block under a key, by way of ECB. */
static void one_block(const char *key, uint8_t block[16])
{
    struct byre_cipher *cipher = cipher_of(256, BYRE_CIPHER_ECB, BYRE_IVGEN_PLAIN, -1, key);
    uint8_t sector[SECTOR] = { 0 };

    memcpy(sector, block, 16);
    assert_int_equal(byre_cipher_encrypt(cipher, 0, sector, SECTOR), 0);
    memcpy(block, sector, 16);
    byre_cipher_free(cipher);
}

/* The first block of a sector in CBC under the vector `iv`. */
static void check_cbc(enum byre_ivgen ivgen, uint64_t number, const uint8_t iv[16])
{
    struct byre_cipher *cipher = cipher_of(256, BYRE_CIPHER_CBC, ivgen, BYRE_HASH_SHA256, KEY);
    uint8_t sector[SECTOR], block[16];

    count_up(sector);
    for (unsigned i = 0; i < 16; i++)
        block[i] = sector[i] ^ iv[i];
    one_block(KEY, block);
    assert_int_equal(byre_cipher_encrypt(cipher, number, sector, SECTOR), 0);
    assert_memory_equal(sector, block, 16);
    byre_cipher_free(cipher);
}

static void vectors_are_made_from_sector_numbers(void **state)
{
    const uint64_t number = 0x123456789abcdef0;
    uint8_t iv[16] = { 0xf0, 0xde, 0xbc, 0x9a }, key[32], digest[32];
    char key_text[65];

    (void)state;
    check_cbc(BYRE_IVGEN_PLAIN, number, iv);
    memcpy(iv, "\xf0\xde\xbc\x9a\x78\x56\x34\x12", 8);
    check_cbc(BYRE_IVGEN_PLAIN64, number, iv);
    from_hex(KEY, key);
    assert_int_equal(byre_hash_digest(BYRE_HASH_SHA256, key, 32, "", 0, digest, NULL), 0);
    for (unsigned i = 0; i < 32; i++)
        sprintf(key_text + 2 * i, "%02x", digest[i]);
    one_block(key_text, iv);
    check_cbc(BYRE_IVGEN_ESSIV, number, iv);
}

static void counter_mode_counts_big_endian(void **state)
{
    struct byre_cipher *cipher = cipher_of(256, BYRE_CIPHER_CTR, BYRE_IVGEN_PLAIN64, -1, KEY);
    uint8_t sector[SECTOR] = { 0 }, second[16] = { 5, [15] = 1 };

    (void)state;
    assert_int_equal(byre_cipher_encrypt(cipher, 5, sector, SECTOR), 0);
    one_block(KEY, second);
    assert_memory_equal(sector + 16, second, 16);
    assert_int_equal(byre_cipher_decrypt(cipher, 5, sector, SECTOR), 0);
    assert_int_equal(sector[0] | sector[511], 0);
    byre_cipher_free(cipher);
}

/* GnuTLS has no such mode: made from blocks it is the same as that for other keys. */
static void all_modes_and_keys_come_back(void **state)
{
    static const unsigned bits[] = { 128, 192, 256 };
    char key[129];

    (void)state;
    memset(key, 0, sizeof key);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned mode = 0; mode < BYRE_CIPHER_MODE_COUNT; mode++) {
            const struct byre_cipher_spec spec = { bits[i], (enum byre_cipher_mode)mode, BYRE_IVGEN_PLAIN64, -1 };
            struct byre_cipher *cipher;
            uint8_t plain[4 * SECTOR], bytes[4 * SECTOR];

            for (size_t j = 0; j < 2 * byre_cipher_key_bytes(&spec); j++)
                key[j] = "0123456789abcdef"[(j * 7 + mode) % 16];
            key[2 * byre_cipher_key_bytes(&spec)] = 0;
            cipher = cipher_of(bits[i], spec.mode, spec.ivgen, -1, key);
            for (size_t j = 0; j < sizeof plain; j++)
                plain[j] = (uint8_t)(j * j);
            memcpy(bytes, plain, sizeof plain);
            assert_int_equal(byre_cipher_encrypt(cipher, 9, bytes, sizeof bytes), 0);
            for (size_t at = 0; at < sizeof plain; at += 16)
                assert_memory_not_equal(bytes + at, plain + at, 16);
            assert_int_equal(byre_cipher_decrypt(cipher, 10, bytes + SECTOR, sizeof bytes - SECTOR), 0);
            assert_memory_equal(bytes + SECTOR, plain + SECTOR, sizeof plain - SECTOR);
            byre_cipher_free(cipher);
        }
    }
}

static void what_makes_no_cipher_is_refused(void **state)
{
    struct byre_cipher_spec spec = { 256, BYRE_CIPHER_CBC, BYRE_IVGEN_ESSIV, BYRE_HASH_SHA1 };
    struct byre_secret *key = byre_secret_new(32);
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_cipher *cipher = NULL;
    uint8_t digest[64];

    (void)state;
    assert_int_equal(byre_cipher_new(&spec, key, &cipher, &err), -EINVAL);
    assert_string_equal(err.text, "No AES cipher with key size 20 available");
    spec.mode = BYRE_CIPHER_XTS;
    assert_int_equal(byre_cipher_new(&spec, key, &cipher, &err), -EINVAL);
    assert_int_equal(byre_hash_digest(BYRE_HASH_RIPEMD160, "", 0, "", 0, digest, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "ripemd160"));
    assert_null(cipher);
    byre_secret_free(key);
}

static void pbkdf2_derives_as_known(void **state)
{
    uint8_t key[32], wanted[32];

    (void)state;
    assert_int_equal(byre_hash_pbkdf2(BYRE_HASH_SHA1, "password", 8, "salt", 4, 4096, key, 20, NULL), 0);
    from_hex("4b007901b765489abead49d926f721d065a429c1", wanted); /* RFC 6070 */
    assert_memory_equal(key, wanted, 20);
    assert_int_equal(byre_hash_pbkdf2(BYRE_HASH_SHA256, "password", 8, "salt", 4, 4096, key, 32, NULL), 0);
    from_hex("c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a", wanted);
    assert_memory_equal(key, wanted, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xts_encrypts_as_ieee_1619_says),
        cmocka_unit_test(ecb_encrypts_as_nist_says),
        cmocka_unit_test(vectors_are_made_from_sector_numbers),
        cmocka_unit_test(counter_mode_counts_big_endian),
        cmocka_unit_test(all_modes_and_keys_come_back),
        cmocka_unit_test(what_makes_no_cipher_is_refused),
        cmocka_unit_test(pbkdf2_derives_as_known),
    };

    return cmocka_run_group_tests_name("cipher", tests, NULL, NULL);
}
