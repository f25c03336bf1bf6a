/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An image in a mount: which of its views stay open, and what a failure to open one leaves behind.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "byre/snapshot.h"
#include "disk_fixture.h"
#include "fuse/image.h"

#define SIZE      (1u << 20)
#define SNAPSHOTS 12u

/* With snapshots "0", "1" and so on: byte N + 1 in the first cluster. */
static struct byre_image *open_image(void)
{
    struct byre_image_options options = { .name = path("disk") };
    struct byre_image *image = NULL;
    struct byre_disk *disk;

    make_image(path("disk"), SIZE, 65536, NULL, NULL);
    disk = open_disk(path("disk"), true);
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        char name[8];
        const struct byre_snapshot_create_options snapshot = { .name = name };

        snprintf(name, sizeof name, "%u", i);
        put(disk, 0, 65536, (int)i + 1);
        must(byre_snapshot_create(disk, &snapshot, NULL, err));
    }
    close_disk(disk);
    must(byre_image_open(&options, &image, err));
    return image;
}

static void watch_image(struct byre_image *image)
{
    struct byre_view *now;

    must(byre_image_get(image, BYRE_VIEW_NOW, &now, err));
    watch(now->disk->layers[0].store);
    byre_image_put(image, now);
}

static void look_at(struct byre_image *image, unsigned snapshot)
{
    struct byre_view *view;

    must(byre_image_get(image, byre_image_snapshot_view(snapshot), &view, err));
    expect(view->disk, 0, 65536, (int)snapshot + 1);
    byre_image_put(image, view);
}

/* How often the file is read to have the view. */
static unsigned reads_for(struct byre_image *image, unsigned snapshot)
{
    struct byre_view *view;

    watched.reads = 0;
    must(byre_image_get(image, byre_image_snapshot_view(snapshot), &view, err));
    byre_image_put(image, view);
    return watched.reads;
}

static void views_used_last_stay_open(void **state)
{
    struct byre_image *image = open_image();

    (void)state;
    watch_image(image);
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        look_at(image, i);
    assert_int_equal(reads_for(image, SNAPSHOTS - 1), 0);
    assert_int_equal(reads_for(image, SNAPSHOTS - 8), 0);
    assert_true(reads_for(image, 0) > 0);
    unwatch();
    must(byre_image_close(image, err));
}

static void view_in_use_stays_open(void **state)
{
    struct byre_image *image = open_image();
    struct byre_view *first;

    (void)state;
    must(byre_image_get(image, byre_image_snapshot_view(0), &first, err));
    for (unsigned i = 1; i < SNAPSHOTS; i++)
        look_at(image, i);
    expect(first->disk, 0, 65536, 1);
    byre_image_put(image, first);
    must(byre_image_close(image, err));
}

static void failure_is_told_and_tried_again(void **state)
{
    struct byre_image *image = open_image();
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_view *view = NULL;

    (void)state;
    watch_image(image);
    watched.fail_read = -EIO;
    assert_int_equal(byre_image_get(image, byre_image_snapshot_view(3), &view, &err), -EIO);
    assert_non_null(strstr(err.text, "disk"));
    assert_null(view);
    watched.fail_read = 0;
    look_at(image, 3);
    unwatch();
    assert_int_equal(byre_image_get(image, byre_image_snapshot_view(SNAPSHOTS), &view, &err), -ENOENT);
    must(byre_image_close(image, err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(views_used_last_stay_open),
        TEST(view_in_use_stays_open),
        TEST(failure_is_told_and_tried_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
