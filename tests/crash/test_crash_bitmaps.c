/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash at any moment while bitmaps are changed, follow changes, or grow: each is what it was before or after, or
 * says of itself that it cannot be relied on; none is clean where the disk has changed.
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
#include "byre/disk.h"
#include "effort.h"
#include "guest.h"
#include "qcow2/fmt_bitmap.h"
#include "qcow2/header_read.h"
#include "qcow2/header_replace.h"
#include "qcow2/image.h"

#define K 1024ULL

enum { STEPS_MAX = 24 };

/* What the bitmaps say after a step, which took the calls [start, done) of the log. */
struct step {
    size_t start, done;
    struct bitmap_states states;
};

static struct {
    struct guest *guest;
    struct step steps[STEPS_MAX];
    unsigned count;
    bool follows; /* the guest writes: in between bitmaps may be inconsistent */
    unsigned inconsistent, consistent;
} story;

static void ok(int rc)
{
    if (rc < 0)
        fprintf(stderr, "%s\n", story.guest ? story.guest->err.text : "");
    assert_int_equal(rc, 0);
}

static struct guest *begin(const struct guest_options *options, bool follows)
{
    story.guest = guest_new(options);
    story.count = 0;
    story.follows = follows;
    story.inconsistent = story.consistent = 0;
    return story.guest;
}

/* From here on the log is looked at. */
static void restart(void)
{
    ok(guest_restart(story.guest));
    story.count = 1;
    story.steps[0].start = story.steps[0].done = 0;
    bitmap_states_of(story.guest->image, &story.steps[0].states);
}

static void step_begins(void)
{
    assert_true(story.count < STEPS_MAX);
    story.steps[story.count].start = record_store_count(story.guest->store);
}

static void step_ends(int rc)
{
    struct step *step = &story.steps[story.count++];

    ok(rc);
    step->done = record_store_count(story.guest->store);
    bitmap_states_of(story.guest->image, &step->states);
}

/* A step that changes bitmaps. */
#define STEP(call) \
    do { \
        step_begins(); \
        step_ends(call); \
    } while (0)

#define ADD(name, bits, enabled) byre_qcow2_bitmap_add(story.guest->image, name, bits, enabled, &story.guest->err)

/* Closing is a step; the image is open again afterwards, outside of what is looked at. */
static void close_and_look(void)
{
    struct step *step = &story.steps[story.count];

    step_begins();
    ok(guest_close(story.guest));
    step->done = record_store_count(story.guest->store);
    story.count++;
    ok(bitmap_states_in(story.guest->store, &step->states));
}

/* Does the state hold bytes of the disk that are not those of the beginning, where a bitmap is clean? */
static int judge_changes(struct byre_store *after, const struct bitmap_states *states)
{
    struct byre_qcow2_open_options options = { .writable = false };
    const struct guest *guest = story.guest;
    byre_extent_vec extents = VEC_INIT;
    struct byre_qcow2 *image;
    uint8_t sector[512];
    int rc = byre_qcow2_open(after, &options, &image, NULL);

    if (rc == 0)
        rc = byre_qcow2_map(image, 0, MIN(byre_qcow2_header(image)->size, guest->base_size), &extents, NULL);
    for (size_t i = 0; rc == 0 && i < extents.len; i++) {
        const struct byre_extent *extent = &extents.ptr[i];

        for (uint64_t at = 0; rc == 0 && at < extent->length; at += sizeof sector) {
            uint64_t goff = extent->goff + at;

            memset(sector, 0, sizeof sector);
            if (extent->kind == BYRE_EXTENT_DATA)
                rc = byre_store_pread(after, sector, sizeof sector, extent->hoff + at, NULL);
            if (rc < 0 || memcmp(sector, guest->first + goff, sizeof sector) == 0)
                continue;
            for (unsigned b = 0; b < states->count; b++) {
                if (states->list[b].enabled && !states->list[b].inconsistent && !states->list[b].dirty[goff / 512])
                    rc = -1;
            }
            if (rc < 0)
                fprintf(stderr, "guest offset %#llx has changed, and a bitmap is clean\n", (unsigned long long)goff);
        }
    }
    vec_done(&extents);
    byre_qcow2_close(image, NULL);
    return rc;
}

