/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the files of a disk's layers have holes, as their file systems tell.
 */
#ifndef BYRE_CLI_FILE_HOLES_H
#define BYRE_CLI_FILE_HOLES_H

#include <stdbool.h>
#include <stdint.h>

struct byre_disk;
struct byre_file_holes;

/* Release with byre_file_holes_free before the disk is closed. */
struct byre_file_holes *byre_file_holes_new(struct byre_disk *disk);
void byre_file_holes_free(struct byre_file_holes *holes);

/*
 * How much of [hoff, hoff+length) of a layer's file, from its start, is all hole or all data: not zero.  What
 * cannot be told is data.
 */
uint64_t byre_file_holes_next(struct byre_file_holes *holes, unsigned layer, uint64_t hoff, uint64_t length,
                              bool *ret_hole);

#endif
