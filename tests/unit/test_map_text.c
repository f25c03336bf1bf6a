/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The map of a disk as text, against what qemu-img prints.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/endian.h"
#include "disk_fixture.h"
#include "fuse/map_text.h"

#define CLUSTER 4096u

/* What qemu-img prints, to be freed. */
static char *wanted(const char *name, const char *format, size_t *ret_length)
{
    char command[1024], *text;
    FILE *file;

    snprintf(command, sizeof command, "qemu-img map -f %s --output=json %s >%s", format, path(name), path("wanted"));
    assert_int_equal(system(command), 0);
    file = fopen(path("wanted"), "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *ret_length = (size_t)ftell(file);
    rewind(file);
    text = malloc(*ret_length + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *ret_length, file), *ret_length);
    text[*ret_length] = '\0';
    fclose(file);
    return text;
}

/* Reads of up to `most` bytes, one after another, give the text, and all at once is the same. */
static void is_read(struct byre_disk *disk, const char *want, size_t length, size_t most)
{
    struct byre_map_text *text = byre_map_text_new(disk);
    char *got = malloc(length + most), *all;
    size_t done = 0, n = 1, all_length;

    assert_non_null(text);
    assert_non_null(got);
    while (n) {
        must(byre_map_text_read(text, got + done, most, done, &n, err));
        done += n;
        assert_true(done <= length);
    }
    assert_int_equal(done, length);
    assert_memory_equal(got, want, length);
    byre_map_text_free(text);
    free(got);
    must(byre_map_text_all(disk, length, 1000000, &all, &all_length, err));
    assert_int_equal(all_length, length);
    assert_memory_equal(all, want, length);
    free(all);
    assert_int_equal(byre_map_text_all(disk, length - 1, 1000000, &all, &all_length, NULL), -EFBIG);
}

static void is_text_of(const char *name, const char *format)
{
    static const size_t sizes[] = { 1, 7, 1000, 1u << 17 };
    const struct byre_open_options options = { .format = format };
    struct byre_disk *disk;
    size_t length;
    char *want = wanted(name, format, &length);

    must(byre_open(path(name), &options, &disk, err));
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++)
        is_read(disk, want, length, sizes[i]);
    close_disk(disk);
    free(want);
}

/* Every other cluster holds data. */
static void make_striped(const char *name, uint64_t size)
{
    struct byre_disk *disk;

    make_image(path(name), size, CLUSTER, NULL, NULL);
    disk = open_disk(path(name), true);
    for (uint64_t goff = 0; goff < size; goff += 2 * CLUSTER)
        put(disk, goff, 1, 0x11);
    close_disk(disk);
}

static void text_is_what_qemu_img_prints(void **state)
{
    struct byre_disk *disk;

    (void)state;
    write_file(path("empty.raw"), "", 0);
    is_text_of("empty.raw", "raw");
    write_file(path("odd.raw"), "x", 1);
    assert_int_equal(truncate(path("odd.raw"), 1000000), 0);
    is_text_of("odd.raw", "raw");
    make_image(path("none.qcow2"), 0, CLUSTER, NULL, NULL);
    is_text_of("none.qcow2", "qcow2");
    make_image(path("huge.qcow2"), 1ull << 40, 65536, NULL, NULL);
    is_text_of("huge.qcow2", "qcow2");
    make_striped("base.qcow2", 8 << 20); /* more than one piece */
    is_text_of("base.qcow2", "qcow2");
    make_image(path("top.qcow2"), 9 << 20, CLUSTER, path("base.qcow2"), "qcow2");
    disk = open_disk(path("top.qcow2"), true);
    put(disk, 1 << 20, 1 << 20, 0x22);
    must(byre_write_zeroes(disk, 3 << 20, 1 << 20, 0, err));
    close_disk(disk);
    is_text_of("top.qcow2", "qcow2");
}

