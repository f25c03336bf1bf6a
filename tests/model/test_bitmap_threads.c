/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmaps of a disk that several threads change at once, with calls and through queues: each bitmap has exactly the
 * granules dirty that somebody has changed, before the disk is closed and after.
 *
 * Meanwhile bitmaps come and go, and the disk is read with copy-on-read: neither changes what is dirty.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "byre/bitmap.h"
#include "byre/queue.h"
#include "../unit/disk_fixture.h"

enum { SECTOR = 512, THREADS = 4, STEPS = 600, DEPTH = 8, LENGTH_MAX = 96 << 10 };

static const struct {
    const char *name;
    uint64_t granularity;
} tracked[] = { { "fine", 512 }, { "middle", 8 << 10 }, { "coarse", 1 << 20 } };

struct scene {
    struct byre_disk *disk;
    struct byre_workers *workers;
    uint64_t size;
    uint32_t cluster;
    atomic_bool *changed; /* one a sector */
    atomic_bool over;
};

struct worker {
    pthread_t thread;
    struct scene *scene;
    uint64_t random;
    bool queued;
    char failure[300];
};

static void note(struct scene *scene, uint64_t goff, uint64_t length)
{
    for (uint64_t at = goff / SECTOR; length && at * SECTOR < goff + length; at++)
        scene->changed[at] = true;
}

/* What a discard changes: whole clusters; the last one of the disk counts as whole. */
static void note_clusters(struct scene *scene, uint64_t goff, uint64_t length)
{
    uint64_t start = byre_round_up(goff, scene->cluster), end = goff + length;

    if (end < scene->size)
        end = byre_round_down(end, scene->cluster);
    if (start < end)
        note(scene, start, end - start);
}

/* A random range, and the request for it; notes what it changes. */
static struct byre_request choose(struct worker *worker, struct iovec *iov)
{
    struct scene *scene = worker->scene;
    uint64_t goff = random_from(&worker->random) % scene->size;
    uint64_t length = MIN(random_from(&worker->random) % LENGTH_MAX + 1, scene->size - goff);
    struct byre_request request = { .goff = goff, .length = length, .iov = iov, .iov_count = 1 };

    switch (random_from(&worker->random) % 8) {
    case 0:
        request.op = BYRE_OP_WRITE_ZEROES;
        request.flags = random_from(&worker->random) % 2 ? BYRE_WRITE_ZEROES_UNMAP : 0;
        note(scene, goff, length);
        break;
    case 1:
        request.op = BYRE_OP_DISCARD;
        note_clusters(scene, goff, length);
        break;
    case 2:
    case 3:
        request.op = BYRE_OP_READ;
        break;
    default:
        request.op = BYRE_OP_WRITE;
        request.goff = goff = goff / SECTOR * SECTOR;
        request.length = length = MIN(byre_round_up(length, SECTOR), scene->size - goff);
        note(scene, goff, length);
        break;
    }
    iov->iov_len = length;
    return request;
}

static int do_blocking(struct byre_disk *disk, const struct byre_request *request, struct byre_error *err)
{
    switch (request->op) {
    case BYRE_OP_READ: return byre_preadv(disk, request->iov, 1, request->goff, err);
    case BYRE_OP_WRITE: return byre_pwritev(disk, request->iov, 1, request->goff, 0, err);
    case BYRE_OP_WRITE_ZEROES: return byre_write_zeroes(disk, request->goff, request->length, request->flags, err);
    default: return byre_discard(disk, request->goff, request->length, err);
    }
}

static int work_blocking(struct worker *worker, struct byre_error *err)
{
    uint8_t *buf = calloc(1, LENGTH_MAX + SECTOR);
    struct iovec iov = { buf, 0 };
    int r = 0;

    for (unsigned i = 0; r == 0 && i < STEPS; i++) {
        struct byre_request request = choose(worker, &iov);

        r = do_blocking(worker->scene->disk, &request, err);
        if (r == 0 && i % 40 == 39)
            r = byre_flush(worker->scene->disk, err);
    }
    free(buf);
    return r;
}

static int reap(struct byre_queue *queue, unsigned min)
{
    struct byre_completion completions[DEPTH];
    unsigned count = byre_queue_reap(queue, completions, DEPTH, min, 60000);

    for (unsigned i = 0; i < count; i++) {
        if (completions[i].result < 0)
            return completions[i].result;
    }
    return count < min ? -ETIMEDOUT : 0;
}

static int work_queued(struct worker *worker, struct byre_error *err)
{
    const struct byre_queue_options options = { .depth = DEPTH };
    uint8_t *buf = calloc(DEPTH, LENGTH_MAX + SECTOR); /* one for each request */
    struct iovec iov[DEPTH];
    struct byre_queue *queue;
    int r = byre_queue_new(worker->scene->disk, worker->scene->workers, &options, &queue, err);

    for (unsigned i = 0; r == 0 && i < STEPS; i += DEPTH) {
        for (unsigned j = 0; j < DEPTH; j++) {
            struct byre_request request;

            iov[j].iov_base = buf + j * (LENGTH_MAX + SECTOR);
            request = choose(worker, &iov[j]);
            request.err = err;
            if (byre_queue_submit(queue, &request, 1) != 1)
                r = -EAGAIN;
        }
        for (unsigned left = DEPTH; r == 0 && byre_queue_pending(queue); left--)
            r = left ? reap(queue, 1) : -ETIMEDOUT;
    }
    byre_queue_free(queue);
    free(buf);
    return r;
}

