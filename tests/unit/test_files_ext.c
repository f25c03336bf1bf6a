/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files in ext2, ext3 and ext4: everything that mke2fs put there, and debugfs, is found as it was, whatever
 * features the file system has.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>

#include "base/endian.h"
#include "disk_fixture.h"
#include "ext_fixture.h"
#include "../crash/effort.h"

static const struct {
    const char *options, *type;
} kinds[] = {
    { "-t ext2 -b 1024 -I 128", "ext2" },
    { "-t ext2 -b 4096 -O ^dir_index,^filetype", "ext2" },
    { "-t ext2 -r 0 -b 2048 -I 128", "ext2" },
    { "-t ext3 -b 1024 -J size=1", "ext3" },
    { "-t ext4 -b 1024 -O metadata_csum,64bit -g 1024", "ext4" },
    { "-t ext4 -b 4096 -O metadata_csum,64bit", "ext4" },
    { "-t ext4 -b 4096 -I 256 -O inline_data,metadata_csum,64bit", "ext4" },
    { "-t ext4 -b 1024 -I 1024 -O inline_data,^metadata_csum,uninit_bg,^64bit", "ext4" },
    { "-t ext4 -b 1024 -O meta_bg,^resize_inode,metadata_csum,metadata_csum_seed -g 1024", "ext4" },
    { "-t ext4 -b 65536 -N 4000 -O ^has_journal", "ext4" },
    { "-t ext4 -b 4096 -N 4000 -O bigalloc,^has_journal -C 16384", "ext4" },
};

/* --- trees ------------------------------------------------------------------------------------------------- */

static struct {
    char names[3 * NAMES][256];
    uint64_t ids[3 * NAMES], next[3 * NAMES];
    mode_t types[3 * NAMES];
    unsigned count, limit;
} seen;

static int note(void *opaque, const struct byre_files_entry *entry)
{
    (void)opaque;
    assert_true(seen.count < ARRAY_LEN(seen.names));
    snprintf(seen.names[seen.count], sizeof seen.names[0], "%s", entry->name);
    seen.ids[seen.count] = entry->id;
    seen.types[seen.count] = entry->type;
    seen.next[seen.count] = entry->next;
    return ++seen.count == seen.limit ? 17 : 0;
}

/* All entries, by parts of `limit`. */
static void list_all(struct byre_files *files, uint64_t directory, unsigned limit)
{
    uint64_t cursor = 0;
    int rc;

    seen.count = 0;
    do {
        seen.limit = seen.count + limit;
        rc = byre_files_list(files, directory, cursor, note, NULL, NULL);
        assert_true(rc == 0 || rc == 17);
        cursor = seen.count ? seen.next[seen.count - 1] : 0;
    } while (rc == 17);
}

static void same_contents(struct byre_files *files, uint64_t id, const char *name, uint64_t size)
{
    static uint8_t ours[100003], theirs[100003];
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    uint64_t end = MIN(size, UINT64_C(6) << 20);
    size_t got;

    assert_true(fd >= 0);
    for (uint64_t at = 0; at <= end; at += sizeof ours) {
        must(byre_files_read(files, id, ours, sizeof ours, at, &got, err));
        assert_int_equal(got, pread(fd, theirs, sizeof theirs, (off_t)at));
        assert_memory_equal(ours, theirs, got);
    }
    close(fd);
}

static void same_link(struct byre_files *files, uint64_t id, const char *name)
{
    char target[4096], *ours;
    ssize_t length = readlink(name, target, sizeof target - 1);

    assert_true(length > 0);
    target[length] = '\0';
    must(byre_files_readlink(files, id, &ours, err));
    assert_string_equal(ours, target);
    free(ours);
}

static void same_file(struct byre_files *files, uint64_t id, const char *name)
{
    struct byre_file file;
    struct stat st;

    assert_int_equal(lstat(name, &st), 0);
    must(byre_files_stat(files, id, &file, err));
    assert_int_equal(file.id, id);
    assert_int_equal(file.mode, st.st_mode);
    assert_int_equal(file.uid, st.st_uid);
    assert_int_equal(file.gid, st.st_gid);
    assert_int_equal(file.modified.tv_sec, st.st_mtime);
    if (!S_ISDIR(st.st_mode)) {
        assert_int_equal(file.size, st.st_size);
        assert_int_equal(file.links, st.st_nlink);
    }
    if (S_ISREG(st.st_mode))
        same_contents(files, id, name, file.size);
    if (S_ISLNK(st.st_mode))
        same_link(files, id, name);
}

