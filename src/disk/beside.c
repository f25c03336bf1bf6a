/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks that share the files of another one: its layers from one on, or a snapshot of its image.
 *
 *   N1. Layers below the first never change, so they are borrowed as they are, engine and all.
 *   N2. A snapshot has an engine of its own, with the L1 table of the snapshot.  What that leads to stays as it is
 *       while the image is written to: writers copy what a snapshot has before they change it.
 */
#include "config.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/arith.h"
#include "disk/open.h"

/* So that metadata kept in memory does not grow with the number of snapshots that are open. */
#define SNAPSHOT_CACHE (1u << 20)

/* Appends a layer that is the other disk's. */
static int borrow_layer(struct byre_disk *disk, const struct byre_layer *layer, struct byre_error *err)
{
    struct byre_layer *mine = byre_disk_add_layer(disk, NULL);

    if (!mine)
        return byre_error_set_errno(err, -ENOMEM, "no layer");
    memcpy(mine, layer, offsetof(struct byre_layer, borrowed_engine));
    mine->borrowed_engine = mine->borrowed_files = true;
    mine->size = layer->size;
    return 0;
}

/* Gives the first layer an engine that has the disk of the snapshot. */
static int go_to_snapshot(struct byre_disk *disk, const struct byre_snapshot_selector *snapshot, struct byre_error *err)
{
    struct byre_layer *layer = &disk->layers[0];
    const struct byre_qcow2_open_options options = {
        .cache_bytes = SNAPSHOT_CACHE,
        .snapshot = snapshot,
        .beside = layer->qcow2,
    };
    int rc;

    if (!layer->qcow2)
        return byre_disk_no_snapshots(err);
    layer->qcow2 = NULL;
    layer->borrowed_engine = false;
    rc = byre_qcow2_open(layer->store, &options, &layer->qcow2, err);
    if (rc == 0)
        layer->size = byre_round_down(byre_qcow2_header(layer->qcow2)->size, BYRE_SECTOR);
    return rc;
}

static int borrow(struct byre_disk *disk, const struct byre_disk *other, unsigned first,
                  const struct byre_snapshot_selector *snapshot, struct byre_error *err)
{
    static const struct byre_open_options options;
    int rc = 0;

    for (unsigned i = first; i < other->layer_count && rc == 0; i++)
        rc = borrow_layer(disk, &other->layers[i], err);
    if (rc == 0 && snapshot)
        rc = go_to_snapshot(disk, snapshot, err);
    return rc == 0 ? byre_disk_complete(disk, &options, err) : rc;
}

int byre_open_beside(struct byre_disk *disk, unsigned layer, const struct byre_snapshot_selector *snapshot,
                     struct byre_disk **ret_disk, struct byre_error *err)
{
    struct byre_disk *beside;
    int rc;

    if (layer >= disk->layer_count || (layer == 0 && !snapshot))
        return byre_error_set(err, -EINVAL, "There is no layer %u to open beside the disk", layer);
    beside = byre_disk_new();
    rc = beside ? borrow(beside, disk, layer, snapshot, err) : byre_error_set_errno(err, -ENOMEM, "no disk");
    if (rc < 0) {
        byre_disk_free(beside, NULL);
        byre_disk_name_error(err, disk->layers[layer].name);
        return rc;
    }
    *ret_disk = beside;
    return 0;
}
