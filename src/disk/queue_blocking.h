/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The requests of queues by the blocking calls of byre/disk.h: what the fast path leaves to workers.
 */
#ifndef BYRE_DISK_QUEUE_BLOCKING_H
#define BYRE_DISK_QUEUE_BLOCKING_H

#include "byre/queue.h"

/* Does all of the request: 0 or a negative errno, with its message in the request's `err`.  Any thread. */
int byre_queue_do_blocking(struct byre_disk *disk, const struct byre_request *request);

/* Adds zeros behind what is there: false if they are too short, or there are too many places. */
bool byre_places_add_zeros(struct byre_places *places, uint64_t goff, uint64_t length);
/* Adds data, with the same rules. */
bool byre_places_add_data(struct byre_places *places, const struct byre_place *place);

#endif
