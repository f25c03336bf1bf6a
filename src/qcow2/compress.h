/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compressed clusters (qcow2 specification, "Compressed Clusters Descriptor"): raw deflate with a 4 KiB
 * window, or zstd.  One codec is used by one thread at a time and reuses its contexts.
 *
 * Reading accepts trailing bytes after the stream (stored sizes are rounded up to sectors).  zstd data may be
 * one or several frames.
 */
#ifndef BYRE_QCOW2_COMPRESS_H
#define BYRE_QCOW2_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "byre/error.h"

struct byre_codec;

/* `type` is enum byre_qcow2_compression.  `level` 0: the default of the type.  -ENOTSUP names a type that
 * this build lacks. */
int byre_codec_new(unsigned type, int level, struct byre_codec **ret_codec, struct byre_error *err);
void byre_codec_free(struct byre_codec *codec);

/* True if this build reads and writes the type. */
bool byre_codec_has(unsigned type);

/* Compresses `length` bytes to at most `room` bytes.  Returns the compressed length, or 0 if it does not fit
 * (the cluster is then stored plain), or -errno. */
int64_t byre_codec_compress(struct byre_codec *codec, const void *in, size_t length, void *out, size_t room,
                            struct byre_error *err);

/* Inflates into exactly `length` bytes; -EIO if the data is bad or too short. */
int byre_codec_decompress(struct byre_codec *codec, const void *in, size_t stored, void *out, size_t length,
                          struct byre_error *err);

#endif
