/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file store under O_DIRECT: odd sizes, writers and readers of one block; and random operations against a
 * model in memory, with and without O_DIRECT.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arith.h"
#include "file_fixture.h"

static void direct_odd_sizes_keep_their_size(void **state)
{
    static const uint64_t lengths[] = { 1, 511, 512, 513, 1000, 4095, 4096, 4097, 70001 };
    const char *name = tempdir_path(&tmp, "odd");
    static uint8_t buf[70001];

    (void)state;
    memset(buf, 0x5a, sizeof buf);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct byre_store *store = must_open(name, &creating_direct);
        uint64_t size;

        assert_int_equal(byre_store_pwrite(store, buf, lengths[i], 0, NULL), 0);
        assert_int_equal(byre_store_size(store, &size, NULL), 0);
        assert_int_equal(size, lengths[i]);
        assert_int_equal(byre_store_pwrite(store, "!", 1, lengths[i] + 700, NULL), 0); /* leaves a gap */
        assert_int_equal(byre_store_size(store, &size, NULL), 0);
        assert_int_equal(size, lengths[i] + 701);
        assert_int_equal(byre_store_truncate(store, lengths[i], NULL), 0);
        assert_int_equal(byre_store_flush(store, NULL), 0);
        byre_store_close(store);
        expect_file(name, buf, lengths[i]);
    }
}

enum { SHARED = 16384, ROUNDS = 30, THREADS = 4 };

struct neighbour {
    struct byre_store *store;
    unsigned number;
    pthread_t thread;
};

/* Each thread owns every fourth run of 100 bytes, which share their blocks with those of the others. */
static void *write_own_runs(void *arg)
{
    struct neighbour *self = arg;
    uint8_t run[100];

    for (unsigned round = 1; round <= ROUNDS; round++) {
        memset(run, (int)(self->number * 50 + round), sizeof run);
        for (uint64_t at = self->number * 100; at < SHARED; at += THREADS * 100) {
            if (byre_store_pwrite(self->store, run, sizeof run, at, NULL) < 0)
                return self;
        }
    }
    return NULL;
}

