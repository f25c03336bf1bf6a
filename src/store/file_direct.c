/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File transfers under O_DIRECT.
 *
 * The kernel takes requests whose offset, lengths and buffers are multiples of a block.  Others go through a
 * bounce buffer, and a write that covers a block in part reads that block first.
 *
 *   O1. Whoever writes holds the turn on all blocks it touches, whole blocks included: a write that is
 *       aligned must not slip between the read and the write of a block that another one changes.
 *   O2. A block that passes the end of the file is never written whole, as that would grow the file.  Its
 *       bytes are written through the page cache (tail_fd).  The kernel keeps the page cache and direct I/O
 *       coherent as long as they do not work on one page at the same time, which O1 rules out since turns
 *       cover whole pages.
 *   O3. Some file systems fail a direct read that meets blocks whose allocation is still delayed: those of a
 *       write of O2 that comes just then, or those that they set aside past the end of the file.  So a read
 *       that fails is done once more under O1 and no further than the block in which the file ends.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "store/bounce.h"
#include "store/file_impl.h"

enum {
    ALIGN_MIN = 512,
    ALIGN_MAX = 1 << 16,
    ALIGN_UNKNOWN = 4096, /* what works nearly everywhere, if nothing can be found out */
};

void byre_file_turn_begin(struct byre_file *file, struct byre_range_hold *hold, uint64_t hoff,
                          uint64_t length)
{
    if (!file->direct)
        return;
    byre_range_lock_acquire(&file->turns, hold, byre_round_down(hoff, file->turn_align),
                            byre_round_up(hoff + length, file->turn_align));
}

void byre_file_turn_end(struct byre_file *file, struct byre_range_hold *hold)
{
    if (file->direct)
        byre_range_lock_release(&file->turns, hold);
}

static bool usable_align(uint64_t align)
{
    return byre_is_power_of_two(align) && align <= ALIGN_MAX;
}

/* The smallest read at offset 0 that is not refused tells the alignment, if there is anything to read. */
static uint32_t probe_align(int fd)
{
    CLEANUP(free_ptr) void *buf = NULL;

    if (posix_memalign(&buf, ALIGN_UNKNOWN, ALIGN_UNKNOWN) != 0)
        return ALIGN_UNKNOWN;
    for (uint32_t align = ALIGN_MIN; align < ALIGN_UNKNOWN; align *= 2) {
        /* The buffer is as badly aligned as it may be, for it has to be no better later. */
        ssize_t r = pread(fd, (uint8_t *)buf + align % ALIGN_UNKNOWN, align, 0);

        if (r > 0)
            return align;
        if (r == 0)
            break;
    }
    return ALIGN_UNKNOWN;
}

#ifdef STATX_DIOALIGN
/* What the kernel says: 1 if it said it, 0 if it does not know, -EINVAL if there is no direct I/O. */
static int ask_align(int fd, uint32_t *ret_align)
{
    struct statx st;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) < 0 || !(st.stx_mask & STATX_DIOALIGN))
        return 0;
    if (!st.stx_dio_offset_align)
        return -EINVAL;
    *ret_align = MAX(st.stx_dio_offset_align, st.stx_dio_mem_align);
    return usable_align(*ret_align);
}
#else
static int ask_align(int fd, uint32_t *ret_align)
{
    (void)fd;
    (void)ret_align;
    return 0;
}
#endif

int byre_file_direct_align(int fd, bool device, uint32_t *ret_align)
{
    int sector = 0, r;

    if (device) {
        if (ioctl(fd, BLKSSZGET, &sector) < 0)
            return -errno;
        *ret_align = sector > 0 && usable_align((uint64_t)sector) ? (uint32_t)sector : ALIGN_UNKNOWN;
        return 0;
    }
    r = ask_align(fd, ret_align);
    if (r == 0)
        *ret_align = probe_align(fd);
    return MIN(r, 0);
}

/* Reads as far as the block in which the file ends; the rest is zero. */
static int read_within_size(struct byre_file *file, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    uint32_t align = file->store.limits.align;
    struct iovec within[IOV_MAX];
    uint64_t size, there = 0;
    int r = byre_file_get_size(&file->store, &size);

    if (r < 0)
        return r;
    size = byre_round_up(size, align);
    if (hoff < size) {
        int n = byre_iov_slice(iov, iov_count, 0, size - hoff, within, IOV_MAX, &there);

        r = byre_file_read_fd(file->store.fd, within, n, hoff, align);
    }
    byre_iov_zero(iov, iov_count, there);
    return r;
}

