/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cluster codecs: every type and level comes back, deflate keeps to a 4 KiB window, bad data is an error.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>
#include <zlib.h>
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

#include "base/arith.h"
#include "qcow2/compress.h"
#include "qcow2/fmt_header.h"
#include "../crash/effort.h"

#define CLUSTER_MAX (2u << 20)

static uint8_t plain[CLUSTER_MAX], packed[CLUSTER_MAX + 65536], back[CLUSTER_MAX];

/* Words repeated at all distances, with noise between: what a deflate window has work with. */
static void fill_text(uint8_t *buf, size_t length)
{
    static const char *const words[] = { "cluster", "refcount", "table", "overlay", "byre", "snapshot",
                                         "\n" };
    size_t at = 0;

    while (at < length) {
        const char *word = words[random() % (long)ARRAY_LEN(words)];
        size_t n = MIN(strlen(word), length - at);

        memcpy(buf + at, word, n);
        at += n;
        if (at < length)
            buf[at++] = (uint8_t)random();
    }
}

static void fill_noise(uint8_t *buf, size_t length)
{
    for (size_t i = 0; i < length; i++)
        buf[i] = (uint8_t)(random() >> 7);
}

/* A block of noise repeated with period `distance`: every match lies at exactly that distance. */
static void fill_periodic(uint8_t *buf, size_t length, size_t distance)
{
    fill_noise(buf, MIN(distance, length));
    for (size_t i = distance; i < length; i++)
        buf[i] = buf[i - distance];
}

/*
 * Memory that ends where a page without access begins: a sanitizer does not see what assembler code does.
 * Holds up to GUARDED_MAX bytes; one for input, one for output.
 */
#define GUARDED_MAX 65536
static uint8_t *guarded_end[2];

static int guarded_setup(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        uint8_t *p = mmap(NULL, GUARDED_MAX + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                          0);

        if (p == MAP_FAILED || mprotect(p + GUARDED_MAX, 4096, PROT_NONE) != 0)
            return -1;
        guarded_end[i] = p + GUARDED_MAX;
    }
    return 0;
}

static int guarded_teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        munmap(guarded_end[i] - GUARDED_MAX, GUARDED_MAX + 4096);
    return 0;
}

static uint8_t *guarded_in(const uint8_t *from, size_t length)
{
    return memcpy(guarded_end[0] - length, from, length);
}

static uint8_t *guarded_out(size_t length)
{
    return guarded_end[1] - length;
}

static struct byre_codec *open_codec(unsigned type, int level)
{
    struct byre_codec *codec = NULL;
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_codec_new(type, level, &codec, &err) != 0)
        fail_msg("codec %u level %d: %s", type, level, err.text);
    return codec;
}

static void assert_comes_back(struct byre_codec *codec, size_t length, size_t room, bool must_shrink)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int64_t n = byre_codec_compress(codec, plain, length, packed, room, &err);

    if (n < 0)
        fail_msg("%s", err.text);
    assert_true((size_t)n <= room);
    if (must_shrink)
        assert_true(n > 0);
    if (n == 0)
        return;
    /* Stored sizes are rounded up: what follows belongs to another cluster. */
    fill_noise(packed + n, 511);
    memset(back, 0xee, length);
    if (byre_codec_decompress(codec, packed, (size_t)n + 511, back, length, &err) != 0)
        fail_msg("%s", err.text);
    assert_memory_equal(plain, back, length);
}

static void round_trips(unsigned type, int level_max)
{
    srandom(4711);
    for (int level = 0; level <= level_max; level += (int)effort_of(3, 1, 1)) {
        struct byre_codec *codec = open_codec(type, level);

        for (size_t length = 512; length <= CLUSTER_MAX; length *= 4) {
            fill_text(plain, length);
            assert_comes_back(codec, length, length - 1, length >= 2048);
            memset(plain, 0x5a, length);
            assert_comes_back(codec, length, length - 1, true);
            fill_noise(plain, length);
            assert_comes_back(codec, length, length - 1, false);
            fill_periodic(plain, length, 1000);
            assert_comes_back(codec, length, length - 1, length > 4096);
        }
        fill_text(plain, 12345);
        assert_comes_back(codec, 12345, 12344, true); /* no power of two */
        byre_codec_free(codec);
    }
}

static void zlib_every_level_comes_back(void **state)
{
    (void)state;
    round_trips(BYRE_COMPRESSION_ZLIB, 9);
}

static void zstd_some_levels_come_back(void **state)
{
    (void)state;
    if (byre_codec_has(BYRE_COMPRESSION_ZSTD))
        round_trips(BYRE_COMPRESSION_ZSTD, 5);
}

