/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Breakpoints, for tests: who raises a named event on a disk waits until somebody lets him go on.
 *
 * They are those of the blkdebug driver, so the format of the disk has to stand on a blkdebug node right away:
 * otherwise all calls return -ENOTSUP.  byre-blkdebug(7) lists the events.  Calls are thread-safe.
 */
#ifndef BYRE_DEBUG_H
#define BYRE_DEBUG_H

#include <stdbool.h>

#include "byre/disk.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Who raises `event` next waits, and the breakpoint is gone.  Several may have one tag.  -ENOENT: there is no such
 * event. */
int byre_debug_break(struct byre_disk *disk, const char *event, const char *tag);

/* Removes the breakpoints with the tag, and lets all go on who wait there; -ENOENT if there was none. */
int byre_debug_remove_break(struct byre_disk *disk, const char *tag);

/* Lets one go on, the one that has waited longest; -ENOENT if nobody waits. */
int byre_debug_resume(struct byre_disk *disk, const char *tag);

/* Waits until somebody waits there; -ENOENT if nobody does and there is no such breakpoint. */
int byre_debug_wait_break(struct byre_disk *disk, const char *tag);

/* Calls `watch` when one begins to wait (`suspended`), in his thread, and when he is let go on, in that of who does so.
 * It makes no call for the disk.  Set before there are breakpoints. */
int byre_debug_set_watch(struct byre_disk *disk, void (*watch)(void *opaque, const char *tag, bool suspended),
                         void *opaque);

#ifdef __cplusplus
}
#endif
#endif
