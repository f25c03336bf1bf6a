/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a kind of file system has to do for byre/files.h.  The calls mean what those there do; `id` comes from the kind
 * itself (lookup, list) or from outside, so that any number must be borne.  Each kind takes its own locks.
 */
#ifndef BYRE_VOLUME_FILESYSTEM_H
#define BYRE_VOLUME_FILESYSTEM_H

#include "byre/files.h"

struct byre_filesystem_kind;

/* A kind's own struct begins with this. */
struct byre_files {
    const struct byre_filesystem_kind *kind;
    struct byre_disk *disk;
    uint64_t goff, length; /* of the disk */
    char type[8];
    char *warning; /* or NULL; freed with it */
};

struct byre_filesystem_kind {
    /* Is it one of these?  Looks at what it needs of the range; 0: no, 1: yes, negative: it could not be read. */
    int (*probe)(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_files_found *ret_found,
                 struct byre_error *err);
    /* Allocates the struct and fills in `type` and `warning`; the caller does the rest of struct byre_files. */
    int (*open)(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_files **ret_files,
                struct byre_error *err);
    void (*close)(struct byre_files *files); /* frees all but `warning` */
    int (*space)(struct byre_files *files, struct byre_files_space *ret_space, struct byre_error *err);
    int (*stat)(struct byre_files *files, uint64_t id, struct byre_file *ret_file, struct byre_error *err);
    int (*lookup)(struct byre_files *files, uint64_t directory, const char *name, uint64_t *ret_id,
                  struct byre_error *err);
    int (*list)(struct byre_files *files, uint64_t directory, uint64_t cursor,
                int (*each)(void *opaque, const struct byre_files_entry *entry), void *opaque,
                struct byre_error *err);
    int (*read)(struct byre_files *files, uint64_t id, void *buf, size_t length, uint64_t offset, size_t *ret_length,
                struct byre_error *err);
    int (*seek)(struct byre_files *files, uint64_t id, uint64_t offset, bool data, uint64_t *ret_offset,
                struct byre_error *err);
    /* NULL: this kind has none. */
    int (*readlink)(struct byre_files *files, uint64_t id, char **ret_target, struct byre_error *err);
    int (*xattr_list)(struct byre_files *files, uint64_t id, char **ret_names, size_t *ret_length,
                      struct byre_error *err);
    int (*xattr_get)(struct byre_files *files, uint64_t id, const char *name, void **ret_value, size_t *ret_length,
                     struct byre_error *err);
};

extern const struct byre_filesystem_kind byre_ext_kind; /* ext.c; not without libext2fs */
extern const struct byre_filesystem_kind byre_fat_kind; /* fat.c */

/* How many bytes of its range there are on the disk. */
uint64_t byre_filesystem_there(const struct byre_files *files);
/* Reads bytes of a file system's range.  -EIO: they lie past its end, or that of the disk. */
int byre_filesystem_pread(const struct byre_files *files, void *buf, size_t length, uint64_t offset,
                          struct byre_error *err);

#endif
