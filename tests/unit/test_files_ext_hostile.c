/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File systems of ext that say there is more than there can be: lists of blocks that lead to themselves, sizes beyond
 * all measure.  Each call ends soon; what is sound in them is what it was.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/endian.h"
#include "disk_fixture.h"
#include "ext_fixture.h"

#define BLOCK   4096u
#define ENTRIES (BLOCK / 4)
#define ROOM    (12 + (uint64_t)ENTRIES + (uint64_t)ENTRIES * ENTRIES + (uint64_t)ENTRIES * ENTRIES * ENTRIES)

static void debugfs_of(const char *commands)
{
    write_file(path("script"), commands, strlen(commands));
    run("debugfs -w -f script disk && ! grep -iE 'error|usage|unknown|not found|invalid' log");
}

static void put_block(uint64_t number, const uint32_t *entries)
{
    int fd = open(path("disk"), O_RDWR | O_CLOEXEC);
    uint8_t bytes[BLOCK];

    assert_true(fd >= 0);
    for (unsigned i = 0; i < ENTRIES; i++)
        byre_put_le32(bytes + (size_t)i * 4, entries[i]);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, (off_t)(number * BLOCK)), sizeof bytes);
    close(fd);
}

static void fill_block(uint64_t number, uint32_t entry, uint32_t last)
{
    uint32_t entries[ENTRIES];

    for (unsigned i = 0; i < ENTRIES; i++)
        entries[i] = entry;
    entries[ENTRIES - 1] = last;
    put_block(number, entries);
}

static void make_empty(const char *options, const char *size)
{
    run("rm -rf tree disk && mkdir -p tree/sub && printf hello >tree/small && echo other >tree/sub/other && "
        "mke2fs -q -F -d tree %s -N 200 disk %s", options, size);
}

/* --- data and holes -------------------------------------------------------------------------------------------- */

enum {
    TOP = 1000, MIDDLE, LOWEST, LAST_MIDDLE, LAST_LOWEST, DATA,
};

/* The file `small` gets three steps of lists, nearly all of them the same, as large as such a file can be. */
static void make_shared_lists(uint32_t entry, uint32_t last)
{
    char commands[512];

    make_empty("-t ext2 -b 4096", "24M");
    fill_block(TOP, MIDDLE, LAST_MIDDLE);
    fill_block(MIDDLE, LOWEST, LOWEST);
    fill_block(LOWEST, entry, entry);
    fill_block(LAST_MIDDLE, LOWEST, LAST_LOWEST);
    fill_block(LAST_LOWEST, entry, last);
    fill_block(DATA, 0x64636261, 0x64636261);
    snprintf(commands, sizeof commands, "sif small size %llu\nsif small block[TIND] %u\n",
             (unsigned long long)(ROOM * BLOCK), TOP);
    debugfs_of(commands);
}

static void a_search_for_a_hole_in_shared_blocks_ends_soon(void **state)
{
    struct opened opened;
    uint64_t id, at;

    (void)state;
    skip_without_ext();
    make_shared_lists(DATA, DATA);
    opened = open_ext();
    id = find_file(opened.files, "small");
    alarm(120);
    must(byre_files_seek(opened.files, id, 0, false, &at, err));
    assert_int_equal(at, BLOCK); /* behind "hello" come lists that are not there */
    must(byre_files_seek(opened.files, id, at, true, &at, err));
    assert_int_equal(at, (ROOM - (uint64_t)ENTRIES * ENTRIES * ENTRIES) * BLOCK);
    must(byre_files_seek(opened.files, id, at, false, &at, err));
    assert_int_equal(at, ROOM * BLOCK);
    close_ext(&opened);
}

/* Holes that take long to see: who goes on, as a copy does, comes to the data at the end of them. */
static void a_search_for_data_goes_on_where_the_last_one_gave_up(void **state)
{
    struct opened opened;
    uint64_t id, at = BLOCK, end = at;
    unsigned turns = 0;

    (void)state;
    skip_without_ext();
    make_shared_lists(0, DATA);
    opened = open_ext();
    id = find_file(opened.files, "small");
    for (;; turns++) {
        uint64_t before = at;

        must(byre_files_seek(opened.files, id, at, true, &at, err));
        must(byre_files_seek(opened.files, id, at, false, &end, err));
        assert_true(at > before);
        if (end > at)
            break;
        assert_int_equal(end, at);
    }
    assert_in_range(turns, 2, 10); /* a million lists that hold nothing */
    assert_int_equal(at, (ROOM - 1) * BLOCK);
    assert_int_equal(end, ROOM * BLOCK);
    close_ext(&opened);
}

/* --- sizes ----------------------------------------------------------------------------------------------------- */

/* Gives `small` a size, and looks for it: 0, or the error. */
static int find_with_size(uint64_t size, struct byre_error *err)
{
    struct byre_file file;
    struct opened opened;
    char commands[64];
    uint64_t id;
    int rc;

    snprintf(commands, sizeof commands, "sif small size %llu\n", (unsigned long long)size);
    debugfs_of(commands);
    opened = open_ext();
    rc = byre_files_find(opened.files, "small", 0, &id, err);
    if (rc == 0)
        rc = byre_files_stat(opened.files, id, &file, err);
    if (rc == 0)
        assert_int_equal(file.size, size);
    close_ext(&opened);
    return rc;
}

