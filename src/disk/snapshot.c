/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Internal snapshots of a disk: the gate around the engine's part, and what the disk knows of its top layer.
 *
 * Entries of the flat map that are exclusive are not any more once a snapshot has the clusters, and a snapshot that is
 * applied changes everything: a new map takes the place of the old one.  It is made before, so that it cannot be
 * missing afterwards.  The gate is closed: no other call is under way.
 */
#include "config.h"

#include "byre/snapshot.h"

#include <errno.h>

#include "base/arith.h"
#include "disk/disk.h"
#include "disk/flat_map.h"
#include "disk/inflated.h"
#include "qcow2/snapshot.h"

/* What is to be done, and with what. */
struct operation {
    int (*run)(struct byre_qcow2 *image, const struct operation *operation, struct byre_error *err);
    const struct byre_snapshot_create_options *create;
    const struct byre_snapshot_selector *which;
    char *ret_id;
    bool resizes;
};

int byre_disk_no_snapshots(struct byre_error *err)
{
    return byre_error_set(err, -ENOTSUP, BYRE_SNAPSHOT_FAILED "Block format 'raw' used by device '' does not support "
                          "temporarily loading internal snapshots");
}

static int check(struct byre_disk *disk, struct byre_error *err)
{
    int r;

    if (!disk->map)
        return byre_error_set(err, -ENOTSUP, "Block driver does not support snapshots");
    r = byre_disk_check_writable(disk, err);
    if (r == 0 && disk->unsealed)
        r = byre_error_set(err, -EINVAL, "'%s' is no image before it is sealed", disk->layers[0].name);
    return r;
}

/* With a map of the new size in reserve. */
static int run_prepared(struct byre_disk *disk, const struct operation *operation, struct byre_error *err)
{
    struct byre_layer *layer = &disk->layers[0];
    struct byre_flat_map *map = NULL, *old_map = disk->map;
    uint64_t old_size = layer->size, size = old_size;
    int r = 0;

    if (operation->resizes)
        r = byre_qcow2_snapshot_size(layer->qcow2, operation->which, &size, err);
    if (r < 0)
        return r;
    layer->size = byre_round_down(size, BYRE_SECTOR);
    r = byre_flat_map_new(disk, disk->map_bytes, &map, err);
    if (r == 0)
        r = operation->run(layer->qcow2, operation, err);
    if (r < 0) {
        layer->size = old_size;
        byre_flat_map_free(map);
        return r;
    }
    disk->map = map;
    disk->size = layer->size;
    byre_flat_map_free(old_map);
    byre_inflated_purge(disk->inflated);
    return 0;
}

static int run(struct byre_disk *disk, const struct operation *operation, struct byre_error *err)
{
    int r;

    byre_gate_close(&disk->gate);
    r = check(disk, err);
    if (r == 0)
        r = byre_disk_finish(disk, run_prepared(disk, operation, err));
    byre_gate_open(&disk->gate);
    return r;
}

static int run_create(struct byre_qcow2 *image, const struct operation *operation, struct byre_error *err)
{
    return byre_qcow2_snapshot_create(image, operation->create, operation->ret_id, err);
}

static int run_apply(struct byre_qcow2 *image, const struct operation *operation, struct byre_error *err)
{
    return byre_qcow2_snapshot_apply(image, operation->which, err);
}

static int run_delete(struct byre_qcow2 *image, const struct operation *operation, struct byre_error *err)
{
    return byre_qcow2_snapshot_delete(image, operation->which, err);
}

int byre_snapshot_create(struct byre_disk *disk, const struct byre_snapshot_create_options *options, char ret_id[21],
                         struct byre_error *err)
{
    return run(disk, &(struct operation){ .run = run_create, .create = options, .ret_id = ret_id }, err);
}

int byre_snapshot_apply(struct byre_disk *disk, const struct byre_snapshot_selector *which, struct byre_error *err)
{
    return run(disk, &(struct operation){ .run = run_apply, .which = which, .resizes = true }, err);
}

int byre_snapshot_delete(struct byre_disk *disk, const struct byre_snapshot_selector *which, struct byre_error *err)
{
    return run(disk, &(struct operation){ .run = run_delete, .which = which }, err);
}
