/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The space of a regular file: where its holes are, zeroing, giving space back, taking it in advance.
 *
 * What a file system cannot do is remembered, reported as -ENOTSUP, and done by the wrappers some other way.
 * The file grows only by calls that cannot shrink it, so that two of them never undo each other.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/arith.h"
#include "store/file_impl.h"

int byre_file_fallocate(int fd, int mode, uint64_t hoff, uint64_t length)
{
    int r;

    do {
        r = fallocate(fd, mode, (off_t)hoff, (off_t)length);
    } while (r < 0 && errno == EINTR);
    if (r == 0)
        return 0;
    return errno == EOPNOTSUPP || errno == ENOSYS ? -ENOTSUP : -errno;
}

/* As byre_file_fallocate, unless `unable` says that it would be in vain; keeps `unable` up to date. */
static int try_fallocate(struct byre_file *file, _Atomic bool *unable, int mode, uint64_t hoff,
                         uint64_t length)
{
    int r;

    if (atomic_load_explicit(unable, memory_order_relaxed))
        return -ENOTSUP;
    r = byre_file_fallocate(file->store.fd, mode, hoff, length);
    if (r == -ENOTSUP)
        atomic_store_explicit(unable, true, memory_order_relaxed);
    return r;
}

int byre_file_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    off_t data = lseek(store->fd, (off_t)hoff, SEEK_DATA);
    off_t hole;

    if (data < 0) {
        /* No more data: a hole up to the end.  Any other answer: this file system does not know. */
        *ret_hole = errno == ENXIO;
        *ret_length = UINT64_MAX - hoff;
        return 0;
    }
    if ((uint64_t)data > hoff) {
        *ret_hole = true;
        *ret_length = (uint64_t)data - hoff;
        return 0;
    }
    hole = lseek(store->fd, (off_t)hoff, SEEK_HOLE);
    *ret_hole = false;
    *ret_length = hole > (off_t)hoff ? (uint64_t)hole - hoff : UINT64_MAX - hoff;
    return 0;
}

static int punch(struct byre_file *file, uint64_t hoff, uint64_t length)
{
    return try_fallocate(file, &file->no_punch, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, hoff, length);
}

/* Makes the file reach `end` by way of the last byte of a range that is being zeroed. */
static int grow_to(struct byre_file *file, uint64_t end)
{
    uint8_t zero = 0;
    struct iovec iov = { &zero, 1 };
    uint64_t size;
    int r = byre_file_get_size(&file->store, &size);

    if (r < 0 || end <= size)
        return r;
    r = try_fallocate(file, &file->no_allocate, 0, end - 1, 1);
    if (r == -ENOTSUP)
        r = byre_file_write_fd(file->direct ? file->tail_fd : file->store.fd, &iov, 1, end - 1, 1);
    return r;
}

/* Zeroes by holes: the space is given back. */
static int zero_by_punching(struct byre_file *file, uint64_t hoff, uint64_t length)
{
    uint64_t size;
    int r = byre_file_get_size(&file->store, &size);

    if (r == 0 && hoff < size)
        r = punch(file, hoff, length);
    return r < 0 ? r : grow_to(file, hoff + length);
}

/* Zeroes and keeps or takes the space. */
static int zero_in_place(struct byre_file *file, uint64_t hoff, uint64_t length)
{
    int r = try_fallocate(file, &file->no_zero_range, FALLOC_FL_ZERO_RANGE, hoff, length);

    if (r != -ENOTSUP || atomic_load_explicit(&file->no_allocate, memory_order_relaxed))
        return r;
    r = punch(file, hoff, length);
    return r < 0 ? r : try_fallocate(file, &file->no_allocate, 0, hoff, length);
}

int byre_file_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    struct byre_file *file = byre_file_of(store);
    struct byre_range_hold turn;
    int r = -ENOTSUP;

    byre_file_turn_begin(file, &turn, hoff, length);
    if (flags & BYRE_ZERO_UNMAP)
        r = zero_by_punching(file, hoff, length);
    if (r == -ENOTSUP)
        r = zero_in_place(file, hoff, length);
    byre_file_turn_end(file, &turn);
    return r;
}

int byre_file_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    struct byre_file *file = byre_file_of(store);
    struct byre_range_hold turn;
    int r;

    byre_file_turn_begin(file, &turn, hoff, length);
    r = punch(file, hoff, length);
    byre_file_turn_end(file, &turn);
    return r;
}

int byre_file_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    struct byre_file *file = byre_file_of(store);

    return try_fallocate(file, &file->no_allocate, 0, hoff, length);
}
