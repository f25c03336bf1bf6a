/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre cp: from a file system inside an image, which a stranger has made, to directories of the user's.
 *
 *   P1. Nothing is made, opened or changed but by one name in a directory that is open, and no symbolic link of that
 *       name is followed: neither one that was there nor one that was copied leads anywhere else.
 *   P2. What replaces something has a name of its own until it is complete; what is not complete is removed, also
 *       where a signal ends the process.
 *   P3. Until it has its owner, a file has no rights for anybody else.
 *   P4. A directory is copied once, so that one that contains itself ends.
 */
#ifndef BYRE_CLI_CP_H
#define BYRE_CLI_CP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "byre/files.h"
#include "cli/files_in.h"
#include "cli/files_walk.h"

struct byre_cp {
    struct byre_files_in in;
    bool recursive, specials, preserve, no_clobber;
    const char *destination; /* as the user wrote it */
    mode_t umask;            /* the user's; that of the process is 0 */
    int exit_code;

    int base;                /* the directory that all is copied to or below, or -1 */
    bool into;               /* `destination` is that directory, and not a name in it */
    struct byre_ids seen;    /* directories that were copied */
    struct byre_ids links;   /* files with several names: what they are called below `base` */
    unsigned attributes_lost;
    uint8_t *buffer;
};

/* What is copied. */
struct byre_cp_source {
    const char *path; /* in the image, for messages */
    uint64_t id;
    struct byre_file file;
};

/* To where: a name in a directory; `shown` is it from `base` on, for messages and for links. */
struct byre_cp_place {
    int directory;
    const char *name;
    const char *shown;
};

/* "could not copy PATH ...": notes the exit code. */
void byre_cp_complain(struct byre_cp *cp, const char *path, const struct byre_error *err);
/* -errno, with the place: "'DEST/a/b': No space left on device". */
int byre_cp_host_error(const struct byre_cp *cp, const struct byre_cp_place *place, int code, struct byre_error *err);

/*
 * cp_contents.c: the contents of a file to a descriptor, from where it stands; with `sparse`, which only an empty
 * regular file allows, holes stay holes.
 */
int byre_cp_contents(struct byre_cp *cp, const struct byre_cp_source *source, int fd, bool sparse,
                     const struct byre_cp_place *place, struct byre_error *err);

/*
 * cp_attributes.c: owner, extended attributes, permissions and times of what was made, as far as the user may.  `fd` is
 * of the file, or of its name alone (O_PATH).
 */
int byre_cp_attributes(struct byre_cp *cp, const struct byre_cp_source *source, int fd,
                       const struct byre_cp_place *place, struct byre_error *err);

/* cp_place.c: something that gets its name when it is complete (P2). */
struct byre_cp_making {
    const struct byre_cp_place *place;
    bool replaces; /* something that is there */
    char temporary[32];
};

/*
 * Calls `make` with the name to be made, until that is not there.  Returns 0; 1 where something is there that shall
 * stay; -errno.  After 0, either of the other two is called.
 */
int byre_cp_make(struct byre_cp *cp, struct byre_cp_making *making, const struct byre_cp_place *place,
                 int (*make)(void *opaque, int directory, const char *name), void *opaque, struct byre_error *err);
int byre_cp_keep(struct byre_cp *cp, struct byre_cp_making *making, struct byre_error *err);
void byre_cp_remove(struct byre_cp_making *making);
const char *byre_cp_name(const struct byre_cp_making *making);

/* A directory below another one, by a path without "..": no part of it may be a symbolic link.  -errno. */
int byre_cp_open_below(int base, const char *path, size_t length);

/* cp_tree.c: copies one file, or a directory with all that is in it; complains of each that it could not copy. */
void byre_cp_copy(struct byre_cp *cp, uint64_t id, const char *path, const struct byre_cp_place *place,
                  unsigned depth);

#endif
