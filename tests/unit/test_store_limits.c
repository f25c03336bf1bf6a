/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Limits of a store: whatever is asked of the wrappers, and by the engine, the store sees only requests that its limits
 * allow; and the bytes are right.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "qcow2/check.h"
#include "qcow2/header_read.h"
#include "qcow2/qcow2.h"
#include "strict_store.h"

enum { SIZE = 300000, STEPS = 400, WRITES = 300, THREADS = 4 };

static unsigned seed;

static uint64_t random_below(uint64_t end)
{
    return (uint64_t)rand_r(&seed) % end;
}

static void seed_from_clock(void)
{
    const char *given = getenv("BYRE_SEED");

    seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    print_message("seed %u\n", seed);
}

/* Limits that go together. */
static struct byre_store_limits random_limits(void)
{
    uint32_t align = 1u << random_below(14);

    return (struct byre_store_limits){
        .align = 1, .request_align = align, .zero_on_grow = true,
        .max_transfer = random_below(2) ? align * (1 + (uint32_t)random_below(8)) : 0,
        .zero_align = align * (1 + (uint32_t)random_below(5)),
        .max_write_zeroes = random_below(2) ? align * 60ULL * (1 + random_below(3)) : 0, /* of all of 1 to 5 */
        .discard_align = align * (1 + (uint32_t)random_below(5)),
        .max_discard = random_below(2) ? align * 60ULL * (1 + random_below(3)) : 0,
    };
}

static void read_and_compare(struct byre_store *store, const uint8_t *model, uint64_t hoff, uint64_t length)
{
    uint8_t *buf = malloc(length);

    assert_non_null(buf);
    assert_int_equal(byre_store_pread(store, buf, length, hoff, NULL), 0);
    assert_memory_equal(buf, model + hoff, length);
    free(buf);
}

/* Writes from many small buffers, sometimes from more than the system takes at once. */
static void write_vector(struct byre_store *store, uint8_t *model, uint64_t hoff, uint64_t length)
{
    int count = random_below(4) ? 1 + (int)random_below(5) : 1500;
    struct iovec *iov = calloc((size_t)count, sizeof *iov);

    assert_non_null(iov);
    for (uint64_t i = 0; i < length; i++)
        model[hoff + i] = (uint8_t)rand_r(&seed);
    for (int i = 0; i < count; i++) {
        uint64_t from = length * (uint64_t)i / (uint64_t)count, to = length * (uint64_t)(i + 1) / (uint64_t)count;

        iov[i] = (struct iovec){ model + hoff + from, to - from };
    }
    assert_int_equal(byre_store_pwritev(store, iov, count, hoff, NULL), 0);
    free(iov);
}

static void random_step(struct byre_store *store, uint8_t *model)
{
    uint64_t hoff = random_below(SIZE), length = random_below(MIN((uint64_t)(SIZE - hoff), (uint64_t)60000)) + 1;

    if (random_below(3) == 0) {
        hoff = byre_round_down(hoff, store->limits.request_align);
        length = MIN(byre_round_up(length, store->limits.request_align), SIZE - hoff);
    }
    switch (random_below(5)) {
    case 0:
    case 1:
        write_vector(store, model, hoff, length);
        break;
    case 2:
        assert_int_equal(byre_store_write_zeroes(store, hoff, length, 0, NULL), 0);
        memset(model + hoff, 0, length);
        break;
    case 3:
        assert_int_equal(byre_store_discard(store, hoff, length, NULL), 0); /* the store keeps the bytes */
        assert_int_equal(byre_store_allocate(store, hoff, length, NULL), 0);
        break;
    default:
        read_and_compare(store, model, hoff, length);
    }
}

static void limits_are_kept_in_all_requests(void **state)
{
    static uint8_t model[SIZE];

    (void)state;
    seed_from_clock();
    for (int round = 0; round < 40; round++) {
        struct byre_store_limits limits = random_limits();
        struct strict *strict = strict_new(&limits, 0);

        strict->no_zeroes = random_below(2);
        memset(model, 0, sizeof model);
        for (int step = 0; step < STEPS / 10; step++)
            random_step(&strict->store, model);
        read_and_compare(&strict->store, model, 0, SIZE);
        byre_store_close(&strict->store);
    }
}

static void expect_calls(const struct strict *strict, const char *expected)
{
    char text[2000] = "", *at = text;

    for (unsigned i = 0; i < strict->count; i++)
        at += snprintf(at, (size_t)(text + sizeof text - at), "%c%llu+%llu ", strict->calls[i].kind,
                       (unsigned long long)strict->calls[i].hoff, (unsigned long long)strict->calls[i].length);
    assert_string_equal(text, expected);
}

