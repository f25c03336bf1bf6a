/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre compare: do two disks have the same contents.
 */
#include "config.h"

#include "cli/verbs.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "byre/compare.h"
#include "cli/arguments.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "cli/progress.h"

enum { OPT_OBJECT = BYRE_OPTION_LONG, OPT_IMAGE_OPTS, OPT_ALLOW_BACKING };

enum compare_exit {
    EXIT_SAME = 0,
    EXIT_DIFFERENT = 1,
    EXIT_OPEN_FAILED = 2,
    EXIT_MAP_FAILED = 3,
    EXIT_READ_FAILED = 4,
};

static const struct byre_option options[] = {
    { 'f', NULL, "FMT", "format of the first image; by default it is probed" },
    { 'F', NULL, "FMT", "format of the second image; by default it is probed" },
    { 's', NULL, NULL, "strict: sizes and allocation must be the same too" },
    { 'p', NULL, NULL, "show progress" },
    { 'q', NULL, NULL, "print nothing but errors" },
    { 'T', NULL, "SRC_CACHE", "cache mode; by default writeback" },
    { 'U', "force-share", NULL, "open the images although another program writes to them" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "the file names are lists of options: driver=qcow2,file.filename=..." },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "protocol: follow names in images that are no paths" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct compare_args {
    const char *names[2], *formats[2];
    const char *cache_text;
    enum byre_cache cache;
    bool strict, progress, quiet, force_share, image_opts, allow_protocol;
};

static int read_options(struct byre_option_parser *parser, struct compare_args *args)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        switch (id) {
        case 'f': args->formats[0] = parser->argument; break;
        case 'F': args->formats[1] = parser->argument; break;
        case 's': args->strict = true; break;
        case 'p': args->progress = true; break;
        case 'q': args->quiet = true; break;
        case 'U': args->force_share = true; break;
        case 'T': args->cache_text = parser->argument; break;
        case OPT_IMAGE_OPTS: args->image_opts = true; break;
        case OPT_ALLOW_BACKING:
            if (byre_argument_allow_backing(parser->argument, &args->allow_protocol) < 0)
                return byre_options_stop(parser, EXIT_OPEN_FAILED);
            break;
        }
    }
    return id;
}

static int open_disks(const struct compare_args *args, struct byre_disk *disks[2])
{
    for (unsigned i = 0; i < 2; i++) {
        struct byre_open_options open_options = {
            .format = args->formats[i],
            .cache = args->cache,
            .force_share = args->force_share,
            .protocol_backing = byre_argument_protocol_backing(args->allow_protocol),
            .secrets = byre_objects_secrets(),
        };

        if (byre_argument_open(args->names[i], args->image_opts, &open_options, &disks[i]) < 0)
            return EXIT_OPEN_FAILED;
    }
    return 0;
}

/* Were the disks the same up to the end of the shorter one? */
static bool is_same_so_far(const struct byre_compare_result *result, struct byre_disk *const disks[2])
{
    uint64_t a = byre_get_size(disks[0]), b = byre_get_size(disks[1]);

    return result->outcome == BYRE_COMPARE_SAME || result->goff >= (a < b ? a : b);
}

/* What was found, on standard output unless quiet.  Returns the exit code. */
static int print_outcome(const struct compare_args *args, struct byre_disk *const disks[2],
                         const struct byre_compare_result *result)
{
    FILE *out = args->quiet ? NULL : stdout;

    byre_progress_clear_line();
    if (out && result->sizes_differ && !args->strict && is_same_so_far(result, disks))
        fprintf(out, "Warning: Image size mismatch!\n");
    switch (result->outcome) {
    case BYRE_COMPARE_SAME:
        if (out)
            fprintf(out, "Images are identical.\n");
        return EXIT_SAME;
    case BYRE_COMPARE_CONTENT:
        if (out)
            fprintf(out, "Content mismatch at offset %" PRIu64 "!\n", result->goff);
        return EXIT_DIFFERENT;
    case BYRE_COMPARE_ALLOCATION:
        if (out)
            fprintf(out, "Strict mode: Offset %" PRIu64 " block status mismatch!\n", result->goff);
        return EXIT_DIFFERENT;
    case BYRE_COMPARE_SIZE:
        if (out)
            fprintf(out, "Strict mode: Image size mismatch!\n");
        return EXIT_DIFFERENT;
    }
    return EXIT_READ_FAILED;
}

static int compare(const struct compare_args *args, struct byre_disk *const disks[2])
{
    struct byre_compare_options compare_options = { .strict = args->strict,
                                                    .progress = byre_progress_report };
    struct byre_compare_result result = { 0 };
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_compare(disks[0], disks[1], &compare_options, &result, &err) < 0) {
        byre_complain_error(&err, "%s", "");
        return result.map_failed ? EXIT_MAP_FAILED : EXIT_READ_FAILED;
    }
    return print_outcome(args, disks, &result);
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct compare_args args = { 0 };
    struct byre_disk *disks[2] = { NULL, NULL };
    struct byre_option_parser parser;
    int exit_code;

    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &args) < 0)
        return parser.exit_code;
    if (argc - parser.operand != 2)
        return byre_complain_usage("Expecting two image file names");
    if (byre_argument_source_cache(args.cache_text, &args.cache) < 0)
        return EXIT_OPEN_FAILED;
    args.names[0] = argv[parser.operand];
    args.names[1] = argv[parser.operand + 1];
    exit_code = open_disks(&args, disks);
    if (exit_code == 0) {
        byre_progress_start(byre_progress_choose(args.progress, args.quiet), "compare");
        exit_code = compare(&args, disks);
        byre_progress_stop(false);
    }
    byre_close(disks[0], NULL); /* nothing was written */
    byre_close(disks[1], NULL);
    return exit_code;
}

const struct byre_verb byre_verb_compare = {
    .name = "compare",
    .operands = "FILENAME1 FILENAME2",
    .summary = "Compares the contents of two disk images.",
    .options = options,
    .run = run,
};
