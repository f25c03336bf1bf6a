/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan of a convert over made-up extents: the items cover everything, are aligned, stay in their cells,
 * say of each unit what its extents say, and do not depend on how finely a walk cuts the extents.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* The plan is compiled in here, over extents that this file makes up. */
#define byre_concat_extents fake_extents
#define byre_layer_count fake_layer_count
#include "ops/convert_plan.c"

enum { UNIT = 512, UNITS_MAX = 20000 };

static struct {
    struct byre_extent units[UNITS_MAX]; /* what each 512 bytes are */
    unsigned count;
    uint64_t odd_tail;       /* bytes of the last unit */
    unsigned layers;
    bool finely;             /* walks yield an extent a unit */
    unsigned bad_first, bad_end; /* units whose extents cannot be read */
} fake;

unsigned fake_layer_count(const struct byre_disk *disk)
{
    (void)disk;
    return fake.layers;
}

static uint64_t fake_size(void)
{
    return (uint64_t)(fake.count - 1) * UNIT + fake.odd_tail;
}

static bool alike(const struct byre_extent *a, const struct byre_extent *b)
{
    return a->kind == b->kind && a->layer == b->layer && a->at_eof == b->at_eof;
}

int fake_extents(const struct byre_concat *concat, uint64_t goff, uint64_t length,
                 int (*each)(void *, const struct byre_extent *, struct byre_disk *), void *opaque,
                 struct byre_error *err)
{
    uint64_t end = goff + length;

    assert_true(end <= concat->size);
    while (goff < end) {
        size_t unit = goff / UNIT, next = unit + 1;
        struct byre_extent extent = fake.units[unit];
        int r;

        if (unit >= fake.bad_first && unit < fake.bad_end)
            return byre_error_set(err, -EIO, "bad table");
        while (!fake.finely && next < fake.count && alike(&fake.units[next], &extent) &&
               next != fake.bad_first)
            next++;
        extent.goff = goff;
        extent.length = MIN((uint64_t)next * UNIT, end) - goff;
        r = each(opaque, &extent, NULL);
        if (r)
            return r;
        goff += extent.length;
    }
    return 0;
}

static void fake_fill(unsigned first, unsigned end, enum byre_extent_kind kind, unsigned layer)
{
    for (unsigned i = first; i < end; i++)
        fake.units[i] = (struct byre_extent){ .kind = kind, .layer = layer };
    fake.count = end;
    fake.odd_tail = UNIT;
}

static void fake_reset(void)
{
    memset(&fake, 0, sizeof fake);
    fake.layers = 1;
}

struct items {
    struct byre_plan_item list[2 * UNITS_MAX];
    size_t count;
};

static void run_plan(const struct byre_plan_options *options, struct items *items)
{
    struct byre_concat concat = { .size = fake_size() };
    struct byre_plan plan;
    struct byre_error err;
    uint64_t goff = 0;
    int r;

    items->count = 0;
    byre_plan_init(&plan, &concat, options);
    while ((r = byre_plan_next(&plan, &items->list[items->count], &err)) > 0) {
        const struct byre_plan_item *item = &items->list[items->count++];

        assert_int_equal(item->goff, goff);
        assert_true(item->length > 0);
        assert_true(item->goff % options->align == 0);
        goff += item->length;
        if (item->kind == BYRE_PLAN_COPY)
            assert_int_equal(item->goff / options->cell, (goff - 1) / options->cell);
    }
    assert_int_equal(r, 0);
    assert_int_equal(goff, concat.size);
    byre_plan_done(&plan);
}

static struct items items_a, items_b;
static const struct byre_plan_options PLAIN = { .align = 4096, .cell = 65536, .source_layers = 1 };

static void plan_of_nothing_has_no_items(void **state)
{
    (void)state;
    fake_reset();
    fake.count = 1; /* one unit of no bytes */
    run_plan(&PLAIN, &items_a);
    assert_int_equal(items_a.count, 0);
}

static void plan_of_data_is_cut_at_cells(void **state)
{
    (void)state;
    fake_reset();
    fake_fill(0, 300, BYRE_EXTENT_DATA, 0);
    run_plan(&PLAIN, &items_a);
    assert_int_equal(items_a.count, 3);
    assert_int_equal(items_a.list[2].length, 300 * UNIT - 2 * 65536);
}

