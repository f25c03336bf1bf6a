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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshot_fixed_fields_are_read),
        cmocka_unit_test(snapshot_extra_data_counts_only_where_it_is_there),
        cmocka_unit_test(snapshot_largest_lengths_do_not_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
