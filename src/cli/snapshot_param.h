/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The argument of convert -l: which snapshot.
 */
#ifndef BYRE_CLI_SNAPSHOT_PARAM_H
#define BYRE_CLI_SNAPSHOT_PARAM_H

#include <stdbool.h>

#include "byre/snapshot.h"

/* What was said so far: a list counts more than a bare word, and the last one of each. */
struct byre_snapshot_param {
    const char *word; /* an id or a name */
    const char *list; /* snapshot.id=...,snapshot.name=... */
    char *id, *name;  /* of the list; owned */
};

/* Takes one argument: 0, or -1 after a complaint. */
int byre_snapshot_param_read(struct byre_snapshot_param *param, const char *text);
void byre_snapshot_param_done(struct byre_snapshot_param *param);

/* The selector, which refers to `param`: false if none was named. */
bool byre_snapshot_param_selector(const struct byre_snapshot_param *param,
                                  struct byre_snapshot_selector *ret_selector);

#endif
