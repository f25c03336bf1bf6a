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
 * A repair of everything does this in rounds.  What was counted tells which entries cannot be true, and
 *   check_mend*                      correct them, or move what is in the way of something else,
 *   check_rebuild                    or makes new refcount structures;
 * and when one of them has changed anything, all is counted again.  So refcounts are corrected, and clusters
 * freed, only when nothing else is left to do.
 *
 * Invariants: every table is read at most once a step, however many tables point to it (`times`); a reference
 * is counted only if it lies within the file; no table that cannot be followed lets its clusters be freed.
 */
#ifndef BYRE_QCOW2_CHECK_STATE_H
#define BYRE_QCOW2_CHECK_STATE_H

#include "base/vec.h"
#include "qcow2/check.h"
#include "qcow2/check_ahead.h"
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

/* What the header leads to, and what that leads to, but for L2 tables, data and refcounts: where two of these claim
 * one cluster, the later one of this list has to go elsewhere. */
enum byre_check_region_kind {
    BYRE_REGION_HEADER,
    BYRE_REGION_ACTIVE_L1,
    BYRE_REGION_CRYPT,
    BYRE_REGION_SNAPSHOTS, /* the snapshot table */
    BYRE_REGION_SNAPSHOT_L1,
    BYRE_REGION_DIRECTORY, /* of bitmaps */
    BYRE_REGION_BITMAP,    /* a bitmap table */
};

struct byre_check_region {
    uint64_t first, end; /* clusters */
    enum byre_check_region_kind kind;
    uint32_t index;      /* of the snapshot or bitmap */
    bool in_the_way;     /* of another one */
};

/* An entry of the snapshot table. */
struct byre_check_snapshot {
    uint64_t at;      /* bytes from the start of the table */
    uint64_t l1_hoff; /* and its L1 table */
    uint32_t l1_size;
    bool lost;       /* there is no such L1 table */
    bool never;      /* the table is something else */
    bool moved;      /* it was found close to where it should be */
    bool incomplete; /* it lacks what version 3 wants */
};

/* An entry of the bitmap directory. */
struct byre_check_bitmap {
    uint64_t at;         /* bytes from the start of the directory */
    uint32_t length;
    uint64_t table_hoff;
    uint32_t table_size; /* entries */
    bool lost;           /* there is no such table */
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
    uint32_t l1_index; /* of an active one */
};

/* A refcount block: one entry of the refcount table. */
struct byre_check_block {
    uint64_t hoff;
    uint32_t index;
    bool usable;   /* may be read: aligned, within the file, the first entry that points there */
    bool writable; /* may be corrected: nothing else refers to it */
    bool counted;  /* its cluster has a reference from here */
    bool raise;    /* some refcounts are to be raised */
    bool lower;    /* some are to be lowered */
};

struct byre_check_state {
    struct byre_store *store;
    struct byre_qcow2_header *header; /* a copy, which a repair changes; what it points to is the caller's */
    const struct byre_check_options *callbacks; /* may be NULL */
    unsigned repair;                            /* enum byre_repair */

    uint32_t cluster_size;
    unsigned cluster_bits;
    uint64_t file_clusters; /* clusters that the file has, the last one perhaps in part */
    uint64_t end_clusters;  /* ... or one more, where a compressed cluster reaches beyond */
    bool data_file_raw;     /* an external data file, marked as raw */

    struct byre_check_reader reader;
    struct byre_counts counts;
    VEC(struct byre_check_span) spans;
    VEC(struct byre_check_l2) l2_tables;
    VEC(struct byre_check_block) blocks; /* ascending by index */

    VEC(struct byre_check_region) regions;
    VEC(struct byre_check_snapshot) snapshots;
    VEC(struct byre_check_bitmap) bitmaps;
    uint64_t snapshots_size; /* bytes of the snapshot table, as far as it was read */
    bool snapshots_cut;      /* ... and entries after that make no sense */
    uint64_t directory_hoff, directory_size;
    uint64_t bitmaps_at;     /* where the bitmaps extension has its data in the header; 0: there are no bitmaps */
    uint8_t bitmaps_data[24]; /* ... what it holds now, where a repair has changed it */
    bool bitmaps_moved;
    bool bitmaps_lost;       /* nothing of the bitmaps can be followed */

