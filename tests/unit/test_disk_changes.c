/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a change of a disk promises: flushes that come with it, vectors, zeros without a fallback, compression.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

enum { CLUSTER = 4096 };

static void make_raw(const char *name, off_t size)
{
    write_file(name, "", 0);
    assert_int_equal(truncate(name, size), 0);
}

static struct byre_disk *open_cached(const char *name, const char *format, enum byre_cache cache)
{
    const struct byre_open_options options = { .writable = true, .cache = cache, .format = format };
    struct byre_disk *disk = NULL;

    must(byre_open(name, &options, &disk, err));
    watch(disk->layers[0].store);
    return disk;
}

static void close_watched(struct byre_disk *disk)
{
    unwatch();
    close_disk(disk);
}

/* How many flushes the store sees for each kind of change. */
struct flushes {
    unsigned write, fua, zeroes, zeroes_fua, discard, flush;
};

static unsigned flushes_since(unsigned *before)
{
    unsigned count = watched.flushes - *before;

    *before = watched.flushes;
    return count;
}

static struct flushes count_flushes(const char *format, enum byre_cache cache)
{
    struct byre_disk *disk = open_cached(path(format), format, cache);
    struct iovec iov = { (uint8_t[512]){ 1 }, 512 };
    struct flushes found;
    unsigned before;

    /* The cluster is there, so that nothing but the write is to be made durable. */
    must(byre_pwrite(disk, iov.iov_base, 512, 0, err));
    must(byre_flush(disk, err));
    before = watched.flushes;
    must(byre_pwrite(disk, iov.iov_base, 512, 512, err));
    found.write = flushes_since(&before);
    must(byre_pwritev(disk, &iov, 1, 1024, BYRE_WRITE_FUA, err));
    found.fua = flushes_since(&before);
    must(byre_write_zeroes(disk, 1024, 512, 0, err));
    found.zeroes = flushes_since(&before);
    must(byre_write_zeroes(disk, 1024, 512, BYRE_WRITE_FUA, err));
    found.zeroes_fua = flushes_since(&before);
    must(byre_discard(disk, 0, 100, err));
    found.discard = flushes_since(&before);
    must(byre_flush(disk, err));
    found.flush = flushes_since(&before);
    close_watched(disk);
    return found;
}

static void expect_flushes(enum byre_cache cache, bool at_once, bool ever)
{
    static const char *const formats[] = { "raw", "qcow2" };

    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct flushes found = count_flushes(formats[i], cache);

        assert_int_equal(found.write > 0, at_once);
        assert_int_equal(found.zeroes > 0, at_once);
        assert_int_equal(found.discard > 0, at_once);
        assert_int_equal(found.fua > 0, ever);
        assert_int_equal(found.zeroes_fua > 0, ever);
        assert_int_equal(found.flush > 0, ever);
    }
}

static void changes_are_flushed_as_the_cache_mode_says(void **state)
{
    (void)state;
    make_raw(path("raw"), 64 * K);
    make_image(path("qcow2"), 64 * K, CLUSTER, NULL, NULL);
    expect_flushes(BYRE_CACHE_WRITEBACK, false, true);
    expect_flushes(BYRE_CACHE_NONE, false, true);
    expect_flushes(BYRE_CACHE_WRITETHROUGH, true, true);
    expect_flushes(BYRE_CACHE_DIRECTSYNC, true, true);
    expect_flushes(BYRE_CACHE_UNSAFE, false, false);
}

static void direct_modes_go_around_the_page_cache(void **state)
{
    static const struct {
        enum byre_cache cache;
        bool direct;
    } modes[] = {
        { BYRE_CACHE_WRITEBACK, false }, { BYRE_CACHE_NONE, true },       { BYRE_CACHE_UNSAFE, false },
        { BYRE_CACHE_WRITETHROUGH, false }, { BYRE_CACHE_DIRECTSYNC, true },
    };

    (void)state;
    make_raw(path("raw"), 64 * K);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct byre_disk *disk = open_cached(path("raw"), "raw", modes[i].cache);

        assert_int_equal((fcntl(disk->layers[0].store->fd, F_GETFL) & O_DIRECT) != 0, modes[i].direct);
        close_watched(disk);
    }
}

static void failed_flush_fails_the_change_that_asked_for_it(void **state)
{
    struct iovec iov = { "x", 1 };
    struct byre_disk *disk;

    (void)state;
    make_raw(path("raw"), 64 * K);
    disk = open_cached(path("raw"), "raw", BYRE_CACHE_WRITEBACK);
    watched.fail_flush = -EIO;
    assert_int_equal(byre_pwritev(disk, &iov, 1, 0, 0, NULL), 0);
    assert_int_equal(byre_pwritev(disk, &iov, 1, 0, BYRE_WRITE_FUA, NULL), -EIO);
    assert_int_equal(byre_pwritev(disk, &iov, 1, 0, 0, NULL), -EROFS);
    unwatch();
    (void)byre_close(disk, NULL);
}

