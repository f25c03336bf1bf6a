/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads and writes that the kernel does by itself (io_uring), for a queue.
 *
 * Used by one thread.  Where io_uring is missing from the build or not allowed there is no ring, and nothing else
 * differs.
 */
#ifndef BYRE_DISK_QUEUE_RING_H
#define BYRE_DISK_QUEUE_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct byre_ring;

/* A ring for `entries` requests that makes `event_fd` readable at each completion; NULL: there is none to be had. */
struct byre_ring *byre_ring_new(unsigned entries, int event_fd);
/* Nothing is under way.  NULL is allowed. */
void byre_ring_free(struct byre_ring *ring);

/* Prepares a request; the vector stays until it is done.  False if there is no room.  The cookie is not NULL. */
bool byre_ring_add(struct byre_ring *ring, bool write, int fd, const struct iovec *iov, int iov_count, uint64_t offset,
                   void *cookie);
/* Hands what was prepared to the kernel: one system call, or none.  The kernel may refuse some of it, being short of
 * memory for instance: that is to be taken back. */
void byre_ring_submit(struct byre_ring *ring);
/* Takes back a request that the kernel has refused: false if there is none.  It is the caller's again. */
bool byre_ring_take_back(struct byre_ring *ring, void **ret_cookie);
/* The next completion, without waiting: false if there is none.  *ret_result is bytes or a negative errno. */
bool byre_ring_next(struct byre_ring *ring, void **ret_cookie, int *ret_result);

#endif
