/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshot table entries: see fmt_snapshot.h.
 */
#include "config.h"

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/fmt_snapshot.h"

void byre_qcow2_snapshot_decode(const uint8_t head[BYRE_QCOW2_SNAPSHOT_HEAD], uint64_t disk_size,
                                struct byre_qcow2_snapshot *ret_snapshot)
{
    struct byre_qcow2_snapshot s = {
        .l1_hoff = byre_get_be64(head),
        .l1_size = byre_get_be32(head + 8),
        .id_length = byre_get_be16(head + 12),
        .name_length = byre_get_be16(head + 14),
        .date_sec = byre_get_be32(head + 16),
        .date_nsec = byre_get_be32(head + 20),
        .vm_clock_nsec = byre_get_be64(head + 24),
        .vm_state_size = byre_get_be32(head + 32),
        .disk_size = disk_size,
        .icount = UINT64_MAX,
        .extra_length = byre_get_be32(head + 36),
    };

    if (s.extra_length >= 8)
        s.vm_state_size = byre_get_be64(head + 40);
    if (s.extra_length >= 16)
        s.disk_size = byre_get_be64(head + 48);
    if (s.extra_length >= 24)
        s.icount = byre_get_be64(head + 56);
    *ret_snapshot = s;
}

uint64_t byre_qcow2_snapshot_id_at(const struct byre_qcow2_snapshot *snapshot)
{
    return BYRE_QCOW2_SNAPSHOT_FIXED + (uint64_t)snapshot->extra_length;
}

uint64_t byre_qcow2_snapshot_length(const struct byre_qcow2_snapshot *snapshot)
{
    return byre_round_up(byre_qcow2_snapshot_id_at(snapshot) + snapshot->id_length + snapshot->name_length,
                         8);
}
