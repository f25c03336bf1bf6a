/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Raw deflate clusters: ISA-L where the build has it, zlib otherwise and for higher levels.
 *
 * Invariants
 *   Z1. What is written never refers back more than 4 KiB: readers may inflate with a window of that size.
 *   Z2. What is read may refer back as far as deflate can (32 KiB): other writers are not so strict.
 *   Z3. The same input, level and build give the same bytes: nothing is carried from one cluster to the next.
 *
 * Levels: 0 is the default, ISA-L's level 3 (without ISA-L zlib's own).  So are 1 to 3, for of ISA-L's levels only that
 * one keeps Z3: levels 1 and 2 of version 2.30 choose other matches once in some thousand small clusters, for the
 * same input.  4 to 9 are zlib's.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <zlib.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

#include "qcow2/codec_kinds.h"

#define WRITE_WINDOW_BITS 12
#define READ_WINDOW_BITS 15
#define ISAL_LEVEL 3
/* With room for 16 Ki tokens a 64 KiB cluster is a block or two; larger ones do not compress better. */
#define ISAL_BUF_SIZE ISAL_DEF_LVL3_SMALL
#define LEVEL_MAX 9

struct deflate_codec {
    struct byre_codec codec;
    int level;
    z_stream deflater, inflater; /* made when first needed */
    bool has_deflater, has_inflater;
#ifdef HAVE_ISAL
    uint8_t *level_buf; /* ISA-L's working memory; made when first needed */
    struct isal_zstream isal_out;
    struct inflate_state isal_in;
#endif
};

static struct deflate_codec *to_deflate(struct byre_codec *codec)
{
    return (struct deflate_codec *)codec;
}

static int zlib_error(struct byre_error *err, int rc, const char *what)
{
    if (rc == Z_MEM_ERROR)
        return byre_error_set_errno(err, -ENOMEM, "%s", what);
    return byre_error_set(err, -EIO, "%s: zlib error %d", what, rc);
}

static int64_t zlib_compress(struct deflate_codec *c, const void *in, size_t length, void *out, size_t room,
                             struct byre_error *err)
{
    z_stream *z = &c->deflater;
    int level = c->level ? c->level : Z_DEFAULT_COMPRESSION;
    int rc;

    if (!c->has_deflater) {
        rc = deflateInit2(z, level, Z_DEFLATED, -WRITE_WINDOW_BITS, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY);
        if (rc != Z_OK)
            return zlib_error(err, rc, "compressing a cluster");
        c->has_deflater = true;
    } else {
        deflateReset(z);
    }
    z->next_in = (Bytef *)in;
    z->avail_in = (uInt)length;
    z->next_out = out;
    z->avail_out = (uInt)room;
    rc = deflate(z, Z_FINISH);
    if (rc == Z_STREAM_END)
        return (int64_t)(room - z->avail_out);
    if (rc == Z_OK || rc == Z_BUF_ERROR)
        return 0;
    return zlib_error(err, rc, "compressing a cluster");
}

static int zlib_decompress(struct deflate_codec *c, const void *in, size_t stored, void *out, size_t length,
                           struct byre_error *err)
{
    z_stream *z = &c->inflater;
    int rc;

    if (!c->has_inflater) {
        rc = inflateInit2(z, -READ_WINDOW_BITS);
        if (rc != Z_OK)
            return zlib_error(err, rc, "inflating a cluster");
        c->has_inflater = true;
    } else {
        inflateReset(z);
    }
    z->next_in = (Bytef *)in;
    z->avail_in = (uInt)stored;
    z->next_out = out;
    z->avail_out = (uInt)length;
    rc = inflate(z, Z_FINISH);
    if (z->avail_out == 0 && (rc == Z_STREAM_END || rc == Z_OK || rc == Z_BUF_ERROR))
        return 0;
    if (rc == Z_MEM_ERROR)
        return zlib_error(err, rc, "inflating a cluster");
    if (rc == Z_DATA_ERROR)
        return byre_error_set(err, -EIO, "bad deflate data in a compressed cluster: %s",
                              z->msg ? z->msg : "no details");
    return byre_error_set(err, -EIO, "compressed cluster is too short: %zu of %zu bytes",
                          length - z->avail_out, length);
}

#ifdef HAVE_ISAL

