/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Choosing metadata contexts: base:allocation, qemu:allocation-depth and qemu:dirty-bitmap:NAME.
 */
#ifndef BYRE_NBD_META_CONTEXT_H
#define BYRE_NBD_META_CONTEXT_H

#include "nbd/negotiation.h"

/* Answers LIST_META_CONTEXT or SET_META_CONTEXT, `type`, with its data.  -ENOMEM. */
int byre_nbd_meta_context(struct byre_nbd_negotiation *negotiation, uint32_t type, const uint8_t *data, uint32_t length,
                          byre_nbd_bytes *out);

#endif
