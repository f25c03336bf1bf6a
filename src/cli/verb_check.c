/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre check: is the metadata of an image consistent, and repair.  Only the named file is opened.
 */
#include "config.h"

#include "cli/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byre/cache.h"
#include "byre/check.h"
#include "byre/info.h"
#include "cli/arguments.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "cli/progress.h"

enum { OPT_OUTPUT = BYRE_OPTION_LONG, OPT_OBJECT, OPT_IMAGE_OPTS };

enum check_exit {
    EXIT_CONSISTENT = 0,
    EXIT_NOT_DONE = 1,
    EXIT_CORRUPT = 2,
    EXIT_LEAKS = 3,
    EXIT_NO_CHECK = 63,
};

static const struct byre_option options[] = {
    { 'f', "format", "FMT", "format of the image; by default it is probed" },
    { 'r', "repair", "WHAT", "repair what is found: leaks, or all" },
    { OPT_OUTPUT, "output", "OFMT", "how to print: human (default) or json" },
    { 'q', NULL, NULL, "print nothing but errors" },
    { 'T', NULL, "SRC_CACHE", "cache mode; by default writeback" },
    { 'U', "force-share", NULL, "open the image although another program writes to it" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list of options: driver=qcow2,file.filename=..." },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct check_args {
    const char *shown, *format, *output, *cache;
    char *name; /* for the library; owned */
    unsigned repair;
    bool json, quiet, force_share, image_opts;
};

static int read_repair(const char *text, unsigned *ret_repair)
{
    if (strcmp(text, "leaks") == 0)
        *ret_repair = BYRE_REPAIR_LEAKS;
    else if (strcmp(text, "all") == 0)
        *ret_repair = BYRE_REPAIR_LEAKS | BYRE_REPAIR_ERRORS;
    else
        return byre_complain_usage("Unknown option value for -r (expecting 'leaks' or 'all'): %s", text);
    return 0;
}

static int read_options(struct byre_option_parser *parser, struct check_args *args)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        switch (id) {
        case 'f': args->format = parser->argument; break;
        case 'q': args->quiet = true; break;
        case 'U': args->force_share = true; break;
        case OPT_IMAGE_OPTS: args->image_opts = true; break;
        case 'r':
            if (read_repair(parser->argument, &args->repair) != 0)
                return byre_options_stop(parser, EXIT_NOT_DONE);
            break;
        case 'T': args->cache = parser->argument; break;
        case OPT_OUTPUT: args->output = parser->argument; break;
        }
    }
    return id;
}

static void report_finding(void *opaque, const char *line)
{
    (void)opaque;
    byre_progress_clear_line();
    fflush(stdout);
    fprintf(stderr, "%s\n", line);
}

/* One pass over the image.  Returns 0 or a negative errno after a complaint. */
static int check_once(const struct check_args *args, unsigned repair, struct byre_check_result *result)
{
    struct byre_check_options check_options = {
        .format = args->format,
        .repair = repair,
        .force_share = args->force_share,
        .secrets = byre_objects_secrets(),
        .report = report_finding,
        .progress = byre_progress_report,
    };
    struct byre_error err = BYRE_ERROR_INIT;
    int r;

    memset(result, 0, sizeof *result);
    byre_progress_start(byre_progress_choose(false, args->quiet || args->json), "check");
    r = byre_check(args->name, &check_options, result, &err);
    byre_progress_stop(false);
    if (r < 0)
        byre_complain_error(&err, "%s", "");
    return r;
}

static void print_text(const struct byre_check_result *result)
{
    double total = (double)result->total_clusters, allocated = (double)result->allocated_clusters;

    if (!result->corruptions && !result->leaks && !result->check_errors)
        printf("No errors were found on the image.\n");
    if (result->corruptions)
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               result->corruptions);
    if (result->leaks)
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n", result->leaks);
    if (result->check_errors)
        printf("\n%" PRIu64 " internal errors have occurred during the check.\n", result->check_errors);
    if (result->statistics_valid && result->total_clusters && result->allocated_clusters)
        printf("%" PRIu64 "/%" PRIu64
               " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
               result->allocated_clusters, result->total_clusters, 100.0 * allocated / total,
               100.0 * (double)result->fragmented_clusters / allocated,
               100.0 * (double)result->compressed_clusters / allocated);
    if (result->image_end_hoff)
        printf("Image end offset: %" PRIu64 "\n", result->image_end_hoff);
}

