/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files inside a disk: what an ext2, ext3, ext4 or FAT file system in it holds, read and never written.
 *
 *     byre_files_open(disk, partition.goff, partition.length, &files, &err);
 *     byre_files_find(files, "/etc/hostname", BYRE_FILES_FOLLOW, &id, &err);
 *     byre_files_read(files, id, buf, sizeof buf, 0, &got, &err);
 *
 * All comes from strangers: whatever a file system says is checked before it is believed, every loop over it ends, and
 * what is damaged is an error of the file that it concerns (-EIO, -EUCLEAN), not of the others.
 *
 * A file is known by its id, a number that stays the same as long as the disk has the same contents; BYRE_FILES_ROOT
 * is the uppermost directory, whatever the file system calls it.  Names are bytes: UTF-8 from FAT, what is there from
 * ext.  Calls return 0 or a negative errno, fill `err` (which may be NULL), and are thread-safe on one file system,
 * byre_files_close apart.
 *
 * What FAT does not have is as Linux shows it by default: files belong to root, modes are 0755 of directories and 0644
 * of files, less the right to write where the read-only attribute is set.  Its times are local ones of a zone that is
 * not recorded, and are taken for UTC.
 */
#ifndef BYRE_FILES_H
#define BYRE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "byre/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_disk;
struct byre_files;

#define BYRE_FILES_ROOT     UINT64_C(1)
#define BYRE_FILES_ID_BITS  48u /* no id is larger */
#define BYRE_FILES_NAME_MAX 765u /* bytes of a name: 255 characters of UTF-16 */

/* Partitions of a table that are looked at for what they hold: more than Linux shows. */
#define BYRE_FILES_LOOKS_MAX 256u

/* What lies on a range of a disk, by its signature. */
struct byre_files_found {
    char type[32];   /* as blkid(8) names it: "ext4", "vfat", "xfs", "swap", "LVM2_member"...; "" if unknown */
    char label[256]; /* UTF-8; "" if there is none */
    char uuid[64];
    bool supported;  /* byre_files_open knows how to read it */
};

/* What lies there.  Without libblkid only what byre_files_open can read is known.  Nothing known is no error. */
int byre_files_probe(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_files_found *ret_found,
                     struct byre_error *err);

/*
 * Opens the file system in `length` bytes of a disk from `goff` on; the disk stays open as long as it is.  A range that
 * reaches past the end of the disk can be opened; what lies there cannot be read.
 * -ENOTSUP: byre reads no such file system, or has features that byre does not know; the message names it.  -EUCLEAN:
 * it is damaged beyond use.
 */
int byre_files_open(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_files **ret_files,
                    struct byre_error *err);

/*
 * Opens a file system of a disk, whose partitions are those that byre/partition.h tells.  Number N: the one in
 * partition N.  0: the one on the whole disk where there are no partitions, or else the only one in a partition that
 * byre can read; *ret_number, which may be NULL, tells in which, 0 for the whole disk.
 * As byre_partition_find and byre_files_open; and, for number 0, -ENOTUNIQ: several partitions have one, which the
 * message names, or one has and not all of more than BYRE_FILES_LOOKS_MAX were looked at; -ENOTSUP: none has, and the
 * message says what they hold.
 */
int byre_files_open_in(struct byre_disk *disk, unsigned number, struct byre_files **ret_files, unsigned *ret_number,
                       struct byre_error *err);

/* NULL is allowed.  No call may be under way. */
void byre_files_close(struct byre_files *files);

/* "ext2", "ext3", "ext4", "vfat". */
const char *byre_files_type(const struct byre_files *files);
/* What the user should know: errors that the file system has noted, a journal that was not replayed; NULL: nothing. */
const char *byre_files_warning(const struct byre_files *files);

struct byre_files_space {
    uint64_t block_size, blocks, blocks_free, blocks_available, inodes, inodes_free; /* inodes 0: there are none */
};
int byre_files_space(struct byre_files *files, struct byre_files_space *ret_space, struct byre_error *err);

struct byre_file {
    uint64_t id;
    mode_t mode;               /* type and permissions, as stat(2) has them */
    uint32_t links, uid, gid;
    unsigned major, minor;     /* of devices */
    uint64_t size;             /* bytes; no file is larger than INT64_MAX */
    uint64_t allocated;        /* bytes that it takes up */
    struct timespec accessed, modified, changed, created; /* UTC; tv_sec 0 and tv_nsec 0 where not recorded */
};
int byre_files_stat(struct byre_files *files, uint64_t id, struct byre_file *ret_file, struct byre_error *err);

/* The file of that name in a directory.  FAT ignores case, as its users expect.  -ENOENT, -ENOTDIR. */
int byre_files_lookup(struct byre_files *files, uint64_t directory, const char *name, uint64_t *ret_id,
                      struct byre_error *err);

/* The file at a path from the root on, with or without a slash before it; symbolic links on the way are followed, at
 * most 40, and with BYRE_FILES_FOLLOW the last one, too; ".." of the root is the root.  -ENOENT, -ENOTDIR, -ELOOP. */
#define BYRE_FILES_FOLLOW 1u
int byre_files_find(struct byre_files *files, const char *path, unsigned flags, uint64_t *ret_id,
                    struct byre_error *err);

struct byre_files_entry {
    const char *name;  /* ends with a null byte; has no slash, and is neither "." nor ".." nor empty */
    uint64_t id;
    mode_t type;       /* S_IFREG..., or 0: ask byre_files_stat */
    uint64_t next;     /* a cursor: the list goes on behind this entry */
};
/*
 * Calls `each` for the entries of a directory from a cursor on (0: from the start) until it returns nonzero, which is
 * returned.  Entries whose names cannot be shown (a slash, a null byte) are left out, "." and ".." as well.  `each`
 * must not call the file system.  Where a part of a directory cannot be read, entries come before the error does; of
 * FAT all that can be read.
 */
int byre_files_list(struct byre_files *files, uint64_t directory, uint64_t cursor,
                    int (*each)(void *opaque, const struct byre_files_entry *entry), void *opaque,
                    struct byre_error *err);

/* Reads up to `length` bytes; less, or nothing, at the end of the file.  -EISDIR, -EINVAL for what has no contents. */
int byre_files_read(struct byre_files *files, uint64_t id, void *buf, size_t length, uint64_t offset,
                    size_t *ret_length, struct byre_error *err);

/*
 * Where data, or else a hole, begins at `offset` or behind it; the end of the file is a hole.  -ENXIO as lseek(2).  One
 * call looks at so many pieces of a file; what comes behind them counts as data, although it may be a hole.
 */
int byre_files_seek(struct byre_files *files, uint64_t id, uint64_t offset, bool data, uint64_t *ret_offset,
                    struct byre_error *err);

/* Where a symbolic link leads: a string, to be freed by the caller.  -EINVAL: it is none. */
int byre_files_readlink(struct byre_files *files, uint64_t id, char **ret_target, struct byre_error *err);

/*
 * Extended attributes by their full names ("user.x", "security.capability", "system.posix_acl_access", the value as the
 * system call has it).  List: names one after another, each with a null byte behind it.  Both allocate what the
 * caller frees; a list may be empty.  -ENODATA: the file has no such attribute.
 */
int byre_files_xattr_list(struct byre_files *files, uint64_t id, char **ret_names, size_t *ret_length,
                          struct byre_error *err);
int byre_files_xattr_get(struct byre_files *files, uint64_t id, const char *name, void **ret_value,
                         size_t *ret_length, struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
