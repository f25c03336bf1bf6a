/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading options by table, and the texts that are made from the table.
 */
#include "config.h"

#include "cli/options.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "cli/message.h"
#include "cli/objects.h"

/* As getopt_long calls it. */
static int wants_argument(const struct byre_option *o)
{
    if (!o->argument)
        return no_argument;
    return *o->argument == '[' ? optional_argument : required_argument;
}

void byre_options_start(struct byre_option_parser *parser, const struct byre_verb *verb, int argc,
                        char **argv)
{
    const struct byre_option *o;
    char *shorts = parser->shorts;
    unsigned longs = 0;

    memset(parser, 0, sizeof *parser);
    parser->verb = verb;
    parser->argc = argc;
    parser->argv = argv;
    *shorts++ = ':';
    for (o = verb->options; o->id; o++) {
        assert(o - verb->options < BYRE_OPTIONS_MAX);
        if (o->id < BYRE_OPTION_LONG) {
            *shorts++ = (char)o->id;
            if (o->argument)
                *shorts++ = ':';
        }
        if (o->name)
            parser->longs[longs++] = (struct option){ o->name, wants_argument(o), NULL, o->id };
    }
    optind = 0;
    opterr = 0;
}

static const struct byre_option *find_option(const struct byre_verb *verb, int id)
{
    const struct byre_option *o;

    for (o = verb->options; o->id; o++)
        if (o->id == id)
            return o;
    return NULL;
}

/* How the option is written: "-x", or "--name" where it has no letter. */
static const char *option_spelling(const struct byre_option *o, char *buf, size_t size)
{
    if (o->id < BYRE_OPTION_LONG)
        snprintf(buf, size, "-%c", o->id);
    else
        snprintf(buf, size, "--%s", o->name);
    return buf;
}

int byre_options_stop(struct byre_option_parser *parser, int exit_code)
{
    parser->exit_code = exit_code;
    return -1;
}

static int next(struct byre_option_parser *parser)
{
    int id = getopt_long(parser->argc, parser->argv, parser->shorts, parser->longs, NULL);
    const struct byre_option *o;
    char spelling[64];

    switch (id) {
    case -1:
        parser->operand = optind;
        return 0;
    case ':':
        return byre_options_stop(parser, byre_complain_usage("missing argument for option '%s'",
                                                             parser->argv[optind - 1]));
    case '?':
        return byre_options_stop(parser,
                                 byre_complain_usage("unrecognized option '%s'", parser->argv[optind - 1]));
    case 'h':
        byre_options_help(parser->verb);
        return byre_options_stop(parser, 0);
    }
    o = find_option(parser->verb, id);
    if (!o->help)
        return byre_options_stop(parser, byre_complain("%s: option '%s' is not supported", parser->verb->name,
                                                       option_spelling(o, spelling, sizeof spelling)));
    parser->argument = optarg;
    return id;
}

int byre_options_next(struct byre_option_parser *parser)
{
    const struct byre_option *o;
    int id, exit_code;

    /* Objects are the same for all verbs. */
    while ((id = next(parser)) > 0) {
        o = find_option(parser->verb, id);
        if (!o->name || strcmp(o->name, "object") != 0)
            break;
        if (byre_objects_add(optarg, &exit_code) < 0)
            return byre_options_stop(parser, exit_code);
    }
    return id;
}

static void print_option(const struct byre_option *o)
{
    char left[80];
    int n = 0;

    if (o->id < BYRE_OPTION_LONG)
        n += snprintf(left + n, sizeof left - (size_t)n, "-%c", o->id);
    if (o->name)
        n += snprintf(left + n, sizeof left - (size_t)n, "%s--%s", n ? ", " : "    ", o->name);
    if (o->argument)
        snprintf(left + n, sizeof left - (size_t)n, "%s%s", !o->name ? " " : *o->argument == '[' ? "" : "=",
                 o->argument);
    printf("  %-28s %s\n", left, o->help);
}

void byre_options_help(const struct byre_verb *verb)
{
    /* qemu-io and qemu-nbd are programs of one command. */
    bool alone = byre_program_is_qemu() && strcmp(byre_program_name(), "qemu-img") != 0;
    const struct byre_option *o;

    printf("usage: %s%s%s [OPTION]... %s\n%s\n\n", byre_program_name(), alone ? "" : " ", alone ? "" : verb->name,
           verb->operands, verb->summary);
    for (o = verb->options; o->id; o++)
        if (o->help)
            print_option(o);
}

void byre_options_dump(const struct byre_verb *verb)
{
    const struct byre_option *o;

    for (o = verb->options; o->id; o++) {
        if (!o->help)
            continue;
        if (o->id < BYRE_OPTION_LONG)
            printf("%s -%c\n", verb->name, o->id);
        if (o->name)
            printf("%s --%s\n", verb->name, o->name);
    }
}
