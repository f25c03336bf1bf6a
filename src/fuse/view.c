/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Views: the ranges of a disk.
 *
 *   V1. Ranges come from a partition table, which a stranger wrote: one may reach past the end of the disk.  What lies
 *       there is -EIO, not zeros.
 *   V2. Counting goes on where it ended, a slice of time after another; a change of the disk begins it again.  Requests
 *       that change the disk do not wait for it.
 */
#include "config.h"

#include "fuse/view.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"

#define COUNT_STEP  (UINT64_C(16) << 20) /* bytes of a disk that are asked for at first; doubled while time is left */
#define COUNT_SLICE 10000000L            /* nanoseconds */

static int add_partition(void *opaque, const struct byre_partition *partition)
{
    struct byre_view *view = opaque;
    struct byre_range *ranges;

    if (partition->length > INT64_MAX)
        return 0; /* no file is as long */
    ranges = reallocarray(view->ranges, view->range_count + 1, sizeof *ranges);
    if (!ranges)
        return -ENOMEM;
    view->ranges = ranges;
    ranges[view->range_count++] = (struct byre_range){ .partition = *partition };
    return 0;
}

int byre_view_init(struct byre_view *view, struct byre_disk *disk, bool writable, struct timespec modified,
                   struct byre_error *err)
{
    const struct byre_partition whole = { .number = 0 };
    int rc;

    *view = (struct byre_view){ .disk = disk, .writable = writable, .modified = modified };
    pthread_mutex_init(&view->grow_mutex, NULL);
    pthread_mutex_init(&view->count_mutex, NULL);
    pthread_mutex_init(&view->mutex, NULL);
    rc = add_partition(view, &whole);
    if (rc == 0)
        rc = byre_partitions(disk, add_partition, view, NULL, NULL);
    if (rc != -ENOMEM)
        return 0;
    (void)byre_view_done(view, NULL);
    return byre_error_set_errno(err, -ENOMEM, "partitions");
}

int byre_view_done(struct byre_view *view, struct byre_error *err)
{
    int rc = byre_close(view->disk, err);

    pthread_mutex_destroy(&view->mutex);
    pthread_mutex_destroy(&view->count_mutex);
    pthread_mutex_destroy(&view->grow_mutex);
    free(view->ranges);
    *view = (struct byre_view){ .disk = NULL };
    return rc;
}

uint64_t byre_view_length(const struct byre_view *view, unsigned range)
{
    return range ? view->ranges[range].partition.length : byre_get_size(view->disk);
}

/* How much of a range is on the disk. */
static uint64_t length_inside(const struct byre_view *view, unsigned range)
{
    uint64_t size = byre_get_size(view->disk), goff = view->ranges[range].partition.goff;
    uint64_t length = byre_view_length(view, range);

    if (goff >= size)
        return 0;
    return length < size - goff ? length : size - goff;
}

int byre_view_check(const struct byre_view *view, unsigned range, uint64_t offset, uint64_t length,
                    struct byre_error *err)
{
    if (byre_range_within(offset, length, length_inside(view, range)))
        return 0;
    if (!range)
        return byre_error_set(err, -EIO, "offset %llu is past the end of the disk", (unsigned long long)offset);
    return byre_error_set(err, -EIO, "partition %u reaches past the end of the disk",
                          view->ranges[range].partition.number);
}

int byre_view_read(struct byre_view *view, unsigned range, void *buf, size_t length, uint64_t offset,
                   struct byre_error *err)
{
    int rc = byre_view_check(view, range, offset, length, err);

    return rc < 0 ? rc : byre_pread(view->disk, buf, length, view->ranges[range].partition.goff + offset, err);
}

/* --- data and holes ----------------------------------------------------------------------------------------- */

static bool is_data(const struct byre_extent *extent)
{
    return extent->kind == BYRE_EXTENT_DATA || extent->kind == BYRE_EXTENT_COMPRESSED;
}

struct search {
    bool data;      /* what is looked for */
    uint64_t found; /* guest offset */
};

static int look(void *opaque, const struct byre_extent *extent)
{
    struct search *search = opaque;

    if (is_data(extent) != search->data)
        return 0;
    search->found = extent->goff;
    return 1;
}

