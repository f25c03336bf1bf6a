/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Info: what it tells of a header, of snapshots and bitmaps; and that it believes nothing that is not there.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/arith.h"
#include "base/endian.h"
#include "byre/info.h"
#include "qcow2/fmt_header.h"

#define CLUSTER 4096
#define SNAPSHOTS 0x4000
#define DIRECTORY 0x5000
#define FILE_SIZE 0x6000

static char directory[64], path[96];
static uint8_t image[FILE_SIZE];

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/byre-test-info-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof path, "%s/top.qcow2", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void write_file(const uint8_t *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

/* A snapshot table entry with 24 bytes of extra data; returns where the next one goes. */
static size_t put_snapshot(size_t at, const char *id, const char *name, uint64_t disk_size)
{
    uint8_t *p = image + at;

    byre_put_be64(p, 0x3000);
    byre_put_be32(p + 8, 1);
    byre_put_be16(p + 12, (uint16_t)strlen(id));
    byre_put_be16(p + 14, (uint16_t)strlen(name));
    byre_put_be32(p + 16, 1700000000);
    byre_put_be32(p + 20, 5);
    byre_put_be64(p + 24, 3661000000007);
    byre_put_be32(p + 36, 24);
    byre_put_be64(p + 40, 1ULL << 33);
    byre_put_be64(p + 48, disk_size);
    byre_put_be64(p + 56, 77);
    memcpy(p + 64, id, strlen(id));
    memcpy(p + 64 + strlen(id), name, strlen(name));
    return byre_round_up(at + 64 + strlen(id) + strlen(name), 8);
}

static size_t put_bitmap(size_t at, const char *name, uint32_t flags, uint8_t granularity_bits)
{
    uint8_t *p = image + at;

    byre_put_be32(p + 8, 1);
    byre_put_be32(p + 12, flags);
    p[16] = 1;
    p[17] = granularity_bits;
    byre_put_be16(p + 18, (uint16_t)strlen(name));
    memcpy(p + 24, name, strlen(name));
    return byre_round_up(at + 24 + strlen(name), 8);
}

static void put_bitmaps_extension(struct byre_qcow2_header *h, uint32_t count, uint64_t size)
{
    uint8_t data[24] = { 0 };

    byre_put_be32(data, count);
    byre_put_be64(data + 8, size);
    byre_put_be64(data + 16, DIRECTORY);
    assert_int_equal(byre_qcow2_header_add_extension(h, BYRE_QCOW2_EXT_BITMAPS, data, sizeof data), 0);
}

/* An image with everything that info can tell of, in `image`. */
static void make_image(void)
{
    struct byre_qcow2_header h = {
        .version = 3,
        .cluster_bits = 12,
        .size = 1000000,
        .l1_size = 1,
        .l1_hoff = 0x3000,
        .reftable_hoff = 0x1000,
        .reftable_clusters = 1,
        .snapshot_count = 2,
        .snapshots_hoff = SNAPSHOTS,
        .incompatible = BYRE_QCOW2_INCOMPAT_DIRTY | BYRE_QCOW2_INCOMPAT_COMPRESSION,
        .compatible = BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS,
        .autoclear = BYRE_QCOW2_AUTOCLEAR_BITMAPS,
        .refcount_order = 6,
        .header_length = 112,
        .compression = BYRE_COMPRESSION_ZSTD,
    };
    size_t end;

    memset(image, 0, sizeof image);
    end = put_snapshot(SNAPSHOTS, "1", "first", 500000);
    put_snapshot(end, "42", "the second one", 1000000);
    end = put_bitmap(DIRECTORY, "b0", 2, 16);
    end = put_bitmap(end, "stale", 1, 9);
    h.backing_name = strdup("base.raw");
    assert_int_equal(byre_qcow2_header_add_extension(&h, BYRE_QCOW2_EXT_BACKING_FORMAT, "raw", 3), 0);
    put_bitmaps_extension(&h, 2, end - DIRECTORY);
    assert_int_equal(byre_qcow2_header_serialize(&h, true, image, CLUSTER, NULL), 0);
    byre_qcow2_header_done(&h);
}

static void info_tells_all_that_the_header_says(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_info info;
    char backing[96];

    (void)state;
    make_image();
    write_file(image, sizeof image);
    if (byre_info_read(path, NULL, false, &info, &err) != 0)
        fail_msg("%s", err.text);
    snprintf(backing, sizeof backing, "%s/base.raw", directory);
    assert_string_equal(info.name, path);
    assert_string_equal(info.format, "qcow2");
    assert_int_equal(info.virtual_size, 999936); /* whole sectors */
    assert_int_equal(info.file_size, FILE_SIZE);
    assert_true(info.dirty);
    assert_false(info.corrupt);
    assert_false(info.encrypted);
    assert_null(info.encryption_format);
    assert_string_equal(info.backing_name, "base.raw");
    assert_string_equal(info.backing_path, backing);
    assert_string_equal(info.backing_format, "raw");
    assert_int_equal(info.version, 3);
    assert_int_equal(info.refcount_bits, 64);
    assert_int_equal(info.cluster_size, CLUSTER);
    assert_true(info.lazy_refcounts);
    assert_false(info.extended_l2);
    assert_string_equal(info.compression_type, "zstd");
    assert_null(info.data_file);
    byre_info_done(&info);
}

static void info_lists_snapshots_and_bitmaps(void **state)
{
    struct byre_info info;

    (void)state;
    make_image();
    write_file(image, sizeof image);
    assert_int_equal(byre_info_read(path, "qcow2", true, &info, NULL), 0);
    assert_int_equal(info.snapshot_count, 2);
    assert_string_equal(info.snapshots[0].id, "1");
    assert_string_equal(info.snapshots[0].name, "first");
    assert_int_equal(info.snapshots[0].vm_state_size, 1ULL << 33);
    assert_int_equal(info.snapshots[0].date_sec, 1700000000);
    assert_int_equal(info.snapshots[0].date_nsec, 5);
    assert_int_equal(info.snapshots[0].vm_clock_nsec, 3661000000007);
    assert_int_equal(info.snapshots[0].icount, 77);
    assert_int_equal(info.snapshots[0].disk_size, 500000);
    assert_string_equal(info.snapshots[1].id, "42");
    assert_string_equal(info.snapshots[1].name, "the second one");
    assert_int_equal(info.bitmap_count, 2);
    assert_string_equal(info.bitmaps[0].name, "b0");
    assert_int_equal(info.bitmaps[0].granularity, 65536);
    assert_true(info.bitmaps[0].enabled);
    assert_false(info.bitmaps[0].in_use);
    assert_string_equal(info.bitmaps[1].name, "stale");
    assert_int_equal(info.bitmaps[1].granularity, 512);
    assert_false(info.bitmaps[1].enabled);
    assert_true(info.bitmaps[1].in_use);
    byre_info_done(&info);
}

static void info_bitmaps_without_their_bit_are_not_listed(void **state)
{
    struct byre_info info;

    (void)state;
    make_image();
    byre_put_be64(image + BYRE_QCOW2_AT_AUTOCLEAR, 0);
    memset(image + DIRECTORY, 0xff, 64);
    write_file(image, sizeof image);
    assert_int_equal(byre_info_read(path, NULL, false, &info, NULL), 0);
    assert_int_equal(info.bitmap_count, 0);
    byre_info_done(&info);
}

static void info_any_file_is_raw_when_it_is_not_qcow2(void **state)
{
    struct byre_info info;

    (void)state;
    write_file((const uint8_t *)"no image", 8);
    assert_int_equal(byre_info_read(path, NULL, false, &info, NULL), 0);
    assert_string_equal(info.format, "raw");
    assert_int_equal(info.virtual_size, 512);
    assert_int_equal(info.file_size, 8);
    assert_null(info.compression_type);
    byre_info_done(&info);
    write_file((const uint8_t *)"", 0);
    assert_int_equal(byre_info_read(path, NULL, false, &info, NULL), 0);
    assert_int_equal(info.virtual_size, 0);
    byre_info_done(&info);
    /* And so is an image that the caller says is raw. */
    make_image();
    write_file(image, sizeof image);
    assert_int_equal(byre_info_read(path, "raw", false, &info, NULL), 0);
    assert_int_equal(info.virtual_size, FILE_SIZE);
    byre_info_done(&info);
}

/* Bytes that are changed in the image, where the file then ends, and what the error must say. */
static const struct {
    unsigned at, width;
    uint64_t value;
    size_t length;
    const char *says;
} faults[] = {
    { 0, 4, 0, FILE_SIZE, "Image is not in qcow2 format" },
    { 20, 4, 5, FILE_SIZE, "Unsupported cluster size: 2^5" },
    { 56, 4, 0, FILE_SIZE, "Image does not contain a reference count table" },
    { 40, 8, 0x1000, FILE_SIZE, "overlaps" },
    { 60, 4, 65536, FILE_SIZE, "Snapshot table lies beyond the end of the file" },
    { 64, 8, 1ULL << 40, FILE_SIZE, "Snapshot table lies beyond the end of the file (snapshots_offset" },
    { 4, 4, 3, SNAPSHOTS + 100, "Snapshot table entry 1 lies beyond the end of the file" },
    { 4, 4, 3, SNAPSHOTS + 79, "Snapshot table lies beyond the end of the file" },
    { SNAPSHOTS + 36, 4, 1025, FILE_SIZE, "Too much extra metadata in snapshot table entry 0" },
    { SNAPSHOTS + 12, 4, 0xffffffff, FILE_SIZE, "Snapshot table entry 0 lies beyond the end" },
    { 4, 4, 3, DIRECTORY + 32, "Bitmap directory lies beyond the end of the file" },
    { DIRECTORY + 16, 4, 0, FILE_SIZE, "Bitmap '" },
    { DIRECTORY + 20, 4, 100, FILE_SIZE, "bitmap directory entry exceeds the directory" },
};

static void info_fault_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct byre_error err = BYRE_ERROR_INIT;
        struct byre_info info;
        int rc;

        make_image();
        if (faults[i].width == 4)
            byre_put_be32(image + faults[i].at, (uint32_t)faults[i].value);
        else
            byre_put_be64(image + faults[i].at, faults[i].value);
        write_file(image, faults[i].length);
        rc = byre_info_read(path, "qcow2", false, &info, &err);
        if (rc >= 0)
            byre_info_done(&info);
        if (rc >= 0 || !strstr(err.text, faults[i].says) || !strstr(err.text, path))
            fail_msg("fault %zu: %d, '%s' does not say '%s'", i, rc, err.text, faults[i].says);
    }
}

