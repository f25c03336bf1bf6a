/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre-mount: shows images as files.  From the command line to the mount.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "cli/process.h"
#include "fuse/attribute.h"
#include "fuse/command_line.h"
#include "fuse/outcome.h"
#include "fuse/session.h"

/* GnuTLS is set up where it is used. */
GNUTLS_SKIP_GLOBAL_INIT

struct program {
    const struct byre_mount_line *line;
    struct byre_background background;
    struct byre_mount mount;
    bool in_background;      /* nobody reads standard error any more */
    bool pid_file_written;
};

static int complain(const struct program *program, const struct byre_error *err)
{
    if (program->in_background)
        syslog(LOG_ERR, "%s", err->text);
    byre_outcome_tell(program->mount.outcome, err->text);
    return byre_complain_error(err, "%s", "");
}

/* What goes wrong while it is mounted. */
static void complain_of_request(void *opaque, const char *text)
{
    const struct program *program = opaque;

    if (program->in_background)
        syslog(LOG_ERR, "%s", text);
    else
        byre_complain("%s", text);
}

/* --- images -------------------------------------------------------------------------------------------------- */

/* The last part of an image's name, which its directory gets. */
static char *directory_name(const char *image)
{
    const char *slash = strrchr(image, '/');
    char *name = strdup(slash && slash[1] ? slash + 1 : image);

    if (!name)
        byre_die_no_memory();
    for (char *p = name; *p; p++) {
        if (*p == '/')
            *p = '_';
    }
    return name;
}

/* One that is there already gets a number. */
static char *unused_name(const struct byre_tree *tree, const char *image)
{
    CLEANUP(free_ptr) char *name = directory_name(image);
    char *numbered = NULL;

    for (unsigned number = 1;; number++) {
        bool used = false;

        free(numbered);
        if (asprintf(&numbered, number > 1 ? "%s.%u" : "%s", name, number) < 0)
            byre_die_no_memory();
        for (unsigned i = 0; i < tree->count && !used; i++)
            used = strcmp(tree->names[i], numbered) == 0;
        if (!used)
            return numbered;
    }
}

/* With what the user can do about it. */
static int complain_image(const struct byre_mount_line *line, const char *operand, const struct byre_error *err)
{
    if (line->files && err->code == -ENOTUNIQ)
        return byre_complain("'%s': %s; choose one with --fs=N", operand, err->text);
    if (line->files && err->code == -ENOTSUP)
        return byre_complain("'%s': %s\nThe kernel may know it: mount without --fs, and then, as root, "
                             "mount -o loop,ro partitions/N.raw or disk.raw",
                             operand, err->text);
    return byre_complain_open(err, operand);
}

static int open_image(struct program *program, const char *operand)
{
    struct byre_files *files;
    const struct byre_mount_line *line = program->line;
    struct byre_tree *tree = &program->mount.tree;
    CLEANUP(free_ptr) char *name = NULL;
    struct byre_image_options options = { .open = line->open, .files = line->files, .partition = line->partition };
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_argument_image(operand, line->image_opts, line->open.format, &name) < 0)
        return 1;
    options.name = name;
    if (byre_image_open(&options, &tree->images[tree->count], &err) < 0)
        return complain_image(line, operand, &err);
    files = byre_image_files(tree->images[tree->count]);
    if (files && byre_files_warning(files))
        byre_complain("warning: '%s': %s", operand, byre_files_warning(files));
    tree->names[tree->count] = unused_name(tree, operand);
    tree->count++;
    return 0;
}

static int open_images(struct program *program)
{
    const struct byre_mount_line *line = program->line;
    struct byre_tree *tree = &program->mount.tree;
    int exit_code = 0;

    tree->owner_given = line->owner_given;
    tree->owner = line->owner;
    tree->group_given = line->group_given;
    tree->group = line->group;
    tree->umask = line->umask;
    tree->images = calloc(line->images.len, sizeof(struct byre_image *));
    tree->names = calloc(line->images.len, sizeof *tree->names);
    if (!tree->images || !tree->names)
        byre_die_no_memory();
    for (size_t i = 0; i < line->images.len && exit_code == 0; i++)
        exit_code = open_image(program, line->images.ptr[i]);
    return exit_code;
}

