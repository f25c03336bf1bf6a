/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Partition tables: those that sfdisk makes, and damaged ones.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/endian.h"
#include "byre/partition.h"
#include "disk_fixture.h"

#define DISK_BYTES (64u << 20)

struct seen {
    unsigned count;
    struct byre_partition list[300];
};

static int note(void *opaque, const struct byre_partition *partition)
{
    struct seen *seen = opaque;

    assert_true(seen->count < ARRAY_LEN(seen->list));
    seen->list[seen->count++] = *partition;
    return 0;
}

/* A disk with the table of that script for `program`. */
static void make_disk_by(const char *program, const char *script)
{
    char command[2048];
    int length = snprintf(command, sizeof command,
                          "truncate -s %u %s && printf '%s' | PATH=$PATH:/sbin:/usr/sbin %s %s >%s", DISK_BYTES,
                          path("disk"), script, program, path("disk"), path("output"));

    assert_true(length < (int)sizeof command);
    assert_int_equal(unlink(path("disk")) < 0 && errno != ENOENT, 0);
    assert_int_equal(system(command), 0);
}

static void make_disk(const char *script)
{
    make_disk_by("sfdisk -q", script);
}

static void change(off_t at, const void *bytes, size_t length)
{
    int fd = open(path("disk"), O_WRONLY);

    assert_int_equal(pwrite(fd, bytes, length, at), length);
    close(fd);
}

static int read_table(struct seen *seen, enum byre_partition_table *ret_table, struct byre_error *err)
{
    const struct byre_open_options options = { .format = "raw" };
    struct byre_disk *disk;
    int rc;

    seen->count = 0;
    assert_int_equal(byre_open(path("disk"), &options, &disk, err), 0);
    rc = byre_partitions(disk, note, seen, ret_table, err);
    assert_int_equal(byre_close(disk, NULL), 0);
    return rc;
}

static void is_told(const struct seen *seen, unsigned i, unsigned number, uint64_t first, uint64_t count)
{
    assert_true(i < seen->count);
    assert_int_equal(seen->list[i].number, number);
    assert_int_equal(seen->list[i].goff, first * 512);
    assert_int_equal(seen->list[i].length, count * 512);
    assert_true(seen->list[i].inside);
}

#define GPT_SCRIPT "label: gpt\\nstart=2048, size=4096, type=L, name=one\\n" \
                   "start=8192, size=2048, type=U\\n5: start=20480, size=8, type=L\\n"

static void gpt_as_sfdisk_makes_it_is_read(void **state)
{
    enum byre_partition_table table;
    struct seen seen;

    (void)state;
    make_disk(GPT_SCRIPT);
    must(read_table(&seen, &table, err));
    assert_int_equal(table, BYRE_PARTITION_TABLE_GPT);
    assert_int_equal(seen.count, 3);
    is_told(&seen, 0, 1, 2048, 4096);
    is_told(&seen, 1, 2, 8192, 2048);
    is_told(&seen, 2, 5, 20480, 8);
    assert_string_equal(seen.list[1].type, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
}

static void gpt_tells_names_and_ids(void **state)
{
    static const char script[] =
        "label: gpt\\nlabel-id: 9516AF22-7A57-B044-8351-87D9B0562963\\n"
        "start=2048, size=8, type=L, uuid=501226AB-2DB2-3A45-A21B-04450B763F21, name=\"gr\xc3\xbc\xc3\x9f e\"\\n"
        "start=4096, size=8, type=L, name=\"\xe2\x82\xac a cow and 36 units but not one mor\", "
        "attrs=LegacyBIOSBootable\\n"
        "start=6144, size=8, type=L, attrs=\"RequiredPartition,GUID:60\", name=xyz\\n";
    struct byre_partition_label label;
    struct byre_disk *disk;
    struct seen seen;

    (void)state;
    make_disk(script);
    must(read_table(&seen, NULL, err));
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.list[0].uuid, "501226ab-2db2-3a45-a21b-04450b763f21");
    assert_string_equal(seen.list[0].name, "gr\xc3\xbc\xc3\x9f e");
    assert_int_equal(seen.list[0].attributes, 0);
    assert_string_equal(seen.list[1].name, "\xe2\x82\xac a cow and 36 units but not one mor");
    assert_true(seen.list[1].bootable);
    assert_false(seen.list[2].bootable);
    assert_true(seen.list[2].attributes == (1 | 1ull << 60));
    disk = open_disk(path("disk"), false);
    must(byre_partition_label(disk, &label, err));
    close_disk(disk);
    assert_int_equal(label.table, BYRE_PARTITION_TABLE_GPT);
    assert_int_equal(label.block, 512);
    assert_string_equal(label.id, "9516af22-7a57-b044-8351-87d9b0562963");
}

