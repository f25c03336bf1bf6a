/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checks of header fields, in the order in which parsing makes them: for the header codec alone.  Each is
 * 0, or -EINVAL for nonsense, or -ENOTSUP.
 */
#ifndef BYRE_QCOW2_FMT_HEADER_CHECK_H
#define BYRE_QCOW2_FMT_HEADER_CHECK_H

#include "qcow2/fmt_header.h"

/* version and cluster_bits. */
int byre_qcow2_header_check_basics(const struct byre_qcow2_header *header, struct byre_error *err);

/* header_length, version 3. */
int byre_qcow2_header_check_length(const struct byre_qcow2_header *header, struct byre_error *err);

/* Unknown incompatible features; their names come from the extensions that were parsed. */
int byre_qcow2_header_check_features(const struct byre_qcow2_header *header, struct byre_error *err);

/* Everything else. */
int byre_qcow2_header_check_fields(const struct byre_qcow2_header *header, struct byre_error *err);

#endif