static void direct_writers_of_one_block_lose_nothing(void **state)
{
    const char *name = tempdir_path(&tmp, "shared");
    struct byre_store *store = must_open(name, &creating_direct);
    struct neighbour neighbours[THREADS];
    uint8_t buf[SHARED];

    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        neighbours[i] = (struct neighbour){ .store = store, .number = i };
        assert_int_equal(pthread_create(&neighbours[i].thread, NULL, write_own_runs, &neighbours[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        void *failed;

        pthread_join(neighbours[i].thread, &failed);
        assert_null(failed);
    }
    assert_int_equal(byre_store_pread(store, buf, sizeof buf, 0, NULL), 0);
    byre_store_close(store);
    for (unsigned i = 0; i < SHARED; i++)
        assert_int_equal(buf[i], i / 100 % THREADS * 50 + ROUNDS);
}

enum { APPENDS = 400, APPEND = 300 };

static void *append(void *arg)
{
    char run[APPEND];

    memset(run, 'a', sizeof run);
    for (uint64_t i = 0; i < APPENDS; i++) {
        if (byre_store_pwrite(arg, run, sizeof run, i * APPEND, NULL) < 0)
            return arg;
    }
    return NULL;
}

/* The last bytes go through the page cache, which direct reads of the same block must not trip over. */
static void direct_reads_beside_appends_succeed(void **state)
{
    struct byre_store *store = must_open(tempdir_path(&tmp, "growing"), &creating_direct);
    uint64_t before = 0, after;
    static uint8_t buf[16384];
    pthread_t appender;
    void *failed;

    (void)state;
    assert_int_equal(pthread_create(&appender, NULL, append, store), 0);
    while (before < APPENDS * APPEND) {
        uint64_t start = byre_round_down(before, 4096);

        assert_int_equal(byre_store_pread(store, buf, sizeof buf, start, NULL), 0);
        assert_int_equal(byre_store_size(store, &after, NULL), 0);
        for (uint64_t i = 0; i < sizeof buf; i++) {
            bool written = buf[i] == 'a';

            if (start + i < before ? !written : start + i >= after ? written : buf[i] != 0 && !written)
                fail_msg("byte %llu is %d", (unsigned long long)(start + i), buf[i]);
        }
        before = after;
    }
    pthread_join(appender, &failed);
    assert_null(failed);
    byre_store_close(store);
}

/* --- the model --- */

enum { MODEL_MAX = 300000, MODEL_STEPS = 1500 };

struct model {
    struct byre_store *store;
    uint8_t bytes[MODEL_MAX];
    uint64_t size;
    unsigned seed;
};

static uint64_t pick(struct model *model, uint64_t below)
{
    uint64_t number = (uint64_t)rand_r(&model->seed) % below;

    /* Often at or beside a boundary of a block. */
    return rand_r(&model->seed) % 3 ? number : MIN(byre_round_down(number, 512) + number % 2, below - 1);
}

static void model_read(struct model *model, uint64_t hoff, uint64_t length)
{
    static uint8_t buf[MODEL_MAX + 64], expected[MODEL_MAX];
    uint64_t shift = pick(model, 3) * 16; /* the buffer's own alignment matters too */

    memset(expected, 0, length);
    if (hoff < model->size)
        memcpy(expected, model->bytes + hoff, MIN(length, model->size - hoff));
    assert_int_equal(byre_store_pread(model->store, buf + shift, length, hoff, NULL), 0);
    assert_memory_equal(buf + shift, expected, length);
}

static void model_write(struct model *model, uint64_t hoff, uint64_t length)
{
    struct iovec iov[3];
    uint64_t cut = pick(model, length + 1), again = cut + pick(model, length - cut + 1);

    memset(model->bytes + hoff, rand_r(&model->seed) | 1, length);
    iov[0] = (struct iovec){ model->bytes + hoff, cut };
    iov[1] = (struct iovec){ model->bytes + hoff + cut, again - cut };
    iov[2] = (struct iovec){ model->bytes + hoff + again, length - again };
    assert_int_equal(byre_store_pwritev(model->store, iov, 3, hoff, NULL), 0);
    if (length)
        model->size = MAX(model->size, hoff + length);
}

static void model_step(struct model *model)
{
    uint64_t hoff = pick(model, MODEL_MAX), size;
    uint64_t length = pick(model, MIN(MODEL_MAX - hoff, (uint64_t)20000) + 1);
    unsigned flags = (unsigned)rand_r(&model->seed) % 2;

    switch (rand_r(&model->seed) % 8) {
    case 0:
        assert_int_equal(byre_store_write_zeroes(model->store, hoff, length, flags, NULL), 0);
        memset(model->bytes + hoff, 0, length);
        model->size = length ? MAX(model->size, hoff + length) : model->size;
        break;
    case 1:
        if (rand_r(&model->seed) % 4)
            break;
        assert_int_equal(byre_store_truncate(model->store, hoff, NULL), 0);
        memset(model->bytes + hoff, 0, MODEL_MAX - hoff);
        model->size = hoff;
        break;
    case 2:
        assert_int_equal(byre_store_allocate(model->store, hoff, length, NULL), 0);
        model->size = length ? MAX(model->size, hoff + length) : model->size;
        break;
    case 3:
    case 4:
        model_read(model, hoff, length);
        break;
    default:
        model_write(model, hoff, length);
    }
    assert_int_equal(byre_store_size(model->store, &size, NULL), 0);
    assert_int_equal(size, model->size);
}

static void run_model(const struct byre_file_options *options)
{
    const char *name = tempdir_path(&tmp, "model"), *given = getenv("BYRE_SEED");
    static struct model model;

    memset(&model, 0, sizeof model);
    model.seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    print_message("seed %u\n", model.seed);
    model.store = must_open(name, options);
    for (int step = 0; step < MODEL_STEPS; step++)
        model_step(&model);
    byre_store_close(model.store);
    expect_file(name, model.bytes, model.size);
}

static void cached_random_operations_match_the_model(void **state)
{
    (void)state;
    run_model(&creating);
}

static void direct_random_operations_match_the_model(void **state)
{
    (void)state;
    run_model(&creating_direct);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(direct_odd_sizes_keep_their_size),
        TEST(direct_writers_of_one_block_lose_nothing),
        TEST(direct_reads_beside_appends_succeed),
        TEST(cached_random_operations_match_the_model),
        TEST(direct_random_operations_match_the_model),
    };

    return cmocka_run_group_tests_name("file_direct", tests, NULL, NULL);
}
