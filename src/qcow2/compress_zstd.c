/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zstd clusters.  Built only where HAVE_ZSTD.
 *
 * A cluster is one frame when written; when read it may be several.  Each frame is decompressed in one call,
 * straight into the cluster: so no window is allocated, whatever size a frame's header asks for.
 */
#include "config.h"

#ifdef HAVE_ZSTD

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "qcow2/codec_kinds.h"

struct zstd_codec {
    struct byre_codec codec;
    int level;           /* 0: the library's default */
    ZSTD_CCtx *compress; /* both made when first needed */
    ZSTD_DCtx *decompress;
};

static struct zstd_codec *to_zstd(struct byre_codec *codec)
{
    return (struct zstd_codec *)codec;
}

static int64_t zstd_compress(struct byre_codec *codec, const void *in, size_t length, void *out, size_t room,
                             struct byre_error *err)
{
    struct zstd_codec *c = to_zstd(codec);
    size_t rc;

    if (!c->compress)
        c->compress = ZSTD_createCCtx();
    if (!c->compress)
        return byre_error_set_errno(err, -ENOMEM, "compressing a cluster");
    rc = ZSTD_compressCCtx(c->compress, out, room, in, length, c->level);
    if (!ZSTD_isError(rc))
        return (int64_t)rc;
    if (ZSTD_getErrorCode(rc) == ZSTD_error_dstSize_tooSmall)
        return 0;
    return byre_error_set(err, ZSTD_getErrorCode(rc) == ZSTD_error_memory_allocation ? -ENOMEM : -EIO,
                          "compressing a cluster: %s", ZSTD_getErrorName(rc));
}

static int zstd_bad_data(struct byre_error *err, size_t rc)
{
    return byre_error_set(err, -EIO, "bad zstd data in a compressed cluster: %s", ZSTD_getErrorName(rc));
}

static int zstd_decompress(struct byre_codec *codec, const void *in, size_t stored, void *out, size_t length,
                           struct byre_error *err)
{
    struct zstd_codec *c = to_zstd(codec);
    const uint8_t *src = in;
    size_t left = stored, done = 0;

    if (!c->decompress)
        c->decompress = ZSTD_createDCtx();
    if (!c->decompress)
        return byre_error_set_errno(err, -ENOMEM, "inflating a cluster");
    while (done < length) {
        size_t frame, got;

        if (left == 0)
            return byre_error_set(err, -EIO, "compressed cluster is too short: %zu of %zu bytes", done,
                                  length);
        /* A frame takes up at least its magic: each turn gets closer to the end of the input. */
        frame = ZSTD_findFrameCompressedSize(src, left);
        if (ZSTD_isError(frame))
            return zstd_bad_data(err, frame);
        got = ZSTD_decompressDCtx(c->decompress, (uint8_t *)out + done, length - done, src, frame);
        if (ZSTD_isError(got))
            return zstd_bad_data(err, got);
        done += got;
        src += frame;
        left -= frame;
    }
    return 0;
}

static void zstd_free(struct byre_codec *codec)
{
    struct zstd_codec *c = to_zstd(codec);

    ZSTD_freeCCtx(c->compress);
    ZSTD_freeDCtx(c->decompress);
    free(c);
}

static const struct byre_codec_ops zstd_ops = {
    .compress = zstd_compress,
    .decompress = zstd_decompress,
    .free = zstd_free,
};

int byre_zstd_codec_new(int level, struct byre_codec **ret_codec, struct byre_error *err)
{
    struct zstd_codec *c;

    if (level < 0 || level > ZSTD_maxCLevel())
        return byre_error_set(err, -EINVAL, "compression level of zstd must be between 0 and %d, not %d",
                              ZSTD_maxCLevel(), level);
    c = calloc(1, sizeof *c);
    if (!c)
        return byre_error_set_errno(err, -ENOMEM, "compression context");
    c->codec.ops = &zstd_ops;
    c->level = level;
    *ret_codec = &c->codec;
    return 0;
}

#endif
