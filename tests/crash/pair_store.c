/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parts of a medium: see pair_store.h.
 *
 * A part that keeps back has its bytes in a store in memory, from which it is read, and a list of the changes.
 */
#include "config.h"

#include "pair_store.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/vec.h"
#include "store/memory.h"

/* A change: `bytes` are written, or zeros if there are none. */
struct change {
    uint64_t hoff, length;
    uint8_t *bytes;
};

struct part {
    struct byre_store store;
    struct byre_store *medium;
    uint64_t offset, length;
    pthread_mutex_t mutex; /* all below */
    uint64_t size;
    struct byre_store *now; /* NULL: nothing is kept back */
    VEC(struct change) kept;
};

static struct part *part_of(const struct byre_store *store)
{
    return (struct part *)((char *)(uintptr_t)store - offsetof(struct part, store));
}

static int pass_on(const struct part *part, const struct change *change)
{
    if (change->bytes)
        return byre_store_pwrite(part->medium, change->bytes, change->length, part->offset + change->hoff, NULL);
    return byre_store_write_zeroes(part->medium, part->offset + change->hoff, change->length, 0, NULL);
}

static int settle_locked(struct part *part)
{
    int r = 0;

    for (size_t i = 0; i < part->kept.len; i++) {
        if (r == 0)
            r = pass_on(part, &part->kept.ptr[i]);
        free(part->kept.ptr[i].bytes);
    }
    part->kept.len = 0;
    return r;
}

/* Makes a change, and takes over its bytes. */
static int change_locked(struct part *part, struct change change)
{
    int r = 0;

    if (change.hoff + change.length > part->length) {
        r = -ENOSPC;
    } else if (!part->now) {
        r = pass_on(part, &change);
    } else {
        r = change.bytes ? byre_store_pwrite(part->now, change.bytes, change.length, change.hoff, NULL)
                         : byre_store_write_zeroes(part->now, change.hoff, change.length, 0, NULL);
        if (r == 0)
            r = vec_push(&part->kept, change);
        if (r == 0)
            change.bytes = NULL;
    }
    free(change.bytes);
    if (r == 0)
        part->size = MAX(part->size, change.hoff + change.length);
    return r;
}

static int part_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct part *part = part_of(store);
    LOCK_SCOPE(&part->mutex);

    for (int i = 0; i < iov_count; hoff += iov[i++].iov_len) {
        uint64_t within = hoff < part->size ? MIN(part->size - hoff, (uint64_t)iov[i].iov_len) : 0;
        int r = byre_store_pread(part->now ? part->now : part->medium, iov[i].iov_base, within,
                                 part->now ? hoff : part->offset + hoff, NULL);

        if (r < 0)
            return r;
        memset((uint8_t *)iov[i].iov_base + within, 0, iov[i].iov_len - within);
    }
    return 0;
}

static int part_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct part *part = part_of(store);
    struct change change = { .hoff = hoff };
    LOCK_SCOPE(&part->mutex);

    for (int i = 0; i < iov_count; i++)
        change.length += iov[i].iov_len;
    change.bytes = malloc(change.length);
    if (!change.bytes)
        return -ENOMEM;
    for (uint64_t i = 0, at = 0; i < (uint64_t)iov_count; at += iov[i++].iov_len)
        memcpy(change.bytes + at, iov[i].iov_base, iov[i].iov_len);
    return change_locked(part, change);
}

static int part_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    struct part *part = part_of(store);
    LOCK_SCOPE(&part->mutex);

    (void)flags;
    return change_locked(part, (struct change){ hoff, length, NULL });
}

/* As files do it. */
static int part_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    return part_write_zeroes(store, hoff, length, 0);
}

static int part_truncate(struct byre_store *store, uint64_t size)
{
    struct part *part = part_of(store);
    LOCK_SCOPE(&part->mutex);
    uint64_t old = part->size;
    int r = 0;

    if (size > part->length)
        return -ENOSPC;
    if (size < old)
        r = change_locked(part, (struct change){ size, old - size, NULL });
    if (r == 0)
        part->size = size;
    return r;
}

static int part_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    struct part *part = part_of(store);
    LOCK_SCOPE(&part->mutex);

    if (hoff + length > part->length)
        return -ENOSPC;
    part->size = MAX(part->size, hoff + length);
    return 0;
}

static int part_flush(struct byre_store *store)
{
    struct part *part = part_of(store);
    int r;

    pthread_mutex_lock(&part->mutex);
    r = settle_locked(part);
    pthread_mutex_unlock(&part->mutex);
    return r == 0 ? byre_store_flush(part->medium, NULL) : r;
}

static int part_get_size(struct byre_store *store, uint64_t *ret_size)
{
    struct part *part = part_of(store);
    LOCK_SCOPE(&part->mutex);

    *ret_size = part->size;
    return 0;
}

static void part_close(struct byre_store *store)
{
    struct part *part = part_of(store);

    for (size_t i = 0; i < part->kept.len; i++)
        free(part->kept.ptr[i].bytes);
    vec_done(&part->kept);
    byre_store_close(part->now);
    pthread_mutex_destroy(&part->mutex);
    free(part);
}

static const struct byre_store_ops part_ops = {
    .kind = "part",
    .preadv = part_preadv,
    .pwritev = part_pwritev,
    .flush = part_flush,
    .truncate = part_truncate,
    .get_size = part_get_size,
    .write_zeroes = part_write_zeroes,
    .discard = part_discard,
    .allocate = part_allocate,
    .close = part_close,
};

int pair_part_new(struct byre_store *medium, uint64_t offset, uint64_t length, struct byre_store **ret_store)
{
    struct part *part = calloc(1, sizeof *part);

    if (!part)
        return -ENOMEM;
    part->store = (struct byre_store){
        .ops = &part_ops,
        .limits = { .align = 1, .zero_align = 1, .discard_align = 1 },
        .name = (char *)"part",
        .fd = -1,
    };
    pthread_mutex_init(&part->mutex, NULL);
    part->medium = medium;
    part->offset = offset;
    part->length = part->size = length;
    *ret_store = &part->store;
    return 0;
}

int pair_data_new(struct byre_store *medium, uint64_t offset, uint64_t length, bool early,
                  struct byre_store **ret_store)
{
    struct byre_store *store;
    int r = pair_part_new(medium, offset, length, &store);

    if (r < 0)
        return r;
    store->growable = store->limits.zero_on_grow = true;
    part_of(store)->size = 0;
    r = early ? 0 : byre_memory_new(NULL, 0, &part_of(store)->now, NULL);
    if (r < 0)
        byre_store_close(store);
    else
        *ret_store = store;
    return r;
}

int pair_data_settle(struct byre_store *data)
{
    struct part *part = part_of(data);
    LOCK_SCOPE(&part->mutex);

    return settle_locked(part);
}
