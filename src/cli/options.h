/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The option tables.  A verb has one table; it feeds getopt_long, the help text, and the list of options that
 * the test suite compares with the manual pages and the tests.
 */
#ifndef BYRE_CLI_OPTIONS_H
#define BYRE_CLI_OPTIONS_H

#include <getopt.h>

struct byre_option {
    int id;               /* the letter of the short option, or a value from BYRE_OPTION_LONG on */
    const char *name;     /* the long name without its dashes, or NULL */
    const char *argument; /* how the help calls the argument; NULL: it takes none; "[=NAME]": it may be left out */
    const char *help;     /* one line; NULL: known from qemu-img, and refused by name */
};

#define BYRE_OPTION_LONG 256 /* ids of options without a letter start here */
#define BYRE_OPTION_HELP { 'h', "help", NULL, "print this help and exit" }
#define BYRE_OPTION_END { 0, NULL, NULL, NULL }

struct byre_verb {
    const char *name;
    const char *operands; /* as the help shows them */
    const char *summary;  /* one line */
    const struct byre_option *options;
    int (*run)(const struct byre_verb *verb, int argc, char **argv); /* argv[0] is the verb; the exit code */
};

#define BYRE_OPTIONS_MAX 80 /* in one table */

struct byre_option_parser {
    const struct byre_verb *verb;
    int argc;
    char **argv;
    const char *argument; /* of the option that byre_options_next returned last, or NULL */
    int exit_code;        /* where byre_options_next returned -1 */
    int operand;          /* where byre_options_next returned 0: index of the first operand in argv */
    char shorts[2 * BYRE_OPTIONS_MAX + 3];
    struct option longs[BYRE_OPTIONS_MAX + 1];
};

void byre_options_start(struct byre_option_parser *parser, const struct byre_verb *verb, int argc,
                        char **argv);

/*
 * The id of the next option, objects apart (objects.h); 0 when only operands are left; -1 when the verb is to
 * return `exit_code` at once, after the help or a complaint was printed.
 */
int byre_options_next(struct byre_option_parser *parser);

/* Notes the exit code and returns -1: for the verb's own complaints between calls of byre_options_next. */
int byre_options_stop(struct byre_option_parser *parser, int exit_code);

/* The help text of a verb, on standard output. */
void byre_options_help(const struct byre_verb *verb);

/* One line "VERB OPTION" for every spelling of every option that is not refused, on standard output. */
void byre_options_dump(const struct byre_verb *verb);

#endif
