/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making ranges read as zero: write_zeroes and discard.
 *
 * Whole clusters change in the map alone.  What version 2 cannot say there (it has no zero flag) is written as data
 * by write_zeroes, and left as it is by discard.  The last cluster of the disk counts as whole if the range
 * reaches to the end of the disk.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "byre/disk.h"
#include "qcow2/image.h"

#define ZEROS_MAX (1u << 20) /* written at a time where the map cannot say it */

enum change { CHANGE_ZERO, CHANGE_ZERO_UNMAP, CHANGE_DISCARD };

/* Something may show through: the backing file, also where it is not opened, or what was opened in place of one. */
static bool has_backing(const struct byre_qcow2 *image)
{
    return image->header.backing_name != NULL || image->below.read;
}

/* What the entry of a cluster becomes; the same if there is nothing to do. */
static uint64_t changed_entry(const struct byre_qcow2 *image, uint64_t entry, enum change change)
{
    enum byre_cluster_kind kind = byre_l2_kind(entry, image->header.version);
    bool keep_host = change == CHANGE_ZERO && (entry & BYRE_L2_COPIED);

    if (kind == BYRE_CLUSTER_ZERO_PLAIN || (kind == BYRE_CLUSTER_UNALLOCATED && !has_backing(image)))
        return entry;
    if (image->header.version < 3)
        return 0;
    if (keep_host && (kind == BYRE_CLUSTER_DATA || kind == BYRE_CLUSTER_ZERO_ALLOCATED))
        return entry | BYRE_L2_ZERO;
    return BYRE_L2_ZERO;
}

/* Changes the entries of [goff, end), which is within one slice. */
static int change_slice_locked(struct byre_qcow2 *image, uint64_t goff, uint64_t end, enum change change,
                               struct byre_error *err)
{
    uint64_t count = (end - goff) >> image->cluster_bits;
    struct byre_slice *slice;
    unsigned index;
    int rc = byre_l2_slice_for_write_locked(image, goff, &slice, &index, err);

    /* After the slice: to make it writable may have taken room. */
    if (rc == 0)
        rc = byre_free_room_locked(image, count, err);
    for (uint64_t i = 0; rc == 0 && i < count; i++)
        rc = byre_l2_entry_check_change_locked(image, byre_get_be64(slice->bytes + (index + i) * 8),
                                               goff + (i << image->cluster_bits), err);
    if (rc < 0)
        return rc;
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *at = slice->bytes + (index + i) * 8;
        uint64_t old = byre_get_be64(at), entry = changed_entry(image, old, change);

        if (entry == old)
            continue;
        byre_put_be64(at, entry);
        byre_slices_mark_dirty(&image->slices, slice);
        byre_remapped_locked(image, goff + (i << image->cluster_bits), 1, entry);
        if (!byre_l2_offset(entry))
            byre_free_entry_later_locked(image, old, change != CHANGE_ZERO);
    }
    return 0;
}

/* The next stretch of [goff, end) that is to be changed at once; *ret_idle: it reads as zero without an L2 table. */
static int next_stretch_locked(struct byre_qcow2 *image, uint64_t goff, uint64_t end, uint64_t *ret_end,
                               bool *ret_idle, struct byre_error *err)
{
    uint64_t span = 1ULL << (image->cluster_bits + image->l2_bits), hoff;
    int rc = byre_check_writable_locked(image, err);

    if (rc == 0)
        rc = byre_l2_table_locked(image, goff, &hoff, NULL, err);
    if (rc < 0)
        return rc;
    *ret_idle = !hoff && !has_backing(image);
    *ret_end = MIN(end, *ret_idle ? byre_round_down(goff, span) + span : byre_l2_slice_end(image, goff));
    return 0;
}

/* Changes the next stretch of [goff, end). */
static int change_stretch(struct byre_qcow2 *image, uint64_t goff, uint64_t end, enum change change,
                          uint64_t *ret_end, bool *ret_idle, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);
    int rc = next_stretch_locked(image, goff, end, ret_end, ret_idle, err);

    return rc < 0 || *ret_idle ? rc : change_slice_locked(image, goff, *ret_end, change, err);
}

int byre_zero_clusters(struct byre_qcow2 *image, uint64_t goff, uint64_t end, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);
    int rc = byre_check_writable_locked(image, err);

    return rc < 0 ? rc : change_slice_locked(image, goff, end, CHANGE_ZERO, err);
}

/* Changes the whole clusters of [goff, end). */
static int change_clusters(struct byre_qcow2 *image, uint64_t goff, uint64_t end, enum change change,
                           struct byre_error *err)
{
    uint64_t next = end;
    int rc = 0;

    for (; rc == 0 && goff < end; goff = next) {
        struct byre_range_hold hold;
        bool idle = false;

        byre_range_lock_acquire(&image->ranges, &hold, goff, MIN(end, byre_l2_slice_end(image, goff)));
        rc = change_stretch(image, goff, end, change, &next, &idle, err);
        if (byre_qcow2_make_room(image, rc))
            rc = change_stretch(image, goff, end, change, &next, &idle, err);
        byre_range_lock_release(&image->ranges, &hold);
        if (rc == 0 && !idle)
            rc = byre_commit_if_due(image, err);
    }
    return rc;
}

