/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The adapter that presents a disk as a store.  The disk is flat: its layers and formats do not show.
 */
#include "config.h"

#include "disk/disk_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/iov.h"

#define GRANULARITY 4096u /* of zeroing and discarding */

struct disk_store {
    struct byre_store store; /* first: a store pointer is a pointer to this */
    struct byre_disk *disk;
};

static struct byre_disk *disk_of(const struct byre_store *store)
{
    return ((const struct disk_store *)store)->disk;
}

static int disk_store_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct byre_disk *disk = disk_of(store);
    int r = 0;

    for (int i = 0; r == 0 && i < iov_count; i++) {
        size_t there = hoff < disk->size ? MIN((uint64_t)iov[i].iov_len, disk->size - hoff) : 0;

        memset((uint8_t *)iov[i].iov_base + there, 0, iov[i].iov_len - there);
        r = there ? byre_pread(disk, iov[i].iov_base, there, hoff, NULL) : 0;
        hoff += iov[i].iov_len;
    }
    return r;
}

static int disk_store_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    int r = 0;

    for (int i = 0; r == 0 && i < iov_count; i++) {
        r = byre_pwrite(disk_of(store), iov[i].iov_base, iov[i].iov_len, hoff, NULL);
        hoff += iov[i].iov_len;
    }
    return r;
}

static int disk_store_flush(struct byre_store *store)
{
    return byre_flush(disk_of(store), NULL);
}

static int disk_store_truncate(struct byre_store *store, uint64_t size)
{
    (void)store;
    (void)size;
    return -ENOTSUP;
}

static int disk_store_get_size(struct byre_store *store, uint64_t *ret_size)
{
    *ret_size = disk_of(store)->size;
    return 0;
}

static int disk_store_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    unsigned unmap = flags & BYRE_ZERO_UNMAP ? BYRE_WRITE_ZEROES_UNMAP : 0;

    if (flags & BYRE_ZERO_NO_FALLBACK)
        return -ENOTSUP; /* whether zeros have to be written is the disk's to know */
    return byre_write_zeroes(disk_of(store), hoff, length, unmap, NULL);
}

static int disk_store_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    return byre_discard(disk_of(store), hoff, length, NULL);
}

struct first_run {
    uint64_t length;
    bool known, zero;
};

static int note_run(void *opaque, const struct byre_extent *extent)
{
    struct first_run *run = opaque;
    bool zero = extent->kind == BYRE_EXTENT_HOLE || extent->kind == BYRE_EXTENT_ZERO;

    if (run->known && zero != run->zero)
        return 1;
    *run = (struct first_run){ run->length + extent->length, true, zero };
    return 0;
}

static int disk_store_extent(struct byre_store *store, uint64_t hoff, uint64_t *ret_length, bool *ret_hole)
{
    struct byre_disk *disk = disk_of(store);
    struct first_run run = { .length = 0 };
    int r = byre_extents(disk, hoff, disk->size - hoff, note_run, &run, NULL);

    if (r < 0)
        return r;
    *ret_length = run.length;
    *ret_hole = run.zero;
    return 0;
}

static int disk_store_allocated_size(struct byre_store *store, uint64_t *ret_bytes)
{
    return byre_store_allocated_size(disk_of(store)->layers[0].store, ret_bytes, NULL);
}

static void disk_store_close(struct byre_store *store)
{
    byre_close(disk_of(store), NULL);
    free(store->name);
    free(store);
}

static const struct byre_store_ops disk_store_ops = {
    .kind = "disk",
    .preadv = disk_store_preadv,
    .pwritev = disk_store_pwritev,
    .flush = disk_store_flush,
    .truncate = disk_store_truncate,
    .get_size = disk_store_get_size,
    .write_zeroes = disk_store_write_zeroes,
    .discard = disk_store_discard,
    .extent = disk_store_extent,
    .allocated_size = disk_store_allocated_size,
    .close = disk_store_close,
};

int byre_disk_store_new(struct byre_disk *disk, struct byre_store **ret_store, struct byre_error *err)
{
    struct disk_store *store = calloc(1, sizeof *store);
    char *name = strdup(disk->layers[0].name);

    if (!store || !name) {
        free(store);
        free(name);
        return byre_error_set_errno(err, -ENOMEM, "could not make a store of '%s'", disk->layers[0].name);
    }
    store->disk = disk;
    store->store = (struct byre_store){
        .ops = &disk_store_ops,
        .limits = { .align = 1, .zero_align = GRANULARITY, .discard_align = GRANULARITY },
        .name = name,
        .fd = -1,
        .read_only = !disk->writable,
    };
    *ret_store = &store->store;
    return 0;
}
