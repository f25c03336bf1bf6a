/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks opened through option trees: drivers on each other, what they are called, what is refused, whom names in
 * images may lead to, and what filters do.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "byre/info.h"
#include "disk_fixture.h"

#define M (1u << 20)

/* printf into one of some buffers. */
static const char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static const char *text(const char *fmt, ...)
{
    static char bufs[4][4096];
    static unsigned next;
    char *buf = bufs[next++ % 4];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(buf, sizeof bufs[0], fmt, ap);
    va_end(ap);
    return buf;
}

static void must_refuse(const char *name, const struct byre_open_options *options, const char *wanted)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk = NULL;

    assert_true(byre_open(name, options, &disk, &err) < 0);
    assert_null(disk);
    if (!strstr(err.text, wanted))
        fail_msg("%s says: %s", name, err.text);
}

static struct byre_disk *open_with(const char *name, const struct byre_open_options *options)
{
    struct byre_disk *disk = NULL;

    must(byre_open(name, options, &disk, err));
    return disk;
}

static void nodes_stand_on_each_other(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("q"), M, 4096, NULL, NULL);
    disk = open_disk(path("q"), true);
    put(disk, 8192, 4096, 'a');
    close_disk(disk);
    disk = open_disk(text("json:{'driver':'raw','offset':8192,'size':1024,'file':{'driver':'blkdebug','image':"
                          "{'driver':'qcow2','file':{'driver':'file','filename':'%s'}}}}", path("q")), true);
    assert_int_equal(byre_get_size(disk), 1024);
    assert_string_equal(byre_layer_format(disk, 0), "raw");
    expect(disk, 0, 1024, 'a');
    put(disk, 512, 512, 'b');
    close_disk(disk);
    disk = open_disk(path("q"), false);
    expect(disk, 8192, 512, 'a');
    expect(disk, 8192 + 512, 512, 'b');
    expect(disk, 8192 + 1024, 1024, 'a');
    close_disk(disk);
}

static void qcow2_lives_in_a_slice(void **state)
{
    struct byre_disk *disk;
    const char *name;

    (void)state;
    write_file(path("big"), "x", 1);
    assert_int_equal(truncate(path("big"), 4 * M), 0);
    make_image(path("q"), M, 4096, NULL, NULL);
    disk = open_disk(text("image-opts:driver=raw,offset=4096,size=2M,file.filename=%s", path("big")), true);
    for (uint64_t at = 0; at < 32768; at += 512) {
        uint8_t sector[512];
        struct byre_disk *q;

        must(byre_open(path("q"), &(struct byre_open_options){ .format = "raw" }, &q, err));
        if (at < byre_get_size(q)) {
            must(byre_pread(q, sector, MIN((uint64_t)512, byre_get_size(q) - at), at, err));
            must(byre_pwrite(disk, sector, 512, at, err));
        }
        close_disk(q);
    }
    close_disk(disk);
    name = text("json:{'driver':'qcow2','file':{'driver':'raw','offset':4096,'size':'2M','file':{'driver':'file',"
                "'filename':'%s'}}}", path("big"));
    disk = open_disk(name, true);
    put(disk, 100000, 50000, 'q');
    close_disk(disk);
    disk = open_disk(name, false);
    expect(disk, 100000, 50000, 'q');
    expect(disk, 0, 100000, 0);
    close_disk(disk);
}

static void names_are_short_where_there_are_short_ones(void **state)
{
    const struct {
        const char *name, *wanted;
    } cases[] = {
        { text("json:{'driver':'raw','file':{'driver':'file','filename':'%s'}}", path("r")), path("r") },
        { text("blkdebug::file:%s", path("r")), text("blkdebug::%s", path("r")) },
        { "json:{'driver':'raw','file':{'driver':'null-co'}}", "null-co://" },
        { "json:{'driver':'null-aio','size':512}", "json:{\"driver\": \"null-aio\", \"size\": 512}" },
    };

    (void)state;
    write_file(path("r"), "r", 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct byre_disk *disk = open_disk(cases[i].name, false);

        assert_string_equal(byre_layer_name(disk, 0), cases[i].wanted);
        close_disk(disk);
    }
}

