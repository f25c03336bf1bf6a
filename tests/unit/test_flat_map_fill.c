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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_that_need_a_chunk_fill_it_once),
        TEST(look_ups_do_not_ask_a_bad_table_again_and_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