/* A directory is as the one it was made from: no more and no less, by list and by look-up. */
static unsigned same_directory(struct byre_files *files, uint64_t id, const char *name)
{
    DIR *dir = opendir(name);
    unsigned count = 0, files_seen = 0;
    struct dirent *entry;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        char child[1024];
        struct stat st;
        uint64_t child_id;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        snprintf(child, sizeof child, "%s/%s", name, entry->d_name);
        must(byre_files_lookup(files, id, entry->d_name, &child_id, err));
        same_file(files, child_id, child);
        assert_int_equal(lstat(child, &st), 0);
        files_seen++;
        if (S_ISDIR(st.st_mode))
            files_seen += same_directory(files, child_id, child);
    }
    closedir(dir);
    list_all(files, id, 7);
    for (unsigned i = 0; i < seen.count; i++) {
        uint64_t child_id;

        if (strcmp(seen.names[i], "lost+found") == 0)
            continue;
        must(byre_files_lookup(files, id, seen.names[i], &child_id, err));
        assert_int_equal(child_id, seen.ids[i]);
        count--;
    }
    assert_int_equal(count, 0);
    return files_seen;
}

static void sparse_files_are_right(struct byre_files *files, unsigned block)
{
    uint64_t sparse = find_file(files, "sparse"), huge = find_file(files, "huge"), at;
    struct byre_file file;

    must(byre_files_seek(files, sparse, 0, false, &at, err));
    assert_in_range(at, 1, 65536);
    must(byre_files_seek(files, sparse, at, true, &at, err));
    assert_int_equal(at, 2u << 20);
    must(byre_files_seek(files, sparse, (2u << 20) + 5, true, &at, err));
    assert_int_equal(at, (2u << 20) + 5);
    must(byre_files_seek(files, sparse, at, false, &at, err));
    assert_in_range(at, (2u << 20) + 70000, (2u << 20) + 70000 + 2 * 65536);
    assert_int_equal(byre_files_seek(files, sparse, at, true, &at, NULL), -ENXIO);
    assert_int_equal(byre_files_seek(files, sparse, SPARSE_BYTES, false, &at, NULL), -ENXIO);
    must(byre_files_seek(files, sparse, SPARSE_BYTES - 1, false, &at, err));
    assert_int_equal(at, SPARSE_BYTES - 1);
    must(byre_files_stat(files, sparse, &file, err));
    assert_in_range(file.allocated, 70000, 4 * 65536 + 70000);
    assert_int_equal(file.allocated % block, 0);
    has_pattern(files, huge, HUGE_DATA - 1000, 6000, HUGE_DATA, HUGE_DATA + 4096);
    must(byre_files_seek(files, huge, 1u << 20, true, &at, err));
    assert_int_equal(at, byre_round_down(HUGE_DATA, block));
}

static void trees_of_all_kinds_are_what_was_put_in(void **state)
{
    (void)state;
    skip_without_ext();
    make_tree(NAMES);
    for (unsigned step = effort_of(4, 1, 1), i = (unsigned)getpid() % step; i < ARRAY_LEN(kinds); i += step) {
        struct byre_files_space space;
        struct opened opened;

        print_message("%s\n", kinds[i].options);
        make_ext(kinds[i].options, 24);
        opened = open_ext();
        assert_string_equal(byre_files_type(opened.files), kinds[i].type);
        assert_null(byre_files_warning(opened.files));
        must(byre_files_space(opened.files, &space, err));
        assert_in_range(space.blocks_free, 1, space.blocks);
        assert_in_range(space.blocks * space.block_size, 1u << 20, 24u << 20);
        assert_int_equal(same_directory(opened.files, BYRE_FILES_ROOT, path("tree")), NAMES + 18);
        sparse_files_are_right(opened.files, (unsigned)space.block_size);
        close_ext(&opened);
    }
}

/* --- what debugfs puts there, and says ----------------------------------------------------------------------- */

static void debugfs_of(const char *script)
{
    write_file(path("script"), script, strlen(script));
    run("debugfs -w -f script disk && ! grep -iE 'error|usage|unknown|not found|invalid' log");
}

