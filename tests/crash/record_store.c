/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The recording store.  Three memory stores do the work: `now` has what callers see, `first` what there was
 * before the log, `durable` what is on the medium after the first `durable_end` calls of the log.  The last
 * is a cache: it moves on as rebuilds ask for later crashes, and starts over when they ask for earlier ones.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/iov.h"
#include "base/vec.h"
#include "record_store.h"
#include "store/memory.h"

enum { KINDS = 7 };

struct record {
    struct byre_store store; /* first */
    pthread_mutex_t mutex;   /* everything below, except the hook */
    struct byre_store *first, *durable, *now;
    VEC(struct record_call) log;
    size_t durable_end;      /* calls that are in `durable` */
    size_t lost_end;         /* once a flush has failed: flushes of the log from here on are no barriers */
    bool flush_failed;
    struct record_fault fault;
    uint64_t calls[KINDS], matched, faults;
    record_hook *hook;
    void *hook_opaque;
};

static struct record *record_of(const struct byre_store *store)
{
    return (struct record *)store;
}

static void clear_log(struct record *record)
{
    for (size_t i = 0; i < record->log.len; i++)
        free(record->log.ptr[i].bytes);
    vec_done(&record->log);
}

/* Appends a call that has taken effect; takes over `bytes`.  Out of memory ends the test program. */
static void log_locked(struct record *record, enum record_kind kind, uint64_t hoff, uint64_t length,
                       uint8_t *bytes)
{
    struct record_call call = { .kind = kind, .hoff = hoff, .length = length, .bytes = bytes };

    byre_store_size(record->now, &call.size, NULL);
    if (vec_push(&record->log, call) < 0)
        abort();
}

static void *must_alloc(uint64_t length)
{
    void *bytes = malloc(MAX(length, (uint64_t)1));

    if (!bytes)
        abort();
    return bytes;
}

/* Counts a call: 0, or the code that it has to fail with. */
static int count_locked(struct record *record, enum record_kind kind)
{
    const struct record_fault *fault = &record->fault;

    record->calls[byre_log2(kind)]++;
    if (!(fault->kinds & kind))
        return 0;
    record->matched++;
    if (record->matched < fault->nth || (record->matched > fault->nth && !fault->for_ever))
        return 0;
    record->faults++;
    return fault->code;
}

static void call_hook(struct record *record, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    if (record->hook)
        record->hook(record->hook_opaque, kind, hoff, length);
}

/* --- the operations --- */

static int record_preadv(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct record *record = record_of(store);
    uint64_t total = 0;
    int r;

    byre_iov_length(iov, iov_count, &total);
    call_hook(record, RECORD_READ, hoff, total);
    LOCK_SCOPE(&record->mutex);
    r = count_locked(record, RECORD_READ);
    return r < 0 ? r : byre_store_preadv(record->now, iov, iov_count, hoff, NULL);
}

/* Writes and logs the first `length` bytes of the vector. */
static int write_locked(struct record *record, const struct iovec *iov, int iov_count, uint64_t hoff,
                        uint64_t length)
{
    uint8_t *bytes = must_alloc(length);
    int r;

    byre_iov_gather(iov, iov_count, 0, bytes, length);
    r = byre_store_pwrite(record->now, bytes, length, hoff, NULL);
    if (r < 0)
        free(bytes);
    else
        log_locked(record, RECORD_WRITE, hoff, length, bytes);
    return r;
}

static int record_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count, uint64_t hoff)
{
    struct record *record = record_of(store);
    uint64_t total = 0;
    int r;

    byre_iov_length(iov, iov_count, &total);
    call_hook(record, RECORD_WRITE, hoff, total);
    LOCK_SCOPE(&record->mutex);
    r = count_locked(record, RECORD_WRITE);
    if (r == 0)
        return write_locked(record, iov, iov_count, hoff, total);
    total = MIN(record->fault.short_bytes, total - 1);
    if (total > 0)
        write_locked(record, iov, iov_count, hoff, total);
    return r;
}

static int record_flush(struct byre_store *store)
{
    struct record *record = record_of(store);
    int r;

    call_hook(record, RECORD_FLUSH, 0, 0);
    LOCK_SCOPE(&record->mutex);
    r = count_locked(record, RECORD_FLUSH);
    if (r == 0) {
        log_locked(record, RECORD_FLUSH, 0, 0, NULL);
    } else if (!record->flush_failed) {
        record->flush_failed = true;
        record->lost_end = record->log.len;
    }
    return r;
}

static int record_truncate(struct byre_store *store, uint64_t size)
{
    struct record *record = record_of(store);
    int r;

    call_hook(record, RECORD_TRUNCATE, 0, size);
    LOCK_SCOPE(&record->mutex);
    r = count_locked(record, RECORD_TRUNCATE);
    if (r == 0)
        r = byre_store_truncate(record->now, size, NULL);
    if (r == 0)
        log_locked(record, RECORD_TRUNCATE, 0, 0, NULL);
    return r;
}

