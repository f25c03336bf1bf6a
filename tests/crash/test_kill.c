/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process that writes to an image from several threads is killed, and the image is opened again: a hundred times.
 *
 * Each block of the disk belongs to one thread and carries its number and a version.  Memory that outlives the
 * process tells which version of a block was started, and which was covered by a flush: each sector holds one of those
 * from the second to the first.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arith.h"
#include "byre/check.h"
#include "byre/create.h"
#include "byre/disk.h"
#include "../unit/tempdir.h"
#include "effort.h"

enum { KILLS = 100, KILLS_PER_IMAGE = 10, THREADS = 3, BLOCK = 4096, SECTOR = 512, BLOCKS = 1536, FLUSHES_MAX = 12 };

/* Survives the process. */
struct journal {
    _Atomic uint64_t started[BLOCKS], completed[BLOCKS], durable[BLOCKS];
};

struct writer {
    pthread_t thread;
    struct byre_disk *disk;
    unsigned number, seed;
    int progress; /* a byte for each flush */
};

static struct journal *journal;
static struct tempdir tmp;

/* --- the process that is killed -------------------------------------------------------------------------- */

static unsigned pick(struct writer *writer, unsigned below)
{
    return (unsigned)rand_r(&writer->seed) / 5 % below;
}

static void fill(uint64_t *words, unsigned block, uint64_t version)
{
    for (size_t i = 0; i < BLOCK / sizeof *words; i++)
        words[i] = version ? (uint64_t)block << 40 | version : 0;
}

/* Writes the next version of a block of this writer; every fourth version is zeros. */
static int change_block(struct writer *writer)
{
    unsigned block = pick(writer, BLOCKS / THREADS) * THREADS + writer->number;
    uint64_t version = journal->started[block] + 1, words[BLOCK / 8];
    int r;

    atomic_store(&journal->started[block], version);
    if (version % 4 == 0) {
        r = byre_write_zeroes(writer->disk, (uint64_t)block * BLOCK, BLOCK, BYRE_WRITE_ZEROES_UNMAP, NULL);
    } else {
        fill(words, block, version);
        r = byre_pwrite(writer->disk, words, sizeof words, (uint64_t)block * BLOCK, NULL);
    }
    atomic_store(&journal->completed[block], version);
    return r;
}

static int flush(struct writer *writer)
{
    static _Thread_local uint64_t covered[BLOCKS];
    int r;

    for (unsigned i = 0; i < BLOCKS; i++)
        covered[i] = journal->completed[i];
    r = byre_flush(writer->disk, NULL);
    for (unsigned i = 0; r == 0 && i < BLOCKS; i++) {
        uint64_t known = journal->durable[i];

        while (known < covered[i] && !atomic_compare_exchange_weak(&journal->durable[i], &known, covered[i]))
            ;
    }
    return r;
}

static void *write_for_ever(void *opaque)
{
    struct writer *writer = opaque;
    int r = 0;

    while (r == 0) {
        for (unsigned i = 0, count = 1 + pick(writer, 40); r == 0 && i < count; i++)
            r = change_block(writer);
        if (r == 0)
            r = flush(writer);
        if (r == 0 && write(writer->progress, "f", 1) != 1)
            r = -errno;
    }
    _exit(3); /* nothing was to fail */
}

static void be_killed(const char *name, unsigned seed, int progress)
{
    const struct byre_open_options options = { .writable = true, .format = "qcow2" };
    struct writer writers[THREADS];
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;

    if (byre_open(name, &options, &disk, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        _exit(2);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){ .disk = disk, .number = i, .seed = seed + i, .progress = progress };
        if (pthread_create(&writers[i].thread, NULL, write_for_ever, &writers[i]) != 0)
            _exit(2);
    }
    pthread_join(writers[0].thread, NULL);
}

/* --- the one that kills and looks ------------------------------------------------------------------------ */

/* Lets a process write until it has flushed so often, and ends it wherever it is then. */
static void write_and_kill(const char *name, unsigned seed, unsigned flushes)
{
    int ends[2], status;
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        be_killed(name, seed, ends[1]);
        _exit(2);
    }
    close(ends[1]);
    while (flushes-- && read(ends[0], &byte, 1) == 1)
        ;
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(ends[0]);
    if (!WIFSIGNALED(status))
        fail_msg("the writer ended by itself: exit code %d", WEXITSTATUS(status));
}

