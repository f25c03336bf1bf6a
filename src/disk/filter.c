/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Detect-zeroes, copy-on-read and compress.  They are no layers: io.c asks here before it does its own work.
 */
#include "config.h"

#include "disk/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "base/zero.h"
#include "disk/flat_map.h"

enum { BATCH = 32 }; /* extents that are looked up at a time */

bool byre_filter_finds_zeroes(const struct byre_disk *disk, const struct iovec *iov, int count, unsigned *ret_flags)
{
    bool empty = true;

    if (disk->detect_zeroes == BYRE_DETECT_ZEROES_OFF)
        return false;
    for (int i = 0; i < count; i++) {
        if (!byre_is_zero(iov[i].iov_base, iov[i].iov_len))
            return false;
        empty = empty && !iov[i].iov_len;
    }
    *ret_flags = disk->detect_zeroes == BYRE_DETECT_ZEROES_UNMAP ? BYRE_WRITE_ZEROES_UNMAP : 0;
    return !empty;
}

/* --- copy-on-read --------------------------------------------------------------------------------------- */

static int look_up(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_extent *extents,
                   struct byre_error *err)
{
    uint64_t ticket = byre_epoch_enter(disk->epoch);
    int count = byre_flat_map_lookup(disk->map, goff, length, false, extents, BATCH, err);

    byre_epoch_leave(disk->epoch, ticket);
    return count;
}

static bool is_below(const struct byre_extent *extent)
{
    return extent->kind == BYRE_EXTENT_HOLE || extent->layer > 0;
}

int byre_filter_copy_up(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_error *err)
{
    struct byre_extent extents[BATCH];
    uint64_t done = 0;
    int r = 0;

    if (!disk->map || disk->layer_count == 1 || byre_disk_check_writable(disk, NULL) < 0)
        return 0;
    while (r == 0 && done < length) {
        int count = look_up(disk, goff + done, length - done, extents, err);

        r = MIN(count, 0);
        for (int i = 0; r == 0 && i < count; i++) {
            if (is_below(&extents[i]))
                r = byre_qcow2_copy_on_read(disk->layers[0].qcow2, extents[i].goff, extents[i].length, err);
            done += extents[i].length;
        }
    }
    return r == -EROFS ? 0 : r; /* meanwhile */
}

/* --- compress ------------------------------------------------------------------------------------------- */

typedef int write_plain(struct byre_disk *disk, const uint8_t *buf, size_t length, uint64_t goff,
                        struct byre_error *err);

static int compress(struct byre_disk *disk, const uint8_t *buf, size_t length, uint64_t goff, write_plain *plain,
                    struct byre_error *err)
{
    struct byre_qcow2 *image = disk->layers[0].qcow2;
    const struct byre_qcow2_header *header = byre_qcow2_header(image);
    uint64_t cluster_size = UINT64_C(1) << header->cluster_bits, end = goff + length;
    uint64_t first = MIN(byre_round_up(goff, cluster_size), end);
    uint64_t last = end == header->size ? end : MAX(byre_round_down(end, cluster_size), first);
    int r = first > goff ? plain(disk, buf, first - goff, goff, err) : 0;

    if (r == 0 && last > first)
        r = byre_qcow2_write_compressed(image, first, buf + (first - goff), last - first, err);
    if (r == 0 && end > last)
        r = plain(disk, buf + (last - goff), end - last, last, err);
    return r;
}

int byre_filter_compress(struct byre_disk *disk, const struct iovec *iov, int count, uint64_t goff,
                         write_plain *plain, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    uint64_t length = 0;

    if (count == 1)
        return compress(disk, iov->iov_base, iov->iov_len, goff, plain, err);
    if (byre_iov_length(iov, count, &length))
        bytes = malloc(length);
    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "could not make buffers for compression");
    byre_iov_gather(iov, count, 0, bytes, length);
    return compress(disk, bytes, length, goff, plain, err);
}
