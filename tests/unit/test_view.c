/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Views: the space that ranges of a disk take up, and what happens to them while that is counted.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk_fixture.h"
#include "fuse/view.h"

#define CLUSTER 65536u
#define SIZE    (UINT64_C(1) << 40)

static struct byre_view view;

/* A view of a new image. */
static void make_view(void)
{
    struct byre_disk *disk;

    make_image(path("disk"), SIZE, CLUSTER, NULL, NULL);
    disk = open_disk(path("disk"), true);
    must(byre_view_init(&view, disk, true, (struct timespec){ 0 }, err));
}

static void close_view(void)
{
    must(byre_view_done(&view, err));
}

/* The space, once all of it was counted. */
static uint64_t allocated(void)
{
    uint64_t bytes;

    while (!byre_view_allocated(&view, 0, &bytes))
        ;
    return bytes;
}

static void space_is_that_of_the_data(void **state)
{
    (void)state;
    make_view();
    assert_int_equal(allocated(), 0);
    put(view.disk, 3 * CLUSTER, 2 * CLUSTER, 1);
    put(view.disk, SIZE / 2 - 1, 1, 2);
    put(view.disk, SIZE - 1, 1, 3);
    byre_view_changed(&view);
    assert_int_equal(allocated(), 4 * CLUSTER);
    must(byre_write_zeroes(view.disk, 3 * CLUSTER, CLUSTER, BYRE_WRITE_ZEROES_UNMAP, err));
    byre_view_changed(&view);
    assert_int_equal(allocated(), 3 * CLUSTER);
    close_view();
}

/* As a request that writes does. */
static void change(void)
{
    byre_view_changed(&view);
}

static void change_while_it_is_counted_counts(void **state)
{
    uint64_t bytes;

    (void)state;
    make_view();
    put(view.disk, 0, CLUSTER, 1);
    close_view();
    must(byre_view_init(&view, open_disk(path("disk"), true), true, (struct timespec){ 0 }, err));
    watch(view.disk->layers[0].store);
    watched.before_read = change; /* hangs if it has to wait for who counts */
    assert_false(byre_view_allocated(&view, 0, &bytes));
    assert_null(watched.before_read);
    unwatch();
    assert_int_equal(allocated(), CLUSTER);
    assert_true(view.modified.tv_sec > 0);
    close_view();
}

static void what_cannot_be_read_is_not_counted(void **state)
{
    (void)state;
    make_view();
    put(view.disk, 0, CLUSTER, 1); /* where the partition table is looked for */
    put(view.disk, SIZE / 2, CLUSTER, 1);
    close_view();
    must(byre_view_init(&view, open_disk(path("disk"), true), true, (struct timespec){ 0 }, err));
    watch(view.disk->layers[0].store);
    watched.fail_read = -EIO;
    assert_int_equal(allocated(), CLUSTER);
    unwatch();
    close_view();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(space_is_that_of_the_data),
        TEST(change_while_it_is_counted_counts),
        TEST(what_cannot_be_read_is_not_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
