/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The crypt store: a filter that en- and decrypts.
 *
 *   C1. Requests are whole sectors: the wrappers bounce what is not, under turns.
 *   C2. What is written is encrypted in a buffer of its own; what is read is decrypted where it lies.
 *   C3. Zeros are data like others.  Space that is given back reads as noise, so nothing says that it reads as zero.
 */
#include "config.h"

#include "store/crypt_store.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "base/rangelock.h"
#include "store/event.h"

#define TRANSFER_MAX (1u << 20)
#define SECTOR       BYRE_CIPHER_SECTOR

struct crypt {
    struct byre_store store; /* first: a store pointer is a pointer to this */
    struct byre_store *below;
    bool owns;
    struct byre_cipher *cipher;
    struct byre_range_lock turns;
    _Atomic uint64_t known_end; /* `below` was seen to be at least so long */
};

static struct crypt *crypt_of(struct byre_store *store)
{
    return (struct crypt *)store;
}

/* The length of [hoff, hoff + total) that is within the store below, in whole sectors. */
static int within(struct crypt *crypt, uint64_t hoff, uint64_t total, uint64_t *ret_length)
{
    uint64_t end = atomic_load(&crypt->known_end);
    int r;

    if (hoff + total > end) {
        r = byre_store_size(crypt->below, &end, NULL);
        if (r < 0)
            return r;
        end = byre_round_up(MIN(end, (uint64_t)INT64_MAX), SECTOR);
        atomic_store(&crypt->known_end, end);
    }
    *ret_length = hoff < end ? MIN(total, end - hoff) : 0;
    return 0;
}

/* Are the buffers themselves whole sectors, so that they can be decrypted one by one? */
static bool is_sectors(const struct iovec *iov, int iov_count)
{
    for (int i = 0; i < iov_count; i++) {
        if (iov[i].iov_len % SECTOR)
            return false;
    }
    return true;
}

static int decrypt_vector(const struct crypt *crypt, const struct iovec *iov, int iov_count, uint64_t hoff,
                          uint64_t length)
{
    for (int i = 0; i < iov_count && length; i++) {
        size_t part = MIN(iov[i].iov_len, length);
        int r = byre_cipher_decrypt(crypt->cipher, hoff / SECTOR, iov[i].iov_base, part);

        if (r < 0)
            return r;
        hoff += part;
        length -= part;
    }
    return 0;
}

static void *new_buffer(const struct crypt *crypt, size_t length)
{
    void *buf;

    return posix_memalign(&buf, MAX((size_t)crypt->below->limits.align, (size_t)4096), length) == 0 ? buf : NULL;
}

static int crypt_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct crypt *crypt = crypt_of(store);
    CLEANUP(free_ptr) uint8_t *buf = NULL;
    struct iovec one;
    uint64_t total, length = 0;
    int r;

    if (!byre_iov_length(iov, iov_count, &total))
        return -EINVAL;
    if (is_sectors(iov, iov_count)) {
        r = byre_store_preadv(crypt->below, iov, iov_count, hoff, NULL);
        if (r == 0)
            r = within(crypt, hoff, total, &length);
        return r < 0 ? r : decrypt_vector(crypt, iov, iov_count, hoff, length);
    }
    buf = new_buffer(crypt, total);
    if (!buf)
        return -ENOMEM;
    one = (struct iovec){ buf, total };
    r = crypt_preadv(store, &one, 1, hoff);
    if (r == 0)
        byre_iov_scatter(iov, iov_count, 0, buf, total);
    return r;
}

static int crypt_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    const struct crypt *crypt = crypt_of(store);
    CLEANUP(free_ptr) uint8_t *buf = NULL;
    uint64_t total;
    int r;

    if (!byre_iov_length(iov, iov_count, &total))
        return -EINVAL;
    buf = new_buffer(crypt, total);
    if (!buf)
        return -ENOMEM;
    byre_iov_gather(iov, iov_count, 0, buf, total);
    r = byre_cipher_encrypt(crypt->cipher, hoff / SECTOR, buf, total);
    return r < 0 ? r : byre_store_pwrite(crypt->below, buf, total, hoff, NULL);
}

static int crypt_flush(struct byre_store *store)
{
    return byre_store_flush(crypt_of(store)->below, NULL);
}

static int crypt_truncate(struct byre_store *store, uint64_t size)
{
    struct crypt *crypt = crypt_of(store);

    atomic_store(&crypt->known_end, 0);
    return byre_store_truncate(crypt->below, size, NULL);
}

static int crypt_get_size(struct byre_store *store, uint64_t *ret_size)
{
    int r = byre_store_size(crypt_of(store)->below, ret_size, NULL);

    if (r == 0 && !store->growable)
        *ret_size = byre_round_down(*ret_size, SECTOR);
    return r;
}

static int crypt_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    return byre_store_discard(crypt_of(store)->below, hoff, length, NULL);
}

static int crypt_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    return byre_store_allocate(crypt_of(store)->below, hoff, length, NULL);
}

static int crypt_allocated_size(struct byre_store *store, uint64_t *ret_bytes)
{
    return byre_store_allocated_size(crypt_of(store)->below, ret_bytes, NULL);
}

static void crypt_event(struct byre_store *store, unsigned event)
{
    byre_store_event(crypt_of(store)->below, (enum byre_event)event);
}

static void crypt_close(struct byre_store *store)
{
    struct crypt *crypt = crypt_of(store);

    byre_cipher_free(crypt->cipher);
    byre_range_lock_done(&crypt->turns);
    if (crypt->owns)
        byre_store_close(crypt->below);
    free(store->name);
    free(store);
}

static const struct byre_store_ops crypt_ops = {
    .kind = "luks",
    .preadv = crypt_preadv,
    .pwritev = crypt_pwritev,
    .flush = crypt_flush,
    .truncate = crypt_truncate,
    .get_size = crypt_get_size,
    .discard = crypt_discard,
    .allocate = crypt_allocate,
    .allocated_size = crypt_allocated_size,
    .event = crypt_event,
    .close = crypt_close,
};

int byre_crypt_store_new(struct byre_store *below, bool owns, struct byre_cipher *cipher, struct byre_store **ret_store,
                         struct byre_error *err)
{
    struct crypt *crypt = calloc(1, sizeof *crypt);
    char *name = strdup(below->name);

    if (!crypt || !name) {
        free(crypt);
        free(name);
        byre_cipher_free(cipher);
        return byre_error_set_errno(err, -ENOMEM, "could not decrypt '%s'", below->name);
    }
    byre_range_lock_init(&crypt->turns);
    crypt->below = below;
    crypt->owns = owns;
    crypt->cipher = cipher;
    crypt->store = (struct byre_store){
        .ops = &crypt_ops,
        .limits = {
            .align = SECTOR,
            .request_align = SECTOR,
            .max_transfer = TRANSFER_MAX,
            .zero_align = SECTOR,
            .discard_align = (uint32_t)byre_round_up(below->limits.discard_align, SECTOR),
        },
        .name = name,
        .fd = -1,
        .read_only = below->read_only,
        .growable = below->growable,
        .no_flush = below->no_flush,
        .turns = &crypt->turns,
    };
    *ret_store = &crypt->store;
    return 0;
}
