/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre map: where the bytes of a disk are.  Extents arrive in order; neighbours that say the same are printed
 * as one entry, so one entry is held back until the next one differs from it.
 */
#include "config.h"

#include "cli/verbs.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byre/disk.h"
#include "cli/arguments.h"
#include "cli/map_entry.h"
#include "cli/message.h"
#include "cli/objects.h"

enum { OPT_OUTPUT = BYRE_OPTION_LONG, OPT_OBJECT, OPT_IMAGE_OPTS, OPT_ALLOW_BACKING };

static const struct byre_option options[] = {
    { 'f', "format", "FMT", "format of the image; by default it is probed" },
    { 's', "start-offset", "OFFSET", "where to start" },
    { 'l', "max-length", "LEN", "how much to show at most" },
    { OPT_OUTPUT, "output", "OFMT", "how to print: human (default) or json" },
    { 'U', "force-share", NULL, "open the image although another program writes to it" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list of options: driver=qcow2,file.filename=..." },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "protocol: follow names in images that are no paths" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct map_args {
    const char *name, *format, *output;
    uint64_t start, max_length;
    bool json, force_share, image_opts, allow_protocol;
};

struct map_printer {
    struct byre_disk *disk;
    bool json, first;
    struct byre_map_entry held; /* length 0: none */
};

static int read_options(struct byre_option_parser *parser, struct map_args *args)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        int r = 0;

        switch (id) {
        case 'f': args->format = parser->argument; break;
        case 'U': args->force_share = true; break;
        case OPT_IMAGE_OPTS: args->image_opts = true; break;
        case OPT_ALLOW_BACKING: r = byre_argument_allow_backing(parser->argument, &args->allow_protocol); break;
        case 's': r = byre_argument_size("start offset", parser->argument, &args->start); break;
        case 'l': r = byre_argument_size("max length", parser->argument, &args->max_length); break;
        case OPT_OUTPUT: args->output = parser->argument; break;
        }
        if (r < 0)
            return byre_options_stop(parser, 1);
    }
    return id;
}

static void print_json(struct map_printer *printer, const struct byre_map_entry *e)
{
    char text[BYRE_MAP_ENTRY_MAX];

    byre_map_entry_to_json(printer->disk, e, printer->first, text);
    fputs(text, stdout);
    printer->first = false;
}

/* Text shows what holds data, and has no way to say where compressed data is. */
static int print_text(struct map_printer *printer, const struct byre_map_entry *e)
{
    char start[32], length[32], hoff[32];

    if (!e->data || e->zero)
        return 0;
    if (!e->has_offset)
        return byre_complain("File contains external, encrypted or compressed clusters.");
    snprintf(start, sizeof start, "%#" PRIx64, e->start);
    snprintf(length, sizeof length, "%#" PRIx64, e->length);
    snprintf(hoff, sizeof hoff, "%#" PRIx64, e->hoff + byre_layer_file_offset(printer->disk, e->depth));
    printf("%-16s%-16s%-16s%s\n", start, length, hoff, byre_layer_file_name(printer->disk, e->depth));
    return 0;
}

static int print_held(struct map_printer *printer)
{
    if (!printer->held.length)
        return 0;
    if (!printer->json)
        return print_text(printer, &printer->held);
    print_json(printer, &printer->held);
    return 0;
}

static int each_extent(void *opaque, const struct byre_extent *extent)
{
    struct map_printer *printer = opaque;
    struct byre_map_entry e = byre_map_entry_of(printer->disk, extent);

    if (byre_map_entry_join(&printer->held, &e))
        return 0;
    if (print_held(printer) != 0)
        return 1;
    printer->held = e;
    return 0;
}

/* Prints the whole map.  0, 1 after a complaint. */
static int print_map(struct map_printer *printer, const struct map_args *args)
{
    uint64_t size = byre_get_size(printer->disk);
    uint64_t start = args->start < size ? args->start : size;
    uint64_t length = size - start < args->max_length ? size - start : args->max_length;
    struct byre_map_entry nothing = { .start = args->start };
    struct byre_error err = BYRE_ERROR_INIT;
    int r = 0;

    if (!args->json)
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    if (length)
        r = byre_extents_reserved(printer->disk, start, length, each_extent, printer, &err);
    if (r < 0)
        return byre_complain_error(&err, "Failed to read image metadata: ");
    if (r > 0 || print_held(printer) != 0)
        return 1;
    if (args->json) {
        if (printer->first)
            print_json(printer, &nothing);
        fputs(BYRE_MAP_END, stdout);
    }
    return 0;
}

static int map(const struct map_args *args)
{
    struct byre_open_options open_options = {
        .format = args->format,
        .force_share = args->force_share,
        .protocol_backing = byre_argument_protocol_backing(args->allow_protocol),
        .secrets = byre_objects_secrets(),
    };
    struct map_printer printer = { .json = args->json, .first = true };
    int exit_code;

    if (byre_argument_open(args->name, args->image_opts, &open_options, &printer.disk) < 0)
        return 1;
    exit_code = print_map(&printer, args);
    byre_close(printer.disk, NULL); /* nothing was written */
    return exit_code;
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct map_args args = { .max_length = UINT64_MAX };
    struct byre_option_parser parser;

    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &args) < 0)
        return parser.exit_code;
    if (argc - parser.operand != 1)
        return byre_complain_usage("Expecting one image file name");
    if (byre_argument_output(args.output, &args.json) < 0)
        return 1;
    args.name = argv[parser.operand];
    return map(&args);
}

const struct byre_verb byre_verb_map = {
    .name = "map",
    .operands = "FILENAME",
    .summary = "Shows where the bytes of a disk are.",
    .options = options,
    .run = run,
};