static void mbr_tells_ids_and_what_is_active(void **state)
{
    struct byre_partition_label label;
    struct byre_disk *disk;
    struct seen seen;

    (void)state;
    make_disk("label: dos\\nlabel-id: 0x0234abcd\\n"
              "start=2048, size=8, type=83\\nstart=4096, size=8, type=c, bootable\\n"
              "start=8192, size=8192, type=5\\nstart=10240, size=8\\n");
    must(read_table(&seen, NULL, err));
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.list[0].uuid, "0234abcd-01");
    assert_string_equal(seen.list[1].uuid, "0234abcd-02");
    assert_string_equal(seen.list[2].uuid, "0234abcd-05");
    assert_string_equal(seen.list[2].name, "");
    assert_false(seen.list[0].bootable);
    assert_true(seen.list[1].bootable);
    disk = open_disk(path("disk"), false);
    must(byre_partition_label(disk, &label, err));
    close_disk(disk);
    assert_int_equal(label.table, BYRE_PARTITION_TABLE_MBR);
    assert_string_equal(label.id, "0x0234abcd");
    change(440, "\0\0\0\0", 4);
    must(read_table(&seen, NULL, err));
    assert_string_equal(seen.list[0].uuid, "");
}

static void gpt_of_large_blocks_is_read(void **state)
{
    struct seen seen;

    (void)state;
    make_disk_by("fdisk -b 4096", "g\\nn\\n1\\n256\\n1279\\nw\\n");
    must(read_table(&seen, NULL, err));
    assert_int_equal(seen.count, 1);
    is_told(&seen, 0, 1, 256 * 8, 1024 * 8);
    change(4096 + 20, "\xa5", 1);
    must(read_table(&seen, NULL, err));
    assert_int_equal(seen.count, 1);
}

static void gpt_with_damaged_header_is_read_from_its_copy(void **state)
{
    static const off_t places[] = { 512 + 20, 512 + 72, 1024 + 40 };
    struct seen seen;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        make_disk(GPT_SCRIPT);
        change(places[i], "\xa5", 1);
        must(read_table(&seen, NULL, err));
        assert_int_equal(seen.count, 3);
        is_told(&seen, 1, 2, 8192, 2048);
    }
}

static void gpt_with_both_headers_damaged_is_refused(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct seen seen;

    (void)state;
    make_disk(GPT_SCRIPT);
    change(512, "X", 1);
    change(DISK_BYTES - 512, "X", 1);
    assert_int_equal(read_table(&seen, NULL, &err), -EINVAL);
    assert_int_equal(seen.count, 0);
}

/* A table is worth nothing without the MBR that says so: the disk was partitioned anew without GPT. */
static void gpt_without_protective_entry_does_not_count(void **state)
{
    enum byre_partition_table table;
    struct seen seen;

    (void)state;
    make_disk(GPT_SCRIPT);
    change(446 + 4, "\x83", 1);
    must(read_table(&seen, &table, err));
    assert_int_equal(table, BYRE_PARTITION_TABLE_MBR);
    assert_int_equal(seen.count, 1);
    change(446 + 16, "\0\0\0\0\x83\0\0\0\1\0\0\0\1\0\0\0", 16);
    change(446 + 4, "\xee", 1); /* hybrid */
    must(read_table(&seen, &table, err));
    assert_int_equal(table, BYRE_PARTITION_TABLE_GPT);
    assert_int_equal(seen.count, 3);
}

