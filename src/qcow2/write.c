/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing: reserve a place, fill it, publish it.
 *
 * Invariants
 *   W1. From reserve to publish the reservation holds its guest clusters in `ranges`: nobody else changes their
 *       mapping, so what copy-on-write reads stays true.
 *   W2. All host clusters that a write needs, L2 tables and refcount blocks included, are reserved in reserve:
 *       fill and publish allocate nothing, and their order does not show in the layout.
 *   W3. Publish changes the entries and tells the disk above, in one go under the lock, before it defers the free
 *       of what was there: the free is tagged with an epoch that no new request can map the old place in.
 *   W4. Of subclusters only those that are written to become data: the others stay what they are, and bring their data
 *       along where the cluster moves.  Nothing is written to subclusters that are data already, but the request's.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "base/zero.h"
#include "qcow2/subclusters.h"

#define SECTOR 512 /* what a crash does not tear */

/* What writing to a cluster takes. */
enum way {
    WAY_OVERWRITE, /* exclusive data: its bytes are replaced */
    WAY_KEEP_HOST, /* an exclusive cluster, not all data where it is written to, or the place in a data file: it is
                      filled */
    WAY_ALLOCATE,
};

/* `touched`: the subclusters that are written to. */
static enum way way_of(const struct byre_qcow2 *image, struct byre_l2_entry entry, uint32_t touched)
{
    uint32_t missing = touched & ~byre_subclusters_of(image, entry).data;

    if (!image->external && (!(entry.word & BYRE_L2_COPIED) || byre_l2_place(entry) != BYRE_PLACE_CLUSTER))
        return WAY_ALLOCATE;
    return missing ? WAY_KEEP_HOST : WAY_OVERWRITE;
}

/* The subclusters of the cluster at `goff` that the reservation's data touches. */
static uint32_t touched_by(const struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                           uint64_t goff)
{
    return byre_subclusters_touched(image, goff, reservation->goff, reservation->goff + reservation->length);
}

/* How many clusters of the reservation, whose entries are in a slice from `index` on, go the way of the first one, in
 * one host run. */
static int count_run_locked(struct byre_qcow2 *image, const struct byre_slice *slice, unsigned index,
                            const struct byre_qcow2_reservation *reservation, unsigned *ret_count,
                            struct byre_error *err)
{
    unsigned count, max = (unsigned)((reservation->end - reservation->first) >> image->cluster_bits);
    struct byre_l2_entry first = byre_l2_get(image, slice, index);
    enum way way = way_of(image, first, touched_by(image, reservation, reservation->first));

    for (count = 0; count < max; count++) {
        struct byre_l2_entry entry = byre_l2_get(image, slice, index + count);
        uint64_t advance = (uint64_t)count << image->cluster_bits, goff = reservation->first + advance;

        if (way_of(image, entry, touched_by(image, reservation, goff)) != way)
            break;
        if (way != WAY_ALLOCATE && !image->external &&
            byre_l2_offset(entry.word) != byre_l2_offset(first.word) + advance)
            break;
        int rc = byre_l2_entry_check_change_locked(image, entry, goff, err);
        if (rc < 0)
            return rc;
    }
    *ret_count = count;
    return 0;
}

/* Subclusters of the cluster at `goff` whose data has to come along to its new place, apart from those touched. */
static uint32_t brought_along(const struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                              struct byre_l2_entry old, uint64_t goff)
{
    return byre_subclusters_of(image, old).data & ~touched_by(image, reservation, goff);
}

/* Sets what is to be written around the data in the first cluster of the reservation. */
static void plan_head(const struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation,
                      struct byre_l2_entry old)
{
    uint32_t touched = touched_by(image, reservation, reservation->first), along = 0;
    unsigned index = (unsigned)__builtin_ctz(touched);

    if (reservation->keeps_host && (byre_subclusters_of(image, old).data >> index & 1)) {
        reservation->fill_start = reservation->goff;
        return;
    }
    if (!reservation->keeps_host)
        along = brought_along(image, reservation, old, reservation->first) & (touched - 1);
    for (; index && (along >> (index - 1) & 1); index--)
        along &= ~(1u << (index - 1));
    reservation->fill_start = reservation->first + ((uint64_t)index << image->subcluster_bits);
    reservation->copy_first = along & ((1ULL << index) - 1);
}