static void noise_is_refused(unsigned type)
{
    struct byre_codec *codec = open_codec(type, 0);

    fill_noise(plain, 65536);
    assert_int_equal(byre_codec_compress(codec, plain, 65536, packed, 65535, NULL), 0);
    /* A refusal must leave the codec fit for the next cluster. */
    memset(plain, 1, 65536);
    assert_comes_back(codec, 65536, 65535, true);
    byre_codec_free(codec);
}

static void incompressible_cluster_is_not_stored_compressed(void **state)
{
    (void)state;
    noise_is_refused(BYRE_COMPRESSION_ZLIB);
    if (byre_codec_has(BYRE_COMPRESSION_ZSTD))
        noise_is_refused(BYRE_COMPRESSION_ZSTD);
}

static void compress_never_writes_beyond_the_room(void **state)
{
    (void)state;
    for (unsigned type = 0; type <= BYRE_COMPRESSION_ZSTD; type++) {
        if (!byre_codec_has(type))
            continue;
        for (int level = 0; level <= 4; level++) {
            struct byre_codec *codec = open_codec(type, level);

            srandom(1 + (unsigned)level);
            fill_text(plain, 65536);
            for (size_t room = 0; room < 60000; room = room * 2 + 1) {
                uint8_t *in = guarded_in(plain, 65536);
                int64_t n = byre_codec_compress(codec, in, 65536, guarded_out(room), room, NULL);

                assert_in_range(n, 0, room);
            }
            byre_codec_free(codec);
        }
    }
}

static void same_input_gives_same_bytes(void **state)
{
    static uint8_t first[65536];

    (void)state;
    for (unsigned type = 0; type <= BYRE_COMPRESSION_ZSTD; type++) {
        struct byre_codec *codec, *other;
        int64_t n;

        if (!byre_codec_has(type))
            continue;
        codec = open_codec(type, 0);
        other = open_codec(type, 0);
        srandom(77);
        fill_text(plain, 65536);
        n = byre_codec_compress(codec, plain, 65536, first, 65535, NULL);
        assert_true(n > 0);
        /* Whatever the codec did in between. */
        assert_true(byre_codec_compress(other, plain + 1, 60000, packed, 65535, NULL) > 0);
        assert_int_equal(byre_codec_compress(other, plain, 65536, packed, 65535, NULL), n);
        assert_memory_equal(first, packed, (size_t)n);
        byre_codec_free(codec);
        byre_codec_free(other);
    }
}

/* Small clusters do not fill a compressor's tables, so what is left in them from others might show. */
static void small_clusters_do_not_depend_on_those_before(void **state)
{
    enum { SMALL = 4096, CLUSTERS = 4000 };
    static uint8_t other[SMALL], text[65536];

    (void)state;
    for (unsigned type = 0; type <= BYRE_COMPRESSION_ZSTD; type++) {
        struct byre_codec *codec;

        if (!byre_codec_has(type))
            continue;
        codec = open_codec(type, 0);
        srandom(78);
        for (unsigned i = 0; i < CLUSTERS; i++) {
            struct byre_codec *fresh = open_codec(type, 0);
            int64_t n;

            /* Words that come again from cluster to cluster, at other places. */
            if (i % 64 == 0)
                fill_text(text, sizeof text);
            memcpy(plain, text + random() % (sizeof text - SMALL), SMALL);
            for (unsigned j = 0; j < 256; j++)
                plain[random() % SMALL] = (uint8_t)random();
            n = byre_codec_compress(codec, plain, SMALL, packed, SMALL - 1, NULL);
            assert_int_equal(byre_codec_compress(fresh, plain, SMALL, other, SMALL - 1, NULL), n);
            assert_memory_equal(packed, other, (size_t)n);
            byre_codec_free(fresh);
        }
        byre_codec_free(codec);
    }
}

/*
 * A strict reader: inflates with a 4 KiB window into a few bytes at a time, so that zlib has nothing but its
 * window to look back into.  0, or zlib's error.
 */
static int strict_inflate(const uint8_t *in, size_t stored, size_t length)
{
    z_stream z = { 0 };
    size_t done = 0;
    int rc = inflateInit2(&z, -12);

    z.next_in = (Bytef *)in;
    z.avail_in = (uInt)stored;
    while (rc == Z_OK && done < length) {
        z.next_out = back + done;
        z.avail_out = (uInt)MIN(length - done, (size_t)61);
        rc = inflate(&z, Z_SYNC_FLUSH);
        done = (size_t)(z.next_out - back);
    }
    inflateEnd(&z);
    return rc == Z_STREAM_END || (rc == Z_OK && done == length) ? 0 : rc ? rc : Z_BUF_ERROR;
}

