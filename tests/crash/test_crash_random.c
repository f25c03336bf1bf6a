/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment of random operations on small images.  BYRE_SEED repeats one run.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/arith.h"
#include "byre/disk.h"
#include "effort.h"
#include "guest.h"

enum { RUNS = 40, RUNS_QUICK = 8, STEPS = 28, CLUSTERS = 48, WITHIN = 3, CALLS_WITHIN = 8 };

static unsigned pick(unsigned *seed, unsigned below)
{
    return (unsigned)rand_r(seed) / 7 % below;
}

static struct guest_options random_options(unsigned *seed)
{
    struct guest_options options = {
        .version = 2 + (pick(seed, 4) > 0),
        .cluster_bits = 9 + pick(seed, 4),
        .refcount_order = 4,
        .cache_bytes = pick(seed, 2),
        .disk = pick(seed, 2),
    };

    options.write_through = options.disk && pick(seed, 5) == 0;
    options.size = (uint64_t)CLUSTERS << options.cluster_bits;
    if (pick(seed, 2))
        options.size -= 512;
    if (pick(seed, 2))
        options.backing_size = options.size - pick(seed, (unsigned)options.size);
    if (pick(seed, 2))
        options.first_size = byre_round_up(options.size / (1 + pick(seed, 4)), 512);
    if (options.version == 3) {
        options.refcount_order = (int)pick(seed, 7);
        options.refcount_order = options.refcount_order ? options.refcount_order : -1;
        options.lazy = pick(seed, 4) == 0;
    }
    if (options.version == 3 && !options.lazy && pick(seed, 4) == 0) {
        /* The same with subclusters: requests are as large, so clusters are fewer. */
        options.extended = true;
        options.cluster_bits = 14;
        return options;
    }
    if (pick(seed, 5) == 0)
        options.device_size = (uint64_t)(CLUSTERS * 3 + 16) << options.cluster_bits;
    return options;
}

/* A range of the disk, of clusters or of any bytes. */
struct range {
    uint64_t goff, length;
};

static struct range random_range(const struct guest *guest, unsigned *seed)
{
    uint64_t size = guest_size(guest);
    unsigned cluster_bits = guest->options.extended && pick(seed, 2)
                                ? 9 : byre_qcow2_header(guest->image)->cluster_bits;
    struct range range = { pick(seed, (unsigned)size), 1 + pick(seed, 4u << cluster_bits) };

    if (pick(seed, 2)) {
        range.goff = byre_round_down(range.goff, 1ULL << cluster_bits);
        range.length = byre_round_up(range.length, 512);
    }
    range.length = MIN(range.length, size - range.goff);
    return range;
}

static struct range in_sectors(const struct guest *guest, struct range range)
{
    uint64_t start = byre_round_down(range.goff, 512), end = byre_round_up(range.goff + range.length, 512);

    return (struct range){ start, MIN(end, guest_size(guest)) - start };
}

static int zero_somehow(struct guest *guest, unsigned *seed, struct range range)
{
    unsigned flags = pick(seed, 2) ? BYRE_WRITE_ZEROES_UNMAP : 0;
    int rc;

    if (pick(seed, 4) == 0)
        flags |= BYRE_WRITE_ZEROES_NO_FALLBACK;
    if (guest->disk && pick(seed, 4) == 0) {
        flags |= BYRE_WRITE_FUA;
        range = in_sectors(guest, range);
    }
    rc = guest_zero(guest, range.goff, range.length, flags);
    return rc == -ENOTSUP && flags & BYRE_WRITE_ZEROES_NO_FALLBACK ? 0 : rc;
}

static int compress_some(struct guest *guest, struct range range)
{
    unsigned cluster_bits = byre_qcow2_header(guest->image)->cluster_bits;
    uint64_t goff = byre_round_down(range.goff, 1ULL << cluster_bits);

    return guest_compressed(guest, goff, 1 + (unsigned)MIN((guest_size(guest) - goff - 1) >> cluster_bits, 2ULL));
}

/* Something that does not commit by itself, so that it may happen within a commit. */
static int change_something(struct guest *guest, unsigned *seed)
{
    struct range range = random_range(guest, seed);

    switch (pick(seed, 9)) {
    default:
        return guest_write(guest, range.goff, range.length);
    case 0:
    case 1:
        return zero_somehow(guest, seed, range);
    case 2:
        return guest_discard(guest, range.goff, range.length);
    case 3:
        return compress_some(guest, range);
    case 4:
        return guest_copy_up(guest, range.goff, range.length);
    }
}