/* The same in the last one, whose entry is `old`. */
static void plan_tail(const struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation,
                      struct byre_l2_entry old)
{
    uint64_t cluster = reservation->end - image->cluster_size;
    uint32_t touched = touched_by(image, reservation, cluster), along = 0;
    unsigned index = 31 - (unsigned)__builtin_clz(touched); /* the last one */

    if (reservation->keeps_host && (byre_subclusters_of(image, old).data >> index & 1)) {
        reservation->fill_end = reservation->goff + reservation->length;
        return;
    }
    if (!reservation->keeps_host)
        along = brought_along(image, reservation, old, cluster) & ~(uint32_t)((2ULL << index) - 1);
    for (; index < 31 && (along >> (index + 1) & 1); index++)
        along &= ~(1u << (index + 1));
    reservation->fill_end = cluster + ((uint64_t)(index + 1) << image->subcluster_bits);
    reservation->copy_last = along;
}

/* Finds the place for a run from reservation->first on, and shortens the reservation to it. */
static int place_locked(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation,
                        struct byre_error *err)
{
    uint64_t first = reservation->first, count;
    struct byre_l2_entry entry, last;
    enum way way;
    struct byre_slice *slice;
    unsigned index, run = 0;
    int rc = byre_check_writable_locked(image, err);

    if (rc == 0)
        rc = byre_l2_slice_for_write_locked(image, first, &slice, &index, err);
    if (rc == 0)
        rc = count_run_locked(image, slice, index, reservation, &run, err);
    if (rc < 0)
        return rc;
    entry = byre_l2_get(image, slice, index);
    last = byre_l2_get(image, slice, index + run - 1); /* a shorter run is written to as a whole */
    way = way_of(image, entry, touched_by(image, reservation, first));
    reservation->overwrite = way == WAY_OVERWRITE;
    reservation->keeps_host = way == WAY_KEEP_HOST;
    reservation->hoff = image->external ? first : byre_l2_offset(entry.word);
    reservation->fresh = false;
    count = run;
    if (way == WAY_ALLOCATE)
        rc = byre_alloc_run_locked(image, run, &reservation->hoff, &count, &reservation->fresh, err);
    if (rc < 0)
        return rc;
    reservation->end = first + (count << image->cluster_bits);
    reservation->length = MIN(reservation->length, reservation->end - reservation->goff);
    reservation->fill_start = reservation->goff;
    reservation->fill_end = reservation->goff + reservation->length;
    if (way == WAY_OVERWRITE)
        return 0;
    plan_head(image, reservation, entry);
    plan_tail(image, reservation, last);
    return 0;
}

static int place(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation, struct byre_error *err)
{
    LOCK_SCOPE(&image->mutex);
    return place_locked(image, reservation, err);
}

int byre_reserve_held(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation, struct byre_error *err)
{
    int rc = place(image, reservation, err);

    if (rc < 0)
        return rc;
    byre_range_lock_shrink(&image->ranges, &reservation->hold, reservation->end);
    return 0;
}

int byre_qcow2_reserve(struct byre_qcow2 *image, uint64_t goff, uint64_t length,
                       struct byre_qcow2_reservation *ret_reservation, struct byre_error *err)
{
    struct byre_qcow2_reservation *reservation = ret_reservation;
    uint64_t first = byre_cluster_start(image, goff);
    int rc;

    if (!length || !byre_range_is_known(image, goff, length))
        return byre_error_set(err, -EINVAL, "range past the end of the disk");
    rc = byre_qcow2_note_change(image, goff, length, err);
    if (rc < 0)
        return rc;
    *reservation = (struct byre_qcow2_reservation){ .goff = goff, .length = length, .first = first };
    reservation->end = MIN(byre_cluster_ceil(image, goff + length), byre_l2_slice_end(image, first));
    byre_range_lock_acquire(&image->ranges, &reservation->hold, first, reservation->end);
    rc = place(image, reservation, err);
    if (byre_qcow2_make_room(image, rc))
        rc = place(image, reservation, err);
    if (rc < 0) {
        byre_range_lock_release(&image->ranges, &reservation->hold);
        return rc;
    }
    byre_range_lock_shrink(&image->ranges, &reservation->hold, reservation->end);
    return 0;
}