/* Leaks at most: unless the dirty bit says that refcounts are not to be relied on. */
static void check_image(const char *name, bool lazy)
{
    const struct byre_check_options options = { .repair = lazy ? BYRE_REPAIR_LEAKS | BYRE_REPAIR_ERRORS : 0 };
    struct byre_check_result result;
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_check(name, &options, &result, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(result.check_errors, 0);
    assert_int_equal(result.corruptions, 0);
}

/* The version from `from` to `to` that the sector of a block holds; fails if it is none of them. */
static uint64_t sector_version(unsigned block, unsigned sector, const uint64_t *words, uint64_t from, uint64_t to)
{
    const size_t count = SECTOR / sizeof *words;
    uint64_t wanted[BLOCK / 8];

    for (uint64_t version = from; version <= to; version++) {
        fill(wanted, block, version % 4 ? version : 0);
        if (memcmp(words + sector * count, wanted + sector * count, SECTOR) == 0)
            return version;
    }
    fail_msg("sector %u of block %u holds %llx, none of the versions %llu to %llu", sector, block,
             (unsigned long long)words[sector * count], (unsigned long long)from, (unsigned long long)to);
    return 0;
}

/* Looks at one block; what it holds is what the next process goes on from. */
static void check_block(struct byre_disk *disk, unsigned block)
{
    uint64_t oldest = UINT64_MAX, newest = 0, words[BLOCK / 8];
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_pread(disk, words, sizeof words, (uint64_t)block * BLOCK, &err) < 0)
        fail_msg("%s", err.text);
    for (unsigned i = 0; i < BLOCK / SECTOR; i++) {
        uint64_t version = sector_version(block, i, words, journal->durable[block], journal->started[block]);

        oldest = MIN(oldest, version);
        newest = MAX(newest, version);
    }
    journal->durable[block] = oldest;
    journal->completed[block] = oldest;
    journal->started[block] = newest;
}

static void check_contents(const char *name)
{
    const struct byre_open_options options = { .format = "qcow2" };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;

    if (byre_open(name, &options, &disk, &err) < 0)
        fail_msg("%s", err.text);
    for (unsigned block = 0; block < BLOCKS; block++)
        check_block(disk, block);
    byre_close(disk, NULL);
}

static void new_image(const char *name, unsigned seed, bool lazy)
{
    const struct byre_create_options options = {
        .format = "qcow2", .size = (uint64_t)BLOCKS * BLOCK, .cluster_size = 512u << seed % 8, .lazy_refcounts = lazy,
    };
    struct byre_error err = BYRE_ERROR_INIT;

    memset(journal, 0, sizeof *journal);
    if (byre_create(name, &options, &err) < 0)
        fail_msg("%s", err.text);
}

static void image_outlives_its_writers(void **state)
{
    const char *given = getenv("TEST_SEED"), *kills = getenv("TEST_KILLS");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    unsigned count = kills ? (unsigned)strtoul(kills, NULL, 0) : KILLS;
    bool lazy = false;

    (void)state;
    printf("TEST_SEED=%u\n", seed);
    for (unsigned i = 0; i < count; i++, seed += 17) {
        const char *name = tempdir_path(&tmp, "image");

        if (i % KILLS_PER_IMAGE == 0) {
            lazy = seed % 3 == 0;
            new_image(name, seed, lazy);
        }
        write_and_kill(name, seed, seed / 8 % FLUSHES_MAX);
        check_image(name, lazy);
        check_contents(name);
        effort_count(EFFORT_KILLS, 1);
    }
}

static int set_up(void **state)
{
    (void)state;
    alarm(600); /* whatever hangs is a failure */
    journal = mmap(NULL, sizeof *journal, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return journal == MAP_FAILED ? -1 : tempdir_make(&tmp);
}

static int tear_down(void **state)
{
    (void)state;
    munmap(journal, sizeof *journal);
    return tempdir_remove(&tmp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(image_outlives_its_writers, set_up, tear_down),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
