/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events: what the engine is about to do, told to the store that it does it on.
 *
 * They have QEMU's names (its blkdebug driver documents them).  A store that does not care costs one comparison.
 */
#ifndef BYRE_STORE_EVENT_H
#define BYRE_STORE_EVENT_H

#include "store/store.h"

/* One for each name that QEMU 7.2 knows, in its order: l1_update ... empty_image_prepare ... */
enum byre_event { BYRE_EVENT_L1_UPDATE /* and so on */ };

/* Tells `store` of the event; it may wait in there.  No lock is held but those that the I/O that follows is done under. */
void byre_store_event(struct byre_store *store, enum byre_event event);

/* "l1_update"; the number of a name, or -1. */
const char *byre_event_name(enum byre_event event);
int byre_event_find(const char *name);

#endif