static void plan_of_zeros_is_one_item(void **state)
{
    (void)state;
    fake_reset();
    fake_fill(0, 10000, BYRE_EXTENT_HOLE, 0);
    run_plan(&PLAIN, &items_a);
    assert_int_equal(items_a.count, 1);
    assert_int_equal(items_a.list[0].kind, BYRE_PLAN_ZERO);
}

static void plan_with_a_zero_target_leaves_zeros(void **state)
{
    struct byre_plan_options options = PLAIN;

    (void)state;
    options.zeros_are_there = true;
    fake_reset();
    fake_fill(0, 100, BYRE_EXTENT_ZERO, 0);
    run_plan(&options, &items_a);
    assert_int_equal(items_a.count, 1);
    assert_int_equal(items_a.list[0].kind, BYRE_PLAN_LEAVE);
}

static void plan_copying_zeros_copies_holes(void **state)
{
    struct byre_plan_options options = PLAIN;

    (void)state;
    options.copy_zeros = options.zeros_are_there = true;
    fake_reset();
    fake_fill(0, 128, BYRE_EXTENT_HOLE, 0);
    run_plan(&options, &items_a);
    assert_int_equal(items_a.count, 1);
    assert_int_equal(items_a.list[0].kind, BYRE_PLAN_COPY);
}

static void plan_over_a_backing_leaves_what_lies_below(void **state)
{
    struct byre_plan_options options = PLAIN;

    (void)state;
    options.target_has_backing = true;
    fake_reset();
    fake.layers = 2;
    fake_fill(0, 8, BYRE_EXTENT_DATA, 1);
    fake_fill(8, 16, BYRE_EXTENT_ZERO, 1);
    fake_fill(16, 24, BYRE_EXTENT_HOLE, 0);
    fake_fill(24, 32, BYRE_EXTENT_ZERO, 0);
    fake_fill(32, 40, BYRE_EXTENT_DATA, 0);
    run_plan(&options, &items_a);
    assert_int_equal(items_a.count, 3);
    assert_int_equal(items_a.list[0].kind, BYRE_PLAN_LEAVE);
    assert_int_equal(items_a.list[0].length, 24 * UNIT);
    assert_int_equal(items_a.list[1].kind, BYRE_PLAN_ZERO);
    assert_int_equal(items_a.list[2].kind, BYRE_PLAN_COPY);
}

static void plan_over_a_backing_zeroes_holes_of_a_source_without_one(void **state)
{
    struct byre_plan_options options = PLAIN;

    (void)state;
    options.target_has_backing = true;
    fake_reset();
    fake_fill(0, 8, BYRE_EXTENT_HOLE, 0);
    run_plan(&options, &items_a);
    assert_int_equal(items_a.list[0].kind, BYRE_PLAN_ZERO);
}

static void plan_of_two_layers_zeroes_where_the_lower_one_ends(void **state)
{
    struct byre_plan_options options = PLAIN;

    (void)state;
    options.target_has_backing = true;
    options.source_layers = 2;
    fake_reset();
    fake.layers = 3;
    fake_fill(0, 8, BYRE_EXTENT_HOLE, 0);
    for (unsigned i = 0; i < 8; i++)
        fake.units[i].at_eof = true;
    run_plan(&options, &items_a);
    assert_int_equal(items_a.list[0].kind, BYRE_PLAN_ZERO);
}

static void plan_of_a_unit_that_is_zero_in_part_copies_it(void **state)
{
    (void)state;
    fake_reset();
    fake_fill(0, 12, BYRE_EXTENT_HOLE, 0);
    fake_fill(12, 13, BYRE_EXTENT_DATA, 0);
    fake_fill(13, 24, BYRE_EXTENT_HOLE, 0);
    run_plan(&PLAIN, &items_a);
    assert_int_equal(items_a.count, 3);
    assert_int_equal(items_a.list[1].goff, 4096);
    assert_int_equal(items_a.list[1].length, 4096);
    assert_int_equal(items_a.list[1].kind, BYRE_PLAN_COPY);
}

static void plan_of_unreadable_extents_fails_and_says_where(void **state)
{
    struct byre_concat concat;
    struct byre_plan plan;
    struct byre_plan_item item;
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    fake_reset();
    fake_fill(0, 64, BYRE_EXTENT_DATA, 0);
    fake.bad_end = 1;
    concat = (struct byre_concat){ .size = fake_size() };
    byre_plan_init(&plan, &concat, &PLAIN);
    assert_int_equal(byre_plan_next(&plan, &item, &err), -EIO);
    assert_string_equal(err.text, "error while reading block status at offset 0: bad table");
    byre_plan_done(&plan);
}