static void devices_and_times_are_as_debugfs_made_them(void **state)
{
    struct opened opened;
    struct byre_file file;

    (void)state;
    skip_without_ext();
    make_tree(3);
    make_ext("-t ext4 -b 1024 -O metadata_csum,64bit", 24);
    debugfs_of("mknod old c 4 65\nmknod new b 1 1\nsif new block[0] 0\nsif new block[1] 0x11112c70\n"
               "sif small uid 100001\nsif small gid 300003\n"
               "sif small mtime @0x77359400\nsif small mtime_extra 0x77359401\n"
               "sif small atime @0xfffffff0\nsif small ctime @16\nsif small crtime @1000000000\n"
               "sif small crtime_extra 28\nsif small atime_extra 0\n");
    opened = open_ext();
    must(byre_files_stat(opened.files, find_file(opened.files, "old"), &file, err));
    assert_true(S_ISCHR(file.mode));
    assert_int_equal(file.major, 4);
    assert_int_equal(file.minor, 65);
    must(byre_files_stat(opened.files, find_file(opened.files, "new"), &file, err));
    assert_true(S_ISBLK(file.mode));
    assert_int_equal(file.major, 300);
    assert_int_equal(file.minor, 70000);
    must(byre_files_stat(opened.files, find_file(opened.files, "small"), &file, err));
    assert_int_equal(file.uid, 100001);
    assert_int_equal(file.gid, 300003);
    assert_int_equal(file.modified.tv_sec, 0x77359400 + (INT64_C(1) << 32));
    assert_int_equal(file.modified.tv_nsec, 0x77359401 >> 2);
    assert_int_equal(file.accessed.tv_sec, -16);
    assert_int_equal(file.created.tv_sec, 1000000000);
    assert_int_equal(file.created.tv_nsec, 7);
    close_ext(&opened);
}

static void unwritten_extents_are_holes_of_zeros(void **state)
{
    struct opened opened;
    uint64_t id, at;

    (void)state;
    skip_without_ext();
    make_tree(3);
    make_ext("-t ext4 -b 1024", 24);
    debugfs_of("fallocate sparse 100 3000\n");
    opened = open_ext();
    id = find_file(opened.files, "sparse");
    has_pattern(opened.files, id, 100 * 1024, 1u << 20, 0, 1);
    has_pattern(opened.files, id, (2u << 20) - 10, 1000, 2u << 20, (2u << 20) + 70000);
    must(byre_files_seek(opened.files, id, 110 * 1024, true, &at, err));
    assert_int_equal(at, 2u << 20);
    close_ext(&opened);
}

/* The longest extents: lengths of more than 32768 are of those that were never written, by so much. */
static void extents_of_the_greatest_length_are_read(void **state)
{
    const uint64_t start = 20000, length = 32768 * UINT64_C(1024);
    struct opened opened;
    uint64_t id, at;

    (void)state;
    skip_without_ext();
    make_tree(3);
    make_ext("-t ext4 -b 1024 -O ^metadata_csum", 120);
    debugfs_of("sif empty size 100662272\nsif empty block[0] 0x0003f30a\nsif empty block[1] 4\n"
               "sif empty block[3] 0\nsif empty block[4] 32768\nsif empty block[5] 20000\n"
               "sif empty block[6] 32768\nsif empty block[7] 65535\nsif empty block[8] 53000\n"
               "sif empty block[9] 65535\nsif empty block[10] 32768\nsif empty block[11] 70000\n");
    write_pattern("part", length - 5000, 5000);
    run("dd if=part of=disk bs=1 skip=%llu seek=%llu count=5000 conv=notrunc",
        (unsigned long long)(length - 5000), (unsigned long long)(start * 1024 + length - 5000));
    run("printf %%01024d 7 | dd of=disk bs=1024 seek=$((53000 + 32766)) conv=notrunc");
    opened = open_ext();
    id = find_file(opened.files, "empty");
    must(byre_files_seek(opened.files, id, 0, false, &at, err));
    assert_int_equal(at, length);
    must(byre_files_seek(opened.files, id, at, true, &at, err));
    assert_int_equal(at, 65535 * UINT64_C(1024));
    must(byre_files_seek(opened.files, id, at, false, &at, err));
    assert_int_equal(at, 98303 * UINT64_C(1024));
    has_pattern(opened.files, id, length - 5000, 9000, length - 5000, length);
    has_pattern(opened.files, id, 65534 * UINT64_C(1024), 1024, 0, 1);
    close_ext(&opened);
}

