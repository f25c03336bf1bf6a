/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From the disk's extents to NBD's types.
 */
#include "config.h"

#include "nbdkit/extents.h"

#include <errno.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/* A reply tells no more ranges than this; the client asks again. */
#define RANGES_MAX 65536u

/* A list that is being made. */
struct listing {
    struct nbdkit_extents *list;
    uint64_t goff, length; /* of the range that is held back, until the next one is of another type */
    uint32_t type;
    unsigned added;
    bool only_one;
};

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

static int each_extent(void *opaque, const struct byre_extent *extent)
{
    struct listing *listing = opaque;

    switch (extent->kind) {
    case BYRE_EXTENT_DATA:
        return add(listing, extent->goff, extent->length, extent->reserved ? NBDKIT_EXTENT_ZERO : 0);
    case BYRE_EXTENT_COMPRESSED:
        return add(listing, extent->goff, extent->length, 0);
    case BYRE_EXTENT_HOLE:
    case BYRE_EXTENT_ZERO:
        break;
    }
    return add(listing, extent->goff, extent->length, NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO);
}

int byre_extents_list(struct byre_disk *disk, uint64_t goff, uint64_t length, bool only_one,
                      struct nbdkit_extents *list, struct byre_error *err)
{
    struct listing listing = { .list = list, .only_one = only_one };
    struct byre_error walk_err = BYRE_ERROR_INIT;
    int r = byre_extents_reserved(disk, goff, length, each_extent, &listing, &walk_err);

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
