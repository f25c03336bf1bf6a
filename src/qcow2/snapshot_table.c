/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading, encoding and searching the snapshot table.
 *
 * Invariants
 *   N1. Nothing beyond the end of the file is believed: a table that is not all there is an error.
 *   N2. Every turn of a loop moves on by at least the fixed part of an entry.
 */
#include "config.h"

#include "qcow2/snapshot_table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

/* A table as it is being read. */
struct cursor {
    struct byre_store *store;
    uint64_t hoff, end; /* of the table: where it starts, and where the file ends */
    uint64_t at;        /* the next entry */
};

/* `length` bytes and a NUL. */
static int read_bytes(const struct cursor *c, uint64_t hoff, size_t length, void *ret_bytes, struct byre_error *err)
{
    char *bytes = malloc(length + 1);
    int rc;

    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "snapshot table");
    rc = length ? byre_store_pread(c->store, bytes, length, hoff, err) : 0;
    if (rc < 0) {
        free(bytes);
        return rc;
    }
    bytes[length] = 0;
    *(char **)ret_bytes = bytes;
    return 0;
}

static int past_the_end(const struct cursor *c, size_t index, struct byre_error *err)
{
    return byre_error_set(err, -EINVAL, "Snapshot table entry %zu lies beyond the end of the file "
                          "(snapshots_offset is 0x%" PRIx64 ", the entry is at 0x%" PRIx64 ")",
                          index, c->hoff, c->at);
}

/* Decodes the entry at the cursor and makes sure that all of it is there. */
static int read_fixed(const struct cursor *c, uint64_t disk_size, size_t index, struct byre_qcow2_snapshot *ret_fixed,
                      struct byre_error *err)
{
    uint8_t head[BYRE_QCOW2_SNAPSHOT_HEAD];
    int rc;

    if (!byre_range_within(c->at, BYRE_QCOW2_SNAPSHOT_FIXED, c->end))
        return past_the_end(c, index, err);
    rc = byre_store_pread(c->store, head, sizeof head, c->at, err);
    if (rc < 0)
        return rc;
    byre_qcow2_snapshot_decode(head, disk_size, ret_fixed);
    if (ret_fixed->extra_length > BYRE_QCOW2_SNAPSHOT_EXTRA_MAX)
        return byre_error_set(err, -EINVAL,
                              "Too much extra metadata in snapshot table entry %zu (its size is %u)", index,
                              ret_fixed->extra_length);
    /* The padding of the last entry may be missing. */
    if (!byre_range_within(c->at + byre_qcow2_snapshot_id_at(ret_fixed),
                           (uint64_t)ret_fixed->id_length + ret_fixed->name_length, c->end))
        return past_the_end(c, index, err);
    return 0;
}

static int read_entry(struct cursor *c, uint64_t disk_size, struct byre_snapshot_table *table, struct byre_error *err)
{
    struct byre_snapshot_entry entry = { .extra = NULL };
    uint64_t id_hoff;
    int rc = read_fixed(c, disk_size, table->entries.len, &entry.fixed, err);

    if (rc < 0)
        return rc;
    id_hoff = c->at + byre_qcow2_snapshot_id_at(&entry.fixed);
    rc = read_bytes(c, c->at + BYRE_QCOW2_SNAPSHOT_FIXED, entry.fixed.extra_length, &entry.extra, err);
    if (rc == 0)
        rc = read_bytes(c, id_hoff, entry.fixed.id_length, &entry.id, err);
    if (rc == 0)
        rc = read_bytes(c, id_hoff + entry.fixed.id_length, entry.fixed.name_length, &entry.name, err);
    if (rc == 0 && vec_push(&table->entries, entry) < 0)
        rc = byre_error_set_errno(err, -ENOMEM, "snapshot table");
    if (rc < 0) {
        byre_snapshot_entry_done(&entry);
        return rc;
    }
    c->at += byre_qcow2_snapshot_length(&entry.fixed);
    table->bytes = c->at - c->hoff;
    if (table->bytes > BYRE_QCOW2_SNAPSHOT_TABLE_MAX)
        return byre_error_set(err, -EINVAL, "Snapshot table too large (it is over %u bytes at entry %zu)",
                              BYRE_QCOW2_SNAPSHOT_TABLE_MAX, table->entries.len - 1);
    return 0;
}

int byre_snapshot_table_read(struct byre_store *store, const struct byre_qcow2_header *header,
                             struct byre_snapshot_table *ret_table, struct byre_error *err)
{
    struct cursor c = { .store = store, .hoff = header->snapshots_hoff, .at = header->snapshots_hoff };
    struct byre_snapshot_table table = { .bytes = 0 };
    int rc = byre_store_size(store, &c.end, err);

