/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Breakpoints of a disk: those of the blkdebug store that its format stands on.
 */
#include "config.h"

#include "byre/debug.h"

#include "disk/disk.h"
#include "store/blkdebug.h"

static struct byre_store *store_of(struct byre_disk *disk)
{
    return disk->layers[0].store;
}

int byre_debug_break(struct byre_disk *disk, const char *event, const char *tag)
{
    return byre_blkdebug_break(store_of(disk), event, tag);
}

int byre_debug_remove_break(struct byre_disk *disk, const char *tag)
{
    return byre_blkdebug_remove_break(store_of(disk), tag);
}

int byre_debug_resume(struct byre_disk *disk, const char *tag)
{
    return byre_blkdebug_resume(store_of(disk), tag);
}

int byre_debug_wait_break(struct byre_disk *disk, const char *tag)
{
    return byre_blkdebug_wait_break(store_of(disk), tag);
}

int byre_debug_set_watch(struct byre_disk *disk, void (*watch)(void *opaque, const char *tag, bool suspended),
                         void *opaque)
{
    return byre_blkdebug_set_watch(store_of(disk), watch, opaque);
}
