/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel asks of a mount, answered by its tree.
 */
#ifndef BYRE_FUSE_OPERATIONS_H
#define BYRE_FUSE_OPERATIONS_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include "fuse/tree.h"

struct byre_mount {
    struct byre_tree tree;
    /* Where errors go that nobody else hears of: those of the medium and of the images.  Any thread. */
    void (*complain)(void *opaque, const char *text);
    void *opaque;
    int outcome;         /* the descriptor that an attribute names, outcome.h; or -1 */
    unsigned complaints; /* so far: no more than some are passed on */
};

/* For fuse_session_new, whose user data is a struct byre_mount. */
extern const struct fuse_lowlevel_ops byre_mount_operations;

#endif
