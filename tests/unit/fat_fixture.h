/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of FAT share: file systems made by mkfs.fat, files put in by mtools, and both opened.  Included once
 * by each of them, after disk_fixture.h.
 */
#ifndef TESTS_UNIT_FAT_FIXTURE_H
#define TESTS_UNIT_FAT_FIXTURE_H

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "base/endian.h"
#include "byre/files.h"

/* Runs a command in the test's directory, where the file system is "disk"; what it prints goes into "output". */
__attribute__((format(printf, 1, 2))) static inline void run(const char *format, ...)
{
    char command[4096], *text;
    va_list arguments;

    va_start(arguments, format);
    assert_true(vasprintf(&text, format, arguments) > 0);
    va_end(arguments);
    assert_true(snprintf(command, sizeof command,
                         "cd %s && export PATH=$PATH:/sbin:/usr/sbin LC_ALL=C.UTF-8 TZ=UTC MTOOLS_SKIP_CHECK=1 && "
                         "{ %s; } >output 2>&1", tmp.dir, text) < (int)sizeof command);
    if (system(command) != 0)
        fail_msg("%s: see %s/output", text, tmp.dir);
    free(text);
}

/* Contents that differ from file to file and from place to place. */
static inline uint8_t byte_at(uint32_t salt, uint64_t offset)
{
    uint64_t x = (offset >> 2 | (uint64_t)salt << 40) * 0x9e3779b97f4a7c15u;

    return (uint8_t)(x >> 32) ^ (uint8_t)offset;
}

/* A file outside of the file system. */
static inline void make_file(const char *name, uint32_t salt, size_t length)
{
    uint8_t *bytes = malloc(length + 1);

    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++)
        bytes[i] = byte_at(salt, i);
    write_file(path(name), bytes, length);
    free(bytes);
}

static inline void poke(uint64_t at, const void *bytes, size_t length)
{
    int fd = open(path("disk"), O_WRONLY);

    assert_int_equal(pwrite(fd, bytes, length, (off_t)at), length);
    close(fd);
}

static inline void peek(uint64_t at, void *bytes, size_t length)
{
    int fd = open(path("disk"), O_RDONLY);

    assert_int_equal(pread(fd, bytes, length, (off_t)at), length);
    close(fd);
}

/* Of the file system in "disk": the first FAT; the root directory, or cluster 2. */
static inline uint64_t table_offset(void)
{
    uint8_t boot[512];

    peek(0, boot, sizeof boot);
    return (uint64_t)byre_get_le16(boot + 14) * byre_get_le16(boot + 11);
}

static inline uint64_t root_offset(void)
{
    uint8_t boot[512];
    uint64_t sectors;

    peek(0, boot, sizeof boot);
    sectors = byre_get_le16(boot + 22) ? byre_get_le16(boot + 22) : byre_get_le32(boot + 36);
    return table_offset() + boot[16] * sectors * byre_get_le16(boot + 11);
}

static inline uint64_t data_offset(void)
{
    uint8_t boot[512];

    peek(0, boot, sizeof boot);
    return root_offset() + byre_get_le16(boot + 17) * 32u;
}

/* Puts an entry into the FAT, 16 or 32 bits of it. */
static inline void put_link(unsigned bits, uint32_t cluster, uint32_t link)
{
    uint8_t bytes[4];

    byre_put_le32(bytes, link);
    poke(table_offset() + (uint64_t)cluster * bits / 8, bytes, bits / 8);
}

/* Puts a short entry of a directory at a place of the disk. */
static inline void put_file(uint64_t at, const char *name, uint8_t attributes, uint32_t cluster, uint32_t size)
{
    uint8_t entry[32] = { 0 };

    memcpy(entry, name, 11);
    entry[11] = attributes;
    byre_put_le32(entry + 24, cluster << 16); /* the date before it is 0 */
    entry[20] = (uint8_t)(cluster >> 16);
    entry[21] = (uint8_t)(cluster >> 24);
    byre_put_le32(entry + 28, size);
    poke(at, entry, sizeof entry);
}

struct opened {
    struct byre_disk *disk;
    struct byre_files *files;
};

static inline void open_files(struct opened *opened)
{
    const struct byre_open_options options = { .format = "raw" };

    must(byre_open(path("disk"), &options, &opened->disk, err));
    must(byre_files_open(opened->disk, 0, byre_get_size(opened->disk), &opened->files, err));
}

/* The same, with the store watched from the start; bytes of it that cannot be read. */
static inline void open_watched(struct opened *opened, uint64_t bad_from, uint64_t bad_length)
{
    const struct byre_open_options options = { .format = "raw" };

    must(byre_open(path("disk"), &options, &opened->disk, err));
    watch(opened->disk->layers[0].store);
    watched.bad_from = bad_from;
    watched.bad_end = bad_from + bad_length;
    must(byre_files_open(opened->disk, 0, byre_get_size(opened->disk), &opened->files, err));
}

static inline void close_files(struct opened *opened)
{
    byre_files_close(opened->files);
    close_disk(opened->disk);
}

static inline uint64_t find(struct opened *opened, const char *name)
{
    uint64_t id = 0;

    must(byre_files_find(opened->files, name, 0, &id, err));
    return id;
}

static inline void are_bytes(const char *name, const uint8_t *bytes, uint32_t salt, uint64_t from, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != byte_at(salt, from + i))
            fail_msg("%s: byte %llu is %#x and not %#x", name, (unsigned long long)(from + i), bytes[i],
                     byte_at(salt, from + i));
    }
}

static inline void close_watched(struct opened *opened)
{
    unwatch();
    close_files(opened);
}

/* All of a file is as make_file made it. */
static inline void has_contents(struct opened *opened, const char *name, uint32_t salt, size_t length)
{
    uint64_t id = find(opened, name);
    uint8_t *bytes = malloc(length + 100);
    struct byre_file file;
    size_t got;

    assert_non_null(bytes);
    must(byre_files_stat(opened->files, id, &file, err));
    assert_int_equal(file.size, length);
    must(byre_files_read(opened->files, id, bytes, length + 100, 0, &got, err));
    assert_int_equal(got, length);
    are_bytes(name, bytes, salt, 0, length);
    for (unsigned i = 0; i < 20 && length > 0; i++) {
        uint64_t from = random_below(length), want = random_below(MIN(length, (size_t)300000)) + 1;

        must(byre_files_read(opened->files, id, bytes, want, from, &got, err));
        assert_int_equal(got, MIN(want, length - from));
        are_bytes(name, bytes, salt, from, got);
    }
    free(bytes);
}

/* The names in a directory, one a line. */
struct names {
    char text[65536];
    unsigned count;
    unsigned limit;  /* entries a call; 0: all */
    unsigned left;
    uint64_t cursor;
};

static inline int note_name(void *opaque, const struct byre_files_entry *entry)
{
    struct names *names = opaque;

    assert_true(strlen(names->text) + strlen(entry->name) + 2 < sizeof names->text);
    strcat(strcat(names->text, entry->name), "\n");
    names->count++;
    names->cursor = entry->next;
    return names->limit && --names->left == 0;
}

static inline int list_names(struct opened *opened, const char *name, struct names *names, struct byre_error *err)
{
    uint64_t id = find(opened, name);
    int rc;

    names->text[0] = '\0';
    names->count = 0;
    names->cursor = 0;
    do {
        names->left = names->limit;
        rc = byre_files_list(opened->files, id, names->cursor, note_name, names, err);
    } while (rc > 0);
    return rc;
}

#endif
