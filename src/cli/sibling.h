/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verbs that programs of their own have: byre executes them.
 */
#ifndef BYRE_CLI_SIBLING_H
#define BYRE_CLI_SIBLING_H

#include <stdbool.h>

/* Executes the program for the verb argv[0], where there is one: does not return then, but with the exit code of a
 * failure in *ret_exit_code and true.  False: the verb is nobody's. */
bool byre_sibling_run(int argc, char **argv, int *ret_exit_code);

/* The verbs and what they do, as lines of the help. */
void byre_sibling_help(void);

#endif
