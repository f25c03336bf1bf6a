/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making ranges read as zero: write_zeroes and discard.
 *
 * Whole clusters change in the map alone, and so do whole subclusters for write_zeroes.  What the map cannot say
 * (version 2 has no zero flag, compressed clusters no subclusters) is written as data by write_zeroes, and left as it
 * is by discard.  The last cluster of the disk counts as whole if the range reaches to the end of the disk.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/disk.h"
#include "qcow2/subclusters.h"

#define ZEROS_MAX (1u << 20) /* written at a time where the map cannot say it */

enum change { CHANGE_ZERO, CHANGE_ZERO_UNMAP, CHANGE_DISCARD };

/* Something may show through: the backing file, also where it is not opened, or what was opened in place of one. */
static bool has_backing(const struct byre_qcow2 *image)
{
    return image->header.backing_name != NULL || image->below.read;
}

/* Are host clusters kept that hold no data any more? */
static bool keeps_host(const struct byre_qcow2 *image, enum change change)
{
    return change == CHANGE_ZERO || image->keeps_discarded;
}

/* What the entry of a cluster becomes, of which all subclusters change; the same if there is nothing to do. */
static struct byre_l2_entry changed_whole(const struct byre_qcow2 *image, struct byre_l2_entry entry,
                                          enum change change)
{
    struct byre_subclusters zeros = { 0, byre_subclusters_all(image) }, now = byre_subclusters_of(image, entry);
    bool keep_host = keeps_host(image, change) && (entry.word & BYRE_L2_COPIED);
    enum byre_l2_place place = byre_entry_place(image, entry);

    if (place == BYRE_PLACE_NONE && (now.zero == zeros.zero || (!now.zero && !has_backing(image))))
        return entry;
    if (keep_host && place == BYRE_PLACE_CLUSTER && image->header.version >= 3)
        return byre_subclusters_entry(image, byre_l2_offset(entry.word), zeros);
    return byre_subclusters_entry(image, BYRE_NOWHERE, zeros);
}

/* What the entry of a cluster, which is not compressed, becomes if these subclusters of it shall read as zero.  A host
 * cluster that may be given up is, once no data is left in it. */
static struct byre_l2_entry changed_part(const struct byre_qcow2 *image, struct byre_l2_entry entry, uint32_t mask,
                                         enum change change)
{
    struct byre_subclusters now = byre_subclusters_of(image, entry);

    if (byre_entry_place(image, entry) == BYRE_PLACE_NONE && !has_backing(image))
        return entry;
    now.data &= ~mask;
    now.zero |= mask;
    entry.bitmap = byre_subclusters_entry(image, BYRE_NOWHERE, now).bitmap;
    if (change == CHANGE_ZERO_UNMAP && !now.data && !(keeps_host(image, change) && (entry.word & BYRE_L2_COPIED)))
        entry.word = 0;
    return entry;
}

static struct byre_l2_entry changed_entry(const struct byre_qcow2 *image, struct byre_l2_entry entry, uint32_t mask,
                                          enum change change)
{
    /* A raw data file has the zeros already (E3 of external.c). */
    if (image->data_raw)
        return entry;
    return mask == byre_subclusters_all(image) ? changed_whole(image, entry, change)
                                               : changed_part(image, entry, mask, change);
}

/* Can the entries of [goff, end) change as the range asks?  -ENOTSUP if a compressed cluster changes in part. */
static int check_slice_locked(struct byre_qcow2 *image, const struct byre_slice *slice, unsigned index, uint64_t goff,
                              uint64_t end, struct byre_error *err)
{
    int rc = 0;

    for (uint64_t at = byre_cluster_start(image, goff); rc == 0 && at < end; at += image->cluster_size, index++) {
        struct byre_l2_entry entry = byre_l2_get(image, slice, index);

        rc = byre_l2_entry_check_change_locked(image, entry, at, err);
        if (rc == 0 && byre_entry_place(image, entry) == BYRE_PLACE_COMPRESSED &&
            byre_subclusters_touched(image, at, goff, end) != byre_subclusters_all(image))
            rc = byre_error_set(err, -ENOTSUP, "'%s': the compressed cluster at guest offset %#llx has no subclusters",
                                image->store->name, (unsigned long long)at);
    }
    return rc;
}

/*
 * Gives back the space of a host cluster that is kept without data.  At once, for who writes to it next finds zeros or
 * fills it, under the range lock that is held: to do it later would hit that.  After a crash the entry may still say
 * data, which is zero, as was asked for.
 */
