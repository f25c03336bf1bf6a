/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre-mount's options.
 */
#ifndef BYRE_FUSE_COMMAND_LINE_H
#define BYRE_FUSE_COMMAND_LINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/vec.h"
#include "byre/disk.h"
#include "cli/options.h"
#include "cli/snapshot_param.h"

struct byre_mount_line {
    VEC(const char *) images;
    const char *mount_point, *pid_file;
    struct byre_open_options open;
    struct byre_snapshot_param snapshot_param;
    struct byre_snapshot_selector snapshot;
    bool image_opts, foreground, debug, files;
    unsigned partition;           /* with `files`: 0 is the only file system */
    bool read_only, suid, dev, allow_other, owner_given, group_given;
    uid_t owner;
    gid_t group;
    mode_t umask;
    VEC(char *) texts;            /* of -o, in which values stand */
    char *fuse_options;           /* what is libfuse's and the kernel's, with commas between; or NULL */
};

extern const struct byre_verb byre_verb_mount;

/* 0, or -1 when the program is to end with *ret_exit_code. */
int byre_mount_line_read(int argc, char **argv, struct byre_mount_line *ret_line, int *ret_exit_code);
void byre_mount_line_done(struct byre_mount_line *line);

#endif
