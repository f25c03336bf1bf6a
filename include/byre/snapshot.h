/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Internal snapshots: what a qcow2 disk, and the virtual machine on it, were at some moment, kept in the image itself.
 *
 * A snapshot has an id, which is unique in what byre and QEMU write, and a name, which need not be.  To list them see
 * byre/info.h; to read one, `snapshot` of struct byre_open_options.
 */
#ifndef BYRE_SNAPSHOT_H
#define BYRE_SNAPSHOT_H

#include <stdint.h>

#include "byre/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_disk;

/* In the text of an error, after the names of files, where a disk could not be opened at a snapshot. */
#define BYRE_SNAPSHOT_FAILED "Failed to load snapshot: "

/* Which snapshot: the first that has all of what is not NULL.  `any` is an id or, where no snapshot has that, a
 * name. */
struct byre_snapshot_selector {
    const char *id, *name, *any;
};

/* What is kept with a new snapshot besides the disk. */
struct byre_snapshot_create_options {
    const char *name;
    uint64_t vm_state_size; /* bytes that byre_write_vm_state has written for it, from 0 on; 0: none */
    uint64_t vm_clock_nsec; /* of the virtual machine */
    uint64_t icount;        /* instructions that it has executed; UINT64_MAX: not recorded */
};

/*
 * All three need a disk whose top image is qcow2 and open for writing, wait as byre_truncate does until nothing else is
 * under way, and are durable when they return 0.  A crash, at any moment, leaves the image as it was before or as it is
 * after, once `byre check -r all` has mended the counts.  -ENOTSUP: the top image has no snapshots, or a refcount
 * would be too large for its width, nothing changed; -EIO: the image's metadata cannot be true, nothing changed.
 */

/* Keeps what the disk is now.  `ret_id` (may be NULL) gets the new id.  -EINVAL: the name is too long; -EFBIG: there
 * are too many snapshots. */
int byre_snapshot_create(struct byre_disk *disk, const struct byre_snapshot_create_options *options, char ret_id[21],
                         struct byre_error *err);

/* Makes the disk, its size included, what it was; the snapshot stays.  -ENOENT: there is none. */
int byre_snapshot_apply(struct byre_disk *disk, const struct byre_snapshot_selector *which, struct byre_error *err);

/* Forgets a snapshot, and gives back the space that nothing else needs.  -ENOENT: there is none. */
int byre_snapshot_delete(struct byre_disk *disk, const struct byre_snapshot_selector *which, struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
