/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre cp: its options, and what its operands mean.
 */
#include "config.h"

#include "cli/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cp.h"
#include "cli/message.h"
#include "cli/unfinished.h"

enum { OPT_PRESERVE = BYRE_OPT_FILES_IN_END };

static const struct byre_option options[] = {
    BYRE_FILES_IN_OPTIONS,
    { 'r', "recursive", NULL, "copy directories with what is in them, and symbolic links as such" },
    { 'a', "archive", NULL, "as -r --preserve, and special files, too" },
    { OPT_PRESERVE, "preserve", NULL, "keep permissions, times, owners, extended attributes and hard links" },
    { 'n', "no-clobber", NULL, "leave files alone that are there already" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

static int read_options(struct byre_option_parser *parser, struct byre_cp *cp)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        if (byre_files_in_option(&cp->in, id, parser->argument) < 0)
            return byre_options_stop(parser, 1);
        switch (id) {
        case 'r': cp->recursive = true; break;
        case 'a': cp->recursive = cp->preserve = cp->specials = true; break;
        case OPT_PRESERVE: cp->preserve = true; break;
        case 'n': cp->no_clobber = true; break;
        }
    }
    return id;
}

/* --- one operand ------------------------------------------------------------------------------------------- */

/* Symbolic links that are named are followed where directories are not copied: as cp does. */
static int find(struct byre_cp *cp, const char *path, struct byre_cp_source *ret_source)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_files_find(cp->in.files, path, cp->recursive ? 0 : BYRE_FILES_FOLLOW, &ret_source->id, &err);

    if (rc == 0)
        rc = byre_files_stat(cp->in.files, ret_source->id, &ret_source->file, &err);
    ret_source->path = path;
    if (rc < 0)
        byre_cp_complain(cp, path, &err);
    return rc;
}

/* The last name of a path, to be freed; "." where it has none of its own, as "/" and "a/..". */
static char *last_name(const char *path)
{
    size_t end = strlen(path), start;
    char *name;

    while (end && path[end - 1] == '/')
        end--;
    start = end;
    while (start && path[start - 1] != '/')
        start--;
    name = strndup(path + start, end - start);
    if (name && (!*name || strcmp(name, "..") == 0)) {
        free(name);
        name = strdup(".");
    }
    if (!name)
        byre_die_no_memory();
    return name;
}

/* To what is open, from where it stands: standard output, a device, a pipe. */
static void copy_to_descriptor(struct byre_cp *cp, const struct byre_cp_source *source, int fd)
{
    const struct byre_cp_place place = { -1, cp->destination, cp->destination };
    struct byre_error err = BYRE_ERROR_INIT;
    int rc;

    if (S_ISREG(source->file.mode))
        rc = byre_cp_contents(cp, source, fd, false, &place, &err);
    else
        rc = byre_error_set(&err, -EINVAL, S_ISDIR(source->file.mode) ? "it is a directory, and '%s' is none"
                                                                      : "it has no contents for '%s'",
                            cp->destination);
    if (rc < 0)
        byre_cp_complain(cp, source->path, &err);
}

static void copy_into(struct byre_cp *cp, const char *path)
{
    CLEANUP(free_ptr) char *name = last_name(path);
    const struct byre_cp_place place = { cp->base, name, name };
    struct byre_cp_source source;

    if (find(cp, path, &source) == 0)
        byre_cp_copy(cp, source.id, path, &place, 0);
}

/* --- the destination --------------------------------------------------------------------------------------- */

static int complain_destination(struct byre_cp *cp, int code)
{
    cp->exit_code = byre_complain("'%s': %s", cp->destination, strerror(code));
    return cp->exit_code;
}

static int open_directory(struct byre_cp *cp, const char *path)
{
    cp->base = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return cp->base < 0 ? complain_destination(cp, errno) : 0;
}

/* What the user names and is no file that could be replaced is written to. */
static void copy_onto(struct byre_cp *cp, const char *path)
{
    struct byre_cp_source source;
    int fd;

    if (cp->no_clobber || find(cp, path, &source) < 0)
        return;
    if (!S_ISREG(source.file.mode)) {
        copy_to_descriptor(cp, &source, -1);
        return;
    }
    fd = open(cp->destination, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0) {
        complain_destination(cp, errno);
        return;
    }
    copy_to_descriptor(cp, &source, fd);
    if (close(fd) < 0)
        complain_destination(cp, errno);
}

