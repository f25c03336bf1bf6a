/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking and repairing the metadata of a qcow2 image.
 *
 * The checker is independent of the engine: it reads the tables straight from the store and, for a repair,
 * writes straight to it.  So it works on images that the engine would refuse, and judges the engine's work.
 */
#ifndef BYRE_QCOW2_CHECK_H
#define BYRE_QCOW2_CHECK_H

#include "byre/check.h"
#include "qcow2/fmt_header.h"
#include "store/store.h"

/*
 * Checks the image in `store`, whose header was parsed into `header`, and repairs it as `repair` (enum
 * byre_repair; ERRORS includes LEAKS) says.  Nobody else may change the store meanwhile; a repair needs it
 * writable.  Of `callbacks` (may be NULL) only report, progress and opaque are looked at.
 *
 * Returns 0 if the check was carried out, whatever it found; *ret_result is written then.  -EINVAL and -EFBIG
 * name a field without which nothing can be judged; -ENOSPC: there is no room for what a repair has to write.
 * A repair that fails half-way leaves no new damage.
 *
 * A repair of LEAKS lowers refcounts and corrects COPIED flags.  One of ERRORS mends tables (check_mend.c), raises
 * refcounts or makes new refcount structures (check_rebuild.c), and may grow the store.  At the end the dirty bit is
 * cleared if all refcounts are right, and the corrupt bit if nothing is left.  `header` is not updated: read it again.
 *
 * Memory: up to 8 MiB, and beyond that at most 64 times the bytes of tables that the store really holds; for
 * ordinary images three bits and a half for each host cluster in use, 16 where snapshots share it.  Time: each table
 * is read once, however many snapshots share it; a second time where COPIED flags are wrong; a repair of errors counts
 * again after each round of corrections.
 */
int byre_qcow2_check(struct byre_store *store, const struct byre_qcow2_header *header, unsigned repair,
                     const struct byre_check_options *callbacks, struct byre_check_result *ret_result,
                     struct byre_error *err);

#endif
