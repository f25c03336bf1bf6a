/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a client was told is durable: after FUA, and after a flush on any queue, the worst crash leaves it there.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../crash/record_store.h"
#include "../unit/queue_fixture.h"
#include "disk/open.h"
#include "nbd/op.h"

#define K 1024u

enum { SIZE = 4096 * K, CLUSTER = 64 * K };

static struct byre_store *store;
static struct byre_disk *disk;
static uint8_t data[4 * CLUSTER];

/* A disk around an image, or raw bytes, in a store. */
static struct byre_disk *around(struct byre_store *below, bool qcow2, bool writable)
{
    const struct byre_qcow2_open_options open = { .writable = writable };
    const struct byre_open_options options = { .writable = writable };
    struct byre_disk *made = byre_disk_new();
    struct byre_layer *layer = made ? byre_disk_add_layer(made, "recorded") : NULL;

    assert_non_null(layer);
    layer->store = layer->data = below;
    layer->size = SIZE;
    if (qcow2)
        must(byre_qcow2_open(below, &open, &layer->qcow2, err));
    must(byre_disk_complete(made, &options, err));
    return made;
}

static void start(bool qcow2)
{
    const struct byre_qcow2_create_options options = {
        .size = SIZE, .version = 3, .cluster_bits = 16, .refcount_order = 4,
    };
    struct byre_qcow2 *image;

    memset(data, 7, sizeof data);
    assert_int_equal(record_store_new(NULL, qcow2 ? 0 : SIZE, &store), 0);
    if (qcow2) {
        must(byre_qcow2_create(store, &options, &image, err));
        must(byre_qcow2_seal(image, err));
        must(byre_qcow2_close(image, err));
    }
    assert_int_equal(record_store_restart(store), 0);
    disk = around(store, qcow2, true);
}

static void end(void)
{
    must(byre_disk_free(disk, err));
}

static bool nothing(void *opaque, size_t call, uint64_t sector)
{
    (void)opaque;
    (void)call;
    (void)sector;
    return false;
}

/* Of all that was not made durable nothing is left: what is at `goff` then? */
static int after_crash(uint64_t goff)
{
    size_t count = record_store_count(store);
    const struct record_crash crash = { .end = count, .size_end = record_store_durable(store, count), .kept = nothing };
    struct byre_store *after;
    struct byre_disk *left;
    uint8_t byte;

    assert_int_equal(record_store_rebuild(store, &crash, &after), 0);
    left = around(after, disk->layers[0].qcow2 != NULL, false);
    must(byre_pread(left, &byte, 1, goff, err));
    must(byre_disk_free(left, err));
    return byte;
}

static int change(struct byre_queue *queue, enum byre_op op, unsigned flags, uint64_t goff, size_t length)
{
    struct iovec iov = { data, length };

    return run(queue, (struct byre_request){
        .op = op, .flags = flags, .goff = goff, .length = length, .iov = &iov, .iov_count = 1,
    });
}

static void each_change_with_fua_is_durable(bool qcow2)
{
    struct byre_queue *queue;

    start(qcow2);
    queue = new_queue(disk, 4);
    for (unsigned round = 0; round < 2; round++) { /* allocating, then in place */
        uint64_t goff = 5 * CLUSTER + 100;

        memset(data, 7 + (int)round, sizeof data);
        assert_int_equal(change(queue, BYRE_OP_WRITE, 0, goff, CLUSTER), 0);
        assert_int_equal(after_crash(goff), round ? 7 : 0); /* or there is nothing to be seen here */
        assert_int_equal(change(queue, BYRE_OP_WRITE, BYRE_WRITE_FUA, goff, CLUSTER), 0);
        assert_int_equal(after_crash(goff), 7 + (int)round);
        assert_int_equal(after_crash(goff + CLUSTER - 1), 7 + (int)round);
    }
    for (unsigned flags = 0; flags < 2; flags++) {
        unsigned unmap = flags ? BYRE_WRITE_ZEROES_UNMAP : 0;

        assert_int_equal(change(queue, BYRE_OP_WRITE, BYRE_WRITE_FUA, 10 * CLUSTER, 2 * CLUSTER), 0);
        assert_int_equal(change(queue, BYRE_OP_WRITE_ZEROES, unmap, 10 * CLUSTER, 10), 0);
        assert_int_equal(after_crash(10 * CLUSTER), 8);
        assert_int_equal(change(queue, BYRE_OP_WRITE_ZEROES, unmap | BYRE_WRITE_FUA, 10 * CLUSTER, 2 * CLUSTER), 0);
        assert_int_equal(after_crash(10 * CLUSTER), 0);
        assert_int_equal(after_crash(12 * CLUSTER - 1), 0);
    }
    assert_int_equal(change(queue, BYRE_OP_READ, 0, 10 * CLUSTER, 10), 0);
    byre_queue_free(queue);
    end();
}

static void writes_with_fua_are_durable_in_an_image(void **state)
{
    (void)state;
    each_change_with_fua_is_durable(true);
}

static void writes_with_fua_are_durable_in_raw_bytes(void **state)
{
    (void)state;
    each_change_with_fua_is_durable(false);
}

