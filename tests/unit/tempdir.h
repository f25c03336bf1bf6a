/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A directory of a test's own, under TMPDIR or /var/tmp (a real file system, which has holes and O_DIRECT),
 * gone with everything in it when the test ends.
 */
#ifndef TESTS_UNIT_TEMPDIR_H
#define TESTS_UNIT_TEMPDIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tempdir {
    char dir[256];
    char path[8][512]; /* the last few answers of tempdir_path */
    unsigned next;
};

static inline int tempdir_make(struct tempdir *tmp)
{
    const char *base = getenv("TMPDIR");

    tmp->next = 0;
    snprintf(tmp->dir, sizeof tmp->dir, "%s/byre-test-XXXXXX", base && *base ? base : "/var/tmp");
    return mkdtemp(tmp->dir) ? 0 : -1;
}

/* The path of `name` in the directory; good for the next seven calls. */
static inline const char *tempdir_path(struct tempdir *tmp, const char *name)
{
    char *path = tmp->path[tmp->next++ % 8];
    size_t length = strlen(tmp->dir);

    memcpy(path, tmp->dir, length);
    path[length] = '/';
    snprintf(path + length + 1, sizeof tmp->path[0] - length - 1, "%s", name);
    return path;
}

static inline int tempdir_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline int tempdir_remove(struct tempdir *tmp)
{
    return nftw(tmp->dir, tempdir_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
