/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Indexes of large directories of ext, by all hashes that there are; and what is done without them.
 *
 * Here a directory says that it is larger than any that is searched without an index, so that what is found there was
 * found by its index.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/endian.h"
#include "disk_fixture.h"
#include "ext_fixture.h"

#define UNSEARCHABLE "0x140000000"
#define FEW          600u
#define MANY         60000u /* for three levels, of blocks of 1 KiB with three names each */
#define BLOCK        1024u

static void debugfs_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void debugfs_of(const char *fmt, ...)
{
    char commands[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(commands, sizeof commands, fmt, args);
    va_end(args);
    write_file(path("script"), commands, strlen(commands));
    run("debugfs -w -f script disk && ! grep -iE 'error|usage|unknown|not found|invalid' log");
}

/* Names as they occur: short and long, of ASCII, UTF-8 and bytes that are no text. */
static void few_name(char name[256], unsigned i)
{
    static const char *const parts[] = { "file", "caf\303\251", "\377\200\201", "\346\227\245\346\234\254", "x" };
    size_t length = (size_t)snprintf(name, 256, "%s-%u", parts[i % ARRAY_LEN(parts)], i);

    if (i % 7 == 0)
        memset(name + length, "a\351"[i / 7 % 2], i % 90);
    name[length + (i % 7 == 0 ? i % 90 : 0)] = '\0';
}

static void many_name(char name[256], unsigned i)
{
    snprintf(name, 256, "%0255u", i);
}

/* --- making them ------------------------------------------------------------------------------------------------ */

static const uint8_t tail[12] = { [4] = sizeof tail, [7] = 0xde }; /* where a checksum may be */

static void end_block(FILE *f, uint8_t block[BLOCK], unsigned last)
{
    block[last + 4] = (uint8_t)(BLOCK - sizeof tail - last);
    block[last + 5] = (uint8_t)((BLOCK - sizeof tail - last) >> 8);
    memcpy(block + BLOCK - sizeof tail, tail, sizeof tail);
    assert_int_equal(fwrite(block, 1, BLOCK, f), BLOCK);
    memset(block, 0, BLOCK);
}

/* What is in a directory without an index, all names being those of one file. */
static void write_names(unsigned count, void (*name_of)(char name[256], unsigned i), uint64_t file)
{
    uint8_t block[BLOCK] = { 2, 0, 0, 0, 12, 0, 1, 2, '.', 0, 0, 0, 2, 0, 0, 0, 12, 0, 2, 2, '.', '.' };
    unsigned last = 12, at = 24;
    FILE *f = fopen(path("many"), "we");

    assert_non_null(f);
    for (unsigned i = 0; i < count; i++) {
        char name[256];
        unsigned length;

        name_of(name, i);
        length = (unsigned)strlen(name);
        if (at + byre_round_up(8 + length, 4) > BLOCK - sizeof tail) {
            end_block(f, block, last);
            at = 0;
        }
        last = at;
        at += (unsigned)byre_round_up(8 + length, 4);
        byre_put_le32(block + last, (uint32_t)file);
        block[last + 4] = (uint8_t)(at - last);
        block[last + 5] = (uint8_t)((at - last) >> 8);
        block[last + 6] = (uint8_t)length;
        block[last + 7] = 1;
        memcpy(block + last + 8, name, length);
    }
    end_block(f, block, last);
    assert_int_equal(fclose(f), 0);
}

/* The directory `many`, made as a file, for linking so many names takes long; e2fsck makes the index, with a hash that
 * debugfs was told. */
static void make_indexed(const char *options, const char *hash, unsigned count,
                         void (*name_of)(char name[256], unsigned i))
{
    struct opened opened;

    run("rm -rf tree disk && mkdir tree && printf hello >tree/small && "
        "mke2fs -q -F -t ext4 -b 1024 -O large_dir,^has_journal,^resize_inode%s -N 2000 -d tree disk 5G", options);
    opened = open_ext();
    write_names(count, name_of, find_file(opened.files, "small"));
    close_ext(&opened);
    debugfs_of("%s\nwrite many many\nsif many mode 040755\n", hash);
    run("{ e2fsck -fyD disk || [ $? = 1 ]; } && e2fsck -fn disk");
}

static void have_all_names(struct byre_files *files, unsigned count, void (*name_of)(char name[256], unsigned i))
{
    uint64_t many = find_file(files, "many"), small = find_file(files, "small"), found;
    char name[256];

    for (unsigned i = 0; i < count; i++) {
        name_of(name, i);
        must(byre_files_lookup(files, many, name, &found, err));
        assert_int_equal(found, small);
    }
    assert_int_equal(byre_files_lookup(files, many, "missing", &found, NULL), -ENOENT);
    assert_int_equal(byre_files_lookup(files, many, "\377", &found, NULL), -ENOENT);
}

/* --- hashes ----------------------------------------------------------------------------------------------------- */

static void all_names_are_found_by_each_hash(void **state)
{
    static const struct {
        const char *name;
        unsigned version, flags;
    } hashes[] = {
        { "legacy", 0, 1 },   { "legacy", 0, 2 }, { "half_md4", 1, 1 },
        { "half_md4", 1, 2 }, { "tea", 2, 1 },    { "tea", 2, 2 },
    };

    (void)state;
    skip_without_ext();
    for (unsigned i = 0; i < ARRAY_LEN(hashes); i++) {
        char hash[64];
        struct opened opened;

        print_message("%s, flags %u\n", hashes[i].name, hashes[i].flags);
        snprintf(hash, sizeof hash, "ssv def_hash_version %s\nssv flags %u", hashes[i].name, hashes[i].flags);
        make_indexed(i % 2 ? ",metadata_csum" : ",^metadata_csum", hash, FEW, few_name);
        run("debugfs -R 'htree_dump /many' disk | grep -q 'Hash Version: %u'", hashes[i].version);
        debugfs_of("sif many size " UNSEARCHABLE "\n");
        opened = open_ext();
        have_all_names(opened.files, FEW, few_name);
        close_ext(&opened);
    }
}

static void names_are_found_through_three_levels(void **state)
{
    struct opened opened;

    (void)state;
    skip_without_ext();
    make_indexed(",metadata_csum", "ssv def_hash_version half_md4", MANY, many_name);
    run("debugfs -R 'htree_dump /many' disk | grep -q 'Indirect levels: 2'");
    debugfs_of("sif many size " UNSEARCHABLE "\n");
    opened = open_ext();
    have_all_names(opened.files, MANY, many_name);
    close_ext(&opened);
}

/* What debugfs has written to the file "says". */
static void read_answer(char *line, int size)
{
    FILE *f = fopen(path("says"), "re");

    assert_non_null(f);
    assert_non_null(fgets(line, size, f));
    fclose(f);
}

/* --- what an index says ----------------------------------------------------------------------------------------- */

/* Where a block of `many` is. */
static uint64_t place_of(unsigned block)
{
    char line[64] = "";

    run("debugfs -R 'bmap many %u' disk 2>/dev/null >says", block);
    read_answer(line, sizeof line);
    return strtoull(line, NULL, 10) * BLOCK;
}

static void change_bytes(uint64_t at, size_t length, const uint8_t *bytes)
{
    int fd = open(path("disk"), O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, length, (off_t)at), length);
    close(fd);
}

