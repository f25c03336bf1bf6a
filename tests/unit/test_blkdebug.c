/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fault-injecting store: rules, states, break points.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/blkdebug.h"
#include "store/memory.h"
#include "store/null.h"

enum { SIZE = 65536, THREADS = 4, ROUNDS = 500 };

static struct byre_blkdebug_options options;
static struct byre_store *store;

/* --- helpers -------------------------------------------------------------------------------------------- */

static struct byre_inject_error rule_of(enum byre_event event, int code)
{
    struct byre_inject_error rule = byre_inject_error_init();

    rule.event = event;
    rule.code = code;
    return rule;
}

static void add_rule(struct byre_inject_error rule)
{
    assert_int_equal(vec_push(&options.inject, rule), 0);
}

static void add_state(enum byre_event event, int state, int new_state)
{
    assert_int_equal(vec_push(&options.states, (struct byre_set_state){ event, state, new_state }), 0);
}

/* Makes the store, over one in memory; the options are done with. */
static void make(void)
{
    struct byre_store *below;

    assert_int_equal(byre_memory_new(NULL, SIZE, &below, NULL), 0);
    assert_int_equal(byre_blkdebug_new(below, &options, &store, NULL), 0);
    byre_blkdebug_options_done(&options);
}

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

static int read_at(uint64_t hoff)
{
    uint8_t bytes[512];

    return byre_store_pread(store, bytes, sizeof bytes, hoff, NULL);
}

static int write_at(uint64_t hoff)
{
    uint8_t bytes[512] = { 0 };

    return byre_store_pwrite(store, bytes, sizeof bytes, hoff, NULL);
}

/* A read that its disk has announced. */
static int read_aio(uint64_t hoff)
{
    byre_store_event(store, BYRE_EVENT_READ_AIO);
    return read_at(hoff);
}

/* --- errors --------------------------------------------------------------------------------------------- */

static void blkdebug_without_rules_passes_everything_on(void **state)
{
    uint8_t bytes[5] = "";
    uint64_t size, length;
    bool hole;

    (void)state;
    make();
    assert_string_equal(store->ops->kind, "blkdebug");
    assert_string_equal(store->name, "memory");
    assert_int_equal(byre_store_pwrite(store, "text", 5, 100, NULL), 0);
    assert_int_equal(byre_store_pread(store, bytes, 5, 100, NULL), 0);
    assert_string_equal((char *)bytes, "text");
    assert_int_equal(byre_store_write_zeroes(store, 100, 2, 0, NULL), 0);
    assert_int_equal(byre_store_pread(store, bytes, 5, 100, NULL), 0);
    assert_memory_equal(bytes, "\0\0xt", 5);
    assert_int_equal(byre_store_discard(store, 0, 512, NULL), 0);
    assert_int_equal(byre_store_allocate(store, SIZE, 512, NULL), 0);
    assert_int_equal(byre_store_size(store, &size, NULL), 0);
    assert_int_equal(size, SIZE + 512);
    assert_int_equal(byre_store_truncate(store, SIZE, NULL), 0);
    assert_int_equal(byre_store_extent(store, 0, &length, &hole, NULL), 0);
    assert_int_equal(length, SIZE);
    assert_int_equal(byre_store_allocated_size(store, &size, NULL), 0);
    assert_int_equal(size, UINT64_MAX); /* as QEMU has it */
    assert_int_equal(byre_store_flush(store, NULL), 0);
}

static void blkdebug_error_lasts_from_its_event_on(void **state)
{
    (void)state;
    add_rule(rule_of(BYRE_EVENT_READ_AIO, -ENOSPC));
    make();
    assert_int_equal(read_at(0), 0);
    assert_int_equal(read_aio(0), -ENOSPC);
    assert_int_equal(write_at(0), -ENOSPC);
    byre_store_event(store, BYRE_EVENT_WRITE_AIO); /* has no errors of its own */
    assert_int_equal(byre_store_flush(store, NULL), -ENOSPC);
}

static void blkdebug_errors_of_the_next_event_replace_those_before(void **state)
{
    struct byre_inject_error second = rule_of(BYRE_EVENT_WRITE_AIO, -EIO);

    (void)state;
    second.once = true;
    add_rule(rule_of(BYRE_EVENT_READ_AIO, -ENOSPC));
    add_rule(second);
    make();
    assert_int_equal(read_aio(0), -ENOSPC);
    byre_store_event(store, BYRE_EVENT_WRITE_AIO);
    assert_int_equal(write_at(0), -EIO);
    assert_int_equal(write_at(0), 0);
}

