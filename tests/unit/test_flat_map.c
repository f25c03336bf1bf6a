/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The flat map: it says what the chain says, whatever was asked before, however small its budget; and
 * changes of the top layer are never hidden by what was read before them.
 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/endian.h"
#include "disk/flat_entry.h"
#include "disk/flat_map.h"
#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

enum { DEPTH = 5, EXTENTS = 8 };

/* --- against the chain ---------------------------------------------------------------------------------- */

/* Is the extent found at `goff` with what `wanted`, which covers it, says of it? */
static void expect_same(const struct byre_disk *disk, const struct byre_extent *extent,
                        const struct byre_extent *wanted)
{
    bool zero = wanted->kind == BYRE_EXTENT_HOLE || wanted->kind == BYRE_EXTENT_ZERO;
    bool raw = !disk->layers[extent->layer].qcow2;

    if (zero && extent->kind == BYRE_EXTENT_DATA && raw)
        return; /* part of a grain of a raw file: its own hole reads as zero */
    if (zero) {
        assert_true(extent->kind == BYRE_EXTENT_HOLE || extent->kind == BYRE_EXTENT_ZERO);
        return;
    }
    assert_int_equal(extent->kind, wanted->kind);
    assert_int_equal(extent->layer, wanted->layer);
    if (wanted->kind == BYRE_EXTENT_DATA) {
        assert_int_equal(extent->hoff - extent->goff, wanted->hoff - wanted->goff);
        assert_int_equal(extent->exclusive, wanted->exclusive);
    } else {
        assert_int_equal(extent->hoff, wanted->hoff);
        assert_int_equal(extent->stored, wanted->stored);
    }
}

/* Looks the range up, and holds each sector against byre_disk_map. */
static void check_lookup(struct byre_disk *disk, uint64_t goff, uint64_t length, int max)
{
    struct byre_extent extents[EXTENTS];
    byre_extent_vec wanted = VEC_INIT;
    int count = byre_flat_map_lookup(disk->map, goff, length, false, extents, max, NULL);
    uint64_t at = goff;

    assert_in_range(count, 1, max);
    must(byre_disk_map(disk, 0, goff, length, &wanted, err));
    for (int i = 0; i < count; i++) {
        assert_int_equal(extents[i].goff, at);
        assert_true(extents[i].length > 0);
        for (size_t j = 0; j < wanted.len; j++) {
            const struct byre_extent *w = &wanted.ptr[j];
            struct byre_extent part = extents[i];
            uint64_t from = MAX(w->goff, part.goff), to = MIN(w->goff + w->length, part.goff + part.length);

            if (from >= to)
                continue;
            if (part.kind == BYRE_EXTENT_DATA)
                part.hoff += from - part.goff;
            part.goff = from;
            expect_same(disk, &part, w);
        }
        at += extents[i].length;
    }
    assert_true(at <= goff + length);
    assert_true(at == goff + length || count == max);
    vec_done(&wanted);
}

/* Changes the open disk at random places. */
static void scribble(struct byre_disk *disk, int times)
{
    uint64_t size = byre_get_size(disk);

    for (int i = 0; i < times; i++) {
        uint64_t length = 1 + random_below(MIN(size, 150 * K)), goff = random_below(size - length + 1);
        uint64_t cluster = 1ULL << byre_qcow2_header(disk->layers[0].qcow2)->cluster_bits;
        uint8_t *bytes;

        switch (random_below(4)) {
        case 0:
            must(byre_write_zeroes(disk, goff, length, BYRE_WRITE_ZEROES_UNMAP, err));
            break;
        case 1:
            goff = byre_round_down(goff, cluster);
            if (goff + cluster > size)
                break;
            bytes = malloc(cluster);
            assert_non_null(bytes);
            memset(bytes, 3, cluster);
            put_compressed(disk, goff, bytes);
            free(bytes);
            break;
        default:
            put(disk, goff, length, (int)random_below(256));
        }
    }
}

/* Of random size; some have subclusters. */
static void make_any_image(const char *name, const char *below, const char *format)
{
    uint64_t size = random_below(2 * M) + 1;
    uint32_t cluster_size = 512u << random_below(9);

    if (random_below(3))
        make_image(path(name), size, cluster_size, below, format);
    else
        make_extended_image(path(name), size, MAX(cluster_size, 16u << 10), below, format);
}

