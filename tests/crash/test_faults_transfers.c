/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the system may do to a transfer of a file: move only a part of it, be interrupted, find no room, or lose what
 * was to be made durable.  At the n-th call, for every n, and at all of them.
 *
 * The linker puts the functions below in the place of the system's (see the makefile).  Parts and interruptions are not
 * seen by anybody; without room requests fail until there is some again; after a sync that failed nothing is written.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "../unit/disk_fixture.h"
#include "base/iov.h"
#include "byre/check.h"
#include "byre/queue.h"
#include "disk/queue_ring.h"
#include "effort.h"

#define K 1024ULL

enum { SIZE = 256 << 10, CLUSTER = 4096, SECTOR = 512, BLOCK = 4096 };

enum kind { NOTHING, SHORT, INTERRUPTED, NO_ROOM, STUCK, UNSYNCED, SHORT_RING };

static struct {
    enum kind kind;
    bool for_ever, direct;
    bool no_wait; /* reads that may not wait are refused, so that the ring gets them */
    _Atomic unsigned nth, count, strikes;
    _Atomic unsigned moves; /* calls that read or write, those of the ring apart */
    _Atomic uint64_t room; /* the medium has no more than so many bytes of the file */
} fault;

ssize_t __real_preadv(int fd, const struct iovec *iov, int iov_count, off_t hoff);
ssize_t __real_preadv2(int fd, const struct iovec *iov, int iov_count, off_t hoff, int flags);
ssize_t __real_pwritev(int fd, const struct iovec *iov, int iov_count, off_t hoff);
int __real_fdatasync(int fd);
int __real_fallocate(int fd, int mode, off_t hoff, off_t length);
bool __real_byre_ring_next(struct byre_ring *ring, void **ret_cookie, int *ret_result);
ssize_t __wrap_preadv(int fd, const struct iovec *iov, int iov_count, off_t hoff);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int iov_count, off_t hoff, int flags);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int iov_count, off_t hoff);
int __wrap_fdatasync(int fd);
int __wrap_fallocate(int fd, int mode, off_t hoff, off_t length);
bool __wrap_byre_ring_next(struct byre_ring *ring, void **ret_cookie, int *ret_result);

/* Is it time for the fault of this kind?  For ever means every second call of those that would be tried again. */
static bool strikes(enum kind kind)
{
    unsigned count;

    if (fault.kind != kind)
        return false;
    count = ++fault.count;
    if (count != fault.nth && !(fault.for_ever && count > fault.nth))
        return false;
    if (kind == INTERRUPTED && (count - fault.nth) % 2)
        return false;
    fault.strikes++;
    return true;
}

/* Is there room for a file of so many bytes?  What it has when the fault strikes is all that there is. */
static bool has_room_to(int fd, uint64_t end)
{
    struct stat st;

    if (strikes(NO_ROOM) && fault.strikes == 1) {
        assert_int_equal(fstat(fd, &st), 0);
        fault.room = (uint64_t)st.st_size;
    }
    return fault.kind != NO_ROOM || !fault.strikes || end <= fault.room;
}

static bool has_room(int fd, const struct iovec *iov, int iov_count, off_t hoff)
{
    uint64_t total = 0;

    byre_iov_length(iov, iov_count, &total);
    return has_room_to(fd, (uint64_t)hoff + total);
}

/* How much of a transfer is done: less than all of it, as far as that is possible. */
static uint64_t part_of(const struct iovec *iov, int iov_count)
{
    uint64_t total = 0, part;

    byre_iov_length(iov, iov_count, &total);
    part = fault.direct ? byre_round_down(total / 2, BLOCK) : MIN(total / 2, (uint64_t)700);
    return part ? part : total;
}

typedef ssize_t transfer(int fd, const struct iovec *iov, int iov_count, off_t hoff);

