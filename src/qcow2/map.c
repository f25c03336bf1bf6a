/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapping: guest ranges to extents of this image's own file.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "qcow2/subclusters.h"

static struct byre_extent compressed_extent(const struct byre_qcow2 *image, uint64_t word, uint64_t goff)
{
    return (struct byre_extent){
        .goff = goff,
        .length = image->cluster_size,
        .kind = BYRE_EXTENT_COMPRESSED,
        .hoff = byre_l2_compressed_offset(word, image->cluster_bits),
        .stored = byre_l2_compressed_stored(word, image->cluster_bits),
    };
}

/* Those subclusters that are as number `index` is, and what that is. */
static uint32_t alike(struct byre_subclusters subclusters, unsigned index, enum byre_extent_kind *ret_kind)
{
    if (subclusters.data >> index & 1) {
        *ret_kind = BYRE_EXTENT_DATA;
        return subclusters.data;
    }
    if (subclusters.zero >> index & 1) {
        *ret_kind = BYRE_EXTENT_ZERO;
        return subclusters.zero;
    }
    *ret_kind = BYRE_EXTENT_HOLE;
    return ~(subclusters.data | subclusters.zero);
}

struct byre_extent byre_l2_extent(const struct byre_qcow2 *image, struct byre_l2_entry entry, uint64_t goff)
{
    uint64_t within = goff & (image->cluster_size - 1);
    unsigned first = (unsigned)(within >> image->subcluster_bits), count;
    struct byre_extent extent = { .goff = goff };
    uint32_t like;
    bool placed;

    if (byre_entry_place(image, entry) == BYRE_PLACE_COMPRESSED)
        return compressed_extent(image, entry.word, goff);
    placed = byre_entry_place(image, entry) != BYRE_PLACE_NONE;
    like = alike(byre_subclusters_of(image, entry), first, &extent.kind) & byre_subclusters_all(image);
    (void)byre_subclusters_run(like >> first, &count);
    extent.length = (uint64_t)count << image->subcluster_bits;
    extent.hoff = placed ? byre_l2_offset(entry.word) + within : 0;
    extent.exclusive = extent.kind == BYRE_EXTENT_DATA && (image->external || (entry.word & BYRE_L2_COPIED));
    /* The flag of zeros at offset 0, which an external data file has, says nothing of a place (as QEMU reads it). */
    extent.allocated = extent.kind != BYRE_EXTENT_DATA && placed &&
                       (byre_l2_offset(entry.word) || image->subcluster_bits < image->cluster_bits);
    if (image->header.crypt_method == BYRE_QCOW2_CRYPT_AES && extent.kind == BYRE_EXTENT_DATA) {
        extent.exclusive = false; /* see crypt_aes.c */
        extent.hoff = goff;
    }
    return extent;
}

static void remapped_locked(const struct byre_qcow2 *image, const struct byre_extent *now)
{
    if (image->below.remapped && now->goff < byre_vm_state_goff(image))
        image->below.remapped(image->below.opaque, now);
}

void byre_remapped_locked(struct byre_qcow2 *image, uint64_t goff, uint64_t count, struct byre_l2_entry entry)
{
    struct byre_extent now = byre_l2_extent(image, entry, goff);

    now.length = count << image->cluster_bits;
    remapped_locked(image, &now);
}

void byre_remapped_subclusters_locked(struct byre_qcow2 *image, uint64_t goff, struct byre_l2_entry entry,
                                      uint32_t mask)
{
    while (mask) {
        unsigned count, first = byre_subclusters_run(mask, &count);
        uint64_t at = (uint64_t)first << image->subcluster_bits;
        struct byre_extent now = byre_l2_extent(image, entry, goff + at);

        now.length = MIN(now.length, (uint64_t)count << image->subcluster_bits);
        mask &= ~byre_subclusters_touched(image, goff, now.goff, now.goff + now.length);
        remapped_locked(image, &now);
    }
}

