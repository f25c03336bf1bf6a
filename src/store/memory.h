/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory store: a growable byte array, for tests and for scratch images.
 */
#ifndef BYRE_STORE_MEMORY_H
#define BYRE_STORE_MEMORY_H

#include "store/store.h"

/* Makes a store of `length` bytes copied from `bytes` (zeros if `bytes` is NULL). */
int byre_memory_new(const void *bytes, uint64_t length, struct byre_store **ret_store,
                    struct byre_error *err);

/* The store's bytes; valid until the next call on the store. */
const uint8_t *byre_memory_bytes(const struct byre_store *store, uint64_t *ret_length);

#endif
