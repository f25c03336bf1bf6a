/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the checker share.  A check goes through these steps, one file each:
 *   check_snapshots, check_bitmaps   count what the header leads to, and collect L1 and bitmap tables
 *   check_spans                      read those tables, entry by entry
 *   check_l1                         collect the L2 tables
 *   check_l2                         read the L2 tables, and count the clusters
 *   check_blocks                     read the refcount table, and count the refcount blocks
 *   check_compare                    compare the counts with the refcounts
 *   repair, check_copied             correct refcounts, look at COPIED flags and correct them
 *
 * Invariants: every table is read at most once a step, however many tables point to it (`times`); a reference
 * is counted only if it lies within the file; no table that cannot be followed lets its clusters be freed.
 */
#ifndef BYRE_QCOW2_CHECK_STATE_H
#define BYRE_QCOW2_CHECK_STATE_H

#include "base/vec.h"
#include "qcow2/check.h"
#include "qcow2/check_counts.h"
#include "qcow2/check_reader.h"

#define BYRE_CHECK_BUF_MIN (64u << 10)
#define BYRE_CHECK_BUF_MAX (256u << 10) /* or a cluster; this much stays in a processor's cache */

enum byre_check_kind {
    BYRE_CHECK_ACTIVE_L1,
    BYRE_CHECK_SNAPSHOT_L1,
    BYRE_CHECK_BITMAP, /* a bitmap table */
    BYRE_CHECK_KINDS,
};

/* A table of 64-bit entries: [start, end) in the store; it starts with a cluster. */
struct byre_check_span {
    uint64_t start, end;
    enum byre_check_kind kind;
};

/* An L2 table, once for all L1 entries that point to it. */
struct byre_check_l2 {
    uint64_t hoff;
    uint64_t times;  /* L1 entries, of all L1 tables */
    uint32_t active; /* ... of these, of the active one */
    uint32_t flags;  /* BYRE_CELL_EXCLUSIVE, BYRE_CELL_SHARED: how the active ones are marked */
};

/* A refcount block: one entry of the refcount table. */
struct byre_check_block {
    uint64_t hoff;
    uint32_t index;
    bool usable;   /* may be read: aligned, within the file, the first entry that points there */
    bool writable; /* may be corrected: nothing else refers to it */
    bool raise;    /* some refcounts are to be raised */
    bool lower;    /* some are to be lowered */
};

struct byre_check_state {
    struct byre_store *store;
    const struct byre_qcow2_header *header;
    const struct byre_check_options *callbacks; /* may be NULL */
    unsigned repair;                            /* enum byre_repair */

    uint32_t cluster_size;
    unsigned cluster_bits;
    uint64_t file_clusters; /* clusters that the file has, the last one perhaps in part */
    uint64_t end_clusters;  /* ... or one more, where a compressed cluster reaches beyond */

    struct byre_check_reader reader;
    struct byre_counts counts;
    VEC(struct byre_check_span) spans;
    VEC(struct byre_check_l2) l2_tables;
    VEC(struct byre_check_block) blocks; /* ascending by index */

    bool references_lost; /* a table could not be followed: what it refers to is unknown */
    bool blocks_lost;     /* a part of the refcount table could not be read */
    bool copied_suspect;  /* some COPIED flag is wrong, or must be looked at */
    bool refcounts_left;  /* some refcount or COPIED flag is wrong and stays so */
    bool wrote;           /* something was written since the last barrier */
    uint64_t last_used;   /* highest cluster in use + 1 */

    uint64_t progress_done, progress_total;
    struct byre_check_result result;
    uint8_t *buf;
    size_t buf_size; /* a multiple of the cluster size, at least BYRE_CHECK_BUF_MIN */
};