static void give_back_locked(struct byre_qcow2 *image, struct byre_l2_entry old, struct byre_l2_entry now)
{
    if (image->external || !byre_subclusters_of(image, old).data || byre_subclusters_of(image, now).data)
        return;
    (void)byre_store_write_zeroes(image->data, byre_l2_offset(now.word), image->cluster_size,
                                  BYRE_ZERO_UNMAP | BYRE_ZERO_NO_FALLBACK, NULL);
}

/* Changes the subclusters of [goff, end), which is within one slice; -ENOTSUP as above. */
static int change_slice_locked(struct byre_qcow2 *image, uint64_t goff, uint64_t end, enum change change,
                               struct byre_error *err)
{
    uint64_t first = byre_cluster_start(image, goff);
    struct byre_slice *slice;
    unsigned index;
    int rc = byre_l2_slice_for_write_locked(image, first, &slice, &index, err);

    /* After the slice: to make it writable may have taken room. */
    if (rc == 0)
        rc = byre_free_room_locked(image, byre_div_up(end - first, image->cluster_size), err);
    if (rc == 0)
        rc = check_slice_locked(image, slice, index, goff, end, err);
    if (rc < 0)
        return rc;
    for (uint64_t at = first; at < end; at += image->cluster_size, index++) {
        uint32_t mask = byre_subclusters_touched(image, at, goff, end);
        struct byre_l2_entry old = byre_l2_get(image, slice, index);
        struct byre_l2_entry entry = changed_entry(image, old, mask, change);

        if (byre_l2_entry_equal(entry, old))
            continue;
        byre_l2_put(image, slice, index, entry);
        byre_remapped_subclusters_locked(image, at, entry, mask);
        if (byre_entry_place(image, entry) == BYRE_PLACE_NONE)
            byre_free_entry_later_locked(image, old, change != CHANGE_ZERO);
        else if (change != CHANGE_ZERO)
            give_back_locked(image, old, entry);
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
    int rc = byre_external_zero(image, goff, end, 0, err);

    if (rc < 0)
        return rc;
    LOCK_SCOPE(&image->mutex);
    rc = byre_check_writable_locked(image, err);
    return rc < 0 ? rc : change_slice_locked(image, goff, end, CHANGE_ZERO, err);
}

/* Changes the subclusters of [goff, end); -ENOTSUP as above, and nothing was changed if that is within one cluster.
 * `flags`, for a data file, are those of byre_qcow2_write_zeroes. */
static int change_range(struct byre_qcow2 *image, uint64_t goff, uint64_t end, enum change change, unsigned flags,
                        struct byre_error *err)
{
    uint64_t next = end;
    int rc = 0;

