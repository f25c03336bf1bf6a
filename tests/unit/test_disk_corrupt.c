/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Images that turn out to be corrupt while they are in use: what fails, what goes on, and what the header says then.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/endian.h"
#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

#define COPIED (1ULL << 63)

enum { CLUSTER = 4096, AT_L1 = 40, AT_REFTABLE = 48, AT_INCOMPATIBLE = 72, CORRUPT = 2 };

static uint64_t get64(const char *name, uint64_t hoff)
{
    uint8_t bytes[8];
    int fd = open(name, O_RDONLY);

    assert_int_equal(pread(fd, bytes, sizeof bytes, (off_t)hoff), sizeof bytes);
    close(fd);
    return byre_get_be64(bytes);
}

static void put64(const char *name, uint64_t hoff, uint64_t value)
{
    uint8_t bytes[8];
    int fd = open(name, O_WRONLY);

    byre_put_be64(bytes, value);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, (off_t)hoff), sizeof bytes);
    close(fd);
}

/* 1 MiB; 'a' in cluster 0, 'b' in cluster 1, and an entry for cluster 5 that leads to `entry`. */
static void make_bad(const char *compat, uint64_t entry)
{
    const struct byre_create_options options = {
        .format = "qcow2", .size = 1 * M, .cluster_size = CLUSTER, .compat = compat,
    };
    struct byre_disk *disk;
    uint64_t l2;

    must(byre_create(path("bad"), &options, err));
    disk = open_disk(path("bad"), true);
    put(disk, 0, CLUSTER, 'a');
    put(disk, CLUSTER, CLUSTER, 'b');
    close_disk(disk);
    l2 = get64(path("bad"), get64(path("bad"), AT_L1)) & ~COPIED;
    if (entry == 0)
        entry = l2 | COPIED; /* on metadata */
    put64(path("bad"), l2 + 5 * 8, entry);
}

static void fails(int rc, int code, const struct byre_error *err, const char *text)
{
    if (rc != code || !strstr(err->text, text) || !strstr(err->text, "bad"))
        fail_msg("%d '%s' instead of %d '%s'", rc, err->text, code, text);
}

static bool is_marked(void)
{
    return get64(path("bad"), AT_INCOMPATIBLE) & CORRUPT;
}

/* The disk is read-only from here on, for the reason `text`; what is good can be read. */
static void expect_read_only(struct byre_disk *disk, const char *text)
{
    struct byre_error err = BYRE_ERROR_INIT;

    fails(byre_pwrite(disk, "x", 1, 0, &err), -EROFS, &err, text);
    assert_non_null(strstr(err.text, "read-only since it was found to be corrupt"));
    fails(byre_write_zeroes(disk, 0, CLUSTER, 0, &err), -EROFS, &err, text);
    fails(byre_discard(disk, 0, CLUSTER, &err), -EROFS, &err, text);
    fails(byre_truncate(disk, 2 * M, NULL, &err), -EROFS, &err, text);
    expect(disk, 0, CLUSTER, 'a');
    expect(disk, CLUSTER, CLUSTER, 'b');
}

static void unaligned_entry_is_found_by_a_read(void **state)
{
    static const char text[] = "Cluster allocation offset unaligned: 0x4200 (guest offset 0x5000)";
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    uint8_t bytes[CLUSTER];
    unsigned writes;

    (void)state;
    make_bad("v3", 0x4200 | COPIED);
    disk = open_disk(path("bad"), true);
    watch(disk->layers[0].store);
    expect(disk, 0, CLUSTER, 'a'); /* the look ahead meets it, which is no reason to stop */
    put(disk, 0, CLUSTER, 'A');
    put(disk, 0, CLUSTER, 'a');
    assert_false(is_marked());
    writes = watched.writes;
    fails(byre_pread(disk, bytes, CLUSTER, 5 * CLUSTER, &err), -EIO, &err, text);
    assert_true(is_marked());
    assert_int_equal(watched.writes, writes + 1);
    assert_int_equal(watched.flushes, 1);
    fails(byre_pread(disk, bytes, CLUSTER, 5 * CLUSTER, &err), -EIO, &err, text);
    expect_read_only(disk, text);
    assert_int_equal(watched.writes, writes + 1);
    unwatch();
    must(byre_flush(disk, err));
    close_disk(disk);
    assert_true(is_marked());
}

static void entry_on_metadata_is_found_by_a_write(void **state)
{
    static const char text[] = "the cluster at guest offset 0x5000 lies on the L2 table";
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;

    (void)state;
    make_bad("v3", 0);
    disk = open_disk(path("bad"), true);
    fails(byre_pwrite(disk, "x", 1, 5 * CLUSTER, &err), -EIO, &err, text);
    assert_true(is_marked());
    expect_read_only(disk, text);
    close_disk(disk);
}

static void bad_entry_is_found_by_other_requests(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct byre_disk *disk;
        int rc = -1;

        make_bad("v3", 0x4200 | COPIED);
        disk = open_disk(path("bad"), true);
        switch (i) {
        case 0: rc = byre_write_zeroes(disk, 5 * CLUSTER, CLUSTER, 0, &err); break;
        case 1: rc = byre_discard(disk, 5 * CLUSTER, CLUSTER, &err); break;
        case 2: rc = byre_extents(disk, 5 * CLUSTER, CLUSTER, NULL, NULL, &err); break;
        case 3: rc = byre_write_compressed(disk, (uint8_t[CLUSTER]){ 0 }, CLUSTER, 5 * CLUSTER, &err); break;
        }
        fails(rc, -EIO, &err, "unaligned");
        assert_true(is_marked());
        close_disk(disk);
    }
}

