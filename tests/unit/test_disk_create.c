/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making images: what is refused and in which words, what is left behind, and what an unsealed image is
 * worth.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

#define NEEDS_V3 "(use version=v3 or greater)"

static bool exists(const char *name)
{
    return access(path(name), F_OK) == 0;
}

static uint64_t size_of(const char *name)
{
    struct stat st;

    assert_int_equal(stat(path(name), &st), 0);
    return (uint64_t)st.st_size;
}

static uint64_t blocks_of(const char *name)
{
    struct stat st;

    assert_int_equal(stat(path(name), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* --- options -------------------------------------------------------------------------------------------- */

static void bad_options_are_refused_before_a_file_is_made(void **state)
{
    const struct {
        struct byre_create_options options;
        int code;
        const char *text;
    } cases[] = {
        { { .format = "vmdk" }, -EINVAL, "Unknown file format 'vmdk'" },
        { { .format = NULL }, -EINVAL, "Unknown file format ''" },
        { { .format = "qcow2", .cluster_size = 5 }, -EINVAL,
          "Cluster size must be a power of two between 512 and 2048k" },
        { { .format = "qcow2", .cluster_size = 256 }, -EINVAL,
          "Cluster size must be a power of two between 512 and 2048k" },
        { { .format = "qcow2", .cluster_size = 4 << 20 }, -EINVAL,
          "Cluster size must be a power of two between 512 and 2048k" },
        { { .format = "qcow2", .refcount_bits = 3 }, -EINVAL,
          "Refcount width must be a power of two and may not exceed 64 bits" },
        { { .format = "qcow2", .refcount_bits = 128 }, -EINVAL,
          "Refcount width must be a power of two and may not exceed 64 bits" },
        { { .format = "qcow2", .compat = "foo" }, -EINVAL,
          "Parameter 'version' does not accept value 'foo'" },
        { { .format = "qcow2", .compat = "v2", .refcount_bits = 8 }, -EINVAL,
          "Different refcount widths than 16 bits require compatibility level 1.1 or above " NEEDS_V3 },
        { { .format = "qcow2", .compat = "0.10", .lazy_refcounts = true }, -EINVAL,
          "Lazy refcounts only supported with compatibility level 1.1 and above " NEEDS_V3 },
        { { .format = "qcow2", .compat = "0.10", .compression_type = "zstd" }, -EINVAL,
          "Non-zlib compression type is only supported with compatibility level 1.1 and above " NEEDS_V3 },
        { { .format = "qcow2", .compression_type = "lzma" }, -EINVAL,
          "Parameter 'compression-type' does not accept value 'lzma'" },
        { { .format = "qcow2", .preallocation = "some" }, -EINVAL,
          "Parameter 'preallocation' does not accept value 'some'" },
        { { .format = "qcow2", .backing_name = "b", .backing_format = "raw", .preallocation = "full" },
          -EINVAL,
          "Backing file and preallocation can only be used at the same time if extended_l2 is on" },
        { { .format = "qcow2", .backing_name = "", .backing_format = "raw" }, -EINVAL,
          "Expected backing file name, got empty string" },
        { { .format = "qcow2", .backing_name = "b" }, -EINVAL,
          "Backing file 'b' specified without backing format" },
        { { .format = "qcow2", .backing_format = "raw" }, -EINVAL,
          "Backing format cannot be used without backing file" },
        { { .format = "qcow2", .backing_name = "b", .backing_format = "vmdk" }, -EINVAL,
          "Parameter 'backing-fmt' does not accept value 'vmdk'" },
        { { .format = "qcow2", .size = 1ULL << 50, .cluster_size = 512 }, -EFBIG,
          "The image size is too large for file format 'qcow2' (try using a larger cluster size)" },
        { { .format = "qcow2", .size = UINT64_MAX, .cluster_size = 2 << 20 }, -EFBIG,
          "The image size is too large for file format 'qcow2' (try using a larger cluster size)" },
        { { .format = "raw", .size = UINT64_MAX }, -EFBIG,
          "The image size is too large for file format 'raw'" },
        { { .format = "raw", .preallocation = "metadata" }, -EINVAL,
          "Unsupported preallocation mode: metadata" },
        { { .format = "raw", .preallocation = "foo" }, -EINVAL, "invalid parameter value: foo" },
        { { .format = "raw", .cluster_size = 4096 }, -EINVAL,
          "Invalid parameter 'cluster_size' for file format 'raw'" },
        { { .format = "raw", .backing_name = "b" }, -EINVAL,
          "Invalid parameter 'backing_file' for file format 'raw'" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct byre_error err = BYRE_ERROR_INIT;

        assert_int_equal(byre_create(path("x"), &cases[i].options, &err), cases[i].code);
        assert_string_equal(err.text, cases[i].text);
        assert_false(exists("x"));
        write_file(path("x"), "keep me", 7);
        assert_int_equal(byre_create(path("x"), &cases[i].options, NULL), cases[i].code);
        assert_int_equal(size_of("x"), 7);
        unlink(path("x"));
    }
}

static void backing_name_that_does_not_fit_is_refused(void **state)
{
    char name[BYRE_QCOW2_BACKING_NAME_MAX + 2];
    struct byre_create_options options = { .format = "qcow2", .backing_name = name, .backing_format = "raw" };

    (void)state;
    memset(name, 'a', sizeof name);
    name[BYRE_QCOW2_BACKING_NAME_MAX + 1] = '\0';
    assert_int_equal(byre_create(path("x"), &options, NULL), -EINVAL);
    assert_false(exists("x"));
    name[BYRE_QCOW2_BACKING_NAME_MAX] = '\0';
    must(byre_create(path("x"), &options, err));
    unlink(path("x"));
    /* The header of 512 bytes has no room for it. */
    options.cluster_size = 512;
    assert_true(byre_create(path("x"), &options, NULL) < 0);
    assert_false(exists("x"));
}

static void create_without_a_place_fails_with_the_name(void **state)
{
    const struct byre_create_options options = { .format = "qcow2", .size = 1 * M };
    struct byre_error err = BYRE_ERROR_INIT;
    char wanted[600];

    (void)state;
    snprintf(wanted, sizeof wanted, "Could not create '%s': No such file or directory", path("none/x"));
    assert_int_equal(byre_create(path("none/x"), &options, &err), -ENOENT);
    assert_string_equal(err.text, wanted);
    assert_int_equal(byre_create("", &options, &err), -ENOENT);
    assert_string_equal(err.text, "Could not create '': No such file or directory");
    assert_int_equal(byre_create(tmp.dir, &options, &err), -EISDIR);
}

/* --- raw ------------------------------------------------------------------------------------------------ */

static void create_raw_makes_a_hole_of_whole_sectors(void **state)
{
    const struct byre_create_options options = { .format = "raw", .size = 100 * M + 1 };

    (void)state;
    write_file(path("x"), "old contents", 12);
    must(byre_create(path("x"), &options, err));
    assert_int_equal(size_of("x"), 100 * M + 512);
    assert_int_equal(blocks_of("x"), 0);
}

static void create_raw_preallocates(void **state)
{
    static const char *const modes[] = { "falloc", "full" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        const struct byre_create_options options = {
            .format = "raw",
            .size = 5 * M + 512,
            .preallocation = modes[i],
        };
        struct byre_disk *disk;

        must(byre_create(path("x"), &options, err));
        assert_int_equal(size_of("x"), 5 * M + 512);
        assert_true(blocks_of("x") >= 5 * M);
        disk = open_disk(path("x"), false);
        expect(disk, 0, 5 * M + 512, 0);
        close_disk(disk);
        unlink(path("x"));
    }
}

/* --- sealing -------------------------------------------------------------------------------------------- */

static struct byre_disk *create_open(const char *name, const char *format)
{
    const struct byre_create_options options = { .format = format, .size = 1 * M };
    struct byre_disk *disk = NULL;

    must(byre_create_open(path(name), &options, NULL, &disk, err));
    return disk;
}

static void unsealed_file_is_removed(void **state)
{
    static const char *const formats[] = { "raw", "qcow2" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct byre_disk *disk = create_open("x", formats[i]);

        put(disk, 1000, 100 * K, 1);
        assert_true(exists("x"));
        close_disk(disk);
        assert_false(exists("x"));
    }
}

static void unsealed_file_that_was_there_stays_and_is_no_image(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("x"), 1 * M, 0, NULL, NULL);
    disk = create_open("x", "qcow2");
    put(disk, 0, 100 * K, 1);
    close_disk(disk);
    disk = open_disk(path("x"), false);
    assert_string_equal(byre_layer_format(disk, 0), "raw");
    close_disk(disk);
}

/* Who has put another file in its place wants that one to stay. */
static void unsealed_file_is_removed_only_if_it_is_still_ours(void **state)
{
    struct byre_disk *disk;

    (void)state;
    disk = create_open("x", "qcow2");
    write_file(path("y"), "another", 7);
    assert_int_equal(rename(path("y"), path("x")), 0);
    close_disk(disk);
    assert_true(exists("x"));
    assert_int_equal(size_of("x"), 7);
}

static void sealed_image_stays_and_can_be_written_on(void **state)
{
    static const char *const formats[] = { "raw", "qcow2" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct byre_disk *disk = create_open("x", formats[i]);

        put(disk, 1000, 100 * K, 1);
        must(byre_seal(disk, err));
        put(disk, 1000, 1, 2);
        must(byre_seal(disk, err)); /* no effect */
        close_disk(disk);
        disk = open_disk(path("x"), false);
        assert_string_equal(byre_layer_format(disk, 0), formats[i]);
        expect(disk, 0, 1000, 0);
        expect(disk, 1000, 1, 2);
        expect(disk, 1001, 100 * K - 1, 1);
        expect(disk, 1000 + 100 * K, 1 * M - 1000 - 100 * K, 0);
        close_disk(disk);
        unlink(path("x"));
    }
}

static void seal_that_fails_leaves_nothing(void **state)
{
    struct byre_disk *disk = create_open("x", "qcow2");

    (void)state;
    put(disk, 0, 100, 1);
    watch(disk->layers[0].store);
    watched.fail_flush = -EIO;
    assert_int_equal(byre_seal(disk, NULL), -EIO);
    assert_true(byre_seal(disk, NULL) < 0);
    unwatch();
    byre_close(disk, NULL);
    assert_false(exists("x"));
}

static void image_in_the_making_is_locked(void **state)
{
    const struct byre_create_options options = { .format = "raw", .size = 1 * M };
    struct byre_disk *disk = create_open("x", "qcow2");

    (void)state;
    assert_int_equal(byre_create(path("x"), &options, NULL), -EAGAIN);
    assert_true(exists("x"));
    must(byre_seal(disk, err));
    close_disk(disk);
    assert_true(exists("x"));
}

/* --- backing files -------------------------------------------------------------------------------------- */

static void new_overlay_shows_its_backing_file(void **state)
{
    const struct byre_create_options options = {
        .format = "qcow2",
        .size = 1 * M,
        .backing_name = "base",
        .backing_format = "qcow2",
    };
    struct byre_disk *disk;

    (void)state;
    make_image(path("base"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, 200 * K, 1);
    close_disk(disk);
    must(byre_create_open(path("x"), &options, NULL, &disk, err));
    assert_int_equal(byre_layer_count(disk), 2);
    put(disk, 1000, 10, 2); /* copies the rest of the cluster */
    must(byre_seal(disk, err));
    close_disk(disk);
    disk = open_disk(path("x"), false);
    expect(disk, 0, 1000, 1);
    expect(disk, 1000, 10, 2);
    expect(disk, 1010, 200 * K - 1010, 1);
    expect(disk, 200 * K, 1 * M - 200 * K, 0);
    close_disk(disk);
}

static void overlay_of_nothing_is_not_made(void **state)
{
    const struct byre_create_options options = {
        .format = "qcow2",
        .size = 1 * M,
        .backing_name = "missing",
        .backing_format = "raw",
    };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk = NULL;

    (void)state;
    write_file(path("x"), "keep me", 7);
    assert_int_equal(byre_create_open(path("x"), &options, NULL, &disk, &err), -ENOENT);
    assert_non_null(strstr(err.text, "Could not open backing file: Could not open '"));
    assert_non_null(strstr(err.text, "missing': No such file or directory"));
    assert_int_equal(size_of("x"), 7);
    must(byre_create(path("x"), &options, err)); /* which looks at no backing file */
}

static void check_backing_tells_size_and_format(void **state)
{
    const char *format = NULL;
    uint64_t size = 0;

    (void)state;
    make_image(path("base"), 3 * M, 4096, NULL, NULL);
    must(byre_create_check_backing(path("x"), "base", NULL, false, NULL, &size, &format, err));
    assert_int_equal(size, 3 * M);
    assert_string_equal(format, "qcow2");
    must(byre_create_check_backing(path("x"), "base", "raw", false, NULL, &size, &format, err));
    assert_int_equal(size, size_of("base"));
    assert_string_equal(format, "raw");
}

static void check_backing_fails_in_the_words_of_qemu_img(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    const char *format = NULL;
    char wanted[1200];
    uint64_t size = 0;

    (void)state;
    write_file(path("base"), "raw", 3);
    assert_int_equal(byre_create_check_backing(path("x"), "base", "qcow2", false, NULL, &size, &format, &err), -EINVAL);
    assert_string_equal(err.text, "Image is not in qcow2 format");
    assert_int_equal(byre_create_check_backing(path("x"), "base", "vmdk", false, NULL, &size, &format, &err), -EINVAL);
    assert_string_equal(err.text, "Unknown driver 'vmdk'");
    snprintf(wanted, sizeof wanted, "Could not open '%s': No such file or directory", path("none"));
    assert_int_equal(byre_create_check_backing(path("x"), "none", "raw", false, NULL, &size, &format, &err), -ENOENT);
    assert_string_equal(err.text, wanted);
    make_image(path("over"), 1 * M, 0, "none", "raw");
    snprintf(wanted, sizeof wanted,
             "Could not open backing file: Could not open '%s': No such file or directory", path("none"));
    assert_int_equal(byre_create_check_backing(path("x"), "over", "qcow2", false, NULL, &size, &format, &err), -ENOENT);
    assert_string_equal(err.text, wanted);
    assert_int_equal(byre_create_check_backing(path("x"), "ssh://h/x", "raw", false, NULL, &size, &format, &err),
                     -ENOTSUP);
    assert_null(format);
}

/* --- qcow2 options that show --------------------------------------------------------------------------- */

static void options_arrive_in_the_header(void **state)
{
    const struct byre_create_options options = {
        .format = "qcow2",
        .size = 1 * M + 1,
        .cluster_size = 4096,
        .refcount_bits = 64,
        .lazy_refcounts = true,
        .backing_name = "b",
        .backing_format = "raw",
    };
    const struct byre_open_options alone = { .no_backing = true };
    const struct byre_qcow2_header *header;
    struct byre_disk *disk = NULL;

    (void)state;
    must(byre_create(path("x"), &options, err));
    must(byre_open(path("x"), &alone, &disk, err));
    header = byre_qcow2_header(disk->layers[0].qcow2);
    assert_int_equal(header->version, 3);
    assert_int_equal(header->size, 1 * M + 512);
    assert_int_equal(header->cluster_bits, 12);
    assert_int_equal(header->refcount_order, 6);
    assert_true(header->compatible & BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS);
    assert_string_equal(header->backing_name, "b");
    assert_string_equal(header->backing_format, "raw");
    close_disk(disk);
}

static void defaults_are_those_of_qemu_img(void **state)
{
    const struct byre_create_options options = { .format = "qcow2", .compat = "0.10" };
    const struct byre_qcow2_header *header;
    struct byre_disk *disk;

    (void)state;
    must(byre_create(path("x"), &options, err));
    disk = open_disk(path("x"), true);
    header = byre_qcow2_header(disk->layers[0].qcow2);
    assert_int_equal(byre_get_size(disk), 0);
    assert_int_equal(header->version, 2);
    assert_int_equal(header->cluster_bits, 16);
    assert_int_equal(header->refcount_order, 4);
    assert_int_equal(header->compression, BYRE_COMPRESSION_ZLIB);
    close_disk(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bad_options_are_refused_before_a_file_is_made),
        TEST(backing_name_that_does_not_fit_is_refused),
        TEST(create_without_a_place_fails_with_the_name),
        TEST(create_raw_makes_a_hole_of_whole_sectors),
        TEST(create_raw_preallocates),
        TEST(unsealed_file_is_removed),
        TEST(unsealed_file_that_was_there_stays_and_is_no_image),
        TEST(unsealed_file_is_removed_only_if_it_is_still_ours),
        TEST(sealed_image_stays_and_can_be_written_on),
        TEST(seal_that_fails_leaves_nothing),
        TEST(image_in_the_making_is_locked),
        TEST(new_overlay_shows_its_backing_file),
        TEST(overlay_of_nothing_is_not_made),
        TEST(check_backing_tells_size_and_format),
        TEST(check_backing_fails_in_the_words_of_qemu_img),
        TEST(options_arrive_in_the_header),
        TEST(defaults_are_those_of_qemu_img),
    };

    return cmocka_run_group_tests_name("disk_create", tests, NULL, NULL);
}