#define MBR_SCRIPT "label: dos\\nstart=2048, size=2048, type=83\\nstart=4096, size=65536, type=5\\n" \
                   "start=80000, size=100, type=c\\n5: start=6144, size=2048\\n6: start=10240, size=4096, type=82\\n" \
                   "7: start=20480, size=1\\n"

static void mbr_with_logical_partitions_is_read(void **state)
{
    enum byre_partition_table table;
    struct seen seen;

    (void)state;
    make_disk(MBR_SCRIPT);
    must(read_table(&seen, &table, err));
    assert_int_equal(table, BYRE_PARTITION_TABLE_MBR);
    assert_int_equal(seen.count, 5);
    is_told(&seen, 0, 1, 2048, 2048);
    is_told(&seen, 1, 3, 80000, 100);
    is_told(&seen, 2, 5, 6144, 2048);
    is_told(&seen, 3, 6, 10240, 4096);
    is_told(&seen, 4, 7, 20480, 1);
    assert_string_equal(seen.list[3].type, "0x82");
}

/* An extended partition that begins at sector 64, and a link there to `next`, counted from there. */
static void make_chain(uint32_t next)
{
    uint8_t sector[512] = { 0 };

    make_disk("label: dos\\n");
    sector[510] = 0x55;
    sector[511] = 0xaa;
    memcpy(sector + 446, (const uint8_t[]){ 0, 0, 0, 0, 5, 0, 0, 0, 64, 0, 0, 0, 0, 1, 0, 0 }, 16);
    change(0, sector, 512);
    memcpy(sector + 446, (const uint8_t[]){ 0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0 }, 16);
    memcpy(sector + 462, (const uint8_t[]){ 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0 }, 16);
    byre_put_le32(sector + 462 + 8, next);
    change(64 * 512, sector, 512);
    change(80 * 512, sector, 512);
}

static void chain_that_loops_or_leaves_the_disk_ends(void **state)
{
    struct seen seen;

    (void)state;
    make_chain(16); /* and from there to itself */
    must(read_table(&seen, NULL, err));
    assert_int_equal(seen.count, 2);
    is_told(&seen, 0, 5, 65, 2);
    is_told(&seen, 1, 6, 81, 2);
    make_chain(UINT32_MAX);
    must(read_table(&seen, NULL, err));
    assert_int_equal(seen.count, 1);
    make_chain(17); /* zeros */
    must(read_table(&seen, NULL, err));
    assert_int_equal(seen.count, 1);
}

/* Four entries of an MBR or of a link in a chain: type, first sector, count. */
struct four {
    struct {
        uint8_t type;
        uint32_t first, count;
    } entry[4];
};

static void put_entries(uint64_t at, const struct four *four)
{
    uint8_t sector[512] = { [510] = 0x55, [511] = 0xaa };

    for (unsigned i = 0; i < 4; i++) {
        sector[446 + 16 * i + 4] = four->entry[i].type;
        byre_put_le32(sector + 446 + 16 * i + 8, four->entry[i].first);
        byre_put_le32(sector + 446 + 16 * i + 12, four->entry[i].count);
    }
    change((off_t)at * 512, sector, sizeof sector);
}

/* What is told is what partx(8) says, which leaves out nothing but the extended partitions here. */
static void is_as_partx_says(const struct seen *seen)
{
    char command[1024], text[4096] = "", expected[8192] = "";
    size_t length;
    FILE *output;

    for (unsigned i = 0; i < seen->count; i++)
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%u %llu %llu 0x%lx\n",
                 seen->list[i].number, (unsigned long long)seen->list[i].goff / 512,
                 (unsigned long long)seen->list[i].length / 512, strtoul(seen->list[i].type, NULL, 16));
    snprintf(command, sizeof command, "PATH=$PATH:/sbin:/usr/sbin; partx -gs -o NR,START,SECTORS,TYPE %s | "
             "sed -E '/ 0x(5|f|85)$/d; s/^ +//; s/ +/ /g'", path("disk"));
    output = popen(command, "r");
    assert_non_null(output);
    length = fread(text, 1, sizeof text - 1, output);
    text[length] = '\0';
    pclose(output);
    assert_string_equal(expected, text);
}