#define ROOT_ENTRIES 0x20u

/* The lowest bit of a hash says that names of the same one are in the block before, too: the search goes on. */
static void names_of_one_hash_may_be_in_several_blocks(void **state)
{
    struct opened opened;
    uint64_t root;
    uint8_t low[4];
    int fd;

    (void)state;
    skip_without_ext();
    make_indexed(",^metadata_csum", "ssv def_hash_version tea", FEW, few_name);
    debugfs_of("sif many size " UNSEARCHABLE "\n");
    root = place_of(0) + ROOT_ENTRIES;
    fd = open(path("disk"), O_RDONLY | O_CLOEXEC);
    for (unsigned i = 1; i < 8; i++) {
        assert_int_equal(pread(fd, low, sizeof low, (off_t)(root + i * 8)), sizeof low);
        low[0] |= 1;
        change_bytes(root + i * 8, 1, low);
    }
    close(fd);
    opened = open_ext();
    have_all_names(opened.files, FEW, few_name);
    close_ext(&opened);
}

static int take_plain(void *opaque, const struct byre_files_entry *entry)
{
    if (strncmp(entry->name, "file-", 5) != 0 || strspn(entry->name + 5, "0123456789") != strlen(entry->name + 5))
        return 0;
    strcpy(opaque, entry->name);
    return 1;
}

static uint32_t legacy_hash_of(const char *name)
{
    char line[128] = "", *hash;

    run("debugfs -R 'dx_hash -h legacy %s' 2>/dev/null >says", name);
    read_answer(line, sizeof line);
    hash = strstr(line, "0x");
    assert_non_null(hash);
    return (uint32_t)strtoul(hash, NULL, 16);
}

/* A node of an index: entries that all lead to one block, for names of one hash. */
static void put_node(uint64_t at, unsigned count, uint32_t hash, uint32_t block)
{
    uint8_t entries[BLOCK];

    for (unsigned i = 0; i < count; i++) {
        byre_put_le32(entries + (size_t)i * 8, i ? hash | 1 : count | count << 16);
        byre_put_le32(entries + (size_t)i * 8 + 4, block);
    }
    change_bytes(at, (size_t)count * 8, entries);
}

