/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that is being made, which a signal shall not leave behind half: INT, TERM and HUP remove it, and end the
 * process as they always do.
 *
 * There is at most one at a time; it is the process's.  All calls come from one thread, and in all others these signals
 * are blocked, as they are in those of the pool.
 */
#ifndef BYRE_CLI_UNFINISHED_H
#define BYRE_CLI_UNFINISHED_H

#include <signal.h>

/* Once, before the others.  A signal that is ignored stays so. */
void byre_unfinished_watch(void);

/* Puts these signals off, so that making or renaming a file and saying so cannot be torn apart; and lets them come. */
void byre_unfinished_hold(sigset_t *ret_before);
void byre_unfinished_release(const sigset_t *before);

/* While they are put off: `name` in that directory is to be removed, and stays the caller's; NULL: there is none. */
void byre_unfinished_set(int directory, const char *name);

#endif