static int close_images(struct program *program)
{
    struct byre_tree *tree = &program->mount.tree;
    int exit_code = 0;

    for (unsigned i = 0; i < tree->count; i++) {
        struct byre_error err = BYRE_ERROR_INIT;

        if (byre_image_close(tree->images[i], &err) < 0)
            exit_code = complain(program, &err);
        free(tree->names[i]);
    }
    free(tree->images);
    free(tree->names);
    return exit_code;
}

/* --- the mount ----------------------------------------------------------------------------------------------- */

/* It is there: whoever waits for that may go on. */
static void mounted(void *opaque)
{
    struct program *program = opaque;

    program->in_background = !program->line->foreground;
    byre_background_ready(&program->background, false);
}

/* Before the mount, in which the file's place may be, and which nobody serves yet when it is there. */
static int write_pid_file(struct program *program)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (!program->line->pid_file)
        return 0;
    if (byre_pid_file_write(program->line->pid_file, &err) < 0)
        return complain(program, &err);
    program->pid_file_written = true;
    return 0;
}

/* A directory, or for one disk alone a file; and no mount point yet, where the kernel can tell (Linux 5.8). */
static int look_at_mount_point(struct program *program)
{
    const struct byre_mount_line *line = program->line;
    struct statx st;

    if (statx(AT_FDCWD, line->mount_point, 0, STATX_TYPE, &st) < 0)
        return byre_complain("Could not mount at '%s': %m", line->mount_point);
    if (st.stx_attributes & st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
        return byre_complain("Could not mount at '%s': something is mounted there already", line->mount_point);
    if (S_ISDIR(st.stx_mode))
        return 0;
    if (!S_ISREG(st.stx_mode))
        return byre_complain("Could not mount at '%s': it is neither a directory nor a file", line->mount_point);
    if (line->files || line->images.len > 1)
        return byre_complain("Could not mount at '%s': it is no directory", line->mount_point);
    program->mount.tree.single_file = true;
    return 0;
}

static int serve(struct program *program)
{
    const struct byre_mount_line *line = program->line;
    const struct byre_session_options options = {
        .mount_point = line->mount_point,
        .source = line->images.ptr[0],
        .fuse_options = line->fuse_options,
        .read_only = !line->open.writable,
        .suid = line->suid,
        .dev = line->dev,
        .check_permissions = line->open.writable && line->allow_other,
        .debug = line->debug,
        .mount = &program->mount,
        .mounted = mounted,
        .opaque = program,
    };
    struct byre_error err = BYRE_ERROR_INIT;

    program->mount.outcome = byre_outcome_new(&err);
    if (program->mount.outcome < 0 || byre_session_run(&options, &err) < 0)
        return complain(program, &err);
    return 0;
}

static int run(struct program *program)
{
    int exit_code = look_at_mount_point(program);

    if (exit_code == 0)
        exit_code = open_images(program);
    if (exit_code == 0)
        exit_code = write_pid_file(program);
    if (exit_code == 0)
        exit_code = serve(program);
    byre_outcome_set(program->mount.outcome, BYRE_OUTCOME_CLOSING);
    if (close_images(program) != 0)
        exit_code = 1;
    if (program->pid_file_written)
        (void)unlink(program->line->pid_file);
    byre_outcome_set(program->mount.outcome, exit_code == 0 ? BYRE_OUTCOME_CLOSED : BYRE_OUTCOME_FAILED);
    return exit_code; /* the file ends with the process, for which byre-umount waits */
}

static int start(const struct byre_mount_line *line)
{
    struct program program = {
        .line = line,
        .background.ready_fd = -1,
        .mount = { .complain = complain_of_request, .opaque = &program, .outcome = -1 },
    };
    struct byre_error err = BYRE_ERROR_INIT;

    openlog("byre-mount", LOG_PID, LOG_DAEMON);
    if (!line->foreground && byre_background_enter(&program.background, &err) < 0)
        return complain(&program, &err);
    return run(&program);
}

int main(int argc, char **argv)
{
    struct byre_mount_line line;
    int exit_code;

    byre_standard_files_open();
    byre_program_init(argv[0]);
    if (argc == 2 && strcmp(argv[1], "__options") == 0) {
        byre_options_dump(&byre_verb_mount);
        return 0;
    }
    if (byre_mount_line_read(argc, argv, &line, &exit_code) == 0)
        exit_code = start(&line);
    byre_mount_line_done(&line);
    byre_objects_done();
    return exit_code;
}
