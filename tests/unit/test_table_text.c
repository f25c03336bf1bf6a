/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The partitions of a disk as text, against what sfdisk prints.
 */
#include "config.h"

#include <ctype.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>

#include "disk_fixture.h"
#include "fuse/table_text.h"

#define DISK_BYTES (64u << 20)

static void make_disk(const char *script)
{
    char command[2048];

    snprintf(command, sizeof command,
             "truncate -s %u %s && printf '%s' | PATH=$PATH:/sbin:/usr/sbin sfdisk -q %s >%s", DISK_BYTES, path("disk"),
             script, path("disk"), path("output"));
    assert_int_equal(system(command), 0);
}

static void change(off_t at, const void *bytes, size_t length)
{
    int fd = open(path("disk"), O_WRONLY);

    assert_int_equal(pwrite(fd, bytes, length, at), length);
    close(fd);
}

/* The "partitiontable" of the text, to be released. */
static json_t *ours(void)
{
    const struct byre_open_options options = { .format = "raw" };
    struct byre_disk *disk;
    json_t *whole, *table;
    size_t length;
    char *text;

    must(byre_open(path("disk"), &options, &disk, err));
    must(byre_table_text(disk, &text, &length, err));
    close_disk(disk);
    assert_int_equal(text[length - 1], '\n');
    whole = json_loadb(text, length, 0, NULL);
    assert_non_null(whole);
    free(text);
    table = json_object_get(whole, "partitiontable");
    assert_non_null(table);
    json_incref(table);
    json_decref(whole);
    return table;
}

static json_t *theirs(void)
{
    char command[1024];
    json_t *value, *table;

    snprintf(command, sizeof command, "PATH=$PATH:/sbin:/usr/sbin sfdisk --json %s >%s", path("disk"), path("theirs"));
    assert_int_equal(system(command), 0);
    value = json_load_file(path("theirs"), 0, NULL);
    assert_non_null(value);
    table = json_object_get(value, "partitiontable");
    json_incref(table);
    json_decref(value);
    return table;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* But for the case of letters, and what comes before the number of an MBR's type. */
static void is_same_text(const json_t *a, const json_t *b, const char *key)
{
    const char *ours_says = text_of(a, key), *says = text_of(b, key);

    if (strcmp(key, "type") == 0 && strncmp(ours_says, "0x", 2) == 0)
        assert_int_equal(strtoul(ours_says, NULL, 16), strtoul(says, NULL, 16));
    else if (strcasecmp(ours_says, says) != 0)
        fail_msg("%s: '%s' is not '%s'", key, ours_says, says);
}

/* Of ".../disk12": 12. */
static unsigned number_in(const char *node)
{
    const char *digits = node + strlen(node);

    while (digits > node && isdigit((unsigned char)digits[-1]))
        digits--;
    return (unsigned)strtoul(digits, NULL, 10);
}

static void is_same_partition(const json_t *our, const json_t *their, uint64_t sector)
{
    static const char *const keys[] = { "type", "name", "attrs" };
    uint64_t start = (uint64_t)json_integer_value(json_object_get(their, "start"));
    uint64_t size = (uint64_t)json_integer_value(json_object_get(their, "size"));
    unsigned number = number_in(text_of(their, "node"));
    char node[20];

    snprintf(node, sizeof node, "%u.raw", number);
    assert_string_equal(text_of(our, "node"), node);
    assert_int_equal(json_integer_value(json_object_get(our, "number")), number);
    assert_int_equal(json_integer_value(json_object_get(our, "start")), start * sector);
    assert_int_equal(json_integer_value(json_object_get(our, "size")), size * sector);
    assert_true(json_is_true(json_object_get(our, "inside")));
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
        is_same_text(our, their, keys[i]);
    if (json_object_get(their, "uuid"))
        is_same_text(our, their, "uuid");
    assert_int_equal(json_is_true(json_object_get(our, "bootable")),
                     json_is_true(json_object_get(their, "bootable")) ||
                         strstr(text_of(their, "attrs"), "LegacyBIOSBootable") != NULL);
}

/* The extended partition, which sfdisk lists, is none here. */
static void is_same_table(json_t *our, json_t *their)
{
    json_t *list = json_object_get(our, "partitions"), *partition;
    size_t i, count = 0;

    is_same_text(our, their, "label");
    is_same_text(our, their, "id");
    assert_string_equal(text_of(our, "unit"), "bytes");
    assert_int_equal(json_integer_value(json_object_get(our, "sectorsize")), 512);
    json_array_foreach(json_object_get(their, "partitions"), i, partition) {
        if (strcmp(text_of(partition, "type"), "5") != 0)
            is_same_partition(json_array_get(list, count++), partition, 512);
    }
    assert_int_equal(json_array_size(list), count);
    assert_null(json_object_get(our, "error"));
    json_decref(our);
    json_decref(their);
}

#define GPT_SCRIPT "label: gpt\\nstart=2048, size=4096, type=L, name=\"one \\xc3\\xbc\"\\n" \
                   "start=8192, size=2048, type=U, " \
                   "attrs=\"RequiredPartition,NoBlockIOProtocol,LegacyBIOSBootable\"\\n" \
                   "5: start=20480, size=8, type=00112233-4455-6677-8899-aabbccddeeff, attrs=\"GUID:48,51,63\"\\n"
#define MBR_SCRIPT "label: dos\\nstart=2048, size=2048, type=83, bootable\\nstart=4096, size=65536, type=5\\n" \
                   "start=80000, size=100, type=c\\n5: start=6144, size=2048\\n6: start=10240, size=4096, type=82\\n"

static void text_says_what_sfdisk_says(void **state)
{
    (void)state;
    make_disk(GPT_SCRIPT);
    is_same_table(ours(), theirs());
    assert_int_equal(unlink(path("disk")), 0);
    make_disk(MBR_SCRIPT);
    is_same_table(ours(), theirs());
    assert_int_equal(unlink(path("disk")), 0);
    make_disk("label: gpt\\n");
    is_same_table(ours(), theirs());
}

static void type_has_a_name(json_t *table, unsigned i, const char *name)
{
    const json_t *partition = json_array_get(json_object_get(table, "partitions"), i);

#ifndef HAVE_FDISK
    name = "";
#endif
    assert_string_equal(text_of(partition, "parttypename"), name);
}

static void types_have_names_where_they_are_known(void **state)
{
    json_t *table;

    (void)state;
    make_disk(GPT_SCRIPT);
    table = ours();
    type_has_a_name(table, 0, "Linux filesystem");
    type_has_a_name(table, 1, "EFI System");
    type_has_a_name(table, 2, "");
    json_decref(table);
    assert_int_equal(unlink(path("disk")), 0);
    make_disk(MBR_SCRIPT);
    table = ours();
    type_has_a_name(table, 0, "Linux");
    type_has_a_name(table, 1, "W95 FAT32 (LBA)");
    json_decref(table);
}

static void partition_past_the_end_is_told(void **state)
{
    json_t *table, *list;

    (void)state;
    make_disk(MBR_SCRIPT);
    assert_int_equal(truncate(path("disk"), 80050 * 512), 0);
    table = ours();
    list = json_object_get(table, "partitions");
    assert_int_equal(json_array_size(list), 4);
    assert_true(json_is_true(json_object_get(json_array_get(list, 0), "inside")));
    assert_true(json_is_false(json_object_get(json_array_get(list, 1), "inside")));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 1), "size")), 100 * 512);
    json_decref(table);
}

