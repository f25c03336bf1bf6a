/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshots of disks: what their readers and writers see before and after, and what is refused.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

#include "byre/check.h"
#include "byre/info.h"
#include "byre/snapshot.h"
#include "disk_fixture.h"

#define K 1024ULL

enum { CLUSTER = 4096 };

static void create(struct byre_disk *disk, const char *name)
{
    const struct byre_snapshot_create_options options = { .name = name };

    must(byre_snapshot_create(disk, &options, NULL, err));
}

static void apply(struct byre_disk *disk, const char *which)
{
    must(byre_snapshot_apply(disk, &(struct byre_snapshot_selector){ .any = which }, err));
}

static void delete(struct byre_disk *disk, const char *which)
{
    must(byre_snapshot_delete(disk, &(struct byre_snapshot_selector){ .any = which }, err));
}

static struct byre_disk *open_at(const char *name, const char *which)
{
    const struct byre_snapshot_selector selector = { .any = which };
    const struct byre_open_options options = { .snapshot = &selector };
    struct byre_disk *disk = NULL;

    must(byre_open(name, &options, &disk, err));
    return disk;
}

static void expect_clean(const char *name)
{
    struct byre_check_result result;

    must(byre_check(name, NULL, &result, err));
    assert_int_equal(result.corruptions, 0);
    assert_int_equal(result.leaks, 0);
}

/* The flat map knows the clusters as the disk's alone, before and after. */
static void writes_after_a_snapshot_are_not_the_snapshots(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("i"), 1000 * K, CLUSTER, NULL, NULL);
    disk = open_disk(path("i"), true);
    put(disk, 0, 100 * K, 'a');
    put(disk, 0, 1 * K, 'a');
    create(disk, "one");
    put(disk, 10 * K, 20 * K, 'b');
    put(disk, 11 * K, 20 * K, 'c');
    create(disk, "two");
    put(disk, 0, 200 * K, 'd');
    expect(disk, 0, 200 * K, 'd');
    apply(disk, "one");
    expect(disk, 0, 100 * K, 'a');
    expect(disk, 100 * K, 900 * K, 0);
    put(disk, 50 * K, 1 * K, 'e');
    apply(disk, "two");
    expect(disk, 0, 10 * K, 'a');
    expect(disk, 10 * K, 1 * K, 'b');
    expect(disk, 11 * K, 20 * K, 'c');
    delete(disk, "one");
    expect(disk, 31 * K, 69 * K, 'a');
    put(disk, 0, 31 * K, 'f');
    delete(disk, "two");
    put(disk, 0, 10 * K, 'g');
    expect(disk, 0, 10 * K, 'g');
    expect(disk, 10 * K, 21 * K, 'f');
    expect(disk, 31 * K, 69 * K, 'a');
    close_disk(disk);
    expect_clean(path("i"));
}

static void applying_changes_the_size(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("i"), 100 * K, CLUSTER, NULL, NULL);
    disk = open_disk(path("i"), true);
    put(disk, 0, 100 * K, 'a');
    create(disk, "small");
    must(byre_truncate(disk, 9000 * K, NULL, err));
    put(disk, 8000 * K, 1000 * K, 'b');
    create(disk, "large");
    apply(disk, "small");
    assert_int_equal(byre_get_size(disk), 100 * K);
    expect(disk, 0, 100 * K, 'a');
    assert_int_equal(byre_pwrite(disk, "x", 1, 100 * K, NULL), -EINVAL);
    apply(disk, "large");
    assert_int_equal(byre_get_size(disk), 9000 * K);
    expect(disk, 100 * K, 7900 * K, 0);
    expect(disk, 8000 * K, 1000 * K, 'b');
    close_disk(disk);
    disk = open_at(path("i"), "small");
    assert_int_equal(byre_get_size(disk), 100 * K);
    expect(disk, 0, 100 * K, 'a');
    close_disk(disk);
    expect_clean(path("i"));
}

