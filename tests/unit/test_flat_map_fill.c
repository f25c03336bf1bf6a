/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filling the flat map: how often tables are asked, and what is kept in memory for that.
 */
#include "config.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk/flat_map.h"
#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

/* --- many that need one chunk ----------------------------------------------------------------------------- */

enum { SEEKERS = 4 };

static struct {
    struct byre_disk *disk;
    struct byre_store_ops ops;
    const struct byre_store_ops *real;
    _Atomic unsigned arrived, fills;
} crowd;

/* A fill asks the raw file at the bottom once.  The first one goes on when others have had the time to do so, too. */
static int crowd_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    if (crowd.fills++ == 0) {
        while (crowd.arrived < SEEKERS)
            sched_yield();
        for (int i = 0; i < 10000 && crowd.fills == 1; i++)
            sched_yield();
    }
    return crowd.real->extent(store, hoff, ret_length, ret_hole);
}

static void *seek(void *opaque)
{
    struct byre_extent extent = { .layer = 77 };
    uint64_t ticket;

    (void)opaque;
    crowd.arrived++;
    ticket = byre_epoch_enter(crowd.disk->epoch);
    if (byre_flat_map_lookup(crowd.disk->map, 8192, 512, false, &extent, 1, NULL) != 1)
        extent.layer = 78;
    byre_epoch_leave(crowd.disk->epoch, ticket);
    return (void *)(uintptr_t)extent.layer;
}

static void many_that_need_a_chunk_fill_it_once(void **state)
{
    pthread_t threads[SEEKERS];

    (void)state;
    write_file(path("base"), "", 0);
    assert_int_equal(truncate(path("base"), 1 * M), 0);
    make_image(path("0"), 1 * M, 4096, "base", "raw");
    crowd.disk = open_disk(path("0"), true);
    crowd.real = crowd.disk->layers[1].store->ops;
    crowd.ops = *crowd.real;
    crowd.ops.extent = crowd_extent;
    crowd.disk->layers[1].store->ops = &crowd.ops;
    for (int i = 0; i < SEEKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, seek, NULL), 0);
    for (int i = 0; i < SEEKERS; i++) {
        void *layer;

        pthread_join(threads[i], &layer);
        assert_int_equal((uintptr_t)layer, 1);
    }
    assert_int_equal(crowd.fills, 1);
    crowd.disk->layers[1].store->ops = crowd.real;
    close_disk(crowd.disk);
}

/* --- tables that cannot be read --------------------------------------------------------------------------- */

static struct {
    struct byre_store_ops ops;
    const struct byre_store_ops *real;
    uint64_t hoff; /* of the refcount table */
    unsigned tries;
    bool readable;
} bad;

static int bad_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    if (hoff == bad.hoff) {
        bad.tries++;
        if (!bad.readable)
            return -EIO;
    }
    return bad.real->preadv(store, iov, iov_count, hoff);
}

static bool is_exclusive(struct byre_disk *disk, uint64_t goff)
{
    struct byre_extent extent;
    uint64_t ticket = byre_epoch_enter(disk->epoch);

    assert_int_equal(byre_flat_map_lookup(disk->map, goff, 512, false, &extent, 1, NULL), 1);
    byre_epoch_leave(disk->epoch, ticket);
    return extent.exclusive;
}

/* Where metadata lies has to be known before clusters are written straight to.  Changes ask each time, look-ups
 * once. */
static void look_ups_do_not_ask_a_bad_table_again_and_again(void **state)
{
    const uint64_t span = 512 * 4096;
    struct byre_disk *disk;

    (void)state;
    make_image(path("x"), 16 * M, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 16 * M, 1);
    close_disk(disk);
    disk = open_disk(path("x"), true);
    memset(&bad, 0, sizeof bad);
    bad.hoff = byre_qcow2_header(disk->layers[0].qcow2)->reftable_hoff;
    bad.real = disk->layers[0].store->ops;
    bad.ops = *bad.real;
    bad.ops.preadv = bad_preadv;
    disk->layers[0].store->ops = &bad.ops;
    for (uint64_t goff = 0; goff < 16 * M; goff += span)
        assert_false(is_exclusive(disk, goff));
    assert_int_equal(bad.tries, 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(byre_pwrite(disk, &i, sizeof i, 0, NULL), -EIO);
    assert_int_equal(bad.tries, 4);
    bad.readable = true;
    put(disk, 0, 4096, 2);
    assert_int_equal(bad.tries, 5);
    expect(disk, 0, 4096, 2);
    expect(disk, 4096, 4096, 1);
    disk->layers[0].store->ops = bad.real;
    close_disk(disk);
}

/* --- memory ---------------------------------------------------------------------------------------------- */

enum { SPOTS = 16, SHALLOW = 3, DEEP = 40 };

/* In each GiB, which is a page of the L1 table, a cluster of each layer. */
static void make_deep_chain(void)
{
    char name[16], below[16];

    for (int layer = 0; layer <= DEEP; layer++) {
        struct byre_disk *disk;

        snprintf(name, sizeof name, "%d", layer);
        snprintf(below, sizeof below, "%d", layer - 1);
        make_image(path(name), SPOTS * 1024 * M, 4096, layer ? below : NULL, layer ? "qcow2" : NULL);
        disk = open_disk(path(name), true);
        for (uint64_t spot = 0; spot < SPOTS; spot++)
            put(disk, spot * 1024 * M + (uint64_t)layer * 4096, 4096, layer + 1);
        close_disk(disk);
    }
}

static uint64_t metadata_bytes(const struct byre_disk *disk)
{
    uint64_t bytes = byre_flat_map_bytes(disk->map);

    for (unsigned i = 0; i < disk->layer_count; i++)
        bytes += byre_qcow2_metadata_bytes(disk->layers[i].qcow2);
    return bytes;
}

/* What a disk has in memory after its data was read, twice, if the chain has layers up to `top`. */
static uint64_t bytes_of(int top)
{
    const struct byre_open_options options = { .map_bytes = 4 * M };
    struct byre_disk *disk = NULL;
    char name[16];
    uint64_t bytes;

    snprintf(name, sizeof name, "%d", top);
    must(byre_open(path(name), &options, &disk, err));
    for (int round = 0; round < 2; round++) {
        for (uint64_t spot = 0; spot < SPOTS; spot++) {
            for (int layer = 0; layer <= top; layer++)
                expect(disk, spot * 1024 * M + (uint64_t)layer * 4096, 4096, layer + 1);
        }
    }
    bytes = metadata_bytes(disk);
    close_disk(disk);
    return bytes;
}

static void metadata_in_memory_does_not_grow_with_the_chain(void **state)
{
    uint64_t alone, shallow, deep;

    (void)state;
    make_deep_chain();
    alone = bytes_of(0);
    shallow = bytes_of(SHALLOW);
    deep = bytes_of(DEEP);
    printf("metadata in memory: %llu bytes of one image, %llu of %d, %llu of %d\n", (unsigned long long)alone,
           (unsigned long long)shallow, SHALLOW + 1, (unsigned long long)deep, DEEP + 1);
    assert_in_range(shallow, alone, alone + 1 * M);
    assert_in_range(deep, alone, alone + 1 * M);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_that_need_a_chunk_fill_it_once),
        TEST(metadata_in_memory_does_not_grow_with_the_chain),
        TEST(look_ups_do_not_ask_a_bad_table_again_and_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
