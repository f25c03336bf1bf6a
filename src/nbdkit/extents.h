/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What NBD's block status says of a disk.
 */
#ifndef BYRE_NBDKIT_EXTENTS_H
#define BYRE_NBDKIT_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/disk.h"

struct nbdkit_extents;

/*
 * Adds the extents of [goff, goff+length) to `list`, or a part of them from the start on: with `only_one`, what is of
 * one type.  As byre map has it: what is no data is a hole that reads as zero; data that space was only reserved for,
 * so that it lies in a hole of the image's file, is an allocated zero.  0, or a negative errno.  Thread-safe.
 */
int byre_extents_list(struct byre_disk *disk, uint64_t goff, uint64_t length, bool only_one,
                      struct nbdkit_extents *list, struct byre_error *err);

#endif
