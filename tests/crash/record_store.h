/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The recording store: bytes in memory, a log of everything that changed them, and faults on order.
 *
 *     struct byre_store *store;
 *     record_store_new(bytes, length, &store);      what is on the medium to begin with
 *     ... the operation under test, on `store` ...
 *     struct record_crash crash = { .end = record_store_count(store), .size_end = ..., .kept = ... };
 *     record_store_rebuild(store, &crash, &after);  what the medium may hold after a crash
 *
 * Model of the machine: a successful flush makes every call before it durable.  Of the calls after the last
 * flush any may have reached the medium or not, in any combination, and any of their 512-byte sectors without
 * the others.  The size of the file is what it was after some call that is not before the last flush: growth
 * may be lost although data was written, or be there with zeros in place of the data.  Contents of a
 * discarded range are undefined; they are made RECORD_DISCARDED here, so that nobody takes them for zeros.
 *
 * A flush that fails has lost what it should have made durable: no later flush counts as a barrier.
 *
 * All calls on the store are thread-safe.  The functions below must not run beside calls on the store, except
 * for record_store_count and those of a hook.  They work only on stores of this kind.
 */
#ifndef TESTS_CRASH_RECORD_STORE_H
#define TESTS_CRASH_RECORD_STORE_H

#include "store/store.h"

enum { RECORD_SECTOR = 512, RECORD_DISCARDED = 0xd5 };

/* Kinds of calls, to be combined into sets. */
enum record_kind {
    RECORD_READ = 1 << 0,
    RECORD_WRITE = 1 << 1,
    RECORD_ZERO = 1 << 2,
    RECORD_DISCARD = 1 << 3,
    RECORD_ALLOCATE = 1 << 4,
    RECORD_TRUNCATE = 1 << 5,
    RECORD_FLUSH = 1 << 6,
};

#define RECORD_CHANGES (RECORD_WRITE | RECORD_ZERO | RECORD_DISCARD | RECORD_ALLOCATE | RECORD_TRUNCATE)
#define RECORD_ANY (RECORD_READ | RECORD_CHANGES | RECORD_FLUSH)

/* One call of the log.  Reads, and calls that failed without an effect, are not in it. */
struct record_call {
    enum record_kind kind;
    uint64_t hoff, length; /* truncate and flush: 0, 0 */
    uint8_t *bytes;        /* a write's; else NULL */
    uint64_t size;         /* of the store after the call */
};

/* Makes a store with a copy of `bytes` (NULL: zeros) as its durable contents.  Returns 0 or -ENOMEM. */
int record_store_new(const void *bytes, uint64_t length, struct byre_store **ret_store);

/* Takes the present contents as durable and empties the log. */
int record_store_restart(struct byre_store *store);

/* --- the log --- */

/* How many calls there are; this may run beside calls on the store. */
size_t record_store_count(const struct byre_store *store);
const struct record_call *record_store_call(const struct byre_store *store, size_t index);

/* The calls [0, result) are durable when a crash comes after the calls [0, end). */
size_t record_store_durable(const struct byre_store *store, size_t end);

/* The store's size after the calls [0, end). */
uint64_t record_store_size_after(const struct byre_store *store, size_t end);

/* --- crashes --- */

struct record_crash {
    size_t end;      /* the crash comes after the calls [0, end) */
    size_t size_end; /* the size is that after the calls [0, size_end), from record_store_durable to `end` */
    /* Did this sector (offset / RECORD_SECTOR) of a call that is not durable get there?  NULL: all did. */
    bool (*kept)(void *opaque, size_t call, uint64_t sector);
    void *opaque;
};

/* Makes a memory store with what a crash leaves.  Returns 0, -ENOMEM, or -EINVAL for an impossible crash. */
int record_store_rebuild(struct byre_store *store, const struct record_crash *crash,
                         struct byre_store **ret_store);
/* The same in a memory store that is there: whatever it holds is replaced. */
int record_store_rebuild_into(struct byre_store *store, const struct record_crash *crash,
                              struct byre_store *after);

/* --- faults --- */

struct record_fault {
    unsigned kinds;       /* which calls count */
    uint64_t nth;         /* the n-th of them fails, from 1 */
    bool for_ever;        /* and so do all after it */
    int code;             /* with this negative errno */
    uint64_t short_bytes; /* a write that fails has written this many bytes before (fewer than it should) */
};

/* Arms a fault and starts to count from 0; NULL disarms. */
void record_store_fail(struct byre_store *store, const struct record_fault *fault);

/* How many calls of these kinds were made since record_store_fail or _new, those that failed included. */
uint64_t record_store_calls(const struct byre_store *store, unsigned kinds);

/* How many calls the armed fault has made fail. */
uint64_t record_store_faults(const struct byre_store *store);

/* --- interleavings --- */

/* `hook` (NULL: none) is called before every call, without a lock held: it may wait, and use the store. */
typedef void record_hook(void *opaque, enum record_kind kind, uint64_t hoff, uint64_t length);
void record_store_hook(struct byre_store *store, record_hook *hook, void *opaque);

#endif
