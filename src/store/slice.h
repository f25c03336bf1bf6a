/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The slice store: a part of another store, as raw's "offset" and "size" cut it out.
 */
#ifndef BYRE_STORE_SLICE_H
#define BYRE_STORE_SLICE_H

#include "store/store.h"

#define BYRE_SLICE_TO_END UINT64_MAX

/*
 * A store of the `size` bytes from `offset` on of `below`, which it takes over on success (and closes in the end); all
 * that follows `offset`, and can grow, for BYRE_SLICE_TO_END.  -EINVAL where `below` ends before that.  Its name is
 * that of `below`.
 */
int byre_slice_new(struct byre_store *below, uint64_t offset, uint64_t size, struct byre_store **ret_store,
                   struct byre_error *err);

#endif
