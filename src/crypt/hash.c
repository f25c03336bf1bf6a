/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Digests and PBKDF2, by GnuTLS.
 */
#include "config.h"

#include "crypt/hash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include <gnutls/crypto.h>

#include "base/arith.h"

#define ITERATIONS_MIN 1000u
#define MEASURE_NSEC   10000000u /* of computing: long enough to be told from nothing */

static const struct {
    const char *name;
    size_t bytes;
    gnutls_digest_algorithm_t digest;
    gnutls_mac_algorithm_t mac;
} hashes[] = {
    [BYRE_HASH_MD5] = { "md5", 16, GNUTLS_DIG_MD5, GNUTLS_MAC_MD5 },
    [BYRE_HASH_SHA1] = { "sha1", 20, GNUTLS_DIG_SHA1, GNUTLS_MAC_SHA1 },
    [BYRE_HASH_SHA224] = { "sha224", 28, GNUTLS_DIG_SHA224, GNUTLS_MAC_SHA224 },
    [BYRE_HASH_SHA256] = { "sha256", 32, GNUTLS_DIG_SHA256, GNUTLS_MAC_SHA256 },
    [BYRE_HASH_SHA384] = { "sha384", 48, GNUTLS_DIG_SHA384, GNUTLS_MAC_SHA384 },
    [BYRE_HASH_SHA512] = { "sha512", 64, GNUTLS_DIG_SHA512, GNUTLS_MAC_SHA512 },
    [BYRE_HASH_RIPEMD160] = { "ripemd160", 20, GNUTLS_DIG_RMD160, GNUTLS_MAC_RMD160 },
};

const char *byre_hash_name(enum byre_hash hash)
{
    return hashes[hash].name;
}

size_t byre_hash_bytes(enum byre_hash hash)
{
    return hashes[hash].bytes;
}

int byre_hash_find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(hashes); i++) {
        if (strcmp(hashes[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static int refused(enum byre_hash hash, int code, struct byre_error *err)
{
    return byre_error_set(err, -ENOTSUP, "Hash algorithm '%s' is not supported: %s", hashes[hash].name,
                          gnutls_strerror(code));
}

/* Asked first, for gnutls_hash_init of GnuTLS 3.7 keeps memory when it refuses. */
static bool is_offered(gnutls_digest_algorithm_t digest)
{
    const gnutls_digest_algorithm_t *offered = gnutls_digest_list();

    while (*offered && *offered != digest)
        offered++;
    return *offered == digest;
}

int byre_hash_digest(enum byre_hash hash, const void *first, size_t first_length, const void *second,
                     size_t second_length, uint8_t *ret_digest, struct byre_error *err)
{
    gnutls_hash_hd_t handle;
    /* Which a program may have kept GnuTLS from doing at its start, for it takes longer than many a command. */
    int code = gnutls_global_init();

    if (code == 0)
        code = is_offered(hashes[hash].digest) ? gnutls_hash_init(&handle, hashes[hash].digest)
                                               : GNUTLS_E_UNKNOWN_HASH_ALGORITHM;
    if (code < 0)
        return refused(hash, code, err);
    code = gnutls_hash(handle, first, first_length);
    if (code == 0)
        code = gnutls_hash(handle, second, second_length);
    gnutls_hash_deinit(handle, ret_digest);
    return code < 0 ? refused(hash, code, err) : 0;
}

int byre_hash_pbkdf2(enum byre_hash hash, const void *password, size_t password_length, const void *salt,
                     size_t salt_length, uint32_t iterations, void *ret_key, size_t key_length, struct byre_error *err)
{
    const gnutls_datum_t key = { (void *)password, (unsigned)password_length };
    const gnutls_datum_t salts = { (void *)salt, (unsigned)salt_length };
    int code = gnutls_global_init();

    if (code == 0)
        code = gnutls_pbkdf2(hashes[hash].mac, &key, &salts, iterations, ret_key, key_length);
    return code < 0 ? refused(hash, code, err) : 0;
}

/* How long `iterations` take, nanoseconds of this thread's computing. */
static int measure(enum byre_hash hash, size_t key_length, uint32_t iterations, uint64_t *ret_nsec,
                   struct byre_error *err)
{
    static const uint8_t salt[32];
    uint8_t key[BYRE_HASH_BYTES_MAX];
    struct timespec start, end;
    int r;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    r = byre_hash_pbkdf2(hash, "password", 8, salt, sizeof salt, iterations, key, MIN(key_length, sizeof key), err);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    *ret_nsec = (uint64_t)(end.tv_sec - start.tv_sec) * 1000000000u + (uint64_t)end.tv_nsec - (uint64_t)start.tv_nsec;
    return r;
}

int byre_hash_iterations(enum byre_hash hash, size_t key_length, uint64_t milliseconds, uint32_t *ret_iterations,
                         struct byre_error *err)
{
    uint32_t tried = ITERATIONS_MIN;
    uint64_t nsec, count;
    int r = measure(hash, key_length, tried, &nsec, err);

    /* A clock that stands still would never end this; so many iterations take seconds. */
    while (r == 0 && nsec < MEASURE_NSEC && tried < 1u << 24) {
        tried *= 2;
        r = measure(hash, key_length, tried, &nsec, err);
    }
    if (r < 0)
        return r;
    /* A rate a millisecond is at most 2^24 * 10^6 / 1. */
    nsec = MAX(nsec, (uint64_t)MEASURE_NSEC / 100);
    count = (uint64_t)tried * 1000000u / nsec;
    if (milliseconds > UINT32_MAX || count * milliseconds > UINT32_MAX)
        return byre_error_set(err, -ERANGE, "PBKDF iterations %" PRIu64 " larger than %u: %s",
                              milliseconds > UINT32_MAX ? milliseconds : count * milliseconds, UINT32_MAX,
                              strerror(ERANGE));
    *ret_iterations = (uint32_t)MAX(count * milliseconds, (uint64_t)ITERATIONS_MIN);
    return 0;
}