/* A name in a directory: nothing is there, or a file that is replaced. */
static void copy_as(struct byre_cp *cp, const char *path)
{
    CLEANUP(free_ptr) char *name = last_name(cp->destination), *parent = NULL;
    const struct byre_cp_place place = { -1, name, name };
    struct byre_cp_place opened = place;
    struct byre_cp_source source;
    size_t length = strlen(cp->destination);

    if (find(cp, path, &source) < 0)
        return;
    while (length && cp->destination[length - 1] == '/')
        length--;
    if (cp->destination[length] && !S_ISDIR(source.file.mode)) {
        complain_destination(cp, ENOTDIR);
        return;
    }
    while (length && cp->destination[length - 1] != '/')
        length--;
    parent = strndup(length ? cp->destination : ".", length ? length : 1);
    if (!parent)
        byre_die_no_memory();
    if (open_directory(cp, parent) != 0)
        return;
    opened.directory = cp->base;
    byre_cp_copy(cp, source.id, path, &opened, 0);
}

/*
 * A device, a pipe: not what a link leads to, which may have been copied from an image before, and is replaced.  Those
 * below /dev are the machine's, as /dev/stdout.
 */
static bool is_written_to(const char *destination)
{
    struct stat st;

    return lstat(destination, &st) == 0 && !S_ISREG(st.st_mode) &&
           (!S_ISLNK(st.st_mode) || strncmp(destination, "/dev/", 5) == 0);
}

/* Is DEST the link that is to be copied?  Then it was copied before, and is no user's way to a directory. */
static bool is_same_link(const struct byre_cp *cp, const char *path)
{
    CLEANUP(free_ptr) char *target = NULL;
    char there[PATH_MAX];
    ssize_t length = readlink(cp->destination, there, sizeof there);
    struct byre_file file;
    uint64_t id;

    return length >= 0 && cp->recursive && byre_files_find(cp->in.files, path, 0, &id, NULL) == 0 &&
           byre_files_stat(cp->in.files, id, &file, NULL) == 0 && S_ISLNK(file.mode) &&
           byre_files_readlink(cp->in.files, id, &target, NULL) == 0 && strlen(target) == (size_t)length &&
           memcmp(target, there, (size_t)length) == 0;
}

static void copy_operands(struct byre_cp *cp, char **paths, int count)
{
    struct stat st;
    bool there = stat(cp->destination, &st) == 0;

    if (strcmp(cp->destination, "-") == 0) {
        for (int i = 0; i < count; i++) {
            struct byre_cp_source source;

            if (find(cp, paths[i], &source) == 0)
                copy_to_descriptor(cp, &source, STDOUT_FILENO);
        }
        return;
    }
    cp->into = there && S_ISDIR(st.st_mode) && (count > 1 || !is_same_link(cp, paths[0]));
    if (cp->into && open_directory(cp, cp->destination) == 0) {
        for (int i = 0; i < count; i++) {
            copy_into(cp, paths[i]);
            byre_ids_done(&cp->seen, NULL);
        }
    } else if (cp->into) {
        return;
    } else if (count > 1) {
        complain_destination(cp, there ? ENOTDIR : errno);
    } else if (!*cp->destination) {
        complain_destination(cp, ENOENT);
    } else if (is_written_to(cp->destination)) {
        copy_onto(cp, paths[0]);
    } else {
        copy_as(cp, paths[0]);
    }
}

static int copy(struct byre_cp *cp, char **paths, int count)
{
    byre_unfinished_watch();
    cp->umask = umask(0);
    cp->exit_code = byre_files_in_open(&cp->in);
    if (cp->exit_code == 0)
        copy_operands(cp, paths, count);
    if (cp->attributes_lost > 1)
        byre_complain("%u more extended attributes are lost", cp->attributes_lost - 1);
    return cp->exit_code;
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct byre_cp cp = { .base = -1 };
    struct byre_option_parser parser;
    int exit_code;

    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &cp) < 0) {
        exit_code = parser.exit_code;
    } else if (argc - parser.operand < 3) {
        exit_code = byre_complain_usage("Expecting an image file name, paths in it, and a destination");
    } else {
        cp.in.image = argv[parser.operand];
        cp.destination = argv[argc - 1];
        exit_code = copy(&cp, argv + parser.operand + 1, argc - parser.operand - 2);
    }
    byre_files_in_close(&cp.in);
    byre_ids_done(&cp.seen, NULL);
    byre_ids_done(&cp.links, free);
    free(cp.buffer);
    if (cp.base >= 0)
        close(cp.base);
    return exit_code;
}

const struct byre_verb byre_verb_cp = {
    .name = "cp",
    .operands = "IMAGE PATH... DEST",
    .summary = "Copies files out of a file system inside an image.",
    .options = options,
    .run = run,
};
