/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's disk: what byre_open makes of files, put together around an image in a store, and a backing file in
 * memory.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arith.h"
#include "disk/open.h"
#include "guest.h"
#include "qcow2/qcow2.h"
#include "store/memory.h"

/* A raw layer with what the guest finds below its image. */
static int add_backing(struct guest *guest, struct byre_disk *disk)
{
    uint64_t size = guest->options.backing_size;
    struct byre_layer *layer = byre_disk_add_layer(disk, "below");
    uint8_t *bytes = malloc(size);
    int rc = layer && bytes ? 0 : -ENOMEM;

    if (rc == 0) {
        guest_pattern(bytes, 0, size, 0);
        rc = byre_memory_new(bytes, size, &layer->store, &guest->err);
        layer->data = layer->store;
        layer->size = byre_round_up(size, BYRE_SECTOR);
    }
    free(bytes);
    return rc;
}

int guest_disk_open(struct guest *guest)
{
    struct byre_open_options options = {
        .writable = true,
        .cache = guest->options.write_through ? BYRE_CACHE_WRITETHROUGH : BYRE_CACHE_WRITEBACK,
    };
    struct byre_disk *disk = byre_disk_new();
    struct byre_layer *layer = disk ? byre_disk_add_layer(disk, "recorded") : NULL;
    int rc = 0;

    if (!layer)
        abort();
    layer->store = guest_image_store(guest);
    layer->data = byre_qcow2_data(guest->image);
    layer->qcow2 = guest->image;
    layer->size = byre_round_down(byre_qcow2_header(guest->image)->size, BYRE_SECTOR);
    if (guest->options.backing_size)
        rc = add_backing(guest, disk);
    if (rc == 0)
        rc = byre_disk_complete(disk, &options, &guest->err);
    guest->disk = disk;
    if (rc < 0) {
        (void)guest_disk_close(guest, NULL);
        guest->image = NULL;
    }
    return rc;
}

int guest_disk_close(struct guest *guest, struct byre_error *err)
{
    struct byre_disk *disk = guest->disk;

    /* The image has a pointer of its own to the store, which stays. */
    disk->layers[0].store = NULL;
    guest->disk = NULL;
    return byre_disk_free(disk, err);
}
