/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre-mount's options, its own and those behind -o, where mount(8) puts all of them.
 */
#include "config.h"

#include "fuse/command_line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "fuse/node.h"

enum {
    OPT_OBJECT = BYRE_OPTION_LONG,
    OPT_ALLOW_BACKING,
    OPT_FILES,
    OPT_FORMAT,
    OPT_IMAGE_OPTS,
    OPT_PID_FILE,
    OPT_SNAPSHOT,
};

static const struct byre_option options[] = {
    { 'd', "debug", NULL, "tell of each request; stays in the foreground" },
    { 'f', "foreground", NULL, "stay in the foreground" },
    { 'o', "options", "OPTIONS", "mount options, with commas between: ro, allow_other, uid=N..." },
    { 'U', "force-share", NULL, "open the image although another program writes to it" },
    { 'w', "writable", NULL, "disk.raw and the partitions can be written to" },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "follow names in images that are no paths: 'protocol'" },
    { OPT_FILES, "fs", "[=N]", "show the files inside: of partition N, or of the only file system" },
    { OPT_FORMAT, "format", "FMT", "format of the images (default: found out)" },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "the images are given by options" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_PID_FILE, "pid-file", "PATH", "write the process id to this file" },
    { OPT_SNAPSHOT, "snapshot", "NAME", "mount the image as this snapshot has it" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

const struct byre_verb byre_verb_mount = {
    .name = "mount",
    .operands = "IMAGE... DIRECTORY",
    .summary = "Shows images as files.",
    .options = options,
};

/* --- -o ------------------------------------------------------------------------------------------------------ */

/* The value in "NAME=VALUE", or NULL. */
static const char *value_of(const char *option, const char *name)
{
    size_t length = strlen(name);

    return strncmp(option, name, length) == 0 && option[length] == '=' ? option + length + 1 : NULL;
}

static int read_partition(const char *text, struct byre_mount_line *line)
{
    line->files = true;
    if (!text)
        return 0;
    if (byre_argument_number("partition number", text, 10, 1u << 20, &line->partition) < 0)
        return -1;
    if (line->partition)
        return 0;
    byre_complain("Invalid partition number '0': they count from 1 on");
    return -1;
}

/* Options with a value: 1 if this is none of them, -1 after a complaint. */
static int take_valued(const char *option, struct byre_mount_line *line)
{
    const char *value;
    unsigned number;
    int rc;

    if ((value = value_of(option, "uid"))) {
        rc = byre_argument_number("uid", value, 10, UINT32_MAX - 1, &number);
        line->owner_given = true;
        line->owner = rc < 0 ? 0 : number;
    } else if ((value = value_of(option, "gid"))) {
        rc = byre_argument_number("gid", value, 10, UINT32_MAX - 1, &number);
        line->group_given = true;
        line->group = rc < 0 ? 0 : number;
    } else if ((value = value_of(option, "umask"))) {
        rc = byre_argument_number("umask", value, 8, 0777, &number);
        line->umask = rc < 0 ? 0 : number;
    } else if ((value = value_of(option, "fs"))) {
        rc = read_partition(value, line);
    } else if ((value = value_of(option, "snapshot"))) {
        rc = byre_snapshot_param_read(&line->snapshot_param, value);
    } else if ((value = value_of(option, "format"))) {
        line->open.format = value;
        rc = 0;
    } else {
        rc = 1;
    }
    return rc;
}

/* Words: false if this is none of them. */
static bool take_word(const char *option, struct byre_mount_line *line)
{
    bool said_to_all;
    const struct {
        const char *word;
        bool *target;
        bool value;
    } words[] = {
        { "ro", &line->read_only, true },
        { "rw", &line->read_only, false }, /* what mount(8) says if nothing else was said */
        { "writable", &line->open.writable, true },
        { "allow_suid", &line->suid, true },
        { "nosuid", &line->suid, false },
        { "allow_dev", &line->dev, true },
        { "nodev", &line->dev, false },
        { "suid", &said_to_all, true }, /* mount(8) says these two if nothing else was said: they are nobody's wish */
        { "dev", &said_to_all, true },
        { "fs", &line->files, true },
        { "foreground", &line->foreground, true },
        { "force-share", &line->open.force_share, true },
    };

    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(option, words[i].word) == 0) {
            *words[i].target = words[i].value;
            return true;
        }
    }
    return false;
}

