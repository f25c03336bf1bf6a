/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ops that workers do: trims that are to be durable, the status of blocks, and prefetching.  Each makes its reply
 * where it has data: 0, or a negative errno with words in op->err.
 */
#ifndef BYRE_NBD_OP_SLOW_H
#define BYRE_NBD_OP_SLOW_H

#include "nbd/op.h"

int byre_nbd_slow_trim(struct byre_nbd_op *op);
int byre_nbd_slow_cache(struct byre_nbd_op *op);
int byre_nbd_slow_status(struct byre_nbd_op *op);

#endif
