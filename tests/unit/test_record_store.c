/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The recording store: its log, the states it rebuilds, the faults it makes, and the walk over crash states.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/zero.h"
#include "../crash/crash_states.h"
#include "../crash/record_store.h"
#include "store/memory.h"

enum { SECTOR = RECORD_SECTOR, SIZE = 4 * SECTOR };

/* Fresh for every test: four sectors of 'o'. */
static struct byre_store *store;

static int set_up(void **state)
{
    char old[SIZE];

    (void)state;
    memset(old, 'o', sizeof old);
    return record_store_new(old, sizeof old, &store);
}

static int tear_down(void **state)
{
    (void)state;
    byre_store_close(store);
    return 0;
}

static void put(char c, uint64_t hoff, size_t length)
{
    char buf[8 * SECTOR];

    memset(buf, c, length);
    assert_int_equal(byre_store_pwrite(store, buf, length, hoff, NULL), 0);
}

static void flush(void)
{
    assert_int_equal(byre_store_flush(store, NULL), 0);
}

/* One letter for each sector: what it holds, 0 for zeros, ? for a mixture. */
static const char *picture(const struct byre_store *of)
{
    static char text[64];
    uint64_t length;
    const uint8_t *bytes = byre_memory_bytes(of, &length);
    size_t n = 0;

    for (uint64_t at = 0; at < length; at += SECTOR) {
        uint64_t part = MIN((uint64_t)SECTOR, length - at);
        bool same = part == 1 || memcmp(bytes + at, bytes + at + 1, part - 1) == 0;

        char c = bytes[at] == 0 ? '0' : bytes[at] == RECORD_DISCARDED ? 'D' : (char)bytes[at];

        text[n++] = same ? c : '?';
    }
    text[n] = '\0';
    return text;
}

static void expect_crash(const struct record_crash *crash, const char *expected)
{
    struct byre_store *after;

    assert_int_equal(record_store_rebuild(store, crash, &after), 0);
    assert_string_equal(picture(after), expected);
    byre_store_close(after);
}

/* Keeps the calls whose bit is set. */
static bool by_bit(void *opaque, size_t call, uint64_t sector)
{
    (void)sector;
    return *(unsigned *)opaque >> call & 1;
}

static void expect_kept(unsigned calls, size_t size_end, const char *expected)
{
    struct record_crash crash = { .end = record_store_count(store), .size_end = size_end, .kept = by_bit,
                                  .opaque = &calls };

    expect_crash(&crash, expected);
}

static bool odd_sectors(void *opaque, size_t call, uint64_t sector)
{
    (void)opaque;
    (void)call;
    return sector % 2;
}

/* --- the log --- */

static void record_log_tells_what_was_done(void **state)
{
    const struct record_call *call;
    char byte;

    (void)state;
    put('a', 100, 3);
    assert_int_equal(byre_store_pread(store, &byte, 1, 0, NULL), 0);
    flush();
    assert_int_equal(byre_store_write_zeroes(store, 5000, 10, 0, NULL), 0);
    assert_int_equal(byre_store_truncate(store, 77, NULL), 0);
    assert_int_equal(record_store_count(store), 4);

    call = record_store_call(store, 0);
    assert_true(call->kind == RECORD_WRITE && call->hoff == 100 && call->length == 3 && call->size == SIZE);
    assert_memory_equal(call->bytes, "aaa", 3);
    assert_int_equal(record_store_call(store, 1)->kind, RECORD_FLUSH);
    call = record_store_call(store, 2);
    assert_true(call->kind == RECORD_ZERO && call->hoff == 5000 && call->length == 10 && call->size == 5010);
    call = record_store_call(store, 3);
    assert_true(call->kind == RECORD_TRUNCATE && call->size == 77);

    assert_int_equal(record_store_durable(store, 0), 0);
    assert_int_equal(record_store_durable(store, 1), 0);
    assert_int_equal(record_store_durable(store, 2), 2);
    assert_int_equal(record_store_durable(store, 4), 2);
    assert_int_equal(record_store_size_after(store, 0), SIZE);
    assert_int_equal(record_store_size_after(store, 3), 5010);
    assert_int_equal(record_store_calls(store, RECORD_ANY), 5);
    assert_int_equal(record_store_calls(store, RECORD_READ | RECORD_FLUSH), 2);
}

