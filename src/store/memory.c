/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory store.
 *
 *   M1. bytes[length .. capacity) is zero, so growing within the capacity needs no clearing.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/iov.h"
#include "store/memory.h"

#define CAPACITY_MIN ((uint64_t)4096)
#define CAPACITY_MAX ((uint64_t)1 << 28) /* all of it is touched: images from strangers may write anywhere */

struct memory {
    struct byre_store store; /* first: a store pointer is a pointer to this */
    pthread_rwlock_t lock;   /* the rest: for reading to read, for writing to change anything */
    uint8_t *bytes;
    uint64_t length, capacity;
};

static struct memory *memory_of(struct byre_store *store)
{
    return (struct memory *)store;
}

/* Makes the store at least `length` bytes long. */
static int grow_locked(struct memory *memory, uint64_t length)
{
    if (length > memory->capacity) {
        uint64_t capacity = MAX(length, MIN(memory->capacity + memory->capacity / 2, CAPACITY_MAX));
        uint8_t *bytes = length <= CAPACITY_MAX ? realloc(memory->bytes, capacity) : NULL;

        if (!bytes)
            return -ENOSPC;
        memset(bytes + memory->capacity, 0, capacity - memory->capacity);
        memory->bytes = bytes;
        memory->capacity = capacity;
    }
    memory->length = MAX(memory->length, length);
    return 0;
}

static int memory_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct memory *memory = memory_of(store);
    uint64_t total, there = 0;

    if (!byre_iov_length(iov, iov_count, &total))
        return -EINVAL;
    pthread_rwlock_rdlock(&memory->lock);
    if (hoff < memory->length) {
        there = MIN(total, memory->length - hoff);
        byre_iov_scatter(iov, iov_count, 0, memory->bytes + hoff, there);
    }
    pthread_rwlock_unlock(&memory->lock);
    byre_iov_zero(iov, iov_count, there);
    return 0;
}

static int memory_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct memory *memory = memory_of(store);
    uint64_t total;
    int r;

    if (!byre_iov_length(iov, iov_count, &total))
        return -EINVAL;
    pthread_rwlock_wrlock(&memory->lock);
    r = grow_locked(memory, hoff + total);
    if (r == 0)
        byre_iov_gather(iov, iov_count, 0, memory->bytes + hoff, total);
    pthread_rwlock_unlock(&memory->lock);
    return r;
}

static int memory_flush(struct byre_store *store)
{
    (void)store;
    return 0;
}

static int memory_truncate(struct byre_store *store, uint64_t size)
{
    struct memory *memory = memory_of(store);
    int r = 0;

    pthread_rwlock_wrlock(&memory->lock);
    if (size < memory->length) {
        memset(memory->bytes + size, 0, memory->length - size);
        memory->length = size;
    } else {
        r = grow_locked(memory, size);
    }
    pthread_rwlock_unlock(&memory->lock);
    return r;
}

static int memory_get_size(struct byre_store *store, uint64_t *ret_size)
{
    struct memory *memory = memory_of(store);

    pthread_rwlock_rdlock(&memory->lock);
    *ret_size = memory->length;
    pthread_rwlock_unlock(&memory->lock);
    return 0;
}

static int memory_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    struct memory *memory = memory_of(store);
    int r;

    (void)flags;
    pthread_rwlock_wrlock(&memory->lock);
    r = grow_locked(memory, hoff + length);
    if (r == 0)
        memset(memory->bytes + hoff, 0, length);
    pthread_rwlock_unlock(&memory->lock);
    return r;
}

static int memory_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    struct memory *memory = memory_of(store);
    int r;

    pthread_rwlock_wrlock(&memory->lock);
    r = grow_locked(memory, hoff + length);
    pthread_rwlock_unlock(&memory->lock);
    return r;
}

static void memory_close(struct byre_store *store)
{
    struct memory *memory = memory_of(store);

    pthread_rwlock_destroy(&memory->lock);
    free(memory->bytes);
    free(store->name);
    free(memory);
}

static const struct byre_store_ops memory_ops = {
    .kind = "memory",
    .preadv = memory_preadv,
    .pwritev = memory_pwritev,
    .flush = memory_flush,
    .truncate = memory_truncate,
    .get_size = memory_get_size,
    .write_zeroes = memory_write_zeroes,
    .allocate = memory_allocate,
    .allocated_size = memory_get_size,
    .close = memory_close,
};

int byre_memory_new(const void *bytes, uint64_t length, struct byre_store **ret_store, struct byre_error *err)
{
    struct memory *memory = calloc(1, sizeof *memory);

    if (!memory)
        return byre_error_set_errno(err, -ENOMEM, "could not make a memory store");
    pthread_rwlock_init(&memory->lock, NULL);
    memory->store = (struct byre_store){
        .ops = &memory_ops,
        .limits = { .align = 1, .zero_align = 1, .discard_align = 1, .zero_on_grow = true },
        .name = strdup("memory"),
        .fd = -1,
        .growable = true,
    };
    /* calloc rather than grow_locked: a large store of zeros then costs nothing until it is used. */
    memory->capacity = MAX(length, CAPACITY_MIN);
    memory->bytes = length <= CAPACITY_MAX ? calloc(1, memory->capacity) : NULL;
    if (!memory->bytes || !memory->store.name) {
        memory_close(&memory->store);
        return byre_error_set_errno(err, -ENOMEM, "could not make a memory store of %llu bytes",
                                    (unsigned long long)length);
    }
    if (bytes)
        memcpy(memory->bytes, bytes, length);
    memory->length = length;
    *ret_store = &memory->store;
    return 0;
}

const uint8_t *byre_memory_bytes(const struct byre_store *store, uint64_t *ret_length)
{
    const struct memory *memory = (const struct memory *)store;

    *ret_length = memory->length;
    return memory->bytes;
}