/* Copy-on-write: what stands around the data, as far as it is written with it. */
struct surroundings {
    uint8_t *bytes; /* owned: head, then tail */
    size_t head, tail;
};

static int read_part(struct byre_qcow2 *image, uint64_t goff, void *buf, size_t length, struct byre_error *err)
{
    byre_store_event(image->store, BYRE_EVENT_COW_READ);
    return byre_read_old(image, goff, buf, length, err);
}

/* Reads the old contents around the data; what is overwritten keeps its own. */
static int read_surroundings(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                             struct surroundings *around, struct byre_error *err)
{
    uint64_t data_end = reservation->goff + reservation->length;
    int rc = 0;

    around->head = reservation->goff - reservation->fill_start;
    around->tail = reservation->fill_end - data_end;
    if (around->head + around->tail == 0)
        return 0;
    around->bytes = malloc(around->head + around->tail);
    if (!around->bytes)
        return byre_error_set(err, -ENOMEM, "Could not allocate %zu bytes for copy-on-write",
                              around->head + around->tail);
    if (around->head)
        rc = read_part(image, reservation->fill_start, around->bytes, around->head, err);
    if (rc == 0 && around->tail)
        rc = read_part(image, data_end, around->bytes + around->head, around->tail, err);
    return rc;
}

/* Writes head, data and tail, as far as they need to be, in one go; `fresh` clusters need no zeros. */
static int write_around(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                        const struct surroundings *around, const struct iovec *iov, int iov_count,
                        struct byre_error *err)
{
    CLEANUP(free_ptr) struct iovec *all = malloc(((size_t)iov_count + 2) * sizeof *all);
    uint8_t *tail = around->bytes ? around->bytes + around->head : NULL;
    uint64_t hoff = reservation->hoff + (reservation->goff - reservation->first), covered;
    int count = 0;

    if (!all)
        return byre_error_set(err, -ENOMEM, "Could not allocate a vector of %d buffers", iov_count + 2);
    if (around->head && !(reservation->fresh && byre_is_zero(around->bytes, around->head))) {
        all[count++] = (struct iovec){ around->bytes, around->head };
        hoff -= around->head;
    }
    count += byre_iov_slice(iov, iov_count, 0, reservation->length, all + count, iov_count, &covered);
    if (covered != reservation->length)
        return byre_error_set(err, -EINVAL, "the buffers are shorter than the range");
    if (around->tail && reservation->fresh && byre_is_zero(tail, around->tail))
        all[count++] = (struct iovec){ tail, around->tail % SECTOR };
    else if (around->tail)
        all[count++] = (struct iovec){ tail, around->tail };
    if (around->head + around->tail)
        byre_store_event(image->store, BYRE_EVENT_COW_WRITE);
    return byre_data_writev(image, all, count, hoff, err);
}

/* Copies subclusters of the cluster at `goff` that stand apart from the data. */
static int copy_apart(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation, uint64_t goff,
                      uint32_t mask, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = mask ? malloc(image->cluster_size) : NULL;
    int rc = 0;

    if (mask && !bytes)
        return byre_error_set(err, -ENOMEM, "Could not allocate %u bytes for copy-on-write", image->cluster_size);
    while (rc == 0 && mask) {
        unsigned count, first = byre_subclusters_run(mask, &count);
        uint64_t at = goff + ((uint64_t)first << image->subcluster_bits);
        struct iovec iov = { bytes, (size_t)count << image->subcluster_bits };

        rc = read_part(image, at, bytes, iov.iov_len, err);
        byre_store_event(image->store, BYRE_EVENT_COW_WRITE);
        if (rc == 0)
            rc = byre_data_writev(image, &iov, 1, reservation->hoff + (at - reservation->first), err);
        mask &= ~byre_subclusters_touched(image, goff, at, at + iov.iov_len);
    }
    return rc;
}

/* Which of the touched subclusters of the cluster at `goff` are left out. */
static uint32_t skipped_by(const struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                           uint64_t goff)
{
    if (!reservation->skip || reservation->overwrite)
        return 0;
    return reservation->skip[(goff - reservation->first) >> image->cluster_bits] & touched_by(image, reservation, goff);
}

