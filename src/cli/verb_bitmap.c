/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre bitmap: adds, removes and changes the persistent dirty bitmaps of an image.
 */
#include "config.h"

#include "cli/verbs.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "byre/bitmap.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/objects.h"

enum {
    OPT_ADD = BYRE_OPTION_LONG,
    OPT_REMOVE,
    OPT_CLEAR,
    OPT_ENABLE,
    OPT_DISABLE,
    OPT_MERGE,
    OPT_OBJECT,
    OPT_IMAGE_OPTS,
};

static const struct byre_option options[] = {
    { OPT_ADD, "add", NULL, "add the bitmap, enabled" },
    { OPT_REMOVE, "remove", NULL, "remove the bitmap" },
    { OPT_CLEAR, "clear", NULL, "make all of the bitmap clean" },
    { OPT_ENABLE, "enable", NULL, "let the bitmap follow changes of the disk" },
    { OPT_DISABLE, "disable", NULL, "let the bitmap follow no changes" },
    { OPT_MERGE, "merge", "SOURCE", "make dirty what is dirty in the bitmap SOURCE" },
    { 'g', NULL, "GRANULARITY", "with --add: how many bytes each bit stands for" },
    { 'b', NULL, "SOURCE_FILE", "with --merge: the image that SOURCE is in" },
    { 'F', NULL, "SOURCE_FMT", "format of SOURCE_FILE; by default it is probed" },
    { 'f', NULL, "FMT", "format of the image; by default it is probed" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "the file name is a list of options: driver=qcow2,file.filename=..." },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct action {
    int id;
    const char *source; /* of OPT_MERGE */
};

struct bitmap_args {
    struct action *actions; /* in the order given; as many as there are arguments at most; owned */
    unsigned action_count;
    const char *format, *source_file, *source_format;
    uint64_t granularity;
    bool image_opts, adds, merges;
};

static int read_options(struct byre_option_parser *parser, struct bitmap_args *args)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        switch (id) {
        case OPT_ADD:
        case OPT_REMOVE:
        case OPT_CLEAR:
        case OPT_ENABLE:
        case OPT_DISABLE:
        case OPT_MERGE:
            args->adds |= id == OPT_ADD;
            args->merges |= id == OPT_MERGE;
            args->actions[args->action_count++] = (struct action){ id, parser->argument };
            break;
        case 'g':
            if (byre_argument_size("granularity", parser->argument, &args->granularity) < 0)
                return byre_options_stop(parser, 1);
            break;
        case 'b': args->source_file = parser->argument; break;
        case 'F': args->source_format = parser->argument; break;
        case 'f': args->format = parser->argument; break;
        case OPT_IMAGE_OPTS: args->image_opts = true; break;
        }
    }
    return id;
}

/* In qemu-img's order. */
static int check_args(const struct bitmap_args *args, int operands)
{
    if (!args->action_count)
        return byre_complain("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
    if (args->granularity && !args->adds)
        return byre_complain("granularity only supported with --add");
    if (args->source_format && !args->source_file)
        return byre_complain("-F only supported with -b");
    if (args->source_file && !args->merges)
        return byre_complain("Merge bitmap source file only supported with --merge");
    if (operands != 2)
        return byre_complain("Expecting filename and bitmap name");
    return 0;
}

/* What is done, as the complaint calls it. */
static const char *action_name(int id)
{
    static const char *const names[] = { "add", "remove", "clear", "enable", "disable", "merge" };

    return names[id - OPT_ADD];
}

static int act(const struct bitmap_args *args, const struct action *action, struct byre_disk *disk,
               struct byre_disk *source, const char *name, struct byre_error *err)
{
    switch (action->id) {
    case OPT_ADD: return byre_bitmap_add(disk, name, args->granularity, true, err);
    case OPT_REMOVE: return byre_bitmap_remove(disk, name, err);
    case OPT_CLEAR: return byre_bitmap_clear(disk, name, err);
    case OPT_ENABLE: return byre_bitmap_enable(disk, name, err);
    case OPT_DISABLE: return byre_bitmap_disable(disk, name, err);
    default: return byre_bitmap_merge(disk, name, source, action->source, err);
    }
}

/* The names of bitmaps may be long, and the message repeats them. */
static int act_all(const struct bitmap_args *args, struct byre_disk *disk, struct byre_disk *source, const char *name)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_bitmap_stale(disk))
        byre_complain("warning: a program lacking bitmap support modified this file, so all bitmaps are now "
                      "considered inconsistent");
    for (unsigned i = 0; i < args->action_count; i++) {
        const struct action *action = &args->actions[i];

        if (act(args, action, disk, source, name, &err) < 0)
            return byre_complain_error(&err, "Operation %s on bitmap %s failed: ", action_name(action->id), name);
    }
    return 0;
}

static int run_args(const struct bitmap_args *args, char **operands)
{
    const struct byre_secrets *secrets = byre_objects_secrets();
    struct byre_open_options own = { .format = args->format, .writable = true, .no_backing = true, .secrets = secrets };
    struct byre_open_options other = { .format = args->source_format, .no_backing = true, .secrets = secrets };
    struct byre_disk *disk = NULL, *source = NULL;
    struct byre_error err = BYRE_ERROR_INIT;
    int exit_code = 1;

    if (byre_argument_open(operands[0], args->image_opts, &own, &disk) == 0 &&
        (!args->source_file || byre_argument_open(args->source_file, false, &other, &source) == 0))
        exit_code = act_all(args, disk, source ? source : disk, operands[1]);
    byre_close(source, NULL); /* nothing was written */
    if (byre_close(disk, &err) < 0 && exit_code == 0)
        exit_code = byre_complain_error(&err, "%s: ", operands[0]);
    return exit_code;
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct bitmap_args args = { .actions = calloc((size_t)argc, sizeof(struct action)) };
    struct byre_option_parser parser;
    int exit_code;

    if (!args.actions)
        byre_die_no_memory();
    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &args) < 0) {
        exit_code = parser.exit_code;
    } else {
        exit_code = check_args(&args, argc - parser.operand);
        if (exit_code == 0)
            exit_code = run_args(&args, argv + parser.operand);
    }
    free(args.actions);
    return exit_code;
}

const struct byre_verb byre_verb_bitmap = {
    .name = "bitmap",
    .operands = "FILENAME BITMAP",
    .summary = "Changes a persistent dirty bitmap of an image.",
    .options = options,
    .run = run,
};