static void blkdebug_error_for_once_is_spent_for_ever(void **state)
{
    struct byre_inject_error first = rule_of(BYRE_EVENT_READ_AIO, -ENOSPC), second = first;

    (void)state;
    first.once = second.once = true;
    second.code = -EIO;
    add_rule(first);
    add_rule(second);
    make();
    assert_int_equal(read_aio(0), -ENOSPC);
    assert_int_equal(read_aio(0), -EIO);
    assert_int_equal(read_aio(0), 0);
}

static void blkdebug_event_none_is_the_beginning(void **state)
{
    struct byre_inject_error rule = rule_of(BYRE_EVENT_NONE, -EACCES), other = rule_of(BYRE_EVENT_READ_AIO, -EIO);

    (void)state;
    rule.iotypes = BYRE_IOTYPE_WRITE;
    other.once = true;
    add_rule(rule);
    add_rule(other);
    make();
    assert_int_equal(write_at(0), -EACCES);
    assert_int_equal(read_at(0), 0);
    assert_int_equal(read_aio(0), -EIO);
    assert_int_equal(write_at(0), 0);
}

static void blkdebug_sector_must_be_in_the_request(void **state)
{
    struct byre_inject_error rule = rule_of(BYRE_EVENT_NONE, -EIO);

    (void)state;
    rule.sector = 8;
    add_rule(rule);
    make();
    assert_int_equal(read_at(7 * 512), 0);
    assert_int_equal(read_at(7 * 512 + 1), -EIO); /* its first byte */
    assert_int_equal(read_at(8 * 512), -EIO);
    assert_int_equal(read_at(8 * 512 + 1), 0);
    assert_int_equal(byre_store_discard(store, 0, SIZE, NULL), -EIO);
    assert_int_equal(byre_store_flush(store, NULL), 0); /* is not about sectors */
}

static int request_of(enum byre_iotype iotype)
{
    uint64_t length;
    bool hole;

    switch (iotype) {
    case BYRE_IOTYPE_READ: return read_at(0);
    case BYRE_IOTYPE_WRITE: return write_at(0);
    case BYRE_IOTYPE_WRITE_ZEROES: return byre_store_write_zeroes(store, 0, 512, 0, NULL);
    case BYRE_IOTYPE_DISCARD: return byre_store_discard(store, 0, 512, NULL);
    case BYRE_IOTYPE_FLUSH: return byre_store_flush(store, NULL);
    case BYRE_IOTYPE_BLOCK_STATUS: return byre_store_extent(store, 0, &length, &hole, NULL);
    }
    return 0;
}

static void blkdebug_iotype_limits_an_error_to_its_kind(void **state)
{
    (void)state;
    for (unsigned iotype = BYRE_IOTYPE_READ; iotype <= BYRE_IOTYPE_BLOCK_STATUS; iotype *= 2) {
        struct byre_inject_error rule = rule_of(BYRE_EVENT_NONE, -EPIPE);

        rule.iotypes = iotype;
        add_rule(rule);
        make();
        for (unsigned tried = BYRE_IOTYPE_READ; tried <= BYRE_IOTYPE_BLOCK_STATUS; tried *= 2)
            assert_int_equal(request_of(tried), tried == iotype ? -EPIPE : 0);
        byre_store_close(store);
        store = NULL;
    }
}

static void blkdebug_error_by_default_spares_block_status(void **state)
{
    (void)state;
    add_rule(rule_of(BYRE_EVENT_NONE, -EIO));
    make();
    for (unsigned tried = BYRE_IOTYPE_READ; tried <= BYRE_IOTYPE_FLUSH; tried *= 2)
        assert_int_equal(request_of(tried), -EIO);
    assert_int_equal(request_of(BYRE_IOTYPE_BLOCK_STATUS), 0);
    assert_int_equal(byre_store_allocate(store, 0, 512, NULL), -EIO);
}

static void blkdebug_request_that_fails_does_nothing(void **state)
{
    struct byre_inject_error rule = rule_of(BYRE_EVENT_WRITE_AIO, -EIO);
    uint8_t byte = 0;

    (void)state;
    rule.once = true;
    add_rule(rule);
    make();
    assert_int_equal(byre_store_pwrite(store, "a", 1, 9, NULL), 0);
    byre_store_event(store, BYRE_EVENT_WRITE_AIO);
    assert_int_equal(byre_store_pwrite(store, "b", 1, 9, NULL), -EIO);
    assert_int_equal(byre_store_pread(store, &byte, 1, 9, NULL), 0);
    assert_int_equal(byte, 'a');
}

