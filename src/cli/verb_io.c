/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre io: reads, writes and looks at an image by commands, from the command line or from standard input.  It is what
 * the program does when it is called qemu-io.
 */
#include "config.h"

#include "cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "cli/arguments.h"
#include "cli/io_command.h"
#include "cli/io_session.h"
#include "cli/message.h"
#include "cli/objects.h"

enum { OPT_OBJECT = BYRE_OPTION_LONG, OPT_IMAGE_OPTS, OPT_ALLOW_BACKING };

static const struct byre_option options[] = {
    { 'c', "cmd", "COMMAND", "run this command; may be given more than once" },
    { 'f', "format", "FMT", "format of the image; by default it is probed" },
    { 'r', "read-only", NULL, "open the image for reading" },
    { 's', "snapshot", NULL, "keep what is written in a temporary file" },
    { 'n', "nocache", NULL, "the same as -t none" },
    { 'C', "copy-on-read", NULL, "write into the image what is read from below it" },
    { 'm', "misalign", NULL, "use buffers that are badly aligned" },
    { 'k', "native-aio", NULL, "the same as -i native" },
    { 'i', "aio", "MODE", "threads, native or io_uring: has no effect" },
    { 't', "cache", "CACHE", "cache mode; by default writeback" },
    { 'd', "discard", "MODE", "whether discards take effect: unmap (default) or ignore" },
    { 'U', "force-share", NULL, "open the image although another program writes to it" },
    { 'T', "trace", "SPEC", NULL },
    { OPT_OBJECT, "object", "OBJECTDEF", BYRE_OBJECT_HELP },
    { OPT_IMAGE_OPTS, "image-opts", NULL, "FILENAME is a list of options: driver=qcow2,file.filename=..." },
    { OPT_ALLOW_BACKING, "allow-backing", "KIND", "protocol: follow names in images that are no paths" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

struct io_args {
    struct byre_io_open how;
    VEC(char *) commands; /* not owned */
    bool misalign, allow_protocol;
};

static int read_options(struct byre_option_parser *parser, struct io_args *args)
{
    int id, r = 0;

    while ((id = byre_options_next(parser)) > 0) {
        switch (id) {
        case 'c':
            if (vec_push(&args->commands, (char *)parser->argument) < 0)
                byre_die_no_memory();
            break;
        case 'f': args->how.format = parser->argument; break;
        case 'r': args->how.read_only = true; break;
        case 's': args->how.snapshot = true; break;
        case 'n': args->how.cache = BYRE_CACHE_NONE; break;
        case 'C': args->how.copy_on_read = true; break;
        case OPT_IMAGE_OPTS: args->how.image_opts = true; break;
        case OPT_ALLOW_BACKING: r = byre_argument_allow_backing(parser->argument, &args->allow_protocol); break;
        case 'm': args->misalign = true; break;
        case 'k': args->how.native_aio = true; break;
        case 'i': r = byre_io_read_aio(parser->argument, &args->how); break;
        case 't': r = byre_io_read_cache(parser->argument, &args->how); break;
        case 'd': r = byre_io_read_discard(parser->argument, &args->how); break;
        case 'U': args->how.force_share = true; break;
        }
        if (r < 0)
            return byre_options_stop(parser, EXIT_FAILURE);
    }
    args->how.protocol_backing = byre_argument_protocol_backing(args->allow_protocol);
    return id;
}

static int run_commands(struct byre_io_session *session, const struct io_args *args)
{
    int r = 0;

    for (size_t i = 0; i < args->commands.len && !session->quit; i++) {
        if (byre_io_run_line(session, args->commands.ptr[i]) < 0)
            r = -1;
    }
    return r;
}

static int run_input(struct byre_io_session *session)
{
    char *line = NULL;
    size_t room = 0;
    int r = 0;

    while (!session->quit) {
        ssize_t length;

        printf("%s> ", byre_program_is_qemu() ? byre_program_name() : "byre io");
        fflush(stdout);
        length = getline(&line, &room, stdin);
        if (length < 0)
            break;
        if (length && line[length - 1] == '\n')
            line[length - 1] = '\0';
        if (byre_io_run_line(session, line) < 0)
            r = -1;
    }
    free(line);
    return r;
}

static int run_session(const struct io_args *args, const char *name)
{
    struct byre_io_session session = {
        .image_opts = args->how.image_opts,
        .protocol_backing = args->how.protocol_backing,
        .misalign = args->misalign,
    };
    int r = 0;

    byre_io_async_init(&session.async);
    if (name)
        r = byre_io_open_file(&session, name, &args->how);
    if (r == 0)
        r = args->commands.len ? run_commands(&session, args) : run_input(&session);
    byre_io_async_reap(&session.async, true);
    if (byre_io_close_file(&session) < 0)
        r = -1;
    byre_io_async_done(&session.async);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(const struct byre_verb *verb, int argc, char **argv)
{
    struct io_args args = { .commands = VEC_INIT };
    struct byre_option_parser parser;
    int exit_code;

    byre_options_start(&parser, verb, argc, argv);
    if (read_options(&parser, &args) < 0)
        exit_code = parser.exit_code;
    else if (argc - parser.operand > 1)
        exit_code = byre_complain_usage("Expecting at most one image file name");
    else if (args.how.image_opts && args.how.format)
        exit_code = byre_complain("--image-opts and -f are mutually exclusive");
    else
        exit_code = run_session(&args, argc > parser.operand ? argv[parser.operand] : NULL);
    vec_done(&args.commands);
    return exit_code;
}

const struct byre_verb byre_verb_io = {
    .name = "io",
    .operands = "[FILENAME]",
    .summary = "Reads, writes and examines a disk image by commands.",
    .options = options,
    .run = run,
};
