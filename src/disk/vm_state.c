/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM state of a disk, which only qcow2 images have.
 */
#include "config.h"

#include <errno.h>

#include "disk/disk.h"

static int check(const struct byre_disk *disk, struct byre_error *err)
{
    return disk->map ? 0 : byre_error_set_errno(err, -ENOTSUP, "'%s' has no place for VM state", disk->layers[0].name);
}

int byre_read_vm_state(struct byre_disk *disk, void *buf, size_t length, uint64_t position, struct byre_error *err)
{
    GATE_SCOPE(&disk->gate);
    int r = check(disk, err);

    if (r == 0)
        r = byre_qcow2_read_vm_state(disk->layers[0].qcow2, position, buf, length, err);
    return byre_disk_finish(disk, r);
}

/* The gate is closed, for the L1 table may grow. */
static int write_alone(struct byre_disk *disk, const void *buf, size_t length, uint64_t position,
                       struct byre_error *err)
{
    const struct iovec iov = { (void *)buf, length };
    int r = byre_disk_check_writable(disk, err);

    if (r == 0)
        r = check(disk, err);
    if (r == 0)
        r = byre_qcow2_write_vm_state(disk->layers[0].qcow2, position, &iov, 1, length, err);
    if (r == 0 && disk->write_through)
        r = byre_disk_flush(disk, err);
    return byre_disk_finish(disk, r);
}

int byre_write_vm_state(struct byre_disk *disk, const void *buf, size_t length, uint64_t position,
                        struct byre_error *err)
{
    int r;

    byre_gate_close(&disk->gate);
    r = write_alone(disk, buf, length, position, err);
    byre_gate_open(&disk->gate);
    return r;
}
