/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre create: a new image.
 */
#include "config.h"

#include "cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "byre/create.h"
#include "cli/arguments.h"
#include "cli/create_options.h"
#include "cli/message.h"
#include "cli/objects.h"

enum { OPT_OBJECT = BYRE_OPTION_LONG, OPT_ALLOW_BACKING };

static const struct byre_option options[] = {
    { 'f', NULL, "FMT", "format of the image: qcow2, luks or raw (default)" },
    { 'b', NULL, "BACKING_FILE", "make the image an overlay of this one" },
    { 'F', NULL, "BACKING_FMT", "format of the backing file" },
    { 'u', NULL, NULL, "do not open the backing file" },
    { 'o', NULL, "OPTIONS", "format options, name=value separated by commas; help lists them" },
    { 'q', NULL, NULL, "print nothing but errors" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "protocol: follow names in images that are no paths" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct create_args {
    const char *name, *format, *backing_file, *backing_format;
    char *option_list; /* owned */
    uint64_t size;
    bool have_size, unsafe, quiet, allow_protocol;
};

static int read_options(struct byre_option_parser *parser, struct create_args *args)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        switch (id) {
        case 'f': args->format = parser->argument; break;
        case 'b': args->backing_file = parser->argument; break;
        case 'F': args->backing_format = parser->argument; break;
        case 'u': args->unsafe = true; break;
        case 'q': args->quiet = true; break;
        case OPT_ALLOW_BACKING:
            if (byre_argument_allow_backing(parser->argument, &args->allow_protocol) < 0)
                return byre_options_stop(parser, 1);
            break;
        case 'o':
            if (byre_option_list_append(&args->option_list, parser->argument) != 0)
                return byre_options_stop(parser, 1);
            break;
        }
    }
    return id;
}

/* The operands: FILENAME [SIZE]. */
static int read_operands(char **operands, int count, struct create_args *args)
{
    if (count == 0)
        return byre_complain_usage("Expecting image file name");
    args->name = operands[0];
    if (count > 1) {
        if (byre_argument_size("image size", operands[1], &args->size) < 0)
            return 1;
        args->have_size = true;
    }
    if (count > 2)
        return byre_complain_usage("Unexpected argument: %s", operands[2]);
    return 0;
}

/* Puts -b and -F over what the option list says. */
static int merge_backing(struct byre_create_values *values, const struct create_args *args)
{
    const char *backing;

    if (args->backing_file && !byre_create_values_set_text(values, "backing_file", args->backing_file))
        return byre_complain("%s: Backing file not supported for file format '%s'", args->name, args->format);
    if (args->backing_format && !byre_create_values_set_text(values, "backing_fmt", args->backing_format))
        return byre_complain("%s: Backing file format not supported for file format '%s'", args->name,
                             args->format);
    backing = byre_create_values_text(values, "backing_file");
    if (backing && !*backing)
        return byre_complain("%s: Expected backing file name, got empty string", args->name);
    if (backing && strcmp(backing, args->name) == 0)
        return byre_complain(
            "%s: Error: Trying to create an image with the same filename as the backing file", args->name);
    return 0;
}

/* Looks at the backing file, for its size and so that nobody builds on a file that is not there. */
static int look_at_backing(struct byre_create_values *values, const struct create_args *args)
{
    const char *backing = byre_create_values_text(values, "backing_file");
    const char *format = byre_create_values_text(values, "backing_fmt");
    struct byre_error err = BYRE_ERROR_INIT;
    const char *detected = NULL;
    uint64_t size;

    if (backing && !args->unsafe) {
        bool protocol = byre_argument_protocol_backing(args->allow_protocol);

        if (byre_create_check_backing(args->name, backing, format, protocol, byre_objects_secrets(), &size, &detected,
                                      &err) < 0) {
            byre_error_hint(&err, "Could not open backing image.");
            return byre_complain_error(&err, "%s: ", args->name);
        }
        if (!byre_create_values_text(values, "size"))
            byre_create_values_set_number(values, "size", size);
    }
    if (backing && !format && detected)
        return byre_complain("%s: Backing file specified without backing format\nDetected format of %s.",
                             args->name, detected);
    if (backing && !format)
        return byre_complain("%s: Backing file specified without backing format", args->name);
    return 0;
}

/* Fills in `values` and makes the image. */
static int create_with(struct byre_create_values *values, const struct create_args *args)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_create_options create_options;

    if (byre_create_values_parse(values, args->option_list, &err) < 0)
        return byre_complain_error(&err, "%s: ", args->name);
    if (args->have_size && byre_create_values_text(values, "size"))
        return byre_complain("%s: The image size must be specified only once", args->name);
    if (args->have_size)
        byre_create_values_set_number(values, "size", args->size);
    if (merge_backing(values, args) != 0 || look_at_backing(values, args) != 0)
        return 1;
    if (!byre_create_values_text(values, "size"))
        return byre_complain("%s: Image creation needs a size parameter", args->name);
    if (!args->quiet)
        byre_create_values_print(values, args->name);
    if (byre_create_values_apply(values, &create_options, &err) < 0 ||
        byre_create(args->name, &create_options, &err) < 0)
        return byre_complain_error(&err, "%s: ", args->name);
    return 0;
}

static int create(const struct create_args *args)
{
    struct byre_create_values values;
    int exit_code;

    byre_create_values_init(&values, args->format);
    exit_code = create_with(&values, args);
    byre_create_values_done(&values);
    return exit_code;
}

/* `name` is NULL where none was given. */
static int help(const struct create_args *args, const char *name)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (!byre_argument_format_known(args->format))
        return byre_complain("Unknown file format '%s'", args->format);
    if (name && byre_create_check_name(name, &err) < 0)
        return byre_complain_error(&err, "%s", "");
    byre_create_options_help(args->format, name != NULL);
    return 0;
}

static int run_with(struct byre_option_parser *parser, struct create_args *args)
{
    struct byre_error err = BYRE_ERROR_INIT;
    char **operands;
    int count;

    if (read_options(parser, args) < 0)
        return parser->exit_code;
    operands = parser->argv + parser->operand;
    count = parser->argc - parser->operand;
    if (byre_option_list_wants_help(args->option_list))
        return help(args, count > 0 ? operands[0] : NULL);
    if (read_operands(operands, count, args) != 0)
        return 1;
    if (!byre_argument_format_known(args->format))
        return byre_complain("%s: Unknown file format '%s'", args->name, args->format);
    if (byre_create_check_name(args->name, &err) < 0)
        return byre_complain_error(&err, "%s: ", args->name);
    return create(args);
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct create_args args = { .format = "raw" };
    struct byre_option_parser parser;
    int exit_code;

    byre_options_start(&parser, verb, argc, argv);
    exit_code = run_with(&parser, &args);
    free(args.option_list);
    return exit_code;
}

const struct byre_verb byre_verb_create = {
    .name = "create",
    .operands = "FILENAME [SIZE]",
    .summary = "Creates a disk image.",
    .options = options,
    .run = run,
};
