/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of a check, and what its steps share: findings, counting of regions, and the buffer.
 */
#include "config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/check_state.h"
#include "qcow2/fmt_refcount.h"

#define ROUNDS_MAX 16u    /* of repairs that need a new count */
#define PAGES_FREE 32768u /* pages of counts that any image may fill: 16 Mi clusters, 8 MiB of memory */

static void say(struct byre_check_state *state, const char *fmt, va_list args)
{
    char line[512];

    if (!state->callbacks || !state->callbacks->report)
        return;
    vsnprintf(line, sizeof line, fmt, args);
    state->callbacks->report(state->callbacks->opaque, line);
}

void byre_check_say(struct byre_check_state *state, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(state, fmt, args);
    va_end(args);
}

void byre_check_corrupt(struct byre_check_state *state, uint64_t times, const char *fmt, ...)
{
    va_list args;

    state->result.corruptions += times;
    va_start(args, fmt);
    say(state, fmt, args);
    va_end(args);
}

void byre_check_unreadable(struct byre_check_state *state, const struct byre_error *err)
{
    state->result.check_errors++;
    state->references_lost = true;
    byre_check_say(state, "ERROR %s", err->text);
}

void byre_check_progress(struct byre_check_state *state, uint64_t more)
{
    state->progress_done += more;
    if (state->callbacks && state->callbacks->progress)
        state->callbacks->progress(state->callbacks->opaque, state->progress_done, state->progress_total);
}

int byre_check_count_failed(const struct byre_check_state *state, int rc, struct byre_error *err)
{
    if (rc == -EFBIG)
        return byre_error_set(err, rc, "'%s' refers to more clusters than its tables can describe",
                              state->store->name);
    return byre_error_set_errno(err, rc, "counting the references in '%s'", state->store->name);
}

bool byre_check_region_inside(struct byre_check_state *state, uint64_t hoff, uint64_t size, uint64_t times)
{
    uint64_t end;

    if (byre_add_fits(hoff, size, &end) &&
        (end <= state->reader.size || end - state->reader.size < state->cluster_size))
        return true;
    byre_check_corrupt(state, times,
                       "ERROR: counting reference for region exceeding the end of the file by one cluster or "
                       "more: offset 0x%" PRIx64 " size 0x%" PRIx64,
                       hoff, size);
    return false;
}

int byre_check_count_region(struct byre_check_state *state, uint64_t hoff, uint64_t size, uint64_t times,
                            unsigned flags, struct byre_error *err)
{
    uint64_t last;

    if (size == 0)
        return 0;
    if (!byre_check_region_inside(state, hoff, size, times))
        return 1;
    last = (hoff + size - 1) >> state->cluster_bits;
    for (uint64_t cluster = hoff >> state->cluster_bits; cluster <= last; cluster++) {
        int rc = byre_check_count(state, cluster, times, flags, err);

        if (rc < 0)
            return rc;
    }
    state->end_clusters = MAX(state->end_clusters, last + 1);
    return 0;
}

bool byre_check_is_alone(const struct byre_check_state *state, uint64_t hoff, uint64_t length, uint64_t times)
{
    uint64_t last = (hoff + length - 1) >> state->cluster_bits;

    for (uint64_t cluster = hoff >> state->cluster_bits; cluster <= last; cluster++) {
        struct byre_cell cell = byre_counts_get(&state->counts, cluster);

        if ((cell.flags & BYRE_CELL_CLASH) || cell.count != times)
            return false;
    }
    return true;
}

int byre_check_load(struct byre_check_state *state, uint64_t hoff, size_t length, bool *ret_empty,
                    struct byre_error *err)
{
    int rc = byre_check_read(&state->reader, hoff, state->buf, length, ret_empty, err);

    byre_check_allow_counts(state);
    return rc;
}

/* An entry of 8 bytes touches two pages at most (a compressed cluster that straddles them). */
void byre_check_allow_counts(struct byre_check_state *state)
{
    state->counts.page_limit = PAGES_FREE + state->reader.stored / 4;
}

int byre_check_write_back(struct byre_check_state *state, uint64_t hoff, size_t first, size_t last,
                          struct byre_error *err)
{
    size_t from = (size_t)byre_round_down(first, 512);
    size_t to = (size_t)byre_round_up(last + 1, 512);

    /* A last sector that the file has only in part stays so, unless the change lies beyond. */
    if (hoff + to > state->reader.size)
        to = hoff + last < state->reader.size ? (size_t)(state->reader.size - hoff) : last + 1;
    state->wrote = true;
    return byre_store_pwrite(state->store, state->buf + from, to - from, hoff + from, err);
}

static bool is_offset(const struct byre_qcow2_header *header, uint64_t hoff)
{
    return byre_is_aligned(hoff, 1ULL << header->cluster_bits) && hoff <= INT64_MAX;
}

