/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clusters that keep their places when they are discarded (discard-no-unref).
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "byre/disk.h"
#include "engine_image.h"
#include "qcow2/image.h"

enum { CLUSTER = 4096 };

static void reopen(struct engine *engine, bool keep)
{
    struct byre_qcow2_open_options options = { .writable = true, .keep_discarded = keep };

    assert_int_equal(byre_qcow2_close(engine->image, &engine->err), 0);
    assert_int_equal(byre_qcow2_open(engine->store, &options, &engine->image, &engine->err), 0);
}

static void put(struct engine *engine, uint64_t goff, uint64_t length)
{
    static uint8_t bytes[64 * CLUSTER];
    struct iovec iov = { memset(bytes, 'x', length), length };

    assert_int_equal(byre_qcow2_writev(engine->image, goff, &iov, 1, length, &engine->err), 0);
}

static struct byre_extent extent_at(struct engine *engine, uint64_t goff)
{
    byre_extent_vec extents = VEC_INIT;
    struct byre_extent extent;

    assert_int_equal(byre_qcow2_map(engine->image, goff, CLUSTER, &extents, &engine->err), 0);
    extent = extents.ptr[0];
    vec_done(&extents);
    return extent;
}

static uint64_t space_of(struct engine *engine)
{
    uint64_t bytes;

    assert_int_equal(byre_store_size(engine->store, &bytes, NULL), 0);
    return bytes;
}

static void discards(bool keep, bool zero)
{
    struct engine engine;
    struct byre_extent before, after;
    uint64_t length;

    engine_plain(&engine, 12, 64 * CLUSTER);
    reopen(&engine, keep);
    put(&engine, 0, 64 * CLUSTER);
    assert_int_equal(byre_qcow2_flush(engine.image, &engine.err), 0);
    before = extent_at(&engine, 5 * CLUSTER);
    length = space_of(&engine);
    if (zero)
        assert_int_equal(byre_qcow2_write_zeroes(engine.image, CLUSTER, 60 * CLUSTER, BYRE_WRITE_ZEROES_UNMAP,
                                                 &engine.err), 0);
    else
        assert_int_equal(byre_qcow2_discard(engine.image, CLUSTER, 60 * CLUSTER, &engine.err), 0);
    after = extent_at(&engine, 5 * CLUSTER);
    assert_int_equal(after.kind, BYRE_EXTENT_ZERO);
    assert_int_equal(after.allocated, keep);
    if (keep)
        assert_int_equal(after.hoff, before.hoff);
    /* What is written again lies where it was. */
    put(&engine, 5 * CLUSTER + 100, 200);
    after = extent_at(&engine, 5 * CLUSTER);
    assert_int_equal(after.kind, BYRE_EXTENT_DATA);
    if (keep) {
        uint8_t bytes[CLUSTER];

        assert_int_equal(after.hoff, before.hoff);
        assert_int_equal(byre_store_pread(engine.store, bytes, CLUSTER, after.hoff, NULL), 0);
        assert_int_equal(bytes[99], 0);
        assert_int_equal(bytes[100], 'x');
        assert_int_equal(bytes[300], 0);
        assert_int_equal(space_of(&engine), length);
        assert_int_equal(byre_store_pread(engine.store, bytes, CLUSTER, before.hoff + CLUSTER, NULL), 0);
        assert_int_equal(bytes[0], 0); /* the space of the others was given back */
    }
    engine_done(&engine);
}

static void discarded_clusters_keep_their_places_where_that_is_asked_for(void **state)
{
    (void)state;
    discards(true, false);
    discards(true, true);
    discards(false, false);
    discards(false, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(discarded_clusters_keep_their_places_where_that_is_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
