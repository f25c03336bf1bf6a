/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Damaged FAT file systems: each kind of damage has its error, in the file that it is in and in no other; and boot
 * sectors of others are not taken for FAT.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk_fixture.h"
#include "fat_fixture.h"

#define CLUSTER 512u

/* FAT16 with "file" of six clusters from 2 on, "other" of one, 8, and "dir", 9, with "inside", 10. */
static void make_fat16(void)
{
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 -f 1 -a disk");
    make_file("file", 1, 6 * CLUSTER);
    make_file("other", 2, 100);
    run("mcopy -i disk file ::FILE && mcopy -i disk other ::OTHER && mmd -i disk ::DIR && "
        "mcopy -i disk other ::DIR/INSIDE");
}

static uint64_t cluster_offset(unsigned cluster)
{
    return data_offset() + (uint64_t)(cluster - 2) * CLUSTER;
}

static void set_link(unsigned cluster, uint16_t link)
{
    const uint8_t bytes[2] = { (uint8_t)link, (uint8_t)(link >> 8) };

    poke(table_offset() + 2 * cluster, bytes, 2);
}

static int read_at(struct opened *opened, const char *name, uint64_t offset, size_t length, struct byre_error *err)
{
    uint8_t bytes[8 * CLUSTER];
    size_t got;

    return byre_files_read(opened->files, find(opened, name), bytes, length, offset, &got, err);
}

/* "file" can be read up to `good` bytes, and not behind that; the others are as they were. */
static void is_good_up_to(size_t good, const char *message)
{
    struct byre_error error = BYRE_ERROR_INIT;
    struct opened opened;

    open_files(&opened);
    if (good)
        must(read_at(&opened, "FILE", 0, good, err));
    assert_int_equal(read_at(&opened, "FILE", good, 1, &error), -EIO);
    assert_string_equal(error.text, message);
    assert_int_equal(read_at(&opened, "FILE", 0, good + 1, NULL), -EIO);
    assert_int_equal(read_at(&opened, "FILE", 6 * CLUSTER - 1, 1, NULL), -EIO);
    must(read_at(&opened, "FILE", 6 * CLUSTER, 1, err));
    has_contents(&opened, "OTHER", 2, 100);
    has_contents(&opened, "DIR/INSIDE", 2, 100);
    close_files(&opened);
}

static void chains_that_lead_nowhere_are_errors_from_there_on(void **state)
{
    static const struct {
        uint16_t link;
        const char *message;
    } links[] = {
        { 0, "its cluster chain leads to a free cluster" },
        { 0xfff7, "its cluster chain leads to a bad cluster" },
        { 1, "its cluster chain leads to a cluster that does not exist" },
        { 0xfff0, "its cluster chain leads to a cluster that does not exist" },
        { 0xfff8, "its cluster chain is too short for its size" },
        { 0xffff, "its cluster chain is too short for its size" },
    };

    (void)state;
    make_fat16();
    for (unsigned i = 0; i < ARRAY_LEN(links); i++) {
        set_link(4, links[i].link);
        is_good_up_to(3 * CLUSTER, links[i].message);
    }
}

static void chains_that_are_loops_are_not_read(void **state)
{
    struct opened opened;

    (void)state;
    random_start();
    make_fat16();
    for (unsigned last = 2; last <= 7; last++) {
        for (unsigned back = 2; back <= last; back++) {
            set_link(last, (uint16_t)back);
            if (last < 7) {
                is_good_up_to(0, "its cluster chain is a loop");
            } else { /* what its size needs is no loop */
                open_files(&opened);
                has_contents(&opened, "FILE", 1, 6 * CLUSTER);
                close_files(&opened);
            }
            set_link(last, last == 7 ? 0xffff : (uint16_t)(last + 1));
        }
    }
    set_link(7, 20); /* longer than its size needs is no damage */
    set_link(20, 20);
    open_files(&opened);
    has_contents(&opened, "FILE", 1, 6 * CLUSTER);
    close_files(&opened);
}

static void first_clusters_that_do_not_exist_are_errors(void **state)
{
    static const uint8_t clusters[][2] = { { 0, 0 }, { 1, 0 }, { 0xf0, 0xff }, { 0xff, 0xff } };

    (void)state;
    make_fat16();
    for (unsigned i = 0; i < ARRAY_LEN(clusters); i++) {
        poke(root_offset() + 26, clusters[i], 2);
        is_good_up_to(0, i ? "its first cluster does not exist" : "it has no clusters");
    }
}