/* A new cluster that was written with FUA is found by whoever looks at the file, without a close. */
static void new_cluster_written_with_fua_is_in_the_file(void **state)
{
    const struct byre_open_options options = { .no_lock = true };
    struct iovec iov = { "durable", 7 };
    struct byre_disk *disk, *other;
    char bytes[7];

    (void)state;
    make_image(path("qcow2"), 64 * K, CLUSTER, NULL, NULL);
    disk = open_cached(path("qcow2"), "qcow2", BYRE_CACHE_WRITEBACK);
    must(byre_pwritev(disk, &iov, 1, 9 * K, BYRE_WRITE_FUA, err));
    must(byre_open(path("qcow2"), &options, &other, err));
    must(byre_pread(other, bytes, 7, 9 * K, err));
    assert_memory_equal(bytes, "durable", 7);
    close_disk(other);
    close_watched(disk);
}

/* --- vectors -------------------------------------------------------------------------------------------- */

enum { VECTORS = 200 };

static void vectors_move_the_bytes_in_order(struct byre_disk *disk)
{
    static uint8_t written[64 * K], found[64 * K];
    struct iovec out[VECTORS], in[VECTORS];
    uint64_t at = 0, goff = random_below(4 * K);

    random_fill(written, sizeof written);
    for (int i = 0; i < VECTORS; i++) {
        uint64_t length = random_below(300);

        out[i] = (struct iovec){ written + at, length };
        in[i] = (struct iovec){ found + at, length };
        at += length;
    }
    must(byre_pwritev(disk, out, VECTORS, goff, 0, err));
    must(byre_preadv(disk, in, VECTORS, goff, err));
    assert_memory_equal(found, written, at);
    memset(found, 0, at);
    must(byre_pread(disk, found, at, goff, err));
    assert_memory_equal(found, written, at);
    assert_int_equal(byre_pwritev(disk, out, VECTORS, byre_get_size(disk) - at + 1, 0, NULL), -EINVAL);
    assert_int_equal(byre_preadv(disk, in, VECTORS, byre_get_size(disk) - at + 1, NULL), -EINVAL);
    assert_int_equal(byre_pwritev(disk, out, -1, 0, 0, NULL), -EINVAL);
    assert_int_equal(byre_pwritev(disk, out, 1, 0, 64, NULL), -EINVAL);
}

static void vectors_of_any_lengths_are_read_and_written(void **state)
{
    struct byre_disk *disk;

    (void)state;
    random_start();
    make_raw(path("raw"), 256 * K);
    disk = open_disk(path("raw"), true);
    vectors_move_the_bytes_in_order(disk);
    close_disk(disk);
    make_image(path("qcow2"), 256 * K, CLUSTER, NULL, NULL);
    disk = open_disk(path("qcow2"), true);
    vectors_move_the_bytes_in_order(disk);
    put(disk, 0, 256 * K, 1);
    vectors_move_the_bytes_in_order(disk); /* in place now */
    close_disk(disk);
}

/* The bytes that would make the disk look like qcow2 come in pieces. */
static void vector_that_changes_the_format_is_refused(void **state)
{
    struct iovec iov[] = { { "QF", 2 }, { "I\xfb", 2 }, { (uint8_t[508]){ 0, 0, 0, 3 }, 508 } };
    struct byre_disk *disk;

    (void)state;
    make_raw(path("raw"), 64 * K);
    disk = open_disk(path("raw"), true);
    assert_int_equal(byre_pwritev(disk, iov, 3, 0, 0, NULL), -EPERM);
    expect(disk, 0, 512, 0);
    close_disk(disk);
}

/* --- zeros ---------------------------------------------------------------------------------------------- */

static void zeros_without_fallback_are_never_written_as_data(void **state)
{
    const unsigned flags = BYRE_WRITE_ZEROES_NO_FALLBACK;
    struct byre_disk *disk;

    (void)state;
    make_image(path("qcow2"), 64 * K, CLUSTER, NULL, NULL);
    disk = open_disk(path("qcow2"), true);
    put(disk, 0, 64 * K, 7);
    must(byre_write_zeroes(disk, 2 * CLUSTER, CLUSTER, flags, err));
    expect(disk, 2 * CLUSTER, CLUSTER, 0);
    assert_int_equal(byre_write_zeroes(disk, 100, 3 * CLUSTER, flags, NULL), -ENOTSUP);
    assert_int_equal(byre_write_zeroes(disk, CLUSTER, CLUSTER + 100 + CLUSTER, flags, NULL), -ENOTSUP);
    assert_int_equal(byre_write_zeroes(disk, 100, 200, flags, NULL), -ENOTSUP);
    expect(disk, 0, 2 * CLUSTER, 7);
    expect(disk, 3 * CLUSTER, 64 * K - 3 * CLUSTER, 7);
    /* What is zero already need not be written. */
    must(byre_write_zeroes(disk, 2 * CLUSTER + 100, 200, flags, err));
    must(byre_write_zeroes(disk, 2 * CLUSTER + 100, 3 * CLUSTER - 100, flags, err));
    expect(disk, 2 * CLUSTER, 3 * CLUSTER, 0);
    close_disk(disk);
}

