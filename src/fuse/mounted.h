/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel's tables of mounts say.  None of these calls asks the file system that is mounted: who serves it may
 * be gone, or stuck.
 */
#ifndef BYRE_FUSE_MOUNTED_H
#define BYRE_FUSE_MOUNTED_H

#include <stdbool.h>
#include <sys/types.h>

struct byre_mounted {
    char *path; /* of the mount point, without symbolic links */
    char *type, *source;
    unsigned major, minor; /* of its device number */
};

/*
 * The topmost mount at a path, whose last part may be a symbolic link, too.  0, -EINVAL: it is no mount point; -errno:
 * the path cannot be reached.
 */
int byre_mounted_find(const char *path, struct byre_mounted *ret_mounted);
void byre_mounted_done(struct byre_mounted *mounted);

/* Where a file system is still mounted. */
struct byre_mounted_place {
    char *path;       /* as that process sees it */
    pid_t process;    /* whose mount namespace it is; 0: that of this process */
    char command[32];
};

/* As far as this process may look: false if it is mounted nowhere.  The path is freed by the caller. */
bool byre_mounted_elsewhere(const struct byre_mounted *mounted, struct byre_mounted_place *ret_place);

#endif