static int judge(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    static struct bitmap_states found;
    const char *why = NULL;
    bool inconsistent = false;
    unsigned last = 0;

    (void)opaque;
    if (bitmap_states_in(after, &found) < 0)
        return -1;
    for (unsigned i = 0; i < story.count; i++) {
        if (story.steps[i].done <= state->end)
            last = i;
    }
    for (unsigned i = 0; i < found.count; i++)
        inconsistent |= found.list[i].inconsistent;
    story.inconsistent += inconsistent;
    story.consistent += !inconsistent;
    if (inconsistent && !story.follows)
        why = "being inconsistent";
    else
        why = bitmap_states_differ(&story.steps[last].states, &found);
    if (why && last + 1 < story.count && story.steps[last + 1].start < state->end)
        why = bitmap_states_differ(&story.steps[last + 1].states, &found);
    if (why)
        fprintf(stderr, "after step %u of %u the bitmaps differ in %s: %s\n", last, story.count, why, state->text);
    return why ? -1 : story.follows ? judge_changes(after, &found) : 0;
}

static void finish(void)
{
    struct crash_options options = { .seed = 1, .samples = 20, .torn = 3 };
    uint64_t states = 0;

    if (story.guest->image)
        ok(guest_close(story.guest));
    ok(crash_states_each(story.guest->store, &options, judge, NULL, &states));
    ok(guest_crash(story.guest, &options));
    ok(guest_check(story.guest, true));
    effort_count(EFFORT_STATES, states);
    print_message("  %llu states, %u with inconsistent bitmaps\n", (unsigned long long)states, story.inconsistent);
    if (story.follows)
        assert_true(story.inconsistent > 0 && story.consistent > 0);
    guest_free(story.guest);
}

/* --- changes --------------------------------------------------------------------------------------------- */

static void change_all(const struct guest_options *options)
{
    struct guest *guest = begin(options, false);
    struct byre_error *err = &guest->err;

    ok(guest_write(guest, 0, 3 * K));
    restart();
    STEP(ADD("one", 9, true));
    STEP(ADD("two", 12, false));
    STEP(byre_qcow2_bitmap_enable(guest->image, "two", true, err));
    STEP(byre_qcow2_bitmap_enable(guest->image, "one", false, err));
    STEP(byre_qcow2_bitmap_enable(guest->image, "two", false, err));
    ok(guest_flush(guest));
    STEP(byre_qcow2_bitmap_remove(guest->image, "one", err));
    STEP(ADD("three", 16, false));
    STEP(byre_qcow2_bitmap_remove(guest->image, "two", err));
    STEP(byre_qcow2_bitmap_remove(guest->image, "three", err));
    STEP(ADD("four", 0, false));
    finish();
}

static void each_change_is_whole(void **state)
{
    (void)state;
    change_all(&(struct guest_options){ .size = 40 * K });
    change_all(&(struct guest_options){ .size = 40 * K, .cluster_bits = 12, .backing_size = 20 * K });
    change_all(&(struct guest_options){ .size = 40 * K, .lazy = true });
    change_all(&(struct guest_options){ .size = 40 * K, .refcount_order = -1, .cluster_bits = 10 });
}

static void merging_and_clearing_is_whole(void **state)
{
    struct guest *guest = begin(&(struct guest_options){ .size = 40 * K }, false);

    (void)state;
    ok(ADD("one", 9, true));
    ok(ADD("two", 12, false));
    ok(guest_write(guest, 5 * K, 3 * K));
    ok(guest_zero(guest, 20 * K, 9 * K, 0));
    ok(guest_close(guest));
    ok(guest_open(guest));
    restart();
    STEP(byre_qcow2_bitmap_merge(guest->image, "two", guest->image, "one", &guest->err));
    STEP(byre_qcow2_bitmap_clear(guest->image, "one", &guest->err));
    STEP(byre_qcow2_bitmap_merge(guest->image, "one", guest->image, "two", &guest->err));
    STEP(byre_qcow2_bitmap_clear(guest->image, "two", &guest->err));
    finish();
}

