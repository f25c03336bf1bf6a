/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An extended attribute that the root of every mount has, beside those of a file system shown there; it is not listed.
 */
#ifndef BYRE_FUSE_ATTRIBUTE_H
#define BYRE_FUSE_ATTRIBUTE_H

/* The id of the process that serves the mount, in decimal digits. */
#define BYRE_ATTRIBUTE_PID "user.byre.pid"

#endif
