/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lists that info shows: snapshots and bitmaps.  For info.c alone.
 */
#ifndef BYRE_DISK_INFO_TABLES_H
#define BYRE_DISK_INFO_TABLES_H

#include "byre/info.h"
#include "qcow2/fmt_header.h"
#include "store/store.h"

/* Each appends to the list in `info`, which owns what was read also on failure. */
int byre_info_read_snapshots(struct byre_store *store, const struct byre_qcow2_header *header,
                             struct byre_info *info, struct byre_error *err);
int byre_info_read_bitmaps(struct byre_store *store, const struct byre_qcow2_header *header,
                           struct byre_info *info, struct byre_error *err);

#endif
