/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Temporary overlays: an image that is read, and a file without a name for what is written.
 */
#ifndef BYRE_NBD_OVERLAY_H
#define BYRE_NBD_OVERLAY_H

#include "byre/disk.h"

/*
 * Opens the image for reading, under a new qcow2 file in TMPDIR (/var/tmp), which is gone once the disk is closed, or
 * the process is.  Flushes do nothing, for nothing shall last.
 */
int byre_nbd_overlay_open(const char *name, const struct byre_open_options *options, struct byre_disk **ret_disk,
                          struct byre_error *err);

#endif
