/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File systems of ext2, ext3 and ext4 for tests: made by mke2fs from a directory of the test's own, changed by debugfs.
 * Included after disk_fixture.h.  Without libext2fs, or e2fsprogs, the tests are skipped.
 */
#ifndef TESTS_UNIT_EXT_FIXTURE_H
#define TESTS_UNIT_EXT_FIXTURE_H

#include <fcntl.h>
#include <sys/stat.h>

#include "byre/files.h"

#define SPARSE_BYTES (5u << 20)
#define HUGE_BYTES   (UINT64_C(5) << 30)
#define HUGE_DATA    (UINT64_C(9) << 29) /* where 4096 bytes of data are */
#define NAMES        2500u

/* Runs a command of the shell, with the programs of the system administrator, in the test's directory. */
__attribute__((format(printf, 1, 2))) static inline void run(const char *fmt, ...)
{
    char command[4096];
    int length = snprintf(command, sizeof command, "cd '%s' && PATH=$PATH:/sbin:/usr/sbin && { ", tmp.dir);
    va_list args;

    va_start(args, fmt);
    length += vsnprintf(command + length, sizeof command - (size_t)length, fmt, args);
    va_end(args);
    assert_true(length + 48 < (int)sizeof command);
    strcat(command, "; } >log 2>&1 || { cat log; false; }");
    if (system(command) != 0)
        fail_msg("%s: failed", command);
}

static inline void skip_without_ext(void)
{
#ifndef HAVE_EXT2FS
    skip();
#endif
    if (system("PATH=$PATH:/sbin:/usr/sbin; command -v mke2fs debugfs e2fsck >/dev/null") != 0)
        skip();
}

/* The byte that a file has at an offset. */
static inline uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 7 + (offset >> 8) * 13 + (offset >> 16) * 29 + 1);
}

static inline void write_pattern(const char *name, uint64_t offset, size_t length)
{
    int fd = open(path(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    uint8_t *bytes = malloc(length);

    assert_true(fd >= 0 && bytes);
    for (size_t i = 0; i < length; i++)
        bytes[i] = byte_at(offset + i);
    assert_int_equal(pwrite(fd, bytes, length, (off_t)offset), length);
    free(bytes);
    close(fd);
}

/* The directory `tree`, with `names` files in a directory of its own. */
static inline void make_tree(unsigned names)
{
    run("mkdir -p tree/sub/deep tree/many tree/empty-dir && printf hello >tree/small && : >tree/empty && "
        "chmod 2750 tree/sub && chmod 0640 tree/small && ln -s small tree/short-link && "
        "ln -s \"$(printf %%0200d 7)\" tree/long-link && ln tree/small tree/sub/other && "
        "mkfifo tree/fifo && touch \"$(printf 'tree/\\377\\376 bytes')\" && printf %%0100d 1 >tree/hundred && "
        "ln -s ../small tree/sub/up && ln -s /sub/deep tree/absolute && printf x >tree/sub/deep/file && "
        "i=0; while [ $i -lt %u ]; do i=$((i + 1)); echo $i; done | sed 's|.*|tree/many/name-of-a-file-&|' | "
        "xargs -r touch", names);
    write_pattern("tree/big", 0, 700001);
    write_pattern("tree/sparse", 0, 1);
    write_pattern("tree/sparse", 2u << 20, 70000);
    assert_int_equal(truncate(path("tree/sparse"), SPARSE_BYTES), 0);
    write_pattern("tree/huge", HUGE_DATA, 4096);
    assert_int_equal(truncate(path("tree/huge"), (off_t)HUGE_BYTES), 0);
}

/* `options` are those of mke2fs, which forgets a hole at the end of a file if there is inline data; directories get an
 * index where there may be one. */
static inline void make_ext(const char *options, unsigned megabytes)
{
    run("rm -f disk && mke2fs -q -F -L 'a label' -U 01234567-89ab-cdef-0123-456789abcdef -d tree %s disk %uM && "
        "debugfs -w -R 'sif sparse size %u' disk && debugfs -w -R 'sif huge size %llu' disk && "
        "{ e2fsck -fyD disk || [ $? = 1 ]; }", options, megabytes, SPARSE_BYTES, (unsigned long long)HUGE_BYTES);
}

struct opened {
    struct byre_disk *disk;
    struct byre_files *files;
};

static inline struct opened open_ext(void)
{
    const struct byre_open_options options = { .format = "raw" };
    struct opened opened;

    must(byre_open(path("disk"), &options, &opened.disk, err));
    must(byre_files_open(opened.disk, 0, byre_get_size(opened.disk), &opened.files, err));
    return opened;
}

static inline void close_ext(struct opened *opened)
{
    byre_files_close(opened->files);
    close_disk(opened->disk);
}

static inline uint64_t find_file(struct byre_files *files, const char *name)
{
    uint64_t id = 0;

    must(byre_files_find(files, name, 0, &id, err));
    return id;
}

/* Reads a part of a file that is all there, and compares: the pattern where there are data, zeros elsewhere. */
static inline void has_pattern(struct byre_files *files, uint64_t id, uint64_t offset, size_t length, uint64_t data,
                               uint64_t data_end)
{
    uint8_t *bytes = malloc(length);
    size_t got = 0;

    assert_non_null(bytes);
    must(byre_files_read(files, id, bytes, length, offset, &got, err));
    assert_int_equal(got, length);
    for (size_t i = 0; i < length; i++) {
        uint64_t at = offset + i;

        if (bytes[i] != (at >= data && at < data_end ? byte_at(at) : 0))
            fail_msg("byte %llu of file %llu is %u", (unsigned long long)at, (unsigned long long)id, bytes[i]);
    }
    free(bytes);
}

#endif
