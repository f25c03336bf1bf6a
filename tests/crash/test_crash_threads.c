/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment of what several threads do at once: random operations of all kinds, and flushes.
 *
 * Every sector belongs to one thread, so that it is known in which order its versions came.  There are groups of
 * clusters of each thread's own, and clusters that all of them write to, each to its sectors.  The system decides whose
 * turn it is; every call on the store offers it a chance.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arith.h"
#include "byre/disk.h"
#include "effort.h"
#include "guest.h"

enum { RUNS = 24, RUNS_QUICK = 4, THREADS = 3, STEPS = 14, GROUPS = 16, GROUP = 3, CLUSTERS = GROUPS * GROUP };

struct writer {
    pthread_t thread;
    struct guest *guest;
    unsigned number, seed;
    int rc;
};

static unsigned pick(unsigned *seed, unsigned below)
{
    return (unsigned)rand_r(seed) / 7 % below;
}

static void offer(void *opaque, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    (void)opaque;
    (void)kind;
    (void)hoff;
    (void)length;
    sched_yield();
}

static unsigned cluster_bits_of(const struct guest *guest)
{
    return byre_qcow2_header(guest->image)->cluster_bits;
}

/* Writes a sector of this thread in a cluster of all. */
static int write_among_others(struct writer *writer)
{
    unsigned bits = cluster_bits_of(writer->guest), sectors = 1u << (bits - 9);
    unsigned group = pick(&writer->seed, GROUPS / (THREADS + 1)) * (THREADS + 1) + THREADS;
    uint64_t goff = ((uint64_t)group * GROUP + pick(&writer->seed, GROUP)) << bits;
    unsigned sector = pick(&writer->seed, sectors) / THREADS * THREADS + writer->number;

    if (sector >= sectors)
        return 0;
    return guest_write(writer->guest, goff + 512 * sector, 512);
}

/* Some operation on clusters of this thread alone. */
static int change_own(struct writer *writer)
{
    struct guest *guest = writer->guest;
    unsigned *seed = &writer->seed, bits = cluster_bits_of(guest), group;
    uint64_t start, whole = (uint64_t)GROUP << bits, goff, length;

    group = pick(seed, GROUPS / (THREADS + 1)) * (THREADS + 1) + writer->number;
    start = group * whole;
    goff = pick(seed, (unsigned)whole);
    length = 1 + pick(seed, (unsigned)(whole - goff));
    switch (pick(seed, 10)) {
    default:
        return guest_write(guest, start + goff, length);
    case 0:
        return guest_zero(guest, start + goff, length, 0);
    case 1:
        return guest_zero(guest, start, whole, BYRE_WRITE_ZEROES_UNMAP);
    case 2:
        return guest_discard(guest, start + goff, length);
    case 3:
        return guest_discard(guest, start, whole);
    case 4:
        return guest_compressed(guest, start, 1 + pick(seed, GROUP));
    case 5:
        return guest->disk ? guest_write_fua(guest, start, 512) : guest_write(guest, start, 512);
    }
}

static void *write_some(void *opaque)
{
    struct writer *writer = opaque;

    for (unsigned i = 0; writer->rc == 0 && i < STEPS; i++) {
        switch (pick(&writer->seed, 5)) {
        default:
            writer->rc = change_own(writer);
            break;
        case 0:
            writer->rc = write_among_others(writer);
            break;
        case 1:
            writer->rc = guest_flush(writer->guest);
            break;
        }
    }
    return NULL;
}

static struct guest_options random_options(unsigned *seed)
{
    struct guest_options options = {
        .version = 2 + (pick(seed, 4) > 0),
        .cluster_bits = 10 + pick(seed, 3),
        .cache_bytes = pick(seed, 2),
        .disk = pick(seed, 2),
    };

    options.write_through = options.disk && pick(seed, 4) == 0;
    options.lazy = options.version == 3 && pick(seed, 4) == 0;
    options.refcount_order = options.version == 3 ? (int[]){ -1, 0, 1, 6 }[pick(seed, 4)] : 0;
    options.size = (uint64_t)CLUSTERS << options.cluster_bits;
    if (pick(seed, 2))
        options.backing_size = options.size - pick(seed, (unsigned)options.size);
    return options;
}

static void run(unsigned seed)
{
    unsigned mine = seed;
    struct guest_options options = random_options(&mine);
    struct crash_options crash = { .seed = seed, .samples = effort_of(2, 8, 30), .exact = effort_of(3, 4, 6),
                                   .torn = effort_of(8, 2, 1) };
    struct guest *guest = guest_new(&options);
    struct writer writers[THREADS];
    int rc = 0;

    record_store_hook(guest->store, offer, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){ .guest = guest, .number = i, .seed = (unsigned)rand_r(&mine) };
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_some, &writers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(writers[i].thread, NULL);
        rc = rc < 0 ? rc : writers[i].rc;
    }
    record_store_hook(guest->store, NULL, NULL);
    if (rc == 0)
        rc = guest_compare(guest);
    if (rc == 0)
        rc = guest_close(guest);
    if (rc == 0)
        rc = guest_crash(guest, &crash);
    if (rc == 0)
        rc = guest_check(guest, true);
    if (rc != 0)
        fail_msg("BYRE_SEED=%u (the threads' order is not repeated): %d %s", seed, rc, guest->err.text);
    guest_free(guest);
}

static void threads_survive_any_crash(void **state)
{
    const char *given = getenv("BYRE_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);

    (void)state;
    if (!effort_is_long())
        alarm(300); /* whatever hangs is a failure */
    print_message("  first seed %u\n", seed);
    for (unsigned i = 0; i < effort_runs(RUNS_QUICK, RUNS); i++)
        run(seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_survive_any_crash),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
