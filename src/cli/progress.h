/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Progress of long work: qemu-img's -p, the state on SIGUSR1, and a line on a terminal.
 *
 * At most one progress runs at a time; it is the process's.  byre_progress_block_signal comes first in main,
 * before any thread exists, so that every thread inherits the blocked signal and only the watcher takes it.
 */
#ifndef BYRE_CLI_PROGRESS_H
#define BYRE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

enum byre_progress_mode {
    BYRE_PROGRESS_QUIET,   /* nothing but the answer to SIGUSR1 */
    BYRE_PROGRESS_PERCENT, /* -p: "    (12.34/100%)\r" on standard output */
    BYRE_PROGRESS_LINE,    /* one line on standard error, rewritten and cleared at the end */
};

void byre_progress_block_signal(void);

/* The mode for the options -p and -q of a verb: a line where standard error is a terminal, unless quiet or
 * called under a qemu-* name. */
enum byre_progress_mode byre_progress_choose(bool percent, bool quiet);

/* Starts with nothing done; `what` names the work on a terminal's line and must outlive it. */
void byre_progress_start(enum byre_progress_mode mode, const char *what);

/* A progress callback for libbyre: any thread, any unit; `opaque` is ignored. */
void byre_progress_report(void *opaque, uint64_t done, uint64_t total);

/* Ends the progress; `complete` shows 100 % first. */
void byre_progress_stop(bool complete);

/* Wipes a terminal's progress line so that a message can take its place. */
void byre_progress_clear_line(void);

#endif