static void zeros_without_fallback_are_refused_by_an_old_overlay(void **state)
{
    const struct byre_create_options options = {
        .format = "qcow2", .size = 64 * K, .compat = "v2", .backing_name = "base", .backing_format = "raw",
    };
    struct byre_disk *disk;

    (void)state;
    make_raw(path("base"), 64 * K);
    must(byre_create(path("qcow2"), &options, err));
    disk = open_disk(path("qcow2"), true);
    assert_int_equal(byre_write_zeroes(disk, 0, 64 * K, BYRE_WRITE_ZEROES_NO_FALLBACK, NULL), -ENOTSUP);
    must(byre_write_zeroes(disk, 0, 64 * K, 0, err));
    close_disk(disk);
}

/* --- compression ---------------------------------------------------------------------------------------- */

static void compressed_write_takes_whole_clusters(void **state)
{
    static uint8_t bytes[4 * CLUSTER], found[4 * CLUSTER];
    struct byre_disk *disk;

    (void)state;
    random_start();
    memset(bytes, 'a', sizeof bytes);
    for (size_t i = CLUSTER; i < 2 * CLUSTER; i++)
        bytes[i] = (uint8_t)random_below(256);
    make_image(path("qcow2"), 3 * CLUSTER + 1024, CLUSTER, NULL, NULL);
    disk = open_disk(path("qcow2"), true);
    assert_int_equal(byre_write_compressed(disk, bytes, CLUSTER, 512, NULL), -EINVAL);
    assert_int_equal(byre_write_compressed(disk, bytes, CLUSTER + 512, 0, NULL), -EINVAL);
    assert_int_equal(byre_write_compressed(disk, bytes, 4 * CLUSTER, 0, NULL), -EINVAL);
    must(byre_write_compressed(disk, bytes, 3 * CLUSTER + 1024, 0, err));
    assert_int_equal(kind_at(disk, 0), BYRE_EXTENT_COMPRESSED);
    assert_int_equal(kind_at(disk, CLUSTER), BYRE_EXTENT_DATA); /* it does not get smaller */
    assert_int_equal(kind_at(disk, 2 * CLUSTER), BYRE_EXTENT_COMPRESSED);
    assert_int_equal(kind_at(disk, 3 * CLUSTER), BYRE_EXTENT_COMPRESSED);
    must(byre_pread(disk, found, 3 * CLUSTER + 1024, 0, err));
    assert_memory_equal(found, bytes, 3 * CLUSTER + 1024);
    /* Over what is there, in both forms. */
    memset(bytes, 'b', sizeof bytes);
    must(byre_write_compressed(disk, bytes, 3 * CLUSTER, 0, err));
    expect(disk, 0, 3 * CLUSTER, 'b');
    expect(disk, 3 * CLUSTER, 1024, 'a');
    close_disk(disk);
    disk = open_disk(path("qcow2"), false);
    expect(disk, 0, 3 * CLUSTER, 'b');
    assert_int_equal(byre_write_compressed(disk, bytes, CLUSTER, 0, NULL), -EROFS);
    close_disk(disk);
}

static void raw_disk_has_no_compression(void **state)
{
    uint8_t bytes[512] = { 0 };
    struct byre_disk *disk;

    (void)state;
    make_raw(path("raw"), 64 * K);
    disk = open_disk(path("raw"), true);
    assert_int_equal(byre_write_compressed(disk, bytes, sizeof bytes, 0, NULL), -ENOTSUP);
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(changes_are_flushed_as_the_cache_mode_says),
        TEST(direct_modes_go_around_the_page_cache),
        TEST(failed_flush_fails_the_change_that_asked_for_it),
        TEST(new_cluster_written_with_fua_is_in_the_file),
        TEST(vectors_of_any_lengths_are_read_and_written),
        TEST(vector_that_changes_the_format_is_refused),
        TEST(zeros_without_fallback_are_never_written_as_data),
        TEST(zeros_without_fallback_are_refused_by_an_old_overlay),
        TEST(compressed_write_takes_whole_clusters),
        TEST(raw_disk_has_no_compression),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