static void assert_strict_reader_reads(struct byre_codec *codec, size_t length, const char *what,
                                       size_t detail)
{
    int64_t n = byre_codec_compress(codec, plain, length, packed, length - 1, NULL);
    int rc;

    assert_true(n >= 0);
    if (n == 0)
        return;
    rc = strict_inflate(packed, (size_t)n, length);
    if (rc != 0 || memcmp(plain, back, length) != 0)
        fail_msg("%s %zu, cluster of %zu bytes: inflate says %d", what, detail, length, rc);
}

static void deflate_output_needs_a_window_of_4_kib_only(void **state)
{
    (void)state;
    srandom(31337);
    for (int level = 0; level <= 9; level++) {
        struct byre_codec *codec = open_codec(BYRE_COMPRESSION_ZLIB, level);

        for (size_t distance = 3800; distance <= 4400;
             distance += distance > 4080 && distance < 4110 ? 1 : 23) {
            fill_periodic(plain, 65536, distance);
            assert_strict_reader_reads(codec, 65536, "period", distance);
        }
        for (size_t distance = 8191; distance <= 32769; distance += 4097) {
            fill_periodic(plain, 65536, distance);
            assert_strict_reader_reads(codec, 65536, "period", distance);
        }
        for (size_t length = 65536; length <= CLUSTER_MAX; length *= 32) {
            fill_text(plain, length);
            assert_strict_reader_reads(codec, length, "text of level", (size_t)level);
        }
        byre_codec_free(codec);
    }
}

/* The strict reader itself must object to a wider window, or the test above proves nothing. */
static void strict_reader_refuses_a_wider_window(void **state)
{
    z_stream z = { 0 };

    (void)state;
    srandom(5);
    fill_periodic(plain, 65536, 5000);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = plain;
    z.avail_in = 65536;
    z.next_out = packed;
    z.avail_out = 65535;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(strict_inflate(packed, z.total_out, 65536), Z_DATA_ERROR);
    /* And byre must not: other writers use all of it. */
    struct byre_codec *codec = open_codec(BYRE_COMPRESSION_ZLIB, 0);
    assert_int_equal(byre_codec_decompress(codec, packed, z.total_out, back, 65536, NULL), 0);
    assert_memory_equal(plain, back, 65536);
    byre_codec_free(codec);
    deflateEnd(&z);
}

static void deflate_stream_longer_than_the_cluster_is_cut(void **state)
{
    struct byre_codec *codec = open_codec(BYRE_COMPRESSION_ZLIB, 6);
    int64_t n;

    (void)state;
    srandom(6);
    fill_text(plain, 65536);
    n = byre_codec_compress(codec, plain, 65536, packed, 65535, NULL);
    assert_true(n > 0);
    for (size_t length = 1; length < 65536; length = length * 3 + 7) {
        assert_int_equal(byre_codec_decompress(codec, packed, (size_t)n, back, length, NULL), 0);
        assert_memory_equal(plain, back, length);
    }
    byre_codec_free(codec);
}

static void decompress_short_or_bad_data_is_an_error(void **state)
{
    (void)state;
    for (unsigned type = 0; type <= BYRE_COMPRESSION_ZSTD; type++) {
        struct byre_codec *codec;
        struct byre_error err = BYRE_ERROR_INIT;
        int64_t n;

        if (!byre_codec_has(type))
            continue;
        codec = open_codec(type, 0);
        srandom(8);
        fill_text(plain, 65536);
        n = byre_codec_compress(codec, plain, 65536, packed, 65535, NULL);
        assert_true(n > 16);
        for (size_t stored = 0; stored < (size_t)n - 8; stored += 1 + stored / 3) {
            err = (struct byre_error)BYRE_ERROR_INIT;
            assert_int_equal(byre_codec_decompress(codec, guarded_in(packed, stored), stored,
                                                   guarded_out(65536),
                                                   65536, &err), -EIO);
            assert_true(err.text[0] != 0);
        }
        memset(packed, 0xff, 4096);
        assert_int_equal(byre_codec_decompress(codec, packed, 4096, back, 65536, &err), -EIO);
        /* A whole stream of half a cluster. */
        n = byre_codec_compress(codec, plain, 32768, packed, 65535, NULL);
        assert_int_equal(byre_codec_decompress(codec, packed, (size_t)n, back, 65536, &err), -EIO);
        byre_codec_free(codec);
    }
}