/* A chain of qcow2 images of random sizes over a raw file with holes; the path of its top is "0". */
static void make_random_chain(void)
{
    struct byre_disk *disk;
    char name[16], below[16] = "raw";
    uint8_t bytes[3000];

    random_fill(bytes, sizeof bytes);
    write_file(path("raw"), bytes, sizeof bytes);
    assert_int_equal(truncate(path("raw"), (off_t)(random_below(2 * M) + 4000)), 0);
    for (int i = DEPTH - 1; i >= 0; i--) {
        snprintf(name, sizeof name, "%d", i);
        make_any_image(name, below, strcmp(below, "raw") == 0 ? "raw" : "qcow2");
        disk = open_disk(path(name), true);
        scribble(disk, 12);
        close_disk(disk);
        memcpy(below, name, sizeof below);
    }
}

static struct byre_disk *open_with_budget(bool writable, uint64_t budget)
{
    const struct byre_open_options options = { .writable = writable, .map_bytes = budget };
    struct byre_disk *disk = NULL;

    must(byre_open(path("0"), &options, &disk, err));
    return disk;
}

static void lookup_says_what_the_chain_says(void **state)
{
    (void)state;
    random_start();
    for (int round = 0; round < 12; round++) {
        struct byre_disk *disk;
        uint64_t size;

        make_random_chain();
        disk = open_with_budget(true, random_below(2) ? 0 : 10000);
        size = byre_get_size(disk);
        for (int i = 0; i < 300; i++) {
            uint64_t goff = random_below(size);
            uint64_t length = 1 + random_below(size - goff);

            if (random_below(2))
                length = MIN(length, 1 + random_below(20000));
            check_lookup(disk, goff, length, 1 + (int)random_below(EXTENTS));
            if (i % 50 == 0)
                scribble(disk, 1);
        }
        close_disk(disk);
    }
}

static void map_stays_under_its_budget(void **state)
{
    const uint64_t budget = 40000;
    struct byre_disk *disk;
    struct byre_extent extent;

    (void)state;
    make_image(path("0"), 64 * M, 512, NULL, NULL);
    disk = open_with_budget(true, budget);
    for (uint64_t goff = 0; goff < 64 * M; goff += 100 * K) {
        assert_int_equal(byre_flat_map_lookup(disk->map, goff, 1, false, &extent, 1, NULL), 1);
        assert_true(byre_flat_map_bytes(disk->map) <= budget);
    }
    assert_true(byre_flat_map_bytes(disk->map) > budget / 2);
    close_disk(disk);
}

/* Looks all of it up; returns how many bytes the map takes then. */
static uint64_t bytes_for_all(struct byre_disk *disk)
{
    struct byre_extent extent;

    for (uint64_t goff = 0; goff < byre_get_size(disk); goff += 2 * K)
        assert_int_equal(byre_flat_map_lookup(disk->map, goff, 1, false, &extent, 1, NULL), 1);
    return byre_flat_map_bytes(disk->map);
}

static void subclusters_cost_memory_where_they_differ(void **state)
{
    struct byre_disk *plain, *extended;
    uint64_t bytes;

    (void)state;
    make_image(path("plain"), 128 * M, 64 * K, NULL, NULL);
    make_extended_image(path("extended"), 128 * M, 64 * K, NULL, NULL);
    plain = open_disk(path("plain"), true);
    extended = open_disk(path("extended"), true);
    put(plain, 0, 3 * M, 1);
    put(extended, 0, 3 * M, 1);
    bytes = bytes_for_all(plain);
    assert_int_equal(bytes_for_all(extended), bytes);
    put(extended, 40 * M, 2 * K, 1); /* one of 4 chunks of 32 MiB; one of its 32 parts is made finer */
    assert_int_equal(bytes_for_all(extended), bytes + bytes / 4);
    close_disk(plain);
    close_disk(extended);
}

