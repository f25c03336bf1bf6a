/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the header from a store: as much as its cluster has, in files of any length.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/endian.h"
#include "qcow2/header_read.h"
#include "store/memory.h"

static uint8_t buf[4 << 20];

/* A header whose backing name stands at the very end of its cluster. */
static void make_image(unsigned cluster_bits)
{
    struct byre_qcow2_header h = {
        .version = 3,
        .cluster_bits = cluster_bits,
        .size = 512,
        .l1_size = 1,
        .l1_hoff = 3ULL << cluster_bits,
        .reftable_hoff = 1ULL << cluster_bits,
        .reftable_clusters = 1,
        .refcount_order = 4,
        .header_length = 104,
    };
    size_t cluster = (size_t)1 << cluster_bits;

    memset(buf, 0, sizeof buf);
    assert_int_equal(byre_qcow2_header_serialize(&h, true, buf, cluster, NULL), 0);
    memcpy(buf + cluster - 8, "base.raw", 8);
    byre_put_be64(buf + 8, cluster - 8);
    byre_put_be32(buf + 16, 8);
}

static int read_from(size_t length, struct byre_qcow2_header *ret_header, struct byre_error *err)
{
    struct byre_store *store;
    int rc;

    assert_int_equal(byre_memory_new(buf, length, &store, NULL), 0);
    rc = byre_qcow2_header_read(store, ret_header, err);
    byre_store_close(store);
    return rc;
}

static void header_of_every_cluster_size_is_read_whole(void **state)
{
    (void)state;
    for (unsigned bits = 9; bits <= 21; bits++) {
        struct byre_qcow2_header h;
        struct byre_error err = BYRE_ERROR_INIT;

        make_image(bits);
        if (read_from((size_t)2 << bits, &h, &err) != 0)
            fail_msg("cluster_bits %u: %s", bits, err.text);
        assert_string_equal(h.backing_name, "base.raw");
        assert_int_equal(h.cluster_bits, bits);
        byre_qcow2_header_done(&h);
        /* The file may end with the cluster, and no sooner. */
        assert_int_equal(read_from((size_t)1 << bits, &h, NULL), 0);
        byre_qcow2_header_done(&h);
        assert_int_equal(read_from(((size_t)1 << bits) - 1, &h, &err), -EINVAL);
        assert_non_null(strstr(err.text, "cut short"));
    }
}

static void header_error_names_the_file(void **state)
{
    struct byre_qcow2_header h;
    struct byre_error err = BYRE_ERROR_INIT;

    (void)state;
    make_image(16);
    byre_put_be32(buf + 20, 63);
    assert_int_equal(read_from(65536, &h, &err), -EINVAL);
    assert_memory_equal(err.text, "Could not open '", 16);
    assert_non_null(strstr(err.text, "': Unsupported cluster size: 2^63"));
    for (size_t length = 0; length < 104; length++) {
        make_image(16);
        assert_int_equal(read_from(length, &h, &err), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_of_every_cluster_size_is_read_whole),
        cmocka_unit_test(header_error_names_the_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