static void keep_line(void *opaque, const char *line)
{
    snprintf(opaque, 128, "%s", line);
}

static void plan_that_salvages_copies_unreadable_extents(void **state)
{
    struct byre_plan_options options = PLAIN;
    char line[128] = "";

    (void)state;
    options.salvage = true;
    options.warn = keep_line;
    options.opaque = line;
    fake_reset();
    fake_fill(0, 512, BYRE_EXTENT_HOLE, 0);
    fake.bad_first = 128;
    fake.bad_end = 256;
    run_plan(&options, &items_a);
    assert_int_equal(items_a.count, 3);
    assert_int_equal(items_a.list[1].kind, BYRE_PLAN_COPY);
    assert_int_equal(items_a.list[1].goff, 65536);
    assert_int_equal(items_a.list[1].length, 65536);
    assert_string_equal(line, "error while reading block status at offset 65536: Input/output error");
}

/* --- random ------------------------------------------------------------------------------------------- */

static void make_random_extents(void)
{
    unsigned at = 0, count = 1 + (unsigned)rand() % (UNITS_MAX - 1), most = 1 + (unsigned)rand() % 600;

    fake_reset();
    fake.layers = 1 + (unsigned)rand() % 3;
    while (at < count) {
        unsigned end = MIN(count, at + 1 + (unsigned)rand() % most);
        enum byre_extent_kind kind = (enum byre_extent_kind)(rand() % 4);

        fake_fill(at, end, kind, kind == BYRE_EXTENT_HOLE ? 0 : (unsigned)rand() % fake.layers);
        at = end;
    }
    fake.odd_tail = 1 + (uint64_t)rand() % UNIT;
}

/* What a unit of the target must be: the kind that all of its parts have, or a copy. */
static enum byre_plan_kind expected_kind(const struct byre_plan_options *options, uint64_t goff)
{
    size_t first = goff / UNIT, end = MIN((size_t)fake.count, (goff + options->align) / UNIT);
    enum byre_plan_kind kind = kind_of(options, &fake.units[first], NULL);

    for (size_t i = first; i < end; i++) {
        if (kind_of(options, &fake.units[i], NULL) != kind)
            return BYRE_PLAN_COPY;
    }
    return kind;
}

static void check_kinds(const struct byre_plan_options *options, const struct items *items)
{
    for (size_t i = 0; i < items->count; i++) {
        const struct byre_plan_item *item = &items->list[i];

        for (uint64_t at = item->goff; at < item->goff + item->length; at += options->align)
            assert_int_equal(expected_kind(options, at), item->kind);
    }
}

static void plans_of_random_extents_say_what_the_extents_say(void **state)
{
    unsigned seed = (unsigned)time(NULL);

    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    for (int round = 0; round < 150; round++) {
        struct byre_plan_options options = {
            .align = 512u << rand() % 8,
            .cell = 65536u << rand() % 5,
            .zeros_are_there = rand() % 2,
            .target_has_backing = rand() % 2,
            .source_layers = 1 + (unsigned)rand() % 2,
        };

        options.zeros_are_there = options.zeros_are_there && !options.target_has_backing;
        make_random_extents();
        run_plan(&options, &items_a);
        check_kinds(&options, &items_a);
        fake.finely = true;
        run_plan(&options, &items_b);
        assert_int_equal(items_a.count, items_b.count);
        for (size_t i = 0; i < items_a.count; i++) {
            assert_int_equal(items_a.list[i].goff, items_b.list[i].goff);
            assert_int_equal(items_a.list[i].kind, items_b.list[i].kind);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_of_nothing_has_no_items),
        cmocka_unit_test(plan_of_data_is_cut_at_cells),
        cmocka_unit_test(plan_of_zeros_is_one_item),
        cmocka_unit_test(plan_with_a_zero_target_leaves_zeros),
        cmocka_unit_test(plan_copying_zeros_copies_holes),
        cmocka_unit_test(plan_over_a_backing_leaves_what_lies_below),
        cmocka_unit_test(plan_over_a_backing_zeroes_holes_of_a_source_without_one),
        cmocka_unit_test(plan_of_two_layers_zeroes_where_the_lower_one_ends),
        cmocka_unit_test(plan_of_a_unit_that_is_zero_in_part_copies_it),
        cmocka_unit_test(plan_of_unreadable_extents_fails_and_says_where),
        cmocka_unit_test(plan_that_salvages_copies_unreadable_extents),
        cmocka_unit_test(plans_of_random_extents_say_what_the_extents_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
