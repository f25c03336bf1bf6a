/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the header of a qcow2 image from its store: the first cluster and no more.
 */
#ifndef BYRE_QCOW2_HEADER_READ_H
#define BYRE_QCOW2_HEADER_READ_H

#include "qcow2/fmt_header.h"
#include "store/store.h"

/*
 * Reads and parses; errors start with "Could not open 'NAME': ".  Release with byre_qcow2_header_done.
 */
int byre_qcow2_header_read(struct byre_store *store, struct byre_qcow2_header *ret_header,
                           struct byre_error *err);

/* The same, as if the header named no refcount table: for a repair, which makes a new one. */
int byre_qcow2_header_read_without_refcounts(struct byre_store *store, struct byre_qcow2_header *ret_header,
                                             struct byre_error *err);

#endif
