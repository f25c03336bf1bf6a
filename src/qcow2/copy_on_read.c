/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copy-on-read: what lies below is written into clusters of this image that are still unallocated.
 *
 * Invariants
 *   R1. A cluster is only written while its range is locked and its entry is empty: what a guest wrote, zeroed or
 *       discarded before stays, and what it writes next waits.
 *   R2. Like any write it takes place in three steps; a failure leaves the cluster unallocated.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/zero.h"
#include "qcow2/image.h"
#include "store/event.h"

#define COPY_MAX (1u << 20) /* bytes copied at a time; at least a cluster */

/* How many bytes from `goff` on, up to `end`, have no entry of their own. */
static int empty_run(struct byre_qcow2 *image, uint64_t goff, uint64_t end, uint64_t *ret_length,
                     struct byre_error *err)
{
    byre_extent_vec extents = VEC_INIT;
    int rc = byre_qcow2_map(image, goff, end - goff, &extents, err);

    *ret_length = 0;
    if (rc == 0 && extents.len && extents.ptr[0].kind == BYRE_EXTENT_HOLE)
        *ret_length = extents.ptr[0].length;
    vec_done(&extents);
    return rc;
}

/* Copies what is below into the clusters of the reservation, which are locked and empty; `buf` holds them all.
 * Releases the lock. */
static int copy_locked_range(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation, uint8_t *buf,
                             struct byre_error *err)
{
    struct iovec iov = { buf, reservation->length };
    int rc = image->below.read(image->below.opaque, reservation->goff, buf, reservation->length, err);

    if (rc == 0 && image->header.version >= 3 && byre_is_zero(buf, reservation->length)) {
        rc = byre_zero_clusters(image, reservation->first, reservation->end, err);
        byre_range_lock_release(&image->ranges, &reservation->hold);
        return rc < 0 ? rc : byre_commit_if_due(image, err);
    }
    if (rc == 0)
        rc = byre_reserve_held(image, reservation, err);
    if (rc < 0) {
        byre_range_lock_release(&image->ranges, &reservation->hold);
        return rc;
    }
    iov.iov_len = reservation->length;
    byre_store_event(image->store, BYRE_EVENT_COR_WRITE);
    rc = byre_qcow2_fill(image, reservation, &iov, 1, err);
    if (rc < 0) {
        byre_qcow2_abandon(image, reservation);
        return rc;
    }
    return byre_qcow2_publish(image, reservation, err);
}

/* Copies into the first of the whole clusters [goff, end) that are empty; *ret_done: how far it got. */
static int copy_some(struct byre_qcow2 *image, uint64_t goff, uint64_t end, uint8_t *buf, uint64_t *ret_done,
                     struct byre_error *err)
{
    struct byre_qcow2_reservation reservation = { .goff = goff, .first = goff };
    uint64_t run;
    int rc;

    reservation.end = MIN(end, byre_l2_slice_end(image, goff));
    byre_range_lock_acquire(&image->ranges, &reservation.hold, goff, reservation.end);
    rc = empty_run(image, goff, reservation.end, &run, err);
    if (rc < 0 || run == 0) {
        byre_range_lock_release(&image->ranges, &reservation.hold);
        *ret_done = image->cluster_size;
        return rc;
    }
    reservation.end = MIN(reservation.end, byre_cluster_ceil(image, goff + run));
    byre_range_lock_shrink(&image->ranges, &reservation.hold, reservation.end);
    reservation.length = MIN(reservation.end, image->header.size) - goff;
    rc = copy_locked_range(image, &reservation, buf, err);
    *ret_done = reservation.end - goff;
    return rc;
}

int byre_qcow2_copy_on_read(struct byre_qcow2 *image, uint64_t goff, uint64_t length, struct byre_error *err)
{
    uint64_t end = byre_cluster_ceil(image, goff + length), at = byre_cluster_start(image, goff), done, run;
    uint64_t most = MAX((uint64_t)COPY_MAX, (uint64_t)image->cluster_size);
    CLEANUP(free_ptr) uint8_t *buf = NULL;
    int rc = 0;

    if (!byre_range_within(goff, length, image->header.size))
        return byre_error_set(err, -EINVAL, "range past the end of the disk");
    if (!image->below.read)
        return 0;
    for (; rc == 0 && at < end; at += done) {
        done = image->cluster_size;
        rc = empty_run(image, at, end, &run, err);
        if (rc < 0 || run == 0)
            continue;
        if (!buf)
            buf = malloc(MIN(most, end - at));
        if (!buf)
            return byre_error_set(err, -ENOMEM, "Could not allocate a buffer for copy-on-read");
        rc = copy_some(image, at, MIN(end, at + most), buf, &done, err);
        if (byre_qcow2_make_room(image, rc))
            rc = copy_some(image, at, MIN(end, at + most), buf, &done, err);
    }
    return rc;
}
