/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bouncing, block by block.
 *
 *   B1. The buffer is bounded, whatever the request: 1 MiB, or one block where that is more.
 *   B2. Only the first and the last block of a write are read, each at most once.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "store/bounce.h"
#include "store/event.h"

enum { BUFFER_MAX = 1 << 20 };

bool byre_bounce_fits(uint64_t align, uint64_t hoff, uint64_t length)
{
    return align <= 1 || (byre_is_aligned(hoff, align) && byre_is_aligned(length, align));
}

static uint8_t *new_buffer(const struct byre_bounce *bounce, uint64_t end, size_t *ret_size)
{
    uint64_t blocks = byre_round_up(end, bounce->align) - byre_round_down(bounce->start, bounce->align);
    void *buf = NULL;

    *ret_size = MIN(blocks, MAX(bounce->align, (uint64_t)BUFFER_MAX));
    if (posix_memalign(&buf, MAX(bounce->align, (uint64_t)sysconf(_SC_PAGESIZE)), *ret_size) != 0)
        return NULL;
    return buf;
}

int byre_bounce_read(const struct byre_bounce *bounce)
{
    uint64_t pos = byre_round_down(bounce->start, bounce->align);
    size_t size = 0;
    CLEANUP(free_ptr) uint8_t *buf = new_buffer(bounce, bounce->end, &size);

    if (!buf)
        return -ENOMEM;
    for (; pos < bounce->end; pos += size) {
        uint64_t stop = MIN(pos + size, byre_round_up(bounce->end, bounce->align));
        uint64_t from = MAX(pos, bounce->start), to = MIN(stop, bounce->end);
        int r = bounce->read(bounce, buf, stop - pos, pos);

        if (r < 0)
            return r;
        byre_iov_scatter(bounce->iov, bounce->iov_count, from - bounce->start, buf + (from - pos), to - from);
    }
    return 0;
}

/* Reads the blocks of [pos, stop) that the bytes [from, to) cover only in part. */
static int read_ends(const struct byre_bounce *bounce, uint8_t *buf, uint64_t pos, uint64_t stop, uint64_t from,
                     uint64_t to)
{
    uint64_t last = stop - bounce->align;
    int r = 0;

    if (from > pos) {
        byre_store_event(bounce->store, BYRE_EVENT_PWRITEV_RMW_HEAD);
        r = bounce->read(bounce, buf, bounce->align, pos);
        if (r < 0)
            return r;
        byre_store_event(bounce->store, BYRE_EVENT_PWRITEV_RMW_AFTER_HEAD);
    }
    if (to < stop && !(from > pos && last == pos)) {
        byre_store_event(bounce->store, BYRE_EVENT_PWRITEV_RMW_TAIL);
        r = bounce->read(bounce, buf + (last - pos), bounce->align, last);
        if (r < 0)
            return r;
        byre_store_event(bounce->store, BYRE_EVENT_PWRITEV_RMW_AFTER_TAIL);
    }
    return r;
}

int byre_bounce_write(const struct byre_bounce *bounce, uint64_t end)
{
    uint64_t pos = byre_round_down(bounce->start, bounce->align);
    size_t size = 0;
    CLEANUP(free_ptr) uint8_t *buf = new_buffer(bounce, end, &size);

    if (!buf)
        return -ENOMEM;
    for (; pos < end; pos += size) {
        uint64_t stop = MIN(pos + size, byre_round_up(end, bounce->align));
        uint64_t from = MAX(pos, bounce->start), to = MIN(stop, end);
        int r = read_ends(bounce, buf, pos, stop, from, to);

        if (r == 0) {
            byre_iov_gather(bounce->iov, bounce->iov_count, from - bounce->start, buf + (from - pos), to - from);
            r = bounce->write(bounce, buf, stop - pos, pos);
        }
        if (r < 0)
            return r;
    }
    return 0;
}
