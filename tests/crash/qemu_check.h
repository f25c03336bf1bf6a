/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A second opinion on what a crash left: that of qemu-img check, which takes a file and a process.
 *
 * In the long mode every state is shown to it, but for those whose bytes it has seen; else a sample of a few dozen.
 */
#ifndef TESTS_CRASH_QEMU_CHECK_H
#define TESTS_CRASH_QEMU_CHECK_H

#include "store/store.h"

/*
 * Has qemu-img look at the image in `memory`, if it is one of those to be shown.  Leaks are no fault; in a dirty image
 * neither is what `-r all` mends.  `backing_size`: of the backing file "below", 0 if there is none.  Returns 0, or -1
 * with what it printed in `report`.
 */
int qemu_check(const struct byre_store *memory, uint64_t backing_size, bool dirty, char *report, size_t room);

#endif
