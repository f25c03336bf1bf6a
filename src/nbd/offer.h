/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offers: which image, or part of it, is to be an export, and how it is opened.
 */
#ifndef BYRE_NBD_OFFER_H
#define BYRE_NBD_OFFER_H

#include "byre/snapshot.h"
#include "nbd/export.h"

struct byre_nbd_offer {
    const char *name, *description;
    const char *file;              /* the image's name */
    struct byre_open_options open; /* without `snapshot` */
    bool has_snapshot;
    struct byre_snapshot_selector snapshot; /* shown as it was then, read-only */
    bool temporary;                /* what is written goes to a file that is gone afterwards (overlay.h) */
    bool shared, allocation_depth;
    const char *const *bitmaps;
    size_t bitmap_count;
    uint64_t offset;               /* where the export begins */
    unsigned partition;            /* which it is of the disk; 0: all of it */
    bool snapshots, partitions;    /* each snapshot and each partition is an export, too: NAME@SNAPSHOT, NAME#N */
};

/* Opens the image of an offer, or the snapshot of it, as `name`, all of it. */
int byre_nbd_offer_open(const struct byre_nbd_offer *offer, const char *name, struct byre_nbd_export **ret_export,
                        struct byre_error *err);

/* The offer's snapshot of the image that is open as `base`; no name is followed. */
int byre_nbd_offer_snapshot(const struct byre_nbd_offer *offer, const char *name, struct byre_nbd_export *base,
                            struct byre_nbd_export **ret_export, struct byre_error *err);

/* All of an export under another name, as its image's exports are. */
int byre_nbd_offer_whole(const struct byre_nbd_offer *offer, const char *name, struct byre_nbd_export *base,
                         struct byre_nbd_export **ret_export, struct byre_error *err);

/* A partition of an export, as another one. */
int byre_nbd_offer_partition(const struct byre_nbd_offer *offer, const char *name, struct byre_nbd_export *base,
                             unsigned number, struct byre_nbd_export **ret_export, struct byre_error *err);

/* Which offer failed: whether it was the image that could not be opened. */
struct byre_nbd_offer_failure {
    size_t offer;
    bool opening;
};

/* Opens all offers and adds their exports.  An image that several of them name is opened once. */
int byre_nbd_offers_add(const struct byre_nbd_offer *offers, size_t count, struct byre_nbd_exports *exports,
                        struct byre_nbd_offer_failure *ret_failure, struct byre_error *err);

#endif
