/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copying a file of any kind, and directories with what is in them.
 */
#include "config.h"

#include "cli/cp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/message.h"

/* Permissions of what is made without --preserve. */
static mode_t usual_mode(const struct byre_cp *cp, const struct byre_cp_source *source)
{
    return source->file.mode & 0777 & ~cp->umask;
}

/* --- files ------------------------------------------------------------------------------------------------- */

struct made {
    const struct byre_cp_source *source;
    const char *target; /* of a symbolic link */
    int fd;             /* of a regular file */
};

static int make_file(void *opaque, int directory, const char *name)
{
    struct made *made = opaque;

    made->fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600); /* P3 */
    return made->fd < 0 ? -errno : 0;
}

/* 0, 1: something is there that stays; -errno. */
static int copy_file(struct byre_cp *cp, const struct byre_cp_source *source, const struct byre_cp_place *place,
                     struct byre_error *err)
{
    struct made made = { .source = source, .fd = -1 };
    struct byre_cp_making making;
    int rc = byre_cp_make(cp, &making, place, make_file, &made, err);

    if (rc != 0)
        return rc;
    rc = byre_cp_contents(cp, source, made.fd, true, place, err);
    if (rc == 0 && cp->preserve)
        rc = byre_cp_attributes(cp, source, made.fd, place, err);
    else if (rc == 0 && fchmod(made.fd, usual_mode(cp, source)) < 0)
        rc = byre_cp_host_error(cp, place, -errno, err);
    if (close(made.fd) < 0 && rc == 0)
        rc = byre_cp_host_error(cp, place, -errno, err);
    if (rc == 0)
        return byre_cp_keep(cp, &making, err);
    byre_cp_remove(&making);
    return rc;
}

static int make_link(void *opaque, int directory, const char *name)
{
    const struct made *made = opaque;

    return symlinkat(made->target, directory, name) < 0 ? -errno : 0;
}

static int make_special(void *opaque, int directory, const char *name)
{
    const struct byre_file *file = &((const struct made *)opaque)->source->file;
    dev_t device = S_ISBLK(file->mode) || S_ISCHR(file->mode) ? makedev(file->major, file->minor) : 0;

    return mknodat(directory, name, (file->mode & S_IFMT) | 0600, device) < 0 ? -errno : 0;
}

/* What has no contents: by its name alone. */
static int copy_name(struct byre_cp *cp, const struct byre_cp_source *source, const struct byre_cp_place *place,
                     int (*make)(void *opaque, int directory, const char *name), const char *target,
                     struct byre_error *err)
{
    struct made made = { .source = source, .target = target };
    struct byre_cp_making making;
    int rc = byre_cp_make(cp, &making, place, make, &made, err), fd;

    if (rc != 0)
        return rc;
    fd = openat(place->directory, byre_cp_name(&making), O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        rc = byre_cp_host_error(cp, place, -errno, err);
    if (rc == 0 && cp->preserve)
        rc = byre_cp_attributes(cp, source, fd, place, err);
    if (fd >= 0)
        close(fd);
    if (rc == 0)
        return byre_cp_keep(cp, &making, err);
    byre_cp_remove(&making);
    return rc;
}

static int copy_link(struct byre_cp *cp, const struct byre_cp_source *source, const struct byre_cp_place *place,
                     struct byre_error *err)
{
    CLEANUP(free_ptr) char *target = NULL;
    int rc = byre_files_readlink(cp->in.files, source->id, &target, err);

    return rc < 0 ? rc : copy_name(cp, source, place, make_link, target, err);
}

static int copy_special(struct byre_cp *cp, const struct byre_cp_source *source, const struct byre_cp_place *place,
                        struct byre_error *err)
{
    mode_t type = source->file.mode & S_IFMT;
    const char *what = type == S_IFBLK   ? "a block device"
                       : type == S_IFCHR ? "a character device"
                       : type == S_IFIFO ? "a named pipe"
                       : type == S_IFSOCK ? "a socket"
                                          : NULL;

    if (!what)
        return byre_error_set(err, -EUCLEAN, "its type %#o is not known", (unsigned)type);
    if (!cp->specials)
        return byre_error_set(err, -EINVAL, "it is %s, which is copied with -a only", what);
    return copy_name(cp, source, place, make_special, NULL, err);
}

/* --- files with several names ------------------------------------------------------------------------------ */

struct other_name {
    int directory;
    const char *name;
};

static int make_other_name(void *opaque, int directory, const char *name)
{
    const struct other_name *first = opaque;

    return linkat(first->directory, first->name, directory, name, 0) < 0 ? -errno : 0;
}

/* A further name of a file that was copied: 0, 1: one is there that stays; -errno: it cannot be, so copy it. */
static int link_to(struct byre_cp *cp, const char *first, const struct byre_cp_place *place)
{
    const char *slash = strrchr(first, '/');
    struct other_name other = { .name = slash ? slash + 1 : first };
    struct byre_cp_making making;
    int rc;

    other.directory = byre_cp_open_below(cp->base, first, slash ? (size_t)(slash - first) : 0);
    if (other.directory < 0)
        return other.directory;
    rc = byre_cp_make(cp, &making, place, make_other_name, &other, NULL);
    close(other.directory);
    return rc == 0 ? byre_cp_keep(cp, &making, NULL) : rc;
}

static int copy_one(struct byre_cp *cp, const struct byre_cp_source *source, const struct byre_cp_place *place,
                    struct byre_error *err)
{
    bool several = cp->preserve && source->file.links > 1;
    const char *first = several ? *byre_ids_at(&cp->links, source->id) : NULL;
    int rc;

