/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues: many requests on a disk at a time, from one thread.
 *
 *     byre_queue_submit(queue, requests, count);                 starts as many as there is room for
 *     count = byre_queue_reap(queue, completions, max, min, -1); waits for at least `min` of them
 *
 * A queue belongs to one thread; several queues, of one thread each, may work on one disk, and they share nothing but
 * the disk.  A request whose bytes are in the page cache is done when byre_queue_submit returns; one that has to wait
 * for the medium is the kernel's (io_uring), and whatever allocates, inflates or reads metadata is a worker's.  Where
 * io_uring is not allowed, workers do that part, too.
 *
 * Requests that are under way together are done in any order, and overlapping ones have no order either.  Nothing is
 * cancelled: the buffers and the vector of a request belong to the queue until it was reaped.
 */
#ifndef BYRE_QUEUE_H
#define BYRE_QUEUE_H

#include <stdbool.h>

#include "byre/disk.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_queue;
struct byre_workers;

/* Threads for everything that waits: one set for all queues of a process is enough.  -ENOMEM, -EAGAIN. */
int byre_workers_new(unsigned threads, struct byre_workers **ret_workers, struct byre_error *err);
/* All queues that use them are gone.  NULL is allowed. */
void byre_workers_free(struct byre_workers *workers);

enum byre_op {
    BYRE_OP_READ,         /* as byre_pread, into the vector */
    BYRE_OP_WRITE,        /* as byre_pwritev, from the vector, with its flags */
    BYRE_OP_WRITE_ZEROES, /* as byre_write_zeroes, with its flags */
    BYRE_OP_DISCARD,      /* as byre_discard */
    BYRE_OP_FLUSH,        /* as byre_flush: covers what was reaped before it was submitted, on any queue */
};

#define BYRE_PLACES_MAX     32u
#define BYRE_PLACE_ZERO_MIN 4096u
#define BYRE_PLACE_DATA_MIN 32768u

/* Where a range of a disk is. */
struct byre_place {
    uint64_t goff, length;
    int fd;                  /* the disk's: there are the range's bytes, as they are; or -1: it is zeros */
    uint64_t hoff;           /* where in that file */
};

/* Places of parts of a read, in order, and apart from each other where they are zeros. */
struct byre_places {
    /*
     * By the caller: tell data, too, that is in the page cache.  This has no effect on a disk that can be written to,
     * where a range may be somewhere else by the time that it is looked for.
     */
    bool with_data;
    unsigned count;
    struct byre_place list[BYRE_PLACES_MAX];
};

struct byre_request {
    enum byre_op op;
    unsigned flags;
    uint64_t goff, length;   /* bytes, of any alignment */
    const struct iovec *iov; /* reads and writes: `length` bytes in all */
    int iov_count;
    void *cookie;            /* given back with the completion */
    struct byre_error *err;  /* where the message of a failure goes; may be NULL */
    /*
     * Reads: where places are told instead of reading what is there; what is in their part of the vector says nothing.
     * Zeros of less than BYRE_PLACE_ZERO_MIN bytes, data of less than BYRE_PLACE_DATA_MIN, what there is no room for,
     * and zeros that only the medium knows of are read as ever.  NULL: all of the vector is filled.
     */
    struct byre_places *places;
};

struct byre_completion {
    void *cookie;
    int result; /* 0 or a negative errno */
};

#define BYRE_QUEUE_DEPTH_MAX 65536u

enum byre_aio {
    BYRE_AIO_IO_URING, /* where it is allowed */
    BYRE_AIO_THREADS,  /* workers do all that waits */
};

struct byre_queue_options {
    unsigned depth; /* how many requests may be submitted and not reaped: 1 to BYRE_QUEUE_DEPTH_MAX */
    enum byre_aio aio;
    /*
     * The owner waits for byre_queue_fd with EPOLLET, and reaps all there is after each event and each submission:
     * then these calls need not touch the file descriptor.
     */
    bool edges;
};

/* -EINVAL, -ENOMEM, -EMFILE. */
int byre_queue_new(struct byre_disk *disk, struct byre_workers *workers, const struct byre_queue_options *options,
                   struct byre_queue **ret_queue, struct byre_error *err);
/* Waits for what is under way.  NULL is allowed. */
void byre_queue_free(struct byre_queue *queue);

/*
 * Starts the first of `count` requests, as many as there is room for: returns how many.  What is under way keeps a
 * disk from growing until it is reaped: a thread with such requests makes no blocking call on the disk where another
 * one may call byre_truncate or byre_write_vm_state.
 */
unsigned byre_queue_submit(struct byre_queue *queue, const struct byre_request *requests, unsigned count);

/*
 * Writes up to `max` completions, and returns how many.  Waits until there are `min` of them, everything is done, or
 * `timeout_ms` has passed (negative: for ever; `min` 0: does not wait).
 */
unsigned byre_queue_reap(struct byre_queue *queue, struct byre_completion *completions, unsigned max, unsigned min,
                         int timeout_ms);

/* Waits until nothing is under way any more; the completions wait to be reaped. */
void byre_queue_drain(struct byre_queue *queue);

/* How many requests were submitted and not reaped. */
unsigned byre_queue_pending(const struct byre_queue *queue);

/* A file descriptor that is readable when there may be something to reap, until it was reaped; for poll, or with
 * `edges` for EPOLLET.  The queue's. */
int byre_queue_fd(struct byre_queue *queue);

#ifdef __cplusplus
}
#endif
#endif
