/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stories of the tests of faults, and how what is left of them is judged.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "byre/disk.h"
#include "effort.h"
#include "fault_stories.h"
#include "qcow2/snapshot.h"
#include "story.h"

#define K 1024ULL

enum { TABLE = 2 << 20 };

typedef void story(struct guest *guest);

struct plot {
    const char *name;
    story *before, *within; /* without and with the fault */
    struct guest_options options;
    bool small;   /* the crash states are looked at too; nothing is opened again within the story */
    bool commits; /* writes may commit, or set the dirty bit: a failed one may have touched live metadata */
};

static const struct plot *plot;       /* the one that is told */
static const struct trouble *trouble; /* that it is told with */

static bool is_poisoned(struct guest *guest)
{
    return byre_qcow2_check_writable(guest->image, NULL) < 0;
}

/* A request under a fault.  Unless it commits, its failure is its own affair. */
static void try(struct guest *guest, bool was_poisoned, int rc)
{
    if (rc == 0 && was_poisoned)
        fail_msg("%s: a request succeeded although the image is read-only", plot->name);
    if (rc < 0 && !plot->commits && !trouble->full && !was_poisoned && is_poisoned(guest))
        fail_msg("%s: a failed request made the image read-only: %s", plot->name, guest->err.text);
    if (rc == -EROFS && !was_poisoned && !is_poisoned(guest))
        fail_msg("%s: a request was refused: %s", plot->name, guest->err.text);
}

#define TRY(guest, call)                                                                                     \
    do {                                                                                                     \
        if ((guest)->image) {                                                                                \
            bool was_ = is_poisoned(guest);                                                                  \
            try((guest), was_, (call));                                                                      \
        }                                                                                                    \
    } while (0)

static void flush(struct guest *guest)
{
    bool was = guest->image && is_poisoned(guest);

    if (guest->image && guest_flush(guest) == 0 && was)
        fail_msg("%s: a flush succeeded although the image is read-only", plot->name);
}

static void reopen(struct guest *guest)
{
    if (guest->image)
        (void)guest_close(guest);
    (void)guest_open(guest);
}

/* --- stories --- */

static void nothing(struct guest *guest)
{
    (void)guest;
}

static void write_and_flush(struct guest *guest)
{
    TRY(guest, guest_write(guest, 0, 2 * K));
    flush(guest);
    TRY(guest, guest_write(guest, 1 * K, 700));
    TRY(guest, guest_write(guest, 40 * K, 512));
    flush(guest);
    TRY(guest, guest_write(guest, 100, 9 * K));
    flush(guest);
}

static void write_16_KiB(struct guest *guest)
{
    ok(guest_write(guest, 0, 16 * K));
    ok(guest_restart(guest));
}

static void free_and_reuse(struct guest *guest)
{
    TRY(guest, guest_discard(guest, 0, 4 * K));
    TRY(guest, guest_write(guest, 40 * K, 1 * K));
    flush(guest);
    TRY(guest, guest_write(guest, 20 * K, 6 * K));
    TRY(guest, guest_zero(guest, 6 * K, 2 * K, 0));
    TRY(guest, guest_zero(guest, 9 * K + 100, 3 * K, BYRE_WRITE_ZEROES_UNMAP));
    flush(guest);
    TRY(guest, guest_write(guest, 7 * K, 1 * K));
    flush(guest);
}

/* Clusters of 16 KiB and their subclusters: the first is full before. */
static void mix_subclusters(struct guest *guest)
{
    TRY(guest, guest_write(guest, 20 * K, 700));
    TRY(guest, guest_zero(guest, 18 * K, 3 * K, 0));
    TRY(guest, guest_zero(guest, 2 * K + 100, 3 * K, BYRE_WRITE_ZEROES_UNMAP));
    flush(guest);
    TRY(guest, guest_write(guest, 18 * K + 300, 3 * K));
    TRY(guest, guest_write(guest, 3 * K, 1 * K));
    TRY(guest, guest_compressed(guest, 32 * K, 1));
    TRY(guest, guest_copy_up(guest, 17 * K, 7 * K));
    flush(guest);
    TRY(guest, guest_zero(guest, 34 * K, 1 * K, 0));
    TRY(guest, guest_zero(guest, 16 * K, 5 * K, BYRE_WRITE_ZEROES_UNMAP));
    TRY(guest, guest_discard(guest, 0, 16 * K));
    flush(guest);
    TRY(guest, guest_write(guest, 1 * K, 512));
    TRY(guest, guest_write(guest, 40 * K, 12 * K));
    flush(guest);
}

