/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two stores over one recording: an image in the front of the medium, and its data file behind it.
 *
 * A flush of either is a barrier of the medium, which would make the other one durable, too.  So what changes the data
 * file is kept back in memory until that is flushed: a flush of the image alone does not make data durable.  (That the
 * flush of the data file does it to the image is not told.)  An `early` data file keeps back nothing: its changes may
 * reach the medium before the image's, as soon as they are made.
 */
#ifndef TESTS_CRASH_PAIR_STORE_H
#define TESTS_CRASH_PAIR_STORE_H

#include "store/store.h"

/* A store of `length` bytes from `offset` on of `medium`, which stays the caller's: it does not grow. */
int pair_part_new(struct byre_store *medium, uint64_t offset, uint64_t length, struct byre_store **ret_store);

/* A file of those bytes, empty at first, whose end moves in there; reads as zero where it grows. */
int pair_data_new(struct byre_store *medium, uint64_t offset, uint64_t length, bool early,
                  struct byre_store **ret_store);

/* Passes on what a data file has kept back, without a barrier. */
int pair_data_settle(struct byre_store *data);

#endif
