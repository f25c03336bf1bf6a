/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Image locks that QEMU understands: open-file-description locks on single bytes of the image file.
 *
 * Byte 100 + p is read-locked by whoever uses permission p, byte 200 + p by whoever does not allow others
 * to use it (p: 0 consistent read, 1 write, 2 write unchanged, 3 resize).  Having locked its own bytes, an
 * opener asks for each permission that it uses whether somebody forbids it, and for each that it forbids
 * whether somebody uses it.
 */
#ifndef BYRE_STORE_FILE_LOCK_H
#define BYRE_STORE_FILE_LOCK_H

#include <stdbool.h>

#include "byre/error.h"

/*
 * Locks the open file `fd` as a reader or a writer; `share_write` is --force-share.  The locks end when the
 * last descriptor of this open file is closed.  Fails with -EAGAIN, 'Failed to get "write" lock' (or shared
 * "write" lock, and so on) and the hint 'Is another process using the image [NAME]?'.  File systems without
 * such locks: success without a lock.
 */
int byre_file_lock(int fd, const char *name, bool writable, bool share_write, struct byre_error *err);

#endif
