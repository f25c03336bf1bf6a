/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cache of inflated clusters: what it keeps, and what it must not.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk/inflated.h"
#include "disk_fixture.h"

#define M (1ULL << 20)

/* The extent of the first sector. */
static struct byre_extent first_extent(struct byre_disk *disk)
{
    byre_extent_vec out = VEC_INIT;
    struct byre_extent extent;

    must(byre_disk_map(disk, 0, 0, 512, &out, err));
    extent = out.ptr[0];
    vec_done(&out);
    return extent;
}

static void inflated_cluster_that_a_change_overtakes_is_not_kept(void **state)
{
    uint8_t cluster[4096];
    struct byre_inflated *cache = NULL;
    struct byre_extent extent;
    struct byre_disk *disk;
    uint64_t purges;

    (void)state;
    memset(cluster, 7, sizeof cluster);
    make_image(path("x"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put_compressed(disk, 0, cluster);
    extent = first_extent(disk);
    must(byre_inflated_new(&cache, err));
    purges = byre_inflated_purges(cache);
    byre_inflated_purge(cache);
    watch(disk->layers[0].store);
    for (unsigned i = 1; i <= 3; i++) { /* read each time */
        must(byre_inflated_read(cache, disk->layers[0].qcow2, 4096, &extent, purges, 0, cluster, err));
        assert_int_equal(watched.reads, i);
    }
    purges = byre_inflated_purges(cache);
    for (unsigned i = 0; i < 3; i++) { /* read once */
        must(byre_inflated_read(cache, disk->layers[0].qcow2, 4096, &extent, purges, 0, cluster, err));
        assert_int_equal(watched.reads, 4);
    }
    byre_inflated_purge(cache);
    must(byre_inflated_read(cache, disk->layers[0].qcow2, 4096, &extent, purges, 0, cluster, err));
    assert_int_equal(watched.reads, 5);
    unwatch();
    byre_inflated_free(cache);
    close_disk(disk);
}

/* More clusters than there are slots: the ones used last stay. */
static void least_recently_used_cluster_goes_first(void **state)
{
    enum { CLUSTERS = 12, KEPT = 8 };
    uint8_t cluster[4096], byte;
    struct byre_disk *disk;

    (void)state;
    make_image(path("x"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    for (int i = 0; i < CLUSTERS; i++) {
        memset(cluster, i, sizeof cluster);
        put_compressed(disk, (uint64_t)i * 4096, cluster);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < CLUSTERS; i++)
            expect(disk, (uint64_t)i * 4096 + 5, 10, i);
    }
    watch(disk->layers[0].store);
    for (int i = CLUSTERS - 1; i >= CLUSTERS - KEPT; i--)
        must(byre_pread(disk, &byte, 1, (uint64_t)i * 4096, err));
    assert_int_equal(watched.reads, 0);
    must(byre_pread(disk, &byte, 1, 0, err));
    assert_int_equal(watched.reads, 1);
    assert_int_equal(byte, 0);
    unwatch();
    close_disk(disk);
}

/* A purge is of the top layer alone: the others do not change. */
static void purge_keeps_the_clusters_of_backing_files(void **state)
{
    uint8_t cluster[4096];
    struct byre_disk *disk;

    (void)state;
    memset(cluster, 3, sizeof cluster);
    make_image(path("base"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("base"), true);
    put_compressed(disk, 0, cluster);
    close_disk(disk);
    make_image(path("x"), 1 * M, 4096, "base", "qcow2");
    disk = open_disk(path("x"), true);
    expect(disk, 0, 10, 3);
    put(disk, 4096, 4096, 1);
    watch(disk->layers[1].store);
    expect(disk, 5, 10, 3);
    assert_int_equal(watched.reads, 0);
    unwatch();
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(inflated_cluster_that_a_change_overtakes_is_not_kept),
        TEST(least_recently_used_cluster_goes_first),
        TEST(purge_keeps_the_clusters_of_backing_files),
    };

    return cmocka_run_group_tests_name("inflated", tests, NULL, NULL);
}
