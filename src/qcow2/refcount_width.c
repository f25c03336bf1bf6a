/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another width for all refcounts of an image: see amend.h.
 *
 *   1. the old counts are read, block by block: does each fit the new width, and which blocks will be needed?
 *   2. room for a new table and all new blocks is taken in one piece behind the last cluster in use
 *   3. blocks and table are written there                          barrier
 *   4. table and width are switched to in the header's sector      barrier
 *
 * Invariants
 *   W1. The new blocks count themselves and the new table, and leave out the old blocks and the old table.  Nothing
 *       that anything refers to is written to before the switch: a crash leaves the old counts or the new ones.
 *   W2. The new place is free according to the old counts, and no metadata lies there whatever they say.
 *   W3. Blocks that would count nothing are left out.
 * Memory: 16 bytes for each refcount block, and 4 MiB.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "qcow2/amend.h"
#include "qcow2/image.h"

#define BATCH_BYTES (2u << 20)

/* An old block, and a new one: which range of clusters it counts, and where it is. */
struct block {
    uint64_t index, hoff;
};

typedef VEC(struct block) block_vec;

struct width_change {
    struct byre_qcow2 *image;
    unsigned old_order, order;
    unsigned old_bits, bits;     /* log2 of the entries of a block */
    block_vec old;               /* ascending by index */
    byre_offset_vec needed;      /* indexes of the new blocks: ascending */
    byre_offset_vec left_out;    /* clusters of the old structures: ascending */
    uint64_t used;               /* clusters from here on have no reference */
    uint64_t first, table, count; /* the new structures: clusters, those of the table come first */
    const struct byre_amend_progress *progress;
    uint64_t done;               /* old blocks that were read, in both passes */
    uint8_t *block;              /* an old one */
    uint8_t *batch;              /* new ones */
    size_t batch_blocks;         /* that fit `batch` */
};

static int no_memory(struct byre_error *err)
{
    return byre_error_set_errno(err, -ENOMEM, "refcount blocks");
}

static uint64_t table_bytes(const struct width_change *change, uint64_t entries)
{
    return byre_round_up(entries * 8, change->image->cluster_size);
}

/* --- the old counts --- */

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int list_old(struct width_change *change, struct byre_error *err)
{
    struct byre_qcow2 *image = change->image;
    uint64_t first = byre_cluster_of(image, image->header.reftable_hoff);
    int rc = 0;

    for (uint32_t i = 0; i < image->header.reftable_clusters; i++) {
        if (vec_push(&change->left_out, first + i) < 0)
            return no_memory(err);
    }
    for (uint32_t i = 0; i < image->reftable.entry_count && rc == 0; i++) {
        uint64_t entry = 0;

        rc = byre_table_get(&image->reftable, image->store, i, &entry, err);
        entry &= BYRE_REFTABLE_OFFSET_MASK;
        if (rc < 0 || !entry)
            continue;
        if (entry & (image->cluster_size - 1))
            return byre_corrupt_locked(image, err, "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx32
                                       ")", entry, i);
        if (vec_push(&change->old, (struct block){ i, entry }) < 0 ||
            vec_push(&change->left_out, byre_cluster_of(image, entry)) < 0)
            return no_memory(err);
    }
    if (rc == 0)
        qsort(change->left_out.ptr, change->left_out.len, sizeof *change->left_out.ptr, compare_offsets);
    return rc;
}

static int load_old(struct width_change *change, size_t i, struct byre_error *err)
{
    struct byre_qcow2 *image = change->image;

    if (change->progress->report)
        change->progress->report(change->progress->opaque, change->done, 2 * change->old.len);
    change->done++;
    return byre_store_pread(image->store, change->block, image->cluster_size, change->old.ptr[i].hoff, err);
}

