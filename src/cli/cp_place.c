/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names in directories of the user's: making them, replacing what has them, and finding directories without following
 * symbolic links.
 */
#include "config.h"

#include "cli/cp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/message.h"
#include "cli/unfinished.h"

#define TRIES 100u /* of names that nobody else should have */

void byre_cp_complain(struct byre_cp *cp, const char *path, const struct byre_error *err)
{
    cp->exit_code = byre_files_in_complain(&cp->in, "copy", path, err);
}

int byre_cp_host_error(const struct byre_cp *cp, const struct byre_cp_place *place, int code, struct byre_error *err)
{
    CLEANUP(free_ptr) char *path = cp->into ? byre_path_join(cp->destination, place->shown) : NULL;

    return byre_error_set_errno(err, code, "'%s'", path ? path : cp->destination);
}

const char *byre_cp_name(const struct byre_cp_making *making)
{
    return making->replaces ? making->temporary : making->place->name;
}

static void choose_temporary(struct byre_cp_making *making)
{
    uint64_t number = 0;

    if (getrandom(&number, sizeof number, 0) < 0)
        number = (uint64_t)getpid();
    snprintf(making->temporary, sizeof making->temporary, ".byre-%016llx", (unsigned long long)number);
}

/* What has the name already: 0 if it may be replaced. */
static int look_at(const struct byre_cp *cp, const struct byre_cp_place *place, struct byre_error *err)
{
    struct stat st;

    if (fstatat(place->directory, place->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return byre_cp_host_error(cp, place, -errno, err);
    if (cp->no_clobber)
        return 1;
    if (S_ISDIR(st.st_mode))
        return byre_cp_host_error(cp, place, -EISDIR, err);
    return 0;
}

/* Makes it, and it is to be removed from then on. */
static int make_noted(const struct byre_cp_making *making, int (*make)(void *opaque, int directory, const char *name),
                      void *opaque)
{
    int directory = making->place->directory, rc;
    sigset_t signals;

    byre_unfinished_hold(&signals);
    rc = make(opaque, directory, byre_cp_name(making));
    if (rc == 0)
        byre_unfinished_set(directory, byre_cp_name(making));
    byre_unfinished_release(&signals);
    return rc;
}

int byre_cp_make(struct byre_cp *cp, struct byre_cp_making *making, const struct byre_cp_place *place,
                 int (*make)(void *opaque, int directory, const char *name), void *opaque, struct byre_error *err)
{
    int rc = -EEXIST;

    *making = (struct byre_cp_making){ .place = place };
    for (unsigned i = 0; i < TRIES && rc == -EEXIST; i++) {
        rc = make_noted(making, make, opaque);
        if (rc != -EEXIST)
            break;
        if (!making->replaces) {
            int there = look_at(cp, place, err);

            if (there != 0)
                return there;
        }
        making->replaces = true;
        choose_temporary(making);
    }
    return rc < 0 ? byre_cp_host_error(cp, place, rc, err) : 0;
}

int byre_cp_keep(struct byre_cp *cp, struct byre_cp_making *making, struct byre_error *err)
{
    const struct byre_cp_place *place = making->place;
    sigset_t signals;
    int rc = 0;

    byre_unfinished_hold(&signals);
    if (making->replaces && renameat(place->directory, making->temporary, place->directory, place->name) < 0)
        rc = byre_cp_host_error(cp, place, -errno, err);
    if (making->replaces)
        byre_cp_remove(making); /* where both are names of one file, the other one stays, too */
    byre_unfinished_set(-1, NULL);
    byre_unfinished_release(&signals);
    return rc;
}

void byre_cp_remove(struct byre_cp_making *making)
{
    sigset_t signals;

    byre_unfinished_hold(&signals);
    unlinkat(making->place->directory, byre_cp_name(making), 0);
    byre_unfinished_set(-1, NULL);
    byre_unfinished_release(&signals);
}

int byre_cp_open_below(int base, const char *path, size_t length)
{
    int fd = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    while (fd >= 0 && length) {
        size_t n = strcspn(path, "/");
        char name[BYRE_FILES_NAME_MAX + 1];
        int next;

        if (n > length)
            n = length;
        if (n >= sizeof name) {
            close(fd);
            return -ENAMETOOLONG;
        }
        memcpy(name, path, n);
        name[n] = '\0';
        next = n ? openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : dup(fd);
        close(fd);
        fd = next;
        path += n;
        length -= n;
        n = strspn(path, "/") < length ? strspn(path, "/") : length;
        path += n;
        length -= n;
    }
    return fd < 0 ? -errno : fd;
}