/* An option that a driver does not know, at each level. */
static void options_that_nobody_knows_are_refused(void **state)
{
    static const char *const lists[][2] = {
        { "driver=raw,x=1,file.driver=null-co", "Block format 'raw' does not support the option 'x'" },
        { "driver=raw,file.driver=null-co,file.x=1", "Block protocol 'null-co' doesn't support the option 'x'" },
        { "driver=raw,file.driver=null-co,backing=", "Block format 'raw' does not support the option 'backing'" },
        { "driver=compress,x=1,file.driver=null-co", "Block format 'compress' does not support the option 'x'" },
        { "driver=blkdebug,x=1,image.driver=null-co", "Block protocol 'blkdebug' doesn't support the option 'x'" },
        { "driver=blkdebug,image.driver=null-co,inject-error.0.event=l1_update,inject-error.0.x=1",
          "[inject-error] section doesn't support the option 'x'" },
        { "driver=null-co,file.driver=null-co", "Block protocol 'null-co' doesn't support the option 'file.driver'" },
        { "driver=null-co,cache.writeback=on",
          "Block protocol 'null-co' doesn't support the option 'cache.writeback'" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        must_refuse(text("image-opts:%s", lists[i][0]), NULL, lists[i][1]);
}

static void read_only_nodes_are_not_written_to(void **state)
{
    const struct byre_open_options writable = { .writable = true };

    (void)state;
    write_file(path("r"), "r", 1);
    must_refuse(text("image-opts:driver=raw,read-only=on,file.filename=%s", path("r")), &writable,
                "Block node is read-only");
    must_refuse(text("image-opts:driver=raw,file.read-only=on,file.filename=%s", path("r")), &writable,
                "Block node is read-only");
    must_refuse(text("image-opts:driver=raw,file.force-share=on,file.filename=%s", path("r")), &writable,
                "force-share=on can only be used with read-only images");
    must_refuse("image-opts:driver=copy-on-read,file.driver=null-co", NULL, "Block node is read-only");
}

/* --- names in images ------------------------------------------------------------------------------------ */

static void names_in_images_need_to_be_allowed(void **state)
{
    const struct byre_open_options allowed = { .protocol_backing = true };
    struct byre_disk *disk;

    (void)state;
    write_file(path("base"), "bbbb", 4);
    make_image(path("json"), M, 0, text("json:{'file':{'filename':'%s'}}", path("base")), "raw");
    make_image(path("file"), M, 0, text("file:%s", path("base")), "raw");
    make_image(path("list"), M, 0, text("image-opts:file.filename=%s", path("base")), "raw");
    must_refuse(path("json"), NULL, "backing files can only be named by a path\nUse --allow-backing=protocol");
    for (int i = 0; i < 2; i++) {
        bool is_json = i > 0;
        const char *name = path(is_json ? "json" : "file");

        disk = open_with(name, is_json ? &allowed : NULL);
        expect(disk, 0, 4, 'b');
        close_disk(disk);
    }
    must_refuse(path("list"), &allowed, "Unknown protocol 'image-opts'");
    /* what the user says of the backing file takes its place */
    disk = open_disk(text("image-opts:driver=qcow2,file.filename=%s,backing.file.filename=%s", path("json"),
                          path("base")), false);
    expect(disk, 0, 4, 'b');
    close_disk(disk);
}

/* The images below are images, too, whoever named the first one. */
static void names_below_a_name_of_the_user_need_to_be_allowed(void **state)
{
    (void)state;
    write_file(path("base"), "bbbb", 4);
    make_image(path("json"), M, 0, text("json:{'file':{'filename':'%s'}}", path("base")), "raw");
    must_refuse(text("image-opts:driver=raw,file.driver=qcow2,file.file.filename=%s", path("json")), NULL,
                "backing files can only be named by a path");
    must_refuse(text("image-opts:driver=qcow2,file.filename=%s,backing.driver=qcow2,backing.file.filename=%s",
                     path("json"), path("json")), NULL, "infinite loop");
}

static void chains_of_json_names_end(void **state)
{
    const struct byre_open_options allowed = { .protocol_backing = true };

    (void)state;
    make_image(path("loop"), M, 4096, text("json:{'file':{'filename':'%s'}}", path("loop")), "qcow2");
    must_refuse(path("loop"), &allowed, "creates an infinite loop");
    make_image(path("deep"), M, 4096,
               text("json:{'driver':'raw','file':{'driver':'qcow2','file':{'filename':'%s'}}}", path("deep")), "raw");
    must_refuse(path("deep"), &allowed, "infinite loop");
}

static void backing_is_taken_from_options(void **state)
{
    struct byre_disk *disk;

    (void)state;
    write_file(path("one"), "1111", 4);
    write_file(path("two"), "2222222", 7);
    make_image(path("top"), M, 0, path("one"), "raw");
    disk = open_disk(text("json:{'driver':'qcow2','file':{'filename':'%s'},'backing':{'driver':'raw','offset':3,"
                          "'file':{'filename':'%s'}}}", path("top"), path("two")), true);
    expect(disk, 0, 4, '2');
    expect(disk, 4, 8, 0);
    must(byre_write_zeroes(disk, 0, 65536, 0, err));
    expect(disk, 0, 65536, 0);
    close_disk(disk);
    disk = open_disk(text("json:{'driver':'qcow2','file':{'filename':'%s'},'backing':null}", path("top")), false);
    assert_int_equal(byre_layer_count(disk), 1);
    close_disk(disk);
}

/* An image whose header names nothing: zeros have to hide what the options put below it. */
static void zeros_hide_a_backing_that_no_header_names(void **state)
{
    struct byre_disk *disk;
    const char *name;

    (void)state;
    write_file(path("one"), "1111", 4);
    make_image(path("top"), M, 0, NULL, NULL);
    name = text("json:{'driver':'qcow2','file':{'filename':'%s'},'backing':{'driver':'raw','file':{'filename':'%s'}}}",
                path("top"), path("one"));
    disk = open_disk(name, true);
    expect(disk, 0, 4, '1');
    must(byre_write_zeroes(disk, 0, 65536, BYRE_WRITE_ZEROES_UNMAP, err));
    expect(disk, 0, 65536, 0);
    close_disk(disk);
}

/* --- filters -------------------------------------------------------------------------------------------- */

static void copy_on_read_brings_up_what_is_read(void **state)
{
    const struct byre_open_options options = { .writable = true, .copy_on_read = true };
    struct byre_disk *disk;

    (void)state;
    make_image(path("base"), M, 4096, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, M / 2, 'b');
    close_disk(disk);
    make_image(path("top"), M, 4096, "base", "qcow2");
    for (int i = 0; i < 2; i++) {
        disk = i ? open_disk(text("image-opts:driver=copy-on-read,file.driver=qcow2,file.file.filename=%s",
                                  path("top")), true) : open_with(path("top"), &options);
        put(disk, 4096, 4096, 't');
        expect(disk, 0, 4096, 'b');
        expect(disk, 4096, 4096, 't');
        expect(disk, M - 4096, 4096, 0);
        assert_int_equal(kind_at(disk, 0), BYRE_EXTENT_DATA);
        assert_int_equal(kind_at(disk, M - 4096), BYRE_EXTENT_ZERO);
        assert_int_equal(kind_at(disk, 8192), BYRE_EXTENT_HOLE);
        close_disk(disk);
    }
    must_refuse(path("top"), &(struct byre_open_options){ .copy_on_read = true }, "copy-on-read on read-only");
}

/* Bringing up is no part of what was asked for. */
static void copy_on_read_goes_on_reading_when_it_cannot_write(void **state)
{
    const struct byre_open_options options = { .writable = true, .copy_on_read = true };
    struct byre_disk *disk;

    (void)state;
    make_image(path("base"), M, 4096, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, M / 2, 'b');
    close_disk(disk);
    make_image(path("top"), M, 4096, "base", "qcow2");
    disk = open_with(text("image-opts:driver=qcow2,file.driver=blkdebug,file.image.filename=%s,"
                          "file.inject-error.0.event=flush_to_disk,file.inject-error.0.iotype=flush", path("top")),
                     &options);
    put(disk, 4096, 4096, 't');
    assert_int_equal(byre_flush(disk, NULL), -EIO);
    assert_int_equal(byre_pwrite(disk, "x", 1, 0, NULL), -EROFS);
    expect(disk, 0, 4096, 'b');
    expect(disk, 4096, 4096, 't');
    assert_int_equal(kind_at(disk, 0), BYRE_EXTENT_HOLE);
    byre_close(disk, NULL);
}

static void detect_zeroes_turns_writes_into_zeroes(void **state)
{
    struct byre_open_options options = { .writable = true, .detect_zeroes = BYRE_DETECT_ZEROES_ON };
    struct byre_disk *disk;

    (void)state;
    make_image(path("q"), M, 4096, NULL, NULL);
    disk = open_disk(path("q"), true);
    put(disk, 0, 16384, 'a');
    put(disk, 0, 4096, 0);
    assert_int_equal(kind_at(disk, 0), BYRE_EXTENT_DATA);
    close_disk(disk);
    disk = open_with(path("q"), &options);
    put(disk, 4096, 4096, 0);
    assert_int_equal(kind_at(disk, 4096), BYRE_EXTENT_ZERO);
    expect(disk, 4096, 4096, 0);
    expect(disk, 8192, 4096, 'a');
    close_disk(disk);
    disk = open_disk(text("image-opts:driver=qcow2,detect-zeroes=unmap,discard=unmap,file.filename=%s", path("q")),
                     true);
    put(disk, 8192, 4096, 0);
    assert_int_equal(kind_at(disk, 8192), BYRE_EXTENT_ZERO);
    expect(disk, 12288, 4096, 'a');
    close_disk(disk);
}

static void compress_writes_whole_clusters_compressed(void **state)
{
    struct byre_disk *disk;
    uint8_t noise[4096];

    (void)state;
    random_start();
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)random_below(256);
    make_image(path("q"), M - 1024, 4096, NULL, NULL);
    disk = open_disk(text("image-opts:driver=compress,file.driver=qcow2,file.file.filename=%s", path("q")), true);
    put(disk, 1000, 12000, 'c'); /* a part, two whole ones, a part */
    assert_int_equal(kind_at(disk, 0), BYRE_EXTENT_DATA);
    assert_int_equal(kind_at(disk, 4096), BYRE_EXTENT_COMPRESSED);
    assert_int_equal(kind_at(disk, 8192), BYRE_EXTENT_COMPRESSED);
    assert_int_equal(kind_at(disk, 12288), BYRE_EXTENT_DATA);
    put(disk, 4096, 4096, 'd');
    must(byre_pwrite(disk, noise, sizeof noise, 65536, err));
    put(disk, M - 4096, 3072, 'e');
    assert_int_equal(kind_at(disk, 65536), BYRE_EXTENT_DATA);
    assert_int_equal(kind_at(disk, M - 4096), BYRE_EXTENT_COMPRESSED);
    expect(disk, 0, 1000, 0);
    expect(disk, 1000, 3096, 'c');
    expect(disk, 4096, 4096, 'd');
    expect(disk, 8192, 4808, 'c');
    expect(disk, M - 4096, 3072, 'e');
    close_disk(disk);
    must_refuse("image-opts:driver=compress,file.driver=raw,file.file.driver=null-co", NULL,
                "Compression is not supported for underlying format: raw");
}

static void discard_is_ignored_where_options_say_so(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("q"), M, 4096, NULL, NULL);
    disk = open_disk(text("image-opts:driver=qcow2,discard=ignore,file.filename=%s", path("q")), true);
    put(disk, 0, 8192, 'a');
    must(byre_discard(disk, 0, 4096, err));
    expect(disk, 0, 8192, 'a');
    close_disk(disk);
    disk = open_disk(text("image-opts:driver=qcow2,discard=unmap,file.filename=%s", path("q")), true);
    must(byre_discard(disk, 0, 4096, err));
    expect(disk, 0, 4096, 0);
    expect(disk, 4096, 4096, 'a');
    close_disk(disk);
}

