/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening disks: formats, chains, what is refused and in which words.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "disk/open.h"
#include "disk_fixture.h"

/* Opening has to fail with this code and text, and to change nothing. */
static void must_refuse(const char *name, const struct byre_open_options *options, int code,
                        const char *wanted)
{
    struct byre_disk *disk = (struct byre_disk *)&tmp;
    struct byre_error err = BYRE_ERROR_INIT;

    assert_int_equal(byre_open(name, options, &disk, &err), code);
    assert_int_equal(err.code, code);
    assert_string_equal(err.text, wanted);
    assert_ptr_equal(disk, &tmp); /* untouched */
}

static char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static char *text(const char *fmt, ...)
{
    static char buf[4096];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    return buf;
}

/* --- one image ------------------------------------------------------------------------------------------ */

static void open_missing_is_refused_with_the_name_once(void **state)
{
    const char *name = path("none");

    (void)state;
    must_refuse(name, NULL, -ENOENT, text("Could not open '%s': No such file or directory", name));
}

static void open_directory_is_refused_with_the_name(void **state)
{
    (void)state;
    must_refuse(tmp.dir, NULL, -EINVAL,
                text("Could not open '%s': 'file' driver requires '%s' to be a regular file", tmp.dir,
                     tmp.dir));
}

static void open_unknown_format_is_refused(void **state)
{
    const struct byre_open_options options = { .format = "vmdk" };
    const char *name = path("x");

    (void)state;
    write_file(name, "x", 1);
    must_refuse(name, &options, -EINVAL, text("Could not open '%s': Unknown driver 'vmdk'", name));
}

static void open_raw_as_qcow2_is_refused(void **state)
{
    const struct byre_open_options options = { .format = "qcow2" };
    const char *name = path("x");
    uint8_t zeros[512] = { 0 };

    (void)state;
    write_file(name, zeros, sizeof zeros);
    must_refuse(name, &options, -EINVAL, text("Could not open '%s': Image is not in qcow2 format", name));
}

static void open_force_share_for_writing_is_refused(void **state)
{
    const struct byre_open_options options = { .writable = true, .force_share = true };
    const char *name = path("x");

    (void)state;
    write_file(name, "x", 1);
    must_refuse(name, &options, -EINVAL,
                text("Could not open '%s': force-share=on can only be used with read-only images", name));
}

static void open_odd_raw_rounds_its_size_up(void **state)
{
    struct byre_disk *disk;

    (void)state;
    write_file(path("x"), "abcdef", 6);
    disk = open_disk(path("x"), false);
    assert_int_equal(byre_get_size(disk), 512);
    assert_string_equal(byre_layer_format(disk, 0), "raw");
    assert_int_equal(byre_layer_count(disk), 1);
    assert_null(byre_layer_name(disk, 1));
    assert_null(byre_layer_format(disk, 1));
    assert_true(disk->layers[0].probed_raw);
    expect(disk, 6, 506, 0);
    close_disk(disk);
}

static void open_empty_file_is_an_empty_raw_disk(void **state)
{
    struct byre_disk *disk;
    uint8_t byte;

    (void)state;
    write_file(path("x"), "", 0);
    disk = open_disk(path("x"), true);
    assert_int_equal(byre_get_size(disk), 0);
    assert_int_equal(byre_pread(disk, &byte, 1, 0, NULL), -EINVAL);
    assert_int_equal(byre_pread(disk, &byte, 0, 0, NULL), 0);
    close_disk(disk);
}

static void open_probes_qcow2_unless_told_raw(void **state)
{
    const struct byre_open_options as_raw = { .format = "raw" };
    struct byre_disk *disk;

    (void)state;
    make_image(path("x"), 1 << 20, 4096, NULL, NULL);
    disk = open_disk(path("x"), false);
    assert_string_equal(byre_layer_format(disk, 0), "qcow2");
    assert_int_equal(byre_get_size(disk), 1 << 20);
    close_disk(disk);
    must(byre_open(path("x"), &as_raw, &disk, err));
    assert_string_equal(byre_layer_format(disk, 0), "raw");
    assert_false(disk->layers[0].probed_raw);
    close_disk(disk);
}

static void close_nothing_succeeds(void **state)
{
    (void)state;
    assert_int_equal(byre_close(NULL, NULL), 0);
}

/* --- chains --------------------------------------------------------------------------------------------- */