/* --- following ------------------------------------------------------------------------------------------- */

static void follow_all(const struct guest_options *options)
{
    struct guest *guest = begin(options, true);

    ok(ADD("fine", 9, true));
    ok(ADD("off", 9, false));
    ok(ADD("coarse", 13, true));
    ok(guest_write(guest, 2 * K, 6 * K));
    ok(guest_close(guest));
    ok(guest_open(guest));
    restart();
    ok(guest_write(guest, 3 * K, 1 * K));
    ok(guest_flush(guest));
    ok(guest_write(guest, 20 * K, 2 * K));
    ok(guest_zero(guest, 5 * K, 1 * K, 0));
    ok(guest_discard(guest, 6 * K, 1 * K));
    close_and_look();
    ok(guest_open(guest));
    ok(guest_write(guest, 3 * K, 512)); /* dirty already */
    close_and_look();
    finish();
}

static void what_has_changed_is_dirty_or_in_use(void **state)
{
    (void)state;
    follow_all(&(struct guest_options){ .size = 40 * K });
    follow_all(&(struct guest_options){ .size = 40 * K, .cluster_bits = 12 });
    follow_all(&(struct guest_options){ .size = 40 * K, .lazy = true });
    follow_all(&(struct guest_options){ .size = 40 * K, .device_size = 256 * K });
}

/* A cluster of 512 bytes has the bits of 2 MiB: the table gets longer. */
static void bitmaps_grow_with_the_disk(void **state)
{
    struct guest *guest = begin(&(struct guest_options){ .first_size = 2048 * K - 4 * K, .size = 2048 * K + 32 * K },
                                true);

    (void)state;
    ok(ADD("fine", 9, true));
    ok(ADD("off", 9, false));
    ok(ADD("coarse", 16, true));
    ok(guest_write(guest, 2040 * K, 2 * K));
    ok(guest_close(guest));
    ok(guest_open(guest));
    restart();
    STEP(guest_grow(guest, 2048 * K + 16 * K));
    STEP(guest_grow(guest, 2048 * K + 32 * K));
    finish();
}

/* --- the header ------------------------------------------------------------------------------------------- */

struct headers {
    struct byre_qcow2_header before, after;
    unsigned old, new;
};

static bool same_header(const struct byre_qcow2_header *a, const struct byre_qcow2_header *b)
{
    size_t j = 0;

    for (size_t i = 0; i < a->extension_count; i++) {
        const struct byre_qcow2_extension *x = &a->extensions[i], *y;

        if (x->type == BYRE_QCOW2_EXT_FILLER)
            continue;
        if (j == b->extension_count)
            return false;
        y = &b->extensions[j++];
        if (x->type != y->type || x->length != y->length || memcmp(x->data, y->data, x->length) != 0)
            return false;
    }
    return j == b->extension_count && a->autoclear == b->autoclear && a->size == b->size &&
           strcmp(a->backing_name ? a->backing_name : "", b->backing_name ? b->backing_name : "") == 0;
}

static int judge_header(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    struct headers *headers = opaque;
    struct byre_qcow2_header found;
    struct byre_error err = BYRE_ERROR_INIT;
    bool old, new;

    if (byre_qcow2_header_read(after, &found, &err) < 0) {
        fprintf(stderr, "%s: %s\n", err.text, state->text);
        return -1;
    }
    old = same_header(&found, &headers->before);
    new = same_header(&found, &headers->after);
    byre_qcow2_header_done(&found);
    headers->old += old;
    headers->new += new;
    if (!old && !new)
        fprintf(stderr, "neither the old nor the new header: %s\n", state->text);
    return old || new ? 0 : -1;
}

