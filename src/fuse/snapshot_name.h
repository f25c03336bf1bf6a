/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of snapshots as names of directories.
 */
#ifndef BYRE_FUSE_SNAPSHOT_NAME_H
#define BYRE_FUSE_SNAPSHOT_NAME_H

#include "byre/info.h"

/*
 * One name for each snapshot, none of them twice, none that a directory could not hold.  Bytes of a snapshot's name
 * that cannot be there are written as in URIs: '/' and control characters, '%' itself, "." and ".." as "%2e" and
 * "%2e%2e", the first byte of a name that begins with "id=".  A snapshot without a name, whose name is too long or was
 * there before, is called "id=" and its id, written likewise, and if that is not enough, with "#" and its number in the
 * list.  The names and the list are freed by the caller.  NULL: memory is short.
 */
char **byre_snapshot_names(const struct byre_snapshot_info *snapshots, unsigned count);

#endif