static int64_t isal_compress(struct deflate_codec *c, const void *in, size_t length, void *out, size_t room,
                             struct byre_error *err)
{
    struct isal_zstream *s = &c->isal_out;
    int rc;

    if (!c->level_buf) {
        c->level_buf = malloc(ISAL_BUF_SIZE);
        if (!c->level_buf)
            return byre_error_set_errno(err, -ENOMEM, "compressing a cluster");
    }
    isal_deflate_stateless_init(s);
    s->level = ISAL_LEVEL;
    s->level_buf = c->level_buf;
    s->level_buf_size = ISAL_BUF_SIZE;
    s->hist_bits = WRITE_WINDOW_BITS;
    s->end_of_stream = 1;
    s->flush = NO_FLUSH;
    s->gzip_flag = IGZIP_DEFLATE;
    s->next_in = (uint8_t *)in;
    s->avail_in = (uint32_t)length;
    s->next_out = out;
    s->avail_out = (uint32_t)room;
    rc = isal_deflate_stateless(s);
    if (rc == STATELESS_OVERFLOW)
        return 0;
    if (rc != COMP_OK)
        return byre_error_set(err, -EIO, "compressing a cluster: ISA-L error %d", rc);
    return s->total_out;
}

/* False where ISA-L does not get `length` bytes out of the data. */
static bool isal_decompress(struct deflate_codec *c, const void *in, size_t stored, void *out, size_t length)
{
    struct inflate_state *s = &c->isal_in;
    int rc;

    isal_inflate_init(s);
    s->crc_flag = ISAL_DEFLATE;
    s->next_in = (uint8_t *)in;
    s->avail_in = (uint32_t)stored;
    s->next_out = out;
    s->avail_out = (uint32_t)length;
    rc = isal_inflate_stateless(s);
    return (rc == ISAL_DECOMP_OK || rc == ISAL_OUT_OVERFLOW) && s->total_out == length;
}

#endif

static int64_t deflate_compress(struct byre_codec *codec, const void *in, size_t length, void *out,
                                size_t room, struct byre_error *err)
{
    struct deflate_codec *c = to_deflate(codec);

    if (length > INT_MAX || room > INT_MAX)
        return byre_error_set(err, -EINVAL, "a cluster of %zu bytes is too long to compress", length);
#ifdef HAVE_ISAL
    if (c->level <= ISAL_LEVEL)
        return isal_compress(c, in, length, out, room, err);
#endif
    return zlib_compress(c, in, length, out, room, err);
}

static int deflate_decompress(struct byre_codec *codec, const void *in, size_t stored, void *out,
                              size_t length, struct byre_error *err)
{
    struct deflate_codec *c = to_deflate(codec);

    if (stored > INT_MAX || length > INT_MAX)
        return byre_error_set(err, -EINVAL, "a cluster of %zu bytes is too long to inflate", length);
#ifdef HAVE_ISAL
    if (isal_decompress(c, in, stored, out, length))
        return 0;
    /* ISA-L and zlib do not agree on every odd stream; zlib has the last word, and says what is wrong. */
#endif
    return zlib_decompress(c, in, stored, out, length, err);
}

static void deflate_free(struct byre_codec *codec)
{
    struct deflate_codec *c = to_deflate(codec);

    if (c->has_deflater)
        deflateEnd(&c->deflater);
    if (c->has_inflater)
        inflateEnd(&c->inflater);
#ifdef HAVE_ISAL
    free(c->level_buf);
#endif
    free(c);
}

static const struct byre_codec_ops deflate_ops = {
    .compress = deflate_compress,
    .decompress = deflate_decompress,
    .free = deflate_free,
};

int byre_deflate_codec_new(int level, struct byre_codec **ret_codec, struct byre_error *err)
{
    struct deflate_codec *c;

    if (level < 0 || level > LEVEL_MAX)
        return byre_error_set(err, -EINVAL, "compression level of zlib must be between 0 and %d, not %d",
                              LEVEL_MAX, level);
    c = calloc(1, sizeof *c);
    if (!c)
        return byre_error_set_errno(err, -ENOMEM, "compression context");
    c->codec.ops = &deflate_ops;
    c->level = level;
    *ret_codec = &c->codec;
    return 0;
}