/* --- directories ------------------------------------------------------------------------------------------- */

static void directories_that_break_off_show_what_comes_before(void **state)
{
    struct names list = { .limit = 0 };
    struct byre_error error = BYRE_ERROR_INIT;
    struct opened opened;
    uint64_t id;

    (void)state;
    make_fat16();
    run("for i in $(seq 40); do echo $i >n$i && mcopy -i disk n$i ::DIR; done");
    set_link(9, 0);
    open_files(&opened);
    assert_int_equal(list_names(&opened, "DIR", &list, &error), -EIO);
    assert_string_equal(error.text, "its cluster chain leads to a free cluster");
    assert_int_equal(list.count, 14); /* and two for itself and the root: what a cluster holds */
    has_contents(&opened, "DIR/INSIDE", 2, 100);
    assert_int_equal(byre_files_find(opened.files, "DIR/n40", 0, &id, &error), -EIO);
    assert_string_equal(error.text, "its cluster chain leads to a free cluster");
    close_files(&opened);

    set_link(9, 9);
    open_files(&opened);
    assert_int_equal(list_names(&opened, "DIR", &list, &error), -EIO);
    assert_int_equal(list.count, 0);
    assert_int_equal(byre_files_find(opened.files, "DIR/INSIDE", 0, &id, NULL), -EIO);
    has_contents(&opened, "FILE", 1, 6 * CLUSTER);
    close_files(&opened);
}

static void a_directory_that_leads_to_the_root_is_an_error(void **state)
{
    struct names list = { .limit = 0 };
    struct opened opened;
    uint8_t boot[512];
    uint64_t entry;

    (void)state;
    run("truncate -s 40M disk && mkfs.fat -F 32 -s 1 disk && mmd -i disk ::DIR ::OK");
    peek(0, boot, sizeof boot);
    entry = (byre_get_le16(boot + 14) + (uint64_t)boot[16] * byre_get_le32(boot + 36)) * 512;
    poke(entry + 26, "\2", 1);
    open_files(&opened);
    assert_int_equal(list_names(&opened, "DIR", &list, NULL), -EIO);
    must(list_names(&opened, "OK", &list, err));
    close_files(&opened);
}

/* --- long names -------------------------------------------------------------------------------------------- */

/* The parts of a long name in the root directory, from slot `slot` on, with a short entry behind them. */
static void put_long(unsigned slot, const uint16_t *units, unsigned count, const char *short_name)
{
    static const uint8_t places[] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    unsigned parts = (count + 12) / 13;
    uint8_t entry[32], sum = 0;

    for (unsigned i = 0; i < 11; i++)
        sum = (uint8_t)((sum << 7 | sum >> 1) + (uint8_t)short_name[i]);
    for (unsigned part = parts; part > 0; part--) {
        memset(entry, 0, sizeof entry);
        entry[0] = (uint8_t)(part | (part == parts ? 0x40 : 0));
        entry[11] = 0x0f;
        entry[13] = sum;
        for (unsigned i = 0; i < 13; i++) {
            unsigned at = (part - 1) * 13 + i, unit = at < count ? units[at] : at == count ? 0 : 0xffff;

            entry[places[i]] = (uint8_t)unit;
            entry[places[i] + 1] = (uint8_t)(unit >> 8);
        }
        poke(root_offset() + 32 * slot++, entry, sizeof entry);
    }
    memset(entry, 0, sizeof entry);
    memcpy(entry, short_name, 11);
    poke(root_offset() + 32 * slot, entry, sizeof entry);
}

static void is_listed_as(const char *expected)
{
    struct names list = { .limit = 0 };
    struct opened opened;

    open_files(&opened);
    must(list_names(&opened, "/", &list, err));
    assert_string_equal(list.text, expected);
    for (char *name = strtok(list.text, "\n"); name; name = strtok(NULL, "\n"))
        find(&opened, name);
    close_files(&opened);
}

