/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A store: bytes behind one table of operations.  It knows offsets and sizes, and nothing of formats.
 *
 * The wrappers (byre_store_*) are what the layers above call.  They check bounds and access, split requests
 * at the store's limits, and say in the error what failed, where, and in which file; the table's functions
 * only do the work.  All calls are blocking and thread-safe, and transfer everything or fail.  Offsets and
 * lengths are bytes and need no alignment: what does not fit the store's `request_align` is bounced by the
 * wrappers, and what does not fit O_DIRECT by the file store; both take care that writers of one block take
 * turns.  A store that is not `growable` has a size that is a multiple of its `request_align`; one that is may grow to
 * the next multiple when its last bytes are written.
 *
 * Reads past the end of a store give zeros.  Writes past the end grow it, if it is `growable`.
 */
#ifndef BYRE_STORE_STORE_H
#define BYRE_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "byre/error.h"

enum byre_zero_flags {
    BYRE_ZERO_UNMAP = 1 << 0,       /* may give the space back */
    BYRE_ZERO_NO_FALLBACK = 1 << 1, /* -ENOTSUP, and nothing is done, rather than writing zeros byte by byte */
};

struct byre_range_lock;
struct byre_store;

/* The wrappers see to it that the table's functions never get a request that these forbid.  All are bytes. */
struct byre_store_limits {
    uint32_t align;            /* a request that is a multiple of this is served without bouncing; at least 1 */
    uint32_t request_align;    /* every request is a multiple of this power of two; 0, 1: any is.  A store that can be
                                  written and wants more than 1 has `turns`; its other limits are multiples */
    uint32_t max_transfer;     /* longest single read or write; 0: no limit */
    uint64_t max_write_zeroes; /* longest single write_zeroes; 0: no limit */
    uint64_t max_discard;      /* longest single discard; 0: no limit */
    uint32_t zero_align;       /* write_zeroes is efficient at multiples of this; at least 1, not always a power of two.
                                  What comes before the first multiple and after the last are requests of their own */
    uint32_t discard_align;    /* discard has an effect at multiples of this; as above */
    bool zero_on_grow;         /* bytes between the old and a new end read as zero without being written */
};

struct byre_store_ops {
    const char *kind; /* "file", "host_device", "memory", ... : what users see */

    /* `iov` is not empty and within max_transfer; all bytes are moved or -errno is returned. */
    int (*preadv)(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff);
    int (*pwritev)(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff);

    /* Everything that was written before is durable when it returns 0. */
    int (*flush)(struct byre_store *store);

    int (*truncate)(struct byre_store *store, uint64_t size);
    int (*get_size)(struct byre_store *store, uint64_t *ret_size);

    /* NULL, or -ENOTSUP: the wrapper writes zeros (unless NO_FALLBACK). */
    int (*write_zeroes)(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags);

    /* A hint: NULL and -ENOTSUP count as success.  Contents are undefined afterwards. */
    int (*discard)(struct byre_store *store, uint64_t hoff, uint64_t length);

    /* Makes sure that [hoff, hoff+length) has space on the medium, growing the file; contents read as zero
     * where nothing was written.  NULL: not supported. */
    int (*allocate)(struct byre_store *store, uint64_t hoff, uint64_t length);

    /* The run that starts at `hoff` (within the size): its length and whether it is a hole that reads as
     * zero.  NULL: everything is data. */
    int (*extent)(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole);

    /* Bytes that the store takes up on its medium.  NULL: unknown. */
    int (*allocated_size)(struct byre_store *store, uint64_t *ret_bytes);

    /* An enum byre_event is about to happen (event.h); it may wait.  NULL: nobody cares. */
    void (*event)(struct byre_store *store, unsigned event);

    void (*close)(struct byre_store *store);
};

struct byre_store {
    const struct byre_store_ops *ops;
    struct byre_store_limits limits;
    char *name;       /* as the user gave it; owned */
    int fd;           /* -1 if there is none */
    bool read_only;
    bool growable;    /* a regular file or memory; a block device is not */
    bool no_flush;    /* cache mode unsafe: flushes are not passed on */
    struct byre_range_lock *turns; /* with `request_align`: held by the wrappers while they change blocks.  Or NULL */
};

/* Releases the store and its locks.  NULL is allowed. */
void byre_store_close(struct byre_store *store);

int byre_store_pread(struct byre_store *store, void *buf, size_t length, uint64_t hoff,
                     struct byre_error *err);
int byre_store_pwrite(struct byre_store *store, const void *buf, size_t length, uint64_t hoff,
                      struct byre_error *err);
/* The vectors are not changed; any count (also more than IOV_MAX) and any total length. */
int byre_store_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff,
                      struct byre_error *err);
int byre_store_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff,
                       struct byre_error *err);
int byre_store_flush(struct byre_store *store, struct byre_error *err);
int byre_store_truncate(struct byre_store *store, uint64_t size, struct byre_error *err);
int byre_store_size(struct byre_store *store, uint64_t *ret_size, struct byre_error *err);
int byre_store_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags,
                            struct byre_error *err);
int byre_store_discard(struct byre_store *store, uint64_t hoff, uint64_t length, struct byre_error *err);
int byre_store_allocate(struct byre_store *store, uint64_t hoff, uint64_t length, struct byre_error *err);
/* Past the end of the store: a hole without end (UINT64_MAX - hoff). */
int byre_store_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole,
                      struct byre_error *err);
/* 0 with *ret_bytes = UINT64_MAX where the store cannot tell. */
int byre_store_allocated_size(struct byre_store *store, uint64_t *ret_bytes, struct byre_error *err);

#endif
