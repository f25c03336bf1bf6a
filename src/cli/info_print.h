/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What byre info shows of one image, as text and as JSON, worded and laid out as by qemu-img.
 */
#ifndef BYRE_CLI_INFO_PRINT_H
#define BYRE_CLI_INFO_PRINT_H

#include <jansson.h>

#include "byre/info.h"

/* On standard output. */
void byre_info_print_text(const struct byre_info *info);

/* The list of snapshots in it: nothing if there are none. */
void byre_info_print_snapshots(const struct byre_info *info);

/* The part of it that only images of this format have. */
void byre_info_print_specific(const struct byre_info *info);

/* An object of qemu's QAPI type ImageInfo. */
json_t *byre_info_to_json(const struct byre_info *info);

#endif
