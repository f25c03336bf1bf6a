/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An image with snapshots in a recording store, and flat copies of what its disk and each snapshot hold.
 *
 * Calls return what the engine returned; a call that failed has changed no copy.  Contents that differ fail the test.
 */
#ifndef TESTS_MODEL_SNAPSHOT_MODEL_H
#define TESTS_MODEL_SNAPSHOT_MODEL_H

#include "qcow2/snapshot.h"
#include "../crash/record_store.h"

enum { SNAPSHOT_MODEL_MAX = 6 };

struct flat {
    uint8_t *bytes; /* owned; NULL: there is none */
    uint64_t size;
    uint8_t state;  /* what the VM state is filled with; 0: none was written */
    char id[21];
};

struct snapshot_model {
    struct byre_store *store;
    struct byre_store *data;  /* the data file of an image that has one, or NULL; it records nothing */
    struct byre_qcow2 *image; /* NULL: closed */
    struct flat disk, snapshots[SNAPSHOT_MODEL_MAX];
    unsigned pattern;
    bool small_windows; /* sweeps see a refcount block's clusters at a time */
    bool quiet; /* judging does not say why not */
    struct byre_error err;
};

/* A sealed image that is open, with an empty log. */
void snapshot_model_new(struct snapshot_model *model, const struct byre_qcow2_create_options *options);
void snapshot_model_done(struct snapshot_model *model);

/* A copy of the flat disks, to judge stores by that are not the model's; no store and no image. */
void snapshot_model_copy(const struct snapshot_model *model, struct snapshot_model *ret_copy);

int snapshot_model_open(struct snapshot_model *model);
int snapshot_model_close(struct snapshot_model *model);

int snapshot_model_write(struct snapshot_model *model, uint64_t goff, uint64_t length);
int snapshot_model_compressed(struct snapshot_model *model, uint64_t goff, uint64_t length);
int snapshot_model_zero(struct snapshot_model *model, uint64_t goff, uint64_t length, unsigned flags);
int snapshot_model_discard(struct snapshot_model *model, uint64_t goff, uint64_t length);
int snapshot_model_grow(struct snapshot_model *model, uint64_t size);
int snapshot_model_save_state(struct snapshot_model *model);
/* In the slot, which is free, or is not. */
int snapshot_model_create(struct snapshot_model *model, unsigned slot);
int snapshot_model_apply(struct snapshot_model *model, unsigned slot);
int snapshot_model_delete(struct snapshot_model *model, unsigned slot);

/* Does the store hold what the flat copies say?  0, or -1 after it has said why not.  `disk` too, or the snapshots
 * alone. */
int snapshot_model_judge(const struct snapshot_model *model, struct byre_store *store, bool disk);
/* Is the store free of corruption, and of leaks if `tidy`?  `repair`: mends it first. */
int snapshot_model_check(struct byre_store *store, bool tidy, bool repair);

#endif