static ssize_t move(transfer *real, int fd, const struct iovec *iov, int iov_count, off_t hoff, bool write)
{
    struct iovec part[64];
    uint64_t length;
    int count = iov_count;

    fault.moves++;
    if (strikes(INTERRUPTED)) {
        errno = EINTR;
        return -1;
    }
    if (write && strikes(STUCK))
        return 0;
    if (strikes(SHORT)) {
        count = byre_iov_slice(iov, iov_count, 0, part_of(iov, iov_count), part, 64, &length);
        return real(fd, part, count, hoff);
    }
    if (write && !has_room(fd, iov, iov_count, hoff)) {
        if ((uint64_t)hoff < fault.room) {
            count = byre_iov_slice(iov, iov_count, 0, fault.room - (uint64_t)hoff, part, 64, &length);
            return real(fd, part, count, hoff);
        }
        errno = ENOSPC;
        return -1;
    }
    return real(fd, iov, iov_count, hoff);
}

ssize_t __wrap_preadv(int fd, const struct iovec *iov, int iov_count, off_t hoff)
{
    return move(__real_preadv, fd, iov, iov_count, hoff, false);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int iov_count, off_t hoff)
{
    return move(__real_pwritev, fd, iov, iov_count, hoff, true);
}

ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int iov_count, off_t hoff, int flags)
{
    struct iovec part[64];
    uint64_t length;

    if (fault.no_wait) {
        errno = EAGAIN;
        return -1;
    }
    if (!strikes(SHORT))
        return __real_preadv2(fd, iov, iov_count, hoff, flags);
    iov_count = byre_iov_slice(iov, iov_count, 0, part_of(iov, iov_count), part, 64, &length);
    return __real_preadv2(fd, part, iov_count, hoff, flags);
}

int __wrap_fdatasync(int fd)
{
    if (strikes(INTERRUPTED)) {
        errno = EINTR;
        return -1;
    }
    if (strikes(UNSYNCED)) {
        errno = EIO;
        return -1;
    }
    return __real_fdatasync(fd);
}

int __wrap_fallocate(int fd, int mode, off_t hoff, off_t length)
{
    if (strikes(INTERRUPTED)) {
        errno = EINTR;
        return -1;
    }
    if (!(mode & FALLOC_FL_PUNCH_HOLE) && !has_room_to(fd, (uint64_t)(hoff + length))) {
        errno = ENOSPC;
        return -1;
    }
    return __real_fallocate(fd, mode, hoff, length);
}

bool __wrap_byre_ring_next(struct byre_ring *ring, void **ret_cookie, int *ret_result)
{
    bool some = __real_byre_ring_next(ring, ret_cookie, ret_result);

    if (some && *ret_result > 0 && strikes(SHORT_RING))
        *ret_result /= 2;
    return some;
}

static void begin(enum kind kind, unsigned nth, bool for_ever)
{
    fault.count = fault.strikes = fault.moves = 0;
    fault.nth = nth;
    fault.for_ever = for_ever;
    fault.kind = kind;
}

/* Did it strike? */
static bool end(void)
{
    fault.kind = NOTHING;
    fault.no_wait = false;
    return fault.strikes > 0;
}

/* --- what the disk should hold --------------------------------------------------------------------------- */

static struct {
    uint8_t bytes[SIZE];
    bool doubtful[SIZE / SECTOR]; /* a request for it failed */
    uint8_t next;
} model;

/* Notes what a request made of a range. */
static int note(int rc, uint64_t goff, uint64_t length, int byte)
{
    if (rc == 0)
        memset(model.bytes + goff, byte, length);
    for (uint64_t at = goff / SECTOR; at <= (goff + length - 1) / SECTOR; at++)
        model.doubtful[at] |= rc < 0;
    return rc;
}

static int try_write(struct byre_disk *disk, uint64_t goff, uint64_t length, unsigned flags)
{
    static uint8_t bytes[SIZE];
    struct iovec iov[3] = { { bytes, length / 3 }, { bytes, length / 3 }, { bytes, length - length / 3 * 2 } };
    int byte = ++model.next;

    memset(bytes, byte, length);
    return note(byre_pwritev(disk, iov, 3, goff, flags, NULL), goff, length, byte);
}

static int try_zero(struct byre_disk *disk, uint64_t goff, uint64_t length, unsigned flags)
{
    return note(byre_write_zeroes(disk, goff, length, flags, NULL), goff, length, 0);
}

static int try_compressed(struct byre_disk *disk, uint64_t goff, uint64_t length)
{
    static uint8_t bytes[SIZE];
    int byte = ++model.next;

    memset(bytes, byte, length);
    return note(byre_write_compressed(disk, bytes, length, goff, NULL), goff, length, byte);
}

