/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A directory of images as exports: each regular file is one, by its name.
 *
 * FILE@SNAPSHOT is a snapshot of it, by name or id, FILE#N a partition, FILE@SNAPSHOT#N a partition of a snapshot.
 */
#ifndef BYRE_NBD_DIRECTORY_H
#define BYRE_NBD_DIRECTORY_H

#include "nbd/keeper.h"
#include "nbd/offer.h"

struct byre_nbd_directory;

/* Makes a directory the set's keeper's source.  `how`: how its images are opened; copied, what it points to is not. */
int byre_nbd_directory_add(const char *path, const struct byre_nbd_offer *how, struct byre_nbd_exports *exports,
                           struct byre_nbd_directory **ret_directory, struct byre_error *err);

/*
 * Looks at the directory again: new files are exports from now on; files that are gone, or are others now, are none for
 * new clients.  After a failure all is as before.
 */
int byre_nbd_directory_rescan(struct byre_nbd_directory *directory, struct byre_error *err);

#endif
