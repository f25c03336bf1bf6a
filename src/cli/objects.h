/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --object: the objects that options refer to.  Secrets are known to all programs, and read here; a program may know
 * other kinds besides.
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

/* An object as it was written. */
struct byre_object;
/* The value of a property, the last one where there are several; or NULL. */
const char *byre_object_get(const struct byre_object *object, const char *key);
/* How many properties have names that begin so. */
unsigned byre_object_count(const struct byre_object *object, const char *prefix);

struct byre_object_kind {
    const char *type;
    const char *const *properties; /* "NAME=<TYPE>" each, NULL after the last; of type "<bool>": "on" or "off" is got */
    const char *list;              /* the property that is a list of objects, "NAME.NUMBER.KEY" each; or NULL */
    int (*add)(const struct byre_object *object); /* 0, or 1 after a complaint; the texts do not stay */
};

/* Kinds that --object takes besides secrets; they stay the caller's. */
void byre_objects_know(const struct byre_object_kind *kinds, unsigned count);

/* All secrets that were read; NULL if there were none. */
const struct byre_secrets *byre_objects_secrets(void);

/* Wipes them. */
void byre_objects_done(void);

#endif