static void a_flush_covers_all_queues(void **state)
{
    struct byre_queue *one, *other;

    (void)state;
    for (unsigned qcow2 = 0; qcow2 < 2; qcow2++) {
        start(qcow2);
        one = new_queue(disk, 4);
        other = new_queue(disk, 4);
        assert_int_equal(change(one, BYRE_OP_WRITE, 0, 3 * CLUSTER, CLUSTER), 0);
        assert_int_equal(change(other, BYRE_OP_WRITE, 0, 8 * CLUSTER + 5, 100), 0);
        assert_int_equal(after_crash(3 * CLUSTER) + after_crash(8 * CLUSTER + 5), 0);
        assert_int_equal(change(other, BYRE_OP_FLUSH, 0, 0, 0), 0);
        assert_int_equal(after_crash(3 * CLUSTER), 7);
        assert_int_equal(after_crash(8 * CLUSTER + 104), 7);
        assert_int_equal(change(one, BYRE_OP_WRITE_ZEROES, 0, 3 * CLUSTER, CLUSTER), 0);
        assert_int_equal(after_crash(3 * CLUSTER), 7);
        assert_int_equal(change(other, BYRE_OP_FLUSH, 0, 0, 0), 0);
        assert_int_equal(after_crash(3 * CLUSTER), 0);
        byre_queue_free(one);
        byre_queue_free(other);
        end();
    }
}

/* A trim of a client, as a worker of the server does it. */
static void trim(struct byre_nbd_export *export, uint16_t flags)
{
    const struct byre_nbd_terms terms = { .export = export };
    struct byre_nbd_op op = { .terms = &terms, .request = { .flags = flags, .type = NBD_CMD_TRIM, .goff = 4 * CLUSTER,
                                                           .length = 2 * CLUSTER } };
    struct byre_queue *queue;

    if (byre_nbd_op_is_slow(&op)) {
        byre_nbd_op_run(&op);
    } else {
        queue = new_queue(disk, 1);
        byre_nbd_op_take_result(&op, run(queue, byre_nbd_op_request(&op)));
        byre_queue_free(queue);
    }
    assert_int_equal(op.error, 0);
}

static void a_trim_with_fua_is_durable(void **state)
{
    struct byre_nbd_export export = { .size = SIZE };
    struct byre_queue *queue;

    (void)state;
    start(true);
    export.disk = disk;
    queue = new_queue(disk, 4);
    assert_int_equal(change(queue, BYRE_OP_WRITE, BYRE_WRITE_FUA, 4 * CLUSTER, 2 * CLUSTER), 0);
    trim(&export, 0);
    assert_int_equal(after_crash(4 * CLUSTER), 7);
    assert_int_equal(change(queue, BYRE_OP_WRITE, BYRE_WRITE_FUA, 4 * CLUSTER, 2 * CLUSTER), 0);
    trim(&export, NBD_CMD_FLAG_FUA);
    assert_int_equal(after_crash(4 * CLUSTER), 0);
    assert_int_equal(after_crash(6 * CLUSTER - 1), 0);
    byre_queue_free(queue);
    end();
}

/* Flags of the wire are flags of the request. */
static void flags_are_passed_on(void **state)
{
    static const struct {
        uint16_t type, flags;
        enum byre_op op;
        unsigned wanted;
    } cases[] = {
        { NBD_CMD_WRITE, 0, BYRE_OP_WRITE, 0 },
        { NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, BYRE_OP_WRITE, BYRE_WRITE_FUA },
        { NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, BYRE_OP_WRITE, 0 },
        { NBD_CMD_WRITE_ZEROES, 0, BYRE_OP_WRITE_ZEROES, BYRE_WRITE_ZEROES_UNMAP },
        { NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, BYRE_OP_WRITE_ZEROES, 0 },
        { NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FUA, BYRE_OP_WRITE_ZEROES, BYRE_WRITE_FUA },
        { NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO, BYRE_OP_WRITE_ZEROES,
          BYRE_WRITE_ZEROES_UNMAP | BYRE_WRITE_ZEROES_NO_FALLBACK },
        { NBD_CMD_READ, NBD_CMD_FLAG_FUA, BYRE_OP_READ, 0 },
        { NBD_CMD_FLUSH, NBD_CMD_FLAG_FUA, BYRE_OP_FLUSH, 0 },
        { NBD_CMD_TRIM, 0, BYRE_OP_DISCARD, 0 },
    };
    struct byre_nbd_terms terms = { .replies = BYRE_NBD_REPLIES_SIMPLE };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct byre_nbd_op op = { .terms = &terms, .request = { .type = cases[i].type, .flags = cases[i].flags } };
        struct byre_request request = byre_nbd_op_request(&op);

        assert_int_equal(request.op, cases[i].op);
        assert_int_equal(request.flags, cases[i].wanted);
        assert_false(byre_nbd_op_is_slow(&op));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(writes_with_fua_are_durable_in_an_image),
        TEST(writes_with_fua_are_durable_in_raw_bytes),
        TEST(a_flush_covers_all_queues),
        TEST(a_trim_with_fua_is_durable),
        TEST(flags_are_passed_on),
    };

    return cmocka_run_group_tests_name("nbd_durable", tests, start_workers, end_workers);
}
