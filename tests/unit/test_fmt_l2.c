/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * L2 entries: kinds, offsets, and compressed cluster descriptors at every cluster size.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/arith.h"
#include "qcow2/fmt_l2.h"

static void entry_kind_follows_flags_and_version(void **state)
{
    static const struct {
        uint64_t entry;
        unsigned version;
        enum byre_cluster_kind kind;
    } cases[] = {
        { 0, 2, BYRE_CLUSTER_UNALLOCATED },
        { 0, 3, BYRE_CLUSTER_UNALLOCATED },
        { 1, 3, BYRE_CLUSTER_ZERO_PLAIN },
        { 1, 2, BYRE_CLUSTER_UNALLOCATED },
        { 0x8000000000050000, 3, BYRE_CLUSTER_DATA },
        { 0x50000, 2, BYRE_CLUSTER_DATA },
        { 0x8000000000050001, 3, BYRE_CLUSTER_ZERO_ALLOCATED },
        { 0x8000000000050001, 2, BYRE_CLUSTER_DATA },
        { 0x4000000000050001, 3, BYRE_CLUSTER_COMPRESSED },
        { 0x4000000000000000, 2, BYRE_CLUSTER_COMPRESSED },
        { 0xc000000000050001, 3, BYRE_CLUSTER_COMPRESSED },
        { 0x3f000000000001fe, 3, BYRE_CLUSTER_UNALLOCATED }, /* reserved bits are not an offset */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(byre_l2_kind(cases[i].entry, cases[i].version), cases[i].kind);
}

static void entry_masks_cover_every_bit_once(void **state)
{
    (void)state;
    assert_int_equal(BYRE_L2_COPIED | BYRE_L2_COMPRESSED | BYRE_L2_RESERVED_MASK | BYRE_L2_OFFSET_MASK |
                     BYRE_L2_ZERO, UINT64_MAX);
    assert_int_equal(BYRE_L2_RESERVED_MASK & (BYRE_L2_OFFSET_MASK | BYRE_L2_ZERO | BYRE_L2_COMPRESSED), 0);
    assert_int_equal(BYRE_L2_COPIED | BYRE_L1_RESERVED_MASK | BYRE_L1_OFFSET_MASK, UINT64_MAX);
    assert_int_equal(BYRE_L1_RESERVED_MASK & BYRE_L1_OFFSET_MASK, 0);
    assert_int_equal(byre_l2_offset(0xffffffffffffffff), 0x00fffffffffffe00);
}

static void subclusters_are_what_flags_and_bitmap_say(void **state)
{
    static const struct {
        struct byre_l2_entry entry;
        unsigned version;
        bool extended;
        enum byre_l2_place place;
        struct byre_subclusters are;
    } cases[] = {
        { { 0, 0 }, 3, false, BYRE_PLACE_NONE, { 0, 0 } },
        { { 1, 0 }, 3, false, BYRE_PLACE_NONE, { 0, 1 } },
        { { 1, 0 }, 2, false, BYRE_PLACE_NONE, { 0, 0 } },
        { { 0x8000000000050000, 0 }, 3, false, BYRE_PLACE_CLUSTER, { 1, 0 } },
        { { 0x8000000000050001, 0 }, 3, false, BYRE_PLACE_CLUSTER, { 0, 1 } },
        { { 0x8000000000050001, 0 }, 2, false, BYRE_PLACE_CLUSTER, { 1, 0 } },
        { { 0x4000000000050001, 0 }, 3, false, BYRE_PLACE_COMPRESSED, { 1, 0 } },
        { { 0, 0 }, 3, true, BYRE_PLACE_NONE, { 0, 0 } },
        { { 1, 0 }, 3, true, BYRE_PLACE_NONE, { 0, 0 } }, /* no flag there */
        { { 0, 0x8000000100000000 }, 3, true, BYRE_PLACE_NONE, { 0, 0x80000001 } },
        { { 0x8000000000050001, 0x00f000008000000f }, 3, true, BYRE_PLACE_CLUSTER, { 0x8000000f, 0x00f00000 } },
        { { 0x8000000000050000, 0 }, 3, true, BYRE_PLACE_CLUSTER, { 0, 0 } },
        { { 0x4000000000050001, 3 }, 3, true, BYRE_PLACE_COMPRESSED, { 0xffffffff, 0 } },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct byre_subclusters found = byre_l2_subclusters(cases[i].entry, cases[i].version, cases[i].extended);

        assert_int_equal(byre_l2_place(cases[i].entry), cases[i].place);
        assert_int_equal(found.data, cases[i].are.data);
        assert_int_equal(found.zero, cases[i].are.zero);
    }
}

static void entry_is_what_it_was_made_of(void **state)
{
    uint8_t bytes[16];
    struct byre_l2_entry entry = byre_l2_standard_entry(0x50000, true, (struct byre_subclusters){ 6, 1 }, 3, true);

    (void)state;
    assert_int_equal(entry.word, 0x8000000000050000);
    assert_int_equal(entry.bitmap, 0x0000000100000006);
    byre_l2_entry_store(bytes, true, entry);
    assert_int_equal(bytes[0], 0x80);
    assert_int_equal(bytes[15], 6);
    assert_true(byre_l2_entry_equal(byre_l2_entry_load(bytes, true), entry));
    assert_int_equal(byre_l2_entry_load(bytes, false).bitmap, 0);
    entry = byre_l2_standard_entry(0, false, (struct byre_subclusters){ 0, 1 }, 3, false);
    assert_int_equal(entry.word, 1);
    entry = byre_l2_standard_entry(0, false, (struct byre_subclusters){ 0, 1 }, 2, false);
    assert_int_equal(entry.word, 0);
}

/* Worked by hand from the specification: x = 62 - (cluster_bits - 8). */
static void compressed_descriptor_matches_the_format(void **state)
{
    (void)state;
    /* 64 KiB: x is 54; bytes 0x50100 to 0x50500 touch the sectors at 0x50000, 0x50200 and 0x50400. */
    assert_int_equal(byre_l2_compressed_entry(0x50100, 0x400, 16), 0x4000000000050100 | 2ULL << 54);
    /* Ends with a sector: no further one. */
    assert_int_equal(byre_l2_compressed_entry(0x50100, 0x100, 16), 0x4000000000050100);
    assert_int_equal(byre_l2_compressed_entry(0x50100, 0x101, 16), 0x4000000000050100 | 1ULL << 54);
    /* 2 MiB: x is 49; 512 bytes: x is 61. */
    assert_int_equal(byre_l2_compressed_entry(0x200000, 0x1fffff, 21), 0x4000000000200000 | 4095ULL << 49);
    assert_int_equal(byre_l2_compressed_entry(0x7ff, 511, 9), 0x40000000000007ff | 1ULL << 61);
    assert_int_equal(byre_l2_compressed_stored(0x4000000000050100 | 2ULL << 54, 16), 0x600 - 0x100);
    assert_int_equal(byre_l2_compressed_stored(0x4000000000050000, 16), 512);
    /* Bits 56 and up are no offset, though the field of small clusters is wider. */
    assert_int_equal(byre_l2_compressed_offset(0x5f00000000000200, 9), 0x200);
}

static void compressed_random_descriptors_come_back(void **state)
{
    unsigned seed = 99173;

    (void)state;
    print_message("seed %u\n", seed);
    srandom(seed);
    for (unsigned bits = 9; bits <= 21; bits++) {
        unsigned offset_bits = MIN(byre_l2_compressed_shift(bits), 56u);

        for (int turn = 0; turn < 2000; turn++) {
            uint64_t hoff = ((uint64_t)random() << 31 | (uint64_t)random()) & ((1ULL << offset_bits) - 1);
            uint32_t length = 1 + (uint32_t)random() % ((1u << bits) - 1);
            uint64_t entry = byre_l2_compressed_entry(hoff, length, bits);
            uint32_t stored = byre_l2_compressed_stored(entry, bits);

            assert_int_equal(byre_l2_kind(entry, 3), BYRE_CLUSTER_COMPRESSED);
            assert_int_equal(entry & BYRE_L2_COPIED, 0);
            assert_int_equal(byre_l2_compressed_offset(entry, bits), hoff);
            assert_in_range(stored, length, length + 511);
            assert_int_equal((hoff + stored) % 512, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_kind_follows_flags_and_version),
        cmocka_unit_test(subclusters_are_what_flags_and_bitmap_say),
        cmocka_unit_test(entry_is_what_it_was_made_of),
        cmocka_unit_test(entry_masks_cover_every_bit_once),
        cmocka_unit_test(compressed_descriptor_matches_the_format),
        cmocka_unit_test(compressed_random_descriptors_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
