/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files in FAT file systems that mkfs.fat and mtools made: what comes out is what was put in.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>

#include "disk_fixture.h"
#include "fat_fixture.h"

/* --- every shape of file system ---------------------------------------------------------------------------- */

struct shape {
    const char *options;
    const char *size;
    uint32_t cluster;
};

static const struct shape shapes[] = {
    { "-F 12", "1440K", 512 },
    { "-F 12 -S 4096 -s 1 -a", "4M", 4096 },
    { "-F 12 -s 128 --mbr=y", "40M", 65536 },
    { "-F 16 -s 1 -f 1", "9M", 512 },
    { "-F 16 -s 128", "300M", 65536 },
    { "-F 16 -S 2048 -s 64 -h 2048", "600M", 131072 },
    { "-F 16 -S 4096 -s 64", "1100M", 262144 },
    { "-F 32 -s 1", "40M", 512 },
    { "-F 32 -s 8 -R 64 -f 3 --mbr=y -h 63", "400M", 4096 },
    { "-F 32 -S 4096 -s 16", "4100M", 65536 },
    { "-F 32 -S 4096 -s 128", "33G", 524288 }, /* larger than Windows makes them */
};

static const struct {
    const char *name;
    unsigned clusters;
    int more;
} contents[] = {
    { "empty", 0, 0 },        { "one", 0, 1 },           { "cluster", 1, 0 },      { "cluster and one", 1, 1 },
    { "three clusters", 3, 0 }, { "short of four", 4, -1 }, { "UPPER.TXT", 0, 300 }, { "d/e/f/Deep Inside.Text", 2, 5 },
};

static void make_shape(const struct shape *shape)
{
    unlink(path("disk"));
    run("truncate -s %s disk && mkfs.fat -i 1a2B3c4d -n 'A LABEL' %s disk && mmd -i disk ::d ::d/e ::d/e/f",
        shape->size, shape->options);
    for (unsigned i = 0; i < ARRAY_LEN(contents); i++) {
        make_file("file", i, (size_t)((int64_t)contents[i].clusters * shape->cluster + contents[i].more));
        run("mcopy -i disk file '::%s'", contents[i].name);
    }
}

static uint64_t clusters_used(const struct shape *shape)
{
    uint64_t used = 3; /* by directories */

    for (unsigned i = 0; i < ARRAY_LEN(contents); i++)
        used += contents[i].clusters + (contents[i].more > 0);
    return used + (strncmp(shape->options, "-F 32", 5) == 0);
}

static void files_of_every_shape_are_read(void **state)
{
    (void)state;
    random_start();
    for (unsigned s = 0; s < ARRAY_LEN(shapes); s++) {
        const struct shape *shape = &shapes[s];
        struct byre_files_found found;
        struct byre_files_space space;
        struct opened opened;

        make_shape(shape);
        open_files(&opened);
        assert_string_equal(byre_files_type(opened.files), "vfat");
        assert_null(byre_files_warning(opened.files));
        must(byre_files_probe(opened.disk, 0, byre_get_size(opened.disk), &found, err));
        assert_string_equal(found.type, "vfat");
        assert_string_equal(found.uuid, "1A2B-3C4D");
        assert_string_equal(found.label, "A LABEL");
        assert_true(found.supported);
        must(byre_files_space(opened.files, &space, err));
        assert_int_equal(space.block_size, shape->cluster);
        assert_int_equal(space.blocks - space.blocks_free, clusters_used(shape));
        assert_int_equal(space.inodes, 0);
        for (unsigned i = 0; i < ARRAY_LEN(contents); i++) {
            has_contents(&opened, contents[i].name, i,
                         (size_t)((int64_t)contents[i].clusters * shape->cluster + contents[i].more));
        }
        close_files(&opened);
    }
}

/* --- names ------------------------------------------------------------------------------------------------- */