static int compare(struct byre_disk *disk)
{
    static uint8_t bytes[SIZE];
    int rc = byre_pread(disk, bytes, SIZE, 0, NULL);

    for (uint64_t at = 0; rc == 0 && at < SIZE; at += SECTOR) {
        if (!model.doubtful[at / SECTOR] && memcmp(bytes + at, model.bytes + at, SECTOR) != 0)
            fail_msg("kind %d, call %u: offset %llu holds %#x and not %#x", fault.kind, fault.nth,
                     (unsigned long long)at, bytes[at], model.bytes[at]);
    }
    return rc;
}

/* Everything that writes, one after the other; counts what failed with another code than `code`. */
static unsigned go_on(struct byre_disk *disk, int code)
{
    const int results[] = {
        try_write(disk, 0, 9000, 0),
        try_write(disk, 2 * CLUSTER, 3 * CLUSTER, BYRE_WRITE_FUA),
        compare(disk),
        try_write(disk, 100, 5000, 0),
        try_compressed(disk, 16 * CLUSTER, 4 * CLUSTER),
        byre_flush(disk, NULL),
        try_write(disk, 17 * CLUSTER + 700, 1800, 0),
        try_zero(disk, CLUSTER, 2 * CLUSTER, 0),
        try_zero(disk, 3 * CLUSTER + 5, 600, 0),
        try_zero(disk, 18 * CLUSTER, CLUSTER, BYRE_WRITE_ZEROES_UNMAP),
        compare(disk),
        byre_flush(disk, NULL),
        note(byre_discard(disk, 0, CLUSTER, NULL), 0, CLUSTER, 0),
        try_write(disk, 30 * CLUSTER - 10, 20 * CLUSTER, 0),
        byre_flush(disk, NULL),
        try_write(disk, CLUSTER, 2 * CLUSTER, BYRE_WRITE_FUA),
        compare(disk),
    };
    unsigned bad = 0;

    for (size_t i = 0; i < ARRAY_LEN(results); i++)
        bad += results[i] < 0 && results[i] != code;
    return bad;
}

static struct byre_disk *start(enum byre_cache cache)
{
    const struct byre_open_options options = { .writable = true, .cache = cache };
    struct byre_disk *disk = NULL;

    memset(&model, 0, sizeof model);
    unlink(path("image"));
    make_image(path("image"), SIZE, CLUSTER, NULL, NULL);
    must(byre_open(path("image"), &options, &disk, err));
    fault.direct = cache == BYRE_CACHE_NONE;
    return disk;
}

/* Closed or not, what is there has no fault. */
static void check(bool tidy)
{
    struct byre_check_result result;

    must(byre_check(path("image"), NULL, &result, err));
    if (result.corruptions || result.check_errors || (tidy && result.leaks))
        fail_msg("call %u: %d corruptions, %d leaks", fault.nth, (int)result.corruptions, (int)result.leaks);
}

static void reopen_and_compare(void)
{
    struct byre_disk *disk = open_disk(path("image"), true);

    assert_int_equal(compare(disk), 0);
    put(disk, 40 * K, 3000, 'x');
    close_disk(disk);
    check(false);
}

/* --- parts and interruptions: nobody sees them ----------------------------------------------------------- */

static bool goes_unseen(enum kind kind, enum byre_cache cache, unsigned nth, bool for_ever)
{
    struct byre_disk *disk = start(cache);
    unsigned failures;
    bool struck;

    begin(kind, nth, for_ever);
    failures = go_on(disk, 0);
    must(byre_close(disk, err));
    struck = end();
    assert_int_equal(failures, 0);
    check(true);
    reopen_and_compare();
    return struck;
}

static void never_seen(enum kind kind, enum byre_cache cache)
{
    unsigned nth = 1;

    while (goes_unseen(kind, cache, nth, false))
        nth++;
    assert_true(nth > 15);
    assert_true(goes_unseen(kind, cache, 1, true));
    effort_count(EFFORT_FAULTS, nth);
}

