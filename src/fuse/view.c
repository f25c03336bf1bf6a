/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Views: the ranges of a disk.
 *
 *   V1. Ranges come from a partition table, which a stranger wrote: one may reach past the end of the disk.  What lies
 *       there is -EIO, not zeros.
 *   V2. Counting goes on where it ended, a slice of time after another; a change of the disk begins it again.
 */
#include "config.h"

#include "fuse/view.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"

#define COUNT_STEP  (UINT64_C(64) << 30) /* bytes of a disk between two looks at the clock */
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

static int add_data(void *opaque, const struct byre_extent *extent)
{
    *(uint64_t *)opaque += is_data(extent) ? extent->length : 0;
    return 0;
}

static bool is_over(const struct timespec *begin)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - begin->tv_sec) * 1000000000L + now.tv_nsec - begin->tv_nsec > COUNT_SLICE;
}

bool byre_view_allocated(struct byre_view *view, unsigned range, uint64_t *ret_bytes)
{
    struct byre_range *counter = &view->ranges[range];
    uint64_t inside = length_inside(view, range), counted, allocated;
    struct timespec begin;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    pthread_mutex_lock(&view->mutex);
    while (counter->counted < inside && !is_over(&begin)) {
        uint64_t left = inside - counter->counted, step = left < COUNT_STEP ? left : COUNT_STEP;

        /* what cannot be read is not counted */
        (void)byre_extents(view->disk, counter->partition.goff + counter->counted, step, add_data,
                           &counter->allocated, NULL);
        counter->counted += step;
    }
    counted = counter->counted;
    allocated = counter->allocated;
    pthread_mutex_unlock(&view->mutex);
    if (counted < inside)
        allocated = (uint64_t)((double)allocated / (double)(counted ? counted : 1) * (double)inside);
    *ret_bytes = allocated;
    return counted >= inside;
}

void byre_view_changed(struct byre_view *view)
{
    pthread_mutex_lock(&view->mutex);
    for (unsigned i = 0; i < view->range_count; i++)
        view->ranges[i].counted = view->ranges[i].allocated = 0;
    clock_gettime(CLOCK_REALTIME, &view->modified);
    pthread_mutex_unlock(&view->mutex);
}
