/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables of the file that are found through other tables: L1 tables and bitmap tables.
 *
 * Each byte is counted and read once, also where (damaged or hostile) tables overlap: the ends of the tables
 * cut the file into stretches, and what a stretch holds counts as often as tables cover it.
 */
#include "config.h"

#include <stdlib.h>

#include "base/arith.h"
#include "base/endian.h"
#include "qcow2/check_state.h"

/* Where a table starts (delta 1) or ends (-1). */
struct edge {
    uint64_t at;
    enum byre_check_kind kind;
    int delta;
};

typedef VEC(struct edge) edge_vec;

/* A part of the file, and how many tables of each kind cover it. */
struct stretch {
    uint64_t start, end;
    uint64_t covers[BYRE_CHECK_KINDS];
};

int byre_check_add_span(struct byre_check_state *state, uint64_t hoff, uint32_t entries,
                        enum byre_check_kind kind, struct byre_error *err)
{
    struct byre_check_span span = { hoff, hoff + (uint64_t)entries * 8, kind };

    if (entries == 0)
        return 0;
    if (!byre_check_region_inside(state, hoff, (uint64_t)entries * 8, 1))
        state->references_lost = true;
    else if (vec_push(&state->spans, span) < 0)
        return byre_error_set_errno(err, -ENOMEM, "collecting the tables");
    return 0;
}

static int compare_edges(const void *pa, const void *pb)
{
    const struct edge *a = pa, *b = pb;

    return a->at < b->at ? -1 : a->at > b->at;
}

static int collect_edges(struct byre_check_state *state, edge_vec *edges, struct byre_error *err)
{
    for (size_t i = 0; i < state->spans.len; i++) {
        const struct byre_check_span *span = &state->spans.ptr[i];

        if (vec_push(edges, (struct edge){ span->start, span->kind, 1 }) < 0 ||
            vec_push(edges, (struct edge){ span->end, span->kind, -1 }) < 0)
            return byre_error_set_errno(err, -ENOMEM, "collecting the tables");
    }
    if (edges->len)
        qsort(edges->ptr, edges->len, sizeof *edges->ptr, compare_edges);
    return 0;
}

/* Counts the clusters whose first byte is in the stretch: as tables start with a cluster, each table that
 * covers a part of a cluster covers its first byte. */
static int count_clusters(struct byre_check_state *state, const struct stretch *stretch, uint64_t times,
                          struct byre_error *err)
{
    uint64_t cluster = byre_div_up(stretch->start, state->cluster_size);

    for (; cluster << state->cluster_bits < stretch->end; cluster++) {
        int rc = byre_check_count(state, cluster, times, BYRE_CELL_TABLE, err);

        if (rc == 0 && times > 1)
            rc = byre_check_count(state, cluster, 0, BYRE_CELL_CLASH, err);
        if (rc < 0)
            return rc;
    }
    state->end_clusters = MAX(state->end_clusters, cluster); /* a table may begin where the file ends */
    return 0;
}

static int follow_entry(struct byre_check_state *state, const struct stretch *stretch, uint64_t hoff,
                        uint64_t entry, struct byre_error *err)
{
    uint64_t active = stretch->covers[BYRE_CHECK_ACTIVE_L1];
    uint64_t l1 = active + stretch->covers[BYRE_CHECK_SNAPSHOT_L1];
    uint64_t bitmaps = stretch->covers[BYRE_CHECK_BITMAP];
    int rc = l1 ? byre_check_l1_entry(state, hoff, entry, l1, (uint32_t)active, err) : 0;

    return rc == 0 && bitmaps ? byre_check_bitmap_entry(state, entry, bitmaps, err) : rc;
}

static int read_stretch(struct byre_check_state *state, const struct stretch *stretch, struct byre_error *err)
{
    for (uint64_t at = stretch->start; at < stretch->end;) {
        struct byre_error reason = BYRE_ERROR_INIT;
        size_t length = (size_t)MIN(stretch->end - at, (uint64_t)state->buf_size);
        bool empty = true;

        if (byre_check_load(state, at, length, &empty, &reason) < 0)
            byre_check_unreadable(state, &reason);
        for (size_t i = 0; !empty && i < length; i += 8) {
            uint64_t entry = byre_get_be64(state->buf + i);
            int rc = entry ? follow_entry(state, stretch, at + i, entry, err) : 0;

            if (rc < 0)
                return rc;
        }
        at += length;
    }
    return 0;
}

static int walk_edges(struct byre_check_state *state, const edge_vec *edges, struct byre_error *err)
{
    struct stretch stretch = { 0, 0, { 0 } };
    uint64_t times = 0;

    for (size_t i = 0; i < edges->len; i++) {
        const struct edge *edge = &edges->ptr[i];
        int rc;

        stretch.end = edge->at;
        if (times && stretch.end > stretch.start &&
            ((rc = count_clusters(state, &stretch, times, err)) < 0 ||
             (rc = read_stretch(state, &stretch, err)) < 0))
            return rc;
        stretch.start = edge->at;
        stretch.covers[edge->kind] += (uint64_t)(int64_t)edge->delta;
        times += (uint64_t)(int64_t)edge->delta;
    }
    return 0;
}

int byre_check_walk_spans(struct byre_check_state *state, struct byre_error *err)
{
    edge_vec edges = VEC_INIT;
    int rc = collect_edges(state, &edges, err);

    if (rc == 0)
        rc = walk_edges(state, &edges, err);
    vec_done(&edges);
    return rc;
}