static void record_restart_begins_with_what_is_there(void **state)
{
    (void)state;
    put('a', 0, SECTOR);
    assert_int_equal(record_store_restart(store), 0);
    assert_int_equal(record_store_count(store), 0);
    put('b', SECTOR, SECTOR);
    expect_kept(0, 0, "aooo");
    expect_kept(1, 0, "aboo");
}

/* --- rebuilding --- */

static void rebuild_keeps_any_combination_of_what_is_not_durable(void **state)
{
    (void)state;
    put('a', 0, SECTOR);
    flush();
    put('b', SECTOR, SECTOR);     /* call 2 */
    put('c', SECTOR, 2 * SECTOR); /* call 3, over it */
    expect_kept(0, 2, "aooo");
    expect_kept(1 << 2, 2, "aboo");
    expect_kept(1 << 3, 2, "acco");
    expect_kept(1 << 2 | 1 << 3, 2, "acco");
}

static void rebuild_earlier_crash_after_a_later_one(void **state)
{
    (void)state;
    put('a', 0, SECTOR);
    flush();
    put('b', 0, SECTOR);
    flush();
    expect_crash(&(struct record_crash){ .end = 4, .size_end = 4 }, "booo");
    expect_crash(&(struct record_crash){ .end = 3, .size_end = 2 }, "booo");
    expect_crash(&(struct record_crash){ .end = 2, .size_end = 2 }, "aooo");
    expect_crash(&(struct record_crash){ .end = 0, .size_end = 0 }, "oooo");
}

static void rebuild_tears_at_sectors(void **state)
{
    (void)state;
    put('a', 0, SIZE);
    expect_crash(&(struct record_crash){ .end = 1, .size_end = 1, .kept = odd_sectors }, "oaoa");
    assert_int_equal(byre_store_write_zeroes(store, SECTOR / 2, 2 * SECTOR, 0, NULL), 0);
    expect_crash(&(struct record_crash){ .end = 2, .size_end = 1, .kept = odd_sectors }, "o0oa");
    assert_int_equal(byre_store_discard(store, SECTOR, 3 * SECTOR, NULL), 0);
    expect_crash(&(struct record_crash){ .end = 3, .size_end = 1, .kept = odd_sectors }, "oDoD");
    expect_crash(&(struct record_crash){ .end = 3, .size_end = 1 }, "?DDD");
}

static void rebuild_growth_comes_with_or_without_data(void **state)
{
    (void)state;
    put('a', 5 * SECTOR, SECTOR);
    put('b', 7 * SECTOR, SECTOR);
    expect_kept(3, 0, "oooo");     /* all data, no growth */
    expect_kept(0, 1, "oooo00");   /* growth, no data */
    expect_kept(3, 1, "oooo0a");
    expect_kept(1, 2, "oooo0a00");
    expect_kept(3, 2, "oooo0a0b");
}

static void rebuild_shrinking_goes_with_the_size(void **state)
{
    (void)state;
    assert_int_equal(byre_store_truncate(store, SECTOR, NULL), 0); /* call 0 */
    put('a', 3 * SECTOR, SECTOR);                                  /* call 1 */
    expect_kept(0, 0, "oooo");
    expect_kept(2, 0, "oooa");
    expect_kept(2, 1, "o");
    expect_kept(2, 2, "o00a");
    expect_kept(0, 2, "o000");
}

static void rebuild_impossible_crash_is_refused(void **state)
{
    static const struct record_crash impossible[] = {
        { .end = 4, .size_end = 2 }, { .end = 3, .size_end = 1 }, { .end = 2, .size_end = 3 },
    };
    struct byre_store *after;

    (void)state;
    put('a', 0, SECTOR);
    flush();
    put('b', 0, SECTOR);
    for (size_t i = 0; i < ARRAY_LEN(impossible); i++)
        assert_int_equal(record_store_rebuild(store, &impossible[i], &after), -EINVAL);
}

/* --- faults --- */

