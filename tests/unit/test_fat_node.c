/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files of FAT by their first cluster and their chain: what reading costs, however a chain lies on the disk.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk_fixture.h"
#include "fat_fixture.h"
#include "volume/fat.h"

#define CLUSTER 512u

static uint64_t steps_of(const struct opened *opened)
{
    return ((struct byre_fat *)opened->files)->steps;
}

#define MARKED 61u /* clusters between two that say their index */

/* A file system of 512 bytes a cluster, with "FILE" of `count` clusters, which `cluster_at` names. */
static void make_chain(uint32_t count, uint32_t (*cluster_at)(uint32_t index))
{
    uint64_t root, table;
    uint8_t bytes[4];
    int fd;

    run("rm -f disk && truncate -s 150M disk && mkfs.fat -F 32 -s 1 disk");
    root = root_offset();
    table = table_offset();
    put_file(root, "FILE       ", 0x20, cluster_at(0), count * CLUSTER);
    fd = open(path("disk"), O_WRONLY);
    for (uint32_t i = 0; i < count; i++) {
        byre_put_le32(bytes, i + 1 < count ? cluster_at(i + 1) : 0x0fffffff);
        assert_int_equal(pwrite(fd, bytes, 4, (off_t)(table + cluster_at(i) * 4)), 4);
        byre_put_le32(bytes, i);
        if (i % MARKED == 0)
            assert_int_equal(pwrite(fd, bytes, 4, (off_t)(root + (uint64_t)(cluster_at(i) - 2) * CLUSTER)), 4);
    }
    close(fd);
}

static void read_clusters(struct opened *opened, uint64_t id, uint32_t index, uint32_t count)
{
    static uint8_t bytes[256 * CLUSTER];
    size_t got;

    must(byre_files_read(opened->files, id, bytes, count * CLUSTER, (uint64_t)index * CLUSTER, &got, err));
    assert_int_equal(got, count * CLUSTER);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(byre_get_le32(bytes + i * CLUSTER), (index + i) % MARKED ? 0 : index + i);
}

#define COUNT (1u << 18)

static uint32_t backwards(uint32_t index)
{
    return 3 + COUNT - index;
}

/* Runs of three, the later ones before the earlier ones. */
static uint32_t backwards_by_three(uint32_t index)
{
    return 3 + COUNT - index / 3 * 3 + index % 3;
}

static void chains_of_many_runs_are_read_by_few_steps_a_cluster(void **state)
{
    static uint32_t (*const chains[])(uint32_t) = { backwards, backwards_by_three };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(chains); i++) {
        for (uint32_t at_once = 4; at_once <= 256; at_once *= 64) {
            struct opened opened;
            uint64_t id;

            if (at_once == 4)
                make_chain(COUNT, chains[i]);
            open_files(&opened);
            id = find(&opened, "FILE");
            for (uint32_t at = 0; at < COUNT; at += at_once)
                read_clusters(&opened, id, at, at_once);
            assert_in_range(steps_of(&opened), COUNT, 3 * COUNT);
            close_files(&opened);
        }
    }
}

/* As a kernel reads ahead: several readers, and the requests of each change places. */
static void several_readers_of_many_runs_do_not_disturb_each_other(void **state)
{
    struct opened opened;
    uint64_t id;

    (void)state;
    make_chain(COUNT, backwards);
    open_files(&opened);
    id = find(&opened, "FILE");
    for (uint32_t at = 0; at < COUNT / 2; at += 16) {
        read_clusters(&opened, id, at + 8, 8);
        read_clusters(&opened, id, COUNT / 2 + at + 8, 8);
        read_clusters(&opened, id, at, 8);
        read_clusters(&opened, id, COUNT / 2 + at, 8);
    }
    assert_in_range(steps_of(&opened), COUNT, 4 * COUNT);
    close_files(&opened);
}

/* Memory is bounded, so a step to any place has a price, which is bounded as well. */
static void any_place_of_many_runs_is_near_one_that_is_known(void **state)
{
    struct opened opened;
    uint64_t id, before;

    (void)state;
    random_start();
    make_chain(COUNT, backwards);
    open_files(&opened);
    id = find(&opened, "FILE");
    read_clusters(&opened, id, 0, 1);
    for (unsigned i = 0; i < 500; i++) {
        before = steps_of(&opened);
        read_clusters(&opened, id, (uint32_t)random_below(COUNT), 1);
        assert_in_range(steps_of(&opened) - before, 0, 2 * COUNT / 8192);
    }
    close_files(&opened);
}

static uint32_t from_70000(uint32_t index)
{
    return 70000 + index;
}

static void upper_half_of_the_first_cluster_counts_on_fat32_alone(void **state)
{
    static const char *const small[] = { "truncate -s 1440K disk && mkfs.fat -F 12 disk",
                                         "truncate -s 9M disk && mkfs.fat -F 16 -s 1 disk" };
    struct opened opened;
    uint8_t high[2] = { 0, 0 };
    size_t got;

    (void)state;
    random_start();
    make_chain(3, from_70000);
    open_files(&opened);
    read_clusters(&opened, find(&opened, "FILE"), 0, 3);
    close_files(&opened);
    poke(root_offset() + 20, high, 2);
    open_files(&opened);
    assert_int_equal(byre_files_read(opened.files, find(&opened, "FILE"), high, 1, CLUSTER, &got, NULL), -EIO);
    close_files(&opened);
    for (unsigned i = 0; i < ARRAY_LEN(small); i++) { /* OS/2 has the number of its attributes there */
        unlink(path("disk"));
        make_file("file", i, 3000);
        run("%s && mcopy -i disk file ::FILE", small[i]);
        poke(root_offset() + 20, "\x34\x12", 2);
        open_files(&opened);
        has_contents(&opened, "FILE", i, 3000);
        close_files(&opened);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(chains_of_many_runs_are_read_by_few_steps_a_cluster),
        TEST(several_readers_of_many_runs_do_not_disturb_each_other),
        TEST(any_place_of_many_runs_is_near_one_that_is_known),
        TEST(upper_half_of_the_first_cluster_counts_on_fat32_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