/* Replaces the bitmaps extension, in an image with another one of `length` bytes before it.  -ENOSPC may be. */
static int replace(struct byre_store *store, const void *data, bool autoclear)
{
    struct byre_qcow2_open_options options = { .writable = true };
    struct crash_options crash = { .seed = 1, .samples = 20 };
    struct headers headers = { .old = 0 };
    struct byre_qcow2_header next;
    struct byre_qcow2 *image;
    uint64_t states = 0;
    int rc;

    assert_int_equal(byre_qcow2_header_read(store, &headers.before, NULL), 0);
    assert_int_equal(byre_qcow2_open(store, &options, &image, NULL), 0);
    assert_int_equal(record_store_restart(store), 0);
    assert_int_equal(byre_header_variant(&image->header, BYRE_QCOW2_EXT_BITMAPS, data, 24, &next, NULL), 0);
    next.autoclear = autoclear ? BYRE_QCOW2_AUTOCLEAR_BITMAPS : 0;
    pthread_mutex_lock(&image->mutex);
    rc = byre_header_replace_locked(image, &next, NULL);
    pthread_mutex_unlock(&image->mutex);
    byre_header_variant_done(&next);
    assert_int_equal(byre_qcow2_header_read(store, &headers.after, NULL), 0);
    assert_int_equal(crash_states_each(store, &crash, judge_header, &headers, &states), 0);
    if (rc == 0)
        assert_true(headers.old && headers.new);
    effort_count(EFFORT_STATES, states);
    byre_qcow2_header_done(&headers.before);
    byre_qcow2_header_done(&headers.after);
    image->writable = false; /* the extension is none: it must not be stored */
    assert_int_equal(byre_qcow2_close(image, NULL), 0);
    return rc;
}

static void header_in_all_layouts(unsigned cluster_bits, const char *backing_name, size_t length)
{
    struct byre_qcow2_create_options options = { .size = 8 * K, .version = 3, .cluster_bits = cluster_bits,
                                                 .refcount_order = 4, .backing_name = backing_name };
    uint8_t filling[600] = { 1, 2, 3 }, data[24] = { 0 };
    struct byre_qcow2_header next;
    struct byre_qcow2 *image;
    struct byre_store *store;
    int rc;

    assert_int_equal(record_store_new(NULL, 0, &store), 0);
    store->growable = true;
    assert_int_equal(byre_qcow2_create(store, &options, &image, NULL), 0);
    assert_int_equal(byre_qcow2_seal(image, NULL), 0);
    assert_int_equal(byre_header_variant(&image->header, 0x12345678, filling, (uint32_t)length, &next, NULL), 0);
    pthread_mutex_lock(&image->mutex);
    rc = byre_header_replace_locked(image, &next, NULL);
    pthread_mutex_unlock(&image->mutex);
    byre_header_variant_done(&next);
    assert_int_equal(byre_qcow2_close(image, NULL), 0);
    /* Without the mark nobody looks whether there is a directory. */
    if (rc == 0) {
        rc = replace(store, data, false);
        data[0] = 7;
        if (rc == 0)
            rc = replace(store, data, false);
        data[23] = 9;
        if (rc == 0)
            rc = replace(store, data, false);
        if (rc == 0)
            rc = replace(store, NULL, false);
    }
    assert_true(rc == 0 || rc == -ENOSPC);
    if (cluster_bits >= 12)
        assert_int_equal(rc, 0);
    byre_store_close(store);
}

static void header_is_the_old_or_the_new_one(void **state)
{
    unsigned every = effort_of(64, 24, 8);

    (void)state;
    for (size_t length = 8; length <= 520; length += every) {
        header_in_all_layouts(12, NULL, length);
        header_in_all_layouts(12, "below.qcow2", length);
        header_in_all_layouts(10, "below", length);
    }
    for (size_t length = 320; length <= 400; length += 8) {
        header_in_all_layouts(12, NULL, length);
        header_in_all_layouts(13, "below.qcow2", length);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_is_the_old_or_the_new_one),
        cmocka_unit_test(each_change_is_whole),
        cmocka_unit_test(merging_and_clearing_is_whole),
        cmocka_unit_test(what_has_changed_is_dirty_or_in_use),
        cmocka_unit_test(bitmaps_grow_with_the_disk),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