/* Is `next` the continuation of `last`, so that one extent describes both? */
static bool continues(const struct byre_extent *last, const struct byre_extent *next)
{
    if (last->kind != next->kind || last->exclusive != next->exclusive || last->allocated != next->allocated)
        return false;
    if (next->kind == BYRE_EXTENT_COMPRESSED)
        return false;
    return next->kind == BYRE_EXTENT_DATA || next->allocated ? last->hoff + last->length == next->hoff : true;
}

/* `from` is the length of `out` when this mapping began: what was there before is not touched. */
static int append(byre_extent_vec *out, size_t from, struct byre_extent next, struct byre_error *err)
{
    struct byre_extent *last = out->len > from ? &out->ptr[out->len - 1] : NULL;

    if (last && continues(last, &next)) {
        last->length += next.length;
        return 0;
    }
    if (vec_push(out, next) < 0)
        return byre_error_set(err, -ENOMEM, "Could not allocate a list of %zu extents", out->len + 1);
    return 0;
}

/* How many entries from `index` on are 0, which is a hole in every version: at most `max`. */
static unsigned empty_entries(const struct byre_qcow2 *image, const struct byre_slice *slice, unsigned index,
                              uint64_t max)
{
    unsigned count = 0;

    while (count < max && byre_l2_entry_equal(byre_l2_get(image, slice, index + count), BYRE_L2_EMPTY))
        count++;
    return count;
}

/* Appends the extents of an entry, once it is known to be sound: from `goff` on, a subcluster's start, to the end of
 * the cluster, or of the run of subclusters that reaches `end`.  A compressed cluster is one extent. */
static int map_entry_locked(struct byre_qcow2 *image, struct byre_l2_entry entry, uint64_t goff, uint64_t end,
                            size_t from, byre_extent_vec *out, struct byre_error *err)
{
    uint64_t cluster = byre_cluster_start(image, goff);
    int rc = byre_l2_entry_check_locked(image, entry, cluster, err);
    /* What must not be written to is left to the engine, which refuses it. */
    bool spare = rc == 0 && (entry.word & BYRE_L2_COPIED) &&
                 (!image->metadata_known ||
                  (!image->external &&
                   byre_metadata_at_locked(image, byre_l2_offset(entry.word), image->cluster_size)));

    if (byre_l2_place(entry) == BYRE_PLACE_COMPRESSED)
        goff = cluster;
    for (end = MIN(end, cluster + image->cluster_size); rc == 0 && goff < end;) {
        struct byre_extent extent = byre_l2_extent(image, entry, goff);

        extent.exclusive = extent.exclusive && !spare;
        rc = append(out, from, extent, err);
        goff += extent.length;
    }
    return rc;
}

/* Maps from `goff`, a subcluster's start, to `end` or the end of the slice; *ret_end is how far that was.  Most entries
 * of most layers of a chain are holes, so that these are passed in runs. */
static int map_slice_locked(struct byre_qcow2 *image, uint64_t goff, uint64_t end, size_t from,
                            byre_extent_vec *out, uint64_t *ret_end, struct byre_error *err)
{
    struct byre_slice *slice;
    unsigned index = 0, count;
    int rc = byre_l2_slice_locked(image, goff, &slice, &index, err);

    end = MIN(end, byre_l2_slice_end(image, goff));
    for (; rc == 0 && goff < end; index += count) {
        uint64_t cluster = byre_cluster_start(image, goff), next;
        struct byre_extent hole = { .goff = goff, .kind = BYRE_EXTENT_HOLE };

        count = empty_entries(image, slice, index, byre_div_up(end - cluster, image->cluster_size));
        next = cluster + ((uint64_t)MAX(count, 1u) << image->cluster_bits);
        hole.length = next - goff;
        if (count)
            rc = append(out, from, hole, err);
        else
            rc = map_entry_locked(image, byre_l2_get(image, slice, index), goff, end, from, out, err);
        count = MAX(count, 1u);
        goff = next;
    }
    *ret_end = end;
    return rc;
}