/* What a careful parser has refused already: the checker relies on it for its own safety. */
static int check_header(const struct byre_qcow2_header *header, struct byre_error *err)
{
    if (header->cluster_bits < BYRE_QCOW2_CLUSTER_BITS_MIN ||
        header->cluster_bits > BYRE_QCOW2_CLUSTER_BITS_MAX)
        return byre_error_set(err, -EINVAL, "Unsupported cluster size: 2^%" PRIu32, header->cluster_bits);
    if (header->refcount_order > 6)
        return byre_error_set(err, -EINVAL, "Reference count entry width too large");
    if (header->l1_size > BYRE_QCOW2_L1_BYTES_MAX / 8)
        return byre_error_set(err, -EFBIG, "Active L1 table too large");
    if (header->reftable_clusters > BYRE_QCOW2_REFTABLE_BYTES_MAX >> header->cluster_bits)
        return byre_error_set(err, -EFBIG, "Reference count table too large");
    if (header->snapshot_count > BYRE_QCOW2_SNAPSHOTS_MAX)
        return byre_error_set(err, -EFBIG, "Snapshot table too large");
    if (!is_offset(header, header->l1_hoff))
        return byre_error_set(err, -EINVAL, "Active L1 table offset invalid");
    if (!is_offset(header, header->reftable_hoff))
        return byre_error_set(err, -EINVAL, "Reference count table offset invalid");
    if (header->snapshot_count > 0 && !is_offset(header, header->snapshots_hoff))
        return byre_error_set(err, -EINVAL, "Snapshot table offset invalid");
    return 0;
}

static int state_init(struct byre_check_state *state, struct byre_error *err)
{
    uint64_t size;
    int rc = byre_store_size(state->store, &size, err);

    if (rc < 0)
        return rc;
    state->cluster_bits = state->header->cluster_bits;
    state->cluster_size = 1u << state->cluster_bits;
    state->buf_size = (size_t)MIN(size, (uint64_t)BYRE_CHECK_BUF_MAX);
    state->buf_size = MAX(state->buf_size, (size_t)BYRE_CHECK_BUF_MIN);
    state->buf_size = (size_t)byre_round_up(state->buf_size, state->cluster_size);
    state->buf = malloc(state->buf_size);
    if (!state->buf)
        return byre_error_set_errno(err, -ENOMEM, "checking '%s'", state->store->name);
    return 0;
}

/* Forgets what a round has counted; what was repaired stays. */
static int start_round(struct byre_check_state *state, struct byre_error *err)
{
    struct byre_check_result result = {
        .corruptions_fixed = state->result.corruptions_fixed,
        .leaks_fixed = state->result.leaks_fixed,
        .total_clusters = byre_div_up(state->header->size, state->cluster_size),
    };
    int rc;

    byre_counts_done(&state->counts);
    state->spans.len = state->l2_tables.len = state->blocks.len = 0;
    state->regions.len = state->snapshots.len = state->bitmaps.len = 0;
    state->references_lost = state->blocks_lost = state->copied_suspect = state->refcounts_left = false;
    state->rebuild = state->snapshots_cut = state->bitmaps_lost = false;
    state->last_used = state->next_free = state->bitmaps_at = 0;
    state->progress_done = 0;
    state->result = result;
    rc = byre_check_reader_init(&state->reader, state->store, err);
    if (rc < 0)
        return rc;
    state->file_clusters = byre_div_up(state->reader.size, state->cluster_size);
    state->end_clusters = state->file_clusters;
    state->data_file_raw = state->header->incompatible & BYRE_QCOW2_INCOMPAT_DATA_FILE &&
                           state->header->autoclear & BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    byre_check_allow_counts(state);
    return 0;
}

static void state_done(struct byre_check_state *state)
{
    byre_counts_done(&state->counts);
    vec_done(&state->spans);
    vec_done(&state->l2_tables);
    vec_done(&state->blocks);
    vec_done(&state->regions);
    vec_done(&state->snapshots);
    vec_done(&state->bitmaps);
    free(state->buf);
}

/* The LUKS header of an encrypted image: clusters that only its extension refers to. */
static int count_crypt_header(struct byre_check_state *state, struct byre_error *err)
{
    const struct byre_qcow2_header *header = state->header;
    size_t i = 0;
    uint64_t hoff, size;
    int rc;

    while (i < header->extension_count && header->extensions[i].type != BYRE_QCOW2_EXT_CRYPT_HEADER)
        i++;
    if (i == header->extension_count || header->extensions[i].length < 16)
        return 0;
    hoff = byre_get_be64(header->extensions[i].data);
    size = byre_get_be64(header->extensions[i].data + 8);
    if (!byre_is_aligned(hoff, state->cluster_size))
        return byre_error_set(err, -EINVAL,
                              "Encryption header offset '%" PRIu64
                              "' is not a multiple of cluster size '%" PRIu32 "'",
                              hoff, state->cluster_size);
    rc = byre_check_count_region(state, hoff, size, 1, BYRE_CELL_TABLE, err);
    if (rc > 0)
        state->references_lost = true;
    return rc == 0 ? byre_check_add_region(state, BYRE_REGION_CRYPT, 0, hoff, size, err) : MIN(rc, 0);
}