static void names_of_all_kinds_are_listed_and_found(void **state)
{
    static const char *const names[] = {
        "SHORT.TXT", "lower.txt", "base.TXT", "UPPER.txt", "MiXed.Case", "a name with spaces.and.dots",
        "exactly13char", "twelve_chars", "fourteen_chars", "no extension at all", ".hidden", "grüße", "ΑΒΓ αβγ",
        "Привет мир.txt", "日本語の名前.txt", "ends~1", "ÅNGSTRÖM", "x+y=[z],w;",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
        "01234567890123456789012345678901234567890123456789.long",
    };
    struct opened opened;
    struct names list = { .limit = 0 };
    char expected[4096] = "";
    uint64_t id;

    (void)state;
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 -n LABEL disk");
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        make_file("file", i, 100 + i);
        run("mcopy -i disk file '::%s'", names[i]);
        strcat(strcat(expected, names[i]), "\n");
    }
    run("mcopy -i disk file ::gone && mdel -i disk ::gone && mcopy -i disk file '::a long name, gone' && "
        "mdel -i disk '::a long name, gone'");
    open_files(&opened);
    must(list_names(&opened, "/", &list, err));
    assert_string_equal(list.text, expected);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        has_contents(&opened, names[i], i, 100 + i);
    assert_int_equal(find(&opened, "mixed.CASE"), find(&opened, "MiXed.Case"));
    assert_int_equal(find(&opened, "MIXED~1.CAS"), find(&opened, "MiXed.Case"));
    assert_int_equal(find(&opened, "LOWER.txt..."), find(&opened, "lower.txt"));
    assert_int_equal(find(&opened, "ПРИВЕТ МИР.TXT"), find(&opened, "Привет мир.txt"));
    assert_int_equal(find(&opened, "GRÜßE"), find(&opened, "grüße"));
    assert_int_equal(find(&opened, "ångström"), find(&opened, "ÅNGSTRÖM"));
    assert_int_equal(find(&opened, "αβγ ΑΒΓ"), find(&opened, "ΑΒΓ αβγ"));
    assert_int_equal(find(&opened, "LOWER.TXT"), find(&opened, "lower.txt"));
    assert_int_equal(byre_files_find(opened.files, "gone", 0, &id, NULL), -ENOENT);
    assert_int_equal(byre_files_find(opened.files, "LABEL", 0, &id, NULL), -ENOENT);
    assert_int_equal(byre_files_find(opened.files, "\xff\xc3", 0, &id, NULL), -ENOENT);
    assert_int_equal(byre_files_lookup(opened.files, BYRE_FILES_ROOT, "", &id, NULL), -ENOENT);
    assert_int_equal(byre_files_find(opened.files, "SHORT.TXT/x", 0, &id, NULL), -ENOTDIR);
    close_files(&opened);
}

/* Entries that no tool makes, put into the root directory by hand. */
static void put_short(uint64_t at, const char *name, uint8_t attributes, uint8_t nt_case)
{
    uint8_t entry[32] = { 0 };

    memcpy(entry, name, 11);
    entry[11] = attributes;
    entry[12] = nt_case;
    poke(at, entry, sizeof entry);
}

static uint64_t root_of_fat16(void)
{
    uint8_t boot[512];

    peek(0, boot, sizeof boot);
    return (byre_get_le16(boot + 14) + (uint64_t)boot[16] * byre_get_le16(boot + 22)) * byre_get_le16(boot + 11);
}

