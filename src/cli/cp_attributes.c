/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Owner, extended attributes, permissions and times of a copy.
 *
 *   A1. In this order: a change of the owner takes away set-user-ID bits and capabilities, a change of attributes the
 *       times.
 *   A2. Set-user-ID and set-group-ID bits are kept only where owner and group are those of the image.
 */
#include "config.h"

#include "cli/cp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/message.h"

struct change {
    struct byre_cp *cp;
    const struct byre_cp_source *source;
    const struct byre_cp_place *place;
    int fd;
    char path[32]; /* of what is behind `fd`, also where that is open for its name only */
    struct byre_error *err;
};

static int host_error(const struct change *change)
{
    return byre_cp_host_error(change->cp, change->place, -errno, change->err);
}

/* Who is not root may own no files of others: that is no error.  A2: *ret_same tells. */
static int set_owner(const struct change *change, bool *ret_same)
{
    const struct byre_file *file = &change->source->file;
    struct stat st;

    if (fchownat(change->fd, "", file->uid, file->gid, AT_EMPTY_PATH) < 0) {
        if (errno != EPERM && errno != EINVAL)
            return host_error(change);
        if (geteuid() == 0)
            return host_error(change);
        if (fchownat(change->fd, "", (uid_t)-1, file->gid, AT_EMPTY_PATH) < 0 && errno != EPERM && errno != EINVAL)
            return host_error(change);
    }
    if (fstat(change->fd, &st) < 0)
        return host_error(change);
    *ret_same = st.st_uid == file->uid && st.st_gid == file->gid;
    return 0;
}

/* Only root may set these; for others they are no loss that they would expect to be told of. */
static bool is_for_root(const char *name)
{
    return strncmp(name, "user.", 5) != 0 && strncmp(name, "system.posix_acl_", 17) != 0;
}

/* The first one is told, the others are counted. */
static void tell_lost(const struct change *change, const char *name, int code)
{
    struct byre_error err;

    change->cp->exit_code = 1;
    if (change->cp->attributes_lost++)
        return;
    byre_cp_host_error(change->cp, change->place, code, &err);
    byre_error_prepend(&err, "attribute '%s' is lost: ", name);
    byre_cp_complain(change->cp, change->source->path, &err);
}

static int set_attribute(const struct change *change, const char *name)
{
    CLEANUP(free_ptr) void *value = NULL;
    size_t length;
    int rc = byre_files_xattr_get(change->cp->in.files, change->source->id, name, &value, &length, change->err);

    if (rc < 0)
        return rc;
    if (fsetxattr(change->fd, name, value ? value : "", length, 0) < 0 &&
        (errno != EBADF || setxattr(change->path, name, value ? value : "", length, 0) < 0))
        tell_lost(change, name, -errno);
    return 0;
}

static int set_attributes(const struct change *change)
{
    CLEANUP(free_ptr) char *names = NULL;
    size_t length = 0;
    int rc = byre_files_xattr_list(change->cp->in.files, change->source->id, &names, &length, change->err);

    for (size_t at = 0; rc == 0 && at < length; at += strlen(names + at) + 1) {
        if (geteuid() == 0 || !is_for_root(names + at))
            rc = set_attribute(change, names + at);
    }
    return rc;
}

/* FAT has files without times; in other file systems 0 is a time. */
static bool is_recorded(const struct change *change, const struct timespec *time)
{
    return time->tv_sec || time->tv_nsec || strcmp(byre_files_type(change->cp->in.files), "vfat") != 0;
}

static int set_times(const struct change *change)
{
    const struct byre_file *file = &change->source->file;
    struct timespec times[2] = { file->accessed, file->modified };

    if (!is_recorded(change, &times[0]))
        times[0] = times[1];
    if (!is_recorded(change, &times[1]))
        return 0;
    if (futimens(change->fd, times) < 0 && (errno != EBADF || utimensat(AT_FDCWD, change->path, times, 0) < 0))
        return host_error(change);
    return 0;
}

int byre_cp_attributes(struct byre_cp *cp, const struct byre_cp_source *source, int fd,
                       const struct byre_cp_place *place, struct byre_error *err)
{
    struct change change = { cp, source, place, fd, "", err };
    mode_t mode = source->file.mode & 07777;
    bool same = false;
    int rc;

    snprintf(change.path, sizeof change.path, "/proc/self/fd/%d", fd);
    rc = set_owner(&change, &same);
    if (rc == 0)
        rc = set_attributes(&change);
    if (!same)
        mode &= ~(mode_t)(S_ISUID | S_ISGID);
    if (rc == 0 && !S_ISLNK(source->file.mode) && fchmod(fd, mode) < 0 &&
        (errno != EBADF || chmod(change.path, mode) < 0))
        rc = host_error(&change);
    return rc == 0 ? set_times(&change) : rc;
}
