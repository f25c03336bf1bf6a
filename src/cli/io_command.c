/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of the commands of byre io, and what is common to all: words, checks, help.
 */
#include "config.h"

#include "cli/io_command.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "cli/message.h"

#define READ_HELP                                                                                             \
    " -C  print figures for programs\n"                                                                       \
    " -P  check that all bytes are this one\n"                                                                \
    " -q  print nothing of the result\n"                                                                      \
    " -v  dump the bytes\n"
#define WRITE_HELP                                                                                            \
    " The bytes are 0xcd unless an option says otherwise.\n"                                                  \
    " -C  print figures for programs\n"                                                                       \
    " -f  durable when it is done (force unit access)\n"                                                      \
    " -P  write this byte\n"                                                                                  \
    " -q  print nothing of the result\n"
#define AIO_HELP                                                                                              \
    " Only starts the request, and succeeds whatever comes of it; aio_flush waits for its end.\n"             \
    " -i  start nothing\n"

/* Sorted by name, as the help shows them. */
static const struct byre_io_command commands[] = {
    { .name = "abort", .summary = "simulate a program crash using abort(3)", .no_file = true, .run = byre_io_abort },
    { .name = "aio_flush", .summary = "completes all outstanding aio requests", .run = byre_io_aio_flush },
    { .name = "aio_read", .arguments = "[-Ciqv] [-P pattern] off len [len..]",
      .summary = "asynchronously reads a number of bytes", .help = AIO_HELP READ_HELP,
      .min = 2, .max = -1, .run = byre_io_aio_read },
    { .name = "aio_write", .arguments = "[-Cfiquz] [-P pattern] off len [len..]",
      .summary = "asynchronously writes a number of bytes",
      .help = AIO_HELP WRITE_HELP " -u  with -z: the space may be given back\n -z  write zeros in the map\n",
      .min = 2, .max = -1, .writes = true, .run = byre_io_aio_write },
    { .name = "alloc", .short_name = "a", .arguments = "offset [count]",
      .summary = "checks if offset is allocated in the file", .min = 1, .max = 2, .run = byre_io_alloc },
    { .name = "break", .arguments = "event tag",
      .summary = "sets a breakpoint on event and tags the stopped request as tag", .min = 2, .max = 2,
      .run = byre_io_break },
    { .name = "close", .short_name = "c", .summary = "close the current open file", .run = byre_io_close },
    { .name = "discard", .short_name = "d", .arguments = "[-Cq] off len",
      .summary = "discards a number of bytes at a specified offset",
      .help = " -C  print figures for programs\n -q  print nothing of the result\n",
      .min = 2, .max = -1, .writes = true, .run = byre_io_discard },
    { .name = "flush", .short_name = "f", .summary = "flush all in-core file state to disk", .run = byre_io_flush },
    { .name = "help", .short_name = "?", .arguments = "[command]", .summary = "help for one or all commands",
      .max = 1, .no_file = true, .run = byre_io_help },
    { .name = "info", .short_name = "i", .summary = "prints information about the current file",
      .run = byre_io_info },
    { .name = "length", .short_name = "l", .summary = "gets the length of the current file", .run = byre_io_length },
    { .name = "map", .arguments = "", .summary = "prints the allocated areas of a file", .run = byre_io_map },
    { .name = "open", .short_name = "o", .arguments = "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
      .summary = "open the file specified by path",
      .help = " -d  unmap or on: discards take effect (default); ignore or off: they do not\n"
              " -i  threads, native or io_uring\n"
              " -k  the same as -i native\n"
              " -n  the same as -t none\n"
              " -o  driver=raw or driver=qcow2\n"
              " -r  for reading\n"
              " -s  keep what is written in a temporary file\n"
              " -t  cache mode: writeback, none, unsafe, writethrough or directsync\n"
              " -U  although another program writes to it\n",
      .min = 1, .max = -1, .no_file = true, .run = byre_io_open },
    { .name = "quit", .short_name = "q", .summary = "exit the program", .no_file = true, .run = byre_io_quit },
    { .name = "read", .short_name = "r", .arguments = "[-abCqv] [-P pattern [-s off] [-l len]] off len",
      .summary = "reads a number of bytes at a specified offset",
      .help = READ_HELP " -b  from the state of a virtual machine\n"
              " -l  with -P: so many bytes are checked\n"
              " -p  has no effect\n"
              " -s  with -P: from there on in what is read\n",
      .min = 2, .max = -1, .run = byre_io_read },
    { .name = "readv", .arguments = "[-Cqv] [-P pattern] off len [len..]",
      .summary = "reads a number of bytes at a specified offset", .help = READ_HELP, .min = 2, .max = -1,
      .run = byre_io_readv },
    { .name = "remove_break", .arguments = "tag", .summary = "remove a breakpoint by tag", .min = 1, .max = 1,
      .run = byre_io_remove_break },
    { .name = "reopen", .arguments = "[(-r|-w)] [-c cache] [-o options]",
      .summary = "reopens an image with new options",
      .help = " -c  with this cache mode\n -r  for reading\n -w  for reading and writing\n", .max = -1,
      .run = byre_io_reopen },
    { .name = "resume", .arguments = "tag", .summary = "resumes the request tagged as tag", .min = 1, .max = 1,
      .run = byre_io_resume },
    { .name = "sigraise", .arguments = "signal", .summary = "raises a signal", .min = 1, .max = 1, .no_file = true,
      .run = byre_io_sigraise },
    { .name = "sleep", .summary = "waits for the given value in milliseconds", .min = 1, .max = 1,
      .no_file = true, .run = byre_io_sleep },
    { .name = "truncate", .short_name = "t", .arguments = "[-m prealloc_mode] off",
      .summary = "truncates the current file at the given offset",
      .help = " Disks only become larger.\n -m  off, metadata, falloc or full\n", .min = 1, .max = 3,
      .writes = true, .run = byre_io_truncate },
    { .name = "wait_break", .arguments = "tag", .summary = "waits for the suspension of a request", .min = 1,
      .max = 1, .run = byre_io_wait_break },
    { .name = "write", .short_name = "w", .arguments = "[-bcCfnquz] [-P pattern | -s source_file] off len",
      .summary = "writes a number of bytes at a specified offset",
      .help = WRITE_HELP " -b  to the state of a virtual machine\n"
              " -c  compressed\n"
              " -n  with -z: fail rather than write zeros as data\n"
              " -p  has no effect\n"
              " -s  write the bytes of this file, again and again\n"
              " -u  with -z: the space may be given back\n"
              " -z  write zeros in the map\n",
      .min = 2, .max = -1, .writes = true, .run = byre_io_write },
    { .name = "writev", .arguments = "[-Cfq] [-P pattern] off len [len..]",
      .summary = "writes a number of bytes at a specified offset", .help = WRITE_HELP, .min = 2, .max = -1,
      .writes = true, .run = byre_io_writev },
};