static void make_long(struct guest *guest, uint64_t size)
{
    ok(guest_write(guest, 0, 2 * K));
    ok(guest_close(guest));
    ok(byre_store_truncate(guest->store, size, &guest->err));
    ok(guest_open(guest));
    ok(guest_restart(guest));
    byre_qcow2_set_append_only(guest->image, true);
}

static void almost_fill_table(struct guest *guest)
{
    make_long(guest, TABLE - 1 * K);
}

static void grow_table(struct guest *guest)
{
    TRY(guest, guest_write(guest, 10 * K, 3 * K));
    flush(guest);
    TRY(guest, guest_write(guest, 40 * K, 33 * K));
    flush(guest);
    TRY(guest, guest_write(guest, 8 * K, 1 * K));
    flush(guest);
}

static void add_blocks(struct guest *guest)
{
    TRY(guest, guest_write(guest, 0, 30 * K));
    flush(guest);
    TRY(guest, guest_write(guest, 40 * K, 66 * K));
    flush(guest);
}

static void pack_some(struct guest *guest)
{
    ok(guest_compressed(guest, 0, 4));
    ok(guest_restart(guest));
}

static void pack_and_replace(struct guest *guest)
{
    TRY(guest, guest_compressed(guest, 8 * K, 4));
    TRY(guest, guest_write(guest, 2 * K, 700));
    flush(guest);
    TRY(guest, guest_compressed(guest, 10 * K, 3));
    TRY(guest, guest_discard(guest, 4 * K, 2 * K));
    flush(guest);
    TRY(guest, guest_compressed(guest, 40 * K, 2));
    flush(guest);
}

static void open_and_close(struct guest *guest)
{
    TRY(guest, guest_write(guest, 3 * K, 2 * K));
    reopen(guest);
    TRY(guest, guest_write(guest, 20 * K, 2 * K));
    TRY(guest, guest_discard(guest, 0, 5 * K));
    reopen(guest);
    TRY(guest, guest_write(guest, 30 * K, 2 * K));
    flush(guest);
}

/* Through a disk, each change durable by itself. */
static void write_durably(struct guest *guest)
{
    TRY(guest, guest_write_fua(guest, 0, 3 * K));
    TRY(guest, guest_zero(guest, 2 * K, 4 * K, BYRE_WRITE_FUA | BYRE_WRITE_ZEROES_UNMAP));
    TRY(guest, guest_compressed(guest, 20 * K, 3));
    TRY(guest, guest_write_fua(guest, 21 * K, 512));
    TRY(guest, guest_zero(guest, 25 * K, 2 * K, BYRE_WRITE_FUA | BYRE_WRITE_ZEROES_NO_FALLBACK));
    TRY(guest, guest_discard(guest, 8 * K, 4 * K));
    TRY(guest, guest_write_fua(guest, 40 * K, 2 * K));
}

/* Another L1 table, and more of everything. */
static void grow(struct guest *guest)
{
    TRY(guest, guest_write(guest, 20 * K, 2 * K));
    TRY(guest, guest_grow(guest, 70 * K));
    TRY(guest, guest_grow_as(guest, 72 * K, BYRE_PREALLOC_FULL));
    TRY(guest, guest_grow_as(guest, 100 * K, BYRE_PREALLOC_METADATA));
    TRY(guest, guest_write(guest, 30 * K, 2 * K));
    flush(guest);
}

