/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues on disks that do more than they are asked for: detect-zeroes, write-through, copy-on-read, compress.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk/flat_map.h"
#include "disk_fixture.h"
#include "queue_fixture.h"

#define K 1024ULL

static struct byre_queue *open_with_queue(const char *name, struct byre_open_options options, struct byre_disk **disk)
{
    options.writable = true;
    must(byre_open(name, &options, disk, err));
    return new_queue(*disk, 4);
}

/* Places are known and exclusive, so that these would be done in the fast path. */
static void zeros_are_detected_and_writes_are_durable(void **state)
{
    uint8_t zeros[4096] = { 0 };
    struct byre_disk *disk;
    struct byre_queue *queue;

    (void)state;
    make_image(path("x"), 64 * K, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 64 * K, 3);
    close_disk(disk);
    queue = open_with_queue(path("x"), (struct byre_open_options){ .detect_zeroes = BYRE_DETECT_ZEROES_ON }, &disk);
    expect(disk, 0, 64 * K, 3);
    assert_int_equal(move(queue, BYRE_OP_WRITE, zeros, sizeof zeros, 4096), 0);
    assert_int_equal(kind_at(disk, 4096), BYRE_EXTENT_ZERO);
    byre_queue_free(queue);
    close_disk(disk);

    queue = open_with_queue(path("x"), (struct byre_open_options){ .cache = BYRE_CACHE_WRITETHROUGH }, &disk);
    expect(disk, 0, 4096, 3);
    watch(disk->layers[0].store);
    assert_int_equal(move(queue, BYRE_OP_WRITE, zeros, sizeof zeros, 0), 0);
    assert_true(watched.flushes > 0);
    unwatch();
    byre_queue_free(queue);
    close_disk(disk);
}

static void what_is_read_is_brought_up(void **state)
{
    struct byre_disk *disk;
    struct byre_queue *queue;
    uint8_t buf[4096];

    (void)state;
    make_image(path("base"), 64 * K, 4096, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, 64 * K, 3);
    close_disk(disk);
    make_image(path("top"), 64 * K, 4096, "base", "qcow2");
    queue = open_with_queue(path("top"), (struct byre_open_options){ .copy_on_read = true }, &disk);
    /* Not by a read, which would bring it up. */
    assert_int_equal(byre_flat_map_lookup(disk->map, 0, 64 * K, false, (struct byre_extent[4]){ 0 }, 4, NULL), 1);
    assert_int_equal(move(queue, BYRE_OP_READ, buf, sizeof buf, 8192), 0);
    assert_int_equal(buf[0], 3);
    assert_int_equal(kind_at(disk, 8192), BYRE_EXTENT_DATA);
    byre_queue_free(queue);
    close_disk(disk);
}

/* A cluster in two buffers is one cluster. */
static void vector_is_compressed_as_a_whole(void **state)
{
    char name[4200];
    uint8_t halves[2][2048];
    struct iovec iov[] = { { halves[0], sizeof halves[0] }, { halves[1], sizeof halves[1] } };
    struct byre_disk *disk;
    struct byre_queue *queue;

    (void)state;
    memset(halves, 5, sizeof halves);
    make_image(path("x"), 64 * K, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 64 * K, 3);
    close_disk(disk);
    snprintf(name, sizeof name, "image-opts:driver=compress,file.driver=qcow2,file.file.filename=%s", path("x"));
    queue = open_with_queue(name, (struct byre_open_options){ 0 }, &disk);
    expect(disk, 0, 64 * K, 3);
    assert_int_equal(run(queue, (struct byre_request){
        .op = BYRE_OP_WRITE, .length = sizeof halves, .iov = iov, .iov_count = 2,
    }), 0);
    assert_int_equal(kind_at(disk, 0), BYRE_EXTENT_COMPRESSED);
    expect(disk, 0, sizeof halves, 5);
    byre_queue_free(queue);
    close_disk(disk);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(zeros_are_detected_and_writes_are_durable),
        TEST(what_is_read_is_brought_up),
        TEST(vector_is_compressed_as_a_whole),
    };

    return cmocka_run_group_tests(tests, start_workers, end_workers);
}