static void blocks_of_huge_files_are_counted(void **state)
{
    struct opened opened;
    struct byre_file file;

    (void)state;
    skip_without_ext();
    make_tree(3);
    make_ext("-t ext4 -b 4096 -O huge_file,^metadata_csum", 24);
    debugfs_of("sif big blocks 0x100000005\nsif hundred blocks 0x300000007\nsif hundred flags 0xc0000\n");
    opened = open_ext();
    must(byre_files_stat(opened.files, find_file(opened.files, "big"), &file, err));
    assert_int_equal(file.allocated, UINT64_C(0x100000005) * 512);
    must(byre_files_stat(opened.files, find_file(opened.files, "hundred"), &file, err));
    assert_int_equal(file.allocated, UINT64_C(0x300000007) * 4096);
    close_ext(&opened);
}

static void has_attribute(struct byre_files *files, const char *file, const char *name, const void *value,
                          size_t length)
{
    size_t got = 0;
    void *ours = NULL;

    must(byre_files_xattr_get(files, find_file(files, file), name, &ours, &got, err));
    assert_int_equal(got, length);
    assert_memory_equal(ours, value, length);
    free(ours);
}

/* An ACL as the system call has it: version 2, owner, a named user, group, mask, others. */
static const uint8_t acl[] = {
    2, 0, 0, 0,
    1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 4, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
    0x10, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
};

static void attributes_are_read_from_all_places(void **state)
{
    static const char expected[] = "user.a|user.large|security.x|system.posix_acl_access|trusted.t|";
    static const char *const options[] = {
        "-t ext2 -b 4096 -I 128",
        "-t ext4 -b 4096 -I 256 -O metadata_csum",
        "-t ext4 -b 4096 -I 1024 -O ea_inode,inline_data,metadata_csum",
    };
    static uint8_t large[4096]; /* as much as debugfs puts there */

    (void)state;
    skip_without_ext();
    make_tree(3);
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = byte_at(i);
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        size_t length = i == 2 ? sizeof large : 2000, names_length = 0, found = 0;
        char *names = NULL;
        struct opened opened;
        void *value;

        make_ext(options[i], 24);
        write_file(path("large"), large, length);
        write_file(path("acl"), acl, sizeof acl);
        debugfs_of("cd /\nea_set small user.a value\nea_set -f large small user.large\n"
                   "ea_set small security.x 12\nea_set -f acl small system.posix_acl_access\n"
                   "ea_set small trusted.t trust\n");
        opened = open_ext();
        has_attribute(opened.files, "small", "user.a", "value", 5);
        has_attribute(opened.files, "small", "user.large", large, length);
        has_attribute(opened.files, "small", "security.x", "12", 2);
        has_attribute(opened.files, "small", "trusted.t", "trust", 5);
        has_attribute(opened.files, "small", "system.posix_acl_access", acl, sizeof acl);
        must(byre_files_xattr_list(opened.files, find_file(opened.files, "small"), &names, &names_length, err));
        for (char *name = names; name < names + names_length; name += strlen(name) + 1, found++)
            assert_non_null(strstr(expected, name));
        assert_int_equal(found, 5);
        assert_int_equal(names_length, sizeof expected - 1);
        free(names);
        assert_int_equal(byre_files_xattr_get(opened.files, find_file(opened.files, "small"), "user.b", &value,
                                              &length, NULL), -ENODATA);
        must(byre_files_xattr_list(opened.files, find_file(opened.files, "empty"), &names, &names_length, err));
        assert_int_equal(names_length, 0);
        free(names);
        assert_int_equal(byre_files_xattr_get(opened.files, find_file(opened.files, "hundred"), "system.data", &value,
                                              &length, NULL), -ENODATA);
        close_ext(&opened);
    }
}

/* --- what cannot be done ------------------------------------------------------------------------------------- */

