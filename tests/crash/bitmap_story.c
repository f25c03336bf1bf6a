/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The story of bitmaps under trouble, and how it is judged: what was done is there, no bitmap that says it is whole is
 * clean where the disk has changed, and the image is free of corruption.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "bitmap_states.h"
#include "bitmap_story.h"
#include "byre/disk.h"
#include "effort.h"

#define K 1024ULL

/* What of a story has worked. */
struct deeds {
    bool added, merged, disabled, removed, closed;
    bool tried_remove, tried_disable;
    bool written[40 * 2]; /* sectors that are not what they were, by a write that worked */
    bool all;             /* everything has worked */
};

static void note(struct deeds *deeds, uint64_t goff, uint64_t length, int rc)
{
    for (uint64_t at = goff / 512; rc == 0 && at * 512 < goff + length; at++)
        deeds->written[at] = true;
    deeds->all &= rc == 0;
}

static bool done(struct deeds *deeds, int rc)
{
    deeds->all &= rc == 0;
    return rc == 0;
}

static void tell(struct guest *guest, struct deeds *deeds)
{
    struct byre_error *err = &guest->err;
    struct byre_qcow2 *image = guest->image;

    *deeds = (struct deeds){ .all = true };
    note(deeds, 3 * K, 1 * K, guest_write(guest, 3 * K, 1 * K));
    deeds->added = done(deeds, byre_qcow2_bitmap_add(image, "two", 12, true, err));
    note(deeds, 20 * K, 2 * K, guest_write(guest, 20 * K, 2 * K));
    note(deeds, 5 * K, 1 * K, guest_zero(guest, 5 * K, 1 * K, 0));
    if (deeds->added)
        deeds->merged = done(deeds, byre_qcow2_bitmap_merge(image, "two", image, "one", err));
    (void)done(deeds, guest_flush(guest));
    deeds->tried_remove = true;
    deeds->removed = done(deeds, byre_qcow2_bitmap_remove(image, "off", err));
    note(deeds, 30 * K, 512, guest_write(guest, 30 * K, 512));
    deeds->tried_disable = deeds->added;
    if (deeds->added)
        deeds->disabled = done(deeds, byre_qcow2_bitmap_enable(image, "two", false, err));
    deeds->closed = done(deeds, guest_close(guest));
}

static int find(const struct bitmap_states *states, const char *name)
{
    for (unsigned i = 0; i < states->count; i++) {
        if (strcmp(states->list[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static void judge(struct guest *guest, const struct deeds *deeds, uint64_t nth)
{
    static struct bitmap_states found;
    int one, two, off;

    assert_int_equal(bitmap_states_in(guest->store, &found), 0);
    one = find(&found, "one");
    two = find(&found, "two");
    off = find(&found, "off");
    if (one < 0 || (deeds->added && two < 0) || (!deeds->removed && !deeds->tried_remove && off < 0) ||
        (deeds->removed && off >= 0))
        fail_msg("fault %llu: bitmaps are missing, or there still", (unsigned long long)nth);
    if (deeds->all && (found.list[one].inconsistent || found.list[two].inconsistent))
        fail_msg("fault %llu: nothing has failed, and a bitmap is inconsistent", (unsigned long long)nth);
    for (uint64_t i = 0; i < ARRAY_LEN(deeds->written); i++) {
        if (!deeds->written[i] || found.list[one].inconsistent)
            continue;
        if (!found.list[one].dirty[i])
            fail_msg("fault %llu: sector %llu was written and is clean", (unsigned long long)nth,
                     (unsigned long long)i);
        if (deeds->merged && i < 60 && !found.list[two].inconsistent && !found.list[two].dirty[i])
            fail_msg("fault %llu: sector %llu was merged and is clean", (unsigned long long)nth,
                     (unsigned long long)i);
    }
    if (deeds->disabled && found.list[two].enabled)
        fail_msg("fault %llu: a bitmap is enabled again", (unsigned long long)nth);
    assert_int_equal(guest_check(guest, deeds->all), 0);
}

/* The image works on: what is broken can be removed. */
static void go_on(struct guest *guest)
{
    struct bitmap_states found;

    assert_int_equal(guest_open(guest), 0);
    bitmap_states_of(guest->image, &found);
    for (unsigned i = 0; i < found.count; i++)
        assert_int_equal(byre_qcow2_bitmap_remove(guest->image, found.list[i].name, &guest->err), 0);
    assert_int_equal(byre_qcow2_bitmap_add(guest->image, "new", 9, true, &guest->err), 0);
    assert_int_equal(guest_write(guest, 7 * K, 3 * K), 0);
    assert_int_equal(guest_close(guest), 0);
    assert_int_equal(guest_check(guest, false), 0);
}

static struct guest *set_the_scene(unsigned cluster_bits)
{
    struct guest *guest = guest_new(&(struct guest_options){ .size = 40 * K, .cluster_bits = cluster_bits });

    assert_int_equal(byre_qcow2_bitmap_add(guest->image, "one", 9, true, &guest->err), 0);
    assert_int_equal(byre_qcow2_bitmap_add(guest->image, "off", 9, false, &guest->err), 0);
    assert_int_equal(guest_write(guest, 2 * K, 6 * K), 0);
    assert_int_equal(guest_close(guest), 0);
    assert_int_equal(guest_open(guest), 0);
    assert_int_equal(guest_restart(guest), 0);
    return guest;
}

static uint64_t tell_in_clusters(const struct trouble *with, unsigned cluster_bits)
{
    uint64_t nth;

    for (nth = 1;; nth++) {
        struct guest *guest = set_the_scene(cluster_bits);
        struct deeds deeds;
        bool struck;

        with->begin(guest, with->opaque, nth);
        tell(guest, &deeds);
        struck = with->end(guest);
        judge(guest, &deeds, nth);
        go_on(guest);
        guest_free(guest);
        if (!struck)
            break;
    }
    assert_true(nth > 4);
    effort_count(EFFORT_FAULTS, nth - 1);
    return nth - 1;
}

uint64_t tell_of_bitmaps(const struct trouble *with)
{
    return tell_in_clusters(with, 9) + tell_in_clusters(with, 12);
}
