/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * L2 entries that say zero, in the tables of the disk and of all snapshots: version 2 has none.
 */
#ifndef BYRE_QCOW2_ZERO_ENTRIES_H
#define BYRE_QCOW2_ZERO_ENTRIES_H

#include "qcow2/amend.h"
#include "qcow2/snapshot_job.h"

/*
 * Makes all of them entries that version 2 knows, durably, and with the same contents: nothing where nothing shows
 * through, else clusters of zeros.  -EIO and others before anything was changed; after that the image is read-only.
 */
int byre_zero_entries_replace(struct byre_snapshot_job *job, const struct byre_amend_progress *progress,
                              struct byre_error *err);

/* Clears the flag wherever it is set in a version 2 image, where it means nothing. */
int byre_zero_entries_clear(struct byre_snapshot_job *job, const struct byre_amend_progress *progress,
                            struct byre_error *err);

#endif
