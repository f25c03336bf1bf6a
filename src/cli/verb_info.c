/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre info: what an image says of itself.  Without --backing-chain only the named file is opened.
 */
#include "config.h"

#include "cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "byre/disk.h"
#include "byre/info.h"
#include "cli/arguments.h"
#include "cli/info_print.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/objects.h"

enum { OPT_OUTPUT = BYRE_OPTION_LONG, OPT_BACKING_CHAIN, OPT_OBJECT, OPT_IMAGE_OPTS, OPT_ALLOW_BACKING };

static const struct byre_option options[] = {
    { 'f', "format", "FMT", "format of the image; by default it is probed" },
    { OPT_OUTPUT, "output", "OFMT", "how to print: human (default) or json" },
    { OPT_BACKING_CHAIN, "backing-chain", NULL, "go on with the backing file, and its, to the end" },
    { 'U', "force-share", NULL, "open the image although another program writes to it" },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list of options: driver=qcow2,file.filename=..." },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "protocol: follow names in images that are no paths" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct info_args {
    const char *name, *format, *output;
    bool json, backing_chain, force_share, image_opts, allow_protocol;
};

typedef VEC(struct byre_info) info_vec;

static int read_options(struct byre_option_parser *parser, struct info_args *args)
{
    int id;

    while ((id = byre_options_next(parser)) > 0) {
        switch (id) {
        case 'f': args->format = parser->argument; break;
        case 'U': args->force_share = true; break;
        case OPT_BACKING_CHAIN: args->backing_chain = true; break;
        case OPT_OUTPUT: args->output = parser->argument; break;
        case OPT_IMAGE_OPTS: args->image_opts = true; break;
        case OPT_ALLOW_BACKING:
            if (byre_argument_allow_backing(parser->argument, &args->allow_protocol) < 0)
                return byre_options_stop(parser, 1);
            break;
        }
    }
    return id;
}

static bool chain_has(const info_vec *chain, const struct byre_info *info)
{
    if (!info->file_device && !info->file_inode)
        return false; /* on no file */
    for (size_t i = 0; i < chain->len; i++)
        if (chain->ptr[i].file_device == info->file_device && chain->ptr[i].file_inode == info->file_inode)
            return true;
    return false;
}

/* May the name that `info` records be followed?  0, 1 after a complaint. */
static int check_backing(const struct info_args *args, const struct byre_info *info)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (!args->backing_chain || !info->backing_path ||
        byre_backing_check(info->backing_name, byre_argument_protocol_backing(args->allow_protocol), &err) == 0)
        return 0;
    return byre_complain_open(&err, info->backing_name);
}

/* Appends the image `name`, which is called `shown`. */
static int read_image(const struct info_args *args, const char *name, const char *shown, const char *format,
                      info_vec *chain)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_info info;

    if (byre_info_read_as(name, format, args->force_share, byre_objects_secrets(), &info, &err) < 0)
        return byre_complain_open(&err, shown);
    if (chain_has(chain, &info)) {
        byre_complain("Backing file '%s' creates an infinite loop.", name);
        byre_info_done(&info);
        return 1;
    }
    if (vec_push(chain, info) < 0)
        byre_die_no_memory();
    return check_backing(args, &info);
}

/*
 * Reads the named image and, if asked to, those below it.  A loop ends where a file comes for the second time,
 * whatever its name is then.
 */
static int read_chain(const struct info_args *args, info_vec *chain)
{
    const struct byre_info *last;
    char *name;
    int exit_code;

    if (byre_argument_image(args->name, args->image_opts, args->format, &name) < 0)
        return 1;
    exit_code = read_image(args, name, args->name, args->format, chain);
    free(name);
    while (exit_code == 0 && args->backing_chain) {
        last = &chain->ptr[chain->len - 1];
        if (!last->backing_path)
            break;
        exit_code = read_image(args, last->backing_path, last->backing_path, last->backing_format, chain);
    }
    return exit_code;
}

static void print_chain(const struct info_args *args, const info_vec *chain)
{
    json_t *array;

    if (!args->json) {
        for (size_t i = 0; i < chain->len; i++) {
            if (i)
                putchar('\n');
            byre_info_print_text(&chain->ptr[i]);
        }
        return;
    }
    if (!args->backing_chain) {
        byre_json_print(byre_info_to_json(&chain->ptr[0]));
        return;
    }
    array = byre_json_array();
    for (size_t i = 0; i < chain->len; i++)
        byre_json_append(array, byre_info_to_json(&chain->ptr[i]));
    byre_json_print(array);
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct info_args args = { 0 };
    struct byre_option_parser parser;
    info_vec chain = VEC_INIT;
    int exit_code;

    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &args) < 0)
        return parser.exit_code;
    if (argc - parser.operand != 1)
        return byre_complain_usage("Expecting one image file name");
    if (byre_argument_output(args.output, &args.json) < 0)
        return 1;
    args.name = argv[parser.operand];
    exit_code = read_chain(&args, &chain);
    if (exit_code == 0)
        print_chain(&args, &chain);
    for (size_t i = 0; i < chain.len; i++)
        byre_info_done(&chain.ptr[i]);
    vec_done(&chain);
    return exit_code;
}

const struct byre_verb byre_verb_info = {
    .name = "info",
    .operands = "FILENAME",
    .summary = "Shows what a disk image says of itself.",
    .options = options,
    .run = run,
};