    for (; rc == 0 && goff < end; goff = next) {
        uint64_t most = MIN(end, byre_l2_slice_end(image, goff));
        struct byre_range_hold hold;
        bool idle = false;

        byre_range_lock_acquire(&image->ranges, &hold, byre_cluster_start(image, goff),
                                byre_cluster_ceil(image, most));
        rc = byre_external_zero(image, goff, most, flags, err);
        if (rc == 0)
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

/* The whole units within [goff, goff+length), clusters or subclusters: empty if there are none.  The last one of the
 * disk counts as whole, up to the end of its cluster. */
static void whole_units(const struct byre_qcow2 *image, uint64_t unit, uint64_t goff, uint64_t length,
                        uint64_t *ret_start, uint64_t *ret_end)
{
    uint64_t end = goff + length;

    *ret_start = byre_round_up(goff, unit);
    *ret_end = end == image->header.size ? byre_cluster_ceil(image, end) : byre_round_down(end, unit);
    if (*ret_end < *ret_start)
        *ret_end = *ret_start;
}

/* Does the map of this image have a way to say that a cluster is zero? */
static bool map_says_zero(const struct byre_qcow2 *image)
{
    return image->header.version >= 3 || !has_backing(image);
}

/* -ENOTSUP: the zeros from `goff` on cannot be had without data. */
static int refuse_fallback(const struct byre_qcow2 *image, uint64_t goff, struct byre_error *err)
{
    return byre_error_set(err, -ENOTSUP, "'%s': the zeros at guest offset %#llx would have to be written as data",
                          image->store->name, (unsigned long long)goff);
}

/* Is a part of [goff, goff+length) compressed? */
static int is_compressed(struct byre_qcow2 *image, uint64_t goff, uint64_t length, bool *ret_compressed,
                         struct byre_error *err)
{
    byre_extent_vec extents = VEC_INIT;
    int rc = length ? byre_qcow2_map(image, goff, length, &extents, err) : 0;

    *ret_compressed = false;
    for (size_t i = 0; rc == 0 && i < extents.len; i++)
        *ret_compressed |= extents.ptr[i].kind == BYRE_EXTENT_COMPRESSED;
    vec_done(&extents);
    return rc;
}

/* How a range is taken apart: what is before `start` and from `end` on is written as data, the rest changes in the
 * map, clusters that are whole from `whole_start` to `whole_end`. */
struct parts {
    uint64_t goff, start, whole_start, whole_end, end, disk_end;
};

static struct parts take_apart(const struct byre_qcow2 *image, uint64_t goff, uint64_t length)
{
    struct parts parts = { .goff = goff, .disk_end = goff + length };

    whole_units(image, byre_subcluster_size(image), goff, length, &parts.start, &parts.end);
    if (!map_says_zero(image))
        parts.start = parts.end = parts.disk_end;
    parts.start = MIN(parts.start, parts.end);
    parts.whole_start = MIN(byre_cluster_ceil(image, parts.start), parts.end);
    parts.whole_end = MAX(byre_cluster_start(image, parts.end), parts.whole_start);
    return parts;
}

/* -ENOTSUP unless the map can say it all, or says it already. */
static int check_no_fallback(struct byre_qcow2 *image, const struct parts *parts, struct byre_error *err)
{
    uint64_t head_end = MIN(parts->start, parts->disk_end), tail = MIN(MAX(parts->end, head_end), parts->disk_end);
    bool head_zero = true, tail_zero = true, first = false, last = false;
    int rc = 0;

    if (head_end > parts->goff)
        rc = reads_as_zero(image, parts->goff, head_end - parts->goff, &head_zero, err);
    if (rc == 0 && parts->disk_end > tail)
        rc = reads_as_zero(image, tail, parts->disk_end - tail, &tail_zero, err);
    if (rc == 0)
        rc = is_compressed(image, parts->start, parts->whole_start - parts->start, &first, err);
    if (rc == 0)
        rc = is_compressed(image, parts->whole_end, parts->end - parts->whole_end, &last, err);
    if (rc < 0 || (head_zero && tail_zero && !first && !last))
        return rc;
    if (!head_zero || first)
        return refuse_fallback(image, head_zero ? parts->start : parts->goff, err);
    return refuse_fallback(image, last ? parts->whole_end : tail, err);
}

/* Subclusters of one cluster, [goff, end): as data where that cluster is compressed. */
static int zero_part(struct byre_qcow2 *image, uint64_t goff, uint64_t end, enum change change, unsigned flags,
                     struct byre_error *err)
{
    int rc = goff < end ? change_range(image, goff, end, change, flags, err) : 0;

    if (rc != -ENOTSUP)
        return rc;
    if (flags & BYRE_WRITE_ZEROES_NO_FALLBACK)
        return refuse_fallback(image, goff, err);
    return write_as_data(image, goff, MIN(end, image->header.size) - goff, err);
}

int byre_qcow2_write_zeroes(struct byre_qcow2 *image, uint64_t goff, uint64_t length, unsigned flags,
                            struct byre_error *err)
{
    enum change change = flags & BYRE_WRITE_ZEROES_UNMAP ? CHANGE_ZERO_UNMAP : CHANGE_ZERO;
    struct parts parts;
    int rc = 0;

    if (!byre_range_within(goff, length, image->header.size))
        return byre_error_set(err, -EINVAL, "range past the end of the disk");
    parts = take_apart(image, goff, length);
    if (flags & BYRE_WRITE_ZEROES_NO_FALLBACK)
        rc = check_no_fallback(image, &parts, err);
    if (rc == 0)
        rc = byre_qcow2_note_change(image, goff, length, err);
    if (rc < 0)
        return rc;
    if (parts.start >= parts.disk_end)
        return write_as_data(image, goff, length, err);
    rc = write_as_data(image, goff, parts.start - goff, err);
    if (rc == 0)
        rc = zero_part(image, parts.start, parts.whole_start, change, flags, err);
    if (rc == 0)
        rc = change_range(image, parts.whole_start, parts.whole_end, change, flags, err);
    if (rc == 0)
        rc = zero_part(image, parts.whole_end, parts.end, change, flags, err);
    if (rc == 0 && parts.end < parts.disk_end)
        rc = write_as_data(image, parts.end, parts.disk_end - parts.end, err);
    return rc;
}

int byre_qcow2_discard(struct byre_qcow2 *image, uint64_t goff, uint64_t length, struct byre_error *err)
{
    uint64_t start, end;
    int rc;

    if (!byre_range_within(goff, length, image->header.size))
        return byre_error_set(err, -EINVAL, "range past the end of the disk");
    whole_units(image, image->cluster_size, goff, length, &start, &end);
    if (!map_says_zero(image) || start == end)
        return 0;
    rc = byre_qcow2_note_change(image, start, end - start, err);
    return rc < 0 ? rc : change_range(image, start, end, CHANGE_DISCARD, BYRE_WRITE_ZEROES_UNMAP, err);
}
