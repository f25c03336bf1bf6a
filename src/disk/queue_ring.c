/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring of a queue, over liburing.
 */
#include "config.h"

#include "disk/queue_ring.h"

#include <stdlib.h>

#ifdef HAVE_LIBURING

#include <liburing.h>

struct byre_ring {
    struct io_uring uring;
    unsigned prepared;
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
    if (io_uring_register_eventfd(&ring->uring, event_fd) < 0) {
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
    ring->prepared++;
    return true;
}

void byre_ring_submit(struct byre_ring *ring)
{
    /* What the kernel does not take now (it may be short of memory) stays prepared for the next call. */
    while (ring->prepared) {
        int taken = io_uring_submit(&ring->uring);

        if (taken <= 0)
            return;
        ring->prepared -= (unsigned)taken;
    }
}

bool byre_ring_next(struct byre_ring *ring, void **ret_cookie, int *ret_result)
{
    struct io_uring_cqe *cqe;

    byre_ring_submit(ring);
    if (io_uring_peek_cqe(&ring->uring, &cqe) < 0)
        return false;
    *ret_cookie = io_uring_cqe_get_data(cqe);
    *ret_result = cqe->res;
    io_uring_cqe_seen(&ring->uring, cqe);
    return true;
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

bool byre_ring_next(struct byre_ring *ring, void **ret_cookie, int *ret_result)
{
    (void)ring, (void)ret_cookie, (void)ret_result;
    return false;
}

#endif