/* Writes the data and what stands right around it. */
static int fill_run(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                    const struct iovec *iov, int iov_count, struct byre_error *err)
{
    struct surroundings around = { 0 };
    int rc;

    rc = read_surroundings(image, reservation, &around, err);
    if (rc == 0)
        rc = write_around(image, reservation, &around, iov, iov_count, err);
    free(around.bytes);
    return rc;
}

/* Is the subcluster at `goff` left out? */
static bool is_skipped(const struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation, uint64_t goff)
{
    uint64_t cluster = byre_cluster_start(image, goff);

    return skipped_by(image, reservation, cluster) >> ((goff - cluster) >> image->subcluster_bits) & 1;
}

/* Writes the runs of subclusters that are not left out. */
static int fill_runs(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                     const struct iovec *iov, int iov_count, struct byre_error *err)
{
    CLEANUP(free_ptr) struct iovec *pieces = malloc(MAX((size_t)iov_count, (size_t)1) * sizeof *pieces);
    uint64_t end = reservation->goff + reservation->length, covered, sub = byre_subcluster_size(image);
    int rc = 0;

    if (!pieces)
        return byre_error_set(err, -ENOMEM, "Could not allocate a vector of %d buffers", iov_count);
    for (uint64_t at = reservation->goff, next; rc == 0 && at < end; at = next) {
        bool skipped = is_skipped(image, reservation, at);
        /* Without the hold, in which others have their places, too. */
        struct byre_qcow2_reservation part = {
            .hoff = reservation->hoff, .first = reservation->first, .end = reservation->end,
            .fresh = reservation->fresh,
        };
        int count;

        for (next = at + sub; next < end && is_skipped(image, reservation, next) == skipped;)
            next += sub;
        if (skipped)
            continue;
        part.goff = part.fill_start = at;
        part.length = MIN(next, end) - at;
        part.fill_end = next < end ? next : reservation->fill_end;
        count = byre_iov_slice(iov, iov_count, at - reservation->goff, part.length, pieces, iov_count, &covered);
        rc = fill_run(image, &part, pieces, count, err);
    }
    return rc;
}

int byre_qcow2_fill(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                    const struct iovec *iov, int iov_count, struct byre_error *err)
{
    int rc = reservation->skip ? fill_runs(image, reservation, iov, iov_count, err)
                               : fill_run(image, reservation, iov, iov_count, err);

    if (rc == 0)
        rc = copy_apart(image, reservation, reservation->first, reservation->copy_first, err);
    if (rc == 0)
        rc = copy_apart(image, reservation, reservation->end - image->cluster_size, reservation->copy_last, err);
    return rc;
}

/* What the entry of the cluster at `goff` becomes; `changed`: of which subclusters that says something new. */
static struct byre_l2_entry published(const struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                                      struct byre_l2_entry old, uint64_t goff, uint32_t *ret_changed)
{
    uint32_t touched = reservation->blank ? 0 : touched_by(image, reservation, goff);
    uint32_t skipped = skipped_by(image, reservation, goff);
    struct byre_subclusters now = byre_subclusters_of(image, old);

    now.data = (now.data | touched) & ~skipped;
    now.zero = (now.zero & ~touched) | skipped;
    *ret_changed = reservation->keeps_host ? touched : now.data | skipped;
    return byre_subclusters_entry(image, reservation->hoff + (goff - reservation->first), now);
}

/* Tells the disk above what the reservation changes: whole clusters of data in one go. */
static void tell_locked(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                        const struct byre_slice *slice, unsigned index)
{
    struct byre_subclusters all = { byre_subclusters_all(image), 0 };
    uint64_t goff = reservation->first, run = goff;

    for (; goff < reservation->end; goff += image->cluster_size, index++) {
        uint32_t changed;
        struct byre_l2_entry entry = published(image, reservation, byre_l2_get(image, slice, index), goff, &changed);

        if (changed == all.data && byre_subclusters_of(image, entry).data == all.data)
            continue;
        if (run < goff)
            byre_remapped_locked(image, run, (goff - run) >> image->cluster_bits,
                                 byre_subclusters_entry(image, reservation->hoff + (run - reservation->first), all));
        byre_remapped_subclusters_locked(image, goff, entry, changed);
        run = goff + image->cluster_size;
    }
    if (run < goff)
        byre_remapped_locked(image, run, (goff - run) >> image->cluster_bits,
                             byre_subclusters_entry(image, reservation->hoff + (run - reservation->first), all));
}

