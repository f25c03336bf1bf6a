/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Vectors of buffers.  Every walk skips empty entries and ends with the vector.
 */
#include "config.h"

#include <string.h>

#include "base/arith.h"
#include "base/iov.h"

bool byre_iov_length(const struct iovec *iov, int count, uint64_t *ret_length)
{
    uint64_t sum = 0;

    for (int i = 0; i < count; i++) {
        if (!byre_add_fits(sum, iov[i].iov_len, &sum))
            return false;
    }
    *ret_length = sum;
    return true;
}

int byre_iov_slice(const struct iovec *iov, int count, uint64_t offset, uint64_t length, struct iovec *slice,
                   int max, uint64_t *ret_length)
{
    uint64_t taken = 0;
    int n = 0;

    for (int i = 0; i < count && n < max && taken < length; i++) {
        uint64_t part;

        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        part = MIN(iov[i].iov_len - offset, length - taken);
        slice[n].iov_base = (uint8_t *)iov[i].iov_base + offset;
        slice[n++].iov_len = part;
        taken += part;
        offset = 0;
    }
    *ret_length = taken;
    return n;
}

/* One step of a walk: the next piece, no longer than `length`, of the bytes from `offset` on. */
static struct iovec next_piece(const struct iovec **iov, int *count, uint64_t *offset, uint64_t length)
{
    struct iovec piece = { NULL, 0 };
    uint64_t taken;

    while (*count && *offset >= (*iov)->iov_len) {
        *offset -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    byre_iov_slice(*iov, *count, *offset, length, &piece, 1, &taken);
    *offset += taken;
    return piece;
}

void byre_iov_gather(const struct iovec *iov, int count, uint64_t offset, void *buf, size_t length)
{
    for (uint8_t *to = buf; length; ) {
        struct iovec piece = next_piece(&iov, &count, &offset, length);

        if (!piece.iov_len)
            return;
        memcpy(to, piece.iov_base, piece.iov_len);
        to += piece.iov_len;
        length -= piece.iov_len;
    }
}

void byre_iov_scatter(const struct iovec *iov, int count, uint64_t offset, const void *buf, size_t length)
{
    for (const uint8_t *from = buf; length; ) {
        struct iovec piece = next_piece(&iov, &count, &offset, length);

        if (!piece.iov_len)
            return;
        memcpy(piece.iov_base, from, piece.iov_len);
        from += piece.iov_len;
        length -= piece.iov_len;
    }
}

void byre_iov_zero(const struct iovec *iov, int count, uint64_t offset)
{
    for (;;) {
        struct iovec piece = next_piece(&iov, &count, &offset, UINT64_MAX);

        if (!piece.iov_len)
            return;
        memset(piece.iov_base, 0, piece.iov_len);
    }
}

bool byre_iov_is_aligned(const struct iovec *iov, int count, uint64_t align)
{
    for (int i = 0; i < count; i++) {
        if (!byre_is_aligned((uintptr_t)iov[i].iov_base | iov[i].iov_len, align))
            return false;
    }
    return true;
}
