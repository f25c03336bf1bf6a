/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshot table entries, with as much extra data as different writers store.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/endian.h"
#include "qcow2/fmt_snapshot.h"

static void make_head(uint8_t head[BYRE_QCOW2_SNAPSHOT_HEAD], uint32_t extra)
{
    memset(head, 0, BYRE_QCOW2_SNAPSHOT_HEAD);
    byre_put_be64(head, 0x50000);
    byre_put_be32(head + 8, 7);
    byre_put_be16(head + 12, 1);
    byre_put_be16(head + 14, 4);
    byre_put_be32(head + 16, 1700000000);
    byre_put_be32(head + 20, 999999999);
    byre_put_be64(head + 24, 123456789012345);
    byre_put_be32(head + 32, 4096);
    byre_put_be32(head + 36, extra);
    byre_put_be64(head + 40, 1ULL << 33);
    byre_put_be64(head + 48, 2ULL << 30);
    byre_put_be64(head + 56, 42);
}

static void snapshot_fixed_fields_are_read(void **state)
{
    uint8_t head[BYRE_QCOW2_SNAPSHOT_HEAD];
    struct byre_qcow2_snapshot s;

    (void)state;
    make_head(head, 0);
    byre_qcow2_snapshot_decode(head, 1 << 20, &s);
    assert_int_equal(s.l1_hoff, 0x50000);
    assert_int_equal(s.l1_size, 7);
    assert_int_equal(s.date_sec, 1700000000);
    assert_int_equal(s.date_nsec, 999999999);
    assert_int_equal(s.vm_clock_nsec, 123456789012345);
    assert_int_equal(s.vm_state_size, 4096);
    assert_int_equal(s.disk_size, 1 << 20);
    assert_int_equal(s.icount, UINT64_MAX);
    assert_int_equal(byre_qcow2_snapshot_id_at(&s), 40);
    assert_int_equal(byre_qcow2_snapshot_length(&s), 48);
}

static void snapshot_extra_data_counts_only_where_it_is_there(void **state)
{
    uint8_t head[BYRE_QCOW2_SNAPSHOT_HEAD];
    struct byre_qcow2_snapshot s;

    (void)state;
    make_head(head, 15);
    byre_qcow2_snapshot_decode(head, 1 << 20, &s);
    assert_int_equal(s.vm_state_size, 1ULL << 33);
    assert_int_equal(s.disk_size, 1 << 20);
    make_head(head, 16);
    byre_qcow2_snapshot_decode(head, 1 << 20, &s);
    assert_int_equal(s.disk_size, 2ULL << 30);
    assert_int_equal(s.icount, UINT64_MAX);
    make_head(head, 24);
    byre_qcow2_snapshot_decode(head, 1 << 20, &s);
    assert_int_equal(s.icount, 42);
    assert_int_equal(byre_qcow2_snapshot_id_at(&s), 64);
    assert_int_equal(byre_qcow2_snapshot_length(&s), 72);
}

static void snapshot_largest_lengths_do_not_wrap(void **state)
{
    uint8_t head[BYRE_QCOW2_SNAPSHOT_HEAD];
    struct byre_qcow2_snapshot s;

    (void)state;
    make_head(head, UINT32_MAX);
    byre_put_be32(head + 12, UINT32_MAX);
    byre_qcow2_snapshot_decode(head, 0, &s);
    assert_int_equal(byre_qcow2_snapshot_length(&s), (40 + 0xffffffffULL + 2 * 0xffff + 7) & ~7ULL);
}

/* Whatever is decoded is encoded as it was, with what is not known of the extra data. */
static void snapshot_is_encoded_as_it_was(void **state)
{
    static const uint32_t lengths[] = { 0, 7, 8, 16, 20, 24, 40 };
    uint8_t bytes[104], again[104];
    struct byre_qcow2_snapshot s;

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint32_t extra = lengths[i];

        memset(bytes, 0xab, sizeof bytes);
        make_head(bytes, extra);
        byre_put_be32(bytes + 32, extra < 8 ? 4096 : 0); /* a size of 64 bits stands in the extra data */
        memset(again, 0xee, sizeof again);
        byre_qcow2_snapshot_decode(bytes, 1 << 20, &s);
        byre_qcow2_snapshot_encode(&s, bytes + 40, again);
        assert_memory_equal(bytes, again, 40 + extra);
        assert_int_equal(again[40 + extra], 0xee);
    }
}

static void snapshot_new_extra_data_is_zero_behind_what_is_known(void **state)
{
    const struct byre_qcow2_snapshot s = { .extra_length = 32, .vm_state_size = 5, .disk_size = 6, .icount = 7 };
    uint8_t bytes[72];

    (void)state;
    memset(bytes, 0xee, sizeof bytes);
    byre_qcow2_snapshot_encode(&s, NULL, bytes);
    assert_int_equal(byre_get_be32(bytes + 32), 5);
    assert_int_equal(byre_get_be64(bytes + 40), 5);
    assert_int_equal(byre_get_be64(bytes + 48), 6);
    assert_int_equal(byre_get_be64(bytes + 56), 7);
    assert_int_equal(byre_get_be64(bytes + 64), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshot_fixed_fields_are_read),
        cmocka_unit_test(snapshot_extra_data_counts_only_where_it_is_there),
        cmocka_unit_test(snapshot_largest_lengths_do_not_wrap),
        cmocka_unit_test(snapshot_is_encoded_as_it_was),
        cmocka_unit_test(snapshot_new_extra_data_is_zero_behind_what_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
