/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel alone takes for the reads of `byre bench -S`: the same 4 KiB at the same places, by nothing but
 * preadv2.
 *
 *     preads COUNT STEP SIZE ROUNDS MAP MAP
 *
 * A MAP is the output of `byre map` of a disk of SIZE bytes whose data is all there, in lines of offset, length, host
 * offset and file.  In each round each map has its turn.  Prints for each the nanoseconds of processor time that a read
 * took, and then how many times as long those of the second took: medians of the rounds.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

enum { LENGTH = 4096, FILES_MAX = 256, MAPS = 2, ROUNDS_MAX = 99 };

struct place {
    int fd;
    uint64_t hoff;
};

struct extent {
    uint64_t goff, length, hoff;
    int fd;
};

static char *names[FILES_MAX];
static int fds[FILES_MAX];

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int fd_of(const char *name)
{
    int i = 0;

    while (i < FILES_MAX && names[i] && strcmp(names[i], name) != 0)
        i++;
    if (i == FILES_MAX)
        fail("too many files");
    if (!names[i]) {
        names[i] = strdup(name);
        fds[i] = open(name, O_RDONLY);
        if (fds[i] < 0)
            fail(name);
    }
    return fds[i];
}

static struct extent *read_map(const char *path, size_t *ret_count)
{
    struct extent *extents = NULL, next;
    char line[8192], name[4096];
    FILE *f = fopen(path, "r");
    size_t count = 0;

    if (!f)
        fail(path);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%" SCNx64 " %" SCNx64 " %" SCNx64 " %4095[^\n]", &next.goff, &next.length, &next.hoff,
                   name) != 4)
            continue;
        next.fd = fd_of(name);
        extents = realloc(extents, (count + 1) * sizeof *extents);
        if (!extents)
            fail("memory");
        extents[count++] = next;
    }
    fclose(f);
    *ret_count = count;
    return extents;
}

/* The places of all reads, in the order in which byre bench goes through them. */
static struct place *places_of(const char *path, size_t reads, uint64_t step, uint64_t size)
{
    struct place *places = malloc(reads * sizeof *places);
    size_t count;
    struct extent *extents = read_map(path, &count);
    uint64_t goff = 0;

    if (!places)
        fail("memory");
    for (size_t i = 0; i < reads; i++, goff = (goff + step) % (size - LENGTH)) {
        size_t low = 0, high = count;

        while (high - low > 1) {
            size_t middle = (low + high) / 2;

            *(extents[middle].goff <= goff ? &low : &high) = middle;
        }
        if (!count || goff - extents[low].goff >= extents[low].length)
            fail("a hole");
        places[i] = (struct place){ extents[low].fd, extents[low].hoff + goff - extents[low].goff };
    }
    free(extents);
    return places;
}

static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double read_all(const struct place *places, size_t reads)
{
    static char buf[LENGTH] __attribute__((aligned(LENGTH)));
    const struct iovec iov = { buf, sizeof buf };
    double start = now_ns();

    for (size_t i = 0; i < reads; i++) {
        if (preadv2(places[i].fd, &iov, 1, (off_t)places[i].hoff, RWF_NOWAIT) <= 0)
            (void)preadv2(places[i].fd, &iov, 1, (off_t)places[i].hoff, 0);
    }
    return (now_ns() - start) / (double)reads;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare);
    return values[count / 2];
}

int main(int argc, char **argv)
{
    static double times[MAPS][ROUNDS_MAX], ratios[ROUNDS_MAX];
    struct place *places[MAPS];
    int rounds = argc > 4 ? atoi(argv[4]) : 0;
    size_t reads = argc > 1 ? strtoul(argv[1], NULL, 0) : 0;

    if (argc != 5 + MAPS || rounds < 1 || rounds > ROUNDS_MAX || !reads) {
        fprintf(stderr, "usage: preads COUNT STEP SIZE ROUNDS MAP MAP\n");
        return 1;
    }
    for (int i = 0; i < MAPS; i++)
        places[i] = places_of(argv[5 + i], reads, strtoull(argv[2], NULL, 0), strtoull(argv[3], NULL, 0));
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < MAPS; i++)
            times[i][round] = read_all(places[i], reads);
        ratios[round] = times[1][round] / times[0][round];
    }
    printf("%.0f %.0f %.3f\n", median(times[0], rounds), median(times[1], rounds), median(ratios, rounds));
    for (int i = 0; i < MAPS; i++)
        free(places[i]);
    return 0;
}
