/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Passes over L2 tables: see l2_pass.h.
 *
 *   P1. Memory: a list of the tables, and a buffer of 1 MiB or a cluster.
 *   P2. What is written differs from what is there in COPIED flags only, so that it does not matter which sectors of it
 *       a crash leaves out.
 */
#include "config.h"

#include "qcow2/l2_pass.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/arith.h"
#include "base/endian.h"

#define BUFFER_BYTES (1u << 20)
#define SECTOR       512u

/* The mapping word of the i-th entry of a table. */
static inline uint8_t *entry_at(const struct byre_qcow2 *image, uint8_t *table, uint32_t i)
{
    return table + ((size_t)i << byre_l2_entry_bits(image->extended_l2));
}

/* --- L1 tables --- */

int byre_l1_copy_read(struct byre_qcow2 *image, uint64_t hoff, uint32_t count, struct byre_l1_copy *ret_copy,
                      struct byre_error *err)
{
    struct byre_l1_copy copy = { .hoff = hoff, .count = count };
    uint64_t length = count * 8ULL;
    int rc = 0;

    copy.bytes = calloc(1, MAX(byre_round_up(length, SECTOR), (uint64_t)SECTOR));
    if (!copy.bytes)
        return byre_error_set(err, -ENOMEM, "Could not allocate an L1 table of %u entries", count);
    if (count)
        rc = byre_store_pread(image->store, copy.bytes, length, hoff, err);
    if (rc < 0) {
        free(copy.bytes);
        return rc;
    }
    *ret_copy = copy;
    return 0;
}

void byre_l1_copy_done(struct byre_l1_copy *copy)
{
    free(copy->bytes);
    copy->bytes = NULL;
}

/* Writes the bytes that changed. */
static int write_l1(struct byre_qcow2 *image, const struct byre_l1_copy *l1, size_t first, size_t end,
                    struct byre_error *err)
{
    if (first >= end)
        return 0;
    byre_store_event(image->store, BYRE_EVENT_L1_UPDATE);
    first = byre_round_down(first, SECTOR);
    end = MIN(byre_round_up(end, SECTOR), l1->count * (size_t)8);
    return byre_store_pwrite(image->store, l1->bytes + first, end - first, l1->hoff + first, err);
}

int byre_l1_clear_copied(struct byre_qcow2 *image, struct byre_l1_copy *l1, struct byre_error *err)
{
    size_t first = SIZE_MAX, end = 0;

    for (size_t at = 0; at < l1->count * (size_t)8; at += 8) {
        uint64_t entry = byre_get_be64(l1->bytes + at);

        if (!(entry & BYRE_L2_COPIED))
            continue;
        byre_put_be64(l1->bytes + at, entry & ~BYRE_L2_COPIED);
        first = MIN(first, at);
        end = at + 8;
    }
    return write_l1(image, l1, first, end, err);
}

static bool is_marked(struct byre_sweep *sweep, uint64_t hoff)
{
    const int32_t *cell = byre_sweep_cell(sweep, hoff >> sweep->image->cluster_bits);

    return cell && *cell & BYRE_SWEEP_MARK;
}

int byre_l1_set_copied(struct byre_qcow2 *image, struct byre_l1_copy *l1, struct byre_sweep *sweep,
                       struct byre_error *err)
{
    size_t first = SIZE_MAX, end = 0;

    for (size_t at = 0; at < l1->count * (size_t)8; at += 8) {
        uint64_t entry = byre_get_be64(l1->bytes + at);

        if (!(entry & BYRE_L1_OFFSET_MASK) || entry & BYRE_L2_COPIED || !is_marked(sweep, entry & BYRE_L1_OFFSET_MASK))
            continue;
        byre_put_be64(l1->bytes + at, entry | BYRE_L2_COPIED);
        first = MIN(first, at);
        end = at + 8;
    }
    return write_l1(image, l1, first, end, err);
}

/* --- the list of tables --- */

int byre_pass_init(struct byre_pass *pass, struct byre_qcow2 *image, struct byre_error *err)
{
    *pass = (struct byre_pass){ .image = image, .buf_size = MAX(BUFFER_BYTES, image->cluster_size) };
    pass->buf = malloc(pass->buf_size);
    return pass->buf ? 0 : byre_error_set(err, -ENOMEM, "Could not allocate a buffer of %zu bytes", pass->buf_size);
}

