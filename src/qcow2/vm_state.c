/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM state area: guest offsets behind the disk, from the first on that no L1 entry of the disk covers.
 *
 * Snapshots keep there what a virtual machine was doing.  It is read and written by the same code as the disk, and
 * has no size: what was never written reads as zero.
 *
 *   V1. Nothing in it comes from the layers below, however large they are.
 *   V2. The flat map does not know it.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "qcow2/image.h"
#include "store/event.h"

/* The guest bytes that an L1 entry covers. */
static uint64_t span(const struct byre_qcow2 *image)
{
    return UINT64_C(1) << (image->cluster_bits + image->l2_bits);
}

uint64_t byre_vm_state_goff(const struct byre_qcow2 *image)
{
    return byre_round_up(image->header.size, span(image));
}

bool byre_range_is_known(const struct byre_qcow2 *image, uint64_t goff, uint64_t length)
{
    if (goff >= byre_vm_state_goff(image))
        return byre_range_within(goff, length, image->l1.entry_count * span(image));
    return byre_range_within(goff, length, image->header.size);
}

/* Makes the L1 table reach up to `end`. */
static int make_reach(struct byre_qcow2 *image, uint64_t end, struct byre_error *err)
{
    uint64_t entries = byre_div_up(end, span(image));
    int rc;

    if (entries > BYRE_QCOW2_L1_BYTES_MAX / 8)
        return byre_error_set_errno(err, -EFBIG, "Failed to grow the L1 table");
    pthread_mutex_lock(&image->mutex);
    rc = byre_check_writable_locked(image, err);
    pthread_mutex_unlock(&image->mutex);
    if (rc < 0 || entries <= image->l1.entry_count)
        return rc;
    return byre_l1_grow(image, (uint32_t)entries, err);
}

/* Can there be `length` bytes at `position`?  -EFBIG if not. */
static int check_position(const struct byre_qcow2 *image, uint64_t position, uint64_t length, struct byre_error *err)
{
    if (byre_range_within(position, length, INT64_MAX - byre_vm_state_goff(image)))
        return 0;
    return byre_error_set_errno(err, -EFBIG, "no VM state can be at offset %" PRIu64, position);
}

int byre_qcow2_write_vm_state(struct byre_qcow2 *image, uint64_t position, const struct iovec *iov, int iov_count,
                              uint64_t length, struct byre_error *err)
{
    uint64_t goff = byre_vm_state_goff(image) + position;
    int rc = check_position(image, position, length, err);

    byre_store_event(image->store, BYRE_EVENT_VMSTATE_SAVE);
    if (rc == 0 && image->external)
        rc = byre_error_set_errno(err, -ENOTSUP, "'%s': no VM state goes with an external data file",
                                  image->store->name);
    if (rc == 0)
        rc = make_reach(image, goff + length, err);
    return rc < 0 ? rc : byre_qcow2_writev(image, goff, iov, iov_count, length, err);
}

int byre_qcow2_read_vm_state(struct byre_qcow2 *image, uint64_t position, void *buf, size_t length,
                             struct byre_error *err)
{
    uint64_t goff = byre_vm_state_goff(image) + position, reach = image->l1.entry_count * span(image);
    uint64_t there = goff < reach ? MIN((uint64_t)length, reach - goff) : 0;
    int rc = check_position(image, position, length, err);

    if (rc < 0)
        return rc;
    byre_store_event(image->store, BYRE_EVENT_VMSTATE_LOAD);
    memset((uint8_t *)buf + there, 0, length - there);
    return there ? byre_read_mapped(image, goff, buf, there, err) : 0;
}