static void short_names_come_from_their_code_page_and_case_bits(void **state)
{
    static const struct {
        const char *raw;
        uint8_t nt_case;
        const char *shown; /* NULL: not shown */
    } names[] = {
        { "FILE    TXT", 0, "FILE.TXT" },     { "FILE2   TXT", 0x08, "file2.TXT" },
        { "FILE3   TXT", 0x10, "FILE3.txt" },
        { "FILE4   TXT", 0x18, "file4.txt" }, { "NOEXT      ", 0, "NOEXT" },        { "\x05TART   ", 0, "σTART" },
        { "GR\x9a\xe1" "E   ", 0x18, "grüße" }, { "A/B     C  ", 0, NULL },         { "A\nB     C  ", 0, NULL },
        { "        EXT", 0, NULL },           { ".          ", 0, NULL },           { "..         ", 0, NULL },
        { "..      .  ", 0, "...." },         { "A B     C D", 0, "A B.C D" },      { "\x7f\x7f         ", 0, NULL },
    };
    struct names list = { .limit = 0 };
    char expected[1000] = "";
    struct opened opened;
    uint64_t root;

    (void)state;
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 disk");
    root = root_of_fat16();
    put_short(root, "VOLUME NAME", 0x08, 0);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        char raw[12];

        snprintf(raw, sizeof raw, "%-11s", names[i].raw);
        put_short(root + 32 * (i + 1), raw, 0x20, names[i].nt_case);
        if (names[i].shown)
            strcat(strcat(expected, names[i].shown), "\n");
    }
    put_short(root + 32 * (ARRAY_LEN(names) + 2), "AFTERTHEEND", 0x20, 0);
    open_files(&opened);
    must(list_names(&opened, "/", &list, err));
    assert_string_equal(list.text, expected);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].shown)
            assert_int_equal(find(&opened, names[i].shown), root / 32 + i + 1);
    }
    close_files(&opened);
}

static void names_that_differ_in_case_alone_are_told_apart(void **state)
{
    struct opened opened;
    uint64_t root;

    (void)state;
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 disk");
    root = root_of_fat16();
    put_short(root, "SAME       ", 0x20, 0);
    put_short(root + 32, "SAME       ", 0x20, 0x08);
    open_files(&opened);
    assert_int_equal(find(&opened, "SAME"), root / 32);
    assert_int_equal(find(&opened, "same"), root / 32 + 1);
    assert_int_equal(find(&opened, "Same"), root / 32);
    close_files(&opened);
}

/* --- many, deep, scattered --------------------------------------------------------------------------------- */

static void directories_of_hundreds_are_listed_by_any_steps(void **state)
{
    static struct names whole, steps;
    struct opened opened;
    char name[100];

    (void)state;
    run("truncate -s 40M disk && mkfs.fat -F 32 -s 1 disk && mkdir many && cd many && "
        "for i in $(seq 300); do echo $i >\"file number $i of many\"; done && "
        "cd .. && mcopy -s -i disk many ::");
    open_files(&opened);
    whole.limit = 0;
    must(list_names(&opened, "many", &whole, err));
    assert_int_equal(whole.count, 300);
    for (steps.limit = 1; steps.limit < 300; steps.limit *= 7) {
        must(list_names(&opened, "many", &steps, err));
        assert_string_equal(steps.text, whole.text);
    }
    for (unsigned i = 1; i <= 300; i++) {
        char text[10], expected[10];
        size_t got;

        snprintf(name, sizeof name, "many/FILE number %u of MANY", i);
        must(byre_files_read(opened.files, find(&opened, name), text, sizeof text, 0, &got, err));
        snprintf(expected, sizeof expected, "%u\n", i);
        assert_int_equal(got, strlen(expected));
        assert_memory_equal(text, expected, got);
    }
    for (unsigned i = 0; i < 100; i++) {
        uint64_t cursor = i < 50 ? i : UINT64_MAX >> (i - 50);

        steps.limit = 0;
        steps.text[0] = '\0';
        must(byre_files_list(opened.files, find(&opened, "many"), cursor, note_name, &steps, err));
    }
    close_files(&opened);
}

static void deep_directories_are_reached(void **state)
{
    char name[600] = "";
    struct opened opened;

    (void)state;
    random_start();
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 disk && mkdir top && cd top && for i in $(seq 40); do "
        "mkdir \"level $i\" && cd \"level $i\" || exit 1; done");
    for (unsigned i = 1; i <= 40; i++)
        snprintf(name + strlen(name), sizeof name - strlen(name), "/level %u", i);
    make_file("file", 5, 5000);
    run("mv file 'top%s/bottom' && mcopy -s -i disk top/* ::", name);
    strcat(name, "/bottom");
    open_files(&opened);
    has_contents(&opened, name, 5, 5000);
    close_files(&opened);
}

