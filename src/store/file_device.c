/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Block devices: their size, their limits, zeroing and discarding.
 *
 * The kernel works on whole sectors here.  The odd bytes at either end of a range that is zeroed are written;
 * a range that is discarded is made smaller.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "store/file_impl.h"

enum { SECTOR_MAX = 1 << 16 };

int byre_device_get_size(struct byre_store *store, uint64_t *ret_size)
{
    uint64_t size;

    if (ioctl(store->fd, BLKGETSIZE64, &size) < 0)
        return -errno;
    *ret_size = size;
    return 0;
}

/* A number from the device's queue directory, or 0.  A partition's is that of the whole disk. */
static uint64_t queue_number(dev_t dev, const char *attribute)
{
    static const char *const places[] = { "queue", "../queue" };
    char path[128];
    unsigned long long value = 0;

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        FILE *f;
        int n;

        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s/%s", major(dev), minor(dev), places[i],
                 attribute);
        f = fopen(path, "re");
        if (!f)
            continue;
        n = fscanf(f, "%llu", &value);
        fclose(f);
        return n == 1 ? value : 0;
    }
    return 0;
}

void byre_device_read_limits(struct byre_store *store)
{
    uint64_t granularity = queue_number(byre_file_of(store)->dev, "discard_granularity");
    int sector = 0;

    if (ioctl(store->fd, BLKSSZGET, &sector) < 0 || sector < 512 || sector > SECTOR_MAX ||
        !byre_is_power_of_two((uint64_t)sector))
        sector = 512;
    store->limits.zero_align = (uint32_t)sector;
    store->limits.discard_align = (uint32_t)sector;
    if (byre_is_power_of_two(granularity) && granularity > (uint64_t)sector && granularity <= 1U << 30)
        store->limits.discard_align = (uint32_t)granularity;
}

/* Calls a range ioctl: what the device cannot do is -ENOTSUP. */
static int range_ioctl(int fd, unsigned long request, uint64_t hoff, uint64_t length)
{
    uint64_t range[2] = { hoff, length };
    int r;

    do {
        r = ioctl(fd, request, range);
    } while (r < 0 && errno == EINTR);
    if (r == 0)
        return 0;
    return errno == EOPNOTSUPP || errno == ENOTTY || errno == ENOSYS ? -ENOTSUP : -errno;
}

/* Zeroes whole sectors.  The kernel's own writing of zeros counts as a fallback too. */
static int zero_sectors(struct byre_file *file, uint64_t hoff, uint64_t length, unsigned flags)
{
    struct byre_range_hold turn;
    int r = -ENOTSUP;

    byre_file_turn_begin(file, &turn, hoff, length);
    if ((flags & BYRE_ZERO_UNMAP) && !atomic_load_explicit(&file->no_punch, memory_order_relaxed)) {
        r = byre_file_fallocate(file->store.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, hoff, length);
        if (r == -ENOTSUP)
            atomic_store_explicit(&file->no_punch, true, memory_order_relaxed);
    }
    if (r == -ENOTSUP && !(flags & BYRE_ZERO_NO_FALLBACK))
        r = range_ioctl(file->store.fd, BLKZEROOUT, hoff, length);
    byre_file_turn_end(file, &turn);
    return r;
}

static int write_zero_bytes(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    CLEANUP(free_ptr) void *zeros = calloc(1, length);
    struct iovec iov = { zeros, length };

    return zeros ? byre_file_pwritev(store, &iov, 1, hoff) : -ENOMEM;
}

int byre_device_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    uint64_t sector = store->limits.zero_align;
    uint64_t first = byre_round_up(hoff, sector), last = byre_round_down(hoff + length, sector);
    int r;

    if (first >= last)
        return write_zero_bytes(store, hoff, length);
    r = zero_sectors(byre_file_of(store), first, last - first, flags);
    if (r == 0 && first > hoff)
        r = write_zero_bytes(store, hoff, first - hoff);
    if (r == 0 && last < hoff + length)
        r = write_zero_bytes(store, last, hoff + length - last);
    return r;
}

int byre_device_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    struct byre_file *file = byre_file_of(store);
    uint64_t first = byre_round_up(hoff, store->limits.discard_align);
    uint64_t last = byre_round_down(hoff + length, store->limits.discard_align);
    struct byre_range_hold turn;
    int r;

    if (first >= last)
        return 0;
    byre_file_turn_begin(file, &turn, first, last - first);
    r = range_ioctl(store->fd, BLKDISCARD, first, last - first);
    byre_file_turn_end(file, &turn);
    return r;
}

/* The wrapper has checked that the range lies on the device; its space is there. */
int byre_device_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    (void)store;
    (void)hoff;
    (void)length;
    return 0;
}
