/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Switching fields of the header: the whole change is in sector 0, which a crash does not tear.
 */
#include "config.h"

#include "base/endian.h"
#include "qcow2/image.h"

#define SECTOR 512

static void put_fields(uint8_t sector[SECTOR], const struct byre_qcow2_header *header, bool magic)
{
    if (magic)
        byre_put_be32(sector, BYRE_QCOW2_MAGIC);
    byre_put_be32(sector + BYRE_QCOW2_AT_L1, header->l1_size);
    byre_put_be64(sector + BYRE_QCOW2_AT_L1 + 4, header->l1_hoff);
    byre_put_be64(sector + BYRE_QCOW2_AT_REFTABLE, header->reftable_hoff);
    byre_put_be32(sector + BYRE_QCOW2_AT_REFTABLE + 8, header->reftable_clusters);
    byre_put_be32(sector + BYRE_QCOW2_AT_SNAPSHOTS, header->snapshot_count);
    byre_put_be64(sector + BYRE_QCOW2_AT_SNAPSHOTS + 4, header->snapshots_hoff);
    if (header->version >= 3) {
        byre_put_be64(sector + BYRE_QCOW2_AT_INCOMPAT, header->incompatible);
        byre_put_be64(sector + BYRE_QCOW2_AT_AUTOCLEAR, header->autoclear);
    }
}

int byre_header_switch(struct byre_store *store, const struct byre_qcow2_header *header, bool magic,
                       struct byre_error *err)
{
    uint8_t sector[SECTOR];
    int rc = byre_store_pread(store, sector, sizeof sector, 0, err);

    if (rc < 0)
        return rc;
    put_fields(sector, header, magic);
    return byre_store_pwrite(store, sector, sizeof sector, 0, err);
}

int byre_header_settle_locked(struct byre_qcow2 *image, struct byre_error *err)
{
    int rc = byre_header_switch(image->store, &image->header, image->sealed, err);

    if (rc == 0)
        rc = byre_barrier(image, err);
    if (rc < 0)
        byre_poison_locked(image, rc);
    return rc;
}

/* Writes sector 0 durably; a failure makes the image read-only. */
static int settle_sector(struct byre_qcow2 *image, const uint8_t *sector, struct byre_error *err)
{
    int rc = byre_store_pwrite(image->store, sector, SECTOR, 0, err);

    if (rc == 0)
        rc = byre_barrier(image, err);
    if (rc < 0)
        byre_poison_locked(image, rc);
    return rc;
}

int byre_header_switch_size_locked(struct byre_qcow2 *image, uint64_t size, struct byre_error *err)
{
    uint8_t sector[SECTOR];
    int rc = byre_store_pread(image->store, sector, sizeof sector, 0, err);

    if (rc < 0)
        return rc;
    byre_put_be64(sector + BYRE_QCOW2_AT_SIZE, size);
    return settle_sector(image, sector, err);
}

int byre_header_switch_disk_locked(struct byre_qcow2 *image, const struct byre_qcow2_header *header,
                                   struct byre_error *err)
{
    uint8_t sector[SECTOR];
    int rc = byre_store_pread(image->store, sector, sizeof sector, 0, err);

    if (rc < 0)
        return rc;
    put_fields(sector, header, image->sealed);
    byre_put_be64(sector + BYRE_QCOW2_AT_SIZE, header->size);
    if (header->version >= 3)
        byre_put_be32(sector + BYRE_QCOW2_AT_REFCOUNT_ORDER, header->refcount_order);
    return settle_sector(image, sector, err);
}