/* 15,000 leaves that are one, and hold no names: who looks at all blocks is done sooner. */
static void an_index_that_leads_in_circles_is_done_without(void **state)
{
    struct opened opened;
    char name[256] = "";
    uint64_t id, found;
    uint32_t hash;

    (void)state;
    skip_without_ext();
    make_indexed(",^metadata_csum", "ssv def_hash_version legacy\nssv flags 1", FEW, few_name);
    change_bytes(place_of(1), 8, (const uint8_t[]){ 0, 0, 0, 0, BLOCK & 0xff, BLOCK >> 8, 0, 0 });
    change_bytes(place_of(2), 8, (const uint8_t[]){ 0, 0, 0, 0, BLOCK & 0xff, BLOCK >> 8, 0, 0 });
    opened = open_ext();
    id = find_file(opened.files, "many");
    assert_int_equal(byre_files_list(opened.files, id, 0, take_plain, name, NULL), 1);
    close_ext(&opened);
    hash = legacy_hash_of(name);
    change_bytes(place_of(0) + ROOT_ENTRIES - 2, 1, (const uint8_t[]){ 1 });
    put_node(place_of(0) + ROOT_ENTRIES, 124, hash, 1);
    put_node(place_of(1) + 8, 127, hash, 2);
    opened = open_ext();
    must(byre_files_lookup(opened.files, id, name, &found, err));
    assert_int_equal(found, find_file(opened.files, "small"));
    close_ext(&opened);
}

/* An index that makes no sense is not believed: all blocks are looked at, if they are not too many. */
static void a_damaged_index_is_done_without(void **state)
{
    static const struct {
        unsigned at;
        uint8_t bytes[8];
        size_t length;
    } damages[] = {
        { ROOT_ENTRIES - 4, { 9 }, 1 },          /* an unknown hash */
        { ROOT_ENTRIES - 2, { 7 }, 1 },          /* many levels */
        { ROOT_ENTRIES, { 125, 0, 2, 0 }, 4 },   /* room for more entries than there can be */
        { ROOT_ENTRIES, { 1, 0, 2, 0 }, 4 },     /* more than it says there can be */
        { ROOT_ENTRIES, { 124, 0, 1, 0, 0xff, 0xff, 0xff, 3 }, 8 }, /* a single leaf, past the end */
    };
    uint64_t id, found;

    (void)state;
    skip_without_ext();
    for (unsigned i = 0; i < ARRAY_LEN(damages); i++) {
        struct byre_error error = BYRE_ERROR_INIT;
        struct opened opened;

        make_indexed(",^metadata_csum", "ssv def_hash_version half_md4", 150, few_name);
        change_bytes(place_of(0) + damages[i].at, damages[i].length, damages[i].bytes);
        opened = open_ext();
        have_all_names(opened.files, 150, few_name);
        close_ext(&opened);
        debugfs_of("sif many size " UNSEARCHABLE "\n");
        opened = open_ext();
        id = find_file(opened.files, "many");
        assert_int_equal(byre_files_lookup(opened.files, id, "missing", &found, &error), -EUCLEAN);
        assert_non_null(strstr(error.text, "no index that is sound"));
        close_ext(&opened);
    }
}

/* --- without an index ------------------------------------------------------------------------------------------- */

static void a_damaged_block_hides_no_names_but_its_own(void **state)
{
    struct byre_error error = BYRE_ERROR_INIT;
    unsigned found = 0, hidden = 0;
    struct opened opened;
    uint64_t many, id;

    (void)state;
    skip_without_ext();
    make_indexed(",metadata_csum,^dir_index", "", FEW, few_name);
    change_bytes(place_of(2) + 8, 1, (const uint8_t[]){ 0 });
    opened = open_ext();
    many = find_file(opened.files, "many");
    for (unsigned i = 0; i < FEW; i++) {
        char name[256];
        int rc;

        few_name(name, i);
        rc = byre_files_lookup(opened.files, many, name, &id, &error);
        assert_true(rc == 0 || rc == -EUCLEAN);
        found += rc == 0;
        hidden += rc < 0;
    }
    assert_in_range(hidden, 2, BLOCK / 12);
    assert_int_equal(found + hidden, FEW);
    error = (struct byre_error)BYRE_ERROR_INIT;
    assert_int_equal(byre_files_lookup(opened.files, many, "missing", &id, &error), -EUCLEAN);
    assert_non_null(strstr(error.text, "the checksum of block 2 of the directory is wrong"));
    close_ext(&opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_names_are_found_by_each_hash),
        TEST(names_are_found_through_three_levels),
        TEST(names_of_one_hash_may_be_in_several_blocks),
        TEST(an_index_that_leads_in_circles_is_done_without),
        TEST(a_damaged_index_is_done_without),
        TEST(a_damaged_block_hides_no_names_but_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
