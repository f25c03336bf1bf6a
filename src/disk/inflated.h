/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small cache of inflated clusters, for requests that are smaller than a cluster.  Thread-safe.
 */
#ifndef BYRE_DISK_INFLATED_H
#define BYRE_DISK_INFLATED_H

#include "disk/disk.h"

int byre_inflated_new(struct byre_inflated **ret_cache, struct byre_error *err);
void byre_inflated_free(struct byre_inflated *cache);

/* Copies the bytes of a compressed `extent` to `buf`; they stand at `offset` in its cluster.  `purges` is for
 * layer 0: what byre_inflated_purges told before the extent was looked up. */
int byre_inflated_read(struct byre_inflated *cache, struct byre_qcow2 *image, uint32_t cluster_size,
                       const struct byre_extent *extent, uint64_t purges, uint32_t offset, uint8_t *buf,
                       struct byre_error *err);

/* How many times the cache was purged. */
uint64_t byre_inflated_purges(const struct byre_inflated *cache);

/* Forgets the clusters of layer 0: its map has changed. */
void byre_inflated_purge(struct byre_inflated *cache);

#endif