/* The first of `left_out` that is `cluster` or behind it. */
static size_t find_left_out(const struct width_change *change, uint64_t cluster)
{
    size_t low = 0, high = change->left_out.len;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (change->left_out.ptr[middle] < cluster)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Takes the old structures out of the counts in `block`, which are those of the clusters from `start` on. */
static void leave_out(struct width_change *change, uint64_t start)
{
    uint64_t end = start + (UINT64_C(1) << change->old_bits);

    for (size_t i = find_left_out(change, start); i < change->left_out.len && change->left_out.ptr[i] < end; i++) {
        size_t index = (size_t)(change->left_out.ptr[i] - start);
        uint64_t count = byre_refcount_get(change->block, index, change->old_order);

        if (count)
            byre_refcount_set(change->block, index, change->old_order, count - 1);
    }
}

static bool is_zero_word(const uint8_t *bytes)
{
    uint64_t word;

    memcpy(&word, bytes, sizeof word);
    return !word;
}

static int need(struct width_change *change, uint64_t index, struct byre_error *err)
{
    size_t n = change->needed.len;

    if (n && change->needed.ptr[n - 1] == index)
        return 0;
    return vec_push(&change->needed, index) < 0 ? no_memory(err) : 0;
}

/* Do the counts of the block fit?  Notes which new blocks they need. */
static int judge_block(struct width_change *change, uint64_t start, struct byre_error *err)
{
    uint64_t most = byre_refcount_max(change->order), entries = UINT64_C(1) << change->old_bits;
    unsigned per_word = 64u >> change->old_order;
    int rc = 0;

    for (uint64_t i = 0; i < entries && rc == 0; i += per_word) {
        if (is_zero_word(change->block + (i << change->old_order) / 8))
            continue;
        for (uint64_t k = i; k < i + per_word && rc == 0; k++) {
            uint64_t count = byre_refcount_get(change->block, (size_t)k, change->old_order);

            if (!count)
                continue;
            if (count > most)
                return byre_error_set(err, -EINVAL, "Cannot decrease refcount entry width to %u bits: Cluster at "
                                      "offset %#" PRIx64 " has a refcount of %" PRIu64, 1u << change->order,
                                      (start + k) << change->image->cluster_bits, count);
            change->used = start + k + 1;
            rc = need(change, (start + k) >> change->bits, err);
        }
    }
    return rc;
}

static int judge_old(struct width_change *change, struct byre_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < change->old.len && rc == 0; i++) {
        uint64_t start = change->old.ptr[i].index << change->old_bits;

        rc = load_old(change, i, err);
        if (rc < 0)
            break;
        leave_out(change, start);
        rc = judge_block(change, start, err);
    }
    /* The old structures stay where they are until the switch. */
    if (rc == 0 && change->left_out.len)
        change->used = MAX(change->used, change->left_out.ptr[change->left_out.len - 1] + 1);
    return rc;
}

/* --- the new place --- */

/* The new structures count themselves: their size grows until that is so. */
static int find_place(struct width_change *change, struct byre_error *err)
{
    struct byre_qcow2 *image = change->image;
    uint64_t old_needed = change->needed.len, before = 0, entries, last;
    uint64_t highest = old_needed ? change->needed.ptr[old_needed - 1] : 0;

    change->first = change->used;
    change->count = 2;
    do {
        uint64_t own_first = change->first >> change->bits, blocks;

        before = change->count;
        last = (change->first + change->count - 1) >> change->bits;
        /* Nothing is in use behind the place: of its blocks only the first may be needed anyway. */
        blocks = old_needed + (last - own_first + 1) - (old_needed && highest == own_first);
        entries = last + 1;
        change->table = table_bytes(change, entries) >> image->cluster_bits;
        change->count = MAX(change->table + blocks, before);
    } while (change->count > before);
    if (table_bytes(change, entries) > BYRE_QCOW2_REFTABLE_BYTES_MAX ||
        change->first + change->count > byre_cluster_of(image, image->store_limit))
        return byre_error_set(err, -EFBIG, "'%s' uses clusters that no refcount table of %u bits can describe",
                              image->store->name, 1u << change->order);
    for (uint64_t i = change->first >> change->bits; i <= last; i++) {
        int rc = need(change, i, err);

        if (rc < 0)
            return rc;
    }
    change->count = change->table + change->needed.len;
    return byre_alloc_check_locked(image, change->first, change->count, err);
}

/* --- writing --- */

