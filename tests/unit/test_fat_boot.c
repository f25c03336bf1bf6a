/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The first sector of FAT: which width the entries have, and where the FATs are.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk_fixture.h"
#include "fat_fixture.h"
#include "volume/fat.h"

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

/* A first sector: 512 bytes a cluster and sector, two FATs with room for all, `clusters`; of FAT32 or not. */
static void make_boot(uint8_t *boot, bool wide, uint32_t clusters)
{
    uint32_t table = wide ? 600 : 300, root = wide ? 0 : 512;

    memset(boot, 0, 512);
    memcpy(boot, "\xeb\x3c\x90", 3);
    put16(boot + 11, 512);
    boot[13] = 1;
    put16(boot + 14, 32);
    boot[16] = 2;
    put16(boot + 17, root);
    boot[21] = 0xf8;
    put16(boot + 22, wide ? 0 : table);
    byre_put_le32(boot + 32, 32 + 2 * table + root / 16 + clusters);
    if (wide) {
        byre_put_le32(boot + 36, table);
        byre_put_le32(boot + 44, 2);
    }
    put16(boot + 510, 0xaa55);
}

static void width_is_told_by_the_number_of_clusters(void **state)
{
    static const struct {
        bool wide;
        uint32_t clusters;
        unsigned bits; /* 0: it is no FAT file system */
    } cases[] = {
        { false, 1, 12 },      { false, 4084, 12 },    { false, 4085, 16 },   { false, 65524, 16 },
        { false, 65525, 0 },   { true, 65525, 32 },    { true, 65524, 32 },   { true, 4085, 32 },
        { true, 4084, 32 },    { true, 1, 32 },        { false, 0, 0 },       { true, 0, 0 },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct byre_fat_layout layout = { .bits = 0 };
        uint8_t boot[512];

        make_boot(boot, cases[i].wide, cases[i].clusters);
        assert_int_equal(byre_fat_boot_parse(boot, &layout), cases[i].bits != 0);
        assert_int_equal(layout.bits, cases[i].bits);
        if (cases[i].bits)
            assert_int_equal(layout.clusters, cases[i].clusters);
    }
}

static void clusters_without_an_entry_are_none(void **state)
{
    struct byre_fat_layout layout;
    uint8_t boot[512];

    (void)state;
    make_boot(boot, true, 200000); /* 600 sectors have 76800 entries, two of which are no clusters */
    assert_true(byre_fat_boot_parse(boot, &layout));
    assert_int_equal(layout.clusters, 76798);
}

static void fats_are_counted_and_the_one_that_counts_is_found(void **state)
{
    static const struct {
        uint8_t flags, tables;
        unsigned first, copies;
    } cases[] = {
        { 0, 2, 0, 1 },    { 0, 1, 0, 0 },    { 0, 4, 0, 3 },    { 1, 2, 0, 1 },
        { 0x80, 2, 0, 0 }, { 0x81, 2, 1, 0 }, { 0x82, 3, 2, 0 }, { 0x82, 2, 0, 0 },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct byre_fat_layout layout;
        uint8_t boot[512];

        make_boot(boot, true, 70000);
        boot[40] = cases[i].flags;
        boot[16] = cases[i].tables;
        assert_true(byre_fat_boot_parse(boot, &layout));
        assert_int_equal(layout.table_offset, (32 + cases[i].first * 600) * 512);
        assert_int_equal(layout.table_copies, cases[i].copies);
        assert_int_equal(layout.data_offset, (32 + cases[i].tables * 600u) * 512);
    }
}

/* What mkfs.fat makes and mtools fills, at the limit between the two. */
static void small_file_systems_at_the_limit_are_read(void **state)
{
    (void)state;
    random_start();
    for (unsigned clusters = 4084; clusters <= 4085; clusters++) {
        uint8_t boot[512], zeros[512 * 32] = { 0 };
        struct byre_files_space space;
        struct opened opened;
        uint32_t rest;

        make_file("file", clusters, 150000);
        run("rm -f disk && truncate -s 9M disk && mkfs.fat -F 16 -s 1 -f 1 -a disk");
        peek(0, boot, sizeof boot);
        rest = (uint32_t)(root_offset() / 512) + byre_get_le16(boot + 17) / 16;
        put16(boot + 19, rest + clusters);
        poke(0, boot, sizeof boot);
        poke(table_offset(), "\xf8\xff\xff\xff", 4);
        poke(root_offset(), zeros, sizeof zeros);
        run("mcopy -i disk file ::FILE && fsck.fat -nv disk | grep -q '%u bit entries'", clusters == 4084 ? 12 : 16);
        open_files(&opened);
        must(byre_files_space(opened.files, &space, err));
        assert_int_equal(space.blocks, clusters);
        has_contents(&opened, "FILE", clusters, 150000);
        close_files(&opened);
    }
}

/* mkfs.fat warns of them and makes them, and Linux mounts them. */
static void fat32_with_few_clusters_is_read(void **state)
{
    struct opened opened;
    uint8_t byte;
    size_t got;

    (void)state;
    run("truncate -s 20M disk && mkfs.fat -F 32 -s 8 disk");
    put_link(32, 3, 100);
    put_link(32, 100, 0x0fffffff);
    put_file(root_offset(), "FILE       ", 0x20, 3, 5000);
    poke(root_offset() + 98 * 4096, "x", 1);
    open_files(&opened);
    must(byre_files_read(opened.files, find(&opened, "FILE"), &byte, 1, 4096, &got, err));
    assert_int_equal(byte, 'x');
    close_files(&opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(width_is_told_by_the_number_of_clusters),
        TEST(clusters_without_an_entry_are_none),
        TEST(fats_are_counted_and_the_one_that_counts_is_found),
        TEST(small_file_systems_at_the_limit_are_read),
        TEST(fat32_with_few_clusters_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