static void fault_once_hits_the_nth_of_its_kind(void **state)
{
    struct record_fault fault = { .kinds = RECORD_WRITE, .nth = 2, .code = -EIO };
    struct byre_error err = BYRE_ERROR_INIT;
    char byte;

    (void)state;
    record_store_fail(store, &fault);
    assert_int_equal(byre_store_pread(store, &byte, 1, 0, NULL), 0);
    put('a', 0, SECTOR);
    flush();
    assert_int_equal(byre_store_pwrite(store, "x", 1, SECTOR, &err), -EIO);
    assert_string_equal(err.text, "could not write 1 bytes at offset 512 of 'recorded': Input/output error");
    put('b', SECTOR, SECTOR);
    assert_int_equal(record_store_faults(store), 1);
    assert_int_equal(record_store_calls(store, RECORD_WRITE), 3);
    assert_int_equal(record_store_count(store), 3); /* what failed is not in the log */
    expect_crash(&(struct record_crash){ .end = 3, .size_end = 3 }, "aboo");
}

static void fault_for_ever_lasts_until_it_is_lifted(void **state)
{
    struct record_fault fault = { .kinds = RECORD_CHANGES, .nth = 1, .for_ever = true, .code = -ENOSPC };
    char byte;

    (void)state;
    record_store_fail(store, &fault);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(byre_store_pwrite(store, "x", 1, 0, NULL), -ENOSPC);
        assert_int_equal(byre_store_write_zeroes(store, 0, 1, 0, NULL), -ENOSPC);
        assert_int_equal(byre_store_discard(store, 0, 1, NULL), -ENOSPC);
        assert_int_equal(byre_store_allocate(store, 0, 1, NULL), -ENOSPC);
        assert_int_equal(byre_store_truncate(store, 1, NULL), -ENOSPC);
        assert_int_equal(byre_store_pread(store, &byte, 1, 0, NULL), 0);
    }
    assert_int_equal(record_store_faults(store), 15);
    record_store_fail(store, NULL);
    assert_int_equal(record_store_calls(store, RECORD_ANY), 0);
    put('a', 0, 1);
    assert_int_equal(record_store_faults(store), 0);
}

static void fault_short_write_leaves_its_beginning(void **state)
{
    struct record_fault fault = { .kinds = RECORD_WRITE, .nth = 1, .for_ever = true, .code = -ENOSPC,
                                  .short_bytes = 2 * SECTOR };
    char buf[3 * SECTOR];

    (void)state;
    memset(buf, 'a', sizeof buf);
    record_store_fail(store, &fault);
    assert_int_equal(byre_store_pwrite(store, buf, sizeof buf, 0, NULL), -ENOSPC);
    assert_int_equal(record_store_call(store, 0)->length, 2 * SECTOR);
    expect_kept(1, 0, "aaoo");
    assert_int_equal(byre_store_pwrite(store, "x", 1, 0, NULL), -ENOSPC); /* one byte cannot be cut */
    assert_int_equal(record_store_count(store), 1);
}

static void fault_failed_flush_ends_durability(void **state)
{
    struct record_fault fault = { .kinds = RECORD_FLUSH, .nth = 2, .code = -EIO };

    (void)state;
    record_store_fail(store, &fault);
    put('a', 0, SECTOR);
    flush();
    put('b', 0, SECTOR);
    assert_int_equal(byre_store_flush(store, NULL), -EIO);
    put('c', SECTOR, SECTOR);
    flush(); /* succeeds, and yet nothing is certain */
    assert_int_equal(record_store_durable(store, record_store_count(store)), 2);
    expect_kept(0, 2, "aooo");
}

/* --- the hook --- */

static void count_writes(void *opaque, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    char byte;

    if (kind == RECORD_WRITE && hoff == 7 && length == 3) {
        ++*(int *)opaque;
        assert_int_equal(byre_store_pread(store, &byte, 1, 7, NULL), 0);
        assert_int_equal(byte, 'o'); /* it comes before the call has its effect */
    }
}

static void hook_comes_before_every_call(void **state)
{
    int writes = 0;

    (void)state;
    record_store_hook(store, count_writes, &writes);
    put('a', 7, 3);
    assert_int_equal(writes, 1);
    record_store_hook(store, NULL, NULL);
    put('b', 7, 3);
    assert_int_equal(writes, 1);
}

/* --- the walk --- */

struct seen {
    char pictures[256][16];
    size_t count;
    const char *stop_at;
};

