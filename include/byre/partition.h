/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The partitions of a disk: GPT (UEFI specification, chapter 5) and MBR with logical partitions, read from the disk
 * itself and never written.  What does not lie within the disk is told, and is no part of it.  What counts as a
 * partition is what Linux shows, one that begins with the disk included.
 */
#ifndef BYRE_PARTITION_H
#define BYRE_PARTITION_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_disk;

enum byre_partition_table {
    BYRE_PARTITION_TABLE_NONE,
    BYRE_PARTITION_TABLE_MBR,
    BYRE_PARTITION_TABLE_GPT,
};

struct byre_partition {
    unsigned number;       /* as Linux counts: from 1 on, logical ones of an MBR from 5 on */
    uint64_t goff, length; /* bytes; the length is never 0 */
    bool inside;           /* it lies within the disk */
    bool bootable;         /* MBR: active; GPT: what a legacy BIOS boots from */
    uint64_t attributes;   /* GPT: UEFI specification, table 5.8; MBR: 0 */
    char type[37];         /* GPT: a GUID; MBR: "0x83" */
    char uuid[37];         /* GPT: its unique GUID; MBR: "1234abcd-01", as Linux has it, or "" on a disk without id */
    char name[109];        /* GPT: UTF-8, half characters replaced by U+FFFD; MBR: "" */
};

/*
 * Calls `each` for every partition, in the order of the table, until it returns nonzero, which is returned.  The
 * extended partition of an MBR, which holds others, is none.  A GPT counts if the MBR is protective or hybrid; where
 * its first header or its entries are damaged, the copy at the end of the disk is taken.  -EINVAL: both are, which
 * `ret_table` tells even so.  A chain of logical partitions ends where it makes no sense.  `ret_table` may be NULL.
 */
int byre_partitions(struct byre_disk *disk, int (*each)(void *opaque, const struct byre_partition *partition),
                    void *opaque, enum byre_partition_table *ret_table, struct byre_error *err);

struct byre_partition_label {
    enum byre_partition_table table;
    unsigned block; /* bytes that the table counts in: 512 or 4096 */
    char id[37];    /* of the disk: a GUID; MBR: "0x1234abcd"; "" without a table, or if it has none */
};

/* What the table says of the disk as a whole.  -EINVAL: it is damaged, and so is its copy. */
int byre_partition_label(struct byre_disk *disk, struct byre_partition_label *ret_label, struct byre_error *err);

/* The partition of that number.  -ENOENT: there is none; -EINVAL: it reaches past the end of the disk. */
int byre_partition_find(struct byre_disk *disk, unsigned number, struct byre_partition *ret_partition,
                        struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