static void add_unless_zero(json_t *object, const char *key, uint64_t value)
{
    if (value)
        byre_json_add_number(object, key, value);
}

/* Members are added in the order in which qemu-img prints them. */
static void print_json(const struct check_args *args, const struct byre_check_result *result)
{
    bool counted = result->statistics_valid;
    json_t *object = byre_json_object();

    add_unless_zero(object, "image-end-offset", result->image_end_hoff);
    add_unless_zero(object, "compressed-clusters", counted ? result->compressed_clusters : 0);
    add_unless_zero(object, "total-clusters", counted ? result->total_clusters : 0);
    add_unless_zero(object, "corruptions", result->corruptions);
    add_unless_zero(object, "corruptions-fixed", result->corruptions_fixed);
    byre_json_add_number(object, "check-errors", result->check_errors);
    add_unless_zero(object, "leaks", result->leaks);
    add_unless_zero(object, "leaks-fixed", result->leaks_fixed);
    add_unless_zero(object, "allocated-clusters", counted ? result->allocated_clusters : 0);
    byre_json_add_text(object, "filename", args->shown);
    byre_json_add_text(object, "format", "qcow2"); /* no other format has a check */
    add_unless_zero(object, "fragmented-clusters", counted ? result->fragmented_clusters : 0);
    byre_json_print(object);
}

/* After a repair the image is checked again, so that the report is of what is there now. */
static int check_again(const struct check_args *args, struct byre_check_result *result)
{
    uint64_t leaks_fixed = result->leaks_fixed, corruptions_fixed = result->corruptions_fixed;
    int r;

    if (!args->json && !args->quiet) {
        printf("The following inconsistencies were found and repaired:\n\n"
               "    %" PRIu64 " leaked clusters\n    %" PRIu64 " corruptions\n\n"
               "Double checking the fixed image now...\n", leaks_fixed, corruptions_fixed);
        fflush(stdout);
    }
    r = check_once(args, 0, result);
    result->leaks_fixed = leaks_fixed;
    result->corruptions_fixed = corruptions_fixed;
    return r;
}

/* Tells a format that has no check from an image of a kind that the check cannot read. */
static enum check_exit not_supported(const struct check_args *args)
{
    struct byre_info info;
    enum check_exit exit_code = EXIT_NOT_DONE;

    if (byre_info_read(args->name, args->format, args->force_share, &info, NULL) == 0) {
        if (strcmp(info.format, "qcow2") != 0)
            exit_code = EXIT_NO_CHECK;
        byre_info_done(&info);
    }
    return exit_code;
}

static int check(const struct check_args *args)
{
    struct byre_check_result result;
    int r = check_once(args, args->repair, &result);

    if (r == -ENOTSUP)
        return not_supported(args);
    if (r == 0 && (result.corruptions_fixed || result.leaks_fixed))
        r = check_again(args, &result);
    if (r < 0)
        return EXIT_NOT_DONE;
    if (!args->quiet && args->json)
        print_json(args, &result);
    else if (!args->quiet)
        print_text(&result);
    if (result.corruptions)
        return EXIT_CORRUPT;
    if (result.check_errors)
        return EXIT_NOT_DONE;
    return result.leaks ? EXIT_LEAKS : EXIT_CONSISTENT;
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct check_args args = { 0 };
    struct byre_option_parser parser;
    enum byre_cache cache; /* a check reads metadata only: every mode does */
    int exit_code;

    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &args) < 0)
        return parser.exit_code;
    if (argc - parser.operand != 1)
        return byre_complain_usage("Expecting one image file name");
    if (byre_argument_output(args.output, &args.json) < 0 ||
        byre_argument_source_cache(args.cache, &cache) < 0)
        return EXIT_NOT_DONE;
    args.shown = argv[parser.operand];
    if (byre_argument_image(args.shown, args.image_opts, args.format, &args.name) < 0)
        return EXIT_NOT_DONE;
    exit_code = check(&args);
    free(args.name);
    return exit_code;
}

const struct byre_verb byre_verb_check = {
    .name = "check",
    .operands = "FILENAME",
    .summary = "Checks the metadata of a disk image, and repairs it.",
    .options = options,
    .run = run,
};
