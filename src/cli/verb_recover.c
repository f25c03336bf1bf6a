/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre recover: what is left of an image whose header or tables are destroyed, in a new image, with a report.
 */
#include "config.h"

#include "cli/verbs.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "byre/recover.h"
#include "cli/arguments.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "cli/progress.h"

enum { OPT_OUTPUT = BYRE_OPTION_LONG, OPT_SIZE, OPT_CLUSTER_SIZE, OPT_DATA_FILE, OPT_KEY_SECRET, OPT_OBJECT };

enum recover_exit {
    EXIT_CERTAIN = 0,
    EXIT_FAILED = 1,
    EXIT_IN_PART = 2,
};

static const struct byre_option options[] = {
    { 'O', "target-format", "FMT", "format of OUTPUT: qcow2 (default) or raw" },
    { OPT_SIZE, "size", "SIZE", "size of the disk; by default that of the header, or as far as there is data" },
    { OPT_CLUSTER_SIZE, "cluster-size", "SIZE", "size of clusters; by default that of the header, or found out" },
    { OPT_DATA_FILE, "data-file", "FILE", "the external data file of IMAGE" },
    { OPT_KEY_SECRET, "key-secret", "ID", "the secret that opens an encrypted image; OUTPUT is not encrypted" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_OUTPUT, "output", "OFMT", "how to print: human (default) or json" },
    { 'q', NULL, NULL, "print nothing but errors" },
    { 'p', NULL, NULL, "show progress" },
    { 'U', "force-share", NULL, "open IMAGE although another program writes to it" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct recover_args {
    const char *image, *target, *format, *output, *data_file, *key_secret;
    uint64_t size, cluster_size;
    bool json, quiet, progress, force_share;
    json_t *parts;
};

static int read_options(struct byre_option_parser *parser, struct recover_args *args)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        int r = 0;

        switch (id) {
        case 'O': args->format = parser->argument; break;
        case 'q': args->quiet = true; break;
        case 'p': args->progress = true; break;
        case 'U': args->force_share = true; break;
        case OPT_SIZE: r = byre_argument_size("disk size", parser->argument, &args->size); break;
        case OPT_CLUSTER_SIZE: r = byre_argument_size("cluster size", parser->argument, &args->cluster_size); break;
        case OPT_DATA_FILE: args->data_file = parser->argument; break;
        case OPT_KEY_SECRET: args->key_secret = parser->argument; break;
        case OPT_OUTPUT: args->output = parser->argument; break;
        }
        if (r < 0)
            return byre_options_stop(parser, EXIT_FAILED);
    }
    return id;
}

static const char *certainty_name(enum byre_recover_certainty certainty)
{
    static const char *const names[] = { "certain", "guessed", "lost", "unplaced" };

    return names[certainty];
}

static void print_part(const struct byre_recover_part *part)
{
    printf("%-9s", certainty_name(part->certainty));
    if (part->certainty == BYRE_RECOVER_UNPLACED)
        printf("%" PRIu64 " bytes somewhere", part->length);
    else
        printf("%" PRIu64 " bytes from %" PRIu64, part->length, part->goff);
    if (part->table_hoff)
        printf(", L2 table at 0x%" PRIx64, part->table_hoff);
    printf(", %" PRIu64 " clusters", part->clusters);
    if (part->broken_clusters)
        printf(", %" PRIu64 " lost", part->broken_clusters);
    printf(": %s\n", part->why);
}

static void report_part(void *opaque, const struct byre_recover_part *part)
{
    struct recover_args *args = opaque;
    json_t *object;

    if (args->quiet)
        return;
    if (!args->json) {
        byre_progress_clear_line();
        print_part(part);
        return;
    }
    object = byre_json_object();
    byre_json_add_text(object, "certainty", certainty_name(part->certainty));
    if (part->certainty != BYRE_RECOVER_UNPLACED)
        byre_json_add_number(object, "start", part->goff);
    byre_json_add_number(object, "length", part->length);
    if (part->table_hoff)
        byre_json_add_number(object, "l2-table-offset", part->table_hoff);
    byre_json_add_number(object, "clusters", part->clusters);
    byre_json_add_number(object, "lost-clusters", part->broken_clusters);
    byre_json_add_text(object, "reason", part->why);
    byre_json_append(args->parts, object);
}