static void long_names_become_utf8(void **state)
{
    static const uint16_t cow[] = { 0xd83d, 0xdc04, '.', 't', 'x', 't' };
    static const uint16_t halves[] = { 0xdc04, 'a', 0xd83d, 'b', 0xd83d };
    static const uint16_t dots[] = { '.', '.' }, slash[] = { 'a', '/', 'b' }, line[] = { 'a', '\n', 'b' };
    uint16_t longest[255 + 5];
    char expected[1000] = "";

    (void)state;
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 -f 1 -a disk");
    put_long(0, cow, 6, "COW     TXT");
    is_listed_as("🐄.txt\n");
    put_long(0, halves, 5, "COW     TXT");
    is_listed_as("\xef\xbf\xbd" "a\xef\xbf\xbd" "b\xef\xbf\xbd\n");
    put_long(0, dots, 2, "DOTS       ");
    is_listed_as("DOTS\n");
    put_long(0, slash, 3, "SLASH      ");
    is_listed_as("SLASH\n");
    put_long(0, line, 3, "LINE       ");
    is_listed_as("LINE\n");
    for (unsigned i = 0; i < 260; i++)
        longest[i] = 0x3042;
    for (unsigned i = 0; i < 255; i++)
        strcat(expected, "あ");
    put_long(0, longest, 255, "LONGEST    ");
    is_listed_as(strcat(expected, "\n"));
    put_long(0, longest, 260, "LONGEST    ");
    is_listed_as("LONGEST\n");
}

/* Of three parts and a short entry, one byte is changed. */
static void long_names_that_do_not_fit_give_way_to_the_short_one(void **state)
{
    static const struct {
        uint8_t slot, place, byte;
    } changes[] = {
        { 0, 0, 0x44 }, { 0, 0, 0x03 }, { 0, 0, 0xe5 }, { 0, 13, 0x77 }, { 1, 0, 0x03 }, { 1, 0, 0x42 },
        { 1, 13, 0x77 }, { 1, 0, 0xe5 }, { 2, 0, 0x00 }, { 2, 0, 0x41 },
        { 2, 13, 0x77 }, { 3, 0, 'Z' }, { 1, 11, 0x20 },
    };
    uint16_t units[30];

    (void)state;
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 -f 1 -a disk");
    for (unsigned i = 0; i < 30; i++)
        units[i] = (uint16_t)('a' + i % 26);
    put_long(0, units, 30, "SHORT   TXT");
    is_listed_as("abcdefghijklmnopqrstuvwxyzabcd\n");
    for (unsigned i = 0; i < ARRAY_LEN(changes); i++) {
        put_long(0, units, 30, "SHORT   TXT");
        poke(root_offset() + 32 * changes[i].slot + changes[i].place, &changes[i].byte, 1);
        if (changes[i].slot == 2 && changes[i].byte == 0)
            is_listed_as(""); /* the end of the directory */
        else if (changes[i].byte == 0x42)
            is_listed_as("abcdefghijklmnopqrstuvwxyz\n"); /* a name of two parts */
        else if (changes[i].slot == 2 && changes[i].byte == 0x41)
            is_listed_as("abcdefghijklm\n"); /* a name of one part, after one that does not count */
        else
            is_listed_as(changes[i].byte == 'Z' ? "ZHORT.TXT\n" : "SHORT.TXT\n");
    }
}

/* --- the volume -------------------------------------------------------------------------------------------- */

static void warns(const char *warning)
{
    struct opened opened;

    open_files(&opened);
    if (warning)
        assert_string_equal(byre_files_warning(opened.files), warning);
    else
        assert_null(byre_files_warning(opened.files));
    close_files(&opened);
}

static void unclean_volumes_are_told(void **state)
{
    const uint8_t counts[8] = { 7, 0, 0, 0, 2, 0, 0, 0 };
    struct byre_files_space space;
    struct opened opened;
    uint64_t counted;

    (void)state;
    make_fat16();
    warns(NULL);
    set_link(1, 0x7fff);
    warns("the FAT file system was not closed properly");
    set_link(1, 0xbfff);
    warns("the FAT file system has noted errors of its disk");
    set_link(1, 0xffff);
    poke(37, "\1", 1);
    warns("the FAT file system was not closed properly");

    run("truncate -s 40M disk && mkfs.fat -F 32 -s 1 disk");
    open_files(&opened);
    must(byre_files_space(opened.files, &space, err));
    counted = space.blocks_free;
    assert_int_equal(counted, space.blocks - 1);
    close_files(&opened);
    poke(512 + 488, counts, 8); /* FSInfo is believed */
    open_files(&opened);
    must(byre_files_space(opened.files, &space, err));
    assert_int_equal(space.blocks_free, 7);
    close_files(&opened);
    poke(table_offset() + 7, "\7", 1); /* but not of a volume in use */
    warns("the FAT file system was not closed properly");
    open_files(&opened);
    must(byre_files_space(opened.files, &space, err));
    assert_int_equal(space.blocks_free, counted);
    close_files(&opened);
}

