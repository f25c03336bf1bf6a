/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From offers to exports.
 *
 *   F1. An image that several offers name is opened once, for writing if one of them may write: its locks would keep
 *       the second one out.
 *   F2. A snapshot of an image that is open is opened beside it: it is the same file, whatever has its name by then,
 *       and the image's locks keep others from deleting the snapshot.
 */
#include "config.h"

#include "nbd/offer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "byre/info.h"
#include "byre/partition.h"
#include "nbd/overlay.h"

static bool is_overlay(const struct byre_nbd_offer *offer)
{
    return offer->temporary && !offer->has_snapshot && offer->open.writable;
}

static struct byre_nbd_export_options options_of(const struct byre_nbd_offer *offer, const char *name,
                                                 struct byre_nbd_export *base)
{
    return (struct byre_nbd_export_options){
        .name = name,
        .description = offer->description,
        .read_only = !offer->open.writable || offer->has_snapshot,
        .shared = offer->shared,
        .allocation_depth = offer->allocation_depth,
        .bitmaps = offer->bitmaps,
        .bitmap_count = offer->bitmap_count,
        .base = base,
    };
}

static int open_disk(const struct byre_nbd_offer *offer, struct byre_disk **ret_disk, struct byre_error *err)
{
    struct byre_open_options options = offer->open;

    if (is_overlay(offer))
        return byre_nbd_overlay_open(offer->file, &options, ret_disk, err);
    if (offer->has_snapshot) {
        options.writable = false;
        options.snapshot = &offer->snapshot;
        options.detect_zeroes = BYRE_DETECT_ZEROES_OFF;
    }
    return byre_open(offer->file, &options, ret_disk, err);
}

int byre_nbd_offer_open(const struct byre_nbd_offer *offer, const char *name, struct byre_nbd_export **ret_export,
                        struct byre_error *err)
{
    struct byre_nbd_export_options options = options_of(offer, name, NULL);
    struct byre_disk *disk;
    int rc = open_disk(offer, &disk, err);

    options.image_layer = is_overlay(offer);
    return rc < 0 ? rc : byre_nbd_export_new(disk, &options, ret_export, err);
}

int byre_nbd_offer_snapshot(const struct byre_nbd_offer *offer, const char *name, struct byre_nbd_export *base,
                            struct byre_nbd_export **ret_export, struct byre_error *err)
{
    const struct byre_nbd_export_options options = options_of(offer, name, base);
    struct byre_disk *disk;
    int rc = byre_open_beside(base->disk, base->image_layer, &offer->snapshot, &disk, err);

    return rc < 0 ? rc : byre_nbd_export_new(disk, &options, ret_export, err);
}

int byre_nbd_offer_whole(const struct byre_nbd_offer *offer, const char *name, struct byre_nbd_export *base,
                         struct byre_nbd_export **ret_export, struct byre_error *err)
{
    const struct byre_nbd_export_options options = options_of(offer, name, base);

    return byre_nbd_export_new_part(&options, 0, base->size, ret_export, err);
}

int byre_nbd_offer_partition(const struct byre_nbd_offer *offer, const char *name, struct byre_nbd_export *base,
                             unsigned number, struct byre_nbd_export **ret_export, struct byre_error *err)
{
    struct byre_nbd_export_options options = options_of(offer, name, base);
    struct byre_partition partition;
    int rc = byre_partition_find(base->disk, number, &partition, err);

    return rc < 0 ? rc : byre_nbd_export_new_part(&options, partition.goff, partition.length, ret_export, err);
}

/* --- all at the start -------------------------------------------------------------------------------------- */

/* An image that is open: the export of all of it, which has no name for clients. */
struct whole {
    const struct byre_nbd_offer *offer; /* the first one of it */
    struct byre_nbd_export *export;
};

typedef VEC(struct whole) wholes;

static bool same(const char *one, const char *other)
{
    return one == other || (one && other && strcmp(one, other) == 0);
}

static bool same_image(const struct byre_nbd_offer *one, const struct byre_nbd_offer *other)
{
    return same(one->file, other->file) && same(one->open.format, other->open.format);
}

static bool same_disk(const struct byre_nbd_offer *one, const struct byre_nbd_offer *other)
{
    return same_image(one, other) && !one->has_snapshot && !other->has_snapshot;
}

static struct byre_nbd_export *find_whole(const wholes *list, const struct byre_nbd_offer *offer)
{
    for (size_t i = 0; i < list->len; i++) {
        if (same_image(list->ptr[i].offer, offer) && !list->ptr[i].offer->has_snapshot)
            return list->ptr[i].export;
    }
    return NULL;
}

/* F1; bitmaps and the like are those of the offers' own exports. */
static int open_whole(const struct byre_nbd_offer *offers, size_t count, size_t at, wholes *list,
                      struct byre_nbd_export **ret_whole, struct byre_error *err)
{
    struct byre_nbd_offer offer = offers[at];
    struct byre_nbd_export *base = find_whole(list, &offers[at]);
    int rc;

