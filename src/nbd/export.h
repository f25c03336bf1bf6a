/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exports: the disks that a server offers, by their names.
 *
 *   E1. An export lives as long as somebody refers to it: the set, and each connection that uses it.  Its disk is
 *       closed with it, unless it is its base's.
 *   E2. A set may change while it is looked at: one lock is around its list, and what is found is referred to.
 */
#ifndef BYRE_NBD_EXPORT_H
#define BYRE_NBD_EXPORT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "byre/disk.h"
#include "nbd/statistics.h"

enum byre_nbd_context_kind {
    BYRE_NBD_CONTEXT_ALLOCATION, /* base:allocation */
    BYRE_NBD_CONTEXT_DEPTH,      /* qemu:allocation-depth */
    BYRE_NBD_CONTEXT_BITMAP,     /* qemu:dirty-bitmap:NAME */
};

/* What a client can ask the status of: its place in the export's list is its id. */
struct byre_nbd_context {
    enum byre_nbd_context_kind kind;
    char *name;
};

#define BYRE_NBD_BITMAP_PREFIX "qemu:dirty-bitmap:"

/* The bitmap that a context of that kind shows. */
static inline const char *byre_nbd_context_bitmap(const struct byre_nbd_context *context)
{
    return context->name + sizeof BYRE_NBD_BITMAP_PREFIX - 1;
}

struct byre_nbd_record; /* keeper.h */
struct byre_nbd_keeper;

struct byre_nbd_export {
    atomic_uint references;
    struct byre_nbd_export *base;   /* referred to: it has the disk, or keeps the image open; NULL: there is none */
    struct byre_nbd_record *record; /* of an export that is opened when it is asked for; else NULL */
    char *name, *description; /* description: NULL where there is none */
    struct byre_disk *disk;
    unsigned image_layer;     /* layer of the disk that is the image: 1 under a temporary overlay */
    uint64_t offset, size;    /* the part of the disk that it is */
    uint16_t flags;           /* NBD_FLAG_*, as they are without structured replies */
    uint32_t block_min, block_preferred, block_max; /* powers of two; block_max: of a payload */
    VEC(struct byre_nbd_context) contexts;
    struct byre_nbd_tallies tallies;
};

struct byre_nbd_export_options {
    const char *name;
    const char *description; /* or NULL */
    bool read_only;
    bool shared;             /* several clients at once */
    bool allocation_depth;   /* qemu:allocation-depth */
    const char *const *bitmaps; /* dirty bitmaps of the image that are offered; may be NULL where bitmap_count is 0 */
    size_t bitmap_count;
    unsigned image_layer;         /* of the disk; a part has that of its base */
    struct byre_nbd_export *base; /* stays open as long as the new one; NULL: none */
};

/* Takes the disk, also when it fails.  -ENOENT, -EINVAL: there is no such bitmap, or it cannot be offered. */
int byre_nbd_export_new(struct byre_disk *disk, const struct byre_nbd_export_options *options,
                        struct byre_nbd_export **ret_export, struct byre_error *err);
/* A part of the base's disk. */
int byre_nbd_export_new_part(const struct byre_nbd_export_options *options, uint64_t offset, uint64_t length,
                             struct byre_nbd_export **ret_export, struct byre_error *err);
struct byre_nbd_export *byre_nbd_export_ref(struct byre_nbd_export *export);
/* The last one closes the disk, or has it closed where it was opened when asked for.  NULL is allowed. */
int byre_nbd_export_unref(struct byre_nbd_export *export, struct byre_error *err);

struct byre_nbd_exports {
    pthread_mutex_t mutex;
    VEC(struct byre_nbd_export *) list; /* under it, in the order of their names */
    struct byre_nbd_keeper *keeper;     /* of those that are opened when asked for; NULL: there are none */
};

void byre_nbd_exports_init(struct byre_nbd_exports *exports);
/* Gives up all of them: the first failure to close a disk that nobody uses any more is returned. */
int byre_nbd_exports_done(struct byre_nbd_exports *exports, struct byre_error *err);

/* Takes the reference.  -EEXIST: there is one of that name. */
int byre_nbd_exports_add(struct byre_nbd_exports *exports, struct byre_nbd_export *export, struct byre_error *err);

/* A reference to the export of that name, or NULL: it is not open, at least.  A name is bytes; the empty one is a name
 * like others. */
struct byre_nbd_export *byre_nbd_exports_find(struct byre_nbd_exports *exports, const void *name, size_t length);

/* Calls `each` for every export, open or not, as long as it returns 0; it must not change the set.  `description` may
 * be NULL. */
int byre_nbd_exports_each(struct byre_nbd_exports *exports,
                          int (*each)(void *opaque, const char *name, const char *description), void *opaque);
/* Calls `each` for those that are open; it must neither change the set nor ask for exports. */
void byre_nbd_exports_each_open(struct byre_nbd_exports *exports,
                                void (*each)(void *opaque, struct byre_nbd_export *export), void *opaque);

#endif
