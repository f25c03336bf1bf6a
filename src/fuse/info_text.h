/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an image says of itself as text: what `byre info --output=json` prints, byte for byte.
 */
#ifndef BYRE_FUSE_INFO_TEXT_H
#define BYRE_FUSE_INFO_TEXT_H

#include <stddef.h>

#include "byre/error.h"

struct byre_disk;

/*
 * The text of a layer, as byre_info_of_layer has it, to be freed by the caller; it is of `*ret_length` bytes.
 * Snapshots, bitmaps and the space on the medium are those of the moment.  Ends the program where memory is short.
 */
int byre_info_text(struct byre_disk *disk, unsigned layer, char **ret_text, size_t *ret_length,
                   struct byre_error *err);

#endif
