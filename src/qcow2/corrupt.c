/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Images that turn out to be corrupt while they are in use.
 *
 * Who meets metadata that cannot be true fails the request with byre_corrupt_locked, which remembers the first such
 * finding.  The disk then calls byre_qcow2_mark_corrupt for the request that failed, with no lock held.  (A look ahead
 * that no request depends on may find something, too, and is not to make the image read-only.)
 *
 *   X1. From the mark on nothing starts to change the image; what was changed before is still committed, for it has
 *       met nothing wrong.  Reads of good parts go on.
 *   X2. The corrupt bit is written once, durably, when no commit is under way that could write the header, too.
 *       Version 2 has no such bit.
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "qcow2/image.h"

int byre_corrupt_locked(struct byre_qcow2 *image, struct byre_error *err, const char *fmt, ...)
{
    char text[sizeof image->corruption];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!image->corruption[0])
        memcpy(image->corruption, text, sizeof text);
    return byre_error_set(err, -EIO, "'%s': %s", image->store->name, text);
}

void byre_qcow2_mark_corrupt(struct byre_qcow2 *image)
{
    LOCK_SCOPE(&image->mutex);

    if (!image->corruption[0] || image->corrupt)
        return;
    image->corrupt = true;
    if (!image->writable || image->header.version < 3 || image->poisoned)
        return;
    while (image->commit_running)
        pthread_cond_wait(&image->commit_done, &image->mutex);
    image->header.incompatible |= BYRE_QCOW2_INCOMPAT_CORRUPT;
    (void)byre_header_settle_locked(image, NULL); /* a failure makes the image read-only for another reason */
}