static void limits_zeroes_start_with_what_is_preferred(void **state)
{
    struct byre_store_limits limits = {
        .align = 1, .request_align = 512, .zero_align = 3072, .max_write_zeroes = 6144, .discard_align = 1,
    };
    struct strict *strict = strict_new(&limits, 65536);

    (void)state;
    assert_int_equal(byre_store_write_zeroes(&strict->store, 1000, 19000, 0, NULL), 0);
    expect_calls(strict, "z3072+6144 z9216+6144 z15360+3072 z1024+2048 z18432+1536 r512+512 w512+512 "
                         "r19968+512 w19968+512 ");
    byre_store_close(&strict->store);
}

static void limits_zeroes_without_fallback_do_all_or_nothing(void **state)
{
    struct byre_store_limits limits = { .align = 1, .request_align = 512, .zero_align = 4096, .discard_align = 1 };
    struct strict *strict = strict_new(&limits, 65536);
    uint8_t ones[12000];

    (void)state;
    assert_int_equal(byre_store_write_zeroes(&strict->store, 600, 100, BYRE_ZERO_NO_FALLBACK, NULL), -ENOTSUP);
    strict->no_zeroes = true;
    assert_int_equal(byre_store_write_zeroes(&strict->store, 600, 9000, BYRE_ZERO_NO_FALLBACK, NULL), -ENOTSUP);
    expect_calls(strict, "z4096+4096 ");
    strict->no_zeroes = false;
    strict->no_zeroes_in_part = true;
    memset(ones, 1, sizeof ones);
    assert_int_equal(byre_store_pwrite(&strict->store, ones, sizeof ones, 0, NULL), 0);
    assert_int_equal(byre_store_write_zeroes(&strict->store, 600, 9000, BYRE_ZERO_NO_FALLBACK, NULL), 0);
    memset(ones + 600, 0, 9000);
    read_and_compare(&strict->store, ones, 0, sizeof ones);
    byre_store_close(&strict->store);
}

static void limits_discard_leaves_blocks_in_part_alone(void **state)
{
    struct byre_store_limits limits = {
        .align = 1, .request_align = 512, .zero_align = 1, .discard_align = 1024, .max_discard = 2048,
    };
    struct strict *strict = strict_new(&limits, 65536);

    (void)state;
    assert_int_equal(byre_store_discard(&strict->store, 100, 300, NULL), 0);
    assert_int_equal(byre_store_discard(&strict->store, 500, 6000, NULL), 0);
    expect_calls(strict, "d512+512 d1024+2048 d3072+2048 d5120+1024 ");
    byre_store_close(&strict->store);
}

static void limits_read_in_a_block_reads_the_block(void **state)
{
    struct byre_store_limits limits = { .align = 1, .request_align = 4096, .zero_align = 1, .discard_align = 1 };
    struct strict *strict = strict_new(&limits, 65536);
    uint8_t byte = 7;

    (void)state;
    assert_int_equal(byre_store_pwrite(&strict->store, &byte, 1, 4095, NULL), 0);
    assert_int_equal(byre_store_pread(&strict->store, &byte, 1, 4096, NULL), 0);
    assert_int_equal(byte, 0);
    expect_calls(strict, "r0+4096 w0+4096 r4096+4096 ");
    byre_store_close(&strict->store);
}

static void expect_extent(struct byre_store *store, uint64_t hoff, uint64_t length, bool hole)
{
    uint64_t found;
    bool is_hole;

    assert_int_equal(byre_store_extent(store, hoff, &found, &is_hole, NULL), 0);
    assert_int_equal(found, length);
    assert_int_equal(is_hole, hole);
}

static void limits_extents_are_cut_to_blocks(void **state)
{
    struct byre_store_limits limits = { .align = 1, .request_align = 4096, .zero_align = 1, .discard_align = 1 };
    struct strict *strict = strict_new(&limits, 60000);

    (void)state;
    strict->hole_start = 5000;
    strict->hole_end = 20000;
    expect_extent(&strict->store, 0, 4096, false);
    expect_extent(&strict->store, 4500, 3692, false); /* the hole's first block has data in it */
    expect_extent(&strict->store, 6000, 2192, false);
    expect_extent(&strict->store, 8192, 8192, true);
    expect_extent(&strict->store, 10000, 6384, true);
    expect_extent(&strict->store, 16384, 4096, false);
    expect_extent(&strict->store, 20480, 39520, false);
    byre_store_close(&strict->store);
}

/* --- neighbours ----------------------------------------------------------------------------------------- */

struct writer {
    struct byre_store *store;
    unsigned number;
    pthread_barrier_t *start;
};

static void *write_every_fourth(void *opaque)
{
    struct writer *writer = opaque;

    pthread_barrier_wait(writer->start);
    for (unsigned i = 0; i < WRITES; i++) {
        uint8_t byte = (uint8_t)(writer->number + 1);
        uint64_t at = (uint64_t)i * THREADS + writer->number;

        if (byre_store_pwrite(writer->store, &byte, 1, at, NULL) < 0)
            return writer;
    }
    return NULL;
}

