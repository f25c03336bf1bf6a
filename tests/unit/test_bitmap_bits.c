/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bits in memory: against an array of bools, and set by many threads at once.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arith.h"
#include "qcow2/bitmap_bits.h"

enum { CHUNK = 64, THREADS = 4 };

static bool is_set(const struct byre_bits *bits, uint64_t bit)
{
    uint8_t bytes[CHUNK] = { 0 };
    uint64_t in_chunk = bit % (CHUNK * 8);

    byre_bits_merge_into(bits, bit / (CHUNK * 8), bytes);
    return bytes[in_chunk / 8] >> in_chunk % 8 & 1;
}

static void compare(const struct byre_bits *bits, const bool *wanted)
{
    for (uint64_t i = 0; i < byre_bits_count(bits); i++) {
        if (is_set(bits, i) != wanted[i])
            fail_msg("bit %llu is %d", (unsigned long long)i, !wanted[i]);
    }
}

static void random_ranges_set_their_granules(void **state)
{
    unsigned seed = (unsigned)time(NULL);

    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    for (unsigned round = 0; round < 40; round++) {
        unsigned granularity_bits = 9 + (unsigned)rand() % 5;
        uint64_t size = (uint64_t)(rand() % 3000 + 1) << 9;
        bool *wanted = calloc(size, 1);
        struct byre_bits *bits;

        assert_int_equal(byre_bits_new(size, granularity_bits, CHUNK, &bits, NULL), 0);
        assert_int_equal(byre_bits_count(bits), byre_div_up(size, 1ULL << granularity_bits));
        assert_int_equal(byre_bits_chunks(bits), byre_div_up(byre_bits_count(bits), CHUNK * 8));
        for (unsigned i = 0; i < 20; i++) {
            uint64_t goff = (uint64_t)rand() % (size + 5000), length = (uint64_t)rand() % (i % 4 ? 3000 : 600000);

            byre_bits_set(bits, goff, length);
            for (uint64_t at = goff; at < MIN(goff + length, size); at++)
                wanted[at >> granularity_bits] = true;
        }
        compare(bits, wanted);
        byre_bits_free(bits);
        free(wanted);
    }
}

static void ranges_past_the_end_are_cut(void **state)
{
    struct byre_bits *bits;

    (void)state;
    assert_int_equal(byre_bits_new(10 << 9, 9, CHUNK, &bits, NULL), 0);
    byre_bits_set(bits, 10 << 9, 512);
    byre_bits_set(bits, UINT64_MAX, UINT64_MAX);
    byre_bits_set(bits, 512, 0);
    assert_true(byre_bits_chunk_empty(bits, 0));
    byre_bits_set(bits, 9 << 9, UINT64_MAX);
    assert_true(is_set(bits, 9));
    assert_false(is_set(bits, 8));
    byre_bits_free(bits);
    assert_int_equal(byre_bits_new(0, 9, CHUNK, &bits, NULL), 0);
    byre_bits_set(bits, 0, 512);
    assert_int_equal(byre_bits_chunks(bits), 0);
    byre_bits_free(bits);
}

static void all_ones_merge_up_to_the_last_bit(void **state)
{
    uint8_t bytes[CHUNK] = { 0 };
    struct byre_bits *bits;

    (void)state;
    assert_int_equal(byre_bits_new((CHUNK * 8 + 3) << 9, 9, CHUNK, &bits, NULL), 0);
    byre_bits_set(bits, 0, UINT64_MAX);
    byre_bits_merge_into(bits, 0, bytes);
    assert_int_equal(byre_bits_find(bytes, 0, CHUNK * 8, false), CHUNK * 8);
    memset(bytes, 0, sizeof bytes);
    byre_bits_merge_into(bits, 1, bytes);
    assert_int_equal(byre_bits_find(bytes, 0, CHUNK * 8, false), 3);
    assert_int_equal(byre_bits_find(bytes, 3, CHUNK * 8, true), CHUNK * 8);
    byre_bits_free(bits);
}

static void find_goes_across_words(void **state)
{
    uint8_t bytes[CHUNK] = { 0 };

    (void)state;
    bytes[20] = 0x10;
    assert_int_equal(byre_bits_find(bytes, 0, CHUNK * 8, true), 164);
    assert_int_equal(byre_bits_find(bytes, 164, CHUNK * 8, true), 164);
    assert_int_equal(byre_bits_find(bytes, 165, CHUNK * 8, true), CHUNK * 8);
    assert_int_equal(byre_bits_find(bytes, 0, 164, true), 164);
    assert_int_equal(byre_bits_find(bytes, 164, CHUNK * 8, false), 165);
}

struct worker {
    pthread_t thread;
    struct byre_bits *bits;
    unsigned number;
};

/* Each thread sets every fourth bit, so that all of them are in each word. */
static void *set_own(void *opaque)
{
    const struct worker *worker = opaque;

    for (uint64_t bit = worker->number; bit < byre_bits_count(worker->bits); bit += THREADS)
        byre_bits_set(worker->bits, bit << 9, 1);
    return NULL;
}

static void threads_lose_no_bit(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 30; round++) {
        struct worker workers[THREADS];
        struct byre_bits *bits;

        assert_int_equal(byre_bits_new(50000 << 9, 9, CHUNK, &bits, NULL), 0);
        for (unsigned i = 0; i < THREADS; i++) {
            workers[i] = (struct worker){ .bits = bits, .number = i };
            assert_int_equal(pthread_create(&workers[i].thread, NULL, set_own, &workers[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++)
            pthread_join(workers[i].thread, NULL);
        for (uint64_t i = 0; i < 50000; i += 7)
            assert_true(is_set(bits, i));
        byre_bits_free(bits);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_ranges_set_their_granules),
        cmocka_unit_test(ranges_past_the_end_are_cut),
        cmocka_unit_test(all_ones_merge_up_to_the_last_bit),
        cmocka_unit_test(find_goes_across_words),
        cmocka_unit_test(threads_lose_no_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