static void blkdebug_states_lead_to_the_third_request(void **state)
{
    struct byre_inject_error rule = rule_of(BYRE_EVENT_READ_AIO, -ENOSPC);

    (void)state;
    rule.state = 3;
    add_state(BYRE_EVENT_READ_AIO, 1, 2);
    add_state(BYRE_EVENT_READ_AIO, 2, 3);
    add_rule(rule);
    make();
    assert_int_equal(read_aio(0), 0);
    assert_int_equal(read_aio(0), 0);
    assert_int_equal(read_aio(0), -ENOSPC);
}

static void blkdebug_state_changes_at_the_beginning_and_in_any_state(void **state)
{
    struct byre_inject_error rule = rule_of(BYRE_EVENT_READ_AIO, -EIO);

    (void)state;
    rule.state = 7;
    rule.once = true;
    add_state(BYRE_EVENT_NONE, 0, 6);
    add_state(BYRE_EVENT_WRITE_AIO, 0, 7);
    add_rule(rule);
    make();
    assert_int_equal(read_aio(0), 0);
    byre_store_event(store, BYRE_EVENT_WRITE_AIO);
    assert_int_equal(read_aio(0), -EIO);
}

static void blkdebug_immediately_fails_as_well(void **state)
{
    struct byre_inject_error rule = rule_of(BYRE_EVENT_READ_AIO, -ENOSPC);

    (void)state;
    rule.immediately = true;
    add_rule(rule);
    make();
    assert_int_equal(read_aio(0), -ENOSPC);
}

static void *read_often(void *opaque)
{
    uintptr_t failed = 0;

    (void)opaque;
    for (int i = 0; i < ROUNDS; i++)
        failed += read_aio(0) == -EIO;
    return (void *)failed;
}

static void blkdebug_once_is_once_for_all_threads(void **state)
{
    struct byre_inject_error rule = rule_of(BYRE_EVENT_READ_AIO, -EIO);
    pthread_t threads[THREADS];
    uintptr_t failed = 0;

    (void)state;
    rule.once = true;
    for (int i = 0; i < 10; i++)
        add_rule(rule);
    make();
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_often, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        void *count;

        pthread_join(threads[i], &count);
        failed += (uintptr_t)count;
    }
    assert_int_equal(failed, 10);
}

/* --- break points --------------------------------------------------------------------------------------- */

static char seen[200];

static void watch(void *opaque, const char *tag, bool suspended)
{
    (void)opaque;
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%c%s ", suspended ? '+' : '-', tag);
}

static void *read_once(void *opaque)
{
    return (void *)(uintptr_t)(read_aio((uintptr_t)opaque) != 0);
}

static pthread_t start_reader(void)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, read_once, NULL), 0);
    return thread;
}

static void join(pthread_t thread)
{
    void *failed;

    pthread_join(thread, &failed);
    assert_null(failed);
}

static void break_suspends_until_resumed(void **state)
{
    pthread_t reader;

    (void)state;
    make();
    seen[0] = '\0';
    assert_int_equal(byre_blkdebug_set_watch(store, watch, NULL), 0);
    assert_int_equal(byre_blkdebug_break(store, "read_aio", "A"), 0);
    assert_false(byre_blkdebug_is_suspended(store, "A"));
    reader = start_reader();
    assert_int_equal(byre_blkdebug_wait_break(store, "A"), 0);
    assert_true(byre_blkdebug_is_suspended(store, "A"));
    assert_string_equal(seen, "+A ");
    assert_int_equal(read_aio(0), 0); /* the break point is gone */
    assert_int_equal(byre_blkdebug_resume(store, "B"), -ENOENT);
    assert_int_equal(byre_blkdebug_resume(store, "A"), 0);
    join(reader);
    assert_string_equal(seen, "+A -A ");
    assert_false(byre_blkdebug_is_suspended(store, "A"));
    assert_int_equal(byre_blkdebug_resume(store, "A"), -ENOENT);
    assert_int_equal(byre_blkdebug_wait_break(store, "A"), -ENOENT);
}

static void break_of_one_tag_may_suspend_several(void **state)
{
    pthread_t first, second;

    (void)state;
    make();
    assert_int_equal(byre_blkdebug_break(store, "read_aio", "A"), 0);
    assert_int_equal(byre_blkdebug_break(store, "read_aio", "A"), 0);
    first = start_reader();
    assert_int_equal(byre_blkdebug_wait_break(store, "A"), 0);
    second = start_reader();
    assert_int_equal(byre_blkdebug_resume(store, "A"), 0);
    join(first);
    assert_int_equal(byre_blkdebug_wait_break(store, "A"), 0);
    assert_int_equal(byre_blkdebug_resume(store, "A"), 0);
    join(second);
}

