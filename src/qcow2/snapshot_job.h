/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the operations on snapshots have in common: from a settled image to a plan of references that come and go, and
 * back to an image with new caches.
 */
#ifndef BYRE_QCOW2_SNAPSHOT_JOB_H
#define BYRE_QCOW2_SNAPSHOT_JOB_H

#include "qcow2/l2_pass.h"
#include "qcow2/snapshot.h"

/* Clusters in a row. */
struct byre_place {
    uint64_t hoff, clusters; /* clusters 0: none */
};

struct byre_snapshot_job {
    struct byre_qcow2 *image;
    struct byre_snapshot_table table;
    struct byre_l1_copy active;  /* the active L1 table */
    struct byre_l1_copy other;   /* that of a snapshot, where the operation has one */
    struct byre_pass changes;    /* the L2 tables with references that come or go */
    struct byre_pass kept;       /* those of what stays, or comes to be, the disk */
    struct byre_sweep *sweep;
    bool some_last;              /* the sweep has marks of clusters that were lowered to one reference */
    bool many_windows;           /* the sweep does not hold all changes at once */
    bool dirty;                  /* the dirty bit is this operation's */
    byre_free_vec freed;         /* clusters that lost their last reference */
    struct byre_place old[2];    /* what nothing points to in the end */
};

/* Makes the file hold all that memory does, reads the tables, and takes the mutex, also where it fails. */
int byre_job_begin(struct byre_snapshot_job *job, struct byre_qcow2 *image, struct byre_error *err);
/* Gives the mutex up, and releases everything.  Returns `rc`. */
int byre_job_end(struct byre_snapshot_job *job, int rc);

/* Reads the L1 table of a snapshot into job->other. */
int byre_job_read_other(struct byre_snapshot_job *job, size_t index, struct byre_error *err);

/* Can all changes be made?  Nothing is changed; the sweep is ready for byre_job_sweep. */
int byre_job_check(struct byre_snapshot_job *job, struct byre_error *err);

/* Makes a step of all changes: byre_sweep_raise, or another of its kind. */
int byre_job_sweep(struct byre_snapshot_job *job,
                   int (*step)(struct byre_snapshot_job *job, struct byre_error *err), struct byre_error *err);
int byre_job_raise(struct byre_snapshot_job *job, struct byre_error *err);
int byre_job_lower(struct byre_snapshot_job *job, struct byre_error *err);

/*
 * Reserves room for `length` bytes (0: none) each, durably, filled with zeros.  byre_job_unreserve gives it back while
 * nothing points there.
 */
int byre_job_reserve(struct byre_snapshot_job *job, const uint64_t lengths[2], struct byre_place ret_places[2],
                     struct byre_error *err);
void byre_job_unreserve(struct byre_snapshot_job *job, const struct byre_place places[2]);

/* Live metadata was being changed: a failure leaves it in doubt.  Returns `rc`. */
int byre_job_poison(struct byre_snapshot_job *job, int rc);

/* Sets the dirty bit in the header in memory, where there is one and it is not set; and clears what was set so. */
void byre_job_set_dirty(struct byre_snapshot_job *job);
void byre_job_clear_dirty(struct byre_snapshot_job *job);

/* The operation is durable: makes the caches anew, and gives back what is not needed any more. */
int byre_job_finish(struct byre_snapshot_job *job, struct byre_error *err);

/* The place of what an L1 table of `entries`, or a table of `length` bytes, takes up. */
struct byre_place byre_job_place(const struct byre_snapshot_job *job, uint64_t hoff, uint64_t length);

#endif