/* Somebody looks at the map for long, while others look at all of it. */
static void chunks_that_may_be_looked_at_are_kept_within_bounds(void **state)
{
    const uint64_t budget = 40000, chunk = 5000;
    struct byre_disk *disk;
    struct byre_extent extent;
    uint64_t ticket;

    (void)state;
    make_image(path("0"), 64 * M, 512, NULL, NULL);
    disk = open_with_budget(true, budget);
    put(disk, 63 * M, 512, 7);
    ticket = byre_epoch_enter(disk->epoch);
    for (uint64_t goff = 0; goff < 64 * M; goff += 100 * K) {
        assert_int_equal(byre_flat_map_lookup(disk->map, goff, 1, false, &extent, 1, NULL), 1);
        assert_true(byre_flat_map_bytes(disk->map) <= 2 * budget + chunk);
    }
    assert_true(byre_flat_map_bytes(disk->map) > budget + chunk);
    expect(disk, 63 * M, 512, 7);
    byre_epoch_leave(disk->epoch, ticket);
    for (uint64_t goff = 0; goff < 64 * M; goff += 500 * K)
        assert_int_equal(byre_flat_map_lookup(disk->map, goff, 1, false, &extent, 1, NULL), 1);
    assert_true(byre_flat_map_bytes(disk->map) <= budget);
    close_disk(disk);
}

static void lookup_of_what_is_known_reads_nothing(void **state)
{
    struct byre_extent extents[4];
    struct byre_disk *disk;

    (void)state;
    make_image(path("0"), 64 * M, 65536, NULL, NULL);
    disk = open_disk(path("0"), true);
    put(disk, 0, 1 * M, 1);
    close_disk(disk);
    disk = open_disk(path("0"), false);
    assert_int_equal(byre_flat_map_lookup(disk->map, 5 * M, 1, false, extents, 4, NULL), 1);
    watch(disk->layers[0].store);
    /* One look-up has filled the whole chunk of 512 clusters. */
    assert_int_equal(byre_flat_map_lookup(disk->map, 0, 32 * M, false, extents, 4, NULL), 2);
    assert_int_equal(watched.reads, 0);
    assert_int_equal(extents[0].length, 1 * M);
    assert_int_equal(extents[1].length, 31 * M);
    unwatch();
    close_disk(disk);
}

/* --- changes -------------------------------------------------------------------------------------------- */

static void write_is_seen_at_once_where_another_layer_was_known(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("base"), 1 * M, 65536, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, 1 * M, 1);
    close_disk(disk);
    make_image(path("0"), 1 * M, 4096, "base", "qcow2");
    disk = open_disk(path("0"), true);
    expect(disk, 0, 1 * M, 1);
    put(disk, 10000, 10000, 2);
    expect(disk, 0, 10000, 1);
    expect(disk, 10000, 10000, 2);
    expect(disk, 20000, 1 * M - 20000, 1);
    must(byre_write_zeroes(disk, 15000, 20000, BYRE_WRITE_ZEROES_UNMAP, err));
    expect(disk, 10000, 5000, 2);
    expect(disk, 15000, 20000, 0);
    expect(disk, 35000, 50000, 1);
    close_disk(disk);
}

/* A change over more chunks than there are generations. */
static void huge_change_reaches_every_chunk(void **state)
{
    const uint64_t size = 1ULL << 40;
    struct byre_disk *disk;

    (void)state;
    make_image(path("0"), size, 2 * M, NULL, NULL);
    disk = open_disk(path("0"), true);
    for (uint64_t goff = 0; goff < size; goff += size / 8) {
        put(disk, goff, 512, 5);
        expect(disk, goff, 512, 5);
    }
    byre_flat_map_remapped(disk->map, &(struct byre_extent){ .length = 4 * size, .kind = BYRE_EXTENT_ZERO });
    expect(disk, 0, 512, 0); /* what the map was told, though the image knows better */
    expect(disk, size / 8 * 7, 512, 0);
    byre_flat_map_remapped(disk->map, &(struct byre_extent){ .length = 4 * size, .kind = BYRE_EXTENT_HOLE });
    expect(disk, size / 8 * 7, 512, 5);
    close_disk(disk);
}

static struct byre_disk *raced;

/* Comes when the fill has seen a hole in the top layer, and is about to look below. */
static void write_cluster_to_top(void)
{
    uint8_t cluster[4096];
    struct iovec iov = { cluster, sizeof cluster };

    memset(cluster, 2, sizeof cluster);
    must(byre_qcow2_writev(raced->layers[0].qcow2, 8192, &iov, 1, sizeof cluster, err));
}

