/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verbs that programs of their own have: byre executes them.
 */
#ifndef BYRE_CLI_SIBLING_H
#define BYRE_CLI_SIBLING_H

#include <stdbool.h>

/*
 * Executes the program for the verb, where there is one, with the arguments behind argv[0]; it is called `name`, or by
 * its path if that is NULL.  Does not return then, but with the exit code of a failure in *ret_exit_code and true.
 * False: the verb is nobody's.
 */
bool byre_sibling_run(const char *verb, const char *name, int argc, char **argv, int *ret_exit_code);

/* The verbs and what they do, as lines of the help. */
void byre_sibling_help(void);

#endif