static void short_transfers_are_completed(void **state)
{
    (void)state;
    never_seen(SHORT, BYRE_CACHE_WRITEBACK);
}

static void short_direct_transfers_are_completed(void **state)
{
    (void)state;
    never_seen(SHORT, BYRE_CACHE_NONE);
}

static void interrupted_calls_are_repeated(void **state)
{
    (void)state;
    never_seen(INTERRUPTED, BYRE_CACHE_WRITEBACK);
}

/* --- no room --------------------------------------------------------------------------------------------- */

/* From the n-th call on there is no room; then there is, and all goes on. */
static bool survives_no_room(enum byre_cache cache, unsigned nth)
{
    struct byre_disk *disk = start(cache);
    unsigned failures;
    bool struck;

    begin(NO_ROOM, nth, true);
    failures = go_on(disk, -ENOSPC);
    struck = end();
    assert_int_equal(failures, 0);
    memset(model.doubtful, false, sizeof model.doubtful);
    assert_int_equal(try_write(disk, 0, SIZE, 0), 0);
    assert_int_equal(go_on(disk, 0), 0);
    must(byre_close(disk, err));
    check(true);
    reopen_and_compare();
    return struck;
}

static void disk_without_room_goes_on_when_there_is_some(void **state)
{
    unsigned nth = 1;

    (void)state;
    while (survives_no_room(BYRE_CACHE_WRITEBACK, nth))
        nth++;
    assert_true(nth > 10);
    effort_count(EFFORT_FAULTS, nth - 1);
}

/* --- writes that get nowhere, syncs that fail ------------------------------------------------------------ */

static bool fails_and_recovers(enum kind kind, unsigned nth, bool for_ever)
{
    struct byre_disk *disk = start(BYRE_CACHE_WRITEBACK);
    bool struck;

    begin(kind, nth, for_ever);
    (void)go_on(disk, 0);
    struck = end();
    if (kind == UNSYNCED && struck) {
        assert_int_equal(byre_pwrite(disk, "x", 1, 0, NULL), -EROFS);
        assert_true(byre_flush(disk, NULL) < 0);
    }
    assert_int_equal(compare(disk), 0);
    /* What no flush has promised may be gone. */
    if (byre_close(disk, NULL) == 0)
        reopen_and_compare();
    check(false);
    return struck;
}

static void writes_that_get_nowhere_fail(void **state)
{
    unsigned nth = 1;

    (void)state;
    while (fails_and_recovers(STUCK, nth, false))
        nth++;
    assert_true(nth > 15);
    effort_count(EFFORT_FAULTS, nth - 1);
}

static void failed_syncs_make_read_only(void **state)
{
    unsigned nth = 1;

    (void)state;
    while (fails_and_recovers(UNSYNCED, nth, nth % 2))
        nth++;
    assert_true(nth > 5);
    effort_count(EFFORT_FAULTS, nth - 1);
}

/* --- queues ---------------------------------------------------------------------------------------------- */

enum { REQUESTS = 24 };

/* Reads, or writes new bytes to, the first clusters, all at once. */
static void submit_and_reap(struct byre_disk *disk, struct byre_workers *workers, enum byre_op op)
{
    const struct byre_queue_options options = { .depth = REQUESTS, .aio = BYRE_AIO_IO_URING };
    struct byre_request requests[REQUESTS];
    struct byre_completion completions[REQUESTS];
    struct iovec iov[REQUESTS];
    struct byre_queue *queue;
    uint8_t *bytes = aligned_alloc(BLOCK, REQUESTS * CLUSTER);

    assert_non_null(bytes);
    must(byre_queue_new(disk, workers, &options, &queue, err));
    for (unsigned i = 0; i < REQUESTS; i++) {
        iov[i] = (struct iovec){ bytes + i * CLUSTER, CLUSTER };
        memset(iov[i].iov_base, op == BYRE_OP_WRITE ? ++model.next : 0, CLUSTER);
        requests[i] = (struct byre_request){
            .op = op, .goff = (uint64_t)i * CLUSTER, .length = CLUSTER, .iov = &iov[i], .iov_count = 1,
        };
    }
    assert_int_equal(byre_queue_submit(queue, requests, REQUESTS), REQUESTS);
    assert_int_equal(byre_queue_reap(queue, completions, REQUESTS, REQUESTS, -1), REQUESTS);
    for (unsigned i = 0; i < REQUESTS; i++)
        assert_int_equal(completions[i].result, 0);
    if (op == BYRE_OP_WRITE)
        memcpy(model.bytes, bytes, REQUESTS * CLUSTER);
    else
        assert_memory_equal(model.bytes, bytes, REQUESTS * CLUSTER);
    byre_queue_free(queue);
    free(bytes);
}

