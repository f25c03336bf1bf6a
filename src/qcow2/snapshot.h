/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making, applying and deleting internal snapshots: the engine's part of byre/snapshot.h.
 *
 * No other call on the image may be under way.  The disk above makes its flat map and its inflated clusters anew.
 */
#ifndef BYRE_QCOW2_SNAPSHOT_H
#define BYRE_QCOW2_SNAPSHOT_H

#include "byre/snapshot.h"
#include "qcow2/qcow2.h"
#include "qcow2/snapshot_table.h"

/* The index of the snapshot that the selector means: -ENOENT. */
int byre_snapshot_select(const struct byre_snapshot_table *table, const struct byre_snapshot_selector *which,
                         size_t *ret_index, struct byre_error *err);

/* See byre/snapshot.h.  The date is now. */
int byre_qcow2_snapshot_create(struct byre_qcow2 *image, const struct byre_snapshot_create_options *options,
                               char ret_id[21], struct byre_error *err);
/* The virtual size may be another one afterwards. */
int byre_qcow2_snapshot_apply(struct byre_qcow2 *image, const struct byre_snapshot_selector *which,
                              struct byre_error *err);
int byre_qcow2_snapshot_delete(struct byre_qcow2 *image, const struct byre_snapshot_selector *which,
                               struct byre_error *err);

/* The virtual size that the disk will have when the snapshot is applied.  -ENOENT. */
int byre_qcow2_snapshot_size(struct byre_qcow2 *image, const struct byre_snapshot_selector *which,
                             uint64_t *ret_size, struct byre_error *err);

#endif