static void open_chain_resolves_names_against_each_image(void **state)
{
    struct byre_disk *disk;

    (void)state;
    assert_int_equal(mkdir(path("sub"), 0777), 0);
    write_file(path("bottom"), "bottom", 6);
    make_image(path("sub/middle"), 1 << 20, 4096, "../bottom", "raw");
    make_image(path("top"), 1 << 20, 65536, "sub/middle", "qcow2");
    disk = open_disk(path("top"), false);
    assert_int_equal(byre_layer_count(disk), 3);
    assert_string_equal(byre_layer_name(disk, 1), path("sub/middle"));
    assert_string_equal(byre_layer_name(disk, 2), path("sub/../bottom"));
    assert_string_equal(byre_layer_format(disk, 2), "raw");
    assert_int_equal(disk->grain, 4096);
    expect(disk, 0, 1, 'b');
    close_disk(disk);
}

static void open_without_backing_looks_at_no_other_file(void **state)
{
    const struct byre_open_options options = { .no_backing = true };
    struct byre_disk *disk;

    (void)state;
    make_image(path("top"), 1 << 20, 65536, "missing", "raw");
    must(byre_open(path("top"), &options, &disk, err));
    assert_int_equal(byre_layer_count(disk), 1);
    expect(disk, 0, 100000, 0);
    close_disk(disk);
}

static void open_with_missing_backing_tells_how_far_down(void **state)
{
    (void)state;
    make_image(path("middle"), 1 << 20, 0, "missing", "raw");
    make_image(path("top"), 1 << 20, 0, "middle", "qcow2");
    must_refuse(path("middle"), NULL, -ENOENT,
                text("Could not open '%s': Could not open backing file: Could not open '%s': No such file or "
                     "directory", path("middle"), path("missing")));
    must_refuse(path("top"), NULL, -ENOENT,
                text("Could not open '%s': Could not open backing file: Could not open backing file: Could "
                     "not open '%s': No such file or directory", path("top"), path("missing")));
}

static void open_with_backing_of_another_format_names_it(void **state)
{
    (void)state;
    write_file(path("base"), "not a header", 12);
    make_image(path("top"), 1 << 20, 0, "base", "qcow2");
    must_refuse(path("top"), NULL, -EINVAL,
                text("Could not open '%s': Could not open backing file: Could not open '%s': Image is not in "
                     "qcow2 format", path("top"), path("base")));
}

static void open_with_directory_as_backing_is_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path("dir"), 0777), 0);
    make_image(path("top"), 1 << 20, 0, "dir", "raw");
    must_refuse(path("top"), NULL, -EINVAL,
                text("Could not open '%s': Could not open backing file: 'file' driver requires '%s' to be a "
                     "regular file", path("top"), path("dir")));
}

/* The format is changed in the file: nobody would write such an image. */
static void open_with_unknown_backing_format_is_refused(void **state)
{
    uint8_t head[512];
    FILE *f;

    (void)state;
    make_image(path("top"), 1 << 20, 0, "base", "raw");
    f = fopen(path("top"), "r+b");
    assert_non_null(f);
    assert_int_equal(fread(head, 1, sizeof head, f), sizeof head);
    for (size_t i = 104; i + 11 < sizeof head; i++) {
        if (memcmp(head + i, "\xe2\x79\x2a\xca\0\0\0\3raw", 11) == 0)
            memcpy(head + i + 8, "foo", 3);
    }
    rewind(f);
    assert_int_equal(fwrite(head, 1, sizeof head, f), sizeof head);
    assert_int_equal(fclose(f), 0);
    must_refuse(path("top"), NULL, -EINVAL,
                text("Could not open '%s': Could not open backing file: Unknown driver 'foo'", path("top")));
}

static void open_follows_no_protocols(void **state)
{
    static const char *const names[] = { "ssh://localhost/x", "a:b" };
    static const char json[] = "json:{\"driver\":\"file\"}";

    (void)state;
    write_file(path("base"), "x", 1);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        make_image(path("top"), 1 << 20, 0, names[i], "raw");
        must_refuse(path("top"), NULL, -ENOTSUP,
                    text("Could not open '%s': Could not open backing file: Unknown protocol '%.*s'",
                         path("top"), (int)strcspn(names[i], ":"), names[i]));
        must_refuse(names[i], NULL, -ENOTSUP,
                    text("Could not open '%s': Unknown protocol '%.*s'", names[i],
                         (int)strcspn(names[i], ":"), names[i]));
    }
    make_image(path("top"), 1 << 20, 0, json, "raw");
    must_refuse(path("top"), NULL, -ENOTSUP,
                text("Could not open '%s': Could not open backing file: Could not open '%s': backing files can only "
                     "be named by a path\nUse --allow-backing=protocol if you trust the image.", path("top"), json));
}

