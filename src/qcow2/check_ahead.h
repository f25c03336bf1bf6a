/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading ahead: many tables of a cluster each, read by several threads while the caller looks at those that
 * are there already.  They are handed out in their order, so that what a check reports does not depend on
 * the number of threads.
 */
#ifndef BYRE_QCOW2_CHECK_AHEAD_H
#define BYRE_QCOW2_CHECK_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qcow2/check_reader.h"

struct byre_check_ahead;

/* The place of the i-th table; false if it is not to be read.  Called by the thread that takes the tables. */
typedef bool byre_check_place(void *opaque, size_t i, uint64_t *ret_hoff);

/* One table. */
struct byre_check_piece {
    size_t number;  /* of the table */
    uint8_t *bytes; /* a cluster; valid until the next call */
    bool empty;     /* all of it is zero, and `bytes` must not be looked at */
    int rc;         /* negative: it could not be read, and `err` says why */
    const struct byre_error *err;
};

/* Reads tables [0, count), each a cluster of `cluster_size` at place(opaque, i), through readers like
 * `reader`, whose account of bytes grows as tables are taken.  The store must not change meanwhile. */
int byre_check_ahead_new(struct byre_check_reader *reader, uint32_t cluster_size, size_t count,
                         byre_check_place *place, void *opaque, struct byre_check_ahead **ret_ahead,
                         struct byre_error *err);

/* The next table; false after the last one. */
bool byre_check_ahead_next(struct byre_check_ahead *ahead, struct byre_check_piece *ret_piece);

/* Waits for what is being read.  NULL is allowed. */
void byre_check_ahead_free(struct byre_check_ahead *ahead);

#endif