/* More dirty metadata than the smallest cache takes. */
static void scatter(struct guest *guest)
{
    for (uint64_t i = 0; i < 16; i++)
        TRY(guest, guest_write(guest, i * 33 * K, 512));
    TRY(guest, guest_discard(guest, 0, 300 * K));
    for (uint64_t i = 0; i < 8; i++)
        TRY(guest, guest_write(guest, i * 66 * K + 512, 512));
    flush(guest);
}

static int create(struct guest *guest)
{
    const struct byre_snapshot_create_options options = { .name = "one" };

    return guest->disk ? byre_snapshot_create(guest->disk, &options, NULL, &guest->err)
                       : byre_qcow2_snapshot_create(guest->image, &options, NULL, &guest->err);
}

static int delete(struct guest *guest)
{
    const struct byre_snapshot_selector which = { .name = "one" };
    int rc = guest->disk ? byre_snapshot_delete(guest->disk, &which, &guest->err)
                         : byre_qcow2_snapshot_delete(guest->image, &which, &guest->err);

    return rc == -ENOENT ? 0 : rc; /* it could not be made */
}

/* Back to what the disk is at that moment, so that nothing changes for the guest. */
static int apply(struct guest *guest)
{
    const struct byre_snapshot_selector which = { .name = "one" };

    return guest->disk ? byre_snapshot_apply(guest->disk, &which, &guest->err)
                       : byre_qcow2_snapshot_apply(guest->image, &which, &guest->err);
}

static void share_and_separate(struct guest *guest)
{
    TRY(guest, create(guest));
    TRY(guest, guest_write(guest, 1 * K, 5 * K));
    TRY(guest, guest_discard(guest, 8 * K, 2 * K));
    flush(guest);
    TRY(guest, delete(guest));
    TRY(guest, guest_write(guest, 3 * K, 9 * K));
    flush(guest);
}

static void write_and_create(struct guest *guest)
{
    ok(guest_write(guest, 0, 16 * K));
    ok(create(guest));
    ok(guest_restart(guest));
}

static void go_back(struct guest *guest)
{
    TRY(guest, apply(guest));
    TRY(guest, guest_write(guest, 3 * K, 1 * K));
    flush(guest);
}

static const struct plot plots[] = {
    { "writing", nothing, write_and_flush, { .size = 64 * K, .cluster_bits = 10 }, true, false },
    { "writing over a backing file", nothing, write_and_flush,
      { .size = 64 * K, .cluster_bits = 12, .backing_size = 30 * K }, true, false },
    { "freeing and using again", write_16_KiB, free_and_reuse,
      { .size = 64 * K, .cluster_bits = 10 }, true, false },
    { "the same in version 2", write_16_KiB, free_and_reuse,
      { .size = 64 * K, .cluster_bits = 10, .version = 2 }, true, false },
    { "adding refcount blocks", nothing, add_blocks, { .size = 128 * K, .refcount_order = 6 }, false, false },
    { "growing the refcount table", almost_fill_table, grow_table,
      { .size = 128 * K, .refcount_order = 6 }, false, false },
    { "compressed clusters", pack_some, pack_and_replace,
      { .size = 64 * K, .cluster_bits = 11 }, true, false },
    { "opening and closing", write_16_KiB, open_and_close,
      { .size = 64 * K, .cluster_bits = 10 }, false, false },
    { "lazy refcounts", write_16_KiB, open_and_close,
      { .size = 64 * K, .cluster_bits = 10, .lazy = true }, false, true },
    { "writing durably", write_16_KiB, write_durably,
      { .size = 64 * K, .cluster_bits = 10, .disk = true }, true, true },
    { "writing through", write_16_KiB, write_and_flush,
      { .size = 64 * K, .cluster_bits = 11, .backing_size = 40 * K, .disk = true, .write_through = true }, true, true },
    { "growing", write_16_KiB, grow, { .size = 100 * K, .first_size = 40 * K, .backing_size = 60 * K }, true, true },
    { "growing a disk", write_16_KiB, grow, { .size = 100 * K, .first_size = 40 * K, .disk = true }, false, true },
    { "a snapshot", write_16_KiB, share_and_separate, { .size = 64 * K, .cluster_bits = 10 }, true, true },
    { "a snapshot of a disk", write_16_KiB, share_and_separate,
      { .size = 64 * K, .cluster_bits = 10, .lazy = true, .disk = true }, false, true },
    { "going back to a snapshot", write_and_create, go_back, { .size = 64 * K, .cluster_bits = 10 }, true, true },
    { "going back with a disk", write_and_create, go_back,
      { .size = 64 * K, .cluster_bits = 11, .disk = true }, false, true },
    { "subclusters", write_16_KiB, mix_subclusters,
      { .size = 64 * K, .cluster_bits = 14, .extended = true, .backing_size = 60 * K }, true, false },
    { "subclusters of a disk", write_16_KiB, mix_subclusters,
      { .size = 64 * K, .cluster_bits = 14, .extended = true, .backing_size = 60 * K, .disk = true }, false, false },
    { "growing with subclusters", write_16_KiB, grow,
      { .size = 100 * K, .first_size = 40 * K, .cluster_bits = 14, .extended = true, .backing_size = 60 * K }, true,
      true },
    { "a small cache", nothing, scatter, { .size = 1024 * K, .cache_bytes = 1 }, false, true },
};

