/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The extension area of the header cluster: for the header codec alone.  Callers use fmt_header.h.
 */
#ifndef BYRE_QCOW2_FMT_EXTENSIONS_H
#define BYRE_QCOW2_FMT_EXTENSIONS_H

#include "qcow2/fmt_header.h"

/* Appends the extensions that stand in buf[start, end) to `header`, and sets its backing_format. */
int byre_qcow2_extensions_parse(const uint8_t *buf, size_t start, size_t end,
                                struct byre_qcow2_header *header, struct byre_error *err);

/* Writes the extensions and the end mark from `start` on; `*ret_end` is where the area ends. */
int byre_qcow2_extensions_serialize(const struct byre_qcow2_header *header, uint8_t *buf, size_t start,
                                    size_t length, size_t *ret_end, struct byre_error *err);

#endif
