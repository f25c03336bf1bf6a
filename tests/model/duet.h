/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two requests on one disk, the first of them stopped where it can be: at each event that the engine raises on its
 * way, and before each call that it makes of the store.  Such a place is a point; they are numbered from 1.
 *
 *     struct duet *duet = duet_new(&options);       a disk with one image over a backing file, both in memory
 *     duet_play(duet, first, a, second, b, nth);    first stops at its n-th point, second runs, first goes on
 *     duet_free(duet);
 *
 * While the first one stands at its point, the second one runs until it has returned, or until the kernel says that
 * its thread sleeps: it waits for something that the first one holds, for nobody else is there.  Nothing is timed; a
 * request that hangs ends the program after a minute, with the names of what it was about.
 */
#ifndef TESTS_MODEL_DUET_H
#define TESTS_MODEL_DUET_H

#include "byre/disk.h"
#include "store/store.h"

struct duet_options {
    uint64_t size, backing_size; /* bytes; 0: no backing file */
    unsigned version, cluster_bits;
    bool extended;               /* L2 entries: subclusters */
    const uint8_t *image;        /* the top image's file; NULL: a new one */
    uint64_t image_length;
};

struct duet {
    struct duet_options options;
    struct byre_store *store;    /* a recording store: that of the top layer */
    struct byre_disk *disk;      /* NULL: closed */
    bool reached;                /* the first one has as many points as that */
    bool waited;                 /* the second one had to wait for it */
    const char *point;           /* where it was stopped */
    int first_rc, second_rc;
    struct byre_error first_err, second_err;
};

typedef int duet_part(void *opaque, struct byre_error *err);

/* Failures in here end the program. */
struct duet *duet_new(const struct duet_options *options);
void duet_free(struct duet *duet);
void duet_open(struct duet *duet);
void duet_close(struct duet *duet);

/* What the program says if it hangs. */
void duet_name(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Plays once.  If the first one has not so many points it runs through, `reached` is false, and the second one does not
 * run at all. */
void duet_play(struct duet *duet, duet_part *first, void *first_opaque, duet_part *second, void *second_opaque,
               unsigned nth);

/* What the backing file holds: bytes of guest_pattern with the number 0. */
void duet_below(uint8_t *bytes, uint64_t goff, uint64_t length, uint64_t backing_size);

/* Why the closed image in `store` is not free of corruption, leaks and errors; NULL if it is. */
const char *duet_check(struct byre_store *store, bool leaks_too);

#endif
