/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment of two commits that follow each other, with writes between each two calls of the
 * first.
 *
 * A hook runs the writes where the first commit stands, on its thread: a commit holds no lock while it
 * writes.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "byre/disk.h"
#include "effort.h"
#include "guest.h"
#include "story.h"

#define K 1024ULL

typedef void story(struct guest *guest);

/* What is told before the first commit, within it, and before the second one. */
struct plot {
    story *before, *within, *after;
    struct guest_options options;
};

struct yield {
    struct guest *guest;
    story *within;
    size_t countdown; /* calls until it is time; 0: never */
    bool inside, done;
};

static void hook(void *opaque, enum record_kind kind, uint64_t hoff, uint64_t length)
{
    struct yield *yield = opaque;

    (void)hoff;
    (void)length;
    if (!(kind & (RECORD_WRITE | RECORD_FLUSH)) || yield->inside || !yield->countdown || --yield->countdown)
        return;
    yield->inside = true;
    yield->within(yield->guest);
    yield->inside = false;
    yield->done = true;
}

/* Tells the plot with the interruption before the n-th call; false if the commit has not so many. */
static bool tell(const struct plot *plot, size_t nth, uint64_t *states)
{
    struct crash_options options = { .seed = (unsigned)nth, .samples = 10, .exact = 5 };
    struct guest *guest = guest_new(&plot->options);
    struct yield yield = { .guest = guest, .within = plot->within };

    plot->before(guest);
    record_store_hook(guest->store, hook, &yield);
    yield.countdown = nth;
    ok(guest_flush(guest));
    record_store_hook(guest->store, NULL, NULL);
    if (yield.done) {
        plot->after(guest);
        ok(guest_flush(guest));
        ok(guest_compare(guest));
        ok(guest_close(guest));
        ok(guest_crash(guest, &options));
        ok(guest_check(guest, true));
        *states += guest->states;
    }
    guest_free(guest);
    return yield.done;
}

static void tell_all(const struct plot *plot, size_t at_least)
{
    uint64_t states = 0;
    size_t nth = 1;

    while (tell(plot, nth, &states))
        nth++;
    print_message("  %zu places, %llu states\n", nth - 1, (unsigned long long)states);
    assert_true(nth > at_least);
}

/* --- the same table --- */

static void write_low(struct guest *guest)
{
    ok(guest_write(guest, 0, 3 * K));
    ok(guest_write(guest, 8 * K, 1 * K));
}

static void write_beside(struct guest *guest)
{
    ok(guest_write(guest, 4 * K, 1 * K));
    ok(guest_write(guest, 1 * K, 512)); /* in place */
    ok(guest_write(guest, 40 * K, 512)); /* another table */
}

static void write_more(struct guest *guest)
{
    ok(guest_write(guest, 6 * K, 1 * K));
}

static void writes_within_a_commit_wait_for_the_next(void **state)
{
    const struct plot plot = { write_low, write_beside, write_more, { .size = 64 * K } };

    (void)state;
    tell_all(&plot, 5);
}

/* --- frees --- */

static void fill_and_discard(struct guest *guest)
{
    ok(guest_write(guest, 0, 16 * K));
    ok(guest_restart(guest));
    ok(guest_discard(guest, 0, 4 * K));
    ok(guest_write(guest, 30 * K, 512));
}

static void discard_and_write(struct guest *guest)
{
    ok(guest_discard(guest, 6 * K, 2 * K));
    ok(guest_write(guest, 20 * K, 3 * K));
    ok(guest_zero(guest, 10 * K, 1 * K, BYRE_WRITE_ZEROES_UNMAP));
}

static void write_over(struct guest *guest)
{
    ok(guest_write(guest, 1 * K, 1 * K));
    ok(guest_write(guest, 40 * K, 6 * K));
}

static void frees_within_a_commit_wait_for_the_next(void **state)
{
    const struct plot plot = {
        fill_and_discard, discard_and_write, write_over, { .size = 64 * K, .cluster_bits = 10 },
    };

    (void)state;
    tell_all(&plot, 4);
}

/* --- new refcount blocks --- */

static void write_a_block(struct guest *guest)
{
    ok(guest_write(guest, 0, 30 * K));
    ok(guest_restart(guest));
    ok(guest_write(guest, 40 * K, 4 * K));
}

static void write_another_block(struct guest *guest)
{
    ok(guest_write(guest, 64 * K, 40 * K));
}

static void blocks_within_a_commit_wait_for_the_next(void **state)
{
    const struct plot plot = {
        write_a_block, write_another_block, write_more, { .size = 128 * K, .refcount_order = 6 },
    };

    (void)state;
    tell_all(&plot, 4);
}

/* --- the refcount table --- */

enum { TABLE = 2 << 20 };

static void make_long(struct guest *guest, uint64_t size)
{
    ok(guest_close(guest));
    ok(byre_store_truncate(guest->store, size, &guest->err));
    ok(guest_open(guest));
    ok(guest_restart(guest));
    byre_qcow2_set_append_only(guest->image, true);
}

static void grow_table(struct guest *guest)
{
    ok(guest_write(guest, 0, 2 * K));
    make_long(guest, TABLE - 512);
    ok(guest_write(guest, 10 * K, 1 * K));
}

static void table_within_a_commit_waits_for_the_next(void **state)
{
    const struct plot plot = {
        grow_table, write_another_block, write_more, { .size = 128 * K, .refcount_order = 6 },
    };

    (void)state;
    tell_all(&plot, 4);
}

static void write_up_to_the_end(struct guest *guest)
{
    ok(guest_write(guest, 0, 2 * K));
    make_long(guest, TABLE - 1 * K);
    ok(guest_write(guest, 10 * K, 512));
}

static void grow_within(struct guest *guest)
{
    ok(guest_write(guest, 20 * K, 2 * K));
}

static void table_that_grows_within_a_commit_waits_for_the_next(void **state)
{
    const struct plot plot = {
        write_up_to_the_end, grow_within, write_more, { .size = 128 * K, .refcount_order = 6 },
    };

    (void)state;
    tell_all(&plot, 4);
}

/* --- compressed --- */

static void pack_some(struct guest *guest)
{
    ok(guest_compressed(guest, 0, 4));
    ok(guest_restart(guest));
    ok(guest_compressed(guest, 8 * K, 2));
    ok(guest_write(guest, 2 * K, 512));
}

static void pack_more(struct guest *guest)
{
    ok(guest_compressed(guest, 16 * K, 2));
    ok(guest_write(guest, 8 * K, 2 * K));
    ok(guest_discard(guest, 4 * K, 2 * K));
}

static void packing_within_a_commit_waits_for_the_next(void **state)
{
    const struct plot plot = {
        pack_some, pack_more, write_more, { .size = 64 * K, .cluster_bits = 11 },
    };

    (void)state;
    tell_all(&plot, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_within_a_commit_wait_for_the_next),
        cmocka_unit_test(frees_within_a_commit_wait_for_the_next),
        cmocka_unit_test(blocks_within_a_commit_wait_for_the_next),
        cmocka_unit_test(table_within_a_commit_waits_for_the_next),
        cmocka_unit_test(table_that_grows_within_a_commit_waits_for_the_next),
        cmocka_unit_test(packing_within_a_commit_waits_for_the_next),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
