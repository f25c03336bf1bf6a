/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file of a mount that is open.
 */
#ifndef BYRE_FUSE_HANDLE_H
#define BYRE_FUSE_HANDLE_H

#include "fuse/tree.h"

struct byre_handle;

/* Opens a node that is a file. */
int byre_handle_open(const struct byre_tree *tree, const struct byre_node *node, struct byre_handle **ret_handle,
                     struct byre_error *err);
void byre_handle_close(struct byre_handle *handle);

/* The kernel shall not keep what was read: it may change, or has no size. */
bool byre_handle_is_direct(const struct byre_handle *handle);

/*
 * Reads up to `length` bytes, less at the end of the file.  Thread-safe.  Nothing of the answer is the handle's: who
 * has got it may close the file before the one who sends it knows that it has arrived.
 */
int byre_handle_read(struct byre_handle *handle, void *buf, size_t length, uint64_t offset, size_t *ret_length,
                     struct byre_error *err);

/* As lseek(2) has it. */
int byre_handle_seek(struct byre_handle *handle, uint64_t offset, bool data, uint64_t *ret_offset,
                     struct byre_error *err);

/*
 * Changes, of disks and partitions of an image that can be written to; -EROFS for all others.  A disk grows by what is
 * written behind its end, in sectors; a partition does not, -ENOSPC.
 */
int byre_handle_write(struct byre_handle *handle, const void *buf, size_t length, uint64_t offset,
                      struct byre_error *err);
int byre_handle_truncate(struct byre_handle *handle, uint64_t length, struct byre_error *err);
/* `mode` as fallocate(2) has it. */
int byre_handle_allocate(struct byre_handle *handle, int mode, uint64_t offset, uint64_t length,
                         struct byre_error *err);
int byre_handle_flush(struct byre_handle *handle, struct byre_error *err);

#endif
