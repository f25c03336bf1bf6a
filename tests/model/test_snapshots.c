/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random writes, snapshots made, applied and deleted, against flat copies of the disk and of every snapshot, over the
 * matrix of formats.  After each reopening, and at the end, the image has no corruption and no leak.
 *
 * BYRE_SEED repeats the runs with one seed.
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
#include "snapshot_model.h"

enum { STEPS = 60 };

static unsigned seeds[2];
static size_t seed_count;

static void choose_seeds(void)
{
    const char *given = getenv("BYRE_SEED");

    seeds[seed_count++] = given ? (unsigned)strtoul(given, NULL, 0) : 1;
    if (!given)
        seeds[seed_count++] = (unsigned)time(NULL);
    print_message("seeds: %u and %u (BYRE_SEED)\n", seeds[0], seeds[seed_count - 1]);
}

struct run {
    struct snapshot_model model;
    unsigned seed;
    uint64_t cluster;
};

static uint64_t pick(struct run *run, uint64_t below)
{
    uint64_t high = (uint64_t)rand_r(&run->seed) >> 4;

    return (high << 24 ^ (uint64_t)rand_r(&run->seed) >> 4) % below;
}

static void pick_range(struct run *run, uint64_t *goff, uint64_t *length)
{
    uint64_t size = run->model.disk.size;

    *goff = pick(run, size);
    *length = 1 + pick(run, pick(run, 3) ? 3 * run->cluster : 40 * run->cluster);
    if (pick(run, 2))
        *goff = byre_round_down(*goff, run->cluster);
    if (pick(run, 2))
        *length = byre_round_up(*length, run->cluster);
    *length = MIN(*length, size - *goff);
}

static int compressed(struct run *run, uint64_t goff, uint64_t length)
{
    goff = byre_round_down(goff, run->cluster);
    length = MIN(byre_round_up(length, run->cluster), 8 * run->cluster);
    return snapshot_model_compressed(&run->model, goff, MIN(length, run->model.disk.size - goff));
}

static int reopen(struct run *run)
{
    int rc = snapshot_model_close(&run->model);

    if (rc == 0)
        rc = snapshot_model_check(run->model.store, true, false);
    if (rc == 0)
        rc = snapshot_model_judge(&run->model, run->model.store, true);
    return rc < 0 ? rc : snapshot_model_open(&run->model);
}

/* A refcount that is too large for its width is refused, and nothing has changed. */
static int refused_is_well(struct run *run, int rc)
{
    return rc == -ENOTSUP && byre_qcow2_header(run->model.image)->refcount_order < 4 ? 0 : rc;
}

static int change_snapshots(struct run *run)
{
    unsigned slot = (unsigned)pick(run, SNAPSHOT_MODEL_MAX);

    if (!run->model.snapshots[slot].bytes)
        return refused_is_well(run, snapshot_model_create(&run->model, slot));
    if (pick(run, 2))
        return snapshot_model_delete(&run->model, slot);
    return refused_is_well(run, snapshot_model_apply(&run->model, slot));
}

static int grow(struct run *run)
{
    uint64_t size = run->model.disk.size;

    if (byre_qcow2_header(run->model.image)->version < 3 || size > 400 * run->cluster)
        return 0;
    return snapshot_model_grow(&run->model, size + 512 * (1 + pick(run, 40)));
}

static int step(struct run *run)
{
    struct snapshot_model *model = &run->model;
    uint64_t goff, length;

    pick_range(run, &goff, &length);
    switch (pick(run, 16)) {
    case 0: return snapshot_model_zero(model, goff, length, 0);
    case 1: return snapshot_model_zero(model, goff, length, BYRE_WRITE_ZEROES_UNMAP);
    case 2: return snapshot_model_discard(model, goff, length);
    case 3: return compressed(run, goff, length);
    case 4: return byre_qcow2_flush(model->image, &model->err);
    case 5: return reopen(run);
    case 6: return grow(run);
    case 7: return snapshot_model_save_state(model);
    case 8:
    case 9:
    case 10:
    case 11: return change_snapshots(run);
    default: return snapshot_model_write(model, goff, length);
    }
}

static void run_one(const struct byre_qcow2_create_options *options, unsigned seed, unsigned steps)
{
    struct run run = { .seed = seed, .cluster = 1ULL << options->cluster_bits };
    unsigned done;
    int rc = 0;

    snapshot_model_new(&run.model, options);
    run.model.small_windows = seed & 1;
    for (done = 0; rc == 0 && done < steps; done++)
        rc = step(&run);
    if (rc == 0)
        rc = reopen(&run);
    if (rc != 0)
        fail_msg("BYRE_SEED=%u: step %u of version %u, cluster bits %u, refcount order %u, lazy %d: %d %s", seed, done,
                 options->version, options->cluster_bits, options->refcount_order, options->lazy_refcounts, rc,
                 run.model.err.text);
    snapshot_model_done(&run.model);
}

static void run_formats_with(bool extended, unsigned version, unsigned cluster_bits, uint64_t size, unsigned steps)
{
    if (getenv("BYRE_LONG"))
        steps *= 20;
    for (size_t i = 0; i < seed_count; i++) {
        for (unsigned order = version == 2 ? 4 : 0; order <= (version == 2 ? 4 : 6); order++) {
            run_one(&(struct byre_qcow2_create_options){
                .size = size, .version = version, .cluster_bits = cluster_bits, .refcount_order = order,
                .lazy_refcounts = version == 3 && order % 3 == 1, .extended_l2 = extended,
            }, seeds[i] + order, steps);
        }
    }
}

static void run_formats(unsigned version, unsigned cluster_bits, uint64_t size, unsigned steps)
{
    run_formats_with(false, version, cluster_bits, size, steps);
}

static void version_2_is_what_the_copies_are(void **state)
{
    (void)state;
    run_formats(2, 9, 100 << 10, STEPS * 6);
    run_formats(2, 12, 300 << 10, STEPS * 4);
    run_formats(2, 16, 3 << 20, STEPS);
}

static void small_clusters_are_what_the_copies_are(void **state)
{
    (void)state;
    run_formats(3, 9, 100 << 10, STEPS * 2);
}

static void medium_clusters_are_what_the_copies_are(void **state)
{
    (void)state;
    run_formats(3, 12, 400 << 10, STEPS);
    run_formats(3, 13, (5 << 20) + 512, STEPS);
}

static void large_clusters_are_what_the_copies_are(void **state)
{
    (void)state;
    run_formats(3, 16, 3 << 20, STEPS / 2);
    run_formats(3, 21, 9 << 20, STEPS / 10);
}

static void subclusters_are_what_the_copies_are(void **state)
{
    (void)state;
    run_formats_with(true, 3, 14, 600 << 10, STEPS);
    run_formats_with(true, 3, 16, (3 << 20) + 512, STEPS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_2_is_what_the_copies_are),
        cmocka_unit_test(small_clusters_are_what_the_copies_are),
        cmocka_unit_test(medium_clusters_are_what_the_copies_are),
        cmocka_unit_test(large_clusters_are_what_the_copies_are),
        cmocka_unit_test(subclusters_are_what_the_copies_are),
    };

    choose_seeds();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