static void a_file_larger_than_its_map_is_damaged(void **state)
{
    static const struct {
        const char *options;
        uint64_t room;
    } kinds[] = {
        { "-t ext2 -b 4096", ROOM * BLOCK },
        { "-t ext2 -b 1024", (UINT64_C(12) + 256 + 256 * 256 + 256 * 256 * 256) * 1024 },
        { "-t ext4 -b 4096", UINT64_C(1) << 44 },
        { "-t ext4 -b 1024", UINT64_C(1) << 42 },
    };

    (void)state;
    skip_without_ext();
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        struct byre_error error = BYRE_ERROR_INIT;

        make_empty(kinds[i].options, "24M");
        must(find_with_size(kinds[i].room, err));
        assert_int_equal(find_with_size(kinds[i].room + 1, &error), -EUCLEAN);
        assert_non_null(strstr(error.text, "i_size is "));
        assert_non_null(strstr(error.text, "inode "));
    }
}

/* --- directories ----------------------------------------------------------------------------------------------- */

static int count_entry(void *opaque, const struct byre_files_entry *entry)
{
    (void)entry;
    ++*(unsigned *)opaque;
    return 0;
}

/* An ext2 directory keeps something else where a file has the upper half of its size, and so does one of ext4. */
static void the_upper_half_of_the_size_is_none_of_a_directory(void **state)
{
    static const char *const options[] = { "-t ext2 -b 4096", "-t ext4 -b 4096" };

    (void)state;
    skip_without_ext();
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        unsigned count = 0;
        struct opened opened;
        struct byre_file file;

        make_empty(options[i], "24M");
        debugfs_of("sif sub size_hi 1\n");
        opened = open_ext();
        must(byre_files_stat(opened.files, find_file(opened.files, "sub"), &file, err));
        assert_int_equal(file.size, BLOCK);
        must(byre_files_list(opened.files, file.id, 0, count_entry, &count, err));
        assert_int_equal(count, 1);
        close_ext(&opened);
    }
}

/* `sub` of a file system with large_dir gets this size, and blocks that are all the same from the second one on: one
 * without entries. */
static struct opened open_large(uint64_t size)
{
    uint32_t entries[ENTRIES] = { [1] = BLOCK };
    char commands[256];

    make_empty("-t ext4 -b 4096 -O large_dir,^extents,^metadata_csum,^64bit,^dir_index,^has_journal,^resize_inode",
               "100G");
    fill_block(TOP, MIDDLE, MIDDLE);
    fill_block(MIDDLE, LOWEST, LOWEST);
    fill_block(LOWEST, DATA, DATA);
    put_block(DATA, entries);
    snprintf(commands, sizeof commands,
             "sif sub size %llu\nsif sub block[IND] %u\nsif sub block[DIND] %u\nsif sub block[TIND] %u\n",
             (unsigned long long)size, LOWEST, MIDDLE, TOP);
    debugfs_of(commands);
    for (unsigned i = 1; i < 12; i++) {
        snprintf(commands, sizeof commands, "sif sub block[%u] %u\n", i, DATA);
        debugfs_of(commands);
    }
    return open_ext();
}

static void a_directory_of_more_blocks_than_any_is_damaged(void **state)
{
    struct byre_error error = BYRE_ERROR_INIT;
    unsigned count = 0;
    uint64_t id, found;
    struct opened opened;

    (void)state;
    skip_without_ext();
    opened = open_large((UINT64_C(64) << 30) + BLOCK);
    id = find_file(opened.files, "sub");
    assert_int_equal(byre_files_list(opened.files, id, 0, count_entry, &count, &error), -EUCLEAN);
    assert_non_null(strstr(error.text, "inode "));
    assert_non_null(strstr(error.text, "i_size"));
    assert_int_equal(byre_files_lookup(opened.files, id, "other", &found, NULL), -EUCLEAN);
    close_ext(&opened);
}

static void names_are_not_searched_for_in_a_huge_directory_without_an_index(void **state)
{
    struct byre_error error = BYRE_ERROR_INIT;
    unsigned count = 0;
    uint64_t id, found;
    struct opened opened;

    (void)state;
    skip_without_ext();
    opened = open_large(UINT64_C(4) << 30);
    id = find_file(opened.files, "sub");
    must(byre_files_list(opened.files, id, 0, count_entry, &count, err));
    assert_int_equal(count, 1);
    must(byre_files_lookup(opened.files, id, "other", &found, err));
    assert_int_equal(byre_files_lookup(opened.files, id, "missing", &found, NULL), -ENOENT);
    close_ext(&opened);
    opened = open_large((UINT64_C(4) << 30) + BLOCK);
    assert_int_equal(byre_files_lookup(opened.files, id, "missing", &found, &error), -EUCLEAN);
    assert_non_null(strstr(error.text, "inode "));
    assert_non_null(strstr(error.text, "i_size"));
    close_ext(&opened);
}

/* Whatever the superblock says of its size: blocks of a directory are on the disk. */
static void a_directory_larger_than_the_disk_is_damaged(void **state)
{
    struct opened opened;
    uint64_t id, found;

    (void)state;
    skip_without_ext();
    make_empty("-t ext2 -b 4096", "24M");
    debugfs_of("sif sub size 9437184\n");
    run("truncate -s 8M disk");
    opened = open_ext();
    id = find_file(opened.files, "sub");
    assert_int_equal(byre_files_lookup(opened.files, id, "other", &found, NULL), -EUCLEAN);
    must(byre_files_find(opened.files, "small", 0, &found, err));
    close_ext(&opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_search_for_a_hole_in_shared_blocks_ends_soon),
        TEST(a_search_for_data_goes_on_where_the_last_one_gave_up),
        TEST(a_file_larger_than_its_map_is_damaged),
        TEST(the_upper_half_of_the_size_is_none_of_a_directory),
        TEST(a_directory_of_more_blocks_than_any_is_damaged),
        TEST(names_are_not_searched_for_in_a_huge_directory_without_an_index),
        TEST(a_directory_larger_than_the_disk_is_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
