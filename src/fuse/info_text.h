/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an image says of itself as text: what `byre info --output=json` prints, byte for byte.
 */
#ifndef BYRE_FUSE_INFO_TEXT_H
#define BYRE_FUSE_INFO_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "byre/error.h"

struct byre_secrets;

/*
 * The text of an image, to be freed by the caller; it is of `*ret_length` bytes.  `name`, `format` and the rest as
 * for byre_info_read_as, which fails as that does; `force_share` where this process has locked the image itself.
 * Snapshots, bitmaps and the space on the medium are those of the moment.  Ends the program where memory is short.
 */
int byre_info_text(const char *name, const char *format, bool force_share, const struct byre_secrets *secrets,
                   char **ret_text, size_t *ret_length, struct byre_error *err);

#endif
