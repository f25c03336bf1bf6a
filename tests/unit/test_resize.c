/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks of another size: what their readers see before and after.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

enum { CLUSTER = 4096 };

static void make_raw(const char *name, off_t size, int byte)
{
    CLEANUP(free_ptr) uint8_t *bytes = malloc((size_t)size + 1);

    assert_non_null(bytes);
    memset(bytes, byte, (size_t)size);
    write_file(name, bytes, (size_t)size);
}

/* The map has been asked for everything before, so that what it knew of the end must not last. */
static void grown_overlay_reads_as_zero_over_a_longer_backing_file(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_raw(path("base"), 300 * K, 'b');
    make_image(path("top"), 101 * K, CLUSTER, "base", "raw");
    disk = open_disk(path("top"), true);
    expect(disk, 0, 101 * K, 'b');
    must(byre_truncate(disk, 200 * K, NULL, err));
    assert_int_equal(byre_get_size(disk), 200 * K);
    expect(disk, 0, 101 * K, 'b');
    expect(disk, 101 * K, 99 * K, 0);
    put(disk, 150 * K, 10 * K, 'n');
    expect(disk, 150 * K, 10 * K, 'n');
    must(byre_truncate(disk, 1 * M, "off", err));
    close_disk(disk);
    disk = open_disk(path("top"), false);
    assert_int_equal(byre_get_size(disk), 1 * M);
    expect(disk, 0, 101 * K, 'b');
    expect(disk, 101 * K, 49 * K, 0);
    expect(disk, 150 * K, 10 * K, 'n');
    expect(disk, 160 * K, 1 * M - 160 * K, 0);
    close_disk(disk);
}

/* The map, and what was inflated, have been asked for before. */
static void shrunk_disk_forgets_what_was_past_its_end(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_raw(path("base"), 300 * K, 'b');
    make_image(path("top"), 200 * K, CLUSTER, "base", "raw");
    disk = open_disk(path("top"), true);
    put(disk, 0, 200 * K, 'n');
    expect(disk, 0, 200 * K, 'n');
    must(byre_truncate(disk, 50 * K + 512, NULL, err));
    assert_int_equal(byre_get_size(disk), 50 * K + 512);
    expect(disk, 0, 50 * K + 512, 'n');
    assert_int_equal(byre_pread(disk, &(uint8_t){ 0 }, 1, 50 * K + 512, NULL), -EINVAL);
    put(disk, 48 * K, 1 * K, 'm');
    must(byre_truncate(disk, 200 * K, NULL, err));
    expect(disk, 48 * K, 1 * K, 'm');
    expect(disk, 50 * K + 512, 150 * K - 512, 0);
    must(byre_truncate(disk, 512, NULL, err));
    close_disk(disk);
    disk = open_disk(path("top"), false);
    assert_int_equal(byre_get_size(disk), 512);
    expect(disk, 0, 512, 'n');
    close_disk(disk);
}

static void raw_file_shrinks(void **state)
{
    struct byre_disk *disk;
    struct stat st;

    (void)state;
    make_raw(path("raw"), 64 * K, 'r');
    disk = open_disk(path("raw"), true);
    must(byre_truncate(disk, 1000, NULL, err));
    assert_int_equal(byre_get_size(disk), 1024);
    expect(disk, 0, 1000, 'r');
    expect(disk, 1000, 24, 0);
    must(byre_truncate(disk, 64 * K, NULL, err));
    expect(disk, 1000, 64 * K - 1000, 0);
    must(byre_truncate(disk, 1000, NULL, err));
    close_disk(disk);
    assert_int_equal(stat(path("raw"), &st), 0);
    assert_int_equal(st.st_size, 1000);
}

