/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls of byre/files.h: which kind of file system it is, and paths.
 */
#include "config.h"

#include "byre/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/disk.h"
#include "volume/filesystem.h"
#include "volume/found.h"

#define LINKS_MAX 40u   /* symbolic links on one path, as Linux counts */
#define PATH_LIMIT 65536u /* bytes that links may make of a path */

static const struct byre_filesystem_kind *const kinds[] = {
    &byre_fat_kind,
#ifdef HAVE_EXT2FS
    &byre_ext_kind,
#endif
    NULL,
};

int byre_files_probe(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_files_found *ret_found,
                     struct byre_error *err)
{
    struct byre_files_found found = { .type = "" };
    int rc = 0;

    for (unsigned i = 0; kinds[i] && rc == 0; i++)
        rc = kinds[i]->probe(disk, goff, length, &found, err);
    if (rc == 0)
        rc = byre_found_by_signature(disk, goff, length, &found, err);
    if (rc < 0)
        return rc;
    *ret_found = found;
    return 0;
}

int byre_files_open(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_files **ret_files,
                    struct byre_error *err)
{
    struct byre_files_found found = { .type = "" };
    struct byre_files *files;
    int rc;

    for (unsigned i = 0; kinds[i]; i++) {
        rc = kinds[i]->probe(disk, goff, length, &found, err);
        if (rc == 0)
            continue;
        if (rc > 0)
            rc = kinds[i]->open(disk, goff, length, &files, err);
        if (rc < 0)
            return rc;
        files->kind = kinds[i];
        files->disk = disk;
        files->goff = goff;
        files->length = length;
        *ret_files = files;
        return 0;
    }
    rc = byre_files_probe(disk, goff, length, &found, err);
    if (rc < 0)
        return rc;
    if (!found.type[0])
        return byre_error_set(err, -ENOTSUP, "there is no file system that is known");
    return byre_error_set(err, -ENOTSUP, "it holds %s, which byre does not read", found.type);
}

void byre_files_close(struct byre_files *files)
{
    if (!files)
        return;
    free(files->warning);
    files->kind->close(files);
}

const char *byre_files_type(const struct byre_files *files)
{
    return files->type;
}

const char *byre_files_warning(const struct byre_files *files)
{
    return files->warning;
}

uint64_t byre_filesystem_there(const struct byre_files *files)
{
    uint64_t size = byre_get_size(files->disk);

    return files->goff < size ? MIN(size - files->goff, files->length) : 0;
}

int byre_filesystem_pread(const struct byre_files *files, void *buf, size_t length, uint64_t offset,
                          struct byre_error *err)
{
    if (!byre_range_within(offset, length, files->length))
        return byre_error_set(err, -EIO, "offset %llu is past the end of the file system", (unsigned long long)offset);
    if (!byre_range_within(offset, length, byre_filesystem_there(files)))
        return byre_error_set(err, -EIO, "offset %llu of the file system is past the end of the disk",
                              (unsigned long long)offset);
    return byre_pread(files->disk, buf, length, files->goff + offset, err);
}

int byre_files_space(struct byre_files *files, struct byre_files_space *ret_space, struct byre_error *err)
{
    return files->kind->space(files, ret_space, err);
}

int byre_files_stat(struct byre_files *files, uint64_t id, struct byre_file *ret_file, struct byre_error *err)
{
    return files->kind->stat(files, id, ret_file, err);
}

int byre_files_lookup(struct byre_files *files, uint64_t directory, const char *name, uint64_t *ret_id,
                      struct byre_error *err)
{
    return files->kind->lookup(files, directory, name, ret_id, err);
}

int byre_files_list(struct byre_files *files, uint64_t directory, uint64_t cursor,
                    int (*each)(void *opaque, const struct byre_files_entry *entry), void *opaque,
                    struct byre_error *err)
{
    return files->kind->list(files, directory, cursor, each, opaque, err);
}

int byre_files_read(struct byre_files *files, uint64_t id, void *buf, size_t length, uint64_t offset,
                    size_t *ret_length, struct byre_error *err)
{
    return files->kind->read(files, id, buf, length, offset, ret_length, err);
}

int byre_files_seek(struct byre_files *files, uint64_t id, uint64_t offset, bool data, uint64_t *ret_offset,
                    struct byre_error *err)
{
    return files->kind->seek(files, id, offset, data, ret_offset, err);
}

int byre_files_readlink(struct byre_files *files, uint64_t id, char **ret_target, struct byre_error *err)
{
    if (!files->kind->readlink)
        return byre_error_set(err, -EINVAL, "it is no symbolic link");
    return files->kind->readlink(files, id, ret_target, err);
}

int byre_files_xattr_list(struct byre_files *files, uint64_t id, char **ret_names, size_t *ret_length,
                          struct byre_error *err)
{
    if (files->kind->xattr_list)
        return files->kind->xattr_list(files, id, ret_names, ret_length, err);
    *ret_names = NULL;
    *ret_length = 0;
    return 0;
}

