/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapping through chains: what each layer contributes, where layers end, and that only what is asked for is
 * read.  Real images, made with the library.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk/chain_map.h"
#include "disk_fixture.h"

#define K 1024ULL
#define M (1024 * K)

static byre_extent_vec found;

/* Maps into `found`, and checks what is always true: order, no gaps, neighbours that differ. */
static void map(struct byre_disk *disk, unsigned first_layer, uint64_t goff, uint64_t length)
{
    uint64_t at = goff;

    vec_done(&found);
    must(byre_disk_map(disk, first_layer, goff, length, &found, err));
    for (size_t i = 0; i < found.len; i++) {
        assert_int_equal(found.ptr[i].goff, at);
        assert_true(found.ptr[i].length > 0);
        at += found.ptr[i].length;
        if (i)
            assert_false(byre_extent_continues(&found.ptr[i - 1], &found.ptr[i]));
    }
    assert_int_equal(at, goff + length);
}

/* The extents of `found` in a short notation: kind, layer, '!' exclusive, '+' allocated, '$' at_eof, and the
 * length in K. */
static void expect_map(const char *wanted)
{
    static const char kinds[] = { 'h', 'z', 'd', 'c' };
    char text[2048];
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < found.len; i++) {
        const struct byre_extent *e = &found.ptr[i];

        used += (size_t)snprintf(text + used, sizeof text - used, "%s%c%u%s%s%s:%g", i ? " " : "",
                                 kinds[e->kind], e->layer, e->exclusive ? "!" : "", e->allocated ? "+" : "",
                                 e->at_eof ? "$" : "", (double)e->length / K);
    }
    assert_string_equal(text, wanted);
}

static void map_empty_image_is_one_hole(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("x"), 1ULL << 40, 65536, NULL, NULL);
    disk = open_disk(path("x"), false);
    map(disk, 0, 0, 1ULL << 40);
    expect_map("h0:1.07374e+09");
    map(disk, 0, 12345, 1);
    assert_int_equal(found.ptr[0].goff, 12345);
    map(disk, 0, 5, 0);
    assert_int_equal(found.len, 0);
    close_disk(disk);
}

static void map_appends_to_what_is_there(void **state)
{
    byre_extent_vec out = VEC_INIT;
    struct byre_disk *disk;

    (void)state;
    make_image(path("x"), 1 * M, 65536, NULL, NULL);
    disk = open_disk(path("x"), false);
    must(byre_disk_map(disk, 0, 0, 512, &out, err));
    must(byre_disk_map(disk, 0, 512, 512, &out, err));
    assert_int_equal(out.len, 2);
    assert_int_equal(out.ptr[1].goff, 512);
    vec_done(&out);
    close_disk(disk);
}

static void map_merges_data_only_where_it_is_in_one_piece(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("x"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("x"), true);
    put(disk, 0, 16 * K, 1);
    put(disk, 64 * K, 4 * K, 2);
    put(disk, 16 * K, 4 * K, 3);
    put(disk, 32 * K, 8 * K, 4);
    must(byre_write_zeroes(disk, 32 * K, 8 * K, BYRE_WRITE_ZEROES_UNMAP, err));
    map(disk, 0, 0, 1 * M);
    expect_map("d0!:16 d0!:4 h0:12 z0:8 h0:24 d0!:4 h0:956");
    map(disk, 0, 5 * K, 3 * K);
    expect_map("d0!:3");
    assert_int_equal(found.ptr[0].hoff % 4096, 1 * K);
    close_disk(disk);
}

static void map_shows_what_shines_through_the_holes(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("base"), 1 * M, 65536, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, 256 * K, 1);
    close_disk(disk);
    make_image(path("middle"), 1 * M, 4096, "base", "qcow2");
    disk = open_disk(path("middle"), true);
    put(disk, 100 * K, 8 * K, 2);
    must(byre_write_zeroes(disk, 200 * K, 4 * K, BYRE_WRITE_ZEROES_UNMAP, err));
    close_disk(disk);
    make_image(path("top"), 1 * M, 16384, "middle", "qcow2");
    disk = open_disk(path("top"), true);
    put(disk, 16 * K, 16 * K, 3);
    map(disk, 0, 0, 1 * M);
    expect_map("d2:16 d0!:16 d2:68 d1:8 d2:92 z1:4 d2:52 h2:768");
    map(disk, 1, 0, 200 * K);
    expect_map("d2:100 d1:8 d2:92");
    close_disk(disk);
}

static void map_past_a_shorter_layer_is_a_hole_of_the_one_above(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("l3"), 1 * M, 65536, NULL, NULL);
    make_image(path("l2"), 2 * M, 65536, "l3", "qcow2");
    make_image(path("l1"), 4 * M, 65536, "l2", "qcow2");
    make_image(path("l0"), 3 * M, 65536, "l1", "qcow2");
    disk = open_disk(path("l0"), false);
    map(disk, 0, 0, 3 * M);
    expect_map("h3:1024 h2$:1024 h1$:1024");
    map(disk, 1, 0, 3 * M);
    expect_map("h3:1024 h2$:1024 h1$:1024");
    close_disk(disk);
}

