/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New images in recording stores, for the tests of the engine.
 */
#ifndef TESTS_UNIT_ENGINE_IMAGE_H
#define TESTS_UNIT_ENGINE_IMAGE_H

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/check.h"
#include "qcow2/header_read.h"
#include "qcow2/qcow2.h"
#include "../crash/record_store.h"

struct engine {
    struct byre_store *store;
    struct byre_qcow2 *image;
    uint32_t cluster;
    struct byre_error err;
};

/* An image with an empty log, sealed and opened again. */
static inline void engine_new(struct engine *engine, const struct byre_qcow2_create_options *options,
                              uint64_t device_size, uint64_t cache_bytes)
{
    struct byre_qcow2_open_options open_options = { .writable = true, .cache_bytes = cache_bytes };

    *engine = (struct engine){ .cluster = 1u << options->cluster_bits };
    assert_int_equal(record_store_new(NULL, device_size, &engine->store), 0);
    engine->store->growable = !device_size;
    assert_int_equal(byre_qcow2_create(engine->store, options, &engine->image, &engine->err), 0);
    assert_int_equal(byre_qcow2_seal(engine->image, &engine->err), 0);
    assert_int_equal(byre_qcow2_close(engine->image, &engine->err), 0);
    assert_int_equal(byre_qcow2_open(engine->store, &open_options, &engine->image, &engine->err), 0);
    assert_int_equal(record_store_restart(engine->store), 0);
}

/* Version 3, 16-bit refcounts. */
static inline void engine_plain(struct engine *engine, unsigned cluster_bits, uint64_t size)
{
    engine_new(engine,
               &(struct byre_qcow2_create_options){
                   .size = size, .version = 3, .cluster_bits = cluster_bits, .refcount_order = 4,
               },
               0, 0);
}

static inline void engine_check(struct engine *engine)
{
    struct byre_check_result result;
    struct byre_qcow2_header header;

    assert_int_equal(byre_qcow2_header_read(engine->store, &header, NULL), 0);
    assert_int_equal(byre_qcow2_check(engine->store, &header, 0, NULL, &result, NULL), 0);
    byre_qcow2_header_done(&header);
    assert_int_equal(result.corruptions, 0);
    assert_int_equal(result.leaks, 0);
}

/* Closes, and the image is without fault. */
static inline void engine_done(struct engine *engine)
{
    assert_int_equal(byre_qcow2_close(engine->image, &engine->err), 0);
    engine_check(engine);
    byre_store_close(engine->store);
}

static inline int engine_write(struct engine *engine, uint64_t goff, uint64_t length, int byte)
{
    void *bytes = malloc(length);
    struct iovec iov = { bytes, length };
    int rc;

    assert_non_null(bytes);
    memset(bytes, byte, length);
    rc = byre_qcow2_writev(engine->image, goff, &iov, 1, length, &engine->err);
    free(bytes);
    return rc;
}

/* The extent at `goff`; it reaches as far as it does, up to the end of the disk. */
static inline struct byre_extent engine_extent(struct engine *engine, uint64_t goff)
{
    byre_extent_vec extents = VEC_INIT;
    struct byre_extent first;

    assert_int_equal(byre_qcow2_map(engine->image, goff, byre_qcow2_header(engine->image)->size - goff,
                                    &extents, &engine->err), 0);
    assert_true(extents.len > 0);
    first = extents.ptr[0];
    vec_done(&extents);
    return first;
}

/* The guest's byte at `goff`, of a plain cluster. */
static inline int engine_byte(struct engine *engine, uint64_t goff)
{
    struct byre_extent extent = engine_extent(engine, goff);
    uint8_t byte = 0;

    if (extent.kind == BYRE_EXTENT_DATA)
        assert_int_equal(byre_store_pread(engine->store, &byte, 1, extent.hoff, NULL), 0);
    return byte;
}

/* The number at a place of the file. */
static inline uint64_t get64(struct engine *engine, uint64_t hoff)
{
    uint8_t bytes[8];

    assert_int_equal(byre_store_pread(engine->store, bytes, sizeof bytes, hoff, NULL), 0);
    return byre_get_be64(bytes);
}

static inline void put64(struct engine *engine, uint64_t hoff, uint64_t value)
{
    uint8_t bytes[8];

    byre_put_be64(bytes, value);
    assert_int_equal(byre_store_pwrite(engine->store, bytes, sizeof bytes, hoff, NULL), 0);
}

#endif
