/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random operations against a flat copy, over the matrix of formats.  After every reopening, and at the end,
 * the image has no corruption and no leak.  The metadata cache is as small as it gets.
 *
 * BYRE_SEED repeats the runs with one seed.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/arith.h"
#include "byre/disk.h"
#include "qcow2/compress.h"
#include "../crash/effort.h"
#include "../crash/guest.h"

enum { STEPS = 40 };

struct run {
    struct guest *guest;
    unsigned seed;
    unsigned cluster_bits;
    uint64_t longest; /* of a request */
};

/* The seeds of this process: one that is always the same, but with TEST_QUICK, and a new one. */
static unsigned seeds[2];
static size_t seed_count;

static void choose_seeds(void)
{
    const char *given = getenv("BYRE_SEED");

    if (given) {
        seeds[seed_count++] = (unsigned)strtoul(given, NULL, 0);
    } else {
        if (effort_of(0, 1, 1))
            seeds[seed_count++] = 1;
        seeds[seed_count++] = (unsigned)time(NULL);
    }
    print_message("seeds: %u and %u (BYRE_SEED)\n", seeds[0], seeds[seed_count - 1]);
}

static uint64_t pick(struct run *run, uint64_t below)
{
    uint64_t high = (uint64_t)rand_r(&run->seed) >> 4;

    return (high << 24 ^ (uint64_t)rand_r(&run->seed) >> 4) % below;
}

/* A request: often aligned to clusters, sometimes up to the end. */
static void pick_range(struct run *run, uint64_t *goff, uint64_t *length)
{
    uint64_t size = run->guest->options.size, cluster = 1ULL << run->cluster_bits;

    if (run->guest->options.extended && pick(run, 2))
        cluster /= 32;

    *goff = pick(run, size);
    *length = 1 + pick(run, pick(run, 3) ? MIN(3 * cluster, run->longest) : run->longest);
    if (pick(run, 2))
        *goff = byre_round_down(*goff, cluster);
    if (pick(run, 2))
        *length = byre_round_up(*length, cluster);
    *length = pick(run, 8) ? MIN(*length, size - *goff) : MIN(size - *goff, run->longest);
}

static int compress(struct run *run, uint64_t goff, uint64_t length)
{
    uint64_t size = run->guest->options.size, start = byre_round_down(goff, 1ULL << run->cluster_bits);
    uint64_t most = ((size - start - 1) >> run->cluster_bits) + 1;

    if (run->guest->options.encrypted || run->guest->options.data)
        return guest_write(run->guest, goff, length);
    return guest_compressed(run->guest, start, (unsigned)MIN((length >> run->cluster_bits) + 1, most));
}

static int reopen(struct run *run)
{
    struct guest *guest = run->guest;
    int rc = guest_close(guest);

    if (rc == 0)
        rc = guest_check(guest, true);
    if (rc == 0)
        rc = guest_open(guest);
    if (rc < 0)
        return rc;
    byre_qcow2_set_append_only(guest->image, pick(run, 4) == 0);
    return guest_compare(guest);
}

static int step(struct run *run)
{
    struct guest *guest = run->guest;
    uint64_t goff, length;

    pick_range(run, &goff, &length);
    switch (pick(run, 16)) {
    case 0:
        return guest_zero(guest, goff, length, 0);
    case 1:
        return guest_zero(guest, goff, length, BYRE_WRITE_ZEROES_UNMAP);
    case 2:
    case 3:
        return guest_discard(guest, goff, length);
    case 4:
        return guest_restart(guest);
    case 5:
        return guest_flush(guest);
    case 6:
        return guest_compare(guest);
    case 7:
    case 8:
        return compress(run, goff, MIN(length, (uint64_t)8 << run->cluster_bits));
    case 9:
        return reopen(run);
    default:
        return guest_write(guest, goff, length);
    }
}

static void run_one(const struct guest_options *options, unsigned seed, unsigned steps)
{
    struct run run = { .seed = seed, .cluster_bits = options->cluster_bits };
    unsigned done;
    int rc = 0;

    run.guest = guest_new(options);
    run.longest = MAX(options->size / 4, 2ULL << options->cluster_bits);
    for (done = 0; rc == 0 && done < steps; done++)
        rc = step(&run);
    if (rc == 0)
        rc = guest_compare(run.guest);
    if (rc == 0)
        rc = guest_close(run.guest);
    if (rc == 0)
        rc = guest_check(run.guest, true);
    if (rc != 0)
        fail_msg("BYRE_SEED=%u: step %u of version %u, cluster bits %u, refcount order %d, lazy %d,"
                 " backing %d: %d %s",
                 seed, done, options->version, options->cluster_bits, options->refcount_order, options->lazy,
                 options->backing_size != 0, rc, run.guest->err.text);
    guest_free(run.guest);
}

/* Both kinds of odd ends: of the disk, and of the backing file.  Large clusters take long, so that not every
 * refcount order gets its turn there. */
static void run_formats_with(bool extended, unsigned version, unsigned cluster_bits, uint64_t size, unsigned steps)
{
    int stride = cluster_bits > 16 ? 3 : 1;

    for (size_t i = 0; i < seed_count; i++) {
        for (int order = version == 2 ? 4 : 0; order <= (version == 2 ? 4 : 6); order += stride) {
            for (unsigned kind = 0; kind < (version == 2 ? 2 : 4); kind++) {
                struct guest_options options = {
                    .size = size + (kind & 1 ? 512 : 0),
                    .version = version,
                    .cluster_bits = cluster_bits,
                    .refcount_order = order ? order : -1,
                    .lazy = kind & 2,
                    .extended = extended,
                    .compression = version == 3 && byre_codec_has(1) && (order & 1),
                    .backing_size = kind & 1 ? size / 2 + 700 : 0,
                    .cache_bytes = 1,
                };

                run_one(&options, seeds[i], steps);
            }
        }
    }
}