/* How many bytes from `goff` on have no L2 table, up to `end` or somewhat beyond. */
static int unmapped_locked(struct byre_qcow2 *image, uint64_t goff, uint64_t end, uint64_t *ret_length,
                           struct byre_error *err)
{
    uint64_t span = 1ULL << (image->cluster_bits + image->l2_bits);
    uint64_t at = goff, hoff;

    while (at < end) {
        int rc = byre_l2_table_locked(image, at, &hoff, NULL, err);

        if (rc < 0)
            return rc;
        if (hoff)
            break;
        at = byre_round_down(at, span) + span;
    }
    *ret_length = at - goff;
    return 0;
}

/* Cuts the last extents so that they end at `end`. */
static void clip(byre_extent_vec *out, uint64_t end)
{
    struct byre_extent *last = &out->ptr[out->len - 1];

    if (last->goff + last->length > end)
        last->length = end - last->goff;
}

/* The first extent begins at its subcluster, or cluster: makes it begin at `goff`.  A compressed one keeps its host
 * offset. */
static void clip_start(struct byre_extent *first, uint64_t goff)
{
    uint64_t skip = goff - first->goff;

    first->goff = goff;
    first->length -= skip;
    if (first->kind == BYRE_EXTENT_DATA || first->allocated)
        first->hoff += skip;
}

int byre_qcow2_map(struct byre_qcow2 *image, uint64_t goff, uint64_t length, byre_extent_vec *out,
                   struct byre_error *err)
{
    uint64_t at = byre_subcluster_start(image, goff), end = goff + length, next = 0;
    size_t from = out->len;
    int rc = 0;

    if (!byre_range_within(goff, length, byre_cluster_ceil(image, image->header.size)) &&
        !byre_range_is_known(image, goff, length))
        return byre_error_set(err, -EINVAL, "range past the end of the disk");
    LOCK_SCOPE(&image->mutex);
    /* If that fails, nothing is exclusive, and what can be read is read. */
    if (image->writable && !image->metadata_missed)
        image->metadata_missed = byre_metadata_learn_locked(image, NULL) < 0;
    for (; rc == 0 && at < end; at = next) {
        uint64_t unmapped = 0;

        rc = unmapped_locked(image, at, end, &unmapped, err);
        if (rc == 0 && unmapped) {
            struct byre_extent hole = { .goff = at, .length = unmapped, .kind = BYRE_EXTENT_HOLE };

            next = at + unmapped;
            rc = append(out, from, hole, err);
        } else if (rc == 0) {
            rc = map_slice_locked(image, at, end, from, out, &next, err);
        }
    }
    if (rc < 0) {
        out->len = from;
        return rc;
    }
    if (out->len > from) {
        clip(out, end);
        clip_start(&out->ptr[from], goff);
    }
    return 0;
}

void byre_qcow2_limit_metadata(struct byre_qcow2 *image, uint64_t bytes)
{
    uint64_t pages = bytes / 4 / sizeof(struct byre_table_page);

    assert(!image->writable);
    LOCK_SCOPE(&image->mutex);
    byre_slices_limit(&image->slices, bytes / 2);
    byre_table_limit(&image->l1, (uint32_t)MIN(pages, (uint64_t)UINT32_MAX));
    byre_table_limit(&image->reftable, (uint32_t)MIN(pages, (uint64_t)UINT32_MAX));
}

uint64_t byre_qcow2_metadata_bytes(struct byre_qcow2 *image)
{
    LOCK_SCOPE(&image->mutex);

    return image->slices.count * (sizeof(struct byre_slice) + image->slice_size) +
           ((uint64_t)image->l1.loaded_pages + image->reftable.loaded_pages) * sizeof(struct byre_table_page);
}
