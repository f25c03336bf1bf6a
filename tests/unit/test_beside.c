/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks that are opened beside another one: what they show, whatever happens to that one and to the names of its files.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>

#include "byre/info.h"
#include "byre/snapshot.h"
#include "disk_fixture.h"

#define SIZE (1u << 20)
#define FULL 65536u

static struct byre_disk *beside(struct byre_disk *disk, unsigned layer, const char *snapshot)
{
    const struct byre_snapshot_selector which = { .name = snapshot };
    struct byre_disk *opened = NULL;

    must(byre_open_beside(disk, layer, snapshot ? &which : NULL, &opened, err));
    return opened;
}

/* "disk" on "middle" on the raw file "base": 1, 2 and 3 in the first clusters of each. */
static struct byre_disk *open_chain(void)
{
    uint8_t bytes[SIZE];
    struct byre_disk *disk;

    memset(bytes, 1, sizeof bytes);
    write_file(path("base"), bytes, sizeof bytes);
    make_image(path("middle"), SIZE, FULL, path("base"), "raw");
    disk = open_disk(path("middle"), true);
    put(disk, 0, 2 * FULL, 2);
    close_disk(disk);
    make_image(path("disk"), 2 * SIZE, 4096, path("middle"), "qcow2");
    disk = open_disk(path("disk"), true);
    put(disk, 0, FULL, 3);
    return disk;
}

static void poke(const char *name, off_t at, uint8_t byte)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* The disk, with a snapshot "one". */
static struct byre_disk *open_with_snapshot(void)
{
    struct byre_disk *disk = open_chain();
    const struct byre_snapshot_create_options options = { .name = "one" };

    must(byre_snapshot_create(disk, &options, NULL, err));
    return disk;
}

static void layers_show_what_is_below(void **state)
{
    struct byre_disk *disk = open_chain(), *middle, *base;

    (void)state;
    middle = beside(disk, 1, NULL);
    base = beside(disk, 2, NULL);
    put(disk, 0, 4 * FULL, 9);
    assert_int_equal(byre_get_size(middle), SIZE);
    assert_int_equal(byre_layer_count(middle), 2);
    assert_string_equal(byre_layer_name(middle, 0), path("middle"));
    expect(middle, 0, 2 * FULL, 2);
    expect(middle, 2 * FULL, SIZE - 2 * FULL, 1);
    assert_int_equal(byre_layer_count(base), 1);
    expect(base, 0, SIZE, 1);
    close_disk(base);
    close_disk(middle);
    expect(disk, 0, 4 * FULL, 9);
    expect(disk, 4 * FULL, SIZE - 4 * FULL, 1);
    close_disk(disk);
}

static void snapshot_stays_while_the_image_is_written_to(void **state)
{
    struct byre_disk *disk = open_with_snapshot(), *then;

    (void)state;
    put(disk, 0, FULL, 7);
    then = beside(disk, 0, "one");
    expect(then, 0, FULL, 3);
    put(disk, 0, SIZE, 8); /* also what the snapshot has from below */
    expect(then, 0, FULL, 3);
    expect(then, FULL, FULL, 2);
    expect(then, 2 * FULL, SIZE - 2 * FULL, 1);
    expect(then, SIZE, SIZE, 0);
    must(byre_discard(disk, 0, SIZE, err));
    expect(then, 0, FULL, 3);
    close_disk(then);
    put(disk, 0, SIZE, 6);
    close_disk(disk);
    disk = open_disk(path("disk"), false);
    expect(disk, 0, SIZE, 6);
    then = beside(disk, 0, "one");
    expect(then, 0, FULL, 3);
    close_disk(then);
    close_disk(disk);
}

static void names_are_not_followed_again(void **state)
{
    struct byre_disk *disk = open_with_snapshot(), *then, *middle;
    struct byre_info info;

    (void)state;
    write_file(path("other"), "other", 5);
    assert_int_equal(rename(path("other"), path("disk")), 0);
    assert_int_equal(unlink(path("middle")), 0);
    assert_int_equal(unlink(path("base")), 0);
    then = beside(disk, 0, "one");
    expect(then, 0, FULL, 3);
    expect(then, 2 * FULL, FULL, 1);
    middle = beside(disk, 1, NULL);
    expect(middle, 0, FULL, 2);
    must(byre_info_of_layer(disk, 1, &info, err));
    assert_string_equal(info.backing_name, path("base"));
    assert_int_equal(info.virtual_size, SIZE);
    byre_info_done(&info);
    must(byre_info_of_layer(then, 0, &info, err));
    assert_int_equal(info.snapshot_count, 1);
    byre_info_done(&info);
    close_disk(middle);
    close_disk(then);
    close_disk(disk);
}

static void what_is_not_there_is_refused(void **state)
{
    const struct byre_snapshot_selector which = { .name = "none" };
    struct byre_disk *disk = open_chain(), *opened = (struct byre_disk *)&tmp;
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    assert_int_equal(byre_open_beside(disk, 0, &which, &opened, &err), -ENOENT);
    assert_non_null(strstr(err.text, path("disk")));
    assert_int_equal(byre_open_beside(disk, 2, &which, &opened, &err), -ENOTSUP); /* raw */
    assert_int_equal(byre_open_beside(disk, 0, NULL, &opened, &err), -EINVAL);
    assert_int_equal(byre_open_beside(disk, 3, NULL, &opened, &err), -EINVAL);
    assert_ptr_equal(opened, &tmp);
    expect(disk, 0, FULL, 3);
    close_disk(disk);
}

/* With --force-share another program may write to the image: its header is not what was opened any more. */
static void a_header_that_says_something_else_is_refused(void **state)
{
    const struct byre_snapshot_selector which = { .name = "one" };
    struct byre_disk *disk = open_with_snapshot(), *opened = NULL;
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    poke(path("disk"), 35, 1); /* crypt_method: AES */
    assert_int_equal(byre_open_beside(disk, 0, &which, &opened, &err), -EUCLEAN);
    assert_non_null(strstr(err.text, "crypt_method"));
    poke(path("disk"), 35, 0);
    opened = beside(disk, 0, "one");
    expect(opened, 0, FULL, 3);
    close_disk(opened);
    close_disk(disk);
}

static void info_of_a_disk_that_grows_is_of_now(void **state)
{
    struct byre_disk *disk = open_chain();
    struct byre_info info;

    (void)state;
    must(byre_truncate(disk, 4 * SIZE, NULL, err));
    must(byre_info_of_layer(disk, 0, &info, err));
    assert_int_equal(info.virtual_size, 4 * SIZE);
    assert_string_equal(info.format, "qcow2");
    assert_string_equal(info.name, path("disk"));
    byre_info_done(&info);
    must(byre_info_of_layer(disk, 2, &info, err));
    assert_string_equal(info.format, "raw");
    assert_int_equal(info.file_size, SIZE);
    byre_info_done(&info);
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(layers_show_what_is_below),
        TEST(snapshot_stays_while_the_image_is_written_to),
        TEST(names_are_not_followed_again),
        TEST(what_is_not_there_is_refused),
        TEST(a_header_that_says_something_else_is_refused),
        TEST(info_of_a_disk_that_grows_is_of_now),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