static void limits_writers_in_one_block_take_turns(void **state)
{
    struct byre_store_limits limits = { .align = 1, .request_align = 1024, .zero_align = 1, .discard_align = 1 };
    struct strict *strict = strict_new(&limits, 0);
    struct writer writers[THREADS];
    pthread_t threads[THREADS];
    uint8_t bytes[WRITES * THREADS];
    pthread_barrier_t start;

    (void)state;
    pthread_barrier_init(&start, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){ &strict->store, i, &start };
        assert_int_equal(pthread_create(&threads[i], NULL, write_every_fourth, &writers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    pthread_barrier_destroy(&start);
    assert_int_equal(byre_store_pread(&strict->store, bytes, sizeof bytes, 0, NULL), 0);
    for (unsigned i = 0; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], i % THREADS + 1);
    byre_store_close(&strict->store);
}

/* --- the engine ----------------------------------------------------------------------------------------- */

static struct byre_qcow2 *engine_open(struct byre_store *store)
{
    struct byre_qcow2 *image = NULL;

    assert_int_equal(byre_qcow2_open(store, &(struct byre_qcow2_open_options){ .writable = true }, &image, NULL), 0);
    return image;
}

static void engine_step(struct byre_qcow2 *image, uint8_t *model)
{
    uint64_t goff = random_below(SIZE), length = random_below(MIN((uint64_t)(SIZE - goff), (uint64_t)20000)) + 1;
    struct iovec iov = { model + goff, length };

    switch (random_below(5)) {
    case 0:
        assert_int_equal(byre_qcow2_write_zeroes(image, goff, length, 0, NULL), 0);
        memset(model + goff, 0, length);
        break;
    case 1:
        assert_int_equal(byre_qcow2_flush(image, NULL), 0);
        break;
    default:
        for (uint64_t i = 0; i < length; i++)
            model[goff + i] = (uint8_t)rand_r(&seed);
        assert_int_equal(byre_qcow2_writev(image, goff, &iov, 1, length, NULL), 0);
    }
}

static void engine_compare(struct byre_qcow2 *image, struct byre_store *store, const uint8_t *model)
{
    static uint8_t buf[SIZE];
    byre_extent_vec extents = VEC_INIT;

    memset(buf, 0, sizeof buf);
    assert_int_equal(byre_qcow2_map(image, 0, SIZE, &extents, NULL), 0);
    for (size_t i = 0; i < extents.len; i++) {
        const struct byre_extent *extent = &extents.ptr[i];

        if (extent->kind == BYRE_EXTENT_DATA)
            assert_int_equal(byre_store_pread(store, buf + extent->goff, extent->length, extent->hoff, NULL), 0);
    }
    vec_done(&extents);
    assert_memory_equal(buf, model, SIZE);
}

static void engine_check(struct byre_store *store)
{
    struct byre_check_result result;
    struct byre_qcow2_header header;

    assert_int_equal(byre_qcow2_header_read(store, &header, NULL), 0);
    assert_int_equal(byre_qcow2_check(store, &header, 0, NULL, &result, NULL), 0);
    byre_qcow2_header_done(&header);
    assert_int_equal(result.corruptions + result.leaks + result.check_errors, 0);
}

static void limits_are_kept_by_the_engine(void **state)
{
    static uint8_t model[SIZE];

    (void)state;
    seed_from_clock();
    for (int round = 0; round < 12; round++) {
        struct byre_store_limits limits = random_limits();
        struct strict *strict = strict_new(&limits, 0);
        struct byre_qcow2_create_options options = {
            .size = SIZE, .version = 3, .cluster_bits = 9 + (unsigned)random_below(5), .refcount_order = 4,
        };
        struct byre_qcow2 *image = NULL;

        memset(model, 0, sizeof model);
        assert_int_equal(byre_qcow2_create(&strict->store, &options, &image, NULL), 0);
        assert_int_equal(byre_qcow2_seal(image, NULL), 0);
        for (int step = 0; step < STEPS / 10; step++)
            engine_step(image, model);
        assert_int_equal(byre_qcow2_close(image, NULL), 0);
        image = engine_open(&strict->store);
        engine_compare(image, &strict->store, model);
        assert_int_equal(byre_qcow2_close(image, NULL), 0);
        engine_check(&strict->store);
        byre_store_close(&strict->store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_kept_in_all_requests),
        cmocka_unit_test(limits_zeroes_start_with_what_is_preferred),
        cmocka_unit_test(limits_zeroes_without_fallback_do_all_or_nothing),
        cmocka_unit_test(limits_discard_leaves_blocks_in_part_alone),
        cmocka_unit_test(limits_read_in_a_block_reads_the_block),
        cmocka_unit_test(limits_extents_are_cut_to_blocks),
        cmocka_unit_test(limits_writers_in_one_block_take_turns),
        cmocka_unit_test(limits_are_kept_by_the_engine),
    };

    return cmocka_run_group_tests_name("store_limits", tests, NULL, NULL);
}