static void partition_at_sector_0_is_told_and_had(void **state)
{
    struct byre_partition partition;
    struct byre_disk *disk;
    struct seen seen;

    (void)state;
    make_disk("label: dos\n");
    put_entries(0, &(struct four){ { { 0x17, 0, 1000 }, { 0xef, 200, 100 } } });
    must(read_table(&seen, NULL, err));
    assert_int_equal(seen.count, 2);
    is_told(&seen, 0, 1, 0, 1000);
    is_told(&seen, 1, 2, 200, 100);
    is_as_partx_says(&seen);
    disk = open_disk(path("disk"), false);
    must(byre_partition_find(disk, 1, &partition, err));
    assert_int_equal(partition.goff, 0);
    close_disk(disk);
}

static void entries_of_type_0_with_a_size_are_partitions(void **state)
{
    struct seen seen;

    (void)state;
    make_disk("label: dos\n");
    put_entries(0, &(struct four){ { { 0, 100, 10 }, { 5, 2048, 20000 }, { 0x83, 200, 10 } } });
    put_entries(2048, &(struct four){ { { 0, 10, 20 }, { 5, 1000, 1000 } } });
    put_entries(3048, &(struct four){ { { 0, 10, 20 }, { 0x83, 100, 10 }, { 0, 200, 10 } } });
    must(read_table(&seen, NULL, err));
    assert_int_equal(seen.count, 6);
    is_told(&seen, 2, 5, 2058, 20);
    is_told(&seen, 5, 8, 3248, 10);
    is_as_partx_says(&seen);
}

/* The chains are an extended partition of 20000 sectors at 2048, with a link there, and another 1000 further. */
static void last_entries_of_a_link_count_within_its_bounds(void **state)
{
    static const struct four chains[][2] = {
        { { { { 0x83, 10, 20 }, { 0x83, 40, 20 }, { 0x83, 70, 20 }, { 0x83, 100, 20 } } } },
        { { { { 0x83, 10, 20 }, { 0x83, 40000, 20 }, { 0x83, 40000, 20 }, { 0x83, 19990, 20 } } } },
        { { { { 0 }, { 0 }, { 0x83, 19990, 10 }, { 0x83, 19990, 11 } } } },
        { { { { 0x83, 10, 20 }, { 5, 1000, 1000 } } },
          { { { 0x83, 10, 20 }, { 0 }, { 0x83, 500, 10 }, { 0x83, 1500, 10 } } } },
        { { { { 0x83, 10, 20 }, { 5, 1000, 1000 } } },
          { { { 0x83, 10, 20 }, { 0 }, { 0x83, 990, 10 }, { 0x83, 990, 11 } } } },
        { { { { 0x83, 10, 20 }, { 5, 1000, 90000 } } },
          { { { 0x83, 10, 20 }, { 0 }, { 0x83, 18990, 10 }, { 0x83, 18990, 11 } } } },
        /* links in other places than the second; the first one counts */
        { { { { 0x83, 10, 20 }, { 0x83, 40, 20 }, { 0x83, 60, 20 }, { 5, 1000, 1000 } } }, { { { 0x83, 10, 21 } } } },
        { { { { 5, 1000, 1000 }, { 0x83, 10, 20 }, { 0x0f, 2000, 1000 } } }, { { { 0x83, 10, 22 } } } },
        { { { { 5, 7, 0 }, { 0x83, 10, 20 }, { 0x85, 1000, 1000 } } }, { { { 0x83, 10, 23 } } } },
    };
    static const unsigned counts[] = { 4, 2, 1, 3, 3, 3, 4, 2, 2 };
    struct seen seen;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(chains); i++) {
        make_disk("label: dos\n");
        put_entries(0, &(struct four){ { { 5, 2048, 20000 } } });
        put_entries(2048, &chains[i][0]);
        put_entries(3048, &chains[i][1]);
        must(read_table(&seen, NULL, err));
        is_as_partx_says(&seen);
        assert_int_equal(seen.count, counts[i]);
    }
    /* a link outside of the extended partition, whose last entries lie there as well */
    put_entries(0, &(struct four){ { { 5, 2048, 2000 } } });
    put_entries(2048, &(struct four){ { { 0x83, 10, 20 }, { 5, 10000, 1000 } } });
    put_entries(12048, &(struct four){ { { 0x83, 10, 20 }, { 0 }, { 0x83, 500, 10 } } });
    must(read_table(&seen, NULL, err));
    is_as_partx_says(&seen);
    assert_int_equal(seen.count, 2);
}

