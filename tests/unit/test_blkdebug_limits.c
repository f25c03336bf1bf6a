/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fault-injecting store: its limits and options.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/blkdebug.h"
#include "store/null.h"
#include "strict_store.h"

enum { SIZE = 65536 };

static struct byre_blkdebug_options options;
static struct byre_store *store;

static int set_up(void **state)
{
    (void)state;
    memset(&options, 0, sizeof options);
    store = NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    byre_blkdebug_options_done(&options);
    byre_store_close(store);
    return 0;
}

/* Over a store that fails the test where a request is not within the same limits. */
static struct strict *make_over_strict(uint64_t size)
{
    struct byre_store_limits limits = {
        .align = 1, .request_align = (uint32_t)options.align, .max_transfer = (uint32_t)options.max_transfer,
        .max_write_zeroes = options.max_write_zero, .max_discard = options.max_discard,
        .zero_align = (uint32_t)MAX(options.opt_write_zero, 1ULL), .zero_on_grow = true,
        .discard_align = (uint32_t)MAX(options.opt_discard, 1ULL),
    };
    struct strict *strict = strict_new(&limits, size);
    struct byre_store_limits none = { .align = 1, .zero_align = 1, .discard_align = 1 };

    assert_int_equal(byre_blkdebug_new(&strict->store, &options, &store, NULL), 0);
    strict->store.limits = none; /* so that the wrappers below have nothing to mend */
    return strict;
}

static void blkdebug_limits_are_kept(void **state)
{
    static uint8_t bytes[50000];
    struct strict *strict;

    (void)state;
    options = (struct byre_blkdebug_options){
        .align = 512, .max_transfer = 4096, .opt_write_zero = 1024, .max_write_zero = 8192, .opt_discard = 2048,
        .max_discard = 4096,
    };
    strict = make_over_strict(SIZE);
    memset(bytes, 3, sizeof bytes);
    assert_int_equal(byre_store_pwrite(store, bytes, 9000, 512, NULL), 0);
    for (unsigned i = 0; i < strict->count; i++)
        assert_true(strict->calls[i].hoff % 512 == 0 && strict->calls[i].length % 512 == 0 &&
                    strict->calls[i].length <= 4096);
    strict->count = 0;
    assert_int_equal(byre_store_discard(store, 1000, 12000, NULL), 0);
    assert_int_equal(strict->count, 3); /* 2048 to 12288; the rest is too small */
    assert_int_equal(strict->calls[0].hoff, 2048);
    assert_int_equal(strict->calls[2].length, 2048);
    strict->count = 0;
    assert_int_equal(byre_store_write_zeroes(store, 1024, 20480, 0, NULL), 0);
    assert_int_equal(strict->count, 3);
    assert_int_equal(strict->calls[0].kind, 'z');
    assert_int_equal(strict->calls[0].length, 8192);
    strict->count = 0;
    assert_int_equal(byre_store_write_zeroes(store, 512, 1024, 0, NULL), 0); /* not what is preferred: written */
    assert_int_equal(strict->count, 2);
    assert_int_equal(strict->calls[0].kind, 'w');
    assert_int_equal(byre_store_pread(store, bytes, 1, 1535, NULL), 0);
    assert_int_equal(bytes[0], 0);
}

static void blkdebug_limits_that_do_not_go_together_are_refused(void **state)
{
    struct byre_store_limits limits = { .align = 1, .request_align = 4096, .zero_align = 1, .discard_align = 1 };
    struct strict *strict = strict_new(&limits, SIZE);
    struct byre_error err;

    (void)state;
    options.align = 3;
    assert_int_equal(byre_blkdebug_new(&strict->store, &options, &store, &err), -EINVAL);
    assert_string_equal(err.text, "Cannot meet constraints with align 3");
    options = (struct byre_blkdebug_options){ .align = 512, .max_transfer = 512 }; /* the store below wants more */
    assert_int_equal(byre_blkdebug_new(&strict->store, &options, &store, &err), -EINVAL);
    assert_string_equal(err.text, "Cannot meet constraints with max-transfer 512");
    options = (struct byre_blkdebug_options){ .align = 512 };
    assert_int_equal(byre_blkdebug_new(&strict->store, &options, &store, &err), 0);
    assert_int_equal(store->limits.request_align, 4096);
}

static void blkdebug_rules_without_an_event_are_refused(void **state)
{
    struct byre_store *below;
    struct byre_error err;

    (void)state;
    assert_int_equal(byre_memory_new(NULL, SIZE, &below, NULL), 0);
    assert_int_equal(vec_push(&options.inject, byre_inject_error_init()), 0);
    assert_int_equal(byre_blkdebug_new(below, &options, &store, &err), -EINVAL);
    assert_string_equal(err.text, "Missing event name for rule");
    byre_blkdebug_options_done(&options);
    assert_int_equal(vec_push(&options.states, (struct byre_set_state){ BYRE_EVENT_READ_AIO, 1, 0 }), 0);
    assert_int_equal(byre_blkdebug_new(below, &options, &store, &err), -EINVAL);
    assert_string_equal(err.text, "Missing new_state for rule of event 'read_aio'");
    byre_store_close(below);
}

/* The last bytes of a device that do not fill a block cannot be reached; a file grows. */
static void blkdebug_size_is_one_of_blocks_where_it_is_fixed(void **state)
{
    struct byre_store *below;
    uint64_t size;

    (void)state;
    options.align = 4096;
    assert_int_equal(byre_null_new(&(struct byre_null_options){ .size = 10000 }, &below, NULL), 0);
    assert_int_equal(byre_blkdebug_new(below, &options, &store, NULL), 0);
    assert_int_equal(byre_store_size(store, &size, NULL), 0);
    assert_int_equal(size, 8192);
    assert_int_equal(byre_store_pwrite(store, "a", 1, 8191, NULL), 0);
    assert_int_equal(byre_store_pwrite(store, "a", 1, 8192, NULL), -ENOSPC);
    byre_store_close(store);
    options.align = 1 << 17;
    assert_int_equal(byre_memory_new(NULL, SIZE, &below, NULL), 0);
    assert_int_equal(byre_blkdebug_new(below, &options, &store, NULL), 0);
    assert_int_equal(byre_store_size(store, &size, NULL), 0);
    assert_int_equal(size, SIZE);
    assert_int_equal(byre_store_pwrite(store, "a", 1, 0, NULL), 0);
    assert_int_equal(byre_store_size(store, &size, NULL), 0);
    assert_int_equal(size, 1 << 17);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(blkdebug_limits_are_kept),
        TEST(blkdebug_limits_that_do_not_go_together_are_refused),
        TEST(blkdebug_rules_without_an_event_are_refused),
        TEST(blkdebug_size_is_one_of_blocks_where_it_is_fixed),
    };

    return cmocka_run_group_tests_name("blkdebug_limits", tests, NULL, NULL);
}
