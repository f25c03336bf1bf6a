/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bench: many requests of one kind on a disk, through a queue, and how long they take.
 */
#ifndef BYRE_BENCH_H
#define BYRE_BENCH_H

#include "byre/queue.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_bench_options {
    uint64_t warm_up;        /* requests before, from the same offset on, whose time is told apart */
    uint64_t count;          /* requests; flushes are not counted */
    unsigned depth;          /* under way at a time; 1 to BYRE_QUEUE_DEPTH_MAX */
    uint32_t buffer_size;    /* bytes of each request */
    uint64_t step;           /* bytes from the start of one to that of the next; modulo the size of the disk */
    uint64_t offset;         /* of the first */
    bool write;
    uint8_t pattern;         /* the byte that is written */
    uint64_t flush_interval; /* a flush after so many writes; 0: none.  Not less than depth */
    bool no_drain;           /* start flushes while writes are under way */
    enum byre_aio aio;
};

/* In nanoseconds. */
struct byre_bench_times {
    uint64_t warm_up, run;
};

/* Runs all requests on a disk of at least one buffer.  -EINVAL for options that do not go together. */
int byre_bench(struct byre_disk *disk, const struct byre_bench_options *options, struct byre_bench_times *ret_times,
               struct byre_error *err);

#ifdef __cplusplus
}
#endif
#endif