/* check.c: findings */
void byre_check_say(struct byre_check_state *state, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Reports a corruption that counts `times`. */
void byre_check_corrupt(struct byre_check_state *state, uint64_t times, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Reports a table that the store could not read: `err` tells why, and its references are lost. */
void byre_check_unreadable(struct byre_check_state *state, const struct byre_error *err);
void byre_check_progress(struct byre_check_state *state, uint64_t more);

/* check.c: false if the region exceeds the file by a cluster or more; then that is reported. */
bool byre_check_region_inside(struct byre_check_state *state, uint64_t hoff, uint64_t size, uint64_t times);

/*
 * check.c: counts `times` references, with cell flags, to every cluster that [hoff, hoff+size) touches.
 * Returns 0; 1 if the region exceeds the file by a cluster or more: reported, and not counted; or -errno.
 */
int byre_check_count_region(struct byre_check_state *state, uint64_t hoff, uint64_t size, uint64_t times,
                            unsigned flags, struct byre_error *err);
/* Says why byre_counts_add failed: fills `err`, returns `rc`. */
int byre_check_count_failed(const struct byre_check_state *state, int rc, struct byre_error *err);

/* As byre_counts_add, with the error filled. */
static inline int byre_check_count(struct byre_check_state *state, uint64_t cluster, uint64_t times,
                                   unsigned flags, struct byre_error *err)
{
    int rc = byre_counts_add(&state->counts, cluster, times, flags);

    return rc == 0 ? 0 : byre_check_count_failed(state, rc, err);
}

/* check.c: true if all clusters of [hoff, hoff+length) are referred to `times` times, and by nothing of
 * another kind: what a repair may write to without hitting something else. */
bool byre_check_is_alone(const struct byre_check_state *state, uint64_t hoff, uint64_t length,
                         uint64_t times);
/* As byre_check_read, into state->buf; lets the counts grow with what was read. */
int byre_check_load(struct byre_check_state *state, uint64_t hoff, size_t length, bool *ret_empty,
                    struct byre_error *err);
/* Writes the sectors of state->buf, which holds what is at `hoff`, that cover bytes [first, last]. */
int byre_check_write_back(struct byre_check_state *state, uint64_t hoff, size_t first, size_t last,
                          struct byre_error *err);

int byre_check_snapshots(struct byre_check_state *state, struct byre_error *err);
int byre_check_bitmaps(struct byre_check_state *state, struct byre_error *err);

/* Notes a table for byre_check_walk_spans, which counts it; reports one that lies outside the file. */
int byre_check_add_span(struct byre_check_state *state, uint64_t hoff, uint32_t entries,
                        enum byre_check_kind kind, struct byre_error *err);
/* Counts and reads all tables that were noted, and passes their entries to the two functions that follow:
 * `times` tables share the entry, of the active L1 table it is `active` times. */
int byre_check_walk_spans(struct byre_check_state *state, struct byre_error *err);
int byre_check_l1_entry(struct byre_check_state *state, uint64_t entry, uint64_t times, uint32_t active,
                        struct byre_error *err);
int byre_check_bitmap_entry(struct byre_check_state *state, uint64_t entry, uint64_t times,
                            struct byre_error *err);

/* Counts the L2 tables that L1 entries led to, and leaves each one of the file once, in ascending order. */
int byre_check_collect_l2(struct byre_check_state *state, struct byre_error *err);
int byre_check_walk_l2(struct byre_check_state *state, struct byre_error *err);

/* Reads the refcount table into state->blocks; counting comes last, when all other references are known. */
int byre_check_load_blocks(struct byre_check_state *state, struct byre_error *err);
int byre_check_count_blocks(struct byre_check_state *state, struct byre_error *err);
/* The block that holds the refcount of `cluster`, if it may be read; or NULL. */
struct byre_check_block *byre_check_find_block(struct byre_check_state *state, uint64_t cluster);

/* Compares all counts with the refcounts and reports; marks what to repair in state->blocks, and cells whose
 * COPIED flags will be wrong after that repair. */
int byre_check_compare(struct byre_check_state *state, struct byre_error *err);
/* What a refcount in `block` (or NULL) will be after the repair, if `references` is what it should be. */
uint64_t byre_check_planned(const struct byre_check_state *state, const struct byre_check_block *block,
                            uint64_t refcount, uint64_t references);

/* Finds every wrong COPIED flag, and corrects it if `fix`. */
int byre_check_copied(struct byre_check_state *state, bool fix, struct byre_error *err);

/* Corrects what byre_check_compare marked, then COPIED flags, then the header's bits. */
int byre_check_repair(struct byre_check_state *state, struct byre_error *err);

#endif
