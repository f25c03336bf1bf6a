/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre snapshot: the internal snapshots of an image.  Only the named file is opened: what a snapshot shares with the
 * disk says nothing of backing files.
 */
#include "config.h"

#include "cli/verbs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "byre/disk.h"
#include "byre/info.h"
#include "byre/snapshot.h"
#include "cli/arguments.h"
#include "cli/info_print.h"
#include "cli/message.h"
#include "cli/objects.h"

enum { OPT_OBJECT = BYRE_OPTION_LONG, OPT_IMAGE_OPTS };

static const struct byre_option options[] = {
    { 'l', NULL, NULL, "list the snapshots" },
    { 'a', NULL, "SNAPSHOT", "make the disk what it was in this snapshot" },
    { 'c', NULL, "SNAPSHOT", "make a snapshot of this name" },
    { 'd', NULL, "SNAPSHOT", "delete this snapshot" },
    { 'q', NULL, NULL, "print nothing but errors and what -l asks for" },
    { 'U', "force-share", NULL, "with -l: open the image although another program writes to it" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list of options: driver=qcow2,file.filename=..." },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct snapshot_args {
    int action;           /* the letter of the option, or 0 */
    const char *snapshot; /* its argument */
    const char *shown;
    bool force_share, image_opts;
};

static int read_options(struct byre_option_parser *parser, struct snapshot_args *args)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        switch (id) {
        case 'l':
        case 'a':
        case 'c':
        case 'd':
            if (args->action)
                return byre_options_stop(parser, byre_complain_usage("Cannot mix '-l', '-a', '-c', '-d'"));
            args->action = id;
            args->snapshot = parser->argument;
            break;
        case 'U': args->force_share = true; break;
        case OPT_IMAGE_OPTS: args->image_opts = true; break;
        }
    }
    return id;
}

static int list(const struct snapshot_args *args)
{
    CLEANUP(free_ptr) char *name = NULL;
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_info info;

    if (byre_argument_image(args->shown, args->image_opts, NULL, &name) < 0)
        return 1;
    if (byre_info_read(name, NULL, args->force_share, &info, &err) < 0)
        return byre_complain_open(&err, args->shown);
    byre_info_print_snapshots(&info);
    byre_info_done(&info);
    return 0;
}

static bool is_raw(const struct byre_disk *disk)
{
    return strcmp(byre_layer_format(disk, 0), "raw") == 0;
}

static int create(struct byre_disk *disk, const char *name)
{
    const struct byre_snapshot_create_options create_options = { .name = name };
    struct byre_error err = BYRE_ERROR_INIT;

    if (is_raw(disk))
        return byre_complain("Could not create snapshot '%s': %d (%s)", name, -ENOTSUP, strerror(ENOTSUP));
    if (byre_snapshot_create(disk, &create_options, NULL, &err) < 0)
        return byre_complain_error(&err, "Could not create snapshot '%s': ", name);
    return 0;
}

static int apply(struct byre_disk *disk, const char *name)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int r = byre_snapshot_apply(disk, &(struct byre_snapshot_selector){ .any = name }, &err);

    if (r == -ENOENT)
        return byre_complain("Could not apply snapshot '%s': Failed to load snapshot: %s", name, strerror(ENOENT));
    return r < 0 ? byre_complain_error(&err, "Could not apply snapshot '%s': ", name) : 0;
}

/* An id is no name here: as with qemu-img. */
static int delete(struct byre_disk *disk, const char *name)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (is_raw(disk))
        return byre_complain("Could not delete snapshot '%s': snapshot not found", name);
    if (byre_snapshot_delete(disk, &(struct byre_snapshot_selector){ .name = name }, &err) < 0)
        return byre_complain_error(&err, "Could not delete snapshot '%s': ", name);
    return 0;
}

static int act(struct byre_disk *disk, const struct snapshot_args *args)
{
    switch (args->action) {
    case 'c': return create(disk, args->snapshot);
    case 'a': return apply(disk, args->snapshot);
    case 'd': return delete(disk, args->snapshot);
    default: return 0; /* that it can be opened is all that was asked */
    }
}

static int change(const struct snapshot_args *args)
{
    const struct byre_open_options open_options = {
        .cache = BYRE_CACHE_WRITEBACK,
        .writable = true,
        .no_backing = true,
        .secrets = byre_objects_secrets(),
        .force_share = args->force_share,
    };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    int exit_code;

    if (byre_argument_open(args->shown, args->image_opts, &open_options, &disk) != 0)
        return 1;
    exit_code = act(disk, args);
    if (byre_close(disk, &err) < 0 && exit_code == 0)
        exit_code = byre_complain_error(&err, "%s", "");
    return exit_code;
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct snapshot_args args = { 0 };
    struct byre_option_parser parser;

    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &args) < 0)
        return parser.exit_code;
    if (argc - parser.operand != 1)
        return byre_complain_usage("Expecting one image file name");
    args.shown = argv[parser.operand];
    return args.action == 'l' ? list(&args) : change(&args);
}

const struct byre_verb byre_verb_snapshot = {
    .name = "snapshot",
    .operands = "FILENAME",
    .summary = "Lists, makes, applies and deletes the internal snapshots of an image.",
    .options = options,
    .run = run,
};
