/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several threads on one disk, against a flat model, with every request that a disk takes.
 *
 * Each thread owns parts of the disk: a quarter of it, or every fourth cluster, or every fourth 256 bytes, so that they
 * meet in tables, in clusters, and in copies-on-write of one cluster.  What it reads there is what it wrote.  One of
 * them also makes the disk larger from time to time.  After each round the whole disk is looked at; after some it is
 * closed, checked, and opened again.
 *
 * What the disk is like (version, sizes of clusters and counts, what it stands on, how little it may keep in memory)
 * comes from the seed, as do the requests: BYRE_SEED=n runs that one alone, BYRE_LONG is how many seeds to run.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../crash/guest.h"
#include "../crash/record_store.h"
#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/open.h"
#include "duet.h"
#include "store/memory.h"

enum {
    THREADS = 4,
    ROUNDS = 6,
    STEPS = 150,
    SIZE = 192 << 10,  /* at first: a multiple of every cluster size */
    MODEL_SIZE = 1 << 20,
    LENGTH_MAX = 12 << 10,
    SMALL = 256,       /* a stripe that is less than a sector */
    GROWTH = 16 << 10,
};

/* What a seed stands for. */
struct kind {
    unsigned seed, version, cluster_bits, refcount_order;
    bool lazy, little;              /* little: the smallest caches */
    bool copy_on_read, compress;
    enum byre_detect_zeroes detect_zeroes;
    unsigned below;                 /* images below the top */
    unsigned below_bits;            /* of the first of them, if it is no raw one */
    uint64_t below_size;
};

struct world {
    struct kind kind;
    struct byre_store *store;
    struct byre_disk *disk;
    uint8_t model[MODEL_SIZE];
    uint64_t size;                  /* at the start of the round */
    uint64_t stripe;                /* bytes: each thread owns every THREADS-th */
};

struct worker {
    struct world *world;
    pthread_t thread;
    unsigned number, seed, patterns;
    char failure[250];
};

static unsigned pick(unsigned *seed, unsigned below)
{
    return (unsigned)rand_r(seed) / 7 % below;
}

/* --- the disk -------------------------------------------------------------------------------------------- */

static struct kind kind_of(unsigned seed)
{
    struct kind kind = { .seed = seed };

    kind.version = 2 + (pick(&seed, 4) > 0);
    kind.cluster_bits = 9 + pick(&seed, 2) * pick(&seed, 5);
    kind.refcount_order = kind.version == 2 ? 4 : pick(&seed, 7);
    kind.lazy = kind.version == 3 && pick(&seed, 3) == 0;
    kind.little = pick(&seed, 2);
    kind.below = pick(&seed, 3);
    kind.below_bits = 9 + pick(&seed, 6);
    kind.below_size = (SIZE / 2 + pick(&seed, SIZE) / 512 * 512);
    kind.copy_on_read = kind.below && pick(&seed, 3) == 0;
    kind.compress = pick(&seed, 6) == 0;
    kind.detect_zeroes = (enum byre_detect_zeroes)(pick(&seed, 2) * pick(&seed, 3));
    return kind;
}

static void show_kind(const struct kind *kind)
{
    print_message("  BYRE_SEED=%u: version %u, clusters of %u, counts of %u bits%s%s%s%s%s, %u below (%llu bytes)\n",
                  kind->seed, kind->version, 1U << kind->cluster_bits, 1U << kind->refcount_order,
                  kind->lazy ? ", lazy" : "", kind->little ? ", little memory" : "",
                  kind->copy_on_read ? ", copy-on-read" : "", kind->compress ? ", compress" : "",
                  kind->detect_zeroes ? ", detect-zeroes" : "", kind->below,
                  (unsigned long long)kind->below_size);
}

static struct byre_qcow2 *create(struct byre_store *store, const struct byre_qcow2_create_options *options)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_qcow2 *image = NULL;

    if (byre_qcow2_create(store, options, &image, &err) < 0 || byre_qcow2_seal(image, &err) < 0)
        fail_msg("create: %s", err.text);
    return image;
}

static struct byre_layer *add_layer(struct byre_disk *disk, struct byre_store *store, uint64_t size)
{
    struct byre_layer *layer = byre_disk_add_layer(disk, "layer");

    assert_non_null(layer);
    layer->store = layer->data = store;
    layer->size = size;
    return layer;
}

/* What the images below show. */
static void below_model(const struct kind *kind, uint8_t *model)
{
    uint64_t cluster = 1ULL << kind->below_bits;

    guest_pattern(model, 0, kind->below_size, 0);
    for (uint64_t at = 0; kind->below == 2 && at + cluster <= kind->below_size; at += cluster) {
        if (at / cluster % 4)
            memset(model + at, 0, cluster);
        if (at / cluster % 4 == 1 || at / cluster % 4 == 2)
            guest_pattern(model + at, at, 64, 1);
    }
}

