/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring of a queue, over liburing.
 *
 *   G1. The kernel looks at what was prepared only while this thread hands it over.  So what it has not taken can still
 *       be changed: a request that is taken back becomes a no-op without a cookie, of which nobody hears.
 */
#include "config.h"

#include "disk/queue_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LIBURING

#include <liburing.h>

struct byre_ring {
    struct io_uring uring;
    struct io_uring_sqe **unsent; /* what the kernel has not taken, in order */
    unsigned unsent_count;
};

struct byre_ring *byre_ring_new(unsigned entries, int event_fd)
{
    struct byre_ring *ring = calloc(1, sizeof *ring);

    if (!ring)
        return NULL;
    if (io_uring_queue_init(entries, &ring->uring, 0) < 0) {
        free(ring);
        return NULL;
    }
    ring->unsent = calloc(ring->uring.sq.ring_entries, sizeof *ring->unsent);
    if (!ring->unsent || io_uring_register_eventfd(&ring->uring, event_fd) < 0) {
        byre_ring_free(ring);
        return NULL;
    }
    return ring;
}

void byre_ring_free(struct byre_ring *ring)
{
    if (!ring)
        return;
    io_uring_queue_exit(&ring->uring);
    free(ring->unsent);
    free(ring);
}

bool byre_ring_add(struct byre_ring *ring, bool write, int fd, const struct iovec *iov, int iov_count, uint64_t offset,
                   void *cookie)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

    if (!sqe) {
        byre_ring_submit(ring);
        sqe = io_uring_get_sqe(&ring->uring);
    }
    if (!sqe)
        return false;
    if (write)
        io_uring_prep_writev(sqe, fd, iov, (unsigned)iov_count, offset);
    else
        io_uring_prep_readv(sqe, fd, iov, (unsigned)iov_count, offset);
    io_uring_sqe_set_data(sqe, cookie);
    ring->unsent[ring->unsent_count++] = sqe;
    return true;
}

void byre_ring_submit(struct byre_ring *ring)
{
    while (ring->unsent_count) {
        int taken = io_uring_submit(&ring->uring);

        if (taken == -EINTR)
            continue;
        if (taken <= 0)
            return;
        ring->unsent_count -= (unsigned)taken;
        memmove(ring->unsent, ring->unsent + taken, ring->unsent_count * sizeof *ring->unsent);
    }
}

bool byre_ring_take_back(struct byre_ring *ring, void **ret_cookie)
{
    for (unsigned i = 0; i < ring->unsent_count; i++) {
        struct io_uring_sqe *sqe = ring->unsent[i];

        if (!sqe->user_data)
            continue;
        *ret_cookie = (void *)(uintptr_t)sqe->user_data;
        io_uring_prep_nop(sqe);
        io_uring_sqe_set_data(sqe, NULL);
        return true;
    }
    return false;
}

bool byre_ring_next(struct byre_ring *ring, void **ret_cookie, int *ret_result)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
        *ret_cookie = io_uring_cqe_get_data(cqe);
        *ret_result = cqe->res;
        io_uring_cqe_seen(&ring->uring, cqe);
        if (*ret_cookie)
            return true;
    }
    return false;
}

#else

struct byre_ring *byre_ring_new(unsigned entries, int event_fd)
{
    (void)entries;
    (void)event_fd;
    return NULL;
}

void byre_ring_free(struct byre_ring *ring)
{
    (void)ring;
}

bool byre_ring_add(struct byre_ring *ring, bool write, int fd, const struct iovec *iov, int iov_count, uint64_t offset,
                   void *cookie)
{
    (void)ring, (void)write, (void)fd, (void)iov, (void)iov_count, (void)offset, (void)cookie;
    return false;
}

void byre_ring_submit(struct byre_ring *ring)
{
    (void)ring;
}

bool byre_ring_take_back(struct byre_ring *ring, void **ret_cookie)
{
    (void)ring, (void)ret_cookie;
    return false;
}

bool byre_ring_next(struct byre_ring *ring, void **ret_cookie, int *ret_result)
{
    (void)ring, (void)ret_cookie, (void)ret_result;
    return false;
}

#endif
