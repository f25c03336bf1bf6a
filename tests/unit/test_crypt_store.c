/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The crypt store: what it shows, what is below it, and parts of sectors.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/zero.h"
#include "store/crypt_store.h"
#include "store/memory.h"

enum { SIZE = 8192, SECTOR = 512 };

static struct byre_cipher *new_cipher(void)
{
    const struct byre_cipher_spec spec = { 128, BYRE_CIPHER_XTS, BYRE_IVGEN_PLAIN64, -1 };
    struct byre_secret *key = byre_secret_copy("0123456789abcdef0123456789ABCDEF", 32);
    struct byre_cipher *cipher = NULL;

    assert_int_equal(byre_cipher_new(&spec, key, &cipher, NULL), 0);
    byre_secret_free(key);
    return cipher;
}

static struct byre_store *new_store(struct byre_store **ret_below)
{
    struct byre_store *store;

    assert_int_equal(byre_memory_new(NULL, SIZE, ret_below, NULL), 0);
    assert_int_equal(byre_crypt_store_new(*ret_below, true, new_cipher(), &store, NULL), 0);
    return store;
}

static void sectors_are_encrypted_by_their_place(void **state)
{
    struct byre_store *below, *store = new_store(&below);
    struct byre_cipher *cipher = new_cipher();
    uint8_t plain[SIZE], bytes[SIZE];

    (void)state;
    for (unsigned i = 0; i < SIZE; i++)
        plain[i] = (uint8_t)(i / 3);
    assert_int_equal(byre_store_pwrite(store, plain, SIZE, 0, NULL), 0);
    assert_int_equal(byre_store_pread(below, bytes, SIZE, 0, NULL), 0);
    assert_memory_not_equal(bytes, plain, 16);
    assert_int_equal(byre_cipher_decrypt(cipher, 5, bytes + 5 * SECTOR, SECTOR), 0);
    assert_memory_equal(bytes + 5 * SECTOR, plain + 5 * SECTOR, SECTOR);
    assert_int_equal(byre_store_pread(store, bytes, SIZE, 0, NULL), 0);
    assert_memory_equal(bytes, plain, SIZE);
    assert_int_equal(store->fd, -1);
    assert_false(store->limits.zero_on_grow);
    byre_cipher_free(cipher);
    byre_store_close(store);
}

/* Any alignment of writes and reads, in buffers of any cut. */
static void parts_of_sectors_come_back(void **state)
{
    struct byre_store *below, *store = new_store(&below);
    uint8_t model[SIZE] = { 0 }, bytes[SIZE];
    unsigned seed = 12345;

    (void)state;
    assert_int_equal(byre_store_write_zeroes(store, 0, SIZE, 0, NULL), 0);
    for (unsigned i = 0; i < 500; i++) {
        size_t at = (size_t)rand_r(&seed) % SIZE, length = 1 + (size_t)rand_r(&seed) % (SIZE - at);
        size_t cut = (size_t)rand_r(&seed) % (length + 1);
        struct iovec iov[] = { { bytes, cut }, { bytes + cut, length - cut } };

        memset(bytes, (int)i, length);
        memset(model + at, (int)i, length);
        assert_int_equal(byre_store_pwritev(store, iov, 2, at, NULL), 0);
        at = (size_t)rand_r(&seed) % SIZE;
        length = (size_t)rand_r(&seed) % (SIZE - at);
        cut = length / 3;
        iov[0] = (struct iovec){ bytes, cut };
        iov[1] = (struct iovec){ bytes + cut, length - cut };
        assert_int_equal(byre_store_preadv(store, iov, 2, at, NULL), 0);
        assert_memory_equal(bytes, model + at, length);
    }
    byre_store_close(store);
}

static void past_the_end_are_zeros(void **state)
{
    struct byre_store *below, *store = new_store(&below);
    uint8_t bytes[3 * SECTOR];
    uint64_t length;
    bool hole;

    (void)state;
    memset(bytes, 1, sizeof bytes);
    assert_int_equal(byre_store_pread(store, bytes, sizeof bytes, SIZE - SECTOR, NULL), 0);
    assert_false(byre_is_zero(bytes, SECTOR)); /* what was never written is noise */
    assert_true(byre_is_zero(bytes + SECTOR, 2 * SECTOR));
    assert_int_equal(byre_store_extent(store, 0, &length, &hole, NULL), 0);
    assert_int_equal(length, SIZE);
    assert_false(hole);
    assert_int_equal(byre_store_write_zeroes(store, 100, 1000, BYRE_ZERO_NO_FALLBACK, NULL), -ENOTSUP);
    assert_int_equal(byre_store_write_zeroes(store, 100, 1000, BYRE_ZERO_UNMAP, NULL), 0);
    assert_int_equal(byre_store_pread(store, bytes, 1000, 100, NULL), 0);
    assert_true(byre_is_zero(bytes, 1000));
    byre_store_close(store);
}

/* Two threads write to the two halves of the same sectors. */
static void *write_half(void *opaque)
{
    struct { struct byre_store *store; unsigned half; } *job = opaque;
    uint8_t bytes[SECTOR / 2];

    for (unsigned i = 0; i < 2000; i++) {
        memset(bytes, (int)(i + job->half), sizeof bytes);
        if (byre_store_pwrite(job->store, bytes, sizeof bytes, i % 4 * SECTOR + job->half * sizeof bytes, NULL) < 0)
            return job;
    }
    return NULL;
}

static void writers_of_one_sector_take_turns(void **state)
{
    struct byre_store *below, *store = new_store(&below);
    struct { struct byre_store *store; unsigned half; } jobs[2] = { { store, 0 }, { store, 1 } };
    pthread_t threads[2];
    uint8_t bytes[SECTOR];

    (void)state;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_half, &jobs[i]), 0);
    for (unsigned i = 0; i < 2; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(byre_store_pread(store, bytes, SECTOR, i * SECTOR, NULL), 0);
        assert_int_equal(bytes[0], (uint8_t)(1996 + i));
        assert_int_equal(bytes[SECTOR - 1], (uint8_t)(1997 + i));
    }
    byre_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sectors_are_encrypted_by_their_place),
        cmocka_unit_test(parts_of_sectors_come_back),
        cmocka_unit_test(past_the_end_are_zeros),
        cmocka_unit_test(writers_of_one_sector_take_turns),
    };

    return cmocka_run_group_tests_name("crypt_store", tests, NULL, NULL);
}