static void break_removed_resumes_who_waits(void **state)
{
    pthread_t reader;

    (void)state;
    make();
    assert_int_equal(byre_blkdebug_break(store, "write_aio", "A"), 0);
    assert_int_equal(byre_blkdebug_remove_break(store, "A"), 0);
    byre_store_event(store, BYRE_EVENT_WRITE_AIO);
    assert_int_equal(byre_blkdebug_break(store, "read_aio", "A"), 0);
    assert_int_equal(byre_blkdebug_break(store, "write_aio", "B"), 0);
    reader = start_reader();
    assert_int_equal(byre_blkdebug_wait_break(store, "A"), 0);
    assert_int_equal(byre_blkdebug_remove_break(store, "A"), -ENOENT); /* as it had been hit */
    join(reader);
    assert_int_equal(byre_blkdebug_remove_break(store, "B"), 0);
}

static void break_wants_an_event_and_a_blkdebug_store(void **state)
{
    struct byre_store *null;

    (void)state;
    make();
    assert_int_equal(byre_null_new(&(struct byre_null_options){ .size = 512 }, &null, NULL), 0);
    assert_int_equal(byre_blkdebug_break(store, "foo", "A"), -ENOENT);
    assert_int_equal(byre_blkdebug_break(null, "read_aio", "A"), -ENOTSUP);
    assert_int_equal(byre_blkdebug_remove_break(null, "A"), -ENOTSUP);
    assert_int_equal(byre_blkdebug_resume(null, "A"), -ENOTSUP);
    assert_int_equal(byre_blkdebug_wait_break(null, "A"), -ENOTSUP);
    assert_int_equal(byre_blkdebug_set_watch(null, watch, NULL), -ENOTSUP);
    assert_false(byre_blkdebug_is_suspended(null, "A"));
    byre_store_close(null);
}

static void *write_part(void *opaque)
{
    return (void *)(uintptr_t)(byre_store_pwrite(store, opaque, 100, 0, NULL) != 0);
}

/* Who waits in the middle of a read-modify-write keeps others off its block, and nobody else. */
static void break_within_a_write_of_a_part_holds_its_block_only(void **state)
{
    static char ones[100], twos[100];
    uint8_t bytes[200];
    pthread_t first, second;

    (void)state;
    memset(ones, 1, sizeof ones);
    memset(twos, 2, sizeof twos);
    options.align = 4096;
    make();
    assert_int_equal(byre_blkdebug_break(store, "pwritev_rmw_after_tail", "A"), 0);
    assert_int_equal(pthread_create(&first, NULL, write_part, ones), 0);
    assert_int_equal(byre_blkdebug_wait_break(store, "A"), 0);
    assert_int_equal(byre_blkdebug_break(store, "pwritev_rmw_tail", "B"), 0);
    assert_int_equal(pthread_create(&second, NULL, write_part, twos), 0);
    assert_int_equal(byre_store_pwrite(store, ones, 100, 8092, NULL), 0); /* ends in the next block */
    assert_int_equal(byre_blkdebug_resume(store, "A"), 0);
    join(first);
    assert_int_equal(byre_blkdebug_wait_break(store, "B"), 0);
    assert_int_equal(byre_store_pread(store, bytes, 200, 0, NULL), 0);
    assert_int_equal(bytes[99], 1);
    assert_int_equal(bytes[100], 0);
    assert_int_equal(byre_blkdebug_resume(store, "B"), 0);
    join(second);
    assert_int_equal(byre_store_pread(store, bytes, 200, 0, NULL), 0);
    assert_int_equal(bytes[99], 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(blkdebug_without_rules_passes_everything_on),
        TEST(blkdebug_error_lasts_from_its_event_on),
        TEST(blkdebug_errors_of_the_next_event_replace_those_before),
        TEST(blkdebug_error_for_once_is_spent_for_ever),
        TEST(blkdebug_event_none_is_the_beginning),
        TEST(blkdebug_sector_must_be_in_the_request),
        TEST(blkdebug_iotype_limits_an_error_to_its_kind),
        TEST(blkdebug_error_by_default_spares_block_status),
        TEST(blkdebug_request_that_fails_does_nothing),
        TEST(blkdebug_states_lead_to_the_third_request),
        TEST(blkdebug_state_changes_at_the_beginning_and_in_any_state),
        TEST(blkdebug_immediately_fails_as_well),
        TEST(blkdebug_once_is_once_for_all_threads),
        TEST(break_suspends_until_resumed),
        TEST(break_of_one_tag_may_suspend_several),
        TEST(break_removed_resumes_who_waits),
        TEST(break_wants_an_event_and_a_blkdebug_store),
        TEST(break_within_a_write_of_a_part_holds_its_block_only),
    };

    return cmocka_run_group_tests_name("blkdebug", tests, NULL, NULL);
}
