/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Entries of the snapshot table (qcow2 specification, "Snapshots").  Pure functions, no I/O.
 *
 * An entry is 40 bytes, extra data, id, name, and padding to a multiple of 8; entries follow one another.
 */
#ifndef BYRE_QCOW2_FMT_SNAPSHOT_H
#define BYRE_QCOW2_FMT_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "byre/error.h"

#define BYRE_QCOW2_SNAPSHOT_FIXED 40            /* bytes that every entry has */
#define BYRE_QCOW2_SNAPSHOT_EXTRA_MAX 1024      /* qemu's limit */
#define BYRE_QCOW2_SNAPSHOT_EXTRA 24            /* that byre knows, and that new entries have */
#define BYRE_QCOW2_SNAPSHOT_HEAD 64             /* fixed bytes and the extra data that byre knows */
#define BYRE_QCOW2_SNAPSHOT_TABLE_MAX (64U << 20) /* qemu's limit for the whole table, bytes */

struct byre_qcow2_snapshot {
    uint64_t l1_hoff;
    uint32_t l1_size; /* entries */
    uint16_t id_length, name_length;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t vm_state_size; /* bytes */
    uint64_t disk_size;     /* bytes; the given default where the entry lacks it */
    uint64_t icount;        /* UINT64_MAX where the entry lacks it */
    uint32_t extra_length;  /* id and name stand behind it */
};

/* Decodes the first BYRE_QCOW2_SNAPSHOT_HEAD bytes of an entry; those beyond its end are not looked at. */
void byre_qcow2_snapshot_decode(const uint8_t head[BYRE_QCOW2_SNAPSHOT_HEAD], uint64_t disk_size,
                                struct byre_qcow2_snapshot *ret_snapshot);

/*
 * Encodes the fixed bytes of an entry and its extra data: BYRE_QCOW2_SNAPSHOT_FIXED + extra_length bytes at `buf`.
 * What byre knows is put where extra_length reaches; the rest is taken from `extra`, the extra data as it stood (NULL:
 * zeros).  Id, name and padding are the caller's to write.
 */
void byre_qcow2_snapshot_encode(const struct byre_qcow2_snapshot *snapshot, const uint8_t *extra, uint8_t *buf);

/* Where the id starts, and where the next entry does; both from the start of the entry. */
uint64_t byre_qcow2_snapshot_id_at(const struct byre_qcow2_snapshot *snapshot);
uint64_t byre_qcow2_snapshot_length(const struct byre_qcow2_snapshot *snapshot);

#endif
