/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The names of events.
 */
#include "config.h"

#include <string.h>

#include "store/event.h"

static const char *const names[BYRE_EVENT_COUNT] = {
    [BYRE_EVENT_L1_UPDATE] = "l1_update",
    [BYRE_EVENT_L1_GROW_ALLOC_TABLE] = "l1_grow_alloc_table",
    [BYRE_EVENT_L1_GROW_WRITE_TABLE] = "l1_grow_write_table",
    [BYRE_EVENT_L1_GROW_ACTIVATE_TABLE] = "l1_grow_activate_table",
    [BYRE_EVENT_L2_LOAD] = "l2_load",
    [BYRE_EVENT_L2_UPDATE] = "l2_update",
    [BYRE_EVENT_L2_UPDATE_COMPRESSED] = "l2_update_compressed",
    [BYRE_EVENT_L2_ALLOC_COW_READ] = "l2_alloc_cow_read",
    [BYRE_EVENT_L2_ALLOC_WRITE] = "l2_alloc_write",
    [BYRE_EVENT_READ_AIO] = "read_aio",
    [BYRE_EVENT_READ_BACKING_AIO] = "read_backing_aio",
    [BYRE_EVENT_READ_COMPRESSED] = "read_compressed",
    [BYRE_EVENT_WRITE_AIO] = "write_aio",
    [BYRE_EVENT_WRITE_COMPRESSED] = "write_compressed",
    [BYRE_EVENT_VMSTATE_LOAD] = "vmstate_load",
    [BYRE_EVENT_VMSTATE_SAVE] = "vmstate_save",
    [BYRE_EVENT_COW_READ] = "cow_read",
    [BYRE_EVENT_COW_WRITE] = "cow_write",
    [BYRE_EVENT_REFTABLE_LOAD] = "reftable_load",
    [BYRE_EVENT_REFTABLE_GROW] = "reftable_grow",
    [BYRE_EVENT_REFTABLE_UPDATE] = "reftable_update",
    [BYRE_EVENT_REFBLOCK_LOAD] = "refblock_load",
    [BYRE_EVENT_REFBLOCK_UPDATE] = "refblock_update",
    [BYRE_EVENT_REFBLOCK_UPDATE_PART] = "refblock_update_part",
    [BYRE_EVENT_REFBLOCK_ALLOC] = "refblock_alloc",
    [BYRE_EVENT_REFBLOCK_ALLOC_HOOKUP] = "refblock_alloc_hookup",
    [BYRE_EVENT_REFBLOCK_ALLOC_WRITE] = "refblock_alloc_write",
    [BYRE_EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS] = "refblock_alloc_write_blocks",
    [BYRE_EVENT_REFBLOCK_ALLOC_WRITE_TABLE] = "refblock_alloc_write_table",
    [BYRE_EVENT_REFBLOCK_ALLOC_SWITCH_TABLE] = "refblock_alloc_switch_table",
    [BYRE_EVENT_CLUSTER_ALLOC] = "cluster_alloc",
    [BYRE_EVENT_CLUSTER_ALLOC_BYTES] = "cluster_alloc_bytes",
    [BYRE_EVENT_CLUSTER_FREE] = "cluster_free",
    [BYRE_EVENT_FLUSH_TO_OS] = "flush_to_os",
    [BYRE_EVENT_FLUSH_TO_DISK] = "flush_to_disk",
    [BYRE_EVENT_PWRITEV_RMW_HEAD] = "pwritev_rmw_head",
    [BYRE_EVENT_PWRITEV_RMW_AFTER_HEAD] = "pwritev_rmw_after_head",
    [BYRE_EVENT_PWRITEV_RMW_TAIL] = "pwritev_rmw_tail",
    [BYRE_EVENT_PWRITEV_RMW_AFTER_TAIL] = "pwritev_rmw_after_tail",
    [BYRE_EVENT_PWRITEV] = "pwritev",
    [BYRE_EVENT_PWRITEV_ZERO] = "pwritev_zero",
    [BYRE_EVENT_PWRITEV_DONE] = "pwritev_done",
    [BYRE_EVENT_EMPTY_IMAGE_PREPARE] = "empty_image_prepare",
    [BYRE_EVENT_L1_SHRINK_WRITE_TABLE] = "l1_shrink_write_table",
    [BYRE_EVENT_L1_SHRINK_FREE_L2_CLUSTERS] = "l1_shrink_free_l2_clusters",
    [BYRE_EVENT_COR_WRITE] = "cor_write",
    [BYRE_EVENT_CLUSTER_ALLOC_SPACE] = "cluster_alloc_space",
    [BYRE_EVENT_NONE] = "none",
};

const char *byre_event_name(enum byre_event event)
{
    return names[event];
}

int byre_event_find(const char *name)
{
    for (int i = 0; i < BYRE_EVENT_COUNT; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}