/* More pieces than places are remembered. */
static void reads_in_any_order_agree(void **state)
{
    uint64_t size = 640ull << 20;
    struct byre_map_text *text;
    struct byre_disk *disk;
    size_t length, n;
    char *want, got[3000];

    (void)state;
    random_start();
    make_striped("disk", size);
    want = wanted("disk", "qcow2", &length);
    assert_true(length > 257 * 65536);
    disk = open_disk(path("disk"), false);
    text = byre_map_text_new(disk);
    assert_non_null(text);
    must(byre_map_text_read(text, got, 10, length - 5, &n, err));
    assert_int_equal(n, 5);
    for (unsigned i = 0; i < 300; i++) {
        uint64_t offset = random_below(length);
        size_t most = 1 + random_below(sizeof got);

        must(byre_map_text_read(text, got, most, offset, &n, err));
        assert_int_equal(n, MIN(most, length - offset));
        assert_memory_equal(got, want + offset, n);
    }
    must(byre_map_text_read(text, got, 10, length, &n, err));
    assert_int_equal(n, 0);
    must(byre_map_text_read(text, got, 10, UINT64_MAX, &n, err));
    assert_int_equal(n, 0);
    byre_map_text_free(text);
    close_disk(disk);
    free(want);
}

static void long_map_is_not_had_at_once(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    size_t length;
    char *text;

    (void)state;
    make_striped("disk", 1 << 20);
    disk = open_disk(path("disk"), false);
    must(byre_map_text_all(disk, SIZE_MAX, 256, &text, &length, err));
    free(text);
    assert_int_equal(byre_map_text_all(disk, SIZE_MAX, 255, &text, &length, &err), -EFBIG);
    assert_string_equal(err.text, "the map is too long");
    close_disk(disk);
}

/* The table of the second half of the disk lies nowhere. */
static void what_comes_before_an_unreadable_place_is_read(void **state)
{
    uint64_t half = (uint64_t)CLUSTER * CLUSTER / 8; /* what one table maps */
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_map_text *text;
    struct byre_disk *disk;
    uint8_t entry[8];
    char *got, want[100];
    size_t n, done = 0;
    int rc, fd;

    (void)state;
    make_striped("disk", 2 * half);
    fd = open(path("disk"), O_RDWR);
    assert_int_equal(pread(fd, entry, 8, 40), 8);
    assert_int_equal(pwrite(fd, "\x80\0\0\0\0\0\2\0", 8, (off_t)byre_get_be64(entry) + 8), 8);
    close(fd);
    disk = open_disk(path("disk"), false);
    text = byre_map_text_new(disk);
    assert_non_null(text);
    got = calloc(1, 1 << 20);
    assert_non_null(got);
    while ((rc = byre_map_text_read(text, got + done, 5000, done, &n, &err)) == 0 && n)
        done += n;
    assert_int_equal(rc, -EIO);
    assert_int_equal(byre_map_text_read(text, got + done, 1, done, &n, &err), -EIO);
    snprintf(want, sizeof want, "{ \"start\": %llu,", (unsigned long long)(half - 2 * CLUSTER));
    assert_non_null(strstr(got, want)); /* the last one but that which may go on */
    assert_int_equal(got[done - 1], '}');
    must(byre_map_text_read(text, got, 10, 0, &n, err));
    assert_int_equal(byre_map_text_all(disk, SIZE_MAX, UINT64_MAX, &got, &n, &err), -EIO);
    byre_map_text_free(text);
    free(got);
    close_disk(disk);
}

static void let_time_pass(void)
{
    struct timespec begin, now;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 <= 2 * BYRE_MAP_TEXT_ALL_MS);
}

/* Time is for what would still be to read. */
static void map_that_was_slow_and_is_done_is_had(void **state)
{
    struct byre_disk *disk;
    size_t length;
    char *text;

    (void)state;
    make_image(path("slow"), 8 << 20, CLUSTER, NULL, NULL);
    disk = open_disk(path("slow"), true);
    put(disk, CLUSTER, CLUSTER, 1);
    close_disk(disk);
    disk = open_disk(path("slow"), false);
    watch(disk->layers[0].store);
    watched.before_read = let_time_pass;
    must(byre_map_text_all(disk, SIZE_MAX, 1000, &text, &length, err));
    assert_null(watched.before_read);
    unwatch();
    free(text);
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(text_is_what_qemu_img_prints),
        TEST(reads_in_any_order_agree),
        TEST(long_map_is_not_had_at_once),
        TEST(what_comes_before_an_unreadable_place_is_read),
        TEST(map_that_was_slow_and_is_done_is_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