/* --- writing while a commit is under way ----------------------------------------------------------------- */

struct intruder {
    struct guest *guest;
    unsigned *seed;
    unsigned countdown; /* store calls until its time has come */
    bool inside;
    int rc;
};

static void intrude(void *opaque, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    struct intruder *intruder = opaque;

    (void)hoff;
    (void)length;
    if (!(kind & (RECORD_WRITE | RECORD_FLUSH)) || intruder->inside || !intruder->countdown || --intruder->countdown)
        return;
    intruder->inside = true;
    for (unsigned i = 0; intruder->rc == 0 && i < WITHIN; i++)
        intruder->rc = change_something(intruder->guest, intruder->seed);
    intruder->inside = false;
}

/* A flush with changes between its writes, where nobody would wait for the commit that it is in. */
static int flush_somehow(struct guest *guest, unsigned *seed)
{
    const struct guest_options *options = &guest->options;
    struct intruder intruder = { .guest = guest, .seed = seed };
    int rc;

    if (options->cache_bytes || options->device_size || options->write_through)
        return guest_flush(guest);
    /* A disk with FUA would wait, too. */
    intruder.countdown = pick(seed, 2) && !guest->disk ? 1 + pick(seed, CALLS_WITHIN) : 0;
    record_store_hook(guest->store, intrude, &intruder);
    rc = guest_flush(guest);
    record_store_hook(guest->store, NULL, NULL);
    return rc < 0 ? rc : intruder.rc;
}

/* --- all of it ------------------------------------------------------------------------------------------- */

static int grow_some(struct guest *guest, unsigned *seed)
{
    uint64_t now = guest_size(guest), left = guest->options.size - now;
    uint64_t size = pick(seed, 3) ? now + pick(seed, (unsigned)left + 1) / 512 * 512 : guest->options.size;

    return guest_grow_as(guest, size, (enum byre_preallocation)pick(seed, 4));
}

static int close_and_open(struct guest *guest)
{
    if (guest_close(guest) < 0 || guest_check(guest, true) < 0)
        return -1;
    return guest_open(guest);
}

static int write_durably(struct guest *guest, struct range range)
{
    range = in_sectors(guest, range);
    return guest->disk ? guest_write_fua(guest, range.goff, range.length) : guest_flush(guest);
}

static int step(struct guest *guest, unsigned *seed)
{
    switch (pick(seed, 16)) {
    default:
        return change_something(guest, seed);
    case 0:
    case 1:
    case 2:
        return flush_somehow(guest, seed);
    case 3:
        return write_durably(guest, random_range(guest, seed));
    case 4:
        return close_and_open(guest);
    case 5:
        return grow_some(guest, seed);
    }
}

static void run(unsigned seed)
{
    unsigned mine = seed;
    struct guest_options options = random_options(&mine);
    struct crash_options crash = { .seed = seed, .samples = effort_of(2, 8, 16), .exact = effort_of(3, 4, 5),
                                   .torn = effort_of(4, 1, 1) };
    struct guest *guest = guest_new(&options);
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < STEPS; i++) {
        rc = step(guest, &mine);
        if (rc == 0 && guest->image)
            rc = guest_compare(guest);
    }
    if (rc == 0)
        rc = guest_close(guest);
    if (rc == 0)
        rc = guest_crash(guest, &crash);
    if (rc == 0)
        rc = guest_check(guest, true);
    if (rc != 0)
        fail_msg("BYRE_SEED=%u: %d %s", seed, rc, guest->err.text);
    guest_free(guest);
}

static void random_operations_survive_any_crash(void **state)
{
    const char *given = getenv("BYRE_SEED");
    unsigned random = (unsigned)time(NULL);

    (void)state;
    if (given) {
        run((unsigned)strtoul(given, NULL, 0));
        return;
    }
    for (unsigned seed = 1; seed <= effort_runs(RUNS_QUICK, RUNS); seed++)
        run(seed);
    print_message("  random seed %u\n", random);
    for (unsigned i = 0; i < effort_runs(1, 4); i++)
        run(random + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_survive_any_crash),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