int byre_check_add_region(struct byre_check_state *state, enum byre_check_region_kind kind, uint32_t index,
                          uint64_t hoff, uint64_t size, struct byre_error *err)
{
    struct byre_check_region region = { .kind = kind, .index = index };

    if (size == 0)
        return 0;
    region.first = hoff >> state->cluster_bits;
    region.end = ((hoff + size - 1) >> state->cluster_bits) + 1;
    if (vec_push(&state->regions, region) < 0)
        return byre_error_set_errno(err, -ENOMEM, "collecting the tables");
    return 0;
}

/* Counts what the header itself refers to, but for refcounts, and collects L1 and bitmap tables. */
static int count_roots(struct byre_check_state *state, struct byre_error *err)
{
    const struct byre_qcow2_header *header = state->header;
    int rc = byre_check_count_region(state, 0, state->cluster_size, 1, BYRE_CELL_TABLE, err);

    if (rc >= 0)
        rc = byre_check_add_region(state, BYRE_REGION_HEADER, 0, 0, state->cluster_size, err);
    if (rc >= 0)
        rc = byre_check_add_span(state, header->l1_hoff, header->l1_size, BYRE_CHECK_ACTIVE_L1, err);
    if (rc >= 0)
        rc = byre_check_add_region(state, BYRE_REGION_ACTIVE_L1, 0, header->l1_hoff, header->l1_size * 8ULL, err);
    if (rc >= 0)
        rc = byre_check_snapshots(state, err);
    if (rc >= 0)
        rc = count_crypt_header(state, err);
    if (rc >= 0)
        rc = byre_check_bitmaps(state, err);
    return rc < 0 ? rc : 0;
}

/* Everything but the refcounts. */
static int count_references(struct byre_check_state *state, struct byre_error *err)
{
    int rc = count_roots(state, err);

    if (rc == 0)
        rc = byre_check_walk_spans(state, err);
    if (rc == 0)
        rc = byre_check_collect_l2(state, err);
    state->block_faults = state->result.corruptions;
    if (rc == 0)
        rc = byre_check_load_blocks(state, err);
    if (rc < 0)
        return rc;
    state->block_faults = state->result.corruptions - state->block_faults;
    state->progress_total = state->l2_tables.len + state->blocks.len;
    return byre_check_walk_l2(state, err);
}

/* One round.  *ret_again: something was changed, and everything is to be counted once more. */
static int run_round(struct byre_check_state *state, bool may_mend, bool *ret_again, struct byre_error *err)
{
    bool all = (state->repair & BYRE_REPAIR_ERRORS) && may_mend;
    int rc = start_round(state, err);

    *ret_again = false;
    if (rc < 0 || (rc = count_references(state, err)) < 0)
        return rc;
    if (all && (state->result.corruptions || state->counts.clashes ||
                state->counts.most > byre_refcount_max(state->header->refcount_order))) {
        rc = byre_check_mend(state, ret_again, err);
        if (rc < 0 || *ret_again)
            return rc;
    }
    state->structural = state->result.corruptions - state->block_faults;
    if ((rc = byre_check_count_blocks(state, err)) < 0 || (rc = byre_check_compare(state, err)) < 0)
        return rc;
    if (all && state->rebuild) {
        *ret_again = true;
        return byre_check_rebuild(state, err);
    }
    return state->repair ? byre_check_repair(state, err) : byre_check_copied(state, false, err);
}

/* Rounds end: each one but the last has corrected something, and what was corrected stays so.  The limit is for images
 * that are nothing but damage. */
static int run(struct byre_check_state *state, struct byre_error *err)
{
    bool again = true;
    int rc = 0;

    for (unsigned round = 0; again && rc == 0; round++)
        rc = run_round(state, round < ROUNDS_MAX, &again, err);
    state->result.image_end_hoff = state->last_used << state->cluster_bits;
    state->result.statistics_valid = true;
    return rc;
}

int byre_qcow2_check(struct byre_store *store, const struct byre_qcow2_header *header, unsigned repair,
                     const struct byre_check_options *callbacks, struct byre_check_result *ret_result,
                     struct byre_error *err)
{
    struct byre_qcow2_header copy = *header;
    struct byre_check_state state = {
        .store = store,
        .header = &copy,
        .callbacks = callbacks,
        .repair = repair & BYRE_REPAIR_ERRORS ? repair | BYRE_REPAIR_LEAKS : repair,
    };
    int rc;

    if ((rc = check_header(header, err)) < 0)
        return rc;
    rc = state_init(&state, err);
    if (rc == 0)
        rc = run(&state, err);
    if (rc == 0)
        *ret_result = state.result;
    state_done(&state);
    return rc;
}
