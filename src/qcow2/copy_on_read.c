/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copy-on-read: what lies below is written into subclusters of this image that are still holes (clusters, where there
 * are no subclusters).
 *
 * Invariants
 *   R1. A subcluster is only written while its cluster is locked and it is a hole: what a guest wrote, zeroed or
 *       discarded before stays, and what it writes next waits.
 *   R2. Like any write it takes place in three steps; a failure leaves the hole.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/zero.h"
#include "qcow2/subclusters.h"
#include "store/event.h"

#define COPY_MAX (1u << 20) /* bytes copied at a time; at least a cluster */

/* How many bytes from `goff` on, up to `end`, are a hole, or are none (*ret_hole); both offsets are of subclusters. */
static int next_run(struct byre_qcow2 *image, uint64_t goff, uint64_t end, bool *ret_hole, uint64_t *ret_length,
                    struct byre_error *err)
{
    byre_extent_vec extents = VEC_INIT;
    int rc = byre_qcow2_map(image, goff, end - goff, &extents, err);
    uint64_t length = 0;
    size_t i;

    for (i = 0; rc == 0 && i < extents.len; i++) {
        bool hole = extents.ptr[i].kind == BYRE_EXTENT_HOLE;

        if (i && hole != *ret_hole)
            break;
        *ret_hole = hole;
        length += extents.ptr[i].length;
    }
    vec_done(&extents);
    *ret_length = length;
    return rc;
}

/* Copies what is below into the range of the reservation, which is locked and a hole; `buf` holds it all.  Releases the
 * lock. */
static int copy_locked_range(struct byre_qcow2 *image, struct byre_qcow2_reservation *reservation, uint8_t *buf,
                             struct byre_error *err)
{
    uint64_t end = byre_subcluster_ceil(image, reservation->goff + reservation->length);
    struct iovec iov = { buf, reservation->length };
    int rc = image->below.read(image->below.opaque, reservation->goff, buf, reservation->length, err);

    if (rc == 0 && image->header.version >= 3 && byre_is_zero(buf, reservation->length)) {
        rc = byre_zero_clusters(image, reservation->goff, end, err);
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

/* Copies into the first hole of [goff, end), whole subclusters; *ret_done: how far it got. */
static int copy_some(struct byre_qcow2 *image, uint64_t goff, uint64_t end, uint8_t *buf, uint64_t *ret_done,
                     struct byre_error *err)
{
    struct byre_qcow2_reservation reservation = { .goff = goff, .first = byre_cluster_start(image, goff) };
    bool hole = false;
    uint64_t run;
    int rc;

    end = MIN(end, byre_l2_slice_end(image, goff));
    reservation.end = byre_cluster_ceil(image, end);
    byre_range_lock_acquire(&image->ranges, &reservation.hold, reservation.first, reservation.end);
    rc = next_run(image, goff, end, &hole, &run, err);
    if (rc < 0 || !hole) {
        byre_range_lock_release(&image->ranges, &reservation.hold);
        *ret_done = run;
        return rc;
    }
    reservation.end = byre_cluster_ceil(image, goff + run);
    byre_range_lock_shrink(&image->ranges, &reservation.hold, reservation.end);
    reservation.length = MIN(goff + run, image->header.size) - goff;
    rc = copy_locked_range(image, &reservation, buf, err);
    *ret_done = byre_subcluster_ceil(image, goff + reservation.length) - goff;
    return rc;
}

int byre_qcow2_copy_on_read(struct byre_qcow2 *image, uint64_t goff, uint64_t length, struct byre_error *err)
{
    uint64_t end = byre_subcluster_ceil(image, goff + length), at = byre_subcluster_start(image, goff), done;
    uint64_t most = MAX((uint64_t)COPY_MAX, (uint64_t)image->cluster_size);
    CLEANUP(free_ptr) uint8_t *buf = NULL;
    bool hole = false;
    int rc = 0;

    if (!byre_range_within(goff, length, image->header.size))
        return byre_error_set(err, -EINVAL, "range past the end of the disk");
    if (!image->below.read)
        return 0;
    for (; rc == 0 && at < end; at += done) {
        rc = next_run(image, at, end, &hole, &done, err);
        if (rc < 0 || !hole)
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