static int open_error(struct byre_error *err)
{
    const struct byre_open_options options = { .format = "raw" };
    struct byre_files *files;
    struct byre_disk *disk;
    int rc;

    must(byre_open(path("disk"), &options, &disk, err));
    rc = byre_files_open(disk, 0, byre_get_size(disk), &files, err);
    if (rc == 0)
        byre_files_close(files);
    close_disk(disk);
    return rc;
}

static void volumes_beyond_use_are_refused(void **state)
{
    struct byre_error error = BYRE_ERROR_INIT;

    (void)state;
    run("truncate -s 40M disk && mkfs.fat -F 32 -s 1 disk");
    poke(44, "\1", 1);
    assert_int_equal(open_error(&error), -EUCLEAN);
    assert_non_null(strstr(error.text, "cluster 1, which does not exist"));
    poke(44, "\2", 1);
    poke(42, "\1\2", 2);
    assert_int_equal(open_error(&error), -ENOTSUP);
    assert_string_equal(error.text, "version 2.1 of FAT32 is not known");
    poke(42, "\0\0", 2);
    assert_int_equal(open_error(&error), 0);
}

static void what_is_past_the_end_of_the_disk_cannot_be_read(void **state)
{
    struct opened opened;

    (void)state;
    make_fat16();
    assert_int_equal(truncate(path("disk"), (off_t)cluster_offset(5)), 0);
    open_files(&opened);
    must(read_at(&opened, "FILE", 0, 3 * CLUSTER, err));
    assert_int_equal(read_at(&opened, "FILE", 3 * CLUSTER, 1, NULL), -EIO);
    assert_int_equal(read_at(&opened, "OTHER", 0, 1, NULL), -EIO);
    close_files(&opened);
}

static void the_table_that_counts_is_read(void **state)
{
    struct opened opened;
    uint8_t boot[512], links[512];

    (void)state;
    random_start();
    make_file("file", 1, 6 * CLUSTER);
    run("truncate -s 40M disk && mkfs.fat -F 32 -s 1 disk && mcopy -i disk file ::FILE");
    peek(0, boot, sizeof boot);
    memset(links, 0, sizeof links);
    poke(table_offset() + 8, links, sizeof links - 8);
    open_files(&opened);
    assert_int_equal(read_at(&opened, "FILE", CLUSTER, 1, NULL), -EIO);
    close_files(&opened);
    poke(40, "\x81", 1);
    open_files(&opened);
    has_contents(&opened, "FILE", 1, 6 * CLUSTER);
    close_files(&opened);
}

static void sectors_of_others_are_not_taken_for_fat(void **state)
{
    struct byre_error error = BYRE_ERROR_INIT;
    uint8_t boot[512];
    struct {
        unsigned at, length;
        const char *bytes;
    } changes[] = {
        { 3, 8, "NTFS    " }, { 3, 8, "EXFAT   " }, { 3, 8, "-FVE-FS-" }, { 11, 2, "\0\1" }, { 11, 2, "\0\x20" },
        { 11, 2, "\1\2" },    { 13, 1, "\0" },      { 13, 1, "\3" },      { 14, 2, "\0\0" }, { 16, 1, "\0" },
        { 16, 1, "\x20" },    { 17, 2, "\0\0" },    { 17, 2, "\1\2" },    { 21, 1, "\x80" }, { 19, 2, "\7\0" },
        { 22, 2, "\0\0" },    { 54, 8, "HPFS    " }, { 54, 8, "JFS     " },
    };

    (void)state;
    random_start();
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 disk");
    peek(0, boot, sizeof boot);
    for (unsigned i = 0; i < ARRAY_LEN(changes); i++) {
        assert_int_equal(open_error(&error), 0);
        poke(changes[i].at, changes[i].bytes, changes[i].length);
        if (open_error(&error) != -ENOTSUP)
            fail_msg("change %u: %s", i, error.text);
        poke(0, boot, sizeof boot);
    }
    for (unsigned i = 0; i < 3000; i++) { /* code with a jump and a signature, as an MBR has it */
        random_fill(boot, sizeof boot);
        memcpy(boot, "\xeb\x3c\x90", 3);
        memcpy(boot + 510, "\x55\xaa", 2);
        poke(0, boot, sizeof boot);
        assert_int_equal(open_error(NULL), -ENOTSUP);
    }
}