/* The counts of `block`, those of clusters from `start` on, go into the blocks of `batch`: needed[first] and so on. */
static void convert_block(struct width_change *change, uint64_t start, size_t first, size_t n)
{
    uint64_t end = start + (UINT64_C(1) << change->old_bits), size = change->image->cluster_size;

    for (size_t i = 0; i < n; i++) {
        uint64_t from = change->needed.ptr[first + i] << change->bits;
        uint64_t to = MIN(from + (UINT64_C(1) << change->bits), end);
        uint8_t *block = change->batch + i * size;

        for (uint64_t k = MAX(from, start); k < to; k++) {
            uint64_t count = byre_refcount_get(change->block, (size_t)(k - start), change->old_order);

            if (count)
                byre_refcount_set(block, (size_t)(k - from), change->order, count);
        }
    }
}

/* Those of the new structures. */
static void count_new(struct width_change *change, size_t first, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t from = change->needed.ptr[first + i] << change->bits;
        uint64_t to = MIN(from + (UINT64_C(1) << change->bits), change->first + change->count);

        for (uint64_t k = MAX(from, change->first); k < to; k++)
            byre_refcount_set(change->batch + i * (size_t)change->image->cluster_size, (size_t)(k - from),
                              change->order, 1);
    }
}

/* Fills and writes the new blocks from needed[first] on. */
static int write_batch(struct width_change *change, size_t first, size_t n, size_t *old, struct byre_error *err)
{
    struct byre_qcow2 *image = change->image;
    uint64_t from = change->needed.ptr[first] << change->bits;
    uint64_t to = (change->needed.ptr[first + n - 1] + 1) << change->bits;
    uint64_t hoff = (change->first + change->table + first) << image->cluster_bits;
    int rc = 0;

    memset(change->batch, 0, n * (size_t)image->cluster_size);
    for (size_t i = *old; i < change->old.len && rc == 0; i++) {
        uint64_t start = change->old.ptr[i].index << change->old_bits;

        if (start >= to)
            break;
        if (start + (UINT64_C(1) << change->old_bits) <= from)
            continue;
        rc = load_old(change, i, err);
        if (rc < 0)
            return rc;
        leave_out(change, start);
        convert_block(change, start, first, n);
        *old = i; /* it may go on in the next batch */
    }
    count_new(change, first, n);
    return byre_store_pwrite(image->store, change->batch, n * (size_t)image->cluster_size, hoff, err);
}

static int write_table(struct width_change *change, struct byre_error *err)
{
    struct byre_qcow2 *image = change->image;
    uint64_t length = change->table << image->cluster_bits;
    CLEANUP(free_ptr) uint8_t *table = calloc(1, length);

    if (!table)
        return no_memory(err);
    for (size_t i = 0; i < change->needed.len; i++)
        byre_put_be64(table + change->needed.ptr[i] * 8, (change->first + change->table + i) << image->cluster_bits);
    return byre_store_pwrite(image->store, table, length, change->first << image->cluster_bits, err);
}

static int write_new(struct width_change *change, struct byre_error *err)
{
    size_t old = 0, n;
    int rc = 0;

    change->done = change->old.len;
    for (size_t i = 0; i < change->needed.len && rc == 0; i += n) {
        n = MIN(change->batch_blocks, change->needed.len - i);
        rc = write_batch(change, i, n, &old, err);
    }
    if (rc == 0)
        rc = write_table(change, err);
    return rc == 0 ? byre_barrier(change->image, err) : rc;
}

/* --- the switch --- */

static int switch_header(struct width_change *change, struct byre_error *err)
{
    struct byre_qcow2 *image = change->image;
    struct byre_qcow2_header next = image->header;
    struct byre_table table;
    int rc;

    next.reftable_hoff = change->first << image->cluster_bits;
    next.reftable_clusters = (uint32_t)change->table;
    next.refcount_order = change->order;
    rc = byre_table_init(&table, image->reftable.what, next.reftable_hoff,
                         (uint32_t)(change->table << (image->cluster_bits - 3)), false, err);
    if (rc < 0)
        return rc;
    table.load_event = image->reftable.load_event;
    rc = byre_header_switch_disk_locked(image, &next, err);
    if (rc < 0) {
        byre_table_done(&table);
        return rc;
    }
    image->header.reftable_hoff = next.reftable_hoff;
    image->header.reftable_clusters = next.reftable_clusters;
    image->header.refcount_order = next.refcount_order;
    image->refblock_bits = change->bits;
    byre_table_done(&image->reftable);
    image->reftable = table;
    byre_slices_clear(&image->slices);
    byre_metadata_forget_locked(image);
    image->pack_hoff = 0; /* a cluster may hold fewer compressed ones now */
    image->used_end = MAX(image->used_end, (change->first + change->count) << image->cluster_bits);
    return 0;
}

