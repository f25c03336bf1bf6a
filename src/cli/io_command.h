/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands of byre io: one table in io_command.c, the commands themselves in the other files io_*.c.
 */
#ifndef BYRE_CLI_IO_COMMAND_H
#define BYRE_CLI_IO_COMMAND_H

#include "cli/io_session.h"

struct byre_io_command {
    const char *name, *short_name; /* the latter may be NULL */
    const char *arguments;         /* as the help shows them, or NULL */
    const char *summary;           /* one line */
    const char *help;              /* more of it, lines; or NULL */
    int min, max;                  /* arguments, options included; max -1: any number */
    bool no_file;                  /* works when no file is open */
    bool writes;                   /* is refused where the file was opened for reading */
    /* argv[0] is the command.  0, or -1 after a complaint.  getopt starts anew for each. */
    int (*run)(const struct byre_io_command *command, struct byre_io_session *session, int argc, char **argv);
};

/* Prints how the command is used on standard output, and returns -1. */
int byre_io_usage(const struct byre_io_command *command);

/* Runs one line of words between spaces, which it takes apart.  0, or -1 after a complaint. */
int byre_io_run_line(struct byre_io_session *session, char *line);

#define BYRE_IO_RUN(name)                                                                                     \
    int name(const struct byre_io_command *command, struct byre_io_session *session, int argc, char **argv)

BYRE_IO_RUN(byre_io_read);
BYRE_IO_RUN(byre_io_readv);
BYRE_IO_RUN(byre_io_write);
BYRE_IO_RUN(byre_io_writev);
BYRE_IO_RUN(byre_io_aio_read);
BYRE_IO_RUN(byre_io_aio_write);
BYRE_IO_RUN(byre_io_aio_flush);
BYRE_IO_RUN(byre_io_flush);
BYRE_IO_RUN(byre_io_discard);
BYRE_IO_RUN(byre_io_truncate);
BYRE_IO_RUN(byre_io_alloc);
BYRE_IO_RUN(byre_io_map);
BYRE_IO_RUN(byre_io_length);
BYRE_IO_RUN(byre_io_info);
BYRE_IO_RUN(byre_io_open);
BYRE_IO_RUN(byre_io_close);
BYRE_IO_RUN(byre_io_reopen);
BYRE_IO_RUN(byre_io_break);
BYRE_IO_RUN(byre_io_wait_break);
BYRE_IO_RUN(byre_io_resume);
BYRE_IO_RUN(byre_io_remove_break);
BYRE_IO_RUN(byre_io_sleep);
BYRE_IO_RUN(byre_io_abort);
BYRE_IO_RUN(byre_io_sigraise);
BYRE_IO_RUN(byre_io_quit);
BYRE_IO_RUN(byre_io_help);

#endif