static void partition_past_the_end_cannot_be_had(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_partition partition;
    struct byre_disk *disk;
    struct seen seen;

    (void)state;
    make_disk(MBR_SCRIPT);
    assert_int_equal(truncate(path("disk"), 80050 * 512), 0);
    must(read_table(&seen, NULL, err));
    assert_int_equal(seen.count, 5);
    assert_false(seen.list[1].inside);
    must(byre_open(path("disk"), NULL, &disk, err));
    must(byre_partition_find(disk, 6, &partition, err));
    assert_int_equal(partition.goff, 10240 * 512);
    assert_int_equal(byre_partition_find(disk, 3, &partition, &err), -EINVAL);
    assert_string_equal(err.text, "Partition 3 reaches past the end of the disk");
    assert_int_equal(byre_partition_find(disk, 2, &partition, &err), -ENOENT); /* the extended one */
    assert_string_equal(err.text, "There is no partition 2");
    must(byre_close(disk, err));
}

static void disk_without_table_has_no_partitions(void **state)
{
    static const off_t sizes[] = { 0, 511, 512, 513, 4096 };
    enum byre_partition_table table;
    struct seen seen;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        make_disk("label: dos\\n");
        assert_int_equal(truncate(path("disk"), 0) | truncate(path("disk"), sizes[i]), 0);
        must(read_table(&seen, &table, err));
        assert_int_equal(table, BYRE_PARTITION_TABLE_NONE);
    }
    make_disk("label: dos\\n");
    change(446, "\x41", 1); /* the boot sector of a file system */
    must(read_table(&seen, &table, err));
    assert_int_equal(table, BYRE_PARTITION_TABLE_NONE);
}

/* Whatever bytes change, what is told lies where it says, and all ends. */
static void damaged_tables_do_no_harm(void **state)
{
    static const char *const scripts[] = { GPT_SCRIPT, MBR_SCRIPT };
    static const unsigned places[] = { 0, 512, 1024, DISK_BYTES - 512, 4096 * 512, 6144 * 512 };

    (void)state;
    random_start();
    for (unsigned round = 0; round < 400; round++) {
        struct seen seen;

        if (round % 100 == 0)
            make_disk(scripts[round / 100 % 2]);
        for (unsigned i = 0; i < 4; i++) {
            uint8_t byte = (uint8_t)random_below(256);

            change(places[random_below(ARRAY_LEN(places))] + random_below(random_below(2) ? 510 : 96), &byte, 1);
        }
        (void)read_table(&seen, NULL, NULL);
        for (unsigned i = 0; i < seen.count; i++)
            assert_int_equal(seen.list[i].inside, seen.list[i].goff <= DISK_BYTES &&
                                                  seen.list[i].length <= DISK_BYTES - seen.list[i].goff);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gpt_as_sfdisk_makes_it_is_read),
        TEST(gpt_tells_names_and_ids),
        TEST(mbr_tells_ids_and_what_is_active),
        TEST(gpt_of_large_blocks_is_read),
        TEST(gpt_with_damaged_header_is_read_from_its_copy),
        TEST(gpt_with_both_headers_damaged_is_refused),
        TEST(gpt_without_protective_entry_does_not_count),
        TEST(mbr_with_logical_partitions_is_read),
        TEST(chain_that_loops_or_leaves_the_disk_ends),
        TEST(partition_at_sector_0_is_told_and_had),
        TEST(entries_of_type_0_with_a_size_are_partitions),
        TEST(last_entries_of_a_link_count_within_its_bounds),
        TEST(partition_past_the_end_cannot_be_had),
        TEST(disk_without_table_has_no_partitions),
        TEST(damaged_tables_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
