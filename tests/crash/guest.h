/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest with a memory: it writes to a qcow2 image in a recording store, and knows what it may find there
 * now, and after a crash at any moment.
 *
 *     guest = guest_new(&options);
 *     guest_write(guest, goff, length); guest_flush(guest); ...
 *     guest_crash(guest, &crash);       every state that a crash could have left is looked at
 *     guest_free(guest);
 *
 * What a byte may be: what it was when the last flush began that had returned before the crash, or what any
 * operation made it that had begun but was not covered by that flush.  A sector of 512 bytes that these
 * operations cover wholly is one of its versions as a whole.  A failed operation may have happened, or not,
 * or in part, until a later one covers the same sector.  Every operation writes bytes of its own, so that
 * foreign ones stand out.
 *
 * A guest works on the engine, or on a disk around it (`disk`), which has the flat map, FUA and write-through.
 *
 * Calls return what the engine returned.  The functions that judge return 0, or -1 after they have printed
 * why.  Operations and flushes may come from several threads, as long as no two of them touch one sector at a time;
 * all else is for one thread.  A hook of the store may call back in.
 */
#ifndef TESTS_CRASH_GUEST_H
#define TESTS_CRASH_GUEST_H

#include <pthread.h>

#include "crash_states.h"
#include "qcow2/qcow2.h"
#include "record_store.h"

enum guest_data { GUEST_DATA_INSIDE, GUEST_DATA_FILE, GUEST_DATA_RAW };

struct guest_options {
    uint64_t size;         /* that the disk has or will have */
    uint64_t first_size;   /* that it starts with; 0: `size` */
    unsigned version;      /* 0: 3 */
    unsigned cluster_bits; /* 0: 9 */
    int refcount_order;    /* -1: 0 (one bit); 0: 4 (16 bits) */
    bool lazy;
    bool keep_discarded;   /* clusters that are discarded keep their places */
    bool encrypted;        /* with LUKS: no compressed clusters */
    unsigned compression;
    bool extended;         /* L2 entries: subclusters; wants 14 cluster bits */
    enum guest_data data;  /* an external data file: no compressed clusters, no VM state */
    bool data_early;       /* which keeps back nothing: see pair_store.h */
    uint64_t backing_size; /* 0: no backing file */
    uint64_t cache_bytes;
    uint64_t device_size;  /* a store of this size that does not grow, and is not zero; 0: a file */
    bool disk;             /* operations go through a disk */
    bool write_through;    /* the disk makes each change durable before the call returns; wants `disk` */
    unsigned corruptions;  /* that the image has been given by hand, and may keep */
    uint64_t spoiled_goff, spoiled_length; /* what nobody can rely on */
    bool unsealed;         /* leave the new image as byre_qcow2_create did, everything in the log */
};

struct guest_op {
    uint64_t goff, length;
    uint8_t *bytes;   /* NULL: zeros */
    size_t start;     /* calls in the log before it */
    size_t covered;   /* the first flush that covers it */
    bool ok;
    bool durable;     /* by itself, */
    size_t done;      /* from this number of calls in the log on */
};

struct guest_flush {
    size_t done; /* calls in the log when it returned */
    bool ok;
};

struct guest_growth {
    uint64_t size;
    size_t start, done; /* calls in the log before it, and when it returned */
    bool ok;
};

struct guest {
    struct guest_options options;
    struct byre_store *store; /* the recording */
    struct byre_store *front, *data; /* the parts of it with an image and a data file; or NULL */
    struct byre_qcow2 *image; /* NULL: closed */
    struct byre_disk *disk;   /* around the image, or NULL */
    pthread_mutex_t mutex;    /* everything below that operations change */
    struct byre_error err;    /* of the last call that failed */
    unsigned patterns;        /* used so far */
    VEC(struct guest_op) ops;
    VEC(struct guest_flush) flushes;
    VEC(struct guest_growth) growths;
    uint64_t base_size;       /* of the disk when the log began */
    bool sealed;
    uint8_t *first;           /* what the disk held before the ops */
    uint8_t *base;            /* cache: what it holds with those of `base_flush` and before */
    uint8_t *found;           /* room for what is found */
    size_t base_flush, base_ops, base_durable;
    uint64_t states;          /* visited by guest_crash so far */
};

/* Makes an image, empties the log.  Never NULL: failures here end the program. */
struct guest *guest_new(const struct guest_options *options);
void guest_free(struct guest *guest);

int guest_write(struct guest *guest, uint64_t goff, uint64_t length);
/* The same, durable when it returns 0; whole sectors of a disk. */
int guest_write_fua(struct guest *guest, uint64_t goff, uint64_t length);
/* `flags`: BYRE_WRITE_ZEROES_*, and BYRE_WRITE_FUA for whole sectors of a disk. */
int guest_zero(struct guest *guest, uint64_t goff, uint64_t length, unsigned flags);
int guest_discard(struct guest *guest, uint64_t goff, uint64_t length);
int guest_flush(struct guest *guest);
/* Writes `count` whole clusters from `goff` on in compressed form. */
int guest_compressed(struct guest *guest, uint64_t goff, unsigned count);
/* Copy-on-read of the range: what is below comes up, and nothing changes that can be read. */
int guest_copy_up(struct guest *guest, uint64_t goff, uint64_t length);
/* Writes VM state, which is not looked at later, but must do no harm; nobody else uses the image. */
int guest_save_state(struct guest *guest, uint64_t position, uint64_t length);
/* Makes the disk larger, to `size` at most guest->options.size: what is new is zero.  A disk that grows starts at
 * guest->options.first_size. */
int guest_grow(struct guest *guest, uint64_t size);
int guest_grow_as(struct guest *guest, uint64_t size, enum byre_preallocation mode);
/* Makes the disk smaller, durably: what it is to have past its new end from then on is zero, should it grow again. */
int guest_shrink(struct guest *guest, uint64_t size);
int guest_seal(struct guest *guest);
int guest_close(struct guest *guest);
int guest_open(struct guest *guest);

/* Flushes, and forgets the past: the log starts here. */
int guest_restart(struct guest *guest);

/* What the image is in: the recording, or the front part of it. */
struct byre_store *guest_image_store(const struct guest *guest);
/* Where the data file begins in the recording. */
uint64_t guest_data_offset(const struct guest *guest);

/* The size of the disk, which is open. */
uint64_t guest_size(const struct guest *guest);

/* Puts a disk around guest->image, which it closes in the end; and closes both. */
int guest_disk_open(struct guest *guest);
int guest_disk_close(struct guest *guest, struct byre_error *err);

/* What encrypted images are opened with; NULL for others. */
const struct byre_secret *guest_password(const struct guest *guest);

/* Fills `bytes` with a pattern that no other number has at this place. */
void guest_pattern(uint8_t *bytes, uint64_t goff, uint64_t length, unsigned number);

/* Does the open image hold what it should? */
int guest_compare(struct guest *guest);
/* The same after opening what is in the store now, as if the process had ended without closing. */
int guest_compare_killed(struct guest *guest);
/* Is the closed image free of corruption, and of leaks too if `tidy`? */
int guest_check(struct guest *guest, bool tidy);
/* Walks through the crash states of the log: each is free of corruption, and holds what it may. */
int guest_crash(struct guest *guest, const struct crash_options *options);

#endif