int byre_view_seek(struct byre_view *view, unsigned range, uint64_t offset, bool data, uint64_t *ret_offset,
                   struct byre_error *err)
{
    uint64_t length = byre_view_length(view, range), inside = length_inside(view, range);
    uint64_t goff = view->ranges[range].partition.goff;
    struct search search = { .data = data };
    int rc = 0;

    if (offset >= length)
        return byre_error_set(err, -ENXIO, "offset %llu is past the end", (unsigned long long)offset);
    if (offset < inside)
        rc = byre_extents(view->disk, goff + offset, inside - offset, look, &search, err);
    if (rc < 0)
        return rc;
    if (rc > 0)
        *ret_offset = search.found - goff;
    else if (data && inside < length)
        *ret_offset = offset < inside ? inside : offset; /* whoever reads there is told that it cannot be read */
    else if (data)
        return byre_error_set(err, -ENXIO, "there is no data from %llu on", (unsigned long long)offset);
    else
        *ret_offset = length;
    return 0;
}

/* --- space ---------------------------------------------------------------------------------------------------- */

struct count {
    struct timespec begin;
    uint64_t goff;      /* where it has come to */
    uint64_t allocated;
};

static bool is_over(const struct count *count)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - count->begin.tv_sec) * 1000000000L + now.tv_nsec - count->begin.tv_nsec > COUNT_SLICE;
}

static int add_data(void *opaque, const struct byre_extent *extent)
{
    struct count *count = opaque;

    count->allocated += is_data(extent) ? extent->length : 0;
    count->goff = extent->goff + extent->length;
    return is_over(count);
}

/* Goes on, for a moment, up to `end`.  What cannot be read is not counted. */
static void count_on(const struct byre_view *view, struct count *count, uint64_t end)
{
    uint64_t step = COUNT_STEP;

    clock_gettime(CLOCK_MONOTONIC, &count->begin);
    while (count->goff < end && !is_over(count)) {
        uint64_t stop = MIN(step, end - count->goff) + count->goff;

        if (byre_extents(view->disk, count->goff, stop - count->goff, add_data, count, NULL) < 0)
            count->goff = stop;
        step *= 2;
    }
}

/* Counts the range on; somebody else who does so is enough. */
static void count_range(struct byre_view *view, unsigned range, uint64_t inside)
{
    struct byre_range *counter = &view->ranges[range];
    struct count count;
    unsigned changes;

    if (pthread_mutex_trylock(&view->count_mutex) != 0)
        return;
    pthread_mutex_lock(&view->mutex);
    changes = view->changes;
    if (counter->changes != changes)
        counter->counted = counter->allocated = 0;
    counter->changes = changes;
    count = (struct count){ .goff = counter->partition.goff + counter->counted, .allocated = counter->allocated };
    pthread_mutex_unlock(&view->mutex);
    count_on(view, &count, counter->partition.goff + inside);
    pthread_mutex_lock(&view->mutex);
    counter->counted = count.goff - counter->partition.goff;
    counter->allocated = count.allocated;
    pthread_mutex_unlock(&view->mutex);
    pthread_mutex_unlock(&view->count_mutex);
}

bool byre_view_allocated(struct byre_view *view, unsigned range, uint64_t *ret_bytes)
{
    const struct byre_range *counter = &view->ranges[range];
    uint64_t inside = length_inside(view, range), counted, allocated;
    bool is_all;

    count_range(view, range, inside);
    pthread_mutex_lock(&view->mutex);
    counted = counter->counted;
    allocated = counter->allocated;
    is_all = counted >= inside && counter->changes == view->changes;
    pthread_mutex_unlock(&view->mutex);
    if (counted < inside)
        allocated = (uint64_t)((double)allocated / (double)(counted ? counted : 1) * (double)inside);
    *ret_bytes = allocated;
    return is_all;
}

void byre_view_changed(struct byre_view *view)
{
    pthread_mutex_lock(&view->mutex);
    view->changes++;
    clock_gettime(CLOCK_REALTIME, &view->modified);
    pthread_mutex_unlock(&view->mutex);
}
