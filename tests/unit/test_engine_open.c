/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening: what is refused and by which name, what is mended, and what of a header that is not understood is
 * kept.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/endian.h"
#include "engine_image.h"
#include "qcow2/fmt_refcount.h"

#define K 1024ULL

enum { AT_CRYPT = 32, AT_SNAPSHOTS = 60 };

/* A closed image of 64 KiB with a guest byte 'a' at 0, and an empty log. */
static void closed_image(struct engine *engine)
{
    engine_plain(engine, 12, 64 * K);
    assert_int_equal(engine_write(engine, 0, 4 * K, 'a'), 0);
    assert_int_equal(byre_qcow2_close(engine->image, NULL), 0);
    assert_int_equal(record_store_restart(engine->store), 0);
}

static void put32(struct engine *engine, uint64_t hoff, uint32_t value)
{
    uint8_t bytes[4];

    byre_put_be32(bytes, value);
    assert_int_equal(byre_store_pwrite(engine->store, bytes, sizeof bytes, hoff, NULL), 0);
    assert_int_equal(record_store_restart(engine->store), 0);
}

/* It was there before the log. */
static void spoil64(struct engine *engine, uint64_t hoff, uint64_t value)
{
    put64(engine, hoff, value);
    assert_int_equal(record_store_restart(engine->store), 0);
}

static int open_it(struct engine *engine, bool writable)
{
    struct byre_qcow2_open_options options = { .writable = writable };

    engine->err = (struct byre_error)BYRE_ERROR_INIT;
    return byre_qcow2_open(engine->store, &options, &engine->image, &engine->err);
}

/* Refused with this code and text, and nothing was changed. */
static void refused(struct engine *engine, bool writable, int code, const char *text)
{
    int rc = open_it(engine, writable);

    if (rc != code || !strstr(engine->err.text, text) || !strstr(engine->err.text, "'recorded'"))
        fail_msg("%d '%s' instead of %d '%s'", rc, engine->err.text, code, text);
    assert_int_equal(record_store_count(engine->store), 0);
}

static void opens(struct engine *engine, bool writable)
{
    if (open_it(engine, writable) < 0)
        fail_msg("%s", engine->err.text);
    assert_int_equal(engine_byte(engine, 0), 'a');
}

/* Writes the header anew with an extension more. */
static void add_extension(struct engine *engine, uint32_t type, const void *data, uint32_t length)
{
    struct byre_qcow2_header header;
    uint8_t cluster[4096];

    assert_int_equal(byre_qcow2_header_read(engine->store, &header, NULL), 0);
    assert_int_equal(byre_qcow2_header_add_extension(&header, type, data, length), 0);
    assert_int_equal(byre_qcow2_header_serialize(&header, true, cluster, sizeof cluster, NULL), 0);
    assert_int_equal(byre_store_pwrite(engine->store, cluster, sizeof cluster, 0, NULL), 0);
    assert_int_equal(record_store_restart(engine->store), 0);
    byre_qcow2_header_done(&header);
}

static void encrypted_image_is_refused_without_a_password(void **state)
{
    struct engine engine;
    uint8_t place[16];

    (void)state;
    closed_image(&engine);
    put32(&engine, AT_CRYPT, 1);
    refused(&engine, false, -EINVAL, "Parameter 'encrypt.key-secret' is required for cipher");
    refused(&engine, true, -EINVAL, "Parameter 'encrypt.key-secret' is required for cipher");
    put32(&engine, AT_CRYPT, 0);
    byre_put_be64(place, 16 * K);
    byre_put_be64(place + 8, 512);
    add_extension(&engine, BYRE_QCOW2_EXT_CRYPT_HEADER, place, sizeof place);
    put32(&engine, AT_CRYPT, 2);
    refused(&engine, false, -EINVAL, "Parameter 'encrypt.key-secret' is required for cipher");
    byre_store_close(engine.store);
}

static void unsupported_features_are_refused_by_name(void **state)
{
    struct engine engine;

    (void)state;
    engine_plain(&engine, 14, 64 * K);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    spoil64(&engine, BYRE_QCOW2_AT_INCOMPAT, BYRE_QCOW2_INCOMPAT_DATA_FILE);
    refused(&engine, false, -ENOTSUP, "external data file");
    refused(&engine, true, -ENOTSUP, "external data file");
    spoil64(&engine, BYRE_QCOW2_AT_INCOMPAT, 1ULL << 40);
    assert_int_equal(open_it(&engine, false), -ENOTSUP);
    byre_store_close(engine.store);
}

