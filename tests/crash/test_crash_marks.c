/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment around the marks in the header: the corrupt bit, the dirty bit, and the bits that whoever does
 * not know them has to clear.
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

#include "base/arith.h"
#include "base/endian.h"
#include "byre/disk.h"
#include "effort.h"
#include "guest.h"
#include "story.h"
#include "qcow2/check.h"
#include "qcow2/header_read.h"
#include "store/memory.h"

#define K 1024ULL

enum { CLUSTER = 4096, AT_L1 = 40, AT_INCOMPATIBLE = 72, AT_AUTOCLEAR = 88, DIRTY = 1, CORRUPT = 2, SECTOR = 512 };

#define OFFSET (~0ULL >> 8 & ~511ULL) /* of a table entry */

static uint64_t get64(struct byre_store *store, uint64_t hoff)
{
    uint8_t bytes[8];

    ok(byre_store_pread(store, bytes, sizeof bytes, hoff, NULL));
    return byre_get_be64(bytes);
}

static void put64(struct byre_store *store, uint64_t hoff, uint64_t value)
{
    uint8_t bytes[8];

    byre_put_be64(bytes, value);
    ok(byre_store_pwrite(store, bytes, sizeof bytes, hoff, NULL));
}

static uint64_t l2_table(struct byre_store *store)
{
    return get64(store, get64(store, AT_L1)) & OFFSET;
}

/* What a walk has to know. */
struct walk {
    size_t from;            /* states after so many calls are of interest */
    const uint8_t *first;   /* the bytes of the file before the log, */
    const uint8_t *last;    /* and in the end */
    uint64_t length, last_length;
    uint64_t l2;
    uint64_t seen, other;   /* states with the mark, and without */
};

static uint64_t walk_states(struct guest *guest, crash_visit *visit, struct walk *walk)
{
    const struct crash_options options = { .seed = 1, .samples = 20 };
    uint64_t states;

    ok(crash_states_each(guest->store, &options, visit, walk, &states));
    effort_count(EFFORT_STATES, states);
    return states;
}

/* --- the corrupt bit ------------------------------------------------------------------------------------- */

static int has_corrupt_bit(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    struct walk *walk = opaque;

    if (get64(after, AT_INCOMPATIBLE) & CORRUPT)
        walk->seen++;
    else if (state->end >= walk->from)
        fail_msg("the corrupt bit is lost: %s", state->text);
    else
        walk->other++;
    return 0;
}

static unsigned count_corruptions(struct byre_store *store)
{
    struct byre_qcow2_header header = { 0 };
    struct byre_check_result result;

    ok(byre_qcow2_header_read(store, &header, NULL));
    ok(byre_qcow2_check(store, &header, 0, NULL, &result, NULL));
    byre_qcow2_header_done(&header);
    return (unsigned)result.corruptions;
}

/* An image with an entry that leads to its own L2 table. */
static struct guest *damaged(unsigned version, bool lazy)
{
    struct guest *guest = guest_new(&(struct guest_options){
        .size = 64 * K, .cluster_bits = 12, .version = version, .lazy = lazy, .disk = true,
    });
    uint64_t l2;

    ok(guest_write(guest, 0, 12 * K));
    ok(guest_close(guest));
    l2 = l2_table(guest->store);
    put64(guest->store, l2 + 10 * 8, l2 | 1ULL << 63);
    guest->options.corruptions = count_corruptions(guest->store);
    assert_true(guest->options.corruptions > 0);
    guest->options.spoiled_goff = 10 * CLUSTER;
    guest->options.spoiled_length = CLUSTER;
    ok(guest_open(guest));
    ok(guest_restart(guest));
    return guest;
}

static void corrupt_bit_is_durable_and_loses_nothing(void **state)
{
    (void)state;
    for (int lazy = 0; lazy < 2; lazy++) {
        struct crash_options options = { .seed = 1 };
        struct guest *guest = damaged(3, lazy);
        struct walk walk = { 0 };

        ok(guest_write(guest, 1 * K, 512));
        ok(guest_write(guest, 20 * K, 5 * K));
        assert_int_equal(guest_write(guest, 10 * CLUSTER + 512, 512), -EIO);
        /* The failed request was told after the mark was made. */
        walk.from = record_store_count(guest->store);
        assert_int_equal(guest_write(guest, 30 * K, 512), -EROFS);
        ok(guest_flush(guest));
        ok(guest_compare(guest));
        ok(guest_close(guest));
        ok(guest_crash(guest, &options));
        walk_states(guest, has_corrupt_bit, &walk);
        assert_true(walk.seen > 4 && walk.other > 4);
        guest_free(guest);
    }
}

