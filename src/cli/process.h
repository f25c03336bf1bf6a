/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process of a program that serves: its way to the background, its pid file, how many files it may have open.
 */
#ifndef BYRE_CLI_PROCESS_H
#define BYRE_CLI_PROCESS_H

#include <stdbool.h>

#include "byre/error.h"

/* Before anything is opened: where standard input, output or error is closed it becomes /dev/null, so that no image
 * gets its number. */
void byre_standard_files_open(void);

struct byre_background {
    int ready_fd; /* the parent waits at its other end; -1: there is no parent that waits */
};

/*
 * Forks.  The parent does not return: it ends with 0 once the child is ready, and with the child's exit code if that
 * ends before.  Before any thread is started.
 */
int byre_background_enter(struct byre_background *ret_background, struct byre_error *err);
/* Ready.  In the background standard input and output become /dev/null, and standard error, unless it is kept. */
void byre_background_ready(struct byre_background *background, bool keep_stderr);

/* Writes the process's id to a file, which is created. */
int byre_pid_file_write(const char *path, struct byre_error *err);

/* As many open files as the system lets this process have: a client is one. */
void byre_raise_file_limit(void);

#endif