/* What was written before is not lost. */
static void changes_from_before_are_committed(void **state)
{
    struct byre_disk *disk;
    uint8_t byte;

    (void)state;
    make_bad("v3", 0x4200 | COPIED);
    disk = open_disk(path("bad"), true);
    put(disk, 20 * CLUSTER, CLUSTER, 'n');
    assert_int_equal(byre_pread(disk, &byte, 1, 5 * CLUSTER, NULL), -EIO);
    close_disk(disk);
    disk = open_disk(path("bad"), false);
    expect(disk, 20 * CLUSTER, CLUSTER, 'n');
    close_disk(disk);
}

static void marked_image_is_not_opened_for_writing(void **state)
{
    const struct byre_open_options options = { .writable = true };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    uint8_t byte;

    (void)state;
    make_bad("v3", 0x4200 | COPIED);
    disk = open_disk(path("bad"), true);
    assert_int_equal(byre_pread(disk, &byte, 1, 5 * CLUSTER, NULL), -EIO);
    close_disk(disk);
    fails(byre_open(path("bad"), &options, &disk, &err), -EACCES, &err, "Image is corrupt; cannot be opened");
    disk = open_disk(path("bad"), false);
    expect(disk, 0, CLUSTER, 'a');
    close_disk(disk);
}

static void version_2_becomes_read_only_without_a_mark(void **state)
{
    static const char text[] = "Cluster allocation offset unaligned";
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    uint8_t byte;

    (void)state;
    make_bad("v2", 0x4200 | COPIED);
    disk = open_disk(path("bad"), true);
    watch(disk->layers[0].store);
    fails(byre_pread(disk, &byte, 1, 5 * CLUSTER, &err), -EIO, &err, text);
    expect_read_only(disk, text);
    assert_int_equal(watched.writes, 0);
    unwatch();
    close_disk(disk);
}

static void reader_marks_nothing(void **state)
{
    struct byre_disk *disk;
    uint8_t byte;

    (void)state;
    make_bad("v3", 0x4200 | COPIED);
    disk = open_disk(path("bad"), false);
    assert_int_equal(byre_pread(disk, &byte, 1, 5 * CLUSTER, NULL), -EIO);
    expect(disk, 0, CLUSTER, 'a');
    close_disk(disk);
    assert_false(is_marked());
}

/* A backing file is only read; that it is bad says nothing of the image on top. */
static void bad_backing_file_does_not_mark_its_overlay(void **state)
{
    struct byre_disk *disk;
    uint8_t byte;

    (void)state;
    make_bad("v3", 0x4200 | COPIED);
    make_image(path("top"), 1 * M, CLUSTER, "bad", "qcow2");
    disk = open_disk(path("top"), true);
    assert_int_equal(byre_pread(disk, &byte, 1, 5 * CLUSTER, NULL), -EIO);
    put(disk, 5 * CLUSTER, CLUSTER, 't');
    expect(disk, 5 * CLUSTER, CLUSTER, 't');
    close_disk(disk);
    assert_false(is_marked());
}

/* The medium fails, the image is not to blame. */
static void failed_read_marks_nothing(void **state)
{
    struct byre_disk *disk;
    uint8_t byte;

    (void)state;
    make_bad("v3", CLUSTER * 4096ULL | COPIED);
    disk = open_disk(path("bad"), true);
    expect(disk, 0, CLUSTER, 'a');
    watch(disk->layers[0].store);
    watched.fail_read = -EIO;
    assert_int_equal(byre_pread(disk, &byte, 1, 0, NULL), -EIO);
    unwatch();
    put(disk, 0, CLUSTER, 'c');
    close_disk(disk);
    assert_false(is_marked());
}

/* The mark cannot be made durable: the image is read-only all the same. */
static void failed_mark_leaves_the_image_read_only(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    uint8_t byte;

    (void)state;
    make_bad("v3", 0x4200 | COPIED);
    disk = open_disk(path("bad"), true);
    watch(disk->layers[0].store);
    watched.fail_flush = -EIO;
    fails(byre_pread(disk, &byte, 1, 5 * CLUSTER, &err), -EIO, &err, "unaligned");
    unwatch();
    expect_read_only(disk, "unaligned");
    assert_int_equal(byre_flush(disk, NULL), -EIO);
    (void)byre_close(disk, NULL);
}

static void refcount_that_lies_is_found_by_a_write(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    uint64_t refblock;

    (void)state;
    make_bad("v3", 0x4000 | COPIED);
    refblock = get64(path("bad"), get64(path("bad"), AT_REFTABLE));
    put64(path("bad"), refblock, 0); /* header, refcount table and block, and L1 table are free */
    disk = open_disk(path("bad"), true);
    fails(byre_pwrite(disk, "x", 1, 30 * CLUSTER, &err), -EIO, &err, "is 0, but the header lies there");
    assert_true(is_marked());
    expect_read_only(disk, "but the header lies there");
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unaligned_entry_is_found_by_a_read),
        TEST(entry_on_metadata_is_found_by_a_write),
        TEST(bad_entry_is_found_by_other_requests),
        TEST(changes_from_before_are_committed),
        TEST(marked_image_is_not_opened_for_writing),
        TEST(version_2_becomes_read_only_without_a_mark),
        TEST(reader_marks_nothing),
        TEST(bad_backing_file_does_not_mark_its_overlay),
        TEST(failed_read_marks_nothing),
        TEST(failed_mark_leaves_the_image_read_only),
        TEST(refcount_that_lies_is_found_by_a_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
