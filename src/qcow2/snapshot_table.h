/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The snapshot table as a whole (qcow2 specification, "Snapshots"): between the file and memory.
 *
 * What byre does not know of an entry, its further extra data, is kept byte for byte.
 */
#ifndef BYRE_QCOW2_SNAPSHOT_TABLE_H
#define BYRE_QCOW2_SNAPSHOT_TABLE_H

#include "base/vec.h"
#include "qcow2/fmt_header.h"
#include "qcow2/fmt_snapshot.h"
#include "store/store.h"

struct byre_snapshot_entry {
    struct byre_qcow2_snapshot fixed;
    uint8_t *extra;  /* fixed.extra_length bytes, as in the file; owned; NULL: zeros */
    char *id, *name; /* owned; a NUL byte follows */
};

struct byre_snapshot_table {
    VEC(struct byre_snapshot_entry) entries; /* owned */
    uint64_t bytes; /* that the table has in the file, the last entry's padding included; 0: there is none */
};

/*
 * Reads the table that the header names.  Entries without a disk size get the header's.  Nothing beyond the end of the
 * file is believed: memory is bounded by the file's size and by 64 MiB.  -EINVAL names the entry and the field.  L1
 * tables are not looked at: see byre_snapshot_check_l1.  Release with byre_snapshot_table_done.
 */
int byre_snapshot_table_read(struct byre_store *store, const struct byre_qcow2_header *header,
                             struct byre_snapshot_table *ret_table, struct byre_error *err);
void byre_snapshot_table_done(struct byre_snapshot_table *table);
void byre_snapshot_entry_done(struct byre_snapshot_entry *entry);

/* The bytes of the table as they are to be written: `*ret_bytes` is the caller's to free.  -EFBIG: more than 64 MiB. */
int byre_snapshot_table_encode(const struct byre_snapshot_table *table, uint8_t **ret_bytes, uint64_t *ret_length,
                               struct byre_error *err);

/* Can the L1 table of the entry with this index be read?  -EINVAL names entry and field: unaligned, larger than 32 MiB,
 * or not within a file of `file_size` bytes. */
int byre_snapshot_check_l1(const struct byre_qcow2_header *header, const struct byre_snapshot_entry *entry,
                           size_t index, uint64_t file_size, struct byre_error *err);

/* The index of the first entry with that id and that name, where NULL fits any; or -1. */
long byre_snapshot_find(const struct byre_snapshot_table *table, const char *id, const char *name);
/* The first one with that id; else, the first one with that name; or -1. */
long byre_snapshot_find_any(const struct byre_snapshot_table *table, const char *id_or_name);

/* An id that no entry has: one more than the largest number among the ids. */
void byre_snapshot_new_id(const struct byre_snapshot_table *table, char ret_id[21]);

#endif
