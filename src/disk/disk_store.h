/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk as a store: for a format, or a filter of stores, that stands on what an image shows.
 */
#ifndef BYRE_DISK_DISK_STORE_H
#define BYRE_DISK_DISK_STORE_H

#include "disk/disk.h"

/* A store of the disk's bytes, which cannot grow.  It takes the disk over on success (and closes it in the end; errors
 * of that are lost, so flush first).  Its name is that of the disk's top layer. */
int byre_disk_store_new(struct byre_disk *disk, struct byre_store **ret_store, struct byre_error *err);

#endif