/* --- what has to be true afterwards --- */

/* The fault is over; the image that is still open works, or it is read-only for good. */
static void judge_open_image(struct guest *guest)
{
    bool poisoned = is_poisoned(guest);
    int rc = guest_compare(guest);

    if (rc == 0 && poisoned) {
        assert_int_equal(guest_write(guest, 0, 512), -EROFS);
        assert_int_equal(guest_zero(guest, 0, 1 * K, 0), -EROFS);
        assert_true(guest_flush(guest) < 0);
        assert_true(guest_close(guest) < 0);
    } else if (rc == 0) {
        ok(guest_write(guest, 5 * K, 2 * K));
        ok(guest_flush(guest));
        ok(guest_compare(guest));
        ok(guest_compare_killed(guest));
        ok(guest_close(guest));
    }
    assert_int_equal(rc, 0);
}

/* What is on the medium, read by somebody else, and worked with. */
static void judge_medium(struct guest *guest, bool tidy)
{
    ok(guest_check(guest, tidy));
    ok(guest_compare_killed(guest));
    ok(guest_open(guest));
    ok(guest_compare_killed(guest));
    ok(guest_write(guest, 3 * K, 5 * K));
    ok(guest_flush(guest));
    ok(guest_compare_killed(guest));
    ok(guest_close(guest));
    ok(guest_check(guest, false));
}

/* Tells the plot with the trouble striking for the n-th time it can; false if the story has not so many occasions. */
static bool tell(uint64_t nth)
{
    struct crash_options crash = { .samples = 1, .exact = 2 };
    struct guest *guest = guest_new(&plot->options);
    bool struck, poisoned = false;

    plot->before(guest);
    trouble->begin(guest, trouble->opaque, nth);
    plot->within(guest);
    struck = trouble->end(guest);
    if (struck && guest->image) {
        poisoned = is_poisoned(guest);
        if (trouble->poisons && plot->within != open_and_close)
            assert_true(poisoned);
        judge_open_image(guest);
    }
    if (struck && !guest->image) {
        /* After a failed barrier nobody knows what is on the medium; so all of it has to be right. */
        if (plot->small && trouble->poisons)
            ok(guest_crash(guest, &crash));
        judge_medium(guest, !poisoned && !trouble->leaks && plot->within != open_and_close);
    }
    guest_free(guest);
    return struck;
}

uint64_t tell_stories(const struct trouble *with)
{
    uint64_t total = 0;

    trouble = with;
    for (size_t i = 0; i < sizeof plots / sizeof plots[0]; i++) {
        uint64_t n = 1, told = 0;

        plot = &plots[i];
        for (; tell(n); n += effort_of(3, 1, 1))
            told++;
        print_message("  %s: %d occasions\n", plot->name, (int)told);
        assert_true(n > 3 || with->rare);
        effort_count(EFFORT_FAULTS, told);
        total += told;
    }
    return total;
}
