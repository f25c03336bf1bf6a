/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The requests that a disk takes, as a table: how each is made, and what it makes of a flat model.  For tests that put
 * them together in pairs.
 *
 * A request is about one cluster of REQUEST_CLUSTER bytes, and at most the last half of the one before it.
 */
#ifndef TESTS_MODEL_REQUESTS_H
#define TESTS_MODEL_REQUESTS_H

#include "byre/disk.h"

enum {
    REQUEST_CLUSTER = 512,
    REQUEST_GRAIN = 256, /* requests change whole ones */
    REQUEST_ELSEWHERE = 20 * REQUEST_CLUSTER, /* where `recycle` writes three clusters */
    REQUEST_SIZE_MAX = 140 * REQUEST_CLUSTER,
};

/* What is on the disk. */
struct request_model {
    uint64_t size;
    bool discards; /* a discarded cluster reads as zero; else it stays as it is */
    uint8_t bytes[REQUEST_SIZE_MAX];
};

struct request {
    const struct request_kind *kind;
    struct byre_disk *disk;
    uint64_t goff;       /* of the cluster */
    uint64_t grown;      /* the size that `grow` makes */
    unsigned number;     /* of the pattern that it writes */
    uint8_t found[2 * REQUEST_CLUSTER]; /* what a read has read */
};

struct request_kind {
    const char *name;
    int (*make)(struct request *request, struct byre_error *err);
    void (*apply)(const struct request *request, struct request_model *model);
    bool reads;          /* `found` has the bytes of request_read_range */
    bool changes;
    bool flushes;        /* what was done before it is durable when it returns */
};

extern const struct request_kind request_kinds[];
extern const size_t request_kind_count;

/* By name; the program ends if there is none. */
const struct request_kind *request_kind(const char *name);

/* What a read reads. */
void request_read_range(const struct request *request, uint64_t *ret_start, uint64_t *ret_length);

/* request->kind->make, as a part of a duet. */
int request_make(void *request, struct byre_error *err);

#endif
