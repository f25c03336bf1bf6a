/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process beside that of a mount, which takes the mount away where the other one was killed: else whoever looks at it
 * is told "Transport endpoint is not connected" for ever.
 *
 * libfuse has an option for that, auto_unmount, which cannot be had together with suid and dev.
 */
#ifndef BYRE_FUSE_WATCHDOG_H
#define BYRE_FUSE_WATCHDOG_H

#include <sys/types.h>

#include "byre/error.h"

struct byre_watchdog {
    pid_t process;
    int pipe; /* whose end is that of this process */
};

/* Before the mount, whose place is an absolute path without links.  It uses none of this process's files. */
int byre_watchdog_start(const char *mount_point, struct byre_watchdog *ret_watchdog, struct byre_error *err);
/* The mount is gone, or was never there. */
void byre_watchdog_stop(struct byre_watchdog *watchdog);

/* The signals that end a mount, and PIPE: for either process, when nothing is to end it any more. */
void byre_watchdog_ignore_signals(void);

#endif