static void pass_on(const char *option, struct byre_mount_line *line)
{
    char *all;

    line->allow_other |= strcmp(option, "allow_other") == 0;
    if (asprintf(&all, "%s%s%s", line->fuse_options ? line->fuse_options : "", line->fuse_options ? "," : "",
                 option) < 0)
        byre_die_no_memory();
    free(line->fuse_options);
    line->fuse_options = all;
}

static int read_mount_options(const char *text, struct byre_mount_line *line)
{
    char *copy = strdup(text), *rest = copy, *option;

    if (!copy || vec_push(&line->texts, copy) < 0) /* values stay in it */
        byre_die_no_memory();
    while ((option = strsep(&rest, ","))) {
        int rc = take_valued(option, line);

        if (rc < 0)
            return -1;
        if (rc == 0 || !*option || take_word(option, line) || strcmp(option, "auto_unmount") == 0)
            continue; /* the mount goes away by itself in any case */
        pass_on(option, line);
    }
    return 0;
}

/* --- the rest ------------------------------------------------------------------------------------------------ */

static int read_options(struct byre_option_parser *parser, struct byre_mount_line *line)
{
    bool protocol = false;
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        const char *argument = parser->argument;
        int r = 0;

        switch (id) {
        case 'd': line->debug = line->foreground = true; break;
        case 'f': line->foreground = true; break;
        case 'o': r = read_mount_options(argument, line); break;
        case 'U': line->open.force_share = true; break;
        case 'w': line->open.writable = true; break;
        case OPT_ALLOW_BACKING: r = byre_argument_allow_backing(argument, &protocol); break;
        case OPT_FILES: r = read_partition(argument, line); break;
        case OPT_FORMAT: line->open.format = argument; break;
        case OPT_IMAGE_OPTS: line->image_opts = true; break;
        case OPT_PID_FILE: line->pid_file = argument; break;
        case OPT_SNAPSHOT: r = byre_snapshot_param_read(&line->snapshot_param, argument); break;
        }
        if (r < 0)
            return byre_options_stop(parser, 1);
    }
    line->open.protocol_backing = byre_argument_protocol_backing(protocol);
    line->open.secrets = byre_objects_secrets();
    return id;
}

static int check(struct byre_mount_line *line)
{
    if (byre_snapshot_param_selector(&line->snapshot_param, &line->snapshot))
        line->open.snapshot = &line->snapshot;
    if (line->open.writable && line->read_only)
        return byre_complain("--writable and -o ro are mutually exclusive");
    if (line->open.writable && line->files)
        return byre_complain("--writable and --fs are mutually exclusive: the files inside can only be read");
    if (line->open.writable && line->open.snapshot)
        return byre_complain("--writable and --snapshot are mutually exclusive");
    if (line->open.writable && line->open.force_share)
        return byre_complain("--writable and --force-share are mutually exclusive");
    if (line->images.len > BYRE_NODE_IMAGE_MAX)
        return byre_complain("There can be %u images in one mount", BYRE_NODE_IMAGE_MAX);
    return 0;
}

int byre_mount_line_read(int argc, char **argv, struct byre_mount_line *ret_line, int *ret_exit_code)
{
    struct byre_mount_line *line = ret_line;
    struct byre_option_parser parser;

    *line = (struct byre_mount_line){ .owner = getuid(), .group = getgid() };
    byre_options_start(&parser, &byre_verb_mount, argc, argv);
    if (read_options(&parser, line) < 0) {
        *ret_exit_code = parser.exit_code;
        return -1;
    }
    *ret_exit_code = 1;
    if (argc - parser.operand < 2) {
        byre_complain_usage("Expecting an image and a mount point");
        return -1;
    }
    for (int i = parser.operand; i < argc - 1; i++) {
        if (vec_push(&line->images, argv[i]) < 0)
            byre_die_no_memory();
    }
    line->mount_point = argv[argc - 1];
    return check(line) != 0 ? -1 : 0;
}

void byre_mount_line_done(struct byre_mount_line *line)
{
    for (size_t i = 0; i < line->texts.len; i++)
        free(line->texts.ptr[i]);
    vec_done(&line->texts);
    vec_done(&line->images);
    byre_snapshot_param_done(&line->snapshot_param);
    free(line->fuse_options);
}
