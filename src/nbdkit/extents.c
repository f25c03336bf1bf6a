/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From the disk's extents to NBD's types, and holes of files, by lseek.
 *
 *   X1. Holes are looked for in files whose space was reserved without being written: those that take up
 *       clearly less of the medium than their clusters would.  In others a hole is an accident of the last
 *       cluster written.
 *   X2. A hole of the file below plain data reads as zero whatever happened since the file was judged, so that
 *       is done once, when a layer's data is first asked about.
 */
#include "config.h"

#include "nbdkit/extents.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/arith.h"
#include "base/cleanup.h"

/* A reply tells no more ranges than this; the client asks again. */
#define RANGES_MAX 65536u

struct layer_file {
    bool tried;
    int fd; /* -1: its holes are not looked for */
};

struct byre_holes {
    pthread_mutex_t mutex; /* for the files, until they were tried */
    unsigned count;
    struct layer_file files[];
};

/* A list that is being made. */
struct listing {
    struct byre_disk *disk;
    struct byre_holes *holes;
    struct nbdkit_extents *list;
    uint64_t goff, length; /* of the range that is held back, until the next one is of another type */
    uint32_t type;
    unsigned added;
    bool only_one;
};

int byre_holes_new(struct byre_disk *disk, struct byre_holes **ret_holes, struct byre_error *err)
{
    unsigned count = byre_layer_count(disk);
    struct byre_holes *holes = calloc(1, sizeof *holes + count * sizeof holes->files[0]);

    if (!holes)
        return byre_error_set_errno(err, -ENOMEM, "could not note the layers of '%s'", byre_layer_name(disk, 0));
    pthread_mutex_init(&holes->mutex, NULL);
    holes->count = count;
    *ret_holes = holes;
    return 0;
}

void byre_holes_free(struct byre_holes *holes)
{
    if (!holes)
        return;
    for (unsigned i = 0; i < holes->count; i++)
        if (holes->files[i].tried && holes->files[i].fd >= 0)
            close(holes->files[i].fd);
    pthread_mutex_destroy(&holes->mutex);
    free(holes);
}

/* The layer's file, or -1 where its holes tell nothing.  A name that says more than a path is not looked at. */
static int layer_file(const struct listing *listing, unsigned layer)
{
    struct layer_file *file = &listing->holes->files[layer];
    LOCK_SCOPE(&listing->holes->mutex);

    if (!file->tried) {
        const char *name = byre_layer_name(listing->disk, layer);
        bool look = *name == '/' && !byre_layer_is_encrypted(listing->disk, layer) &&
                    byre_layer_is_preallocated(listing->disk, layer);

        file->fd = look ? open(name, O_RDONLY | O_CLOEXEC) : -1;
        file->tried = true;
    }
    return file->fd;
}

/* How much of [hoff, hoff+length) is all hole, or all not: more than zero bytes.  What cannot be told is none. */
static uint64_t next_run(int fd, uint64_t hoff, uint64_t length, bool *ret_hole)
{
    off_t data = lseek(fd, (off_t)hoff, SEEK_DATA), end;

    *ret_hole = data >= 0 ? (uint64_t)data > hoff : errno == ENXIO;
    if (data < 0)
        return length; /* ENXIO: there is no more data in the file */
    end = *ret_hole ? data : lseek(fd, (off_t)hoff, SEEK_HOLE);
    return end > (off_t)hoff ? MIN((uint64_t)end - hoff, length) : length;
}

static int add_held(struct listing *listing)
{
    uint64_t length = listing->length;

    listing->length = 0;
    if (!length)
        return 0;
    listing->added++;
    return nbdkit_add_extent(listing->list, listing->goff, length, listing->type) < 0 ? -errno : 0;
}

/* Nonzero ends the walk: 1 when there is enough. */
static int add(struct listing *listing, uint64_t goff, uint64_t length, uint32_t type)
{
    int r;

    if (listing->length && listing->type == type) {
        listing->length += length;
        return 0;
    }
    r = add_held(listing);
    if (r < 0)
        return r;
    if (listing->added && (listing->only_one || listing->added == RANGES_MAX))
        return 1;
    listing->goff = goff;
    listing->length = length;
    listing->type = type;
    return 0;
}

static int add_data(struct listing *listing, const struct byre_extent *extent)
{
    int fd = layer_file(listing, extent->layer), r = 0;
    uint64_t done = 0;

    if (fd < 0)
        return add(listing, extent->goff, extent->length, 0);
    while (r == 0 && done < extent->length) {
        bool hole;
        uint64_t run = next_run(fd, extent->hoff + done, extent->length - done, &hole);

        r = add(listing, extent->goff + done, run, hole ? NBDKIT_EXTENT_ZERO : 0);
        done += run;
    }
    return r;
}

static int each_extent(void *opaque, const struct byre_extent *extent)
{
    struct listing *listing = opaque;

    switch (extent->kind) {
    case BYRE_EXTENT_DATA:
        return add_data(listing, extent);
    case BYRE_EXTENT_COMPRESSED:
        return add(listing, extent->goff, extent->length, 0);
    case BYRE_EXTENT_HOLE:
    case BYRE_EXTENT_ZERO:
        break;
    }
    return add(listing, extent->goff, extent->length, NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO);
}

int byre_extents_list(struct byre_disk *disk, struct byre_holes *holes, uint64_t goff, uint64_t length, bool only_one,
                      struct nbdkit_extents *list, struct byre_error *err)
{
    struct listing listing = { .disk = disk, .holes = holes, .list = list, .only_one = only_one };
    struct byre_error walk_err = BYRE_ERROR_INIT;
    int r = byre_extents(disk, goff, length, each_extent, &listing, &walk_err);

    int last = add_held(&listing);

    if (last < 0 || (r < 0 && walk_err.code == 0))
        return byre_error_set_errno(err, r < 0 ? r : last, "could not list the extents at offset %llu",
                                    (unsigned long long)goff);
    if (r < 0 && !listing.added) { /* who asks for the unreadable place alone is told of it */
        *err = walk_err;
        return r;
    }
    return 0;
}