void byre_pass_done(struct byre_pass *pass)
{
    vec_done(&pass->tables);
    free(pass->buf);
    pass->buf = NULL;
}

int byre_pass_add_l1(struct byre_pass *pass, const struct byre_l1_copy *l1, int32_t times, struct byre_error *err)
{
    for (uint32_t i = 0; i < l1->count; i++) {
        uint64_t hoff = byre_get_be64(l1->bytes + (size_t)i * 8) & BYRE_L1_OFFSET_MASK;

        if (!hoff)
            continue;
        if (hoff & (pass->image->cluster_size - 1))
            return byre_corrupt_locked(pass->image, err, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx32
                                       ", L1 table at %#" PRIx64 ")", hoff, i, l1->hoff);
        if (vec_push(&pass->tables, (struct byre_pass_table){ .hoff = hoff, .times = times }) < 0)
            return byre_error_set(err, -ENOMEM, "Could not allocate a list of L2 tables");
    }
    return 0;
}

static int compare_tables(const void *a, const void *b)
{
    const struct byre_pass_table *x = a, *y = b;

    return x->hoff < y->hoff ? -1 : x->hoff > y->hoff;
}

void byre_pass_merge(struct byre_pass *pass)
{
    struct byre_pass_table *tables = pass->tables.ptr;
    size_t kept = 0;

    if (pass->tables.len)
        qsort(tables, pass->tables.len, sizeof *tables, compare_tables);
    for (size_t i = 0, next; i < pass->tables.len; i = next) {
        struct byre_pass_table table = { .hoff = tables[i].hoff };

        for (next = i; next < pass->tables.len && tables[next].hoff == table.hoff; next++)
            table.times += tables[next].times;
        if (table.times)
            tables[kept++] = table;
    }
    pass->tables.len = kept;
}

/* --- visiting --- */

/* What is done to a table; a visit notes in `changed` that it changed its bytes. */
struct visit {
    struct byre_pass *pass;
    struct byre_sweep *sweep;
    bool clearing; /* only tables whose references come, and that may have a COPIED flag */
    int (*table)(struct visit *visit, struct byre_pass_table *table, uint8_t *bytes, struct byre_error *err);
    bool changed;
};

static bool is_skipped(const struct visit *visit, const struct byre_pass_table *table)
{
    return visit->clearing && (table->times <= 0 || table->no_copied);
}

/* How many of the tables from the i-th on lie one behind the other and fit the buffer. */
static size_t batch_length(const struct byre_pass *pass, size_t i)
{
    const struct byre_pass_table *tables = pass->tables.ptr;
    uint32_t size = pass->image->cluster_size;
    size_t n = 1;

    while (i + n < pass->tables.len && (n + 1) * size <= pass->buf_size &&
           tables[i + n].hoff == tables[i + n - 1].hoff + size)
        n++;
    return n;
}

static int visit_batch(struct visit *visit, size_t i, size_t n, struct byre_error *err)
{
    struct byre_pass *pass = visit->pass;
    struct byre_store *store = pass->image->store;
    struct byre_pass_table *tables = &pass->tables.ptr[i];
    size_t size = pass->image->cluster_size, first = SIZE_MAX, end = 0;
    int rc;

    byre_store_event(store, BYRE_EVENT_L2_LOAD);
    rc = byre_store_pread(store, pass->buf, n * size, tables[0].hoff, err);
    for (size_t k = 0; rc == 0 && k < n; k++) {
        if (is_skipped(visit, &tables[k]))
            continue;
        visit->changed = false;
        rc = visit->table(visit, &tables[k], pass->buf + k * size, err);
        if (visit->changed) {
            first = MIN(first, k);
            end = k + 1;
        }
    }
    if (rc < 0 || first >= end)
        return rc;
    byre_store_event(store, BYRE_EVENT_L2_UPDATE);
    return byre_store_pwrite(store, pass->buf + first * size, (end - first) * size, tables[first].hoff, err);
}