static void print_summary(const struct byre_io_command *command, const char *name)
{
    printf("%s ", name);
    if (command->arguments)
        printf("%s ", command->arguments);
    printf("-- %s\n", command->summary);
}

int byre_io_usage(const struct byre_io_command *command)
{
    print_summary(command, command->name);
    return -1;
}

static const struct byre_io_command *find_command(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0 ||
            (commands[i].short_name && strcmp(commands[i].short_name, name) == 0))
            return &commands[i];
    }
    return NULL;
}

BYRE_IO_RUN(byre_io_help)
{
    (void)command;
    (void)session;
    if (argc == 1) {
        for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
            print_summary(&commands[i], commands[i].name);
        printf("\nUse 'help commandname' for extended help.\n");
        return 0;
    }
    command = find_command(argv[1]);
    if (!command) {
        printf("command %s not found\n", argv[1]);
        return -1;
    }
    print_summary(command, argv[1]);
    if (command->help)
        printf("\n%s\n", command->help);
    return 0;
}

static int check_count(const struct byre_io_command *command, const char *name, int count)
{
    if (count >= command->min && (command->max < 0 || count <= command->max))
        return 0;
    fflush(stdout);
    if (command->max < 0)
        fprintf(stderr, "bad argument count %d to %s, expected at least %d arguments\n", count, name,
                command->min);
    else if (command->min == command->max)
        fprintf(stderr, "bad argument count %d to %s, expected %d arguments\n", count, name, command->min);
    else
        fprintf(stderr, "bad argument count %d to %s, expected between %d and %d arguments\n", count, name,
                command->min, command->max);
    return -1;
}

static int run_words(struct byre_io_session *session, int argc, char **argv)
{
    const struct byre_io_command *command = find_command(argv[0]);

    if (!command) {
        fflush(stdout);
        fprintf(stderr, "command \"%s\" not found\n", argv[0]);
        return -1;
    }
    if (!command->no_file && !session->disk) {
        fflush(stdout);
        fprintf(stderr, "no file open, try 'help open'\n");
        return -1;
    }
    if (check_count(command, argv[0], argc - 1) < 0)
        return -1;
    if (command->writes && session->how.read_only)
        return byre_complain("Block node is read-only") ? -1 : 0;
    optind = 0;
    opterr = 1;
    return command->run(command, session, argc, argv);
}

int byre_io_run_line(struct byre_io_session *session, char *line)
{
    char **argv = calloc(strlen(line) / 2 + 2, sizeof *argv), *rest = line, *word;
    int argc = 0, r = 0;

    if (!argv)
        byre_die_no_memory();
    while ((word = strsep(&rest, " "))) {
        if (*word)
            argv[argc++] = word;
    }
    if (argc)
        r = run_words(session, argc, argv);
    free(argv);
    return r;
}
