/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories of FAT of which a part cannot be read, and those that somebody made to cost much.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk_fixture.h"
#include "fat_fixture.h"
#include "volume/fat.h"

/* --- what cannot be read ------------------------------------------------------------------------------------ */

/* "DIR" with files F10...F99, 16 entries a sector: the second one, that with F24...F39, is bad. */
static uint64_t make_directory(void)
{
    uint64_t directory;

    run("truncate -s 20M disk && mkfs.fat -F 16 -s 8 disk && mmd -i disk ::DIR");
    directory = data_offset();
    for (unsigned i = 10; i < 100; i++) {
        char name[12];

        snprintf(name, sizeof name, "F%-10u", i);
        put_file(directory + (i - 8) * 32, name, 0x20, 0, 0);
    }
    return directory;
}

static void make_bad(uint64_t from, uint64_t length)
{
    watched.bad_from = from;
    watched.bad_end = from + length;
}

static int lookup(struct opened *opened, const char *name, struct byre_error *err)
{
    uint64_t id;

    return byre_files_find(opened->files, name, 0, &id, err);
}

static void sound_sectors_of_a_directory_are_listed_and_then_the_error(void **state)
{
    static struct names list;
    struct byre_error error = BYRE_ERROR_INIT;
    struct opened opened;
    uint64_t directory;

    (void)state;
    directory = make_directory();
    for (unsigned limit = 0; limit < 80; limit = limit * 3 + 1) { /* the error is not lost between two calls */
        open_watched(&opened, directory + 512, 512);
        list.limit = limit;
        assert_int_equal(list_names(&opened, "DIR", &list, &error), -EIO);
        assert_int_equal(list.count, 90 - 16);
        assert_int_equal(strncmp(list.text, "F10\n", 4), 0);
        assert_non_null(strstr(list.text, "F23\nF40\n"));
        assert_non_null(strstr(list.text, "F99\n"));
        make_bad(0, 0);
        must(list_names(&opened, "DIR", &list, err));
        assert_int_equal(list.count, 90);
        close_watched(&opened);
    }
}

static void names_in_sound_sectors_are_found(void **state)
{
    struct opened opened;
    uint64_t directory;

    (void)state;
    directory = make_directory();
    open_watched(&opened, directory + 512, 512);
    for (unsigned round = 0; round < 2; round++) {
        must(lookup(&opened, "DIR/F10", err));
        must(lookup(&opened, "DIR/F23", err));
        must(lookup(&opened, "DIR/f40", err));
        must(lookup(&opened, "DIR/F99", err));
        assert_int_equal(lookup(&opened, "DIR/F24", NULL), -EIO);
        assert_int_equal(lookup(&opened, "DIR/nothing", NULL), -EIO);
    }
    make_bad(0, 0); /* and when it can be read again, it is */
    must(lookup(&opened, "DIR/F24", err));
    assert_int_equal(lookup(&opened, "DIR/nothing", NULL), -ENOENT);
    make_bad(directory, 4096);
    assert_int_equal(lookup(&opened, "DIR/F24", NULL), -EIO);
    close_watched(&opened);
}

static void long_name_with_a_part_in_a_bad_sector_gives_way_to_the_short_one(void **state)
{
    static struct names list;
    struct opened opened;
    uint8_t parts[96];

    (void)state;
    run("truncate -s 20M disk && mkfs.fat -F 16 -s 8 disk && mmd -i disk ::DIR && for i in $(seq 13); do echo >n$i && "
        "mcopy -i disk n$i ::DIR/N$i; done && echo >'a long name of parts' && mcopy -i disk a* ::DIR");
    open_watched(&opened, 0, 0);
    must(list_names(&opened, "DIR", &list, err));
    assert_non_null(strstr(list.text, "N13\na long name of parts\n"));
    make_bad(data_offset(), 512);
    assert_int_equal(list_names(&opened, "DIR", &list, NULL), -EIO);
    assert_string_equal(list.text, "ALONGN~1\n");
    close_watched(&opened);
    /* its parts are moved: one before a bad sector, one behind it with the short entry */
    peek(data_offset() + 15 * 32, parts, sizeof parts);
    poke(data_offset() + 32 * 32, parts + 32, 64);
    open_watched(&opened, data_offset() + 512, 512);
    assert_int_equal(list_names(&opened, "DIR", &list, NULL), -EIO);
    assert_non_null(strstr(list.text, "N13\nALONGN~1\n"));
    close_watched(&opened);
}

