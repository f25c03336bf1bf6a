/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One convert under way, as its workers share it, and what each worker owns.
 *
 * A worker takes the next item of the plan, reads it, finds the zeros in it and compresses it, waits for its
 * turn to reserve room in a qcow2 target, and lets the next one reserve while it writes.
 *
 *   V1. Items are numbered in guest order under `plan_mutex`; every number waits for its turn and passes it
 *       on, or the turn is stopped.  So room is reserved in guest order, whoever is faster.
 *   V2. Items start and end at clusters of the target: no two workers touch the same cluster.
 *   V3. The first failure is kept, stops the turn, and no item is taken after it.
 *
 * The two mutexes are never held together.
 */
#ifndef BYRE_OPS_CONVERT_JOB_H
#define BYRE_OPS_CONVERT_JOB_H

#include <pthread.h>
#include <stdatomic.h>

#include "byre/convert.h"
#include "ops/concat.h"
#include "ops/convert_plan.h"
#include "ops/turn.h"
#include "ops/zero_runs.h"
#include "qcow2/compress.h"
#include "qcow2/qcow2.h"

struct byre_convert_job {
    /* fixed while workers run */
    const struct byre_convert_options *options;
    struct byre_concat sources;
    struct byre_disk *target;
    struct byre_qcow2 *qcow2;       /* the target's top image; NULL: raw */
    uint32_t cluster_size;          /* of the target; raw: the unit in which zeros are looked for */
    uint32_t cell;                  /* the longest copy, bytes */
    bool zeros_are_there;           /* zeros need not be written */
    struct byre_zero_rule zero_rule;
    uint32_t subcluster_size;       /* of a target that has such, or 0 */
    struct byre_zero_rule skip_rule; /* for zeros within clusters of such a target */

    pthread_mutex_t plan_mutex;
    struct byre_plan plan;          /* under plan_mutex */
    uint64_t numbered;              /* items that take turns; under plan_mutex */

    struct byre_turn turn;
    atomic_bool stopped;

    pthread_mutex_t report_mutex;   /* also serialises the callbacks */
    uint64_t done;                  /* bytes of the sources; under report_mutex */
    int code;                       /* of the first failure; under report_mutex */
    struct byre_error error;        /* under report_mutex */
};

/* A reserved place in a qcow2 target: one plain run, or several compressed clusters in a row. */
struct byre_place {
    const uint8_t *data;                       /* plain */
    struct byre_qcow2_reservation reservation; /* plain */
    struct byre_qcow2_compressed *items;       /* compressed: not NULL */
    size_t item_count;
};

struct byre_convert_worker {
    struct byre_convert_job *job;
    uint8_t *in;                         /* one cell */
    /* for a qcow2 target */
    struct byre_place *places;           /* at most one a cluster of a cell; their ranges stay locked, so they
                                            do not move */
    size_t place_count;
    uint32_t *skip;                      /* for subclusters, by cluster of the cell: those that are zero */
    /* for compressing */
    struct byre_codec *codec;
    uint8_t *out;                        /* one cell: no cluster grows */
    struct byre_qcow2_compressed *items; /* by cluster of the cell; length 0: not compressed */
};

/* What a worker needs besides the job, in bytes: for choosing how many there are. */
size_t byre_convert_worker_cost(const struct byre_convert_job *job);

/* The life of worker `index`: until the plan or the job ends.  `opaque` is the job. */
void byre_convert_work(void *opaque, unsigned index);

/* Writes the item in worker->in to a raw target. */
int byre_convert_write_raw(struct byre_convert_worker *worker, const struct byre_plan_item *item,
                           struct byre_error *err);

/* Writes the item in worker->in to a qcow2 target, reserving in the turn of `number`.  -ECANCELED: the
 * job was stopped. */
int byre_convert_write_qcow2(struct byre_convert_worker *worker, const struct byre_plan_item *item,
                             uint64_t number, struct byre_error *err);

/* As byre_turn_wait, unless the order does not matter. */
bool byre_convert_wait_turn(struct byre_convert_job *job, uint64_t number);
void byre_convert_pass_turn(struct byre_convert_job *job, uint64_t number);

#endif
