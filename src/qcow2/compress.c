/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which codec serves which compression type of the header.  The codecs themselves are in compress_deflate.c
 * and compress_zstd.c.
 */
#include "config.h"

#include <errno.h>

#include "qcow2/codec_kinds.h"
#include "qcow2/fmt_header.h"

bool byre_codec_has(unsigned type)
{
#ifdef HAVE_ZSTD
    if (type == BYRE_COMPRESSION_ZSTD)
        return true;
#endif
    return type == BYRE_COMPRESSION_ZLIB;
}

int byre_codec_new(unsigned type, int level, struct byre_codec **ret_codec, struct byre_error *err)
{
    switch (type) {
    case BYRE_COMPRESSION_ZLIB:
        return byre_deflate_codec_new(level, ret_codec, err);
    case BYRE_COMPRESSION_ZSTD:
#ifdef HAVE_ZSTD
        return byre_zstd_codec_new(level, ret_codec, err);
#else
        return byre_error_set(err, -ENOTSUP, "compression type 'zstd' is not supported by this build");
#endif
    default:
        return byre_error_set(err, -ENOTSUP, "unknown compression type: %u", type);
    }
}

void byre_codec_free(struct byre_codec *codec)
{
    if (codec)
        codec->ops->free(codec);
}

int64_t byre_codec_compress(struct byre_codec *codec, const void *in, size_t length, void *out, size_t room,
                            struct byre_error *err)
{
    return codec->ops->compress(codec, in, length, out, room, err);
}

int byre_codec_decompress(struct byre_codec *codec, const void *in, size_t stored, void *out, size_t length,
                          struct byre_error *err)
{
    return codec->ops->decompress(codec, in, stored, out, length, err);
}
