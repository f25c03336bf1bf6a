/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading and writing disks: against a flat copy, from several threads, and what is refused.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "disk/inflated.h"
#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

/* --- misuse --------------------------------------------------------------------------------------------- */

static void range_past_the_end_is_refused_and_changes_nothing(struct byre_disk *disk)
{
    uint64_t size = byre_get_size(disk);
    uint8_t buf[1024] = { 1 };
    struct byre_error err = BYRE_ERROR_INIT;

    assert_int_equal(byre_pread(disk, buf, 513, size - 512, &err), -EINVAL);
    assert_non_null(strstr(err.text, byre_layer_name(disk, 0)));
    assert_int_equal(byre_pread(disk, buf, 1, UINT64_MAX, NULL), -EINVAL);
    assert_int_equal(byre_pwrite(disk, buf, 513, size - 512, NULL), -EINVAL);
    assert_int_equal(byre_write_zeroes(disk, size, 1, 0, NULL), -EINVAL);
    assert_int_equal(byre_discard(disk, 1, size, NULL), -EINVAL);
    assert_int_equal(byre_extents(disk, 0, size + 1, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(byre_write_zeroes(disk, 0, 512, 8, NULL), -EINVAL);
    assert_int_equal(byre_pwrite(disk, buf, 0, size, NULL), 0);
    assert_int_equal(byre_write_zeroes(disk, size, 0, 0, NULL), 0);
    assert_int_equal(byre_discard(disk, size, 0, NULL), 0);
    assert_int_equal(byre_get_size(disk), size);
    expect(disk, 0, size, 0);
}

static void requests_past_the_end_are_refused(void **state)
{
    struct byre_disk *disk;

    (void)state;
    write_file(path("raw"), "", 0);
    assert_int_equal(truncate(path("raw"), 64 * K), 0);
    disk = open_disk(path("raw"), true);
    range_past_the_end_is_refused_and_changes_nothing(disk);
    close_disk(disk);
    make_image(path("qcow2"), 64 * K, 4096, NULL, NULL);
    disk = open_disk(path("qcow2"), true);
    range_past_the_end_is_refused_and_changes_nothing(disk);
    close_disk(disk);
}

static void changes_of_a_disk_opened_for_reading_are_refused(void **state)
{
    static const char *const names[] = { "raw", "qcow2" };

    (void)state;
    write_file(path("raw"), "", 0);
    assert_int_equal(truncate(path("raw"), 64 * K), 0);
    make_image(path("qcow2"), 64 * K, 4096, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct byre_disk *disk = open_disk(path(names[i]), false);

        assert_int_equal(byre_pwrite(disk, "x", 1, 0, NULL), -EROFS);
        assert_int_equal(byre_write_zeroes(disk, 0, 512, 0, NULL), -EROFS);
        assert_int_equal(byre_discard(disk, 0, 512, NULL), -EROFS);
        assert_int_equal(byre_flush(disk, NULL), 0);
        close_disk(disk);
    }
}

/* --- against a flat copy -------------------------------------------------------------------------------- */

/* A disk and what it has to hold. */
struct copy {
    struct byre_disk *disk;
    uint8_t *bytes;
    uint64_t size;
};

static void check_copy(const struct copy *copy, uint64_t goff, size_t length)
{
    uint8_t *buf = malloc(length ? length : 1);

    assert_non_null(buf);
    must(byre_pread(copy->disk, buf, length, goff, err));
    for (size_t i = 0; i < length; i++) {
        if (buf[i] != copy->bytes[goff + i])
            fail_msg("byte %llu is %#x and not %#x", (unsigned long long)(goff + i), buf[i],
                     copy->bytes[goff + i]);
    }
    free(buf);
}

static void write_random(struct copy *copy, uint64_t goff, size_t length)
{
    random_fill(copy->bytes + goff, length);
    must(byre_pwrite(copy->disk, copy->bytes + goff, length, goff, err));
}

/* Whole clusters of compressed data, where one fits in. */
static void write_compressed(struct copy *copy, uint64_t goff)
{
    uint64_t cluster = 1ULL << byre_qcow2_header(copy->disk->layers[0].qcow2)->cluster_bits;

    goff = byre_round_down(goff, cluster);
    if (goff + cluster > copy->size)
        return;
    for (uint64_t i = 0; i < cluster; i++)
        copy->bytes[goff + i] = (uint8_t)(i / 100 + goff / cluster);
    put_compressed(copy->disk, goff, copy->bytes + goff);
}

/* What a discard leaves where no whole cluster is discarded is as before; elsewhere it is zero. */
static void discard(struct copy *copy, uint64_t goff, uint64_t length, uint64_t unit)
{
    uint64_t from = byre_round_up(goff, unit), to = byre_round_down(goff + length, unit);

    if (goff + length == copy->size)
        to = copy->size;
    must(byre_discard(copy->disk, goff, length, err));
    if (from < to)
        memset(copy->bytes + from, 0, to - from);
}

static void change_at_random(struct copy *copy, uint64_t discard_unit)
{
    uint64_t longest = random_below(4) ? 10000 : 200000;
    uint64_t length = 1 + random_below(MIN(longest, copy->size));
    uint64_t goff = random_below(copy->size - length + 1);

    switch (random_below(8)) {
    case 0:
        memset(copy->bytes + goff, 0, length);
        must(byre_write_zeroes(copy->disk, goff, length,
                               random_below(2) ? BYRE_WRITE_ZEROES_UNMAP : 0, err));
        break;
    case 1:
        if (discard_unit)
            discard(copy, goff, length, discard_unit);
        break;
    case 2:
        if (copy->disk->layers[0].qcow2)
            write_compressed(copy, goff);
        break;
    case 3:
        must(byre_flush(copy->disk, err));
        break;
    default:
        write_random(copy, goff, length);
    }
}

static void reopen(struct copy *copy, const char *name, uint64_t map_bytes)
{
    const struct byre_open_options options = { .writable = true, .map_bytes = map_bytes };

    if (copy->disk)
        close_disk(copy->disk);
    must(byre_open(path(name), &options, &copy->disk, err));
}

/* Changes and reads, with the disk reopened now and then. */
static void work_on(struct copy *copy, const char *name, int times, uint64_t discard_unit)
{
    reopen(copy, name, 0);
    check_copy(copy, 0, copy->size);
    for (int i = 0; i < times; i++) {
        uint64_t goff = random_below(copy->size);

        change_at_random(copy, discard_unit);
        check_copy(copy, goff, 1 + random_below(MIN(copy->size - goff, 30000ULL)));
        if (random_below(30) == 0)
            reopen(copy, name, random_below(2) ? 0 : 9000);
    }
    check_copy(copy, 0, copy->size);
    close_disk(copy->disk);
    copy->disk = NULL;
}

static void copy_resize(struct copy *copy, uint64_t size)
{
    copy->bytes = realloc(copy->bytes, size);
    assert_non_null(copy->bytes);
    if (size > copy->size)
        memset(copy->bytes + copy->size, 0, size - copy->size);
    copy->size = size;
}

static uint64_t random_size(void)
{
    return 512 * (1 + random_below(3000));
}

/* A chain of random shape grows from its bottom; each image is worked on before it becomes a backing file. */
static void random_work_on_chains_gives_what_a_flat_copy_has(void **state)
{
    (void)state;
    random_start();
    for (int round = 0; round < 6; round++) {
        struct copy copy = { 0 };
        char name[16], below[16] = "raw";

        copy_resize(&copy, random_size());
        write_file(path("raw"), "", 0);
        assert_int_equal(truncate(path("raw"), (off_t)copy.size), 0);
        work_on(&copy, "raw", 10, 0);
        for (int i = 0; i < 4; i++) {
            uint32_t cluster_size = (uint32_t)(512u << random_below(9));

            snprintf(name, sizeof name, "%d", i);
            copy_resize(&copy, random_size());
            make_image(path(name), copy.size, cluster_size, below, i ? "qcow2" : "raw");
            work_on(&copy, name, 60, cluster_size);
            memcpy(below, name, sizeof below);
        }
        free(copy.bytes);
    }
}

static void random_work_on_raw_files_gives_what_a_flat_copy_has(void **state)
{
    struct copy copy = { 0 };

    (void)state;
    random_start();
    copy_resize(&copy, 1 * M);
    write_file(path("raw"), "", 0);
    assert_int_equal(truncate(path("raw"), 1 * M - 100), 0);
    work_on(&copy, "raw", 300, 0);
    free(copy.bytes);
}

/* The end of a backing file within a cluster, of any kind, hides what the cluster holds beyond it. */
static void end_of_a_backing_file_cuts_its_last_cluster(void **state)
{
    static uint8_t cluster[65536];
    struct byre_disk *disk;

    (void)state;
    memset(cluster, 5, sizeof cluster);
    for (int compressed = 0; compressed < 2; compressed++) {
        make_image(path("base"), 100 * K, 65536, NULL, NULL);
        disk = open_disk(path("base"), true);
        if (compressed)
            put_compressed(disk, 65536, cluster);
        else
            put(disk, 65536, 36 * K, 5);
        close_disk(disk);
        make_image(path("x"), 1 * M, 65536, "base", "qcow2");
        disk = open_disk(path("x"), true);
        expect(disk, 64 * K, 36 * K, 5);
        expect(disk, 100 * K, 900 * K, 0);
        expect(disk, 99 * K, 1 * K, 5);
        put(disk, 70 * K, 1, 6);
        expect(disk, 64 * K, 6 * K, 5);
        expect(disk, 100 * K, 28 * K, 0);
        close_disk(disk);
    }
}

/* --- several threads ------------------------------------------------------------------------------------ */

enum { THREADS = 4, STRIPE = 3000, STRIPES = 64, ROUNDS = 300 };

struct striper {
    struct byre_disk *disk;
    pthread_t thread;
    unsigned index;
    uint64_t random;
    const char *failure;
};

static uint64_t stripe_at(const struct striper *striper, uint64_t stripe)
{
    return (stripe * THREADS + striper->index) * STRIPE;
}

/* Writes to stripes of its own, which share clusters with those of the others, and reads them back. */
static void *write_stripes(void *opaque)
{
    struct striper *striper = opaque;
    uint8_t wanted[STRIPES], buf[STRIPE];
    struct byre_error err;

    memset(wanted, 0, sizeof wanted);
    for (int i = 0; i < ROUNDS && !striper->failure; i++) {
        uint64_t stripe = random_from(&striper->random) % STRIPES, goff = stripe_at(striper, stripe);
        uint64_t other = random_from(&striper->random) % STRIPES;

        wanted[stripe] = (uint8_t)random_from(&striper->random);
        memset(buf, wanted[stripe], sizeof buf);
        if (wanted[stripe] < 64) {
            wanted[stripe] = 0;
            if (byre_write_zeroes(striper->disk, goff, STRIPE, BYRE_WRITE_ZEROES_UNMAP, &err) < 0)
                striper->failure = "write_zeroes";
        } else if (byre_pwrite(striper->disk, buf, STRIPE, goff, &err) < 0) {
            striper->failure = "pwrite";
        }
        if (i % 64 == 0 && byre_flush(striper->disk, &err) < 0)
            striper->failure = "flush";
        if (byre_pread(striper->disk, buf, STRIPE, stripe_at(striper, other), &err) < 0)
            striper->failure = "pread";
        for (int j = 0; j < STRIPE; j++) {
            if (buf[j] != wanted[other])
                striper->failure = "foreign data";
        }
    }
    return NULL;
}

static void threads_that_share_clusters_keep_their_data(void **state)
{
    static const uint32_t cluster_sizes[] = { 512, 4096, 65536 };

    (void)state;
    random_start();
    for (size_t i = 0; i < ARRAY_LEN(cluster_sizes); i++) {
        const struct byre_open_options options = { .writable = true, .map_bytes = i ? 0 : 20000 };
        struct striper stripers[THREADS];
        struct byre_disk *disk = NULL;

        make_image(path("base"), STRIPE * STRIPES * THREADS, 4096, NULL, NULL);
        make_image(path("x"), STRIPE * STRIPES * THREADS, cluster_sizes[i], "base", "qcow2");
        must(byre_open(path("x"), &options, &disk, err));
        for (unsigned t = 0; t < THREADS; t++) {
            stripers[t] = (struct striper){ .disk = disk, .index = t, .random = random_below(UINT64_MAX) };
            assert_int_equal(pthread_create(&stripers[t].thread, NULL, write_stripes, &stripers[t]), 0);
        }
        for (unsigned t = 0; t < THREADS; t++)
            pthread_join(stripers[t].thread, NULL);
        for (unsigned t = 0; t < THREADS; t++) {
            if (stripers[t].failure)
                fail_msg("thread %u: %s", t, stripers[t].failure);
        }
        close_disk(disk);
    }
}

/* --- paths ---------------------------------------------------------------------------------------------- */

static void second_write_goes_straight_to_its_place(void **state)
{
    struct byre_disk *disk;
    uint64_t size, before;

    (void)state;
    make_image(path("x"), 1 * M, 65536, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 128 * K, 1);
    must(byre_flush(disk, err));
    must(byre_store_size(disk->layers[0].store, &before, err));
    watch(disk->layers[0].store);
    put(disk, 1000, 100 * K, 2);
    assert_int_equal(watched.writes, 1);
    assert_int_equal(watched.reads, 0);
    unwatch();
    must(byre_store_size(disk->layers[0].store, &size, err));
    assert_int_equal(size, before);
    expect(disk, 0, 1000, 1);
    expect(disk, 1000, 100 * K, 2);
    close_disk(disk);
}

static void small_reads_of_a_compressed_cluster_inflate_it_once(void **state)
{
    uint8_t cluster[65536];
    struct byre_disk *disk;
    uint64_t purges;

    (void)state;
    memset(cluster, 7, sizeof cluster);
    make_image(path("x"), 1 * M, 65536, NULL, NULL);
    disk = open_disk(path("x"), true);
    put_compressed(disk, 65536, cluster);
    expect(disk, 65536 + 100, 100, 7);
    watch(disk->layers[0].store);
    for (unsigned i = 0; i < 64; i++)
        expect(disk, 65536 + i * 1024, 1000, 7);
    assert_int_equal(watched.reads, 0);
    unwatch();
    /* What replaces it is seen at once, compressed or not. */
    memset(cluster, 8, sizeof cluster);
    purges = byre_inflated_purges(disk->inflated);
    put_compressed(disk, 65536, cluster);
    assert_true(byre_inflated_purges(disk->inflated) > purges);
    expect(disk, 65536 + 100, 100, 8);
    put(disk, 65536 + 50, 100, 9);
    expect(disk, 65536 + 50, 100, 9);
    expect(disk, 65536 + 150, 100, 8);
    close_disk(disk);
}

/* --- the guard of probed raw disks ---------------------------------------------------------------------- */

static void probed_raw_disk_does_not_become_qcow2(void **state)
{
    const struct byre_open_options as_raw = { .format = "raw", .writable = true };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    uint8_t zeros[4096] = { 0 };

    (void)state;
    write_file(path("x"), zeros, sizeof zeros);
    disk = open_disk(path("x"), true);
    assert_int_equal(byre_pwrite(disk, "QFI\xfb", 4, 0, &err), -EPERM);
    assert_non_null(strstr(err.text, path("x")));
    assert_non_null(strstr(err.text, "qcow2"));
    expect(disk, 0, 4096, 0);
    /* nor bit by bit */
    must(byre_pwrite(disk, "QF", 2, 0, err));
    assert_int_equal(byre_pwrite(disk, "I\xfb", 2, 2, NULL), -EPERM);
    must(byre_pwrite(disk, "I\xfb", 2, 512 + 2, err));
    must(byre_write_zeroes(disk, 1, 1000, 0, err));
    close_disk(disk);
    must(byre_open(path("x"), &as_raw, &disk, err));
    must(byre_pwrite(disk, "QFI\xfb", 4, 0, err));
    close_disk(disk);
}

/* --- failures ------------------------------------------------------------------------------------------- */

static void nothing_is_written_after_a_failed_flush(void **state)
{
    static const char *const names[] = { "raw", "qcow2" };

    (void)state;
    write_file(path("raw"), "", 0);
    assert_int_equal(truncate(path("raw"), 64 * K), 0);
    make_image(path("qcow2"), 64 * K, 4096, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct byre_disk *disk = open_disk(path(names[i]), true);
        struct byre_error err = BYRE_ERROR_INIT;

        put(disk, 0, 4096, 1);
        watch(disk->layers[0].store);
        watched.fail_flush = -EIO;
        assert_int_equal(byre_flush(disk, NULL), -EIO);
        watched.fail_flush = 0;
        assert_int_equal(byre_flush(disk, NULL), -EIO);
        assert_int_equal(byre_pwrite(disk, "x", 1, 0, &err), -EROFS);
        assert_non_null(strstr(err.text, path(names[i])));
        assert_int_equal(byre_write_zeroes(disk, 0, 512, 0, NULL), -EROFS);
        assert_int_equal(byre_discard(disk, 0, 512, NULL), -EROFS);
        expect(disk, 0, 4096, 1);
        unwatch();
        assert_true(byre_close(disk, NULL) < 0);
    }
}

static void close_tells_that_it_could_not_flush(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;

    (void)state;
    write_file(path("x"), "x", 1);
    disk = open_disk(path("x"), true);
    watch(disk->layers[0].store);
    watched.fail_flush = -ENOSPC;
    assert_int_equal(byre_close(disk, &err), -ENOSPC);
    assert_int_equal(err.code, -ENOSPC);
}

static void failed_read_of_a_backing_file_is_reported(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    uint8_t buf[512];

    (void)state;
    make_image(path("base"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, 64 * K, 1);
    close_disk(disk);
    make_image(path("x"), 1 * M, 65536, "base", "qcow2");
    disk = open_disk(path("x"), true);
    expect(disk, 0, 512, 1);
    watch(disk->layers[1].store);
    watched.fail_read = -EIO;
    assert_int_equal(byre_pread(disk, buf, sizeof buf, 0, &err), -EIO);
    assert_non_null(strstr(err.text, path("base")));
    /* A write that has to copy fails as well, and leaves everything as it was. */
    assert_int_equal(byre_pwrite(disk, "x", 1, 5000, NULL), -EIO);
    watched.fail_read = 0;
    expect(disk, 0, 64 * K, 1);
    unwatch();
    put(disk, 5000, 1, 2);
    expect(disk, 0, 5000, 1);
    expect(disk, 5000, 1, 2);
    close_disk(disk);
}

/* --- discard -------------------------------------------------------------------------------------------- */

static uint64_t blocks_of(const char *name)
{
    struct stat st;

    assert_int_equal(stat(path(name), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void discarded_raw_blocks_are_given_back_and_read_as_zero(void **state)
{
    struct byre_disk *disk;

    (void)state;
    write_file(path("x"), "", 0);
    assert_int_equal(truncate(path("x"), 4 * M), 0);
    disk = open_disk(path("x"), true);
    put(disk, 0, 4 * M, 1);
    must(byre_flush(disk, err));
    assert_true(blocks_of("x") >= 4 * M);
    must(byre_discard(disk, 100, 3 * M, err));
    assert_true(blocks_of("x") <= 2 * M);
    expect(disk, 0, 100, 1);
    expect(disk, 64 * K, 2 * M, 0);
    expect(disk, 3 * M + 100, 1 * M - 100, 1);
    assert_int_equal(byre_get_size(disk), 4 * M);
    close_disk(disk);
}

static void discard_does_not_grow_an_odd_raw_file(void **state)
{
    struct byre_disk *disk;
    struct stat st;

    (void)state;
    write_file(path("x"), "", 0);
    assert_int_equal(truncate(path("x"), 5000), 0);
    disk = open_disk(path("x"), true);
    must(byre_discard(disk, 0, byre_get_size(disk), err));
    close_disk(disk);
    assert_int_equal(stat(path("x"), &st), 0);
    assert_int_equal(st.st_size, 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_past_the_end_are_refused),
        TEST(changes_of_a_disk_opened_for_reading_are_refused),
        TEST(random_work_on_chains_gives_what_a_flat_copy_has),
        TEST(random_work_on_raw_files_gives_what_a_flat_copy_has),
        TEST(end_of_a_backing_file_cuts_its_last_cluster),
        TEST(threads_that_share_clusters_keep_their_data),
        TEST(second_write_goes_straight_to_its_place),
        TEST(small_reads_of_a_compressed_cluster_inflate_it_once),
        TEST(probed_raw_disk_does_not_become_qcow2),
        TEST(nothing_is_written_after_a_failed_flush),
        TEST(close_tells_that_it_could_not_flush),
        TEST(failed_read_of_a_backing_file_is_reported),
        TEST(discarded_raw_blocks_are_given_back_and_read_as_zero),
        TEST(discard_does_not_grow_an_odd_raw_file),
    };

    return cmocka_run_group_tests_name("disk_io", tests, NULL, NULL);
}
