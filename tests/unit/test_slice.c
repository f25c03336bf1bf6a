/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The slice store: where its bytes are, and that it leaves all others alone.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/zero.h"
#include "store/memory.h"
#include "store/slice.h"

#define SIZE 4096u

/* A store of `SIZE` bytes, each of them `byte`. */
static struct byre_store *new_below(int byte)
{
    struct byre_store *store = NULL;
    uint8_t bytes[SIZE];

    memset(bytes, byte, sizeof bytes);
    assert_int_equal(byre_memory_new(bytes, SIZE, &store, NULL), 0);
    return store;
}

static void slice_of_a_size_hides_what_follows(void **state)
{
    struct byre_store *below = new_below('b'), *slice;
    uint8_t buf[2048];
    uint64_t size, length;
    bool hole;

    (void)state;
    assert_int_equal(byre_slice_new(below, 512, 1024, &slice, NULL), 0);
    assert_int_equal(byre_store_size(slice, &size, NULL), 0);
    assert_int_equal(size, 1024);
    assert_int_equal(byre_store_pread(slice, buf, sizeof buf, 0, NULL), 0);
    assert_int_equal(buf[1023], 'b');
    assert_true(byre_is_zero(buf + 1024, 1024));
    assert_int_equal(byre_store_extent(slice, 0, &length, &hole, NULL), 0);
    assert_int_equal(length, 1024);
    byre_store_close(slice);
}

static void slice_writes_within_itself_only(void **state)
{
    struct byre_store *below = new_below('b'), *slice;
    const uint8_t *bytes;
    uint64_t length;

    (void)state;
    assert_int_equal(byre_slice_new(below, 512, 1024, &slice, NULL), 0);
    assert_int_equal(byre_store_pwrite(slice, "xyz", 3, 1021, NULL), 0);
    assert_int_equal(byre_store_pwrite(slice, "xyz", 3, 1022, NULL), -ENOSPC);
    assert_int_equal(byre_store_write_zeroes(slice, 0, 512, 0, NULL), 0);
    assert_int_equal(byre_store_write_zeroes(slice, 512, 1024, 0, NULL), -ENOSPC);
    assert_int_equal(byre_store_truncate(slice, 2048, NULL), -ENOSPC);
    bytes = byre_memory_bytes(below, &length);
    assert_int_equal(length, SIZE);
    assert_int_equal(bytes[511], 'b');
    assert_true(byre_is_zero(bytes + 512, 512));
    assert_memory_equal(bytes + 512 + 1020, "bxyzb", 5);
    byre_store_close(slice);
}

static void slice_to_the_end_grows_with_what_is_below(void **state)
{
    struct byre_store *below = new_below('b'), *slice;
    uint64_t size;

    (void)state;
    assert_int_equal(byre_slice_new(below, 1000, BYRE_SLICE_TO_END, &slice, NULL), 0);
    assert_int_equal(byre_store_size(slice, &size, NULL), 0);
    assert_int_equal(size, SIZE - 1000);
    assert_int_equal(byre_store_pwrite(slice, "x", 1, SIZE, NULL), 0);
    assert_int_equal(byre_store_size(below, &size, NULL), 0);
    assert_int_equal(size, SIZE + 1001);
    assert_int_equal(byre_store_truncate(slice, 24, NULL), 0);
    assert_int_equal(byre_store_size(below, &size, NULL), 0);
    assert_int_equal(size, 1024);
    byre_store_close(slice);
}

static void slice_that_does_not_fit_is_refused(void **state)
{
    struct byre_store *below = new_below('b'), *slice = NULL;
    struct byre_error err;

    (void)state;
    assert_int_equal(byre_slice_new(below, SIZE + 1, BYRE_SLICE_TO_END, &slice, &err), -EINVAL);
    assert_string_equal(err.text, "Offset (4097) cannot be greater than size of the containing file (4096)");
    assert_int_equal(byre_slice_new(below, 512, UINT64_MAX - 512, &slice, &err), -EINVAL);
    assert_int_equal(byre_slice_new(below, 512, SIZE - 511, &slice, &err), -EINVAL);
    assert_null(slice);
    byre_store_close(below);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slice_of_a_size_hides_what_follows),
        cmocka_unit_test(slice_writes_within_itself_only),
        cmocka_unit_test(slice_to_the_end_grows_with_what_is_below),
        cmocka_unit_test(slice_that_does_not_fit_is_refused),
    };

    return cmocka_run_group_tests_name("slice", tests, NULL, NULL);
}