/* A raw file full of a pattern. */
static struct byre_store *raw_store(uint64_t size)
{
    struct byre_store *store;
    CLEANUP(free_ptr) uint8_t *bytes = malloc(size);

    assert_non_null(bytes);
    guest_pattern(bytes, 0, size, 0);
    assert_int_equal(byre_memory_new(bytes, size, &store, NULL), 0);
    return store;
}

/* An image in the middle: data, zeros and compressed clusters here and there. */
static void fill_middle(struct byre_qcow2 *image, const struct kind *kind)
{
    uint64_t cluster = 1ULL << kind->below_bits;
    CLEANUP(free_ptr) uint8_t *bytes = calloc(1, cluster);
    struct iovec iov = { bytes, cluster };

    assert_non_null(bytes);
    for (uint64_t at = 0; at + cluster <= kind->below_size; at += cluster) {
        guest_pattern(bytes, at, 64, 1);
        if (at / cluster % 4 == 1)
            assert_int_equal(byre_qcow2_writev(image, at, &iov, 1, cluster, NULL), 0);
        if (at / cluster % 4 == 2)
            assert_int_equal(byre_qcow2_write_compressed(image, at, bytes, cluster, NULL), 0);
        if (at / cluster % 4 == 3)
            assert_int_equal(byre_qcow2_write_zeroes(image, at, cluster, 0, NULL), 0);
    }
}

static void add_middle(struct byre_disk *disk, const struct kind *kind)
{
    const struct byre_qcow2_create_options options = {
        .size = kind->below_size, .version = 3, .cluster_bits = kind->below_bits, .refcount_order = 4,
        .backing_name = "bottom", .backing_format = "raw",
    };
    const struct byre_qcow2_open_options open = { .cache_bytes = kind->little ? 1 : 0 };
    struct byre_store *store;
    struct byre_qcow2 *image;
    struct byre_layer *layer;

    assert_int_equal(byre_memory_new(NULL, 0, &store, NULL), 0);
    image = create(store, &options);
    fill_middle(image, kind);
    assert_int_equal(byre_qcow2_close(image, NULL), 0);
    layer = add_layer(disk, store, kind->below_size);
    assert_int_equal(byre_qcow2_open(store, &open, &layer->qcow2, NULL), 0);
}

static void open_disk(struct world *world)
{
    const struct kind *kind = &world->kind;
    const struct byre_qcow2_open_options open = { .writable = true, .cache_bytes = kind->little ? 1 : 0 };
    const struct byre_open_options options = {
        .writable = true,
        .map_bytes = kind->little ? 1 : 0,
        .copy_on_read = kind->copy_on_read,
        .detect_zeroes = kind->detect_zeroes,
    };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_layer *top;

    world->disk = byre_disk_new();
    assert_non_null(world->disk);
    world->disk->compress = kind->compress;
    top = add_layer(world->disk, world->store, 0);
    if (byre_qcow2_open(world->store, &open, &top->qcow2, &err) < 0)
        fail_msg("open: %s", err.text);
    top->size = byre_qcow2_header(top->qcow2)->size;
    if (kind->below == 2)
        add_middle(world->disk, kind);
    if (kind->below)
        add_layer(world->disk, raw_store(kind->below_size), kind->below_size);
    assert_int_equal(byre_disk_complete(world->disk, &options, NULL), 0);
    world->size = byre_get_size(world->disk);
}

/* Closes the disk, but not the store of the top layer, which has to be free of leaks then. */
static void close_disk(struct world *world)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_layer *top = &world->disk->layers[0];
    const char *why;

    if (byre_qcow2_close(top->qcow2, &err) < 0)
        fail_msg("close: %s", err.text);
    top->qcow2 = NULL;
    top->store = NULL;
    assert_int_equal(byre_disk_free(world->disk, NULL), 0);
    world->disk = NULL;
    why = duet_check(world->store, true);
    if (why)
        fail_msg("BYRE_SEED=%u: %s", world->kind.seed, why);
    assert_int_equal(record_store_restart(world->store), 0);
}

static void new_world(struct world *world, unsigned seed)
{
    const struct kind kind = kind_of(seed);
    const struct byre_qcow2_create_options options = {
        .size = SIZE, .version = kind.version, .cluster_bits = kind.cluster_bits,
        .refcount_order = kind.refcount_order, .lazy_refcounts = kind.lazy,
        .backing_name = kind.below ? "below" : NULL, .backing_format = kind.below == 2 ? "qcow2" : "raw",
    };

    memset(world, 0, sizeof *world);
    world->kind = kind;
    show_kind(&kind);
    assert_int_equal(record_store_new(NULL, 0, &world->store), 0);
    assert_int_equal(byre_qcow2_close(create(world->store, &options), NULL), 0);
    open_disk(world);
    if (kind.below)
        below_model(&kind, world->model);
    /* What is below the end of the disk is not seen when it grows. */
    memset(world->model + SIZE, 0, sizeof world->model - SIZE);
}