static int record_get_size(struct byre_store *store, uint64_t *ret_size)
{
    return byre_store_size(record_of(store)->now, ret_size, NULL);
}

/* Has the effect of a discard on `length` bytes of `store`, as far as they exist. */
static int scribble(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    uint64_t size;
    int r = byre_store_size(store, &size, NULL);

    if (r < 0 || hoff >= size)
        return r;
    length = MIN(length, size - hoff);
    bytes = must_alloc(length);
    memset(bytes, RECORD_DISCARDED, length);
    return byre_store_pwrite(store, bytes, length, hoff, NULL);
}

/* Has the effect of a call on a range, whose bytes (if any) are at `bytes`. */
static int apply_range(struct byre_store *store, enum record_kind kind, uint64_t hoff, uint64_t length,
                       const uint8_t *bytes)
{
    switch (kind) {
    case RECORD_WRITE:
        return byre_store_pwrite(store, bytes, length, hoff, NULL);
    case RECORD_ZERO:
        return byre_store_write_zeroes(store, hoff, length, 0, NULL);
    case RECORD_DISCARD:
        return scribble(store, hoff, length);
    case RECORD_ALLOCATE:
        return byre_store_allocate(store, hoff, length, NULL);
    default:
        return 0;
    }
}

static int change_range(struct byre_store *store, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    struct record *record = record_of(store);
    int r;

    call_hook(record, kind, hoff, length);
    LOCK_SCOPE(&record->mutex);
    r = count_locked(record, kind);
    if (r == 0)
        r = apply_range(record->now, kind, hoff, length, NULL);
    if (r == 0)
        log_locked(record, kind, hoff, length, NULL);
    return r;
}

static int record_write_zeroes(struct byre_store *store, uint64_t hoff, uint64_t length, unsigned flags)
{
    (void)flags;
    return change_range(store, RECORD_ZERO, hoff, length);
}

static int record_discard(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    return change_range(store, RECORD_DISCARD, hoff, length);
}

static int record_allocate(struct byre_store *store, uint64_t hoff, uint64_t length)
{
    return change_range(store, RECORD_ALLOCATE, hoff, length);
}

static void record_close(struct byre_store *store)
{
    struct record *record = record_of(store);

    clear_log(record);
    byre_store_close(record->now);
    byre_store_close(record->durable);
    byre_store_close(record->first);
    pthread_mutex_destroy(&record->mutex);
    free(record);
}

static const struct byre_store_ops record_ops = {
    .kind = "record",
    .preadv = record_preadv,
    .pwritev = record_pwritev,
    .flush = record_flush,
    .truncate = record_truncate,
    .get_size = record_get_size,
    .write_zeroes = record_write_zeroes,
    .discard = record_discard,
    .allocate = record_allocate,
    .allocated_size = record_get_size,
    .close = record_close,
};

/* --- making and restarting --- */

int record_store_new(const void *bytes, uint64_t length, struct byre_store **ret_store)
{
    struct record *record = calloc(1, sizeof *record);

    if (!record)
        return -ENOMEM;
    pthread_mutex_init(&record->mutex, NULL);
    record->store = (struct byre_store){
        .ops = &record_ops,
        .limits = { .align = 1, .zero_align = 1, .discard_align = 1, .zero_on_grow = true },
        .name = (char *)"recorded",
        .fd = -1,
        .growable = true,
    };
    if (byre_memory_new(bytes, length, &record->now, NULL) < 0 ||
        byre_memory_new(bytes, length, &record->first, NULL) < 0 ||
        byre_memory_new(bytes, length, &record->durable, NULL) < 0) {
        record_close(&record->store);
        return -ENOMEM;
    }
    *ret_store = &record->store;
    return 0;
}

static int copy_of(const struct byre_store *store, struct byre_store **ret_store)
{
    uint64_t length;
    const uint8_t *bytes = byre_memory_bytes(store, &length);

    return byre_memory_new(bytes, length, ret_store, NULL);
}

/* Makes *ret_store a copy of `store` in place of what it was. */
static int replace_by_copy(const struct byre_store *store, struct byre_store **ret_store)
{
    struct byre_store *copy;
    int r = copy_of(store, &copy);

    if (r < 0)
        return r;
    byre_store_close(*ret_store);
    *ret_store = copy;
    return 0;
}

int record_store_restart(struct byre_store *store)
{
    struct record *record = record_of(store);
    int r = replace_by_copy(record->now, &record->first);

    if (r == 0)
        r = replace_by_copy(record->now, &record->durable);
    if (r < 0)
        return r;
    clear_log(record);
    record->durable_end = record->lost_end = 0;
    record->flush_failed = false;
    return 0;
}