static void fill_that_a_write_overtakes_is_not_kept(void **state)
{
    struct byre_extent extent;

    (void)state;
    make_image(path("base"), 1 * M, 4096, NULL, NULL);
    raced = open_disk(path("base"), true);
    put(raced, 0, 1 * M, 1);
    close_disk(raced);
    make_image(path("0"), 1 * M, 4096, "base", "qcow2");
    raced = open_disk(path("0"), true);
    watch(raced->layers[1].store);
    watched.before_read = write_cluster_to_top;
    assert_int_equal(byre_flat_map_lookup(raced->map, 8192, 512, false, &extent, 1, NULL), 1);
    assert_null(watched.before_read); /* it was called */
    unwatch();
    /* The request that lost the race may still see what was there when it began ... */
    assert_int_equal(extent.layer, 1);
    /* ... and no later one. */
    expect(raced, 8192, 4096, 2);
    expect(raced, 4096, 4096, 1);
    close_disk(raced);
}

/* --- damage --------------------------------------------------------------------------------------------- */

/* The L2 entry for the cluster at `index` of an image with one L2 table; clusters of 4096 bytes. */
static uint64_t l2_entry_at(struct byre_disk *disk, unsigned index)
{
    uint64_t l1_hoff = byre_qcow2_header(disk->layers[0].qcow2)->l1_hoff;
    uint8_t entry[8];

    must(byre_store_pread(disk->layers[0].store, entry, sizeof entry, l1_hoff, err));
    return (byre_get_be64(entry) & 0x00fffffffffffe00ULL) + index * 8;
}

/* An entry leads past the end of the file, where a table goes later: what was mapped before must not be written by. */
static void place_that_becomes_metadata_is_not_written_as_data(void **state)
{
    uint8_t entry[8], buf[4096] = { 0 };
    struct byre_error err = BYRE_ERROR_INIT;
    uint64_t end, l1_hoff;
    struct byre_disk *disk;

    (void)state;
    make_image(path("0"), 6 * M, 4096, NULL, NULL);
    disk = open_disk(path("0"), true);
    put(disk, 0, 4096, 1);
    close_disk(disk);
    disk = open_disk(path("0"), true);
    must(byre_store_size(disk->layers[0].store, &end, err));
    byre_put_be64(entry, end | 1ULL << 63);
    must(byre_store_pwrite(disk->layers[0].store, entry, sizeof entry, l2_entry_at(disk, 5), err));
    must(byre_store_truncate(disk->layers[0].store, end, err));
    must(byre_pread(disk, buf, sizeof buf, 5 * 4096, err));
    put(disk, 4 * M, 4096, 2);
    must(byre_flush(disk, err));
    l1_hoff = byre_qcow2_header(disk->layers[0].qcow2)->l1_hoff;
    must(byre_store_pread(disk->layers[0].store, entry, sizeof entry, l1_hoff + 2 * 8, err));
    assert_int_equal(byre_get_be64(entry), end | 1ULL << 63); /* it did go there */
    assert_int_equal(byre_pwrite(disk, buf, sizeof buf, 5 * 4096, &err), -EIO);
    assert_non_null(strstr(err.text, "lies on the L2 table"));
    expect(disk, 4 * M, 4096, 2);
    byre_close(disk, NULL);
}