/* The FAT says where a directory goes on: what comes before that is there. */
static void directory_whose_chain_cannot_be_read_shows_its_beginning(void **state)
{
    static struct names list;
    struct opened opened;

    (void)state;
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 -f 1 -a disk && mmd -i disk ::DIR && mkdir many && cd many && "
        "for i in $(seq 50); do echo >N$i; done && cd .. && mcopy -i disk many/* ::DIR");
    put_link(16, 2, 800); /* what was the second cluster is lost, and 800 is in another sector */
    put_link(16, 800, 3);
    run("dd if=disk of=copy bs=512 skip=$((%llu)) count=1 && dd if=copy of=disk bs=512 seek=$((%llu)) conv=notrunc",
        (unsigned long long)(data_offset()) / 512, (unsigned long long)(data_offset()) / 512 + 798);
    open_watched(&opened, table_offset() + 3 * 512, 512);
    assert_int_equal(list_names(&opened, "DIR", &list, NULL), -EIO);
    assert_int_equal(list.count, 14 + 14);
    must(lookup(&opened, "DIR/N1", err));
    assert_int_equal(lookup(&opened, "DIR/nothing", NULL), -EIO);
    make_bad(0, 0);
    must(list_names(&opened, "DIR", &list, err));
    assert_int_equal(lookup(&opened, "DIR/nothing", NULL), -ENOENT);
    close_watched(&opened);
}

/* --- what costs much ---------------------------------------------------------------------------------------- */

#define ENTRIES 65535u /* and a zero */

/* "DIR" is as large as can be, and full of entries that `name_of` names. */
static uint64_t make_full_directory(void (*name_of)(unsigned number, char *name))
{
    uint8_t *entries = calloc(ENTRIES + 1, 32);
    uint64_t directory;

    assert_non_null(entries);
    run("truncate -s 300M disk && mkfs.fat -F 16 -s 128 disk");
    directory = data_offset();
    for (unsigned i = 0; i < ENTRIES; i++) {
        char name[12];

        name_of(i, name);
        memcpy(entries + i * 32, name, 11);
    }
    poke(directory, entries, (ENTRIES + 1) * 32);
    free(entries);
    for (unsigned cluster = 2; cluster < 2 + 32; cluster++)
        put_link(16, cluster, cluster < 33 ? cluster + 1 : 0xffff);
    put_file(root_offset(), "DIR        ", 0x10, 2, 0);
    return directory;
}

static void same_name(unsigned number, char *name)
{
    (void)number;
    memcpy(name, "SAME    TXT", 12);
}

static void other_name(unsigned number, char *name)
{
    snprintf(name, 12, "N%-10u", number);
}

static void equal_names_cost_no_more_than_others(void **state)
{
    static void (*const names[])(unsigned number, char *name) = { other_name, same_name };
    static const char *const asked[] = { "DIR/N0", "DIR/SAME.TXT" };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        uint64_t directory = make_full_directory(names[i]);
        struct opened opened;
        unsigned reads;

        open_watched(&opened, 0, 0);
        assert_int_equal(find(&opened, asked[i]), directory / 32);
        assert_in_range(((struct byre_fat *)opened.files)->steps, ENTRIES, 8 * ENTRIES);
        reads = watched.reads;
        assert_int_equal(find(&opened, asked[i]), directory / 32); /* the first one */
        assert_int_equal(lookup(&opened, "dir/same.txt", NULL), i ? 0 : -ENOENT);
        assert_int_equal(lookup(&opened, "DIR/nothing", NULL), -ENOENT);
        assert_true(watched.reads - reads < 30);
        close_watched(&opened);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sound_sectors_of_a_directory_are_listed_and_then_the_error),
        TEST(names_in_sound_sectors_are_found),
        TEST(long_name_with_a_part_in_a_bad_sector_gives_way_to_the_short_one),
        TEST(directory_whose_chain_cannot_be_read_shows_its_beginning),
        TEST(equal_names_cost_no_more_than_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