static void damaged_table_is_an_error_in_the_text(void **state)
{
    json_t *table;

    (void)state;
    make_disk(GPT_SCRIPT);
    change(512, "X", 1);
    change(DISK_BYTES - 512, "X", 1);
    table = ours();
    assert_string_equal(text_of(table, "label"), "gpt");
    assert_string_equal(text_of(table, "error"), "The GUID partition table is damaged, and so is its copy");
    assert_true(json_is_array(json_object_get(table, "partitions")));
    assert_int_equal(json_array_size(json_object_get(table, "partitions")), 0);
    json_decref(table);
}

static void partitions_that_nobody_looked_at_say_so(void **state)
{
    char command[1024];
    json_t *table;

    (void)state;
    snprintf(command, sizeof command, "truncate -s %u %s && { printf 'label: gpt\\ntable-length: 512\\n'; "
             "for i in $(seq 300); do echo start=$((i + 4095)),size=1; done; } | PATH=$PATH:/sbin:/usr/sbin "
             "sfdisk -q %s >%s", DISK_BYTES, path("disk"), path("disk"), path("output"));
    assert_int_equal(system(command), 0);
    table = ours();
    assert_int_equal(json_array_size(json_object_get(table, "partitions")), 300);
    for (unsigned i = 0; i < 300; i++) {
        const json_t *partition = json_array_get(json_object_get(table, "partitions"), i);

        assert_string_equal(text_of(json_object_get(partition, "contents"), "error"),
                            i < 256 ? "" : "not looked at: there are too many partitions");
    }
    json_decref(table);
}

static void disk_without_table_has_no_label(void **state)
{
    json_t *table;

    (void)state;
    write_file(path("disk"), "", 0);
    table = ours();
    assert_true(json_is_null(json_object_get(table, "label")));
    assert_int_equal(json_array_size(json_object_get(table, "partitions")), 0);
    assert_null(json_object_get(table, "error"));
    assert_null(json_object_get(table, "contents"));
    json_decref(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(text_says_what_sfdisk_says),
        TEST(types_have_names_where_they_are_known),
        TEST(partition_past_the_end_is_told),
        TEST(damaged_table_is_an_error_in_the_text),
        TEST(partitions_that_nobody_looked_at_say_so),
        TEST(disk_without_table_has_no_label),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
