/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replacing the header's extensions in the file, so that a crash leaves the old or the new ones.
 */
#ifndef BYRE_QCOW2_HEADER_REPLACE_H
#define BYRE_QCOW2_HEADER_REPLACE_H

#include "qcow2/fmt_header.h"

struct byre_qcow2;

/*
 * Makes the header in the file that of `next`, durably: its extensions, backing file name, and autoclear bits.  All
 * else is kept as it is in the file; `next` has the header_length of the image's header, which is the caller's to
 * change.  Waits for a commit under way.  -ENOSPC, and nothing has happened: the header cluster has no room.  After
 * another failure the image is read-only.  The mutex is held.
 */
int byre_header_replace_locked(struct byre_qcow2 *image, const struct byre_qcow2_header *next,
                               struct byre_error *err);

/* The same, and all fixed fields become those of `next`, version and header_length included: for a settled image whose
 * header in memory is that of the file. */
int byre_header_replace_all_locked(struct byre_qcow2 *image, const struct byre_qcow2_header *next,
                                   struct byre_error *err);

/*
 * A copy of the image's header to be changed, in which the extension of `type` has `data` (NULL: there is none), and
 * what was put in to be skipped is gone.  Names are shared with the original; release with
 * byre_header_variant_done.
 */
int byre_header_variant(const struct byre_qcow2_header *header, uint32_t type, const void *data, uint32_t length,
                        struct byre_qcow2_header *ret_variant, struct byre_error *err);
void byre_header_variant_done(struct byre_qcow2_header *variant);
/* The extensions and autoclear bits of the variant become the header's, which has its old ones released. */
void byre_header_take_variant(struct byre_qcow2_header *header, struct byre_qcow2_header *variant);

#endif
