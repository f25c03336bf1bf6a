/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshot table entries: see fmt_snapshot.h.
 */
#include "config.h"

#include <string.h>

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

/* The VM state's size has 32 bits in the fixed part, which says nothing where the extra data has the other 32. */
static uint32_t short_state_size(const struct byre_qcow2_snapshot *s)
{
    return s->vm_state_size > UINT32_MAX ? 0 : (uint32_t)s->vm_state_size;
}

void byre_qcow2_snapshot_encode(const struct byre_qcow2_snapshot *s, const uint8_t *extra, uint8_t *buf)
{
    uint8_t *at = buf + BYRE_QCOW2_SNAPSHOT_FIXED;

    byre_put_be64(buf, s->l1_hoff);
    byre_put_be32(buf + 8, s->l1_size);
    byre_put_be16(buf + 12, s->id_length);
    byre_put_be16(buf + 14, s->name_length);
    byre_put_be32(buf + 16, s->date_sec);
    byre_put_be32(buf + 20, s->date_nsec);
    byre_put_be64(buf + 24, s->vm_clock_nsec);
    byre_put_be32(buf + 32, short_state_size(s));
    byre_put_be32(buf + 36, s->extra_length);
    if (extra)
        memcpy(at, extra, s->extra_length);
    else
        memset(at, 0, s->extra_length);
    if (s->extra_length >= 8)
        byre_put_be64(at, s->vm_state_size);
    if (s->extra_length >= 16)
        byre_put_be64(at + 8, s->disk_size);
    if (s->extra_length >= 24)
        byre_put_be64(at + 16, s->icount);
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
