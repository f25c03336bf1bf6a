/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file store: a regular file or a block device.
 */
#ifndef BYRE_STORE_FILE_H
#define BYRE_STORE_FILE_H

#include <sys/types.h>

#include "byre/cache.h"
#include "store/store.h"

struct byre_file_options {
    enum byre_cache cache; /* which writes are flushed at once is not the store's affair */
    bool writable;
    bool create;      /* make a new file or truncate an existing regular one; implies writable.  A block
                         device is opened as it is.  The truncation happens after the lock was taken. */
    bool exclusive;   /* with create: fail if the name exists */
    bool no_lock;     /* take no image lock at all */
    bool share_write; /* --force-share: do not mind writers, and take no lock that would hinder them */
};

/*
 * Opens `path`, whatever it looks like.  Messages are those of qemu-img: "Could not open 'PATH': No such file or
 * directory".  A directory, a FIFO, a socket or a tty is refused by name.
 * *ret_created (may be NULL) tells whether this call made a file that did not exist.
 * Locks: see file_lock.h.  A lock held by another process gives -EAGAIN with QEMU's wording.
 */
int byre_file_open(const char *path, const struct byre_file_options *options, struct byre_store **ret_store,
                   bool *ret_created, struct byre_error *err);

/* The identity of the file behind the store, for finding loops: false if it has none. */
bool byre_file_identity(const struct byre_store *store, dev_t *ret_dev, ino_t *ret_ino);

#endif
