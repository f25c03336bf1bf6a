/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --object: the objects that options of images refer to.  There is one kind, secret.
 *
 * The reading of options (options.h) hands each one over as it comes; verbs give the secrets to what they open.
 */
#ifndef BYRE_CLI_OBJECTS_H
#define BYRE_CLI_OBJECTS_H

#include "byre/secret.h"

#define BYRE_OBJECT_HELP "a secret that options refer to: secret,id=NAME,file=FILE or data=TEXT"

/*
 * Reads an object, as "secret,id=NAME,..." or in JSON, and wipes `text`, which may hold a password that others can see
 * otherwise.  0, or -1 where the program is to end with *ret_exit_code, after a complaint or help.
 */
int byre_objects_add(char *text, int *ret_exit_code);

/* All that were read; NULL if there were none. */
const struct byre_secrets *byre_objects_secrets(void);

/* Wipes them. */
void byre_objects_done(void);

#endif
