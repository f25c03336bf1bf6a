/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A view of an image: one disk, as the image has it now, as a snapshot has it, or as a layer of the chain has it with
 * all that it stands on; and what is in the disk: its partitions.
 */
#ifndef BYRE_FUSE_VIEW_H
#define BYRE_FUSE_VIEW_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "byre/disk.h"
#include "byre/partition.h"

/* A part of a disk that is shown as a file. */
struct byre_range {
    struct byre_partition partition; /* number 0: the whole disk, whose length here is 0 */
    /* How much of it is data: under the view's mutex. */
    uint64_t counted;   /* bytes from its start that were looked at */
    uint64_t allocated; /* bytes of data in them */
    unsigned changes;   /* of the view, when that began */
};

struct byre_view {
    struct byre_disk *disk;
    bool writable;
    struct timespec modified;
    struct byre_range *ranges;        /* the whole disk first, then the partitions in the order of their table */
    unsigned range_count;

    pthread_mutex_t grow_mutex; /* before the other ones */
    pthread_mutex_t count_mutex; /* who counts; before the next */
    pthread_mutex_t mutex;
    unsigned changes;            /* how often the disk has changed; under it */
};

/* Takes the disk over, also when it fails.  A damaged partition table is no error: then there are no partitions. */
int byre_view_init(struct byre_view *view, struct byre_disk *disk, bool writable, struct timespec modified,
                   struct byre_error *err);
/* Closes the disk; a failure of that is returned.  Nothing of the view is in use. */
int byre_view_done(struct byre_view *view, struct byre_error *err);

/* Bytes that a range has. */
uint64_t byre_view_length(const struct byre_view *view, unsigned range);

/*
 * Bytes of the range that are data, for st_blocks.  Counts for at most a moment, so that nobody waits for a large disk,
 * and not while somebody else does; false: it has not come to the end yet, and *ret_bytes is what there would be if the
 * rest were like what was counted.
 */
bool byre_view_allocated(struct byre_view *view, unsigned range, uint64_t *ret_bytes);
/* The disk has changed. */
void byre_view_changed(struct byre_view *view);

/* -EIO if a part of the range's bytes lies past the end of the disk. */
int byre_view_check(const struct byre_view *view, unsigned range, uint64_t offset, uint64_t length,
                    struct byre_error *err);

/*
 * Reads from a range; -EIO for what lies past the end of the disk.  `length` bytes from `offset` on are within the
 * range.  Thread-safe.
 */
int byre_view_read(struct byre_view *view, unsigned range, void *buf, size_t length, uint64_t offset,
                   struct byre_error *err);

/* As SEEK_DATA and SEEK_HOLE of lseek(2): zeros are holes, the end is one, and -ENXIO. */
int byre_view_seek(struct byre_view *view, unsigned range, uint64_t offset, bool data, uint64_t *ret_offset,
                   struct byre_error *err);

#endif