static int visit_all(struct visit *visit, struct byre_error *err)
{
    struct byre_pass *pass = visit->pass;
    int rc = 0;

    for (size_t i = 0, n; rc == 0 && i < pass->tables.len; i += n) {
        if (is_skipped(visit, &pass->tables.ptr[i])) {
            n = 1;
            continue;
        }
        n = batch_length(pass, i);
        rc = visit_batch(visit, i, n, err);
    }
    return rc;
}

/* --- counting --- */

static int bad_entry(struct byre_pass *pass, const char *what, const struct byre_pass_table *table, uint32_t i,
                     uint64_t hoff, struct byre_error *err)
{
    return byre_corrupt_locked(pass->image, err, "the cluster at host offset %#" PRIx64 " %s (L2 table at %#" PRIx64
                               ", L2 index: %#" PRIx32 ")", hoff, what, table->hoff, i);
}

/* The clusters [*ret_first, *ret_last] that an entry leads to: false if there are none. */
static inline bool clusters_of(const struct byre_qcow2 *image, uint64_t entry, uint64_t *ret_first, uint64_t *ret_last)
{
    uint64_t hoff;

    if (entry & BYRE_L2_COMPRESSED) {
        hoff = byre_l2_compressed_offset(entry, image->cluster_bits);
        *ret_first = hoff >> image->cluster_bits;
        *ret_last = (hoff + byre_l2_compressed_stored(entry, image->cluster_bits) - 1) >> image->cluster_bits;
        return true;
    }
    *ret_first = *ret_last = byre_l2_offset(entry) >> image->cluster_bits;
    return byre_l2_offset(entry);
}

/* Counts what an entry of any kind leads to. */
static int count_entry(struct visit *visit, const struct byre_pass_table *table, uint64_t entry, uint32_t i,
                       struct byre_error *err)
{
    const struct byre_qcow2 *image = visit->pass->image;
    struct byre_sweep *sweep = visit->sweep;
    uint64_t first, last, unaligned = image->cluster_size - 1;

    if (!clusters_of(image, entry, &first, &last))
        return 0;
    if (!(entry & BYRE_L2_COMPRESSED) && entry & BYRE_L2_OFFSET_MASK & unaligned)
        return bad_entry(visit->pass, "is unaligned", table, i, byre_l2_offset(entry), err);
    for (uint64_t cluster = first; cluster <= last; cluster++) {
        if (cluster >= sweep->end)
            return bad_entry(visit->pass, "has no refcount block", table, i, cluster << image->cluster_bits, err);
        if (!byre_sweep_add(sweep, cluster, table->times))
            return bad_entry(visit->pass, "lies on metadata", table, i, cluster << image->cluster_bits, err);
    }
    return 0;
}

static int count_table(struct visit *visit, struct byre_pass_table *table, uint8_t *bytes, struct byre_error *err)
{
    const struct byre_qcow2 *image = visit->pass->image;
    struct byre_sweep *sweep = visit->sweep;
    uint64_t odd = BYRE_L2_COMPRESSED | (BYRE_L2_OFFSET_MASK & (image->cluster_size - 1)), all = 0;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < 1u << image->l2_bits; i++) {
        uint64_t entry = byre_get_be64(entry_at(image, bytes, i));
        uint64_t index = ((entry & BYRE_L2_OFFSET_MASK) >> image->cluster_bits) - sweep->base;

        all |= entry;
        /* Nearly all entries are plain, and lie within the window; at 0 lies the header, and no entry leads there. */
        if (entry & odd || index >= sweep->count || !(entry & BYRE_L2_OFFSET_MASK) ||
            !byre_sweep_add_at(sweep, index, table->times))
            rc = count_entry(visit, table, entry, i, err);
    }
    table->no_copied = !(all & BYRE_L2_COPIED);
    return rc;
}