static void raw_file_grows(void **state)
{
    static const char *const modes[] = { NULL, "off", "falloc", "full" };
    struct byre_open_options options = { .writable = true, .format = "raw" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct byre_disk *disk;
        struct stat st;

        make_raw(path("raw"), 1000, 'r');
        must(byre_open(path("raw"), &options, &disk, err));
        must(byre_truncate(disk, 100 * K + 1, modes[i], err));
        assert_int_equal(byre_get_size(disk), 100 * K + 512);
        expect(disk, 0, 1000, 'r');
        expect(disk, 1000, 100 * K + 512 - 1000, 0);
        assert_int_equal(stat(path("raw"), &st), 0);
        assert_int_equal(st.st_size, 100 * K + 1);
        assert_int_equal((uint64_t)st.st_blocks * 512 >= 100 * K, i >= 2);
        close_disk(disk);
    }
}

static void refused(struct byre_disk *disk, uint64_t size, const char *mode, int code, const char *text)
{
    uint64_t before = byre_get_size(disk);
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_truncate(disk, size, mode, &err) != code || !strstr(err.text, text))
        fail_msg("%d '%s' instead of %d '%s'", err.code, err.text, code, text);
    assert_int_equal(byre_get_size(disk), before);
}

static void sizes_and_modes_that_cannot_be_are_refused(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_raw(path("raw"), 64 * K, 'r');
    make_image(path("qcow2"), 64 * K, CLUSTER, NULL, NULL);
    disk = open_disk(path("raw"), true);
    refused(disk, 63 * K, "full", -EINVAL, "Preallocation can only be used for growing images");
    refused(disk, 65 * K, "metadata", -ENOTSUP, "Unsupported preallocation mode: metadata");
    refused(disk, 65 * K, "some", -EINVAL, "Invalid preallocation mode 'some'");
    refused(disk, UINT64_MAX, NULL, -EFBIG, "raw");
    close_disk(disk);
    disk = open_disk(path("raw"), false);
    refused(disk, 65 * K, NULL, -EROFS, "reading only");
    close_disk(disk);
    disk = open_disk(path("qcow2"), true);
    refused(disk, 63 * K, "full", -EINVAL, "Preallocation can only be used for growing images");
    refused(disk, 64 * K + 1, NULL, -EINVAL, "multiple of 512");
    refused(disk, 65 * K, "some", -EINVAL, "Invalid preallocation mode 'some'");
    put(disk, 0, 64 * K, 'q');
    expect(disk, 0, 64 * K, 'q');
    close_disk(disk);
}

static void failed_growth_leaves_the_disk_as_it_was(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("qcow2"), 64 * K, CLUSTER, NULL, NULL);
    disk = open_disk(path("qcow2"), true);
    put(disk, 0, 64 * K, 'q');
    watch(disk->layers[0].store);
    watched.fail_flush = -EIO;
    assert_int_equal(byre_truncate(disk, 64 * M, NULL, NULL), -EIO);
    unwatch();
    assert_int_equal(byre_get_size(disk), 64 * K);
    expect(disk, 0, 64 * K, 'q');
    assert_int_equal(byre_pwrite(disk, "x", 1, 0, NULL), -EROFS); /* a barrier has failed */
    (void)byre_close(disk, NULL);
}

static void unsealed_disk_does_not_grow(void **state)
{
    const struct byre_create_options options = { .format = "qcow2", .size = 64 * K };
    struct byre_disk *disk;

    (void)state;
    must(byre_create_open(path("qcow2"), &options, NULL, &disk, err));
    refused(disk, 128 * K, NULL, -EINVAL, "sealed");
    must(byre_seal(disk, err));
    must(byre_truncate(disk, 128 * K, NULL, err));
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(grown_overlay_reads_as_zero_over_a_longer_backing_file),
        TEST(shrunk_disk_forgets_what_was_past_its_end),
        TEST(raw_file_shrinks),
        TEST(raw_file_grows),
        TEST(sizes_and_modes_that_cannot_be_are_refused),
        TEST(failed_growth_leaves_the_disk_as_it_was),
        TEST(unsealed_disk_does_not_grow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