static int see(void *opaque, struct byre_store *after, const struct crash_state *at)
{
    struct seen *seen = opaque;
    const char *text = picture(after);

    assert_true(at->durable <= at->end && at->text[0]);
    if (seen->stop_at && strcmp(text, seen->stop_at) == 0)
        return 99;
    for (size_t i = 0; i < seen->count; i++) {
        if (strcmp(seen->pictures[i], text) == 0)
            return 0;
    }
    assert_true(seen->count < 256);
    strcpy(seen->pictures[seen->count++], text);
    return 0;
}

/* The states that are seen are just those of the list, which ends with NULL. */
static void expect_states(const struct crash_options *options, const char *const *expected)
{
    struct seen seen = { .count = 0 };
    uint64_t visited;
    size_t n = 0;

    assert_int_equal(crash_states_each(store, options, see, &seen, &visited), 0);
    for (; expected[n]; n++) {
        bool found = false;

        for (size_t i = 0; i < seen.count; i++)
            found |= strcmp(seen.pictures[i], expected[n]) == 0;
        if (!found)
            fail_msg("%s was not visited", expected[n]);
    }
    assert_int_equal(seen.count, n);
    assert_true(visited >= n);
}

static void walk_short_epochs_are_exhaustive(void **state)
{
    (void)state;
    put('a', 0, SECTOR);
    put('b', SECTOR, SECTOR);
    flush();
    put('c', SECTOR, 2 * SECTOR);
    expect_states(NULL, (const char *const[]){
        "oooo", "aooo", "oboo", "aboo", "acco", "acoo", "abco", NULL,
    });
}

static void walk_visits_every_size(void **state)
{
    (void)state;
    put('a', SIZE, SECTOR);
    put('b', SIZE + SECTOR, SECTOR);
    expect_states(NULL, (const char *const[]){
        "oooo", "ooooa", "oooo0", "ooooa0", "oooo0b", "ooooab", "oooo00", NULL,
    });
}

/* Long epochs are sampled, but their beginnings, omissions and singles are certain. */
static void walk_long_epochs_have_their_certain_states(void **state)
{
    struct crash_options options = { .exact = 1, .samples = 1, .seed = 1 };
    struct seen seen = { .count = 0 };

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        put((char)('a' + i), i * SECTOR, SECTOR);
    for (size_t i = 0; i < 3; i++) {
        static const char *const certain[] = { "aboo", "abod", "ooco" };

        seen.stop_at = certain[i];
        assert_int_equal(crash_states_each(store, &options, see, &seen, NULL), 99);
    }
    options.samples = 1000;
    expect_states(&options, (const char *const[]){
        "oooo", "aooo", "oboo", "aboo", "ooco", "aoco", "obco", "abco",
        "oood", "aood", "obod", "abod", "oocd", "aocd", "obcd", "abcd", NULL,
    });
}

static void walk_tears_every_call(void **state)
{
    struct crash_options options = { .exact = 1 };

    (void)state;
    put('a', 0, SIZE);
    expect_states(&options, (const char *const[]){
        "oooo", "aaaa", "aooo", "oaaa", "oooa", "aaao", "aoao", "oaoa", NULL,
    });
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(record_log_tells_what_was_done),
        TEST(record_restart_begins_with_what_is_there),
        TEST(rebuild_keeps_any_combination_of_what_is_not_durable),
        TEST(rebuild_earlier_crash_after_a_later_one),
        TEST(rebuild_tears_at_sectors),
        TEST(rebuild_growth_comes_with_or_without_data),
        TEST(rebuild_shrinking_goes_with_the_size),
        TEST(rebuild_impossible_crash_is_refused),
        TEST(fault_once_hits_the_nth_of_its_kind),
        TEST(fault_for_ever_lasts_until_it_is_lifted),
        TEST(fault_short_write_leaves_its_beginning),
        TEST(fault_failed_flush_ends_durability),
        TEST(hook_comes_before_every_call),
        TEST(walk_short_epochs_are_exhaustive),
        TEST(walk_visits_every_size),
        TEST(walk_long_epochs_have_their_certain_states),
        TEST(walk_tears_every_call),
    };

    return cmocka_run_group_tests_name("record_store", tests, NULL, NULL);
}
