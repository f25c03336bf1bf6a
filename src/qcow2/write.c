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
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "base/iov.h"
#include "base/zero.h"
#include "qcow2/image.h"

#define SECTOR 512 /* what a crash does not tear */

/* What writing to a cluster takes. */
enum way {
    WAY_OVERWRITE, /* exclusive data: its bytes are replaced */
    WAY_KEEP_HOST, /* an exclusive cluster that reads as zero: it is filled */
    WAY_ALLOCATE,
};

static enum way way_of(const struct byre_qcow2 *image, uint64_t entry)
{
    if (!(entry & BYRE_L2_COPIED))
        return WAY_ALLOCATE;
    switch (byre_l2_kind(entry, image->header.version)) {
    case BYRE_CLUSTER_DATA:
        return WAY_OVERWRITE;
    case BYRE_CLUSTER_ZERO_ALLOCATED:
        return WAY_KEEP_HOST;
    default:
        return WAY_ALLOCATE;
    }
}

/* How many entries of a slice, from `index` on and at most `max`, go the way of the first one, in one host run. */
static int count_run_locked(struct byre_qcow2 *image, const struct byre_slice *slice, unsigned index,
                            unsigned max, uint64_t goff, unsigned *ret_count, struct byre_error *err)
{
    uint64_t first = byre_get_be64(slice->bytes + index * 8);
    enum way way = way_of(image, first);
    unsigned count;

    for (count = 0; count < max; count++) {
        uint64_t entry = byre_get_be64(slice->bytes + (index + count) * 8);
        uint64_t advance = (uint64_t)count << image->cluster_bits;

        if (way_of(image, entry) != way)
            break;
        if (way != WAY_ALLOCATE && byre_l2_offset(entry) != byre_l2_offset(first) + advance)
            break;
        int rc = byre_l2_entry_check_change_locked(image, entry, goff + advance, err);
        if (rc < 0)
            return rc;
    }
    *ret_count = count;
    return 0;
}

/* Finds the place for a run from reservation->first on, and shortens the reservation to it. */
static int place_locked(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation,
                        struct byre_error *err)
{
    uint64_t first = reservation->first, count, entry;
    struct byre_slice *slice;
    unsigned index, run = 0;
    int rc = byre_check_writable_locked(image, err);

    if (rc == 0)
        rc = byre_l2_slice_for_write_locked(image, first, &slice, &index, err);
    if (rc == 0)
        rc = count_run_locked(image, slice, index, (unsigned)((reservation->end - first) >> image->cluster_bits),
                              first, &run, err);
    if (rc < 0)
        return rc;
    entry = byre_get_be64(slice->bytes + index * 8);
    reservation->overwrite = way_of(image, entry) == WAY_OVERWRITE;
    reservation->keeps_host = way_of(image, entry) == WAY_KEEP_HOST;
    reservation->hoff = byre_l2_offset(entry);
    reservation->fresh = false;
    count = run;
    if (way_of(image, entry) == WAY_ALLOCATE)
        rc = byre_alloc_run_locked(image, run, &reservation->hoff, &count, &reservation->fresh, err);
    if (rc == 0)
        reservation->end = first + (count << image->cluster_bits);
    return rc;
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
    reservation->length = MIN(reservation->length, reservation->end - reservation->goff);
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
    *reservation = (struct byre_qcow2_reservation){ .goff = goff, .first = first };
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
    reservation->length = MIN(goff + length, reservation->end) - goff;
    return 0;
}

/* Copy-on-write: what stands around the data in its first and last cluster. */
struct surroundings {
    uint8_t *bytes; /* owned: head, then tail */
    size_t head, tail;
};

static int read_part(struct byre_qcow2 *image, uint64_t goff, void *buf, size_t length, struct byre_error *err)
{
    byre_store_event(image->store, BYRE_EVENT_COW_READ);
    return byre_read_old(image, goff, buf, length, err);
}

/* Reads the old contents around the data; clusters that are overwritten keep theirs. */
static int read_surroundings(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
                             struct surroundings *around, struct byre_error *err)
{
    uint64_t data_end = reservation->goff + reservation->length;
    int rc = 0;

    if (reservation->overwrite)
        return 0;
    around->head = reservation->goff - reservation->first;
    around->tail = reservation->end - data_end;
    if (around->head + around->tail == 0)
        return 0;
    around->bytes = malloc(around->head + around->tail);
    if (!around->bytes)
        return byre_error_set(err, -ENOMEM, "Could not allocate %zu bytes for copy-on-write",
                              around->head + around->tail);
    if (around->head)
        rc = read_part(image, reservation->first, around->bytes, around->head, err);
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
    uint8_t *tail = around->bytes + around->head;
    uint64_t hoff = reservation->hoff + (reservation->goff - reservation->first), covered;
    int count = 0;

    if (!all)
        return byre_error_set(err, -ENOMEM, "Could not allocate a vector of %d buffers", iov_count + 2);
    if (around->head && !(reservation->fresh && byre_is_zero(around->bytes, around->head))) {
        all[count++] = (struct iovec){ around->bytes, around->head };
        hoff = reservation->hoff;
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

int byre_qcow2_fill(struct byre_qcow2 *image, const struct byre_qcow2_reservation *reservation,
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
    byre_slices_mark_dirty(&image->slices, slice);
    byre_remapped_locked(image, reservation->first, count, reservation->hoff | BYRE_L2_COPIED);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *at = slice->bytes + (index + i) * 8;
        uint64_t old = byre_get_be64(at);

        byre_put_be64(at, (reservation->hoff + (i << image->cluster_bits)) | BYRE_L2_COPIED);
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