static void corrupt_image_is_opened_for_reading_only(void **state)
{
    struct engine engine;

    (void)state;
    closed_image(&engine);
    spoil64(&engine, BYRE_QCOW2_AT_INCOMPAT, BYRE_QCOW2_INCOMPAT_CORRUPT);
    refused(&engine, true, -EACCES, "corrupt");
    opens(&engine, false);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(record_store_count(engine.store), 0);
    byre_store_close(engine.store);
}

static void image_without_its_snapshot_table_is_opened_for_reading_only(void **state)
{
    struct engine engine;

    (void)state;
    closed_image(&engine);
    /* Number and place of the table. */
    put32(&engine, AT_SNAPSHOTS, 1);
    spoil64(&engine, AT_SNAPSHOTS + 4, 20 * K);
    refused(&engine, true, -EINVAL, "snapshot table entry 0");
    opens(&engine, false);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    byre_store_close(engine.store);
}

static uint64_t autoclear(struct engine *engine)
{
    struct byre_qcow2_header header;
    uint64_t bits;

    assert_int_equal(byre_qcow2_header_read(engine->store, &header, NULL), 0);
    bits = header.autoclear;
    byre_qcow2_header_done(&header);
    return bits;
}

static void image_with_a_bad_bitmap_directory_is_opened_for_reading_only(void **state)
{
    struct engine engine;
    uint8_t bitmaps[24] = { 0 };

    (void)state;
    closed_image(&engine);
    byre_put_be32(bitmaps, 1);
    byre_put_be64(bitmaps + 8, 24);
    byre_put_be64(bitmaps + 16, 40 * K);
    add_extension(&engine, BYRE_QCOW2_EXT_BITMAPS, bitmaps, sizeof bitmaps);
    spoil64(&engine, BYRE_QCOW2_AT_AUTOCLEAR, BYRE_QCOW2_AUTOCLEAR_BITMAPS);
    refused(&engine, true, -EINVAL, "Bitmap directory");
    assert_int_equal(autoclear(&engine), BYRE_QCOW2_AUTOCLEAR_BITMAPS);
    opens(&engine, false);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    byre_store_close(engine.store);
}

static void autoclear_bits_go_before_the_first_write(void **state)
{
    struct engine engine;

    (void)state;
    closed_image(&engine);
    spoil64(&engine, BYRE_QCOW2_AT_AUTOCLEAR, 1ULL << 33 | 1ULL << 2);
    opens(&engine, false);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(autoclear(&engine), 1ULL << 33 | 1ULL << 2);
    assert_int_equal(record_store_count(engine.store), 0);
    opens(&engine, true);
    assert_int_equal(autoclear(&engine), 0);
    assert_int_equal(record_store_durable(engine.store, record_store_count(engine.store)),
                     record_store_count(engine.store));
    assert_int_equal(engine_write(&engine, 8 * K, 512, 'b'), 0);
    engine_done(&engine);
}

/* Makes refcounts wrong, as after a crash under lazy refcounts.  Cluster 4 is the L2 table. */
static void make_dirty(struct engine *engine, unsigned lost)
{
    uint8_t block[4096];

    assert_int_equal(byre_store_pread(engine->store, block, sizeof block, 2 * 4096, NULL), 0);
    byre_refcount_set(block, lost, 4, 0);
    byre_refcount_set(block, 20, 4, 3); /* and a leak */
    assert_int_equal(byre_store_pwrite(engine->store, block, sizeof block, 2 * 4096, NULL), 0);
    spoil64(engine, BYRE_QCOW2_AT_INCOMPAT, BYRE_QCOW2_INCOMPAT_DIRTY);
}