static void version_2_has_no_corrupt_bit_and_loses_nothing(void **state)
{
    struct crash_options options = { .seed = 1 };
    struct guest *guest = damaged(2, false);

    (void)state;
    ok(guest_write(guest, 1 * K, 512));
    ok(guest_write(guest, 20 * K, 5 * K));
    assert_int_equal(guest_discard(guest, 9 * CLUSTER, 3 * CLUSTER), -EIO);
    assert_int_equal(guest_write(guest, 30 * K, 512), -EROFS);
    ok(guest_flush(guest));
    ok(guest_close(guest));
    ok(guest_crash(guest, &options));
    guest_free(guest);
}

/* --- the dirty bit --------------------------------------------------------------------------------------- */

/* Without the dirty bit the tables are as they were, or as they are after closing. */
static int dirty_or_untouched(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    struct walk *walk = opaque;
    uint64_t length;
    const uint8_t *bytes = byre_memory_bytes(after, &length);

    if (get64(after, AT_INCOMPATIBLE) & DIRTY) {
        walk->seen++;
        return 0;
    }
    walk->other++;
    if (memcmp(bytes + walk->l2, walk->first + walk->l2, CLUSTER) == 0)
        return 0;
    if (memcmp(bytes + walk->l2, walk->last + walk->l2, CLUSTER) != 0)
        fail_msg("tables have changed without the dirty bit: %s", state->text);
    return 0;
}

/* A copy of the present bytes. */
static uint8_t *copy_of(struct byre_store *store, uint64_t *ret_length)
{
    uint8_t *bytes;

    ok(byre_store_size(store, ret_length, NULL));
    bytes = malloc(*ret_length);
    assert_non_null(bytes);
    ok(byre_store_pread(store, bytes, *ret_length, 0, NULL));
    return bytes;
}

static void dirty_bit_comes_first_and_goes_last(void **state)
{
    struct guest *guest = guest_new(&(struct guest_options){ .size = 64 * K, .cluster_bits = 12, .lazy = true });
    struct crash_options options = { .seed = 1 };
    struct walk walk = { 0 };
    uint8_t *first, *last;

    (void)state;
    ok(guest_write(guest, 0, 8 * K));
    ok(guest_close(guest));
    ok(guest_open(guest));
    ok(guest_restart(guest));
    walk.l2 = l2_table(guest->store);
    walk.first = first = copy_of(guest->store, &walk.length);
    ok(guest_flush(guest));
    ok(guest_write(guest, 1 * K, 512));
    ok(guest_write(guest, 20 * K, 5 * K));
    ok(guest_flush(guest));
    ok(guest_discard(guest, 0, 4 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 40 * K, 512));
    ok(guest_close(guest));
    walk.last = last = copy_of(guest->store, &walk.last_length);
    ok(guest_crash(guest, &options));
    walk_states(guest, dirty_or_untouched, &walk);
    assert_true(walk.seen > 20 && walk.other > 1);
    print_message("  %d dirty, %d clean\n", (int)walk.seen, (int)walk.other);
    free(first);
    free(last);
    guest_free(guest);
}

/* --- bits to be cleared ---------------------------------------------------------------------------------- */

/* With the bit nothing has changed but the sector that it is in. */
static int cleared_or_untouched(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    struct walk *walk = opaque;
    uint64_t length;
    const uint8_t *bytes = byre_memory_bytes(after, &length);

    if (get64(after, AT_AUTOCLEAR) == 0) {
        walk->seen++;
        return 0;
    }
    walk->other++;
    if (length != walk->length || memcmp(bytes + SECTOR, walk->first + SECTOR, length - SECTOR) != 0)
        fail_msg("the image has changed, and the autoclear bit is there: %s", state->text);
    return 0;
}

static void unknown_autoclear_bits_are_cleared_before_anything_changes(void **state)
{
    struct guest *guest = guest_new(&(struct guest_options){ .size = 64 * K, .cluster_bits = 12 });
    struct walk walk = { 0 };
    uint8_t *first;

    (void)state;
    ok(guest_write(guest, 0, 8 * K));
    ok(guest_close(guest));
    put64(guest->store, AT_AUTOCLEAR, 1ULL << 40);
    ok(guest_restart(guest));
    walk.first = first = copy_of(guest->store, &walk.length);
    ok(guest_open(guest));
    ok(guest_write(guest, 1 * K, 512));
    ok(guest_write(guest, 20 * K, 5 * K));
    ok(guest_flush(guest));
    ok(guest_close(guest));
    walk_states(guest, cleared_or_untouched, &walk);
    assert_true(walk.seen > 10 && walk.other > 0);
    free(first);
    guest_free(guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corrupt_bit_is_durable_and_loses_nothing),
        cmocka_unit_test(version_2_has_no_corrupt_bit_and_loses_nothing),
        cmocka_unit_test(dirty_bit_comes_first_and_goes_last),
        cmocka_unit_test(unknown_autoclear_bits_are_cleared_before_anything_changes),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