/* A longer layer under a short one must not shine through past the end of the short one. */
static void map_does_not_look_below_the_end_of_a_layer(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("long"), 1 * M, 65536, NULL, NULL);
    disk = open_disk(path("long"), true);
    put(disk, 0, 1 * M, 7);
    close_disk(disk);
    make_image(path("short"), 100 * K + 512, 65536, "long", "qcow2");
    make_image(path("top"), 1 * M, 4096, "short", "qcow2");
    disk = open_disk(path("top"), false);
    map(disk, 0, 0, 1 * M);
    expect_map("d2:100.5 h0$:923.5");
    expect(disk, 0, 100 * K + 512, 7);
    expect(disk, 100 * K + 512, 900 * K, 0);
    close_disk(disk);
}

static void map_raw_layer_has_data_and_allocated_zeros(void **state)
{
    struct byre_disk *disk;
    FILE *f;

    (void)state;
    f = fopen(path("raw"), "wb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 64 * K, SEEK_SET), 0);
    for (unsigned i = 0; i < 64 * K; i++)
        assert_int_equal(fputc('x', f), 'x');
    assert_int_equal(fclose(f), 0);
    assert_int_equal(truncate(path("raw"), 256 * K + 100), 0);
    disk = open_disk(path("raw"), false);
    map(disk, 0, 0, byre_get_size(disk));
    expect_map("z0+:64 d0!:64 z0+:128.5");
    assert_int_equal(found.ptr[1].hoff, 64 * K);
    assert_int_equal(found.ptr[2].hoff, 128 * K);
    close_disk(disk);
    make_image(path("top"), 1 * M, 65536, "raw", "raw");
    disk = open_disk(path("top"), false);
    map(disk, 0, 0, 1 * M);
    expect_map("z1+:64 d1:64 z1+:128.5 h0$:767.5");
    close_disk(disk);
}

static void map_compressed_clusters_stay_apart(void **state)
{
    struct byre_disk *disk;
    uint8_t cluster[4096];

    (void)state;
    memset(cluster, 9, sizeof cluster);
    make_image(path("base"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("base"), true);
    for (uint64_t i = 0; i < 3; i++)
        put_compressed(disk, i * 4096, cluster);
    map(disk, 0, 0, 16 * K);
    expect_map("c0:4 c0:4 c0:4 h0:4");
    assert_true(found.ptr[0].stored > 0);
    close_disk(disk);
    make_image(path("top"), 1 * M, 512, "base", "qcow2");
    disk = open_disk(path("top"), true);
    put(disk, 5 * K, 512, 1);
    map(disk, 0, 0, 16 * K);
    expect_map("c1:4 c1:1 d0!:0.5 c1:2.5 c1:4 h1:4");
    /* Parts of one cluster are all found in the same place. */
    assert_int_equal(found.ptr[1].hoff, found.ptr[3].hoff);
    close_disk(disk);
}

/* Where the top has everything, the tables below are not read. */
static void map_reads_lower_tables_only_under_holes(void **state)
{
    struct byre_disk *disk;

    (void)state;
    make_image(path("base"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, 1 * M, 1);
    close_disk(disk);
    make_image(path("top"), 1 * M, 4096, "base", "qcow2");
    disk = open_disk(path("top"), true);
    put(disk, 0, 512 * K, 2);
    close_disk(disk);
    disk = open_disk(path("top"), false);
    watch(disk->layers[1].store);
    map(disk, 0, 0, 512 * K);
    assert_int_equal(watched.reads, 0);
    map(disk, 0, 0, 1 * M);
    assert_true(watched.reads > 0);
    unwatch();
    close_disk(disk);
}

static void map_tells_what_it_cannot_read(void **state)
{
    struct byre_error err = BYRE_ERROR_INIT;
    byre_extent_vec out = VEC_INIT;
    struct byre_disk *disk;

    (void)state;
    make_image(path("base"), 1 * M, 4096, NULL, NULL);
    disk = open_disk(path("base"), true);
    put(disk, 0, 4096, 1);
    close_disk(disk);
    make_image(path("top"), 1 * M, 4096, "base", "qcow2");
    disk = open_disk(path("top"), false);
    watch(disk->layers[1].store);
    watched.fail_read = -EIO;
    assert_int_equal(byre_disk_map(disk, 0, 0, 4096, &out, &err), -EIO);
    assert_int_equal(out.len, 0);
    assert_non_null(strstr(err.text, path("base")));
    unwatch();
    must(byre_disk_map(disk, 0, 0, 4096, &out, err));
    vec_done(&out);
    close_disk(disk);
}

static int release(void **state)
{
    (void)state;
    vec_done(&found);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(map_empty_image_is_one_hole),
        TEST(map_appends_to_what_is_there),
        TEST(map_merges_data_only_where_it_is_in_one_piece),
        TEST(map_shows_what_shines_through_the_holes),
        TEST(map_past_a_shorter_layer_is_a_hole_of_the_one_above),
        TEST(map_does_not_look_below_the_end_of_a_layer),
        TEST(map_raw_layer_has_data_and_allocated_zeros),
        TEST(map_compressed_clusters_stay_apart),
        TEST(map_reads_lower_tables_only_under_holes),
        TEST(map_tells_what_it_cannot_read),
    };

    return cmocka_run_group_tests_name("chain_map", tests, NULL, release);
}