    if (first) {
        rc = link_to(cp, first, place);
        if (rc >= 0)
            return rc;
    }
    if (S_ISREG(source->file.mode))
        rc = copy_file(cp, source, place, err);
    else if (S_ISLNK(source->file.mode))
        rc = copy_link(cp, source, place, err);
    else
        rc = copy_special(cp, source, place, err);
    if (rc == 0 && several && !first) {
        char *shown = strdup(place->shown);

        if (!shown)
            byre_die_no_memory();
        *byre_ids_at(&cp->links, source->id) = shown;
    }
    return rc;
}

/* --- directories ------------------------------------------------------------------------------------------- */

/* Each entry for itself. */
static void copy_names(struct byre_cp *cp, const struct byre_names *names, const struct byre_cp_source *source,
                       const struct byre_cp_place *place, int fd, unsigned depth)
{
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->list[i].name;
        CLEANUP(free_ptr) char *path = byre_path_join(source->path, name), *shown = byre_path_join(place->shown, name);
        const struct byre_cp_place inner = { fd, name, shown };

        byre_cp_copy(cp, names->list[i].id, path, &inner, depth + 1);
    }
}

static void copy_entries(struct byre_cp *cp, const struct byre_cp_source *source, const struct byre_cp_place *place,
                         int fd, unsigned depth)
{
    struct byre_names names = { .next = 0 };
    int rc;

    do {
        struct byre_error err = BYRE_ERROR_INIT;

        rc = byre_names_read(&names, cp->in.files, source->id, names.next, &err);
        copy_names(cp, &names, source, place, fd, depth);
        if (rc < 0)
            byre_cp_complain(cp, source->path, &err);
        byre_names_done(&names);
    } while (rc == 0 && names.more);
}

/* Opens the directory of that name, which is made if nothing is there. */
static int enter(const struct byre_cp *cp, const struct byre_cp_place *place, bool *ret_made, struct byre_error *err)
{
    int fd;

    *ret_made = mkdirat(place->directory, place->name, 0700) == 0; /* P3 */
    if (!*ret_made && errno != EEXIST)
        return byre_cp_host_error(cp, place, -errno, err);
    fd = openat(place->directory, place->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? byre_cp_host_error(cp, place, -errno, err) : fd;
}

/* P4, and a bound on what is open at the same time. */
static int note_directory(struct byre_cp *cp, const struct byre_cp_source *source, unsigned depth,
                          struct byre_error *err)
{
    void **seen = byre_ids_at(&cp->seen, source->id);

    if (*seen)
        return byre_error_set(err, -EUCLEAN, "the directory was met before, in another place");
    if (depth > BYRE_WALK_DEPTH_MAX)
        return byre_error_set(err, -EUCLEAN, "there are more than %u directories within each other",
                              BYRE_WALK_DEPTH_MAX);
    *seen = cp;
    return 0;
}

static int copy_directory(struct byre_cp *cp, const struct byre_cp_source *source, const struct byre_cp_place *place,
                          unsigned depth, struct byre_error *err)
{
    CLEANUP(close_fd) int fd = -1;
    bool made = false;
    int rc;

    if (!cp->recursive)
        return byre_error_set(err, -EISDIR, "it is a directory, which is copied with -r or -a only");
    rc = note_directory(cp, source, depth, err);
    if (rc < 0)
        return rc;
    fd = enter(cp, place, &made, err);
    if (fd < 0)
        return fd;
    copy_entries(cp, source, place, fd, depth);
    if (cp->preserve)
        return byre_cp_attributes(cp, source, fd, place, err);
    if (made && fchmod(fd, usual_mode(cp, source)) < 0)
        return byre_cp_host_error(cp, place, -errno, err);
    return 0;
}

void byre_cp_copy(struct byre_cp *cp, uint64_t id, const char *path, const struct byre_cp_place *place,
                  unsigned depth)
{
    struct byre_cp_source source = { .path = path, .id = id };
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_files_stat(cp->in.files, id, &source.file, &err);

    if (rc == 0 && S_ISDIR(source.file.mode))
        rc = copy_directory(cp, &source, place, depth, &err);
    else if (rc == 0)
        rc = copy_one(cp, &source, place, &err);
    if (rc < 0)
        byre_cp_complain(cp, path, &err);
}
