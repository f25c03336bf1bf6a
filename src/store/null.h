/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The null store: takes every write, remembers nothing, and reads as whatever the buffer held, or as zeros.
 */
#ifndef BYRE_STORE_NULL_H
#define BYRE_STORE_NULL_H

#include "store/store.h"

#define BYRE_NULL_SIZE_DEFAULT (1ULL << 30)

struct byre_null_options {
    uint64_t size;        /* bytes; whoever has none to say uses the default */
    uint64_t latency_ns;  /* each read, write, zeroing, discard and flush takes so long */
    bool read_zeroes;     /* reads give zeros, and the store is one hole; else it is all data */
    bool aio;             /* called null-aio instead of null-co */
    bool read_only;
};

/* -EINVAL names what is out of range. */
int byre_null_new(const struct byre_null_options *options, struct byre_store **ret_store, struct byre_error *err);

#endif
