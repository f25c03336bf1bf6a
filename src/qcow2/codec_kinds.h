/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the cluster codecs: what each kind of compression implements.  For compress*.c only.
 */
#ifndef BYRE_QCOW2_CODEC_KINDS_H
#define BYRE_QCOW2_CODEC_KINDS_H

#include "qcow2/compress.h"

/* The contracts are those of the public calls of the same name. */
struct byre_codec_ops {
    int64_t (*compress)(struct byre_codec *codec, const void *in, size_t length, void *out, size_t room,
                        struct byre_error *err);
    int (*decompress)(struct byre_codec *codec, const void *in, size_t stored, void *out, size_t length,
                      struct byre_error *err);
    void (*free)(struct byre_codec *codec);
};

/* First member of each kind's own struct. */
struct byre_codec {
    const struct byre_codec_ops *ops;
};

int byre_deflate_codec_new(int level, struct byre_codec **ret_codec, struct byre_error *err);
int byre_zstd_codec_new(int level, struct byre_codec **ret_codec, struct byre_error *err);

#endif
