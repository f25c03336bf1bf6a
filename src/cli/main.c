/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre: the verb table and what stands before a verb.
 */
#include "config.h"

#include <getopt.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>

#include "base/arith.h"
#include "cli/amend_options.h"
#include "cli/create_options.h"
#include "cli/message.h"
#include "cli/objects.h"
#include "cli/progress.h"
#include "cli/sibling.h"
#include "cli/verbs.h"

/* GnuTLS is set up where it is used: most commands need none. */
GNUTLS_SKIP_GLOBAL_INIT

static const struct byre_verb *const verbs[] = {
    &byre_verb_amend,
    &byre_verb_bench,
    &byre_verb_bitmap,
    &byre_verb_check,
    &byre_verb_compare,
    &byre_verb_convert,
    &byre_verb_cp,
    &byre_verb_create,
    &byre_verb_info,
    &byre_verb_io,
    &byre_verb_ls,
    &byre_verb_map,
    &byre_verb_recover,
    &byre_verb_resize,
    &byre_verb_snapshot,
};

static const struct byre_verb *find_verb(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    return NULL;
}

static void print_version(void)
{
    if (byre_program_is_qemu())
        printf("%s version %s (byre %s)\n", byre_program_name(), BYRE_QEMU_VERSION, PACKAGE_VERSION);
    else
        printf("byre version %s\n", PACKAGE_VERSION);
}

static void print_help(void)
{
    print_version();
    printf("usage: %s [-h | --help] [-V | --version] COMMAND [OPTION]... [OPERAND]...\n"
           "Creates, examines and converts qcow2 and raw disk images.\n\nCommands:\n", byre_program_name());
    for (unsigned i = 0; i < ARRAY_LEN(verbs); i++)
        printf("  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    byre_sibling_help();
    printf("\n'%s COMMAND --help' lists the options of a command.\n\nSupported formats: luks qcow2 raw\n",
           byre_program_name());
}

/* For the test suite, which wants a manual entry and a test for each option. */
static int dump_options(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(verbs); i++)
        byre_options_dump(verbs[i]);
    byre_amend_options_dump();
    byre_create_options_dump("create");
    byre_create_options_dump("convert");
    return 0;
}

static int run_help(int argc, char **argv)
{
    const struct byre_verb *verb = argc > 1 ? find_verb(argv[1]) : NULL;
    char *help[] = { NULL, (char[]){ "--help" }, NULL };
    int exit_code;

    if (argc > 1 && !verb && byre_sibling_run(argv[1], NULL, 2, help, &exit_code))
        return exit_code;
    if (argc > 1 && !verb)
        return byre_complain_usage("Command not found: %s", argv[1]);
    if (verb)
        byre_options_help(verb);
    else
        print_help();
    return 0;
}

static int run_verb(int argc, char **argv)
{
    const struct byre_verb *verb = find_verb(argv[0]);
    int exit_code;

    if (verb)
        return verb->run(verb, argc, argv);
    if (strcmp(argv[0], "__options") == 0)
        return dump_options();
    if (strcmp(argv[0], "help") == 0)
        return run_help(argc, argv);
    if (byre_sibling_run(argv[0], NULL, argc, argv, &exit_code))
        return exit_code;
    return byre_complain_usage("Command not found: %s", argv[0]);
}

static int run_program(int argc, char **argv)
{
    /* '+': what follows the verb is the verb's. */
    static const char shorts[] = "+:hVT:";
    static const struct option longs[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { "trace", required_argument, NULL, 'T' },
        { NULL, 0, NULL, 0 },
    };
    int exit_code;

    /* qemu-io has no verbs: all of its options are those of the command. */
    if (strcmp(byre_program_name(), "qemu-io") == 0 &&
        !(argc == 2 && (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)))
        return byre_verb_io.run(&byre_verb_io, argc, argv);
    if (strcmp(byre_program_name(), "qemu-nbd") == 0 &&
        byre_sibling_run("serve", "qemu-nbd", argc, argv, &exit_code))
        return exit_code;
    opterr = 0;
    switch (getopt_long(argc, argv, shorts, longs, NULL)) {
    case -1:
        break;
    case 'h':
        print_help();
        return 0;
    case 'V':
        print_version();
        return 0;
    case 'T':
        return byre_complain("option '-T' is not supported");
    case ':':
        return byre_complain_usage("missing argument for option '%s'", argv[optind - 1]);
    default:
        return byre_complain_usage("unrecognized option '%s'", argv[optind - 1]);
    }
    if (optind == argc)
        return byre_complain_usage("Not enough arguments");
    return run_verb(argc - optind, argv + optind);
}

int main(int argc, char **argv)
{
    int exit_code;

    byre_program_init(argv[0]);
    byre_progress_block_signal();
    exit_code = run_program(argc, argv);
    byre_objects_done();
    if ((fflush(stdout) != 0 || ferror(stdout)) && exit_code == 0)
        return byre_complain("cannot write to standard output");
    return exit_code;
}