/* --- the log --- */

size_t record_store_count(const struct byre_store *store)
{
    LOCK_SCOPE(&record_of(store)->mutex);

    return record_of(store)->log.len;
}

const struct record_call *record_store_call(const struct byre_store *store, size_t index)
{
    return &record_of(store)->log.ptr[index];
}

size_t record_store_durable(const struct byre_store *store, size_t end)
{
    const struct record *record = record_of(store);

    for (size_t i = record->flush_failed ? MIN(end, record->lost_end) : end; i > 0; i--) {
        if (record->log.ptr[i - 1].kind == RECORD_FLUSH)
            return i;
    }
    return 0;
}

uint64_t record_store_size_after(const struct byre_store *store, size_t end)
{
    const struct record *record = record_of(store);
    uint64_t size = 0;

    if (end)
        return record->log.ptr[end - 1].size;
    byre_store_size(record->first, &size, NULL);
    return size;
}

/* --- crashes --- */

static int apply_whole(const struct record_call *call, struct byre_store *store)
{
    if (call->kind == RECORD_TRUNCATE)
        return byre_store_truncate(store, call->size, NULL);
    return apply_range(store, call->kind, call->hoff, call->length, call->bytes);
}

/* Applies the sectors that were kept, each by itself. */
static int apply_kept(const struct record_crash *crash, size_t index, const struct record_call *call,
                      struct byre_store *store)
{
    uint64_t end = call->hoff + call->length;
    int r = 0;

    for (uint64_t at = call->hoff, next; r == 0 && at < end; at = next) {
        uint64_t sector = at / RECORD_SECTOR;

        next = MIN((sector + 1) * RECORD_SECTOR, end);
        if (!crash->kept || crash->kept(crash->opaque, index, sector))
            r = apply_range(store, call->kind, at, next - at,
                            call->bytes ? call->bytes + (at - call->hoff) : NULL);
    }
    return r;
}

/* Brings `durable` to the calls [0, end), from the start if it is ahead. */
static int move_durable(struct record *record, size_t end)
{
    int r = 0;

    if (end < record->durable_end) {
        r = replace_by_copy(record->first, &record->durable);
        record->durable_end = r == 0 ? 0 : record->durable_end;
    }
    for (; r == 0 && record->durable_end < end; record->durable_end++)
        r = apply_whole(&record->log.ptr[record->durable_end], record->durable);
    return r;
}

int record_store_rebuild_into(struct byre_store *store, const struct record_crash *crash,
                              struct byre_store *after)
{
    struct record *record = record_of(store);
    size_t durable = record_store_durable(store, MIN(crash->end, record->log.len));
    uint64_t length;
    const uint8_t *bytes;
    int r;

    if (crash->end > record->log.len || crash->size_end < durable || crash->size_end > crash->end)
        return -EINVAL;
    r = move_durable(record, durable);
    if (r == 0)
        r = byre_store_truncate(after, 0, NULL);
    bytes = byre_memory_bytes(record->durable, &length);
    if (r == 0 && length)
        r = byre_store_pwrite(after, bytes, length, 0, NULL);
    for (size_t i = durable; r == 0 && i < crash->end; i++) {
        const struct record_call *call = &record->log.ptr[i];

        if (call->kind != RECORD_TRUNCATE)
            r = apply_kept(crash, i, call, after);
        else if (i < crash->size_end)
            r = apply_whole(call, after);
    }
    return r == 0 ? byre_store_truncate(after, record_store_size_after(store, crash->size_end), NULL) : r;
}

int record_store_rebuild(struct byre_store *store, const struct record_crash *crash,
                         struct byre_store **ret_store)
{
    struct byre_store *after;
    int r = byre_memory_new(NULL, 0, &after, NULL);

    if (r < 0)
        return r;
    r = record_store_rebuild_into(store, crash, after);
    if (r < 0)
        byre_store_close(after);
    else
        *ret_store = after;
    return r;
}

/* --- faults and the hook --- */

void record_store_fail(struct byre_store *store, const struct record_fault *fault)
{
    struct record *record = record_of(store);

    record->fault = fault ? *fault : (struct record_fault){ .kinds = 0 };
    record->matched = record->faults = 0;
    memset(record->calls, 0, sizeof record->calls);
}

uint64_t record_store_calls(const struct byre_store *store, unsigned kinds)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < KINDS; i++)
        sum += kinds & 1U << i ? record_of(store)->calls[i] : 0;
    return sum;
}

uint64_t record_store_faults(const struct byre_store *store)
{
    return record_of(store)->faults;
}

void record_store_hook(struct byre_store *store, record_hook *hook, void *opaque)
{
    record_of(store)->hook = hook;
    record_of(store)->hook_opaque = opaque;
}