static void vm_state_and_backing_file_are_read_at_a_snapshot(void **state)
{
    const struct byre_snapshot_create_options options = {
        .name = "running", .vm_state_size = 5000, .vm_clock_nsec = 123456789, .icount = 42,
    };
    struct byre_disk *disk;
    uint8_t bytes[5000];
    struct byre_info info;
    char id[21];

    (void)state;
    make_image(path("base"), 100 * K, CLUSTER, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, 100 * K, 'b');
    close_disk(disk);
    make_image(path("i"), 200 * K, CLUSTER, "base", "qcow2");
    disk = open_disk(path("i"), true);
    put(disk, 50 * K, 10 * K, 'a');
    memset(bytes, 's', sizeof bytes);
    must(byre_write_vm_state(disk, bytes, sizeof bytes, 0, err));
    must(byre_snapshot_create(disk, &options, id, err));
    assert_string_equal(id, "1");
    memset(bytes, 't', sizeof bytes);
    must(byre_write_vm_state(disk, bytes, sizeof bytes, 0, err));
    put(disk, 0, 200 * K, 'c');
    close_disk(disk);
    disk = open_at(path("i"), "running");
    expect(disk, 0, 50 * K, 'b');
    expect(disk, 50 * K, 10 * K, 'a');
    expect(disk, 60 * K, 40 * K, 'b');
    expect(disk, 100 * K, 100 * K, 0);
    must(byre_read_vm_state(disk, bytes, sizeof bytes, 0, err));
    assert_int_equal(bytes[0], 's');
    assert_int_equal(bytes[4999], 's');
    assert_int_equal(byre_pwrite(disk, "x", 1, 0, NULL), -EROFS);
    close_disk(disk);
    must(byre_info_read(path("i"), NULL, false, &info, err));
    assert_int_equal(info.snapshot_count, 1);
    assert_int_equal(info.snapshots[0].vm_state_size, 5000);
    assert_int_equal(info.snapshots[0].vm_clock_nsec, 123456789);
    assert_int_equal(info.snapshots[0].icount, 42);
    byre_info_done(&info);
    disk = open_disk(path("i"), true);
    apply(disk, "1");
    must(byre_read_vm_state(disk, bytes, sizeof bytes, 0, err));
    assert_int_equal(bytes[0], 's');
    close_disk(disk);
    expect_clean(path("i"));
}

static void selectors_choose(void **state)
{
    static const struct byre_snapshot_selector none[] = {
        { .id = NULL }, { .id = "9" }, { .name = "1" }, { .id = "1", .name = "b" }, { .any = "" }, { .any = "c" },
    };
    struct byre_disk *disk;

    (void)state;
    make_image(path("i"), 100 * K, CLUSTER, NULL, NULL);
    disk = open_disk(path("i"), true);
    put(disk, 0, 10 * K, 1);
    create(disk, "a");
    put(disk, 0, 10 * K, 2);
    create(disk, "b");
    put(disk, 0, 10 * K, 3);
    create(disk, "a");
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        assert_int_equal(byre_snapshot_apply(disk, &none[i], NULL), -ENOENT);
        assert_int_equal(byre_snapshot_delete(disk, &none[i], NULL), -ENOENT);
    }
    must(byre_snapshot_apply(disk, &(struct byre_snapshot_selector){ .name = "a" }, err));
    expect(disk, 0, 10 * K, 1);
    must(byre_snapshot_apply(disk, &(struct byre_snapshot_selector){ .name = "a", .id = "3" }, err));
    expect(disk, 0, 10 * K, 3);
    must(byre_snapshot_apply(disk, &(struct byre_snapshot_selector){ .id = "2" }, err));
    expect(disk, 0, 10 * K, 2);
    must(byre_snapshot_delete(disk, &(struct byre_snapshot_selector){ .name = "a" }, err));
    apply(disk, "a");
    expect(disk, 0, 10 * K, 3);
    close_disk(disk);
}

