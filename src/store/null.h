/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The null store: takes every write, remembers nothing, and reads as whatever the buffer held, or as zeros.
 */
#ifndef BYRE_STORE_NULL_H
#define BYRE_STORE_NULL_H

#include "store/store.h"

struct byre_null_options {
    uint64_t size;        /* bytes; QEMU's default is 1 GiB */
    uint64_t latency_ns;  /* each request takes so long */
    bool read_zeroes;
    bool aio;             /* called null-aio instead of null-co */
    bool read_only;
};

int byre_null_new(const struct byre_null_options *options, struct byre_store **ret_store, struct byre_error *err);

#endif
