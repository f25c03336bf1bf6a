/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File transfers: preadv and pwritev until everything is done, and the small operations on the whole file.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/iov.h"
#include "store/file_impl.h"

typedef ssize_t vector_fn(int fd, const struct iovec *iov, int iov_count, off_t hoff);

/*
 * Calls `fn` until `total` bytes are moved or it gets no further; *ret_done is how many were.  Having stopped
 * within a block, as direct reads do at the end of the file, it goes on from the start of that block.
 */
static int move(vector_fn *fn, int fd, const struct iovec *iov, int iov_count, uint64_t total, uint64_t hoff,
                uint32_t align, uint64_t *ret_done)
{
    struct iovec rest[IOV_MAX];
    const struct iovec *piece = iov;
    int n = iov_count;
    uint64_t from = 0, done = 0;

    for (;;) {
        ssize_t r = fn(fd, piece, n, (off_t)(hoff + from));
        uint64_t length;

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (from + (uint64_t)r <= done)
            break;
        done = from + (uint64_t)r;
        if (done >= total)
            break;
        from = byre_round_down(done, align);
        n = byre_iov_slice(iov, iov_count, from, total - from, rest, IOV_MAX, &length);
        piece = rest;
    }
    *ret_done = done;
    return 0;
}

int byre_file_read_fd(int fd, const struct iovec *iov, int iov_count, uint64_t hoff, uint32_t align)
{
    uint64_t total, done;
    int r;

    if (!byre_iov_length(iov, iov_count, &total))
        return -EINVAL;
    r = move(preadv, fd, iov, iov_count, total, hoff, align, &done);
    if (r < 0)
        return r;
    if (done < total)
        byre_iov_zero(iov, iov_count, done);
    return 0;
}

int byre_file_write_fd(int fd, const struct iovec *iov, int iov_count, uint64_t hoff, uint32_t align)
{
    uint64_t total, done;
    int r;

    if (!byre_iov_length(iov, iov_count, &total))
        return -EINVAL;
    r = move(pwritev, fd, iov, iov_count, total, hoff, align, &done);
    if (r < 0)
        return r;
    return done < total ? -EIO : 0;
}

int byre_file_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct byre_file *file = byre_file_of(store);

    if (file->direct)
        return byre_file_direct_preadv(file, iov, iov_count, hoff);
    return byre_file_read_fd(store->fd, iov, iov_count, hoff, 1);
}

int byre_file_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct byre_file *file = byre_file_of(store);

    if (file->direct)
        return byre_file_direct_pwritev(file, iov, iov_count, hoff);
    return byre_file_write_fd(store->fd, iov, iov_count, hoff, 1);
}

int byre_file_flush(struct byre_store *store)
{
    int r;

    do {
        r = fdatasync(store->fd);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

int byre_file_truncate(struct byre_store *store, uint64_t size)
{
    struct byre_file *file = byre_file_of(store);
    struct byre_range_hold hold;
    int r;

    byre_file_turn_begin(file, &hold, 0, INT64_MAX);
    do {
        r = ftruncate(store->fd, (off_t)size) < 0 ? -errno : 0;
    } while (r == -EINTR);
    byre_file_turn_end(file, &hold);
    return r;
}

int byre_file_get_size(struct byre_store *store, uint64_t *ret_size)
{
    struct stat st;

    if (fstat(store->fd, &st) < 0)
        return -errno;
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

int byre_file_allocated_size(struct byre_store *store, uint64_t *ret_bytes)
{
    struct stat st;

    if (fstat(store->fd, &st) < 0)
        return -errno;
    *ret_bytes = (uint64_t)st.st_blocks * 512;
    return 0;
}