static bool queue_completes(enum byre_cache cache, enum kind kind, unsigned nth, bool for_ever)
{
    struct byre_disk *disk = start(cache);
    struct byre_workers *workers;
    bool struck;

    must(byre_workers_new(2, &workers, err));
    assert_int_equal(try_write(disk, 0, SIZE, 0), 0);
    assert_int_equal(compare(disk), 0); /* now all is in the flat map */
    begin(kind, nth, for_ever);
    fault.no_wait = kind == SHORT_RING;
    submit_and_reap(disk, workers, BYRE_OP_READ);
    submit_and_reap(disk, workers, BYRE_OP_WRITE);
    submit_and_reap(disk, workers, BYRE_OP_READ);
    struck = end();
    /* What the ring has done in part is done again by a worker; nothing else is, without a page cache. */
    if (struck && kind == SHORT_RING && fault.direct)
        assert_true(fault.moves >= fault.strikes);
    assert_int_equal(compare(disk), 0);
    byre_workers_free(workers);
    must(byre_close(disk, err));
    check(true);
    return struck;
}

static void short_transfers_of_queues_are_completed(void **state)
{
    const enum byre_cache caches[] = { BYRE_CACHE_WRITEBACK, BYRE_CACHE_NONE };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(caches); i++) {
        for (unsigned nth = 1; nth < 3 * REQUESTS; nth += 5) {
            effort_count(EFFORT_FAULTS, queue_completes(caches[i], SHORT_RING, nth, false));
            effort_count(EFFORT_FAULTS, queue_completes(caches[i], SHORT, nth, false));
        }
        queue_completes(caches[i], SHORT_RING, 1, true);
        queue_completes(caches[i], SHORT, 1, true);
    }
}

/* --- files that end too soon ----------------------------------------------------------------------------- */

/* Somebody else has cut the file: what is gone reads as zero, and nothing breaks. */
static void file_that_shrinks_underneath_reads_as_zeros(void **state)
{
    const enum byre_cache caches[] = { BYRE_CACHE_WRITEBACK, BYRE_CACHE_NONE };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(caches); i++) {
        struct byre_disk *disk = start(caches[i]);
        uint8_t bytes[8 * CLUSTER];
        byre_extent_vec extents = VEC_INIT;

        assert_int_equal(try_write(disk, 0, 8 * CLUSTER, 0), 0);
        assert_int_equal(byre_flush(disk, NULL), 0);
        assert_int_equal(byre_qcow2_map(disk->layers[0].qcow2, 0, 8 * CLUSTER, &extents, NULL), 0);
        assert_int_equal(extents.len, 1);
        assert_int_equal(truncate(path("image"), (off_t)extents.ptr[0].hoff + 3 * CLUSTER + 1000), 0);
        vec_done(&extents);
        memset(bytes, 0xee, sizeof bytes);
        assert_int_equal(byre_pread(disk, bytes, sizeof bytes, 0, NULL), 0);
        memset(model.bytes + 3 * CLUSTER + 1000, 0, 5 * CLUSTER - 1000);
        assert_memory_equal(bytes, model.bytes, sizeof bytes);
        assert_int_equal(try_write(disk, 0, 8 * CLUSTER, 0), 0);
        must(byre_close(disk, err));
        reopen_and_compare();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(short_transfers_are_completed),
        TEST(short_direct_transfers_are_completed),
        TEST(interrupted_calls_are_repeated),
        TEST(disk_without_room_goes_on_when_there_is_some),
        TEST(writes_that_get_nowhere_fail),
        TEST(failed_syncs_make_read_only),
        TEST(short_transfers_of_queues_are_completed),
        TEST(file_that_shrinks_underneath_reads_as_zeros),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
