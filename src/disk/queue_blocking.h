/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The requests of queues by the blocking calls of byre/disk.h: what the fast path leaves to workers.
 */
#ifndef BYRE_DISK_QUEUE_BLOCKING_H
#define BYRE_DISK_QUEUE_BLOCKING_H

#include "byre/queue.h"

/* Does all of the request: 0 or a negative errno, with its message in the request's `err`.  Any thread. */
int byre_queue_do_blocking(struct byre_disk *disk, const struct byre_request *request);

/* Adds a range behind those that are there: false if it is too short, or there are too many. */
bool byre_zero_ranges_add(struct byre_zero_ranges *zeros, uint64_t goff, uint64_t length);

#endif