static void open_takes_the_prefix_of_files_off(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;

    (void)state;
    write_file(path("base"), "x", 1);
    make_image(path("top"), 1 << 20, 0, text("file:%s", path("base")), "raw");
    if (byre_open(text("file:%s", path("top")), NULL, &disk, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(byre_layer_count(disk), 2);
    assert_string_equal(byre_layer_name(disk, 0), path("top"));
    assert_string_equal(byre_layer_name(disk, 1), path("base"));
    byre_close(disk, NULL);
}

static void open_loop_of_one_is_refused(void **state)
{
    (void)state;
    make_image(path("self"), 1 << 20, 0, "self", "qcow2");
    must_refuse(path("self"), NULL, -ELOOP,
                text("Could not open '%s': Could not open backing file: Backing file '%s' creates an "
                     "infinite loop.", path("self"), path("self")));
}

static void open_loop_through_a_link_is_refused_for_writing_too(void **state)
{
    const struct byre_open_options options = { .writable = true };

    (void)state;
    make_image(path("a"), 1 << 20, 0, "b", "qcow2");
    make_image(path("b"), 1 << 20, 0, "link", "qcow2");
    assert_int_equal(symlink("a", path("link")), 0);
    must_refuse(path("a"), &options, -ELOOP,
                text("Could not open '%s': Could not open backing file: Could not open backing file: Backing "
                     "file '%s' creates an infinite loop.", path("a"), path("link")));
    must_refuse(path("b"), NULL, -ELOOP,
                text("Could not open '%s': Could not open backing file: Could not open backing file: Backing "
                     "file '%s' creates an infinite loop.", path("b"), path("b")));
}

static void open_chain_longer_than_can_be_numbered_is_refused(void **state)
{
    const struct byre_open_options options = { 0 };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk = byre_disk_new();

    (void)state;
    assert_non_null(disk);
    for (unsigned i = 0; i < BYRE_LAYERS_MAX; i++)
        assert_non_null(byre_disk_add_layer(disk, "layer"));
    assert_int_equal(byre_disk_open_chain(disk, "one-more", "raw", &options, &err), -ENOTSUP);
    assert_string_equal(err.text, "Could not open backing file: Could not open 'one-more': the chain has "
                                  "more than 4096 images");
    assert_int_equal(byre_disk_free(disk, NULL), 0);
}

/* --- locks ---------------------------------------------------------------------------------------------- */

static void open_for_writing_keeps_others_out(void **state)
{
    const struct byre_open_options shared = { .force_share = true }, unlocked = { .no_lock = true };
    struct byre_disk *writer, *other = NULL;

    (void)state;
    make_image(path("x"), 1 << 20, 0, NULL, NULL);
    writer = open_disk(path("x"), true);
    must_refuse(path("x"), NULL, -EAGAIN,
                text("Could not open '%s': Failed to get shared \"write\" lock\nIs another process using the "
                     "image [%s]?", path("x"), path("x")));
    must(byre_open(path("x"), &shared, &other, err));
    close_disk(other);
    must(byre_open(path("x"), &unlocked, &other, err));
    close_disk(other);
    close_disk(writer);
}

static void open_for_writing_only_reads_the_backing_file(void **state)
{
    const struct byre_open_options writing = { .writable = true };
    struct byre_disk *top, *reader, *writer = NULL;

    (void)state;
    make_image(path("base"), 1 << 20, 0, NULL, NULL);
    make_image(path("top"), 1 << 20, 0, "base", "qcow2");
    top = open_disk(path("top"), true);
    assert_true(top->layers[1].store->read_only);
    reader = open_disk(path("base"), false);
    close_disk(reader);
    assert_int_equal(byre_open(path("base"), &writing, &writer, NULL), -EAGAIN);
    close_disk(top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(open_missing_is_refused_with_the_name_once),
        TEST(open_directory_is_refused_with_the_name),
        TEST(open_unknown_format_is_refused),
        TEST(open_raw_as_qcow2_is_refused),
        TEST(open_force_share_for_writing_is_refused),
        TEST(open_odd_raw_rounds_its_size_up),
        TEST(open_empty_file_is_an_empty_raw_disk),
        TEST(open_probes_qcow2_unless_told_raw),
        TEST(close_nothing_succeeds),
        TEST(open_chain_resolves_names_against_each_image),
        TEST(open_without_backing_looks_at_no_other_file),
        TEST(open_with_missing_backing_tells_how_far_down),
        TEST(open_with_backing_of_another_format_names_it),
        TEST(open_with_directory_as_backing_is_refused),
        TEST(open_with_unknown_backing_format_is_refused),
        TEST(open_follows_no_protocols),
        TEST(open_takes_the_prefix_of_files_off),
        TEST(open_loop_of_one_is_refused),
        TEST(open_loop_through_a_link_is_refused_for_writing_too),
        TEST(open_chain_longer_than_can_be_numbered_is_refused),
        TEST(open_for_writing_keeps_others_out),
        TEST(open_for_writing_only_reads_the_backing_file),
    };

    return cmocka_run_group_tests_name("disk_open", tests, NULL, NULL);
}
