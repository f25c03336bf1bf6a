/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mount, from its beginning to its end.
 */
#ifndef BYRE_FUSE_SESSION_H
#define BYRE_FUSE_SESSION_H

#include "fuse/operations.h"

struct byre_session_options {
    const char *mount_point, *source; /* the source is what mount(8) shows */
    const char *fuse_options;         /* of libfuse and the kernel, with commas between; or NULL */
    bool read_only, suid, dev, debug;
    bool check_permissions;           /* of others: the kernel does */
    struct byre_mount *mount;
    void (*mounted)(void *opaque); /* it is there */
    void *opaque;
};

/*
 * Mounts, and serves until somebody unmounts or a signal comes (INT, TERM, HUP).  The mount is gone then, and it goes
 * away by itself where the process is killed.  These signals and PIPE are ignored from then on.
 */
int byre_session_run(const struct byre_session_options *options, struct byre_error *err);

#endif
