/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes that the root of every mount has, beside those of a file system shown there; they are not listed.
 * They are how byre-umount finds who serves a mount, and hears how that ended.
 */
#ifndef BYRE_FUSE_ATTRIBUTE_H
#define BYRE_FUSE_ATTRIBUTE_H

/* The id of the process that serves the mount, in decimal digits. */
#define BYRE_ATTRIBUTE_PID "user.byre.pid"

/*
 * The number of a file of that process, below /proc/PID/fd: one in memory, of the name below, which stays readable for
 * who has opened it.  Its first byte is one of the states; behind it stands what went wrong, each in a line.
 */
#define BYRE_ATTRIBUTE_OUTCOME "user.byre.outcome"
#define BYRE_OUTCOME_NAME      "byre-mount"
#define BYRE_OUTCOME_SERVING   's'
#define BYRE_OUTCOME_CLOSING   'c' /* the mount is over, its images are being closed */
#define BYRE_OUTCOME_CLOSED    '0' /* all that was written is durable */
#define BYRE_OUTCOME_FAILED    '1'

#endif