/* A bad entry is no reason to fail where it is not: one is made an unaligned offset. */
static void lookup_next_to_a_damaged_entry_succeeds(void **state)
{
    const uint8_t bad[8] = { 0x80, 0, 0, 0, 0, 0, 0x12, 0 };
    struct byre_extent extents[4];
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_disk *disk;

    (void)state;
    make_image(path("0"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("0"), true);
    put(disk, 0, 64 * K, 1);
    close_disk(disk);
    disk = open_disk(path("0"), true);
    must(byre_store_pwrite(disk->layers[0].store, bad, sizeof bad, l2_entry_at(disk, 3), err));
    expect(disk, 0, 3 * 4096, 1);
    expect(disk, 4 * 4096, 12 * 4096, 1);
    assert_int_equal(byre_flat_map_lookup(disk->map, 3 * 4096, 512, false, extents, 4, &err), -EIO);
    assert_non_null(strstr(err.text, "unaligned"));
    /* Right before the damage it does not. */
    assert_int_equal(byre_flat_map_lookup(disk->map, 2 * 4096, 4096, false, extents, 4, NULL), 1);
    assert_int_equal(extents[0].length, 4096);
    close_disk(disk);
}

/* Two guest clusters that a strange image has in one compressed place are still two. */
static void clusters_in_one_compressed_place_stay_apart(void **state)
{
    uint8_t cluster[4096], entry[8];
    struct byre_extent extents[4];
    struct byre_disk *disk;

    (void)state;
    memset(cluster, 6, sizeof cluster);
    make_image(path("base"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("base"), true);
    put_compressed(disk, 0, cluster);
    must(byre_flush(disk, err));
    must(byre_store_pread(disk->layers[0].store, entry, 8, l2_entry_at(disk, 0), err));
    must(byre_store_pwrite(disk->layers[0].store, entry, 8, l2_entry_at(disk, 1), err));
    close_disk(disk);
    make_image(path("0"), 1 * M, 512, "base", "qcow2");
    disk = open_disk(path("0"), false);
    assert_int_equal(byre_flat_map_lookup(disk->map, 512, 7680, false, extents, 4, NULL), 2);
    assert_int_equal(extents[0].length, 4096 - 512);
    assert_int_equal(extents[1].length, 4096);
    expect(disk, 0, 8192, 6);
    close_disk(disk);
}

/* --- entries -------------------------------------------------------------------------------------------- */

static void entry_holds_the_largest_offset_and_layer(void **state)
{
    struct byre_layer *layers = calloc(BYRE_LAYERS_MAX, sizeof *layers);
    struct byre_disk disk = { .layers = layers, .layer_count = BYRE_LAYERS_MAX };
    struct byre_extent extent = {
        .goff = 8192,
        .length = 4096,
        .hoff = (1ULL << 56) - 4096,
        .layer = BYRE_LAYERS_MAX - 1,
        .kind = BYRE_EXTENT_DATA,
        .exclusive = true,
    }, back;
    uint64_t entry = 0;

    (void)state;
    assert_non_null(layers);
    layers[BYRE_LAYERS_MAX - 1].qcow2 = (struct byre_qcow2 *)&disk; /* anything but NULL */
    assert_int_equal(byre_flat_encode(&disk, &extent, 8192 + 512, NULL, &entry), 0);
    back = byre_flat_decode(&disk, entry, NULL, 8192 + 512);
    assert_int_equal(back.hoff, extent.hoff + 512);
    assert_int_equal(back.layer, extent.layer);
    assert_int_equal(back.kind, BYRE_EXTENT_DATA);
    assert_true(back.exclusive);
    /* A raw layer may be larger than any entry can tell. */
    layers[BYRE_LAYERS_MAX - 1].qcow2 = NULL;
    extent.goff = extent.hoff = 1ULL << 62;
    assert_int_equal(byre_flat_encode(&disk, &extent, extent.goff + 512, NULL, &entry), 0);
    back = byre_flat_decode(&disk, entry, NULL, extent.goff + 512);
    assert_int_equal(back.hoff, extent.goff + 512);
    free(layers);
}

static void entry_is_never_that_of_the_unknown(void **state)
{
    struct byre_layer layer = { 0 };
    struct byre_disk disk = { .layers = &layer, .layer_count = 1 };

    (void)state;
    for (int kind = BYRE_EXTENT_HOLE; kind <= BYRE_EXTENT_COMPRESSED; kind++) {
        struct byre_extent extent = { .length = 512, .kind = (enum byre_extent_kind)kind };
        struct byre_flat_side side = VEC_INIT;
        uint64_t entry = 0;

        assert_int_equal(byre_flat_encode(&disk, &extent, 0, &side, &entry), 0);
        assert_int_not_equal(entry, 0);
        assert_int_equal(byre_flat_decode(&disk, entry, &side, 0).kind, kind);
        vec_done(&side);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lookup_says_what_the_chain_says),
        TEST(map_stays_under_its_budget),
        TEST(subclusters_cost_memory_where_they_differ),
        TEST(chunks_that_may_be_looked_at_are_kept_within_bounds),
        TEST(lookup_of_what_is_known_reads_nothing),
        TEST(write_is_seen_at_once_where_another_layer_was_known),
        TEST(huge_change_reaches_every_chunk),
        TEST(fill_that_a_write_overtakes_is_not_kept),
        TEST(place_that_becomes_metadata_is_not_written_as_data),
        TEST(lookup_next_to_a_damaged_entry_succeeds),
        TEST(clusters_in_one_compressed_place_stay_apart),
        TEST(entry_holds_the_largest_offset_and_layer),
        TEST(entry_is_never_that_of_the_unknown),
    };

    return cmocka_run_group_tests_name("flat_map", tests, NULL, NULL);
}
