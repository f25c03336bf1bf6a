/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compare over made-up disks: the first finding on the disk is the result, with any number of threads.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Compare and its plan are compiled in here, over disks that this file makes up. */
#define byre_get_size fake_get_size
#define byre_pread fake_pread
#define byre_extents fake_extents
#define byre_layer_name fake_layer_name
#define byre_file_identity fake_file_identity
#include "ops/compare.c"
#define add_extent plan_add_extent
#include "ops/compare_plan.c"

enum { UNIT = 512, UNITS = 12 * 1024 };

struct fake {
    struct byre_disk disk; /* first */
    struct byre_layer layer;
    uint8_t bytes[UNITS * UNIT];
    struct byre_extent units[UNITS];
    unsigned bad_read, bad_map; /* units; UNITS: none */
    unsigned file;              /* which file the disk is */
    atomic_uint reads;
};

static struct fake fake_a, fake_b;

static struct fake *fake_of(const struct byre_disk *disk)
{
    return (struct fake *)disk;
}

uint64_t fake_get_size(const struct byre_disk *disk)
{
    return disk->size;
}

const char *fake_layer_name(const struct byre_disk *disk, unsigned layer)
{
    return disk->layers[layer].name;
}

bool fake_file_identity(const struct byre_store *store, dev_t *ret_dev, ino_t *ret_ino)
{
    const struct fake *fake = (const struct fake *)store;

    *ret_dev = 1;
    *ret_ino = fake->file;
    return fake->file != 0;
}

int fake_pread(struct byre_disk *disk, void *buf, size_t length, uint64_t goff, struct byre_error *err)
{
    struct fake *fake = fake_of(disk);
    uint64_t bad = (uint64_t)fake->bad_read * UNIT;

    assert_true(goff + length <= disk->size);
    atomic_fetch_add(&fake->reads, 1);
    if (bad >= goff && bad < goff + length)
        return byre_error_set(err, -EIO, "bad sector");
    memcpy(buf, fake->bytes + goff, length);
    return 0;
}

int fake_extents(struct byre_disk *disk, uint64_t goff, uint64_t length,
                 int (*each)(void *, const struct byre_extent *), void *opaque, struct byre_error *err)
{
    struct fake *fake = fake_of(disk);
    uint64_t end = goff + length;
    int r = 0;

    for (; goff < end && !r; goff = byre_round_down(goff, UNIT) + UNIT) {
        struct byre_extent extent = fake->units[goff / UNIT];

        if (goff / UNIT == fake->bad_map)
            return byre_error_set(err, -EIO, "bad table");
        extent.goff = goff;
        extent.length = MIN(byre_round_down(goff, UNIT) + UNIT, end) - goff;
        extent.hoff = extent.kind == BYRE_EXTENT_DATA ? goff : 0;
        r = each(opaque, &extent);
    }
    return r;
}

static void fake_reset(struct fake *fake, char *name, size_t size)
{
    memset(fake->bytes, 0, sizeof fake->bytes);
    memset(fake->units, 0, sizeof fake->units);
    fake->layer = (struct byre_layer){ .name = name, .store = (struct byre_store *)fake };
    fake->disk = (struct byre_disk){ .layers = &fake->layer, .layer_count = 1, .size = size };
    fake->bad_read = fake->bad_map = UNITS;
    fake->file = 0;
    atomic_store(&fake->reads, 0);
}

static void reset(void)
{
    fake_reset(&fake_a, (char *)"a", sizeof fake_a.bytes);
    fake_reset(&fake_b, (char *)"b", sizeof fake_b.bytes);
}

static void fill(struct fake *fake, unsigned first, unsigned end, enum byre_extent_kind kind, int byte)
{
    for (unsigned i = first; i < end; i++)
        fake->units[i].kind = kind;
    memset(fake->bytes + (size_t)first * UNIT, byte, (size_t)(end - first) * UNIT);
}

static struct byre_compare_result result;
static struct byre_error error;

static int compare(bool strict, unsigned threads)
{
    struct byre_compare_options options = { .strict = strict, .threads = threads };

    return byre_compare(&fake_a.disk, &fake_b.disk, &options, &result, &error);
}