static void run_formats(unsigned version, unsigned cluster_bits, uint64_t size, unsigned steps)
{
    run_formats_with(false, version, cluster_bits, size, steps);
}

static void version_2_is_what_the_copy_is(void **state)
{
    (void)state;
    run_formats(2, 9, 80 << 10, STEPS * 4);
    run_formats(2, 12, 256 << 10, STEPS * 2);
    run_formats(2, 16, 1 << 20, STEPS);
    run_formats(2, 21, 8 << 20, STEPS / 4);
}

static void clusters_of_512_bytes_are_what_the_copy_is(void **state)
{
    (void)state;
    run_formats(3, 9, 80 << 10, STEPS * 2);
}

static void clusters_of_1_KiB_are_what_the_copy_is(void **state)
{
    (void)state;
    run_formats(3, 10, 120 << 10, STEPS * 2);
}

static void clusters_of_4_KiB_are_what_the_copy_is(void **state)
{
    (void)state;
    run_formats(3, 12, 256 << 10, STEPS);
}

static void clusters_of_64_KiB_are_what_the_copy_is(void **state)
{
    (void)state;
    run_formats(3, 16, 1 << 20, STEPS);
}

static void clusters_of_2_MiB_are_what_the_copy_is(void **state)
{
    (void)state;
    run_formats(3, 21, 6 << 20, 8);
}

static void subclusters_of_512_bytes_are_what_the_copy_is(void **state)
{
    (void)state;
    run_formats_with(true, 3, 14, 512 << 10, STEPS * 2);
}

static void subclusters_of_2_KiB_are_what_the_copy_is(void **state)
{
    (void)state;
    run_formats_with(true, 3, 16, 1 << 20, STEPS);
}

static void subclusters_of_64_KiB_are_what_the_copy_is(void **state)
{
    (void)state;
    run_formats_with(true, 3, 21, 6 << 20, 8);
}

/* Encryption and data files, with each other and with the rest. */
static void features_are_what_the_copy_is(void **state)
{
    static const struct guest_options kinds[] = {
        { .cluster_bits = 9, .encrypted = true, .lazy = true },
        { .cluster_bits = 12, .encrypted = true, .version = 2, .backing_size = 100 << 10 },
        { .cluster_bits = 14, .encrypted = true, .extended = true, .backing_size = 100 << 10 },
        { .cluster_bits = 9, .data = GUEST_DATA_FILE },
        { .cluster_bits = 12, .data = GUEST_DATA_FILE, .backing_size = 100 << 10, .lazy = true },
        { .cluster_bits = 14, .data = GUEST_DATA_FILE, .extended = true, .backing_size = 100 << 10 },
        { .cluster_bits = 14, .data = GUEST_DATA_FILE, .extended = true, .data_early = true },
        { .cluster_bits = 12, .data = GUEST_DATA_RAW },
        { .cluster_bits = 14, .data = GUEST_DATA_RAW, .extended = true, .lazy = true },
        { .cluster_bits = 12, .data = GUEST_DATA_FILE, .encrypted = true, .data_early = true },
        { .cluster_bits = 14, .data = GUEST_DATA_FILE, .encrypted = true, .extended = true, .backing_size = 90 << 10 },
        { .cluster_bits = 14, .data = GUEST_DATA_RAW, .encrypted = true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] * seed_count; i++) {
        struct guest_options options = kinds[i / seed_count];

        options.version = options.version ? options.version : 3;
        options.size = (200 << 10) + (i % 3 ? 512 : 0);
        options.cache_bytes = 1;
        run_one(&options, seeds[i % seed_count], STEPS * 3);
    }
}

/* Several slices of L2 tables, and more dirty ones than the cache holds. */
static void tables_of_several_slices_are_what_the_copy_is(void **state)
{
    const struct guest_options options = {
        .size = 10 << 20, .version = 3, .cluster_bits = 13, .refcount_order = 4, .cache_bytes = 1,
    };

    (void)state;
    for (size_t i = 0; i < seed_count; i++)
        run_one(&options, seeds[i], STEPS);
}

/* 512-byte clusters with refcounts of 64 bits: 2 MiB of file, and the refcount table has to grow. */
static void growing_refcount_tables_are_what_the_copy_is(void **state)
{
    const struct guest_options options = {
        .size = 6 << 20, .version = 3, .cluster_bits = 9, .refcount_order = 6, .cache_bytes = 1,
    };

    (void)state;
    for (size_t i = 0; i < seed_count; i++)
        run_one(&options, seeds[i], STEPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_2_is_what_the_copy_is),
        cmocka_unit_test(clusters_of_512_bytes_are_what_the_copy_is),
        cmocka_unit_test(clusters_of_1_KiB_are_what_the_copy_is),
        cmocka_unit_test(clusters_of_4_KiB_are_what_the_copy_is),
        cmocka_unit_test(clusters_of_64_KiB_are_what_the_copy_is),
        cmocka_unit_test(clusters_of_2_MiB_are_what_the_copy_is),
        cmocka_unit_test(subclusters_of_512_bytes_are_what_the_copy_is),
        cmocka_unit_test(subclusters_of_2_KiB_are_what_the_copy_is),
        cmocka_unit_test(subclusters_of_64_KiB_are_what_the_copy_is),
        cmocka_unit_test(features_are_what_the_copy_is),
        cmocka_unit_test(tables_of_several_slices_are_what_the_copy_is),
        cmocka_unit_test(growing_refcount_tables_are_what_the_copy_is),
    };

    choose_seeds();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