/* --- requests -------------------------------------------------------------------------------------------- */

/* A range of the worker's own: within one stripe, and whole clusters where those fit and `whole`. */
static uint64_t choose(struct worker *worker, bool whole, uint64_t *ret_at)
{
    const struct world *world = worker->world;
    uint64_t cluster = whole ? 1ULL << world->kind.cluster_bits : 1, stripe = world->stripe, start, at, left;
    unsigned turns = (unsigned)(world->size / stripe / THREADS);

    start = (pick(&worker->seed, turns) * (uint64_t)THREADS + worker->number) * stripe;
    at = byre_round_up(start + pick(&worker->seed, (unsigned)stripe), cluster);
    if (pick(&worker->seed, 2))
        at = byre_round_down(MAX(at, start + SMALL), SMALL);
    at = byre_round_up(MAX(at, start), cluster);
    if (at >= start + stripe)
        at = byre_round_up(start, cluster);
    left = start + stripe > at ? start + stripe - at : 0;
    *ret_at = at;
    return byre_round_down(MIN(left, cluster + pick(&worker->seed, LENGTH_MAX)), cluster);
}

static int do_write(struct worker *worker, unsigned flags, struct byre_error *err)
{
    uint64_t at, length = choose(worker, false, &at);
    uint8_t *bytes = worker->world->model + at;
    struct iovec iov[2] = { { bytes, length / 2 }, { bytes + length / 2, length - length / 2 } };

    guest_pattern(bytes, at, length, ++worker->patterns * THREADS + worker->number);
    return byre_pwritev(worker->world->disk, iov, 2, at, flags, err);
}

static int do_compressed(struct worker *worker, struct byre_error *err)
{
    uint64_t at, length = choose(worker, true, &at);
    uint8_t *bytes = worker->world->model + at;

    guest_pattern(bytes, at, length, ++worker->patterns * THREADS + worker->number);
    for (uint64_t i = 64; i < length; i++)
        bytes[i] = pick(&worker->seed, 100) ? bytes[i - 64] : (uint8_t)i;
    return byre_write_compressed(worker->world->disk, bytes, length, at, err);
}

static int do_zero(struct worker *worker, struct byre_error *err)
{
    static const unsigned flags[] = {
        0, BYRE_WRITE_ZEROES_UNMAP, BYRE_WRITE_ZEROES_UNMAP | BYRE_WRITE_FUA, BYRE_WRITE_ZEROES_NO_FALLBACK,
        BYRE_WRITE_ZEROES_UNMAP | BYRE_WRITE_ZEROES_NO_FALLBACK,
    };
    uint64_t at, length = choose(worker, pick(&worker->seed, 2), &at);
    int rc = byre_write_zeroes(worker->world->disk, at, length, flags[pick(&worker->seed, ARRAY_LEN(flags))], err);

    if (rc == 0)
        memset(worker->world->model + at, 0, length);
    return rc == -ENOTSUP ? 0 : rc;
}

static int do_discard(struct worker *worker, struct byre_error *err)
{
    const struct kind *kind = &worker->world->kind;
    uint64_t at, length = choose(worker, false, &at), cluster = 1ULL << kind->cluster_bits;
    uint64_t start = byre_round_up(at, cluster), end = byre_round_down(at + length, cluster);

    if (start < end && (kind->version > 2 || !kind->below))
        memset(worker->world->model + start, 0, end - start);
    return byre_discard(worker->world->disk, at, length, err);
}

static int do_read(struct worker *worker, struct byre_error *err)
{
    uint8_t found[LENGTH_MAX + 1];
    uint64_t at, length = choose(worker, false, &at);
    int rc = byre_pread(worker->world->disk, found, length, at, err);

    for (uint64_t i = 0; rc == 0 && i < length; i++) {
        if (found[i] != worker->world->model[at + i])
            return byre_error_set(err, -EBADMSG, "the byte at %#llx is wrong", (unsigned long long)(at + i));
    }
    return rc;
}

/* Reads what others write: nobody knows what is there. */
static int do_peek(struct worker *worker, struct byre_error *err)
{
    uint8_t found[LENGTH_MAX];
    uint64_t at = pick(&worker->seed, (unsigned)(worker->world->size - sizeof found));

    return byre_pread(worker->world->disk, found, sizeof found, at, err);
}