/* Reads what fits O_DIRECT, with a second try (O3).  `have_turn`: the caller holds the turn on the blocks. */
static int read_direct(struct byre_file *file, const struct iovec *iov, int iov_count, uint64_t hoff,
                       bool have_turn)
{
    struct byre_range_hold turn;
    uint64_t length = 0;
    int r = byre_file_read_fd(file->store.fd, iov, iov_count, hoff, file->store.limits.align);

    if (r != -EIO || !file->store.growable)
        return r;
    byre_iov_length(iov, iov_count, &length);
    if (!have_turn)
        byre_file_turn_begin(file, &turn, hoff, length);
    r = read_within_size(file, iov, iov_count, hoff);
    if (!have_turn)
        byre_file_turn_end(file, &turn);
    return r;
}

static int read_blocks(const struct byre_bounce *bounce, void *buf, size_t length, uint64_t hoff)
{
    struct iovec iov = { buf, length };

    return read_direct(byre_file_of(bounce->store), &iov, 1, hoff, false);
}

/* As above, for a writer, who has the turn. */
static int read_blocks_in_turn(const struct byre_bounce *bounce, void *buf, size_t length, uint64_t hoff)
{
    struct iovec iov = { buf, length };

    return read_direct(byre_file_of(bounce->store), &iov, 1, hoff, true);
}

static int write_blocks(const struct byre_bounce *bounce, void *buf, size_t length, uint64_t hoff)
{
    struct iovec iov = { buf, length };

    return byre_file_write_fd(bounce->store->fd, &iov, 1, hoff, (uint32_t)bounce->align);
}

static struct byre_bounce make_bounce(struct byre_file *file, const struct iovec *iov, int iov_count, uint64_t hoff,
                                      uint64_t length)
{
    return (struct byre_bounce){
        .store = &file->store, .align = file->store.limits.align, .iov = iov, .iov_count = iov_count,
        .start = hoff, .end = hoff + length, .read = read_blocks, .write = write_blocks,
    };
}

/* Writes the bytes from `hoff` to the end of the request through the page cache. */
static int write_tail(const struct byre_bounce *bounce, uint64_t hoff)
{
    int fd = byre_file_of(bounce->store)->tail_fd;
    struct iovec tail[IOV_MAX];
    uint64_t length;
    int n = byre_iov_slice(bounce->iov, bounce->iov_count, hoff - bounce->start, bounce->end - hoff, tail, IOV_MAX,
                           &length);

    return byre_file_write_fd(fd, tail, n, hoff, 1);
}

/* Where the request's last block starts if that passes the end of the file (O2), else the request's end. */
static int find_tail(const struct byre_bounce *bounce, uint64_t *ret_tail)
{
    uint64_t block = byre_round_down(bounce->end, bounce->align);
    uint64_t size;
    int r;

    *ret_tail = bounce->end;
    if (block == bounce->end || byre_file_of(bounce->store)->tail_fd < 0)
        return 0;
    r = byre_file_get_size(bounce->store, &size);
    if (r == 0 && block + bounce->align > size)
        *ret_tail = MAX(block, bounce->start);
    return r;
}

static int write_unaligned(struct byre_file *file, const struct iovec *iov, int iov_count, uint64_t hoff,
                           uint64_t length)
{
    struct byre_bounce bounce = make_bounce(file, iov, iov_count, hoff, length);
    uint64_t tail;
    int r = find_tail(&bounce, &tail);

    bounce.read = read_blocks_in_turn;
    if (r == 0 && tail > bounce.start)
        r = byre_bounce_write(&bounce, tail);
    if (r == 0 && tail < bounce.end)
        r = write_tail(&bounce, tail);
    return r;
}

static bool fits_direct(const struct byre_file *file, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    return byre_is_aligned(hoff, file->store.limits.align) &&
           byre_iov_is_aligned(iov, iov_count, file->store.limits.align);
}

int byre_file_direct_preadv(struct byre_file *file, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct byre_bounce bounce;
    uint64_t length;

    if (fits_direct(file, iov, iov_count, hoff))
        return read_direct(file, iov, iov_count, hoff, false);
    if (!byre_iov_length(iov, iov_count, &length))
        return -EINVAL;
    bounce = make_bounce(file, iov, iov_count, hoff, length);
    return byre_bounce_read(&bounce);
}

int byre_file_direct_pwritev(struct byre_file *file, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct byre_range_hold turn;
    uint64_t length;
    int r;

    if (!byre_iov_length(iov, iov_count, &length))
        return -EINVAL;
    byre_file_turn_begin(file, &turn, hoff, length);
    if (fits_direct(file, iov, iov_count, hoff))
        r = byre_file_write_fd(file->store.fd, iov, iov_count, hoff, file->store.limits.align);
    else
        r = write_unaligned(file, iov, iov_count, hoff, length);
    byre_file_turn_end(file, &turn);
    return r;
}
