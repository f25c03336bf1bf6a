/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the disk layer share: a temporary directory around each test, images made in one line,
 * random numbers with a seed that is printed, and stores whose calls can be watched or made to fail.
 * Included once by each of them, after cmocka.h.
 */
#ifndef TESTS_UNIT_DISK_FIXTURE_H
#define TESTS_UNIT_DISK_FIXTURE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "byre/create.h"
#include "disk/disk.h"
#include "qcow2/compress.h"
#include "tempdir.h"

static struct tempdir tmp;

static inline int set_up(void **state)
{
    (void)state;
    alarm(300); /* whatever hangs is a failure */
    return tempdir_make(&tmp);
}

static inline int tear_down(void **state)
{
    (void)state;
    alarm(0);
    return tempdir_remove(&tmp);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline const char *path(const char *name)
{
    return tempdir_path(&tmp, name);
}

/* Fails the test with the message of a call that failed. */
#define must(call)                                                                                           \
    do {                                                                                                     \
        struct byre_error must_err = BYRE_ERROR_INIT, *err = &must_err;                                      \
        if ((call) < 0)                                                                                      \
            fail_msg("%s: %s", #call, must_err.text);                                                        \
    } while (0)

/* --- random numbers ------------------------------------------------------------------------------------- */

static uint64_t random_state;

/* Takes the seed from TEST_SEED, or the clock, and prints it. */
static inline void random_start(void)
{
    const char *seed = getenv("TEST_SEED");

    random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)getpid() * 2654435761u;
    printf("TEST_SEED=%llu\n", (unsigned long long)random_state);
}

static inline uint64_t random_from(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

static inline uint64_t random_below(uint64_t limit)
{
    return random_from(&random_state) % limit;
}

static inline void random_fill(uint8_t *buf, size_t length)
{
    for (size_t i = 0; i < length; i++)
        buf[i] = (uint8_t)(random_from(&random_state) | 1);
}

/* --- images --------------------------------------------------------------------------------------------- */

static inline void write_file(const char *name, const void *bytes, size_t length)
{
    FILE *f = fopen(name, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, length, f), length);
    assert_int_equal(fclose(f), 0);
}

/* Makes a qcow2 image; `backing` (may be NULL) is recorded with its format. */
static inline void make_image(const char *name, uint64_t size, uint32_t cluster_size, const char *backing,
                              const char *backing_format)
{
    const struct byre_create_options options = {
        .format = "qcow2",
        .size = size,
        .cluster_size = cluster_size,
        .backing_name = backing,
        .backing_format = backing_format,
    };

    must(byre_create(name, &options, err));
}

/* The same with subclusters; clusters of 16 KiB at least. */
static inline void make_extended_image(const char *name, uint64_t size, uint32_t cluster_size, const char *backing,
                                       const char *backing_format)
{
    const struct byre_create_options options = {
        .format = "qcow2",
        .size = size,
        .cluster_size = cluster_size,
        .extended_l2 = true,
        .backing_name = backing,
        .backing_format = backing_format,
    };

    must(byre_create(name, &options, err));
}

static inline struct byre_disk *open_disk(const char *name, bool writable)
{
    const struct byre_open_options options = { .writable = writable };
    struct byre_disk *disk = NULL;

    must(byre_open(name, &options, &disk, err));
    return disk;
}

static inline void close_disk(struct byre_disk *disk)
{
    must(byre_close(disk, err));
}

static inline void put(struct byre_disk *disk, uint64_t goff, size_t length, int byte)
{
    uint8_t *buf = malloc(length);

    assert_non_null(buf);
    memset(buf, byte, length);
    must(byre_pwrite(disk, buf, length, goff, err));
    free(buf);
}

/* [goff, goff+length) holds nothing but `byte`. */
static inline void expect(struct byre_disk *disk, uint64_t goff, size_t length, int byte)
{
    uint8_t *buf = malloc(length);

    assert_non_null(buf);
    memset(buf, ~byte, length);
    must(byre_pread(disk, buf, length, goff, err));
    for (size_t i = 0; i < length; i++) {
        if (buf[i] != (uint8_t)byte)
            fail_msg("byte %llu is %#x and not %#x", (unsigned long long)(goff + i), buf[i], byte);
    }
    free(buf);
}

/* What the top image says of `goff`. */
static inline enum byre_extent_kind kind_at(struct byre_disk *disk, uint64_t goff)
{
    byre_extent_vec extents = VEC_INIT;
    enum byre_extent_kind kind;

    must(byre_qcow2_map(disk->layers[0].qcow2, goff, 1, &extents, err));
    kind = extents.ptr[0].kind;
    vec_done(&extents);
    return kind;
}

/* Writes a compressed cluster with these contents, straight through the engine. */
static inline void put_compressed(struct byre_disk *disk, uint64_t goff, const uint8_t *bytes)
{
    struct byre_qcow2 *image = disk->layers[0].qcow2;
    size_t cluster_size = (size_t)1 << byre_qcow2_header(image)->cluster_bits;
    struct byre_qcow2_compressed item = { .goff = goff };
    struct byre_codec *codec = NULL;
    uint8_t *out = malloc(cluster_size);
    int64_t length;

    assert_non_null(out);
    must(byre_codec_new(byre_qcow2_header(image)->compression, 0, &codec, err));
    length = byre_codec_compress(codec, bytes, cluster_size, out, cluster_size - 1, NULL);
    assert_true(length > 0);
    item.data = out;
    item.length = (uint32_t)length;
    must(byre_qcow2_reserve_compressed(image, &item, 1, err));
    must(byre_qcow2_fill_compressed(image, &item, 1, err));
    must(byre_qcow2_publish_compressed(image, &item, 1, err));
    byre_codec_free(codec);
    free(out);
}

/* --- watched stores ------------------------------------------------------------------------------------- */

/* One store at a time has its calls counted, hooked or failed. */
static struct {
    struct byre_store *store;
    const struct byre_store_ops *real;
    struct byre_store_ops ops;
    unsigned reads, writes, flushes;
    uint64_t read_bytes;
    int fail_flush, fail_read;   /* what to return instead; 0: go on */
    uint64_t bad_from, bad_end;  /* reads of any byte between these, host offsets, are -EIO */
    void (*before_read)(void);   /* called once, before the next read */
} watched;

static inline int watched_preadv(struct byre_store *store, const struct iovec *iov, int iov_count,
                                 uint64_t hoff)
{
    void (*hook)(void) = watched.before_read;

    uint64_t length = 0;

    for (int i = 0; i < iov_count; i++)
        length += iov[i].iov_len;
    watched.reads++;
    watched.read_bytes += length;
    watched.before_read = NULL;
    if (hook)
        hook();
    if (hoff < watched.bad_end && hoff + length > watched.bad_from)
        return -EIO;
    return watched.fail_read ? watched.fail_read : watched.real->preadv(store, iov, iov_count, hoff);
}

static inline int watched_pwritev(struct byre_store *store, const struct iovec *iov, int iov_count,
                                  uint64_t hoff)
{
    watched.writes++;
    return watched.real->pwritev(store, iov, iov_count, hoff);
}

static inline int watched_flush(struct byre_store *store)
{
    watched.flushes++;
    return watched.fail_flush ? watched.fail_flush : watched.real->flush(store);
}

static inline void watch(struct byre_store *store)
{
    memset(&watched, 0, sizeof watched);
    watched.store = store;
    watched.real = store->ops;
    watched.ops = *store->ops;
    watched.ops.preadv = watched_preadv;
    watched.ops.pwritev = watched_pwritev;
    watched.ops.flush = watched_flush;
    store->ops = &watched.ops;
}

static inline void unwatch(void)
{
    watched.store->ops = watched.real;
    watched.store = NULL;
}

#endif