static void what_has_no_snapshots_is_refused(void **state)
{
    static char long_name[65537];
    const struct byre_snapshot_create_options options = { .name = "x" }, too_long = { .name = long_name };
    const struct byre_snapshot_selector selector = { .any = "x" };
    const struct byre_open_options at = { .snapshot = &selector };
    const struct byre_open_options writable_at = { .snapshot = &selector, .writable = true };
    struct byre_disk *disk;

    (void)state;
    write_file(path("raw"), "raw", 3);
    disk = open_disk(path("raw"), true);
    assert_int_equal(byre_snapshot_create(disk, &options, NULL, NULL), -ENOTSUP);
    assert_int_equal(byre_snapshot_apply(disk, &selector, NULL), -ENOTSUP);
    assert_int_equal(byre_snapshot_delete(disk, &selector, NULL), -ENOTSUP);
    close_disk(disk);
    assert_int_equal(byre_open(path("raw"), &at, &disk, NULL), -ENOTSUP);
    make_image(path("i"), 100 * K, CLUSTER, NULL, NULL);
    assert_int_equal(byre_open(path("i"), &at, &disk, NULL), -ENOENT);
    disk = open_disk(path("i"), true);
    create(disk, "x");
    memset(long_name, 'n', sizeof long_name - 1);
    assert_int_equal(byre_snapshot_create(disk, &too_long, NULL, NULL), -EINVAL);
    close_disk(disk);
    assert_int_equal(byre_open(path("i"), &writable_at, &disk, NULL), -EINVAL);
    disk = open_disk(path("i"), false);
    assert_int_equal(byre_snapshot_create(disk, &options, NULL, NULL), -EROFS);
    close_disk(disk);
    expect_clean(path("i"));
}

/* --- others at work meanwhile --- */

struct worker {
    struct byre_disk *disk;
    uint64_t goff;
    atomic_bool *stop;
    unsigned rounds;
};

/* Writes its own part of the disk, again and again, and reads it. */
static void *work(void *opaque)
{
    struct worker *worker = opaque;
    uint8_t bytes[3000], found[3000];

    while (!atomic_load(worker->stop) || worker->rounds < 20) {
        uint64_t goff = worker->goff + worker->rounds % 37 * 1000;

        memset(bytes, (int)(worker->rounds++ % 255 + 1), sizeof bytes);
        if (byre_pwrite(worker->disk, bytes, sizeof bytes, goff, NULL) < 0 ||
            byre_pread(worker->disk, found, sizeof found, goff, NULL) < 0 || memcmp(bytes, found, sizeof bytes) != 0)
            return worker;
    }
    return NULL;
}

static void others_write_meanwhile(void **state)
{
    enum { WORKERS = 3, ROUNDS = 20 };
    struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    atomic_bool stop = false;
    struct byre_disk *disk;
    char name[20];

    (void)state;
    make_image(path("i"), 1000 * K, CLUSTER, NULL, NULL);
    disk = open_disk(path("i"), true);
    put(disk, 900 * K, 50 * K, 'k');
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){ .disk = disk, .goff = i * 100 * K, .stop = &stop };
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        snprintf(name, sizeof name, "n%u", i);
        create(disk, name);
        if (i % 3 == 2) {
            snprintf(name, sizeof name, "n%u", i - 1);
            delete(disk, name);
        }
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WORKERS; i++) {
        void *failed;

        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    expect(disk, 900 * K, 50 * K, 'k');
    close_disk(disk);
    expect_clean(path("i"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(writes_after_a_snapshot_are_not_the_snapshots),
        TEST(applying_changes_the_size),
        TEST(vm_state_and_backing_file_are_read_at_a_snapshot),
        TEST(selectors_choose),
        TEST(what_has_no_snapshots_is_refused),
        TEST(others_write_meanwhile),
    };

    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