static void print_text(const struct byre_recover_result *result)
{
    printf("Header: %s\nL1 table: %s\n", certainty_name(result->header), certainty_name(result->l1));
    printf("Disk size: %" PRIu64 " bytes (%s)\nCluster size: %" PRIu32 " bytes (%s)\n", result->size,
           certainty_name(result->size_known), result->cluster_size, certainty_name(result->cluster_size_known));
    if (result->backing_name)
        printf("Backing file: %s (recorded, and not looked at)\n", result->backing_name);
    printf("%" PRIu64 " parts certain, %" PRIu64 " guessed, %" PRIu64 " lost; %" PRIu64 " L2 tables unplaced\n"
           "%" PRIu64 " clusters recovered, %" PRIu64 " lost\n",
           result->certain_parts, result->guessed_parts, result->lost_parts, result->unplaced_tables,
           result->clusters, result->broken_clusters);
}

static void print_json(struct recover_args *args, const struct byre_recover_result *result)
{
    json_t *object = byre_json_object();

    byre_json_add_text(object, "filename", args->image);
    byre_json_add_text(object, "header", certainty_name(result->header));
    byre_json_add_text(object, "l1-table", certainty_name(result->l1));
    byre_json_add_number(object, "virtual-size", result->size);
    byre_json_add_text(object, "virtual-size-is", certainty_name(result->size_known));
    byre_json_add_number(object, "cluster-size", result->cluster_size);
    byre_json_add_text(object, "cluster-size-is", certainty_name(result->cluster_size_known));
    byre_json_add_text(object, "backing-filename", result->backing_name);
    byre_json_add_number(object, "certain-parts", result->certain_parts);
    byre_json_add_number(object, "guessed-parts", result->guessed_parts);
    byre_json_add_number(object, "lost-parts", result->lost_parts);
    byre_json_add_number(object, "unplaced-tables", result->unplaced_tables);
    byre_json_add_number(object, "clusters", result->clusters);
    byre_json_add_number(object, "lost-clusters", result->broken_clusters);
    byre_json_add(object, "parts", args->parts);
    args->parts = NULL;
    byre_json_print(object);
}

static int recover(struct recover_args *args)
{
    struct byre_recover_options recover_options = {
        .format = args->format,
        .size = args->size,
        .cluster_size = args->cluster_size > UINT32_MAX ? UINT32_MAX : (uint32_t)args->cluster_size,
        .force_share = args->force_share,
        .data_file = args->data_file,
        .key_secret = args->key_secret,
        .secrets = byre_objects_secrets(),
        .part = report_part,
        .progress = byre_progress_report,
        .opaque = args,
    };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_recover_result result;
    int r;

    args->parts = args->json ? byre_json_array() : NULL;
    byre_progress_start(byre_progress_choose(args->progress, args->quiet || args->json), "recover");
    r = byre_recover(args->image, args->target, &recover_options, &result, &err);
    byre_progress_stop(r == 0);
    if (r < 0) {
        byre_complain_error(&err, "%s", "");
        json_decref(args->parts);
        return EXIT_FAILED;
    }
    if (!args->quiet && args->json)
        print_json(args, &result);
    else if (!args->quiet)
        print_text(&result);
    json_decref(args->parts);
    free(result.backing_name);
    return result.header || result.l1 || result.guessed_parts || result.lost_parts || result.broken_clusters
               ? EXIT_IN_PART : EXIT_CERTAIN;
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct recover_args args = { 0 };
    struct byre_option_parser parser;

    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &args) < 0)
        return parser.exit_code;
    if (argc - parser.operand != 2)
        return byre_complain_usage("Expecting the name of the damaged image and that of the new one");
    if (byre_argument_output(args.output, &args.json) < 0)
        return EXIT_FAILED;
    args.image = argv[parser.operand];
    args.target = argv[parser.operand + 1];
    return recover(&args);
}

const struct byre_verb byre_verb_recover = {
    .name = "recover",
    .operands = "IMAGE OUTPUT",
    .summary = "Writes what is left of a destroyed image to a new one.",
    .options = options,
    .run = run,
};
