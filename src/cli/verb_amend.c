/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre amend: other format options for an image that is there.
 */
#include "config.h"

#include "cli/verbs.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cli/amend_options.h"
#include "cli/arguments.h"
#include "cli/create_options.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "cli/progress.h"

enum { OPT_OBJECT = BYRE_OPTION_LONG, OPT_IMAGE_OPTS, OPT_FORCE, OPT_ALLOW_BACKING };

static const struct byre_option options[] = {
    { 'f', NULL, "FMT", "format of the image; by default it is probed" },
    { 'o', NULL, "OPTIONS", "what to change: name=value, separated by commas; help lists what there is" },
    { 'p', NULL, NULL, "show progress" },
    { 'q', NULL, NULL, "print nothing but errors" },
    { 't', NULL, "CACHE", "cache mode: writeback (default), writethrough, none, directsync or unsafe" },
    { OPT_FORCE, "force", NULL, "also change key slots so that the image cannot be read any more" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "the file name is a list of options: driver=qcow2,file.filename=..." },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "protocol: follow names in images that are no paths" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct amend_args {
    const char *name, *format, *cache;
    char *list; /* of format options; NULL: none; owned */
    bool progress, quiet, force, image_opts, allow_protocol;
};

static int read_options(struct byre_option_parser *parser, struct amend_args *args)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        switch (id) {
        case 'f': args->format = parser->argument; break;
        case 'o':
            if (byre_option_list_append(&args->list, parser->argument) != 0)
                return byre_options_stop(parser, 1);
            break;
        case 'p': args->progress = true; break;
        case 'q': args->quiet = true; break;
        case 't': args->cache = parser->argument; break;
        case OPT_FORCE: args->force = true; break;
        case OPT_IMAGE_OPTS: args->image_opts = true; break;
        case OPT_ALLOW_BACKING:
            if (byre_argument_allow_backing(parser->argument, &args->allow_protocol) < 0)
                return byre_options_stop(parser, 1);
            break;
        }
    }
    return id;
}

static int complain_format(const char *format)
{
    return byre_complain("Format driver '%s' does not support option amendment", format);
}

static int show_help(const char *format)
{
    if (!byre_argument_format_known(format))
        return byre_complain("Unknown file format '%s'", format);
    if (!byre_amend_format_known(format))
        return complain_format(format);
    byre_amend_options_help(format);
    return 0;
}

static int change(struct byre_disk *disk, const struct amend_args *args, struct byre_amend_values *values)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int r = 0;

    values->options.progress = byre_progress_report;
    values->keyslots.force = args->force;
    /* What the slots cannot have is to be found out before all else is changed. */
    if (values->keyslots_set && values->others_set) {
        values->keyslots.dry_run = true;
        r = byre_keyslots_change(disk, &values->keyslots, byre_objects_secrets(), &err);
        values->keyslots.dry_run = false;
    }
    if (r == 0 && strcmp(byre_layer_format(disk, 0), "luks") != 0)
        r = byre_amend(disk, &values->options, &err);
    if (r == 0 && values->keyslots_set)
        r = byre_keyslots_change(disk, &values->keyslots, byre_objects_secrets(), &err);
    return r < 0 ? byre_complain_error(&err, "%s", "") : 0;
}

/* What can be told to be wrong before anything is changed. */
static int check(struct byre_disk *disk, struct byre_amend_values *values)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (!values->keyslots_set)
        return 0;
    if (!byre_layer_is_encrypted(disk, 0))
        return byre_complain("Can't amend encryption options - encryption not present");
    return byre_amend_values_check_state(values, &err) < 0 ? byre_complain_error(&err, "%s", "") : 0;
}

static int amend_disk(struct byre_disk *disk, const struct amend_args *args)
{
    const char *format = byre_layer_format(disk, 0);
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_amend_values values;
    int exit_code = 0;

    if (!byre_amend_format_known(format))
        return complain_format(format);
    if (byre_option_list_wants_help(args->list))
        return show_help(format);
    if (byre_amend_values_parse(format, args->list, &values, &err) < 0)
        exit_code = byre_complain_error(&err, "%s", "");
    if (exit_code == 0)
        exit_code = check(disk, &values);
    if (exit_code == 0) {
        byre_progress_start(byre_progress_choose(args->progress, args->quiet), "amend");
        exit_code = change(disk, args, &values);
        byre_progress_stop(exit_code == 0);
    }
    byre_amend_values_done(&values);
    return exit_code;
}

static int amend(const struct amend_args *args)
{
    struct byre_open_options open_options = {
        .format = args->format,
        .cache = BYRE_CACHE_WRITEBACK,
        .writable = true,
        .secrets = byre_objects_secrets(),
        .protocol_backing = byre_argument_protocol_backing(args->allow_protocol),
    };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;
    int exit_code;

    if (byre_argument_cache("cache", args->cache, &open_options.cache) < 0 ||
        byre_argument_open(args->name, args->image_opts, &open_options, &disk) < 0)
        return 1;
    exit_code = amend_disk(disk, args);
    if (byre_close(disk, &err) < 0 && exit_code == 0)
        exit_code = byre_complain_error(&err, "%s", "");
    return exit_code;
}

static int run_parsed(struct amend_args *args, int argc, char **argv, int operand)
{
    if (!args->list)
        return byre_complain_usage("Must specify options (-o)");
    if (args->format && byre_option_list_wants_help(args->list))
        return show_help(args->format);
    if (argc - operand != 1)
        return byre_complain("Expecting one image file name");
    args->name = argv[operand];
    return amend(args);
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct amend_args args = { .name = NULL };
    struct byre_option_parser parser;
    int exit_code;

    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &args) < 0)
        exit_code = parser.exit_code;
    else
        exit_code = run_parsed(&args, argc, argv, parser.operand);
    free(args.list);
    return exit_code;
}

const struct byre_verb byre_verb_amend = {
    .name = "amend",
    .operands = "FILENAME",
    .summary = "Changes the format options of an image.",
    .options = options,
    .run = run,
};
