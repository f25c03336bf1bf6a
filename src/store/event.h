/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events: what is about to be done, told to the store that it is done on.
 *
 * They have the names of QEMU's block debug events; byre-blkdebug(7) says which operation raises which.  The engine
 * and the disk raise those that concern images, the wrappers (store.h) those that concern any store.  A store that
 * does not care costs one comparison.
 */
#ifndef BYRE_STORE_EVENT_H
#define BYRE_STORE_EVENT_H

#include "store/store.h"

enum byre_event {
    BYRE_EVENT_L1_UPDATE,
    BYRE_EVENT_L1_GROW_ALLOC_TABLE,
    BYRE_EVENT_L1_GROW_WRITE_TABLE,
    BYRE_EVENT_L1_GROW_ACTIVATE_TABLE,
    BYRE_EVENT_L2_LOAD,
    BYRE_EVENT_L2_UPDATE,
    BYRE_EVENT_L2_UPDATE_COMPRESSED,
    BYRE_EVENT_L2_ALLOC_COW_READ,
    BYRE_EVENT_L2_ALLOC_WRITE,
    BYRE_EVENT_READ_AIO,
    BYRE_EVENT_READ_BACKING_AIO,
    BYRE_EVENT_READ_COMPRESSED,
    BYRE_EVENT_WRITE_AIO,
    BYRE_EVENT_WRITE_COMPRESSED,
    BYRE_EVENT_VMSTATE_LOAD,
    BYRE_EVENT_VMSTATE_SAVE,
    BYRE_EVENT_COW_READ,
    BYRE_EVENT_COW_WRITE,
    BYRE_EVENT_REFTABLE_LOAD,
    BYRE_EVENT_REFTABLE_GROW,
    BYRE_EVENT_REFTABLE_UPDATE,
    BYRE_EVENT_REFBLOCK_LOAD,
    BYRE_EVENT_REFBLOCK_UPDATE,
    BYRE_EVENT_REFBLOCK_UPDATE_PART,
    BYRE_EVENT_REFBLOCK_ALLOC,
    BYRE_EVENT_REFBLOCK_ALLOC_HOOKUP,
    BYRE_EVENT_REFBLOCK_ALLOC_WRITE,
    BYRE_EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS,
    BYRE_EVENT_REFBLOCK_ALLOC_WRITE_TABLE,
    BYRE_EVENT_REFBLOCK_ALLOC_SWITCH_TABLE,
    BYRE_EVENT_CLUSTER_ALLOC,
    BYRE_EVENT_CLUSTER_ALLOC_BYTES,
    BYRE_EVENT_CLUSTER_FREE,
    BYRE_EVENT_FLUSH_TO_OS,
    BYRE_EVENT_FLUSH_TO_DISK,
    BYRE_EVENT_PWRITEV_RMW_HEAD,
    BYRE_EVENT_PWRITEV_RMW_AFTER_HEAD,
    BYRE_EVENT_PWRITEV_RMW_TAIL,
    BYRE_EVENT_PWRITEV_RMW_AFTER_TAIL,
    BYRE_EVENT_PWRITEV,
    BYRE_EVENT_PWRITEV_ZERO,
    BYRE_EVENT_PWRITEV_DONE,
    BYRE_EVENT_EMPTY_IMAGE_PREPARE,
    BYRE_EVENT_L1_SHRINK_WRITE_TABLE,
    BYRE_EVENT_L1_SHRINK_FREE_L2_CLUSTERS,
    BYRE_EVENT_COR_WRITE,
    BYRE_EVENT_CLUSTER_ALLOC_SPACE,
    BYRE_EVENT_NONE, /* the opening of a store that cares, once: raised by nobody else */
    BYRE_EVENT_COUNT,
};

/* Tells `store` of the event; it may wait in there.  The caller holds no lock but those that the I/O that follows
 * is done under. */
static inline void byre_store_event(struct byre_store *store, enum byre_event event)
{
    if (store->ops->event)
        store->ops->event(store, event);
}

/* "l1_update"; the number of a name, or -1. */
const char *byre_event_name(enum byre_event event);
int byre_event_find(const char *name);

#endif