    if (rc == 0 && header->snapshot_count &&
        !byre_range_within(c.hoff, (uint64_t)header->snapshot_count * BYRE_QCOW2_SNAPSHOT_FIXED, c.end))
        rc = byre_error_set(err, -EINVAL, "Snapshot table lies beyond the end of the file "
                            "(snapshots_offset is 0x%" PRIx64 ", nb_snapshots is %u, file size is %" PRIu64 ")",
                            c.hoff, header->snapshot_count, c.end);
    while (rc == 0 && table.entries.len < header->snapshot_count)
        rc = read_entry(&c, header->size, &table, err);
    if (rc < 0) {
        byre_snapshot_table_done(&table);
        return rc;
    }
    *ret_table = table;
    return 0;
}

void byre_snapshot_entry_done(struct byre_snapshot_entry *entry)
{
    free(entry->extra);
    free(entry->id);
    free(entry->name);
}

void byre_snapshot_table_done(struct byre_snapshot_table *table)
{
    for (size_t i = 0; i < table->entries.len; i++)
        byre_snapshot_entry_done(&table->entries.ptr[i]);
    vec_done(&table->entries);
}

int byre_snapshot_table_encode(const struct byre_snapshot_table *table, uint8_t **ret_bytes, uint64_t *ret_length,
                               struct byre_error *err)
{
    uint64_t length = 0;
    uint8_t *bytes, *at;

    for (size_t i = 0; i < table->entries.len; i++)
        length += byre_qcow2_snapshot_length(&table->entries.ptr[i].fixed);
    if (length > BYRE_QCOW2_SNAPSHOT_TABLE_MAX)
        return byre_error_set(err, -EFBIG, "Snapshot table too large (it would have %" PRIu64 " bytes)", length);
    bytes = at = calloc(1, MAX((size_t)length, (size_t)1));
    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "snapshot table");
    for (size_t i = 0; i < table->entries.len; i++) {
        const struct byre_snapshot_entry *entry = &table->entries.ptr[i];
        uint8_t *id = at + byre_qcow2_snapshot_id_at(&entry->fixed);

        byre_qcow2_snapshot_encode(&entry->fixed, entry->extra, at);
        memcpy(id, entry->id, entry->fixed.id_length);
        memcpy(id + entry->fixed.id_length, entry->name, entry->fixed.name_length);
        at += byre_qcow2_snapshot_length(&entry->fixed);
    }
    *ret_bytes = bytes;
    *ret_length = length;
    return 0;
}

int byre_snapshot_check_l1(const struct byre_qcow2_header *header, const struct byre_snapshot_entry *entry,
                           size_t index, uint64_t file_size, struct byre_error *err)
{
    const struct byre_qcow2_snapshot *fixed = &entry->fixed;

    if (fixed->l1_hoff & ((1u << header->cluster_bits) - 1))
        return byre_error_set(err, -EINVAL, "Snapshot L1 table offset invalid (snapshot table entry %zu, "
                              "l1_table_offset is 0x%" PRIx64 ")", index, fixed->l1_hoff);
    if (fixed->l1_size > BYRE_QCOW2_L1_BYTES_MAX / 8)
        return byre_error_set(err, -EINVAL, "Snapshot L1 table too large (snapshot table entry %zu, l1_size is %u)",
                              index, fixed->l1_size);
    if (fixed->l1_size && !byre_range_within(fixed->l1_hoff, fixed->l1_size * 8ULL, file_size))
        return byre_error_set(err, -EINVAL, "Snapshot L1 table lies beyond the end of the file (snapshot table entry "
                              "%zu, l1_table_offset is 0x%" PRIx64 ", l1_size is %u, the file has %" PRIu64 " bytes)",
                              index, fixed->l1_hoff, fixed->l1_size, file_size);
    if (fixed->disk_size > INT64_MAX ||
        byre_qcow2_header_l1_needed(header, fixed->disk_size) > BYRE_QCOW2_L1_BYTES_MAX / 8)
        return byre_error_set(err, -EINVAL, "Snapshot is too big (snapshot table entry %zu, its disk size is %" PRIu64
                              ")", index, fixed->disk_size);
    return 0;
}

long byre_snapshot_find(const struct byre_snapshot_table *table, const char *id, const char *name)
{
    for (size_t i = 0; i < table->entries.len; i++) {
        const struct byre_snapshot_entry *entry = &table->entries.ptr[i];

        if ((!id || strcmp(entry->id, id) == 0) && (!name || strcmp(entry->name, name) == 0))
            return (long)i;
    }
    return -1;
}

long byre_snapshot_find_any(const struct byre_snapshot_table *table, const char *id_or_name)
{
    long found = byre_snapshot_find(table, id_or_name, NULL);

    return found < 0 ? byre_snapshot_find(table, NULL, id_or_name) : found;
}

void byre_snapshot_new_id(const struct byre_snapshot_table *table, char ret_id[21])
{
    uint64_t id = 0;

    for (size_t i = 0; i < table->entries.len; i++)
        id = MAX(id, (uint64_t)strtoull(table->entries.ptr[i].id, NULL, 10));
    do
        snprintf(ret_id, 21, "%" PRIu64, ++id);
    while (byre_snapshot_find(table, ret_id, NULL) >= 0);
}
