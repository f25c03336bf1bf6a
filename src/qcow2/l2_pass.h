/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Passes over many L2 tables at once, straight in the file: the references in them are counted, their COPIED flags
 * corrected.
 *
 * Each table is visited once however many L1 entries lead there, in the order of host offsets; tables that lie one
 * behind the other are read and written in one go.  For who has the image to himself, when the file holds all that
 * memory does, and with the mutex held.
 */
#ifndef BYRE_QCOW2_L2_PASS_H
#define BYRE_QCOW2_L2_PASS_H

#include "qcow2/image.h"
#include "qcow2/refcount_sweep.h"

/* An L2 table, and how many references to it come (or go: negative). */
struct byre_pass_table {
    uint64_t hoff;
    int32_t times;
    bool no_copied; /* it was counted, and has no COPIED flag */
};

struct byre_pass {
    struct byre_qcow2 *image;
    VEC(struct byre_pass_table) tables; /* owned; ascending, once byre_pass_merge was called */
    uint8_t *buf;                       /* owned; several tables */
    size_t buf_size;
};

/* Entries of an L1 table in memory, as they stand in the file. */
struct byre_l1_copy {
    uint8_t *bytes; /* owned; whole sectors, zeros behind the last entry */
    uint64_t hoff;
    uint32_t count;
};

/* Reads an L1 table of at most 32 MiB, which lies within the file.  Release with byre_l1_copy_done. */
int byre_l1_copy_read(struct byre_qcow2 *image, uint64_t hoff, uint32_t count, struct byre_l1_copy *ret_copy,
                      struct byre_error *err);
void byre_l1_copy_done(struct byre_l1_copy *copy);

int byre_pass_init(struct byre_pass *pass, struct byre_qcow2 *image, struct byre_error *err);
void byre_pass_done(struct byre_pass *pass);

/* Adds the tables of an L1 table, each of whose references come or go `times` times.  -EIO: an offset is unaligned. */
int byre_pass_add_l1(struct byre_pass *pass, const struct byre_l1_copy *l1, int32_t times, struct byre_error *err);
/* Makes one of equal tables; those whose references come as often as they go are forgotten. */
void byre_pass_merge(struct byre_pass *pass);

/* -EIO if the refcount of a table is smaller than the number of L1 entries that are known to lead there: it could be
 * freed although it is in use. */
int byre_pass_check_tables(struct byre_pass *pass, struct byre_error *err);
/* Adds to the sweep what comes and goes: the tables, and what is in them.  -EIO: an entry cannot be true. */
int byre_pass_count(struct byre_pass *pass, struct byre_sweep *sweep, struct byre_error *err);
/* -EIO if a table, or an entry of one, leads to a cluster that has the sweep's mark. */
int byre_pass_check_unmarked(struct byre_pass *pass, struct byre_sweep *sweep, struct byre_error *err);

/* Clears COPIED in all entries of those tables whose references come (`times` is positive).  No barrier. */
int byre_pass_clear_copied(struct byre_pass *pass, struct byre_error *err);
/* Sets COPIED in entries that lead to a cluster with the sweep's mark.  No barrier. */
int byre_pass_set_copied(struct byre_pass *pass, struct byre_sweep *sweep, struct byre_error *err);

/* The same for an L1 table, in memory and in the file. */
int byre_l1_clear_copied(struct byre_qcow2 *image, struct byre_l1_copy *l1, struct byre_error *err);
int byre_l1_set_copied(struct byre_qcow2 *image, struct byre_l1_copy *l1, struct byre_sweep *sweep,
                       struct byre_error *err);

#endif