static int publish_locked(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                          struct byre_error *err)
{
    uint64_t count = (reservation->end - reservation->first) >> image->cluster_bits;
    struct byre_slice *slice;
    unsigned index;
    int rc = byre_check_writable_locked(image, err);

    if (rc == 0)
        rc = byre_l2_slice_for_write_locked(image, reservation->first, &slice, &index, err);
    if (rc == 0)
        rc = byre_free_room_locked(image, count, err);
    if (rc < 0)
        return rc;
    tell_locked(image, reservation, slice, index);
    for (uint64_t goff = reservation->first; goff < reservation->end; goff += image->cluster_size, index++) {
        struct byre_l2_entry old = byre_l2_get(image, slice, index);
        uint32_t changed;

        byre_l2_put(image, slice, index, published(image, reservation, old, goff, &changed));
        if (!reservation->keeps_host)
            byre_free_entry_later_locked(image, old, false);
    }
    return 0;
}

int byre_qcow2_publish(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation,
                       struct byre_error *err)
{
    int rc = 0;

    if (!reservation->overwrite) {
        pthread_mutex_lock(&image->mutex);
        rc = publish_locked(image, reservation, err);
        pthread_mutex_unlock(&image->mutex);
    }
    if (rc < 0) {
        byre_qcow2_abandon(image, reservation);
        return rc;
    }
    byre_range_lock_release(&image->ranges, &reservation->hold);
    return reservation->overwrite ? 0 : byre_commit_if_due(image, err);
}

void byre_qcow2_abandon(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation)
{
    if (!reservation->overwrite && !reservation->keeps_host) {
        pthread_mutex_lock(&image->mutex);
        byre_alloc_undo_locked(image, reservation->hoff,
                               (reservation->end - reservation->first) >> image->cluster_bits);
        pthread_mutex_unlock(&image->mutex);
    }
    byre_range_lock_release(&image->ranges, &reservation->hold);
}

/* Reserves a place for the start of the range, and writes what belongs there.  *ret_filling: it got so far. */
static int reserve_and_fill(struct byre_qcow2 *image, uint64_t goff, const struct iovec *iov, int iov_count,
                            uint64_t offset, uint64_t length, struct byre_qcow2_reservation *reservation,
                            bool *ret_filling, struct byre_error *err)
{
    CLEANUP(free_ptr) struct iovec *part = malloc(MAX((size_t)iov_count, (size_t)1) * sizeof *part);
    uint64_t covered;
    int rc, count;

    if (!part)
        return byre_error_set(err, -ENOMEM, "Could not allocate a vector of %d buffers", iov_count);
    rc = byre_qcow2_reserve(image, goff, length, reservation, err);
    if (rc < 0)
        return rc;
    *ret_filling = true;
    count = byre_iov_slice(iov, iov_count, offset, reservation->length, part, iov_count, &covered);
    rc = byre_qcow2_fill(image, reservation, part, count, err);
    if (rc < 0)
        byre_qcow2_abandon(image, reservation);
    return rc;
}

/* Writes the start of the range, as far as one reservation reaches. */
static int write_some(struct byre_qcow2 *image, uint64_t goff, const struct iovec *iov, int iov_count,
                      uint64_t offset, uint64_t length, uint64_t *ret_written, struct byre_error *err)
{
    struct byre_qcow2_reservation reservation;
    bool filling = false;
    int rc = reserve_and_fill(image, goff, iov, iov_count, offset, length, &reservation, &filling, err);

    /* The file could not grow: what was freed has its space already. */
    if (filling && byre_qcow2_make_room(image, rc))
        rc = reserve_and_fill(image, goff, iov, iov_count, offset, length, &reservation, &filling, err);
    if (rc < 0)
        return rc;
    *ret_written = reservation.length;
    return byre_qcow2_publish(image, &reservation, err);
}

int byre_qcow2_writev(struct byre_qcow2 *image, uint64_t goff, const struct iovec *iov, int iov_count,
                      uint64_t length, struct byre_error *err)
{
    uint64_t written = 0;

    if (!byre_range_is_known(image, goff, length))
        return byre_error_set(err, -EINVAL, "range past the end of the disk");
    for (uint64_t done = 0; done < length; done += written) {
        int rc = write_some(image, goff + done, iov, iov_count, done, length - done, &written, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}