/* --- any byte ---------------------------------------------------------------------------------------------- */

static int walk_entry(void *opaque, const struct byre_files_entry *entry)
{
    struct { uint64_t ids[40]; unsigned count; } *found = opaque;

    assert_true(entry->name[0] && !strchr(entry->name, '/'));
    found->ids[found->count++] = entry->id;
    return found->count == 40;
}

static void walk(struct byre_files *files, uint64_t id, unsigned depth)
{
    struct { uint64_t ids[40]; unsigned count; } found = { .count = 0 };
    static uint8_t bytes[20000];
    struct byre_file file;
    size_t got;

    if (byre_files_stat(files, id, &file, NULL) < 0)
        return;
    if (byre_files_read(files, id, bytes, sizeof bytes, 0, &got, NULL) == 0)
        assert_int_equal(got, MIN(sizeof bytes, file.size));
    if (depth == 0 || !S_ISDIR(file.mode))
        return;
    byre_files_list(files, id, 0, walk_entry, &found, NULL);
    byre_files_lookup(files, id, "some name", &id, NULL);
    for (unsigned i = 0; i < found.count; i++)
        walk(files, found.ids[i], depth - 1);
}

static void any_byte_may_be_wrong(void **state)
{
    static const char *const options[] = { "-F 12", "-F 16 -s 1 -f 1 -a", "-F 32 -s 1 -f 1 -a -R 2" };
    static const char *const sizes[] = { "1440K", "3M", "34M" };

    (void)state;
    random_start();
    for (unsigned kind = 0; kind < 3; kind++) {
        struct byre_files_space space;
        struct opened opened;

        unlink(path("disk"));
        make_file("file", 1, 2000);
        run("truncate -s %s disk && mkfs.fat %s disk && mmd -i disk ::dir ::dir/more && mcopy -i disk file ::file && "
            "mcopy -i disk file '::dir/A long name' && mcopy -i disk file ::dir/more/file", sizes[kind], options[kind]);
        for (unsigned i = 0; i < (getenv("BYRE_LONG") ? 20000 : 1500); i++) {
            uint64_t at = random_below(3) ? random_below(160) : random_below(512), base;
            uint8_t old, byte;
            const struct byre_open_options raw = { .format = "raw" };

            base = i % 4 == 0 ? 0 : i % 4 == 1 ? table_offset() : i % 4 == 2 ? root_offset() : root_offset() + 16384;
            if (kind == 2 && i % 4 > 1)
                base = table_offset() + 68352 * 4 + (i % 4 - 2) * 512; /* about where its directories are */
            peek(base + at, &old, 1);
            byte = random_below(2) ? old ^ (uint8_t)(1u << random_below(8)) : (uint8_t)random_below(256);
            poke(base + at, &byte, 1);
            must(byre_open(path("disk"), &raw, &opened.disk, err));
            if (byre_files_open(opened.disk, 0, byre_get_size(opened.disk), &opened.files, NULL) == 0) {
                walk(opened.files, BYRE_FILES_ROOT, 4);
                if (i % 64 == 0)
                    byre_files_space(opened.files, &space, NULL);
                byre_files_close(opened.files);
            }
            close_disk(opened.disk);
            poke(base + at, &old, 1);
        }
        open_files(&opened);
        has_contents(&opened, "dir/more/file", 1, 2000);
        close_files(&opened);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(chains_that_lead_nowhere_are_errors_from_there_on),
        TEST(chains_that_are_loops_are_not_read),
        TEST(first_clusters_that_do_not_exist_are_errors),
        TEST(directories_that_break_off_show_what_comes_before),
        TEST(a_directory_that_leads_to_the_root_is_an_error),
        TEST(long_names_become_utf8),
        TEST(long_names_that_do_not_fit_give_way_to_the_short_one),
        TEST(unclean_volumes_are_told),
        TEST(volumes_beyond_use_are_refused),
        TEST(what_is_past_the_end_of_the_disk_cannot_be_read),
        TEST(the_table_that_counts_is_read),
        TEST(sectors_of_others_are_not_taken_for_fat),
        TEST(any_byte_may_be_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