/* The dirty bit tells that refcounts may lag. */
static void lazy_refcounts_can_be_asked_for(void **state)
{
    struct byre_disk *disk;
    uint8_t features[8];

    (void)state;
    make_image(path("q"), M, 4096, NULL, NULL);
    for (int lazy = 0; lazy < 2; lazy++) {
        disk = open_disk(text("image-opts:driver=qcow2,lazy-refcounts=%s,file.filename=%s", lazy ? "on" : "off",
                              path("q")), true);
        put(disk, lazy ? 8192 : 0, 4096, 'a');
        must(byre_flush(disk, err));
        must(byre_store_pread(disk->layers[0].store, features, 8, 72, err));
        assert_int_equal(features[7] & 1, lazy);
        close_disk(disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nodes_stand_on_each_other),
        TEST(qcow2_lives_in_a_slice),
        TEST(names_are_short_where_there_are_short_ones),
        TEST(options_that_nobody_knows_are_refused),
        TEST(read_only_nodes_are_not_written_to),
        TEST(names_in_images_need_to_be_allowed),
        TEST(names_below_a_name_of_the_user_need_to_be_allowed),
        TEST(chains_of_json_names_end),
        TEST(backing_is_taken_from_options),
        TEST(zeros_hide_a_backing_that_no_header_names),
        TEST(copy_on_read_brings_up_what_is_read),
        TEST(copy_on_read_goes_on_reading_when_it_cannot_write),
        TEST(detect_zeroes_turns_writes_into_zeroes),
        TEST(compress_writes_whole_clusters_compressed),
        TEST(discard_is_ignored_where_options_say_so),
        TEST(lazy_refcounts_can_be_asked_for),
    };

    return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
