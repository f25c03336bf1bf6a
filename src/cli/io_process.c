/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands of byre io about the program itself, and about breakpoints, which only a blkdebug store has.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "byre/debug.h"
#include "cli/io_command.h"
#include "cli/io_text.h"

BYRE_IO_RUN(byre_io_sleep)
{
    struct timespec rest;
    int ms;

    (void)command;
    (void)argc;
    if (byre_io_read_number(argv[1], &ms) < 0)
        return -1;
    byre_io_async_reap(&session->async, false);
    rest = (struct timespec){ ms / 1000, ms % 1000 * 1000000L };
    while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
        ;
    byre_io_async_reap(&session->async, false);
    return 0;
}

BYRE_IO_RUN(byre_io_abort)
{
    (void)command;
    (void)session;
    (void)argc;
    (void)argv;
    abort();
}

BYRE_IO_RUN(byre_io_sigraise)
{
    uint64_t number;

    (void)command;
    (void)session;
    (void)argc;
    if (byre_io_read_size(argv[1], &number) < 0)
        return -1;
    /* What was printed is not lost with the process. */
    fflush(stdout);
    return number <= (uint64_t)SIGRTMAX && raise((int)number) == 0 ? 0 : -1;
}

BYRE_IO_RUN(byre_io_quit)
{
    (void)command;
    (void)argc;
    (void)argv;
    session->quit = true;
    return 0;
}

/* --- breakpoints --- */

static int complain(const char *what, const char *tag, int r)
{
    if (r == 0)
        return 0;
    printf("Could not %s%s%s: %s\n", what, tag ? " " : "", tag ? tag : "", strerror(-r));
    return -1;
}

BYRE_IO_RUN(byre_io_break)
{
    (void)command;
    (void)argc;
    return complain("set breakpoint", NULL, byre_debug_break(session->disk, argv[1], argv[2]));
}

BYRE_IO_RUN(byre_io_wait_break)
{
    (void)command;
    (void)argc;
    return complain("wait for breakpoint", argv[1], byre_debug_wait_break(session->disk, argv[1]));
}

BYRE_IO_RUN(byre_io_resume)
{
    (void)command;
    (void)argc;
    return complain("resume request", NULL, byre_debug_resume(session->disk, argv[1]));
}

BYRE_IO_RUN(byre_io_remove_break)
{
    (void)command;
    (void)argc;
    return complain("remove breakpoint", argv[1], byre_debug_remove_break(session->disk, argv[1]));
}