    if (base && !offer.has_snapshot) {
        *ret_whole = base;
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        offer.open.writable = offer.open.writable || (offers[i].open.writable && same_disk(&offers[i], &offer));
    offer.bitmap_count = 0;
    if (vec_reserve(list, 1) < 0)
        return byre_error_set_errno(err, -ENOMEM, "exports");
    rc = base ? byre_nbd_offer_snapshot(&offer, "", base, ret_whole, err)
              : byre_nbd_offer_open(&offer, "", ret_whole, err);
    if (rc == 0)
        list->ptr[list->len++] = (struct whole){ &offers[at], *ret_whole };
    return rc;
}

/* Takes the reference, also when it fails. */
static int add(struct byre_nbd_exports *exports, struct byre_nbd_export *export, struct byre_error *err)
{
    int rc = byre_nbd_exports_add(exports, export, err);

    if (rc < 0)
        (void)byre_nbd_export_unref(export, NULL);
    return rc;
}

struct partitions {
    const struct byre_nbd_offer *offer;
    const char *name;
    struct byre_nbd_exports *exports;
    struct byre_nbd_export *base;
    struct byre_error *err;
};

static int add_partition(void *opaque, const struct byre_partition *partition)
{
    const struct partitions *all = opaque;
    struct byre_nbd_export_options options = options_of(all->offer, all->name, all->base);
    CLEANUP(free_ptr) char *name = NULL;
    struct byre_nbd_export *export;
    int rc;

    if (!partition->inside)
        return 0;
    if (asprintf(&name, "%s#%u", all->name, partition->number) < 0) {
        name = NULL;
        return byre_error_set_errno(all->err, -ENOMEM, "exports");
    }
    options.name = name;
    rc = byre_nbd_export_new_part(&options, partition->goff, partition->length, &export, all->err);
    return rc < 0 ? rc : add(all->exports, export, all->err);
}

static int add_partitions(const struct byre_nbd_offer *offer, const char *name, struct byre_nbd_export *base,
                          struct byre_nbd_exports *exports, struct byre_error *err)
{
    struct partitions all = { offer, name, exports, base, err };

    return offer->partitions ? byre_partitions(base->disk, add_partition, &all, NULL, err) : 0;
}

static bool is_taken(const struct byre_info *info, unsigned at)
{
    for (unsigned i = 0; i < at; i++) {
        if (strcmp(info->snapshots[i].name, info->snapshots[at].name) == 0)
            return true;
    }
    return false;
}

/* Of several snapshots of a name, those after the first are named by their ids. */
static int add_snapshot(const struct byre_nbd_offer *offer, const struct byre_info *info, unsigned at,
                        struct byre_nbd_export *base, struct byre_nbd_exports *exports, struct byre_error *err)
{
    struct byre_nbd_offer past = *offer;
    struct byre_nbd_export *export;
    CLEANUP(free_ptr) char *name = NULL;
    int rc;

    past.has_snapshot = true;
    past.snapshot = (struct byre_snapshot_selector){ .id = info->snapshots[at].id };
    past.bitmap_count = 0;
    if (asprintf(&name, "%s@%s", offer->name,
                 is_taken(info, at) ? info->snapshots[at].id : info->snapshots[at].name) < 0) {
        name = NULL;
        return byre_error_set_errno(err, -ENOMEM, "exports");
    }
    rc = byre_nbd_offer_snapshot(&past, name, base, &export, err);
    if (rc < 0)
        return rc;
    rc = add_partitions(&past, name, export, exports, err);
    if (rc == 0)
        return add(exports, export, err);
    (void)byre_nbd_export_unref(export, NULL);
    return rc;
}

static int add_snapshots(const struct byre_nbd_offer *offer, struct byre_nbd_export *base,
                         struct byre_nbd_exports *exports, struct byre_error *err)
{
    struct byre_info info;
    int rc;

    if (!offer->snapshots || offer->has_snapshot)
        return 0;
    rc = byre_info_of_layer(base->disk, base->image_layer, &info, err);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < info.snapshot_count && rc == 0; i++)
        rc = add_snapshot(offer, &info, i, base, exports, err);
    byre_info_done(&info);
    return rc;
}

/* The export that the offer is about, of what is open. */
static int add_offer(const struct byre_nbd_offer *offer, struct byre_nbd_export *whole,
                     struct byre_nbd_exports *exports, struct byre_error *err)
{
    const struct byre_nbd_export_options options = options_of(offer, offer->name, whole);
    struct byre_nbd_export *export;
    int rc;

    if (offer->offset > whole->size)
        return byre_error_set(err, -EINVAL,
                              "Offset (%llu) cannot be greater than size of the containing file (%llu)",
                              (unsigned long long)offer->offset, (unsigned long long)whole->size);
    if (offer->partition)
        rc = byre_nbd_offer_partition(offer, offer->name, whole, offer->partition, &export, err);
    else
        rc = byre_nbd_export_new_part(&options, offer->offset, whole->size - offer->offset, &export, err);
    if (rc == 0)
        rc = add(exports, export, err);
    if (rc == 0)
        rc = add_partitions(offer, offer->name, whole, exports, err);
    return rc == 0 ? add_snapshots(offer, whole, exports, err) : rc;
}

/* Disks first, for snapshots of them are opened beside them. */
static int add_all(const struct byre_nbd_offer *offers, size_t count, wholes *list, struct byre_nbd_exports *exports,
                   struct byre_nbd_offer_failure *ret_failure, struct byre_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < 2 * count && rc == 0; i++) {
        const struct byre_nbd_offer *offer = &offers[i % count];
        struct byre_nbd_export *whole;

        if (offer->has_snapshot != (i >= count))
            continue;
        *ret_failure = (struct byre_nbd_offer_failure){ i % count, true };
        rc = open_whole(offers, count, i % count, list, &whole, err);
        if (rc < 0)
            continue;
        ret_failure->opening = false;
        rc = add_offer(offer, whole, exports, err);
    }
    return rc;
}

int byre_nbd_offers_add(const struct byre_nbd_offer *offers, size_t count, struct byre_nbd_exports *exports,
                        struct byre_nbd_offer_failure *ret_failure, struct byre_error *err)
{
    wholes list = VEC_INIT;
    int rc = add_all(offers, count, &list, exports, ret_failure, err);

    for (size_t i = 0; i < list.len; i++)
        (void)byre_nbd_export_unref(list.ptr[i].export, NULL); /* the exports have it */
    vec_done(&list);
    return rc;
}
