/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the parts of the file store share.  Private to src/store/file*.c:
 *
 *   file.c         opening, closing, the tables of operations
 *   file_io.c      transfers through the page cache, sizes, flush
 *   file_direct.c  transfers under O_DIRECT: bouncing and read-modify-write
 *   file_space.c   holes, zeroing and allocation in regular files
 *   file_device.c  the same for block devices
 *   file_lock.c    image locks
 */
#ifndef BYRE_STORE_FILE_IMPL_H
#define BYRE_STORE_FILE_IMPL_H

#include <stdatomic.h>
#include <sys/types.h>

#include "base/rangelock.h"
#include "store/store.h"

struct byre_file {
    struct byre_store store; /* first: a store pointer is a pointer to this */
    dev_t dev;               /* identity: st_dev and st_ino, or st_rdev and 0 for a device */
    ino_t ino;

    /* The rest of this group is for O_DIRECT, which `direct` tells; constant once open. */
    bool direct;
    int tail_fd;         /* the same file without O_DIRECT, for a block that passes the end; or -1 */
    uint64_t turn_align; /* writers take turns on blocks of this size: at least a page, for tail_fd's sake */
    struct byre_range_lock turns;

    /* What the file system has said it does not do, so that it is asked only once. */
    _Atomic bool no_punch, no_zero_range, no_allocate;
};

static inline struct byre_file *byre_file_of(struct byre_store *store)
{
    return (struct byre_file *)store;
}

/*
 * Move all bytes between `iov` and the file at `hoff`, whatever it takes.  What a read finds past the end is
 * zero.  `align` is 1, or under O_DIRECT the alignment of request and buffers.  Return 0 or -errno.
 */
int byre_file_read_fd(int fd, const struct iovec *iov, int iov_count, uint64_t hoff, uint32_t align);
int byre_file_write_fd(int fd, const struct iovec *iov, int iov_count, uint64_t hoff, uint32_t align);

/* The operations, as struct byre_store_ops describes them. */
int byre_file_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff);
int byre_file_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff);
int byre_file_flush(struct byre_store *store);
int byre_file_truncate(struct byre_store *store, uint64_t size);
int byre_file_get_size(struct byre_store *store, uint64_t *ret_size);
int byre_file_allocated_size(struct byre_store *store, uint64_t *ret_bytes);

int byre_file_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole);
int byre_file_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags);
int byre_file_discard(struct byre_store *store, uint64_t hoff, uint64_t length);
int byre_file_allocate(struct byre_store *store, uint64_t hoff, uint64_t length);

int byre_device_get_size(struct byre_store *store, uint64_t *ret_size);
int byre_device_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags);
int byre_device_discard(struct byre_store *store, uint64_t hoff, uint64_t length);
int byre_device_allocate(struct byre_store *store, uint64_t hoff, uint64_t length);
/* Sets the store's limits from what the kernel says of the device. */
void byre_device_read_limits(struct byre_store *store);

/* file_direct.c: finds out the alignment that O_DIRECT needs here; `fd` has it set already. */
int byre_file_direct_align(int fd, bool device, uint32_t *ret_align);
int byre_file_direct_preadv(struct byre_file *file, const struct iovec *iov, int iov_count, uint64_t hoff);
int byre_file_direct_pwritev(struct byre_file *file, const struct iovec *iov, int iov_count, uint64_t hoff);
/* Take and end a turn on the blocks of [hoff, hoff + length); nothing without O_DIRECT. */
void byre_file_turn_begin(struct byre_file *file, struct byre_range_hold *hold, uint64_t hoff,
                          uint64_t length);
void byre_file_turn_end(struct byre_file *file, struct byre_range_hold *hold);

/* fallocate, with EINTR retried and every way of saying "not supported" made -ENOTSUP. */
int byre_file_fallocate(int fd, int mode, uint64_t hoff, uint64_t length);

#endif