static void *run(void *opaque)
{
    struct worker *worker = opaque;
    struct byre_error err = BYRE_ERROR_INIT;
    int r = worker->queued ? work_queued(worker, &err) : work_blocking(worker, &err);

    if (r < 0)
        snprintf(worker->failure, sizeof worker->failure, "%d: %.200s", r, err.text);
    return NULL;
}

/* Bitmaps that nobody asks for. */
static void *come_and_go(void *opaque)
{
    struct worker *worker = opaque;
    struct byre_disk *disk = worker->scene->disk;
    struct byre_error err = BYRE_ERROR_INIT;
    int r = 0;

    for (unsigned i = 0; r == 0 && (i < 3 || !worker->scene->over); i++) {
        r = byre_bitmap_add(disk, "guest", 4096, true, &err);
        if (r == 0)
            r = byre_bitmap_merge(disk, "guest", disk, "fine", &err);
        if (r == 0)
            r = i % 2 ? byre_bitmap_clear(disk, "guest", &err) : byre_bitmap_disable(disk, "guest", &err);
        if (r == 0)
            r = byre_bitmap_remove(disk, "guest", &err);
    }
    if (r < 0)
        snprintf(worker->failure, sizeof worker->failure, "%d: %.200s", r, err.text);
    return NULL;
}

struct seen {
    bool *dirty;
    uint64_t granularity;
};

static int see(void *opaque, uint64_t goff, uint64_t length)
{
    struct seen *seen = opaque;

    for (uint64_t at = goff / SECTOR; at * SECTOR < goff + length; at++)
        seen->dirty[at] = true;
    return 0;
}

static void compare(struct scene *scene, struct byre_disk *disk, const char *when)
{
    uint64_t sectors = byre_div_up(scene->size, SECTOR);
    bool *dirty = malloc(sectors);

    for (unsigned i = 0; i < ARRAY_LEN(tracked); i++) {
        struct seen seen = { dirty, tracked[i].granularity };
        uint64_t span = tracked[i].granularity / SECTOR;

        memset(dirty, 0, sectors);
        must(byre_bitmap_ranges(disk, tracked[i].name, 0, scene->size, see, &seen, err));
        for (uint64_t first = 0; first < sectors; first += span) {
            bool wanted = false;

            for (uint64_t at = first; at < MIN(first + span, sectors); at++)
                wanted |= scene->changed[at];
            if (wanted != dirty[first])
                fail_msg("%s, %s: the granule at %#llx is %s", when, tracked[i].name,
                         (unsigned long long)first * SECTOR, wanted ? "clean" : "dirty");
        }
    }
    free(dirty);
}

static void play(uint64_t size, uint32_t cluster, bool backing, bool copy_on_read)
{
    struct byre_open_options options = { .writable = true, .copy_on_read = copy_on_read,
                                         .cache = BYRE_CACHE_UNSAFE };
    struct byre_create_options create = { .format = "qcow2", .size = size, .cluster_size = cluster };
    struct scene scene = { .size = size, .cluster = cluster };
    struct worker workers[THREADS + 1] = { { .queued = false } };

    if (backing) {
        uint8_t *bytes = malloc(size / 2);

        random_fill(bytes, size / 2);
        write_file(path("below.raw"), bytes, size / 2);
        free(bytes);
        create.backing_name = path("below.raw");
        create.backing_format = "raw";
    }
    must(byre_create(path("disk.qcow2"), &create, err));
    must(byre_open(path("disk.qcow2"), &options, &scene.disk, err));
    must(byre_workers_new(3, &scene.workers, err));
    for (unsigned i = 0; i < ARRAY_LEN(tracked); i++)
        must(byre_bitmap_add(scene.disk, tracked[i].name, tracked[i].granularity, true, err));
    scene.changed = calloc(byre_div_up(size, SECTOR), sizeof *scene.changed);
    for (unsigned i = 0; i <= THREADS; i++) {
        workers[i].scene = &scene;
        workers[i].random = random_from(&random_state);
        workers[i].queued = i % 2;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, i < THREADS ? run : come_and_go, &workers[i]), 0);
    }
    for (unsigned i = 0; i <= THREADS; i++) {
        scene.over = i == THREADS;
        pthread_join(workers[i].thread, NULL);
        if (workers[i].failure[0])
            fail_msg("thread %u: %s", i, workers[i].failure);
    }
    compare(&scene, scene.disk, "while it is open");
    must(byre_close(scene.disk, err));
    options.writable = options.copy_on_read = false;
    must(byre_open(path("disk.qcow2"), &options, &scene.disk, err));
    compare(&scene, scene.disk, "once it was closed");
    must(byre_close(scene.disk, err));
    byre_workers_free(scene.workers);
    free(scene.changed);
    unlink(path("disk.qcow2"));
}

static void bitmaps_are_exact(void **state)
{
    (void)state;
    random_start();
    play(12 << 20, 64 << 10, false, false);
    play((3 << 20) + 512, 4096, true, false);
    play(1 << 20, 512, false, false);
}

static void copy_on_read_changes_nothing(void **state)
{
    (void)state;
    random_start();
    play(6 << 20, 4096, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bitmaps_are_exact),
        TEST(copy_on_read_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