static void info_unknown_format_or_file_is_named(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_info info;

    (void)state;
    assert_int_equal(byre_info_read("some/name", "vmdk", false, &info, &err), -EINVAL);
    assert_string_equal(err.text, "Could not open 'some/name': Unknown driver 'vmdk'");
    assert_int_equal(byre_info_read("/nonexistent/name", NULL, false, &info, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/name"));
}

static void info_of_the_same_file_has_the_same_identity(void **state)
{
    char link_path[128], prefixed[128];
    struct byre_info a, b, other;

    (void)state;
    write_file((const uint8_t *)"x", 1);
    snprintf(link_path, sizeof link_path, "%s.link", path);
    snprintf(prefixed, sizeof prefixed, "file:%s", path);
    assert_int_equal(symlink(path, link_path), 0);
    assert_int_equal(byre_info_read(prefixed, NULL, false, &a, NULL), 0);
    assert_int_equal(byre_info_read(link_path, NULL, false, &b, NULL), 0);
    assert_int_equal(byre_info_read("/proc/self/status", "raw", false, &other, NULL), 0);
    unlink(link_path);
    assert_string_equal(a.name, path);
    assert_true(a.file_device == b.file_device && a.file_inode == b.file_inode);
    assert_false(a.file_device == other.file_device && a.file_inode == other.file_inode);
    byre_info_done(&a);
    byre_info_done(&b);
    byre_info_done(&other);
}

/* Any bytes may be wrong: an error or an answer, never more than that. */
static void info_random_damage_is_survived(void **state)
{
    unsigned seed = 40961, answers = 0;

    (void)state;
    print_message("seed %u\n", seed);
    srandom(seed);
    for (int turn = 0; turn < 1500; turn++) {
        static const unsigned places[] = { 0, SNAPSHOTS, DIRECTORY };
        struct byre_error err = BYRE_ERROR_INIT;
        struct byre_info info;

        make_image();
        for (long n = random() % 4; n >= 0; n--)
            image[places[random() % 3] + (size_t)random() % 160] = (uint8_t)(random() % 3 ? random() : 0xff);
        write_file(image, FILE_SIZE - (size_t)(random() % 5 ? 0 : random() % FILE_SIZE));
        if (byre_info_read(path, "qcow2", false, &info, &err) == 0) {
            answers++;
            byre_info_done(&info);
        } else {
            assert_true(err.text[0] != 0);
        }
    }
    assert_in_range(answers, 1, 1499);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_tells_all_that_the_header_says),
        cmocka_unit_test(info_lists_snapshots_and_bitmaps),
        cmocka_unit_test(info_bitmaps_without_their_bit_are_not_listed),
        cmocka_unit_test(info_any_file_is_raw_when_it_is_not_qcow2),
        cmocka_unit_test(info_fault_is_named),
        cmocka_unit_test(info_unknown_format_or_file_is_named),
        cmocka_unit_test(info_of_the_same_file_has_the_same_identity),
        cmocka_unit_test(info_random_damage_is_survived),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