static int count_tables(struct byre_pass *pass, struct byre_sweep *sweep, struct byre_error *err)
{
    for (size_t i = 0; i < pass->tables.len; i++) {
        const struct byre_pass_table *table = &pass->tables.ptr[i];
        uint64_t cluster = table->hoff >> pass->image->cluster_bits;

        if (cluster >= sweep->end)
            return byre_corrupt_locked(pass->image, err, "L2 table at host offset %#" PRIx64 " has no refcount block",
                                       table->hoff);
        if (!byre_sweep_add_table(sweep, cluster, table->times))
            return byre_corrupt_locked(pass->image, err, "L2 table at host offset %#" PRIx64
                                       " is referred to too often", table->hoff);
    }
    return 0;
}

int byre_pass_check_tables(struct byre_pass *pass, struct byre_error *err)
{
    for (size_t i = 0; i < pass->tables.len; i++) {
        uint64_t hoff = pass->tables.ptr[i].hoff, refcount;
        unsigned known = byre_metadata_l2_count_locked(pass->image, hoff);
        int rc = byre_refcount_read_locked(pass->image, hoff >> pass->image->cluster_bits, &refcount, err);

        if (rc < 0)
            return rc;
        if (refcount < known)
            return byre_corrupt_locked(pass->image, err, "the refcount of the L2 table at host offset %#" PRIx64
                                       " is %" PRIu64 ", but %u L1 entries lead there", hoff, refcount, known);
    }
    return 0;
}

int byre_pass_count(struct byre_pass *pass, struct byre_sweep *sweep, struct byre_error *err)
{
    int rc = count_tables(pass, sweep, err);

    return rc < 0 ? rc : visit_all(&(struct visit){ .pass = pass, .sweep = sweep, .table = count_table }, err);
}

/* --- marks --- */

static int check_table(struct visit *visit, struct byre_pass_table *table, uint8_t *bytes,
                       struct byre_error *err)
{
    const struct byre_qcow2 *image = visit->pass->image;
    uint64_t first, last;

    for (uint32_t i = 0; i < 1u << image->l2_bits; i++) {
        if (!clusters_of(image, byre_get_be64(entry_at(image, bytes, i)), &first, &last))
            continue;
        for (uint64_t cluster = first; cluster <= last; cluster++) {
            if (is_marked(visit->sweep, cluster << image->cluster_bits))
                return bad_entry(visit->pass, "would have no reference left", table,
                                 i, cluster << image->cluster_bits, err);
        }
    }
    return 0;
}

int byre_pass_check_unmarked(struct byre_pass *pass, struct byre_sweep *sweep, struct byre_error *err)
{
    return visit_all(&(struct visit){ .pass = pass, .sweep = sweep, .table = check_table }, err);
}

static int clear_table(struct visit *visit, struct byre_pass_table *table, uint8_t *bytes,
                       struct byre_error *err)
{
    const struct byre_qcow2 *image = visit->pass->image;

    (void)table;
    (void)err;
    for (uint32_t i = 0; i < 1u << image->l2_bits; i++) {
        uint8_t *at = entry_at(image, bytes, i);

        visit->changed |= *at & (BYRE_L2_COPIED >> 56);
        *at &= (uint8_t)~(BYRE_L2_COPIED >> 56);
    }
    return 0;
}

int byre_pass_clear_copied(struct byre_pass *pass, struct byre_error *err)
{
    return visit_all(&(struct visit){ .pass = pass, .clearing = true, .table = clear_table }, err);
}

static int set_table(struct visit *visit, struct byre_pass_table *table, uint8_t *bytes, struct byre_error *err)
{
    const struct byre_qcow2 *image = visit->pass->image;

    (void)table;
    (void)err;
    for (uint32_t i = 0; i < 1u << image->l2_bits; i++) {
        uint64_t entry = byre_get_be64(entry_at(image, bytes, i));

        if (entry & (BYRE_L2_COMPRESSED | BYRE_L2_COPIED) || !byre_l2_offset(entry) ||
            !is_marked(visit->sweep, byre_l2_offset(entry)))
            continue;
        byre_put_be64(entry_at(image, bytes, i), entry | BYRE_L2_COPIED);
        visit->changed = true;
    }
    return 0;
}

int byre_pass_set_copied(struct byre_pass *pass, struct byre_sweep *sweep, struct byre_error *err)
{
    return visit_all(&(struct visit){ .pass = pass, .sweep = sweep, .table = set_table }, err);
}