static int follow(void *opaque, const struct byre_extent *extent)
{
    uint64_t *at = opaque;

    if (extent->goff != *at || !extent->length)
        return -EBADMSG;
    *at += extent->length;
    return 0;
}

static int do_extents(struct worker *worker, struct byre_error *err)
{
    uint64_t at = pick(&worker->seed, (unsigned)worker->world->size);

    return byre_extents(worker->world->disk, at, worker->world->size - at, follow, &at, err);
}

/* The first one's; by itself the disk grows in the model when the round is over. */
static int do_grow(struct worker *worker, struct byre_error *err)
{
    uint64_t size = byre_get_size(worker->world->disk) + GROWTH * (uint64_t)(1 + pick(&worker->seed, 3));

    if (worker->number || size > MODEL_SIZE || pick(&worker->seed, 4))
        return 0;
    return byre_truncate(worker->world->disk, size, NULL, err);
}

static int step(struct worker *worker, struct byre_error *err)
{
    switch (pick(&worker->seed, 16)) {
    case 0:
    case 1:
        return do_discard(worker, err);
    case 2:
    case 3:
        return do_zero(worker, err);
    case 4:
    case 5:
        return do_compressed(worker, err);
    case 6:
        return pick(&worker->seed, 2) ? byre_flush(worker->world->disk, err) : do_write(worker, BYRE_WRITE_FUA, err);
    case 7:
    case 8:
    case 9:
        return do_read(worker, err);
    case 10:
        return do_peek(worker, err);
    case 11:
        return pick(&worker->seed, 2) ? do_extents(worker, err) : do_grow(worker, err);
    default:
        return do_write(worker, 0, err);
    }
}

static void *work(void *opaque)
{
    struct worker *worker = opaque;
    struct byre_error err = BYRE_ERROR_INIT;

    for (unsigned i = 0; i < STEPS; i++) {
        int rc = step(worker, &err);

        if (rc < 0) {
            snprintf(worker->failure, sizeof worker->failure, "thread %u, step %u: %d %.150s", worker->number, i, rc,
                     err.text);
            break;
        }
    }
    return NULL;
}

/* --- rounds ---------------------------------------------------------------------------------------------- */

static void compare(struct world *world, const char *when)
{
    CLEANUP(free_ptr) uint8_t *found = malloc(MODEL_SIZE);
    uint64_t size = byre_get_size(world->disk);
    struct byre_error err = BYRE_ERROR_INIT;

    assert_non_null(found);
    if (byre_pread(world->disk, found, size, 0, &err) < 0)
        fail_msg("BYRE_SEED=%u: %s: %s", world->kind.seed, when, err.text);
    for (uint64_t i = 0; i < size; i++) {
        if (found[i] != world->model[i])
            fail_msg("BYRE_SEED=%u: %s: the byte at %#llx is wrong", world->kind.seed, when, (unsigned long long)i);
    }
}

static void run_round(struct world *world, struct worker *workers)
{
    uint64_t cluster = 1ULL << world->kind.cluster_bits;
    const uint64_t stripes[] = { world->size / THREADS / cluster * cluster, cluster, SMALL };

    world->stripe = stripes[pick(&workers[0].seed, ARRAY_LEN(stripes))];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        if (workers[i].failure[0])
            fail_msg("BYRE_SEED=%u: %s", world->kind.seed, workers[i].failure);
    }
    world->size = byre_get_size(world->disk);
    compare(world, "after a round");
}

static void run(unsigned seed)
{
    struct world *world = malloc(sizeof *world);
    struct worker workers[THREADS] = { 0 };

    assert_non_null(world);
    alarm(120); /* whatever hangs is a failure */
    new_world(world, seed);
    compare(world, "in the beginning");
    for (unsigned i = 0; i < THREADS; i++)
        workers[i] = (struct worker){ .world = world, .number = i, .seed = seed * 7 + i };
    for (unsigned i = 0; i < ROUNDS; i++) {
        run_round(world, workers);
        if (i % 2) {
            close_disk(world);
            open_disk(world);
            compare(world, "after it was opened again");
        }
    }
    close_disk(world);
    byre_store_close(world->store);
    free(world);
    alarm(0);
}

static void threads_find_what_they_wrote_on_any_disk(void **state)
{
    const char *given = getenv("BYRE_SEED"), *many = getenv("BYRE_LONG");
    unsigned first = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL) * 16, count = 24;

    (void)state;
    if (many)
        count = MAX((unsigned)strtoul(many, NULL, 0), 200U);
    for (unsigned i = 0; i < (given ? 1 : count); i++)
        run(first + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_find_what_they_wrote_on_any_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