/* Each second cluster is free when the file comes: with more pieces than a chain has runs in memory. */
static void scattered_files_are_read(void **state)
{
    static const char *const shapes_used[] = { "-F 16 -s 1", "-F 32 -s 1" };
    static const char *const sizes[] = { "20M", "60M" };

    (void)state;
    random_start();
    for (unsigned s = 0; s < 2; s++) {
        unsigned singles = s ? 30000 : 2000;
        size_t length = (size_t)singles / 2 * 512 + 100000;
        struct opened opened;
        uint8_t boot[512];
        uint64_t table;

        unlink(path("disk"));
        run("truncate -s %s disk && mkfs.fat -a %s disk", sizes[s], shapes_used[s]);
        peek(0, boot, sizeof boot);
        table = (uint64_t)byre_get_le16(boot + 14) * 512;
        for (unsigned i = 10; i < singles; i += 2) {
            uint8_t bad[4] = { 0xf7, 0xff, 0xff, 0x0f };

            poke(table + (s ? i * 4 : i * 2), bad, s ? 4 : 2);
        }
        make_file("file", s, length);
        run("mcopy -i disk file ::file");
        open_files(&opened);
        has_contents(&opened, "file", s, length);
        close_files(&opened);
    }
}

/* --- stat and the rest -------------------------------------------------------------------------------------- */

static void modes_and_times_are_those_of_the_entry(void **state)
{
    const uint8_t created[7] = { 150, 0x7d, 0xbf, 0x5d, 0x58, 0x5d, 0x58 };
    struct opened opened;
    struct byre_file file;
    uint64_t root;

    (void)state;
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 4 disk");
    root = root_of_fat16();
    make_file("file", 1, 3000);
    run("touch -d '2024-02-29 23:59:58' file && mcopy -m -i disk file ::FILE && mattrib -i disk +r ::FILE && "
        "mmd -i disk ::DIR && touch -d '2100-03-01 00:00:02' file && mcopy -m -i disk file ::LATE");
    poke(root + 13, created, 1);
    poke(root + 14, created + 1, 4);
    poke(root + 18, created + 5, 2);
    open_files(&opened);
    must(byre_files_stat(opened.files, find(&opened, "FILE"), &file, err));
    assert_int_equal(file.id, find(&opened, "FILE"));
    assert_int_equal(file.mode, S_IFREG | 0444);
    assert_int_equal(file.size, 3000);
    assert_int_equal(file.allocated, 4096);
    assert_int_equal(file.links, 1);
    assert_int_equal(file.modified.tv_sec, 1709251198);
    assert_int_equal(file.changed.tv_sec, 1709251198);
    assert_int_equal(file.created.tv_sec, 1709251199); /* 23:59:58 and 150 hundredths */
    assert_int_equal(file.created.tv_nsec, 500000000);
    must(byre_files_stat(opened.files, find(&opened, "LATE"), &file, err));
    assert_int_equal(file.mode, S_IFREG | 0644);
    assert_int_equal(file.modified.tv_sec, 4107542402);
    must(byre_files_stat(opened.files, find(&opened, "DIR"), &file, err));
    assert_int_equal(file.mode, S_IFDIR | 0755);
    assert_int_equal(file.size, 2048);
    must(byre_files_stat(opened.files, BYRE_FILES_ROOT, &file, err));
    assert_int_equal(file.mode, S_IFDIR | 0755);
    assert_int_equal(file.size, 512 * 32);
    assert_int_equal(file.modified.tv_sec, 0);
    close_files(&opened);
}