int byre_files_xattr_get(struct byre_files *files, uint64_t id, const char *name, void **ret_value,
                         size_t *ret_length, struct byre_error *err)
{
    if (!files->kind->xattr_get)
        return byre_error_set(err, -ENODATA, "there is no attribute '%s'", name);
    return files->kind->xattr_get(files, id, name, ret_value, ret_length, err);
}

/* --- paths ------------------------------------------------------------------------------------------------- */

/* The way to where a walk is: ".." is one step back on it, whatever the entry of that name says. */
struct trail {
    uint64_t *ids;
    unsigned count, room;
};

static int trail_push(struct trail *trail, uint64_t id)
{
    if (trail->count == trail->room) {
        unsigned room = trail->room ? 2 * trail->room : 16;
        uint64_t *ids = reallocarray(trail->ids, room, sizeof *ids);

        if (!ids)
            return -ENOMEM;
        trail->ids = ids;
        trail->room = room;
    }
    trail->ids[trail->count++] = id;
    return 0;
}

struct walk {
    struct byre_files *files;
    struct trail trail; /* from the root on; the last one is where the walk is */
    char *path;         /* what is still to go */
    unsigned links;     /* that were followed */
    unsigned flags;
    struct byre_error *err;
};

/* What comes before the rest of the path is where the link leads. */
static int follow(struct walk *walk, uint64_t id, const char *rest)
{
    CLEANUP(free_ptr) char *target = NULL;
    char *path;
    int rc;

    if (++walk->links > LINKS_MAX)
        return byre_error_set(walk->err, -ELOOP, "too many symbolic links");
    rc = byre_files_readlink(walk->files, id, &target, walk->err);
    if (rc < 0)
        return rc;
    if (strlen(target) + strlen(rest) > PATH_LIMIT)
        return byre_error_set(walk->err, -ENAMETOOLONG, "symbolic links make the path too long");
    if (asprintf(&path, "%s/%s", target, rest) < 0)
        return byre_error_set_errno(walk->err, -ENOMEM, "path");
    if (*target == '/')
        walk->trail.count = 1;
    free(walk->path);
    walk->path = path;
    return 0;
}

/* One name; `rest` is what comes behind it. */
static int step(struct walk *walk, const char *name, const char *rest)
{
    uint64_t here = walk->trail.ids[walk->trail.count - 1], id;
    struct byre_file file;
    bool last = !rest[strspn(rest, "/")];
    int rc = byre_files_stat(walk->files, here, &file, walk->err);

    if (rc < 0)
        return rc;
    if (!S_ISDIR(file.mode))
        return byre_error_set(walk->err, -ENOTDIR, "a name on the way is no directory");
    if (strcmp(name, ".") == 0)
        return 0;
    if (strcmp(name, "..") == 0) {
        walk->trail.count -= walk->trail.count > 1;
        return 0;
    }
    rc = byre_files_lookup(walk->files, here, name, &id, walk->err);
    if (rc == 0)
        rc = byre_files_stat(walk->files, id, &file, walk->err);
    if (rc < 0)
        return rc;
    if (S_ISLNK(file.mode) && (!last || *rest || walk->flags & BYRE_FILES_FOLLOW))
        return follow(walk, id, rest);
    if (*rest && !S_ISDIR(file.mode))
        return byre_error_set(walk->err, -ENOTDIR, "'%s' is no directory", name);
    return trail_push(&walk->trail, id) < 0 ? byre_error_set_errno(walk->err, -ENOMEM, "path") : 0;
}

static int walk_all(struct walk *walk)
{
    int rc = 0;

    while (rc == 0 && walk->path[strspn(walk->path, "/")]) {
        CLEANUP(free_ptr) char *path = walk->path;
        char *name = path + strspn(path, "/"), *end = name + strcspn(name, "/");

        walk->path = strdup(end);
        if (!walk->path)
            return byre_error_set_errno(walk->err, -ENOMEM, "path");
        *end = '\0';
        rc = step(walk, name, walk->path);
    }
    return rc;
}

int byre_files_find(struct byre_files *files, const char *path, unsigned flags, uint64_t *ret_id,
                    struct byre_error *err)
{
    struct walk walk = { .files = files, .path = strdup(path), .flags = flags, .err = err };
    int rc = -ENOMEM;

    if (walk.path)
        rc = trail_push(&walk.trail, BYRE_FILES_ROOT);
    if (rc < 0)
        byre_error_set_errno(err, rc, "path");
    else
        rc = walk_all(&walk);
    if (rc == 0)
        *ret_id = walk.trail.ids[walk.trail.count - 1];
    free(walk.trail.ids);
    free(walk.path);
    return rc;
}