    uint64_t next_free; /* the first cluster that was not given out by byre_check_allocate */
    uint64_t structural;   /* corruptions that are no matter of refcounts */
    uint64_t block_faults; /* ... that are in the refcount table */
    bool rebuild;       /* the refcount structures cannot be corrected where they are */
    bool references_lost; /* a table could not be followed: what it refers to is unknown */
    bool blocks_lost;     /* a part of the refcount table could not be read */
    bool copied_suspect;  /* some COPIED flag is wrong, or must be looked at */
    bool refcounts_left;  /* some refcount or COPIED flag is wrong and stays so */
    bool marked;          /* the dirty bit is ours */
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
/* Lets the counts grow with what was read. */
void byre_check_allow_counts(struct byre_check_state *state);
/* Writes the sectors of state->buf, which holds what is at `hoff`, that cover bytes [first, last]. */
int byre_check_write_back(struct byre_check_state *state, uint64_t hoff, size_t first, size_t last,
                          struct byre_error *err);

/* check.c: notes where a table is; a size of 0 is none. */
int byre_check_add_region(struct byre_check_state *state, enum byre_check_region_kind kind, uint32_t index,
                          uint64_t hoff, uint64_t size, struct byre_error *err);

int byre_check_snapshots(struct byre_check_state *state, struct byre_error *err);
int byre_check_bitmaps(struct byre_check_state *state, struct byre_error *err);

/* Notes a table for byre_check_walk_spans, which counts it; reports one that lies outside the file. */
int byre_check_add_span(struct byre_check_state *state, uint64_t hoff, uint32_t entries,
                        enum byre_check_kind kind, struct byre_error *err);
/* Counts and reads all tables that were noted, and passes their entries to the two functions that follow:
 * `times` tables share the entry, which is at `hoff`; of the active L1 table it is `active` times. */
int byre_check_walk_spans(struct byre_check_state *state, struct byre_error *err);
int byre_check_l1_entry(struct byre_check_state *state, uint64_t hoff, uint64_t entry, uint64_t times,
                        uint32_t active, struct byre_error *err);
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

/* What a repair writes with; see check_mend.c. */
int byre_check_barrier(struct byre_check_state *state, struct byre_error *err);
/* Makes the dirty bit durable (version 3), if it is not set: from here on the image asks for a check. */
int byre_check_mark(struct byre_check_state *state, struct byre_error *err);
/* Writes bytes of the header's first sector, and makes them durable: at once, or not at all. */
int byre_check_switch(struct byre_check_state *state, size_t at, const void *bytes, size_t length,
                      struct byre_error *err);
/* Finds `count` neighbouring clusters that nothing refers to, and that no refcount structure takes up. */
int byre_check_allocate(struct byre_check_state *state, uint64_t count, uint64_t *ret_hoff,
                        struct byre_error *err);
/* Copies [from, from+length) to new clusters, durably; what is past the end of the file is zero. */
int byre_check_copy(struct byre_check_state *state, uint64_t from, uint64_t length, uint64_t *ret_hoff,
                    struct byre_error *err);
/* Says "Repairing ...", and counts `times` corrections. */
void byre_check_mended(struct byre_check_state *state, uint64_t times, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Corrects what cannot be true in tables; *ret_changed tells whether anything was written, and all is to be
 * counted again. */
int byre_check_mend(struct byre_check_state *state, bool *ret_changed, struct byre_error *err);
/* Its parts. */
int byre_check_mend_snapshots(struct byre_check_state *state, bool *ret_changed, struct byre_error *err);
int byre_check_mend_bitmaps(struct byre_check_state *state, bool *ret_changed, struct byre_error *err);
int byre_check_mend_l1(struct byre_check_state *state, bool *ret_changed, struct byre_error *err);
int byre_check_mend_l2(struct byre_check_state *state, bool *ret_changed, struct byre_error *err);
int byre_check_drop_bitmaps(struct byre_check_state *state, bool *ret_changed, struct byre_error *err);
/* Does an L1 entry lead there? */
bool byre_check_is_l2_table(const struct byre_check_state *state, uint64_t hoff);
/* Is there a region, no matter what else? */
bool byre_check_is_region(const struct byre_check_state *state, uint64_t cluster);

/* Makes new refcount structures from the counts, and switches to them. */
int byre_check_rebuild(struct byre_check_state *state, struct byre_error *err);

/* Corrects what byre_check_compare marked, then COPIED flags, then the header's bits. */
int byre_check_repair(struct byre_check_state *state, struct byre_error *err);

#endif
