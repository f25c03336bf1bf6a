/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre resize: another size for a disk.
 */
#include "config.h"

#include "cli/verbs.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/objects.h"

enum { OPT_OBJECT = BYRE_OPTION_LONG, OPT_IMAGE_OPTS, OPT_PREALLOCATION, OPT_SHRINK, OPT_ALLOW_BACKING };

static const struct byre_option options[] = {
    { 'f', NULL, "FMT", "format of the image; by default it is probed" },
    { 'q', NULL, NULL, "print nothing but errors" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "the file name is a list of options: driver=qcow2,file.filename=..." },
    { OPT_PREALLOCATION, "preallocation", "MODE", "for what is new: off, metadata, falloc or full" },
    { OPT_SHRINK, "shrink", NULL, "the disk may become smaller: what is past its new end is lost" },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "protocol: follow names in images that are no paths" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct resize_args {
    const char *name, *format;
    const char *size;          /* as it was written */
    const char *preallocation; /* NULL: none */
    bool quiet, image_opts, shrink, allow_protocol;
};

static int read_options(struct byre_option_parser *parser, struct resize_args *args)
{
    static const char *const modes[] = { "off", "metadata", "falloc", "full" };
    bool known = false;
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        switch (id) {
        case 'f': args->format = parser->argument; break;
        case 'q': args->quiet = true; break;
        case OPT_IMAGE_OPTS: args->image_opts = true; break;
        case OPT_SHRINK: args->shrink = true; break;
        case OPT_PREALLOCATION:
            for (unsigned i = 0; i < ARRAY_LEN(modes); i++)
                known |= strcmp(parser->argument, modes[i]) == 0;
            if (!known)
                return byre_options_stop(parser, byre_complain("Invalid preallocation mode '%s'", parser->argument));
            args->preallocation = strcmp(parser->argument, "off") ? parser->argument : NULL;
            break;
        case OPT_ALLOW_BACKING:
            if (byre_argument_allow_backing(parser->argument, &args->allow_protocol) < 0)
                return byre_options_stop(parser, 1);
            break;
        }
    }
    return id;
}

/* The size that the text asks for: by itself, or after a sign more or less than `old`.  0 if there is no such size. */
static int read_size(const char *text, uint64_t old, uint64_t *ret_size)
{
    bool more = *text == '+', less = *text == '-';
    struct byre_error err = BYRE_ERROR_INIT;
    uint64_t size;

    if (byre_argument_size_value("size", text + (more || less), &size, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    if (less)
        size = size < old ? old - size : 0;
    else if (more)
        size = byre_range_within(old, size, INT64_MAX) ? old + size : 0;
    *ret_size = size <= INT64_MAX ? size : 0;
    return 0;
}

static int check_size(const struct resize_args *args, uint64_t old, uint64_t size)
{
    if (!size)
        return byre_complain("New image size must be positive");
    if (size <= old && args->preallocation)
        return byre_complain("Preallocation can only be used for growing images");
    if (size < old && !args->shrink)
        return byre_complain("Use the --shrink option to perform a shrink operation.\n"
                             "%s: warning: Shrinking an image will delete all data beyond the shrunken image's end. "
                             "Before performing such an operation, make sure there is no important data there.",
                             byre_program_name());
    return 0;
}

static int resize_disk(const struct resize_args *args, struct byre_disk *disk)
{
    uint64_t old = byre_get_size(disk), size = 0;
    struct byre_error err = BYRE_ERROR_INIT;

    if (read_size(args->size, old, &size) != 0 || check_size(args, old, size) != 0)
        return 1;
    if (byre_truncate(disk, size, args->preallocation, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    return 0;
}

static int resize(const struct resize_args *args)
{
    const struct byre_open_options open_options = {
        .format = args->format,
        .writable = true,
        .secrets = byre_objects_secrets(),
        .protocol_backing = byre_argument_protocol_backing(args->allow_protocol),
    };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    int exit_code;

    if (byre_argument_open(args->name, args->image_opts, &open_options, &disk) < 0)
        return 1;
    exit_code = resize_disk(args, disk);
    if (byre_close(disk, &err) < 0 && exit_code == 0)
        exit_code = byre_complain_error(&err, "%s", "");
    if (exit_code == 0 && !args->quiet)
        printf("Image resized.\n");
    return exit_code;
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct byre_option_parser parser;
    struct resize_args args = { .name = NULL };

    /* "-1G" is a size and no option: the last word always is. */
    if (argc >= 3)
        args.size = argv[--argc];
    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &args) < 0)
        return parser.exit_code;
    if (!args.size)
        return byre_complain_usage("Not enough arguments");
    if (argc - parser.operand != 1)
        return byre_complain_usage("Expecting image file name and size");
    args.name = argv[parser.operand];
    return resize(&args);
}

const struct byre_verb byre_verb_resize = {
    .name = "resize",
    .operands = "FILENAME [+|-]SIZE",
    .summary = "Changes the size of a disk.",
    .options = options,
    .run = run,
};