/* Do the parts of the image say that [goff, goff+length) is zero, without a look at data or backing files? */
static int reads_as_zero(struct byre_qcow2 *image, uint64_t goff, uint64_t length, bool *ret_zero,
                         struct byre_error *err)
{
    byre_extent_vec extents = VEC_INIT;
    int rc = byre_qcow2_map(image, goff, length, &extents, err);

    *ret_zero = true;
    for (size_t i = 0; rc == 0 && i < extents.len; i++) {
        enum byre_extent_kind kind = extents.ptr[i].kind;

        if (kind != BYRE_EXTENT_ZERO && !(kind == BYRE_EXTENT_HOLE && !has_backing(image)))
            *ret_zero = false;
    }
    vec_done(&extents);
    return rc;
}

/* Writes zeros as data, unless zeros are there. */
static int write_as_data(struct byre_qcow2 *image, uint64_t goff, uint64_t length, struct byre_error *err)
{
    CLEANUP(free_ptr) void *zeros = NULL;
    bool zero = false;
    int rc = length ? reads_as_zero(image, goff, length, &zero, err) : 0;

    if (rc < 0 || zero || !length)
        return rc;
    zeros = calloc(1, MIN(length, (uint64_t)ZEROS_MAX));
    if (!zeros)
        return byre_error_set(err, -ENOMEM, "Could not allocate a buffer of zeros");
    for (uint64_t done = 0; rc == 0 && done < length;) {
        struct iovec iov = { zeros, MIN(length - done, (uint64_t)ZEROS_MAX) };

        rc = byre_qcow2_writev(image, goff + done, &iov, 1, iov.iov_len, err);
        done += iov.iov_len;
    }
    return rc;
}

/* The whole clusters within [goff, goff+length): empty if there are none. */
static void whole_clusters(const struct byre_qcow2 *image, uint64_t goff, uint64_t length,
                           uint64_t *ret_start, uint64_t *ret_end)
{
    uint64_t end = goff + length;

    *ret_start = byre_cluster_ceil(image, goff);
    *ret_end = end == image->header.size ? byre_cluster_ceil(image, end) : byre_cluster_start(image, end);
    if (*ret_end < *ret_start)
        *ret_end = *ret_start;
}

/* Does the map of this image have a way to say that a cluster is zero? */
static bool map_says_zero(const struct byre_qcow2 *image)
{
    return image->header.version >= 3 || !has_backing(image);
}

/* -ENOTSUP unless what is outside [start, end) reads as zero already. */
static int check_no_fallback(struct byre_qcow2 *image, uint64_t goff, uint64_t length, uint64_t start,
                             uint64_t end, struct byre_error *err)
{
    uint64_t head_end = MIN(start, goff + length), tail = MIN(MAX(end, head_end), goff + length);
    bool head_zero = true, tail_zero = true;
    int rc = 0;

    if (head_end > goff)
        rc = reads_as_zero(image, goff, head_end - goff, &head_zero, err);
    if (rc == 0 && goff + length > tail)
        rc = reads_as_zero(image, tail, goff + length - tail, &tail_zero, err);
    if (rc < 0 || (head_zero && tail_zero))
        return rc;
    return byre_error_set(err, -ENOTSUP, "'%s': the zeros at guest offset %#llx would have to be written as data",
                          image->store->name, (unsigned long long)(head_zero ? tail : goff));
}

int byre_qcow2_write_zeroes(struct byre_qcow2 *image, uint64_t goff, uint64_t length, unsigned flags,
                            struct byre_error *err)
{
    enum change change = flags & BYRE_WRITE_ZEROES_UNMAP ? CHANGE_ZERO_UNMAP : CHANGE_ZERO;
    uint64_t start, end, disk_end = goff + length;
    int rc;

    if (!byre_range_within(goff, length, image->header.size))
        return byre_error_set(err, -EINVAL, "range past the end of the disk");
    whole_clusters(image, goff, length, &start, &end);
    if (!map_says_zero(image))
        start = end = disk_end;
    if (flags & BYRE_WRITE_ZEROES_NO_FALLBACK) {
        rc = check_no_fallback(image, goff, length, start, end, err);
        if (rc < 0)
            return rc;
    }
    rc = byre_qcow2_note_change(image, goff, length, err);
    if (rc < 0)
        return rc;
    if (start >= disk_end)
        return write_as_data(image, goff, length, err);
    rc = write_as_data(image, goff, start - goff, err);
    if (rc == 0)
        rc = change_clusters(image, start, end, change, err);
    if (rc == 0 && end < disk_end)
        rc = write_as_data(image, end, disk_end - end, err);
    return rc;
}

int byre_qcow2_discard(struct byre_qcow2 *image, uint64_t goff, uint64_t length, struct byre_error *err)
{
    uint64_t start, end;
    int rc;

    if (!byre_range_within(goff, length, image->header.size))
        return byre_error_set(err, -EINVAL, "range past the end of the disk");
    whole_clusters(image, goff, length, &start, &end);
    if (!map_says_zero(image) || start == end)
        return 0;
    rc = byre_qcow2_note_change(image, start, end - start, err);
    return rc < 0 ? rc : change_clusters(image, start, end, CHANGE_DISCARD, err);
}
