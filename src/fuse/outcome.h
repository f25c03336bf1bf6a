/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a mount's process leaves behind for byre-umount: how far it is, and what went wrong.  The format is in
 * attribute.h.
 */
#ifndef BYRE_FUSE_OUTCOME_H
#define BYRE_FUSE_OUTCOME_H

#include "byre/error.h"

/* The file, serving: its descriptor is the caller's.  -errno. */
int byre_outcome_new(struct byre_error *err);
/* One of BYRE_OUTCOME_...; a descriptor below 0 is nobody's. */
void byre_outcome_set(int fd, char state);
/* Adds a line. */
void byre_outcome_tell(int fd, const char *text);

#endif