static void files_have_no_holes_and_no_attributes(void **state)
{
    struct opened opened;
    uint64_t id, at;
    char *text, byte;
    size_t got;

    (void)state;
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 disk && truncate -s 5000 zeros && mcopy -i disk zeros ::");
    open_files(&opened);
    id = find(&opened, "zeros");
    must(byre_files_seek(opened.files, id, 10, true, &at, err));
    assert_int_equal(at, 10);
    must(byre_files_seek(opened.files, id, 10, false, &at, err));
    assert_int_equal(at, 5000);
    assert_int_equal(byre_files_seek(opened.files, id, 5000, true, &at, NULL), -ENXIO);
    assert_int_equal(byre_files_seek(opened.files, id, 5000, false, &at, NULL), -ENXIO);
    must(byre_files_read(opened.files, id, &byte, 1, 5000, &got, err));
    assert_int_equal(got, 0);
    must(byre_files_read(opened.files, id, &byte, 1, UINT64_MAX, &got, err));
    assert_int_equal(got, 0);
    assert_int_equal(byre_files_read(opened.files, BYRE_FILES_ROOT, &byte, 1, 0, &got, NULL), -EISDIR);
    assert_int_equal(byre_files_seek(opened.files, BYRE_FILES_ROOT, 0, true, &at, NULL), -EISDIR);
    assert_int_equal(byre_files_list(opened.files, id, 0, note_name, NULL, NULL), -ENOTDIR);
    assert_int_equal(byre_files_readlink(opened.files, id, &text, NULL), -EINVAL);
    must(byre_files_xattr_list(opened.files, id, &text, &got, err));
    assert_int_equal(got, 0);
    close_files(&opened);
}

static void ids_that_are_none_are_stale(void **state)
{
    struct byre_file file;
    struct opened opened;
    uint64_t id;

    (void)state;
    random_start();
    run("truncate -s 9M disk && mkfs.fat -F 16 -s 1 disk && mmd -i disk ::dir && echo 1 >a && mcopy -i disk a ::dir/a");
    open_files(&opened);
    for (unsigned i = 0; i < 5000; i++) {
        id = i < 64 ? UINT64_MAX >> i : random_below(9 << 15);
        if (id != BYRE_FILES_ROOT && byre_files_stat(opened.files, id, &file, NULL) != -ESTALE)
            assert_true(id == find(&opened, "dir") || id == find(&opened, "dir/a"));
    }
    close_files(&opened);
}

struct reader {
    pthread_t thread;
    struct opened *opened;
    uint64_t seed;
};

static void *read_at_random(void *opaque)
{
    struct reader *reader = opaque;
    uint8_t bytes[10000];

    for (unsigned i = 0; i < 300; i++) {
        unsigned number = (unsigned)(random_from(&reader->seed) % 20);
        uint64_t from = random_from(&reader->seed) % 20000, id;
        char name[30];
        size_t got;

        snprintf(name, sizeof name, "dir%u/File %u", number % 4, number);
        if (byre_files_find(reader->opened->files, name, 0, &id, NULL) < 0 ||
            byre_files_read(reader->opened->files, id, bytes, sizeof bytes, from, &got, NULL) < 0)
            return reader;
        for (size_t j = 0; j < got; j++) {
            if (bytes[j] != byte_at(number, from + j))
                return reader;
        }
        if (got != MIN((uint64_t)sizeof bytes, 20000 - from))
            return reader;
    }
    return NULL;
}

static void several_threads_read_at_once(void **state)
{
    struct reader readers[8];
    struct opened opened;

    (void)state;
    random_start();
    run("truncate -s 40M disk && mkfs.fat -F 32 -s 1 disk && mmd -i disk ::dir0 ::dir1 ::dir2 ::dir3");
    for (unsigned i = 0; i < 20; i++) {
        make_file("file", i, 20000);
        run("mcopy -i disk file '::dir%u/File %u'", i % 4, i);
    }
    open_files(&opened);
    for (unsigned i = 0; i < 8; i++) {
        readers[i].opened = &opened;
        readers[i].seed = random_below(UINT64_MAX);
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_at_random, &readers[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        void *result;

        pthread_join(readers[i].thread, &result);
        assert_null(result);
    }
    close_files(&opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_of_every_shape_are_read),
        TEST(names_of_all_kinds_are_listed_and_found),
        TEST(short_names_come_from_their_code_page_and_case_bits),
        TEST(names_that_differ_in_case_alone_are_told_apart),
        TEST(directories_of_hundreds_are_listed_by_any_steps),
        TEST(deep_directories_are_reached),
        TEST(scattered_files_are_read),
        TEST(modes_and_times_are_those_of_the_entry),
        TEST(files_have_no_holes_and_no_attributes),
        TEST(ids_that_are_none_are_stale),
        TEST(several_threads_read_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
