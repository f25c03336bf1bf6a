/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment of random operations on small images.  BYRE_SEED repeats one run.
 */
#include "config.h"

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

enum { RUNS = 24, STEPS = 24, CLUSTERS = 48 };

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
        .cache_bytes = 1,
    };

    options.size = (uint64_t)CLUSTERS << options.cluster_bits;
    if (pick(seed, 2))
        options.size -= 512;
    if (pick(seed, 2))
        options.backing_size = options.size - pick(seed, (unsigned)options.size);
    if (options.version == 3) {
        options.refcount_order = (int)pick(seed, 7);
        options.refcount_order = options.refcount_order ? options.refcount_order : -1;
        options.lazy = pick(seed, 4) == 0;
    }
    if (pick(seed, 5) == 0)
        options.device_size = (uint64_t)(CLUSTERS * 3) << options.cluster_bits;
    return options;
}

static int step(struct guest *guest, unsigned *seed)
{
    uint64_t size = guest->options.size, goff = pick(seed, (unsigned)size), length;
    unsigned cluster_bits = byre_qcow2_header(guest->image)->cluster_bits;

    length = MIN(1 + pick(seed, 4u << cluster_bits), size - goff);
    if (pick(seed, 2)) {
        goff = byre_round_down(goff, 1ULL << cluster_bits);
        length = MIN(byre_round_up(length, 512), size - goff);
    }
    switch (pick(seed, 12)) {
    default:
        return guest_write(guest, goff, length);
    case 0:
        return guest_zero(guest, goff, length, 0);
    case 1:
        return guest_zero(guest, goff, length, BYRE_WRITE_ZEROES_UNMAP);
    case 2:
    case 3:
        return guest_discard(guest, goff, length);
    case 4:
    case 5:
    case 6:
        return guest_flush(guest);
    case 7:
    case 8:
        goff = byre_round_down(goff, 1ULL << cluster_bits);
        return guest_compressed(guest, goff, 1 + (unsigned)MIN((size - goff - 1) >> cluster_bits, 2ULL));
    case 9:
        if (guest_close(guest) < 0 || guest_check(guest, true) < 0)
            return -1;
        return guest_open(guest);
    }
}

static void run(unsigned seed)
{
    unsigned mine = seed;
    struct guest_options options = random_options(&mine);
    struct crash_options crash = { .seed = seed, .samples = 8, .exact = 4 };
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
    for (unsigned seed = 1; seed <= RUNS; seed++)
        run(seed);
    print_message("  random seed %u\n", random);
    run(random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_survive_any_crash),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