static void compare_of_zero_with_hole_is_same_without_reading(void **state)
{
    (void)state;
    reset();
    fill(&fake_a, 0, UNITS, BYRE_EXTENT_ZERO, 0);
    assert_int_equal(compare(false, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_SAME);
    assert_int_equal(fake_a.reads + fake_b.reads, 0);
}

static void compare_of_data_with_zero_reads_one_disk_and_tells_the_sector(void **state)
{
    (void)state;
    reset();
    fill(&fake_b, 0, UNITS, BYRE_EXTENT_DATA, 0);
    assert_int_equal(compare(false, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_SAME);
    assert_int_equal(fake_a.reads, 0);
    assert_true(fake_b.reads > 0);
    fake_b.bytes[5000001] = 1;
    assert_int_equal(compare(false, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_CONTENT);
    assert_int_equal(result.goff, 5000001 / 512 * 512);
}

static void compare_of_one_place_in_one_file_reads_nothing(void **state)
{
    (void)state;
    reset();
    fill(&fake_a, 0, UNITS, BYRE_EXTENT_DATA, 1);
    fill(&fake_b, 0, UNITS, BYRE_EXTENT_DATA, 2);
    fake_a.file = fake_b.file = 7;
    assert_int_equal(compare(false, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_SAME);
    fake_b.file = 8;
    assert_int_equal(compare(false, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_CONTENT);
    assert_int_equal(result.goff, 0);
}

static void compare_past_the_shorter_disk_wants_zeros(void **state)
{
    (void)state;
    reset();
    fake_a.disk.size = 1000 * UNIT;
    fill(&fake_a, 0, 1000, BYRE_EXTENT_DATA, 3);
    fill(&fake_b, 0, 2000, BYRE_EXTENT_DATA, 3);
    memset(fake_b.bytes + 1000 * UNIT, 0, 1000 * UNIT);
    assert_int_equal(compare(false, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_SAME);
    assert_true(result.sizes_differ);
    fake_b.bytes[1500 * UNIT] = 1;
    assert_int_equal(compare(false, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_CONTENT);
    assert_int_equal(result.goff, 1500 * UNIT);
}

static void strict_compare_of_sizes_comes_first(void **state)
{
    (void)state;
    reset();
    fake_a.disk.size = 1000 * UNIT;
    fill(&fake_a, 0, 1, BYRE_EXTENT_DATA, 3);
    assert_int_equal(compare(true, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_SIZE);
}

static void strict_compare_tells_where_allocation_differs(void **state)
{
    (void)state;
    reset();
    fill(&fake_a, 0, 5000, BYRE_EXTENT_DATA, 0);
    fill(&fake_b, 0, 4000, BYRE_EXTENT_DATA, 0);
    assert_int_equal(compare(true, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_ALLOCATION);
    assert_int_equal(result.goff, 4000 * UNIT);
    assert_int_equal(compare(false, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_SAME);
    fake_b.bytes[3000 * UNIT] = 1;
    assert_int_equal(compare(true, 2), 0);
    assert_int_equal(result.outcome, BYRE_COMPARE_CONTENT);
    assert_int_equal(result.goff, 3000 * UNIT);
}

static void compare_that_cannot_read_names_the_disk_and_the_place(void **state)
{
    (void)state;
    reset();
    fill(&fake_a, 0, UNITS, BYRE_EXTENT_DATA, 1);
    fill(&fake_b, 0, UNITS, BYRE_EXTENT_DATA, 1);
    fake_b.bad_read = 3000;
    assert_int_equal(compare(false, 2), -EIO);
    assert_int_equal(result.failed_disk, 2);
    assert_false(result.map_failed);
    assert_string_equal(error.text, "Error while reading offset 1048576 of b: bad sector");
}

static void compare_that_cannot_map_says_so(void **state)
{
    (void)state;
    reset();
    fill(&fake_a, 0, UNITS, BYRE_EXTENT_DATA, 1);
    fill(&fake_b, 0, UNITS, BYRE_EXTENT_DATA, 1);
    fake_a.bad_map = 5000;
    assert_int_equal(compare(false, 1), -EIO);
    assert_int_equal(result.failed_disk, 1);
    assert_true(result.map_failed);
    assert_string_equal(error.text, "Sector allocation test failed for a: bad table");
    fake_b.bytes[4999 * UNIT] = 2;
    assert_int_equal(compare(false, 1), 0);
    assert_int_equal(result.goff, 4999 * UNIT);
}

/* --- random ------------------------------------------------------------------------------------------ */

static void make_random_disks(void)
{
    reset();
    for (unsigned at = 0, end; at < UNITS; at = end) {
        int byte = rand() % 3;

        end = MIN((unsigned)UNITS, at + 1 + (unsigned)rand() % 2000);
        fill(&fake_a, at, end, byte ? BYRE_EXTENT_DATA : (enum byre_extent_kind)(rand() % 3), byte);
        fill(&fake_b, at, end, byte ? BYRE_EXTENT_DATA : (enum byre_extent_kind)(rand() % 3), byte);
    }
    for (int i = rand() % 4; i > 0; i--) {
        unsigned unit = (unsigned)rand() % UNITS;

        fill(rand() % 2 ? &fake_a : &fake_b, unit, unit + 1, BYRE_EXTENT_DATA, 3);
    }
}

static uint64_t first_different_unit(void)
{
    uint64_t unit = 0;

    while (unit < UNITS && !memcmp(fake_a.bytes + unit * UNIT, fake_b.bytes + unit * UNIT, UNIT))
        unit++;
    return unit;
}

static void compares_of_random_disks_find_the_first_difference(void **state)
{
    unsigned seed = (unsigned)time(NULL);

    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    for (int round = 0; round < 60; round++) {
        uint64_t unit;

        make_random_disks();
        unit = first_different_unit();
        assert_int_equal(compare(false, 1 + (unsigned)rand() % 5), 0);
        assert_int_equal(result.outcome, unit < UNITS ? BYRE_COMPARE_CONTENT : BYRE_COMPARE_SAME);
        if (unit < UNITS)
            assert_int_equal(result.goff, unit * UNIT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compare_of_zero_with_hole_is_same_without_reading),
        cmocka_unit_test(compare_of_data_with_zero_reads_one_disk_and_tells_the_sector),
        cmocka_unit_test(compare_of_one_place_in_one_file_reads_nothing),
        cmocka_unit_test(compare_past_the_shorter_disk_wants_zeros),
        cmocka_unit_test(strict_compare_of_sizes_comes_first),
        cmocka_unit_test(strict_compare_tells_where_allocation_differs),
        cmocka_unit_test(compare_that_cannot_read_names_the_disk_and_the_place),
        cmocka_unit_test(compare_that_cannot_map_says_so),
        cmocka_unit_test(compares_of_random_disks_find_the_first_difference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