/* The old structures are free.  Space that cannot be given back is no failure. */
static void free_old(struct width_change *change)
{
    struct byre_qcow2 *image = change->image;
    size_t n;

    for (size_t i = 0; i < change->left_out.len; i += n) {
        uint64_t cluster = change->left_out.ptr[i];

        for (n = 1; i + n < change->left_out.len && change->left_out.ptr[i + n] == cluster + n; n++)
            ;
        byre_alloc_freed_locked(image, cluster, n);
        (void)byre_store_discard(image->store, cluster << image->cluster_bits, n << image->cluster_bits, NULL);
    }
}

/* What only reads. */
static int plan_locked(struct width_change *change, struct byre_error *err)
{
    struct byre_qcow2 *image = change->image;
    int rc = byre_check_writable_locked(image, err);

    change->block = malloc(image->cluster_size);
    if (rc == 0 && !change->block)
        rc = no_memory(err);
    if (rc == 0)
        rc = list_old(change, err);
    if (rc == 0)
        rc = judge_old(change, err);
    return rc < 0 ? rc : find_place(change, err);
}

static int change_locked(struct width_change *change, struct byre_error *err)
{
    int rc = plan_locked(change, err);

    change->batch_blocks = MAX(BATCH_BYTES >> change->image->cluster_bits, 1u);
    if (rc == 0)
        change->batch = malloc(change->batch_blocks << change->image->cluster_bits);
    if (rc == 0 && !change->batch)
        rc = no_memory(err);
    if (rc == 0)
        rc = write_new(change, err);
    if (rc == 0)
        rc = switch_header(change, err);
    if (rc == 0)
        free_old(change);
    return rc;
}

static void change_begin(struct width_change *ret_change, struct byre_qcow2 *image, unsigned order,
                         const struct byre_amend_progress *progress)
{
    *ret_change = (struct width_change){
        .image = image, .order = order, .old_order = image->header.refcount_order, .progress = progress,
        .bits = image->cluster_bits + 3 - order, .old_bits = image->refblock_bits,
    };
}

static void change_done(struct width_change *change)
{
    vec_done(&change->old);
    vec_done(&change->needed);
    vec_done(&change->left_out);
    free(change->block);
    free(change->batch);
}

int byre_qcow2_check_refcount_order(struct byre_qcow2 *image, unsigned order, struct byre_error *err)
{
    static const struct byre_amend_progress silent;
    struct width_change change;
    int rc;

    if (order == image->header.refcount_order)
        return 0;
    change_begin(&change, image, order, &silent);
    pthread_mutex_lock(&image->mutex);
    rc = plan_locked(&change, err);
    pthread_mutex_unlock(&image->mutex);
    change_done(&change);
    return rc;
}

int byre_qcow2_set_refcount_order(struct byre_qcow2 *image, unsigned order, const struct byre_amend_progress *progress,
                                  struct byre_error *err)
{
    struct width_change change;
    int rc;

    if (order == image->header.refcount_order)
        return 0;
    if (image->header.version < 3)
        return byre_error_set(err, -EINVAL, "Refcount widths other than 16 bits require compatibility level 1.1 or "
                              "above (use compat=1.1 or greater)");
    rc = byre_image_settle(image, err);
    if (rc < 0)
        return rc;
    change_begin(&change, image, order, progress);
    pthread_mutex_lock(&image->mutex);
    rc = change_locked(&change, err);
    pthread_mutex_unlock(&image->mutex);
    change_done(&change);
    return rc < 0 ? rc : byre_image_trim(image, err);
}