static void dirty_image_is_mended_when_it_is_opened_for_writing(void **state)
{
    struct engine engine;
    struct byre_extent extent;

    (void)state;
    closed_image(&engine);
    make_dirty(&engine, 4);
    opens(&engine, false);
    extent = engine_extent(&engine, 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(record_store_count(engine.store), 0);
    opens(&engine, true);
    assert_false(byre_qcow2_header(engine.image)->incompatible & BYRE_QCOW2_INCOMPAT_DIRTY);
    assert_int_equal(engine_extent(&engine, 0).hoff, extent.hoff);
    /* The lost cluster is not given to somebody else. */
    assert_int_equal(engine_write(&engine, 32 * K, 8 * K, 'b'), 0);
    assert_int_equal(engine_byte(&engine, 0), 'a');
    engine_done(&engine);
}

static void dirty_image_that_cannot_be_mended_is_not_written(void **state)
{
    struct engine engine;

    (void)state;
    closed_image(&engine);
    make_dirty(&engine, 4);
    record_store_fail(engine.store, &(struct record_fault){
        .kinds = RECORD_WRITE, .nth = 1, .for_ever = true, .code = -EIO,
    });
    assert_int_equal(open_it(&engine, true), -EIO);
    record_store_fail(engine.store, NULL);
    opens(&engine, false);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    byre_store_close(engine.store);
}

static void unknown_extensions_outlive_writes(void **state)
{
    static const char words[] = "nobody knows what this means";
    const struct byre_qcow2_extension *extension;
    struct byre_qcow2_header header;
    struct engine engine;

    (void)state;
    engine_new(&engine,
               &(struct byre_qcow2_create_options){
                   .size = 256 * K, .version = 3, .cluster_bits = 12, .refcount_order = 4,
                   .lazy_refcounts = true, .backing_name = "below", .backing_format = "raw",
               },
               0, 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    add_extension(&engine, 0x12345678, words, sizeof words);
    spoil64(&engine, BYRE_QCOW2_AT_AUTOCLEAR, 1ULL << 5);
    assert_int_equal(open_it(&engine, true), 0);
    assert_int_equal(engine_write(&engine, 0, 100 * K, 'n'), 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(byre_qcow2_header_read(engine.store, &header, NULL), 0);
    extension = byre_qcow2_header_find_extension(&header, 0x12345678);
    assert_non_null(extension);
    assert_int_equal(extension->length, sizeof words);
    assert_memory_equal(extension->data, words, sizeof words);
    assert_string_equal(header.backing_name, "below");
    assert_string_equal(header.backing_format, "raw");
    assert_int_equal(header.autoclear, 0);
    byre_qcow2_header_done(&header);
    engine_check(&engine);
    byre_store_close(engine.store);
}

static void image_opened_for_reading_is_not_written(void **state)
{
    struct byre_qcow2_reservation reservation;
    struct engine engine;

    (void)state;
    closed_image(&engine);
    opens(&engine, false);
    assert_int_equal(engine_write(&engine, 0, 512, 'b'), -EROFS);
    assert_int_equal(byre_qcow2_reserve(engine.image, 0, 512, &reservation, NULL), -EROFS);
    assert_int_equal(byre_qcow2_write_zeroes(engine.image, 0, 4 * K, 0, NULL), -EROFS);
    assert_int_equal(byre_qcow2_discard(engine.image, 0, 4 * K, NULL), -EROFS);
    assert_int_equal(byre_qcow2_check_writable(engine.image, NULL), -EROFS);
    assert_int_equal(byre_qcow2_flush(engine.image, NULL), 0);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    assert_int_equal(record_store_count(engine.store), 0);
    byre_store_close(engine.store);
}

/* Header, and the tables that are looked at: never more, however large the image is. */
static void opening_reads_one_cluster(void **state)
{
    struct engine engine;

    (void)state;
    engine_plain(&engine, 16, 1ULL << 46);
    assert_int_equal(byre_qcow2_close(engine.image, NULL), 0);
    record_store_fail(engine.store, NULL);
    assert_int_equal(open_it(&engine, true), 0);
    assert_true(record_store_calls(engine.store, RECORD_READ) <= 2);
    engine_done(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encrypted_image_is_refused_without_a_password),
        cmocka_unit_test(unsupported_features_are_refused_by_name),
        cmocka_unit_test(corrupt_image_is_opened_for_reading_only),
        cmocka_unit_test(image_without_its_snapshot_table_is_opened_for_reading_only),
        cmocka_unit_test(image_with_a_bad_bitmap_directory_is_opened_for_reading_only),
        cmocka_unit_test(autoclear_bits_go_before_the_first_write),
        cmocka_unit_test(dirty_image_is_mended_when_it_is_opened_for_writing),
        cmocka_unit_test(dirty_image_that_cannot_be_mended_is_not_written),
        cmocka_unit_test(unknown_extensions_outlive_writes),
        cmocka_unit_test(image_opened_for_reading_is_not_written),
        cmocka_unit_test(opening_reads_one_cluster),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
