/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies on a range of a disk: its type, label and UUID, whether byre reads it or not; texts that are not what they
 * should be.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk_fixture.h"
#include "ext_fixture.h"
#include "volume/found.h"

#define START (1u << 20) /* of the range, in a disk of twice its size */
#define BYTES (8u << 20)

/* Puts the file `part` in the middle of a disk, and asks. */
static struct byre_files_found probe_part(struct byre_disk **ret_disk)
{
    const struct byre_open_options options = { .format = "raw" };
    struct byre_files_found found;

    run("truncate -s %u part && rm -f disk && truncate -s %u disk && dd if=part of=disk bs=1M seek=1 conv=notrunc",
        BYTES, 2 * BYTES);
    must(byre_open(path("disk"), &options, ret_disk, err));
    must(byre_files_probe(*ret_disk, START, BYTES, &found, err));
    return found;
}

static void is_found(const char *type, const char *label, const char *uuid, bool supported)
{
    struct byre_disk *disk;
    struct byre_files_found found = probe_part(&disk);

    assert_string_equal(found.type, type);
    assert_string_equal(found.label, label);
    assert_string_equal(found.uuid, uuid);
    assert_int_equal(found.supported, supported);
    if (!supported) {
        struct byre_error error = BYRE_ERROR_INIT;
        struct byre_files *files;
        char text[100];

        assert_int_equal(byre_files_open(disk, START, BYTES, &files, &error), -ENOTSUP);
        snprintf(text, sizeof text, "it holds %s, which byre does not read", type);
        assert_string_equal(error.text, *type ? text : "there is no file system that is known");
    }
    close_disk(disk);
}

static void ext_is_found_with_label_and_uuid(void **state)
{
    static const char *const types[] = { "ext2", "ext3", "ext4" };

    (void)state;
    skip_without_ext();
    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        run("rm -f part && mke2fs -q -F -t %s -L 'Gr\303\266\303\237e' -U 01234567-89ab-cdef-0123-456789abcdef part 8M",
            types[i]);
        is_found(types[i], "Gr\303\266\303\237e", "01234567-89ab-cdef-0123-456789abcdef", true);
    }
    run("rm -f part && mke2fs -q -F -t ext2 -O extents part 8M && debugfs -w -R 'ssv uuid clear' part");
    is_found("ext4", "", "", true);
}

static void what_byre_does_not_read_is_named(void **state)
{
    static const uint8_t descriptor[] = { 1, 'C', 'D', '0', '0', '1', 1 };
    static uint8_t zeros[4096];

    (void)state;
#ifndef HAVE_BLKID
    skip();
#endif
    run("rm -f part && truncate -s %u part && mkswap -L swapped -U 01234567-89ab-cdef-0123-456789abcdef part", BYTES);
    is_found("swap", "swapped", "01234567-89ab-cdef-0123-456789abcdef", false);
    write_file(path("part"), zeros, sizeof zeros);
    run("truncate -s 32768 part");
    write_file(path("end"), descriptor, sizeof descriptor);
    run("cat end >>part");
    is_found("iso9660", "", "", false);
    /* a journal of its own, which is like a file system of ext */
    run("rm -f part && mke2fs -q -F -O journal_dev -L journal -U 01234567-89ab-cdef-0123-456789abcdef part 8M");
    is_found("jbd", "journal", "01234567-89ab-cdef-0123-456789abcdef", false);
}

static void nothing_known_is_no_error(void **state)
{
    struct byre_files_found found;
    struct byre_disk *disk;

    (void)state;
    run("rm -f part && truncate -s %u part", BYTES);
    is_found("", "", "", false);
    probe_part(&disk);
    must(byre_files_probe(disk, START, 0, &found, err));
    must(byre_files_probe(disk, START, UINT64_MAX - START, &found, err));
    must(byre_files_probe(disk, UINT64_MAX - 5, 5, &found, err));
    must(byre_files_probe(disk, 2 * BYTES - 100, 5000, &found, err));
    assert_string_equal(found.type, "");
    close_disk(disk);
}

static void texts_are_made_of_whole_characters(void **state)
{
    static const struct {
        const char *from, *to;
    } texts[] = {
        { "plain", "plain" },
        { "", "" },
        { "\303\266\342\202\254\360\237\230\200", "\303\266\342\202\254\360\237\230\200" },
        { "a\303", "a?" },
        { "\377\300\257\355\240\200\033", "???" "???" "?" },
        { "\364\220\200\200", "????" },
        { "\177\302\200\302\237\302\240", "?????\302\240" },
    };
    char to[64], uuid[37];

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
        byre_found_text(to, sizeof to, texts[i].from, strlen(texts[i].from));
        assert_string_equal(to, texts[i].to);
    }
    byre_found_text(to, sizeof to, "ab\0cd", 5);
    assert_string_equal(to, "ab");
    byre_found_text(to, 4, "ab\342\202\254", 5);
    assert_string_equal(to, "ab");
    byre_found_text(to, 6, "ab\342\202\254", 5);
    assert_string_equal(to, "ab\342\202\254");
    byre_found_uuid(uuid, (const uint8_t[16]){ 0xab, [15] = 1 });
    assert_string_equal(uuid, "ab000000-0000-0000-0000-000000000001");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ext_is_found_with_label_and_uuid),
        TEST(what_byre_does_not_read_is_named),
        TEST(nothing_known_is_no_error),
        TEST(texts_are_made_of_whole_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
