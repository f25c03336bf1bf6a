/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bitmaps extension and bitmap directory entries.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/fmt_bitmap.h"

static void make_extension(uint8_t data[24])
{
    memset(data, 0, 24);
    byre_put_be32(data, 2);
    byre_put_be64(data + 8, 64);
    byre_put_be64(data + 16, 0x50000);
}

static void bitmaps_extension_is_read(void **state)
{
    uint8_t data[24];
    struct byre_qcow2_extension extension = { BYRE_QCOW2_EXT_BITMAPS, 24, data };
    struct byre_qcow2_bitmaps bitmaps;

    (void)state;
    make_extension(data);
    assert_int_equal(byre_qcow2_bitmaps_parse(&extension, 16, &bitmaps, NULL), 0);
    assert_int_equal(bitmaps.count, 2);
    assert_int_equal(bitmaps.directory_size, 64);
    assert_int_equal(bitmaps.directory_hoff, 0x50000);
}

static void bitmaps_extension_absurd_field_is_refused(void **state)
{
    static const struct {
        unsigned at, width;
        uint64_t value;
        const char *says;
    } cases[] = {
        { 0, 4, 0, "found bitmaps extension with zero bitmaps" },
        { 0, 4, 65536, "Image has 65536 bitmaps, exceeding" },
        { 4, 4, 1, "Reserved field is not zero (it is 1)" },
        { 8, 8, 67107841, "bitmap directory size (67107841) exceeds the maximum supported size (67107840)" },
        { 16, 8, 0x50001, "invalid bitmap directory offset (bitmap_directory_offset is 0x50001)" },
        { 16, 8, 1ULL << 63, "invalid bitmap directory offset" },
    };
    uint8_t data[24];
    struct byre_qcow2_extension extension = { BYRE_QCOW2_EXT_BITMAPS, 23, data };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2_bitmaps bitmaps;

    (void)state;
    assert_int_equal(byre_qcow2_bitmaps_parse(&extension, 16, &bitmaps, &err), -EINVAL);
    assert_string_equal(err.text, "bitmaps_ext: Invalid extension length (it is 23)");
    extension.length = 24;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        make_extension(data);
        if (cases[i].width == 4)
            byre_put_be32(data + cases[i].at, (uint32_t)cases[i].value);
        else
            byre_put_be64(data + cases[i].at, cases[i].value);
        assert_int_equal(byre_qcow2_bitmaps_parse(&extension, 16, &bitmaps, &err), -EINVAL);
        if (!strstr(err.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
    }
}

/* A directory entry of 32 bytes: "b0", automatic, granularity 64 KiB. */
static void make_entry(uint8_t entry[32])
{
    memset(entry, 0, 32);
    byre_put_be64(entry, 0x60000);
    byre_put_be32(entry + 8, 1);
    byre_put_be32(entry + 12, BYRE_QCOW2_BITMAP_AUTO);
    entry[16] = 1;
    entry[17] = 16;
    byre_put_be16(entry + 18, 2);
    memcpy(entry + 24, "b0", 2);
}

static void bitmap_entry_is_read(void **state)
{
    uint8_t entry[32];
    struct byre_qcow2_bitmap bitmap;
    size_t length;

    (void)state;
    make_entry(entry);
    assert_int_equal(byre_qcow2_bitmap_parse(entry, 32, &bitmap, &length, NULL), 0);
    assert_int_equal(length, 32);
    assert_int_equal(bitmap.table_hoff, 0x60000);
    assert_int_equal(bitmap.table_size, 1);
    assert_int_equal(bitmap.flags, BYRE_QCOW2_BITMAP_AUTO);
    assert_int_equal(bitmap.granularity_bits, 16);
    assert_int_equal(bitmap.name_length, 2);
    assert_memory_equal(bitmap.name, "b0", 2);
    /* Extra data comes before the name, and may be passed over if its flag says so. */
    byre_put_be32(entry + 20, 1);
    entry[25] = 'x';
    entry[26] = 'y';
    entry[15] |= BYRE_QCOW2_BITMAP_EXTRA_COMPATIBLE;
    assert_int_equal(byre_qcow2_bitmap_parse(entry, 32, &bitmap, &length, NULL), 0);
    assert_memory_equal(bitmap.name, "xy", 2);
}

static void bitmap_entry_absurd_field_is_refused(void **state)
{
    static const struct {
        unsigned at;
        uint8_t value;
        const char *says;
    } cases[] = {
        { 12, 1, "Bitmap 'b0' doesn't satisfy the constraints (reserved flags are set)" },
        { 16, 2, "(type is not 1)" },
        { 17, 8, "granularity_bits" },
        { 17, 32, "granularity_bits" },
        { 18, 1, "bitmap directory entry exceeds the directory (name_size is 258" },
        { 19, 0, "Bitmap '' doesn't satisfy the constraints (name_size is 0)" },
        { 19, 9, "name_size is 9" },
        { 20, 0xff, "bitmap directory entry exceeds the directory" },
        { 23, 1, "extra data" },
        { 25, 0, "NUL" },
    };
    uint8_t entry[32];
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2_bitmap bitmap;
    size_t length;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        make_entry(entry);
        entry[cases[i].at] = cases[i].value;
        assert_int_equal(byre_qcow2_bitmap_parse(entry, 32, &bitmap, &length, &err), -EINVAL);
        if (!strstr(err.text, cases[i].says))
            fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
    }
    make_entry(entry);
    assert_int_equal(byre_qcow2_bitmap_parse(entry, 23, &bitmap, &length, &err), -EINVAL);
    assert_non_null(strstr(err.text, "Less bitmaps found than specified"));
    assert_int_equal(byre_qcow2_bitmap_parse(entry, 31, &bitmap, &length, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bitmaps_extension_is_read),
        cmocka_unit_test(bitmaps_extension_absurd_field_is_refused),
        cmocka_unit_test(bitmap_entry_is_read),
        cmocka_unit_test(bitmap_entry_absurd_field_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