static void calls_for_the_wrong_kind_of_file_are_refused(void **state)
{
    struct opened opened;
    struct byre_file file;
    uint8_t byte;
    uint64_t id;
    size_t got;
    char *target;

    (void)state;
    skip_without_ext();
    make_tree(3);
    make_ext("-t ext4 -b 1024", 24);
    opened = open_ext();
    id = find_file(opened.files, "small");
    assert_int_equal(byre_files_lookup(opened.files, id, "x", &id, NULL), -ENOTDIR);
    assert_int_equal(byre_files_list(opened.files, id, 0, note, NULL, NULL), -ENOTDIR);
    assert_int_equal(byre_files_readlink(opened.files, id, &target, NULL), -EINVAL);
    assert_int_equal(byre_files_read(opened.files, BYRE_FILES_ROOT, &byte, 1, 0, &got, NULL), -EISDIR);
    assert_int_equal(byre_files_read(opened.files, find_file(opened.files, "fifo"), &byte, 1, 0, &got, NULL), -EINVAL);
    assert_int_equal(byre_files_lookup(opened.files, BYRE_FILES_ROOT, "..", &id, NULL), -ENOENT);
    assert_int_equal(byre_files_lookup(opened.files, BYRE_FILES_ROOT, "small/", &id, NULL), -ENOENT);
    assert_int_equal(byre_files_lookup(opened.files, BYRE_FILES_ROOT, "", &id, NULL), -ENOENT);
    for (id = 0; id < 11; id++)
        assert_int_equal(byre_files_stat(opened.files, id, &file, NULL), id == BYRE_FILES_ROOT ? 0 : -EUCLEAN);
    for (id = 1u << 20; id && id < UINT64_MAX / 3; id = 3 * id + 1)
        assert_int_equal(byre_files_stat(opened.files, id, &file, NULL), -EUCLEAN);
    assert_int_equal(byre_files_stat(opened.files, UINT64_MAX, &file, NULL), -EUCLEAN);
    close_ext(&opened);
}

static void set_incompatible(uint32_t set, uint32_t clear)
{
    int fd = open(path("disk"), O_RDWR | O_CLOEXEC);
    uint8_t bytes[4];

    assert_int_equal(pread(fd, bytes, sizeof bytes, 1024 + 0x60), 4);
    byre_put_le32(bytes, (byre_get_le32(bytes) | set) & ~clear);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, 1024 + 0x60), 4);
    close(fd);
}

static void encrypted_files_and_unknown_features_are_named(void **state)
{
    struct byre_error error = BYRE_ERROR_INIT;
    struct byre_files *files;
    struct opened opened;
    uint8_t byte;
    size_t got;

    (void)state;
    skip_without_ext();
    make_tree(3);
    make_ext("-t ext4 -b 1024 -O encrypt,^metadata_csum", 24);
    debugfs_of("sif small flags 0x80800\nsif sub flags 0x80800\n");
    opened = open_ext();
    assert_int_equal(byre_files_read(opened.files, find_file(opened.files, "small"), &byte, 1, 0, &got, &error),
                     -ENOTSUP);
    assert_non_null(strstr(error.text, "'encrypt'"));
    assert_int_equal(byre_files_list(opened.files, find_file(opened.files, "sub"), 0, note, NULL, NULL), -ENOTSUP);
    has_pattern(opened.files, find_file(opened.files, "big"), 0, 700001, 0, 700001);
    byre_files_close(opened.files);
    set_incompatible(1u << 0, 1u << 27);
    assert_int_equal(byre_files_open(opened.disk, 0, byre_get_size(opened.disk), &files, &error), -ENOTSUP);
    assert_non_null(strstr(error.text, "'compression'"));
    set_incompatible(1u << 27, 1u << 0);
    assert_int_equal(byre_files_open(opened.disk, 0, byre_get_size(opened.disk), &files, &error), -ENOTSUP);
    assert_non_null(strstr(error.text, "FEATURE_I27"));
    close_disk(opened.disk);
}

static void warnings_tell_of_errors_and_a_journal(void **state)
{
    struct opened opened;

    (void)state;
    skip_without_ext();
    make_tree(3);
    make_ext("-t ext4 -b 1024 -J size=1", 24);
    debugfs_of("ssv state 3\nfeature +needs_recovery\n");
    opened = open_ext();
    assert_string_equal(byre_files_warning(opened.files),
                        "it has noted errors, and should be checked; its journal was not replayed: what is seen may be "
                        "old, or not fit together");
    close_ext(&opened);
    debugfs_of("ssv state 0\nfeature -needs_recovery\n");
    opened = open_ext();
    assert_string_equal(byre_files_warning(opened.files), "it was not unmounted cleanly");
    close_ext(&opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(trees_of_all_kinds_are_what_was_put_in),
        TEST(devices_and_times_are_as_debugfs_made_them),
        TEST(unwritten_extents_are_holes_of_zeros),
        TEST(extents_of_the_greatest_length_are_read),
        TEST(blocks_of_huge_files_are_counted),
        TEST(attributes_are_read_from_all_places),
        TEST(calls_for_the_wrong_kind_of_file_are_refused),
        TEST(encrypted_files_and_unknown_features_are_named),
        TEST(warnings_tell_of_errors_and_a_journal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