static void decompress_random_damage_stays_in_bounds(void **state)
{
    unsigned seed = 60601;

    (void)state;
    print_message("seed %u\n", seed);
    srandom(seed);
    for (unsigned type = 0; type <= BYRE_COMPRESSION_ZSTD; type++) {
        struct byre_codec *codec;

        if (!byre_codec_has(type))
            continue;
        codec = open_codec(type, 0);
        for (int turn = 0; turn < 3000; turn++) {
            uint8_t *in;
            int64_t n;
            int rc;

            fill_text(plain, 4096);
            n = byre_codec_compress(codec, plain, 4096, packed, 4095, NULL);
            assert_true(n > 0);
            in = guarded_in(packed, (size_t)n);
            for (int hits = 1 + (int)(random() % 3); hits > 0; hits--)
                in[random() % n] ^= (uint8_t)(1 << random() % 8);
            rc = byre_codec_decompress(codec, in, (size_t)n, guarded_out(4096), 4096, NULL);
            assert_true(rc == 0 || rc == -EIO);
        }
        byre_codec_free(codec);
    }
}

#ifdef HAVE_ZSTD

/* Writers may split a cluster into frames, and put skippable ones between. */
static void zstd_several_frames_make_one_cluster(void **state)
{
    static const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c' };
    struct byre_codec *codec = open_codec(BYRE_COMPRESSION_ZSTD, 0);
    size_t at = 0;

    (void)state;
    srandom(9);
    fill_text(plain, 65536);
    for (size_t part = 0; part < 65536; part += 16384) {
        size_t n = ZSTD_compress(packed + at, 65536, plain + part, 16384, 3);

        assert_false(ZSTD_isError(n));
        at += n;
        memcpy(packed + at, skippable, sizeof skippable);
        at += sizeof skippable;
    }
    memset(packed + at, 0, 511);
    assert_int_equal(byre_codec_decompress(codec, packed, at + 511, back, 65536, NULL), 0);
    assert_memory_equal(plain, back, 65536);
    byre_codec_free(codec);
}

/* A frame whose header asks for a window of 2 GiB: decoded without it, or refused; never allocated. */
static void zstd_frame_with_a_huge_window_allocates_nothing(void **state)
{
    /* magic, descriptor (no single segment, no size), window 2^31, last raw block of 4 bytes */
    static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x21, 0x00, 0x00, 'b', 'y', 'r',
                                     'e' };
    struct byre_codec *codec = open_codec(BYRE_COMPRESSION_ZSTD, 0);
    int rc = byre_codec_decompress(codec, frame, sizeof frame, back, 4, NULL);

    (void)state;
    if (rc == 0)
        assert_memory_equal(back, "byre", 4);
    else
        assert_int_equal(rc, -EIO);
    byre_codec_free(codec);
}

#endif

static void codec_unknown_type_or_level_is_refused(void **state)
{
    struct byre_codec *codec;
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    assert_int_equal(byre_codec_new(2, 0, &codec, &err), -ENOTSUP);
    assert_string_equal(err.text, "unknown compression type: 2");
    assert_false(byre_codec_has(2));
    assert_int_equal(byre_codec_new(BYRE_COMPRESSION_ZLIB, 10, &codec, &err), -EINVAL);
    assert_int_equal(byre_codec_new(BYRE_COMPRESSION_ZLIB, -1, &codec, &err), -EINVAL);
    if (byre_codec_has(BYRE_COMPRESSION_ZSTD)) {
        assert_int_equal(byre_codec_new(BYRE_COMPRESSION_ZSTD, 99, &codec, &err), -EINVAL);
        assert_non_null(strstr(err.text, "99"));
    } else {
        assert_int_equal(byre_codec_new(BYRE_COMPRESSION_ZSTD, 0, &codec, &err), -ENOTSUP);
        assert_non_null(strstr(err.text, "zstd"));
    }
    byre_codec_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zlib_every_level_comes_back),
        cmocka_unit_test(zstd_some_levels_come_back),
        cmocka_unit_test(incompressible_cluster_is_not_stored_compressed),
        cmocka_unit_test(compress_never_writes_beyond_the_room),
        cmocka_unit_test(same_input_gives_same_bytes),
        cmocka_unit_test(small_clusters_do_not_depend_on_those_before),
        cmocka_unit_test(deflate_output_needs_a_window_of_4_kib_only),
        cmocka_unit_test(strict_reader_refuses_a_wider_window),
        cmocka_unit_test(deflate_stream_longer_than_the_cluster_is_cut),
        cmocka_unit_test(decompress_short_or_bad_data_is_an_error),
        cmocka_unit_test(decompress_random_damage_stays_in_bounds),
#ifdef HAVE_ZSTD
        cmocka_unit_test(zstd_several_frames_make_one_cluster),
        cmocka_unit_test(zstd_frame_with_a_huge_window_allocates_nothing),
#endif
        cmocka_unit_test(codec_unknown_type_or_level_is_refused),
    };

    return cmocka_run_group_tests(tests, guarded_setup, guarded_teardown);
}
