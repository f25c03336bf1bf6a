/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash, or a failure of the store, at any moment while a snapshot is made, applied or deleted: the image is what it
 * was before or what it is afterwards, the disk and each snapshot, after `check -r all` has mended the counts; and
 * version 3 is in need of that only where it is marked dirty.  Afterwards, writes to what is shared spare the snapshot.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../model/snapshot_model.h"
#include "byre/disk.h"
#include "crash_states.h"
#include "effort.h"
#include "guest.h"
#include "story.h"
#include "qcow2/check.h"
#include "qcow2/header_read.h"
#include "qemu_check.h"

#define K 1024ULL

typedef int operation(struct snapshot_model *model);

/* --- stories: what there is before, and what is then done --- */

static void set_up(struct snapshot_model *model, const struct byre_qcow2_create_options *options)
{
    uint64_t cluster = 1ULL << options->cluster_bits;

    snapshot_model_new(model, options);
    ok(snapshot_model_write(model, 0, 6 * cluster));
    ok(snapshot_model_write(model, options->size - 2 * cluster, cluster));
    ok(snapshot_model_compressed(model, 8 * cluster, 3 * cluster));
    ok(snapshot_model_save_state(model));
}

static void set_up_two(struct snapshot_model *model, const struct byre_qcow2_create_options *options)
{
    uint64_t cluster = 1ULL << options->cluster_bits;

    set_up(model, options);
    ok(snapshot_model_create(model, 0));
    ok(snapshot_model_write(model, cluster + 100, 2 * cluster));
    ok(snapshot_model_zero(model, 5 * cluster, cluster, 0));
    if (options->version > 2)
        ok(snapshot_model_grow(model, options->size + 40 * cluster));
    ok(snapshot_model_create(model, 1));
    ok(snapshot_model_write(model, 0, cluster));
    ok(snapshot_model_discard(model, 8 * cluster, 2 * cluster));
    ok(snapshot_model_write(model, 20 * cluster, cluster));
}

static int create(struct snapshot_model *model)
{
    return snapshot_model_create(model, 2);
}

static int apply(struct snapshot_model *model)
{
    return snapshot_model_apply(model, 0);
}

static int delete_first(struct snapshot_model *model)
{
    return snapshot_model_delete(model, 0);
}

static int delete_last(struct snapshot_model *model)
{
    return snapshot_model_delete(model, 1);
}

static const struct story {
    const char *name;
    void (*before)(struct snapshot_model *model, const struct byre_qcow2_create_options *options);
    operation *operation;
} stories[] = {
    { "the first snapshot is made", set_up, create },
    { "the third snapshot is made", set_up_two, create },
    { "the first snapshot is applied", set_up_two, apply },
    { "the first snapshot is deleted", set_up_two, delete_first },
    { "the last snapshot is deleted", set_up_two, delete_last },
};

static const struct byre_qcow2_create_options formats[] = {
    { .size = 60 * K, .version = 3, .cluster_bits = 9, .refcount_order = 4 },
    { .size = 60 * K, .version = 2, .cluster_bits = 9, .refcount_order = 4 },
    { .size = 100 * K, .version = 3, .cluster_bits = 9, .refcount_order = 6 },
    { .size = 100 * K, .version = 3, .cluster_bits = 10, .refcount_order = 3, .lazy_refcounts = true },
    { .size = 300 * K, .version = 3, .cluster_bits = 14, .refcount_order = 4, .extended_l2 = true },
};

#define EACH(format_, story_) \
    for (size_t f_ = 0; f_ < sizeof formats / sizeof formats[0]; f_++) \
        for (size_t s_ = 0; s_ < sizeof stories / sizeof stories[0]; s_++) \
            if ((format_ = &formats[f_]), (story_ = &stories[s_]), true)

/* --- judging --- */

/* What the image was, and what it was to be. */
struct pair {
    struct snapshot_model before, after;
    bool has_no_mark; /* version 2 cannot say that counts are to be mended */
    uint64_t states;
};

static bool is_dirty(struct byre_store *store)
{
    struct byre_qcow2_header header = { 0 };
    bool dirty;

    ok(byre_qcow2_header_read(store, &header, NULL));
    dirty = header.incompatible & BYRE_QCOW2_INCOMPAT_DIRTY;
    byre_qcow2_header_done(&header);
    return dirty;
}

static int judge_either(struct pair *pair, struct byre_store *store)
{
    pair->before.quiet = true;
    return snapshot_model_judge(&pair->before, store, true) == 0 ? 0 : snapshot_model_judge(&pair->after, store, true);
}

static int look(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    char report[4096] = "";
    struct pair *pair = opaque;
    bool dirty = is_dirty(after), excused = dirty || pair->has_no_mark;
    int rc = 0;

    pair->states++;
    effort_count(EFFORT_STATES, 1);
    if (!excused)
        rc = snapshot_model_check(after, false, false);
    if (rc == 0)
        rc = judge_either(pair, after); /* mending changes no contents */
    if (rc == 0)
        rc = qemu_check(after, 0, excused, report, sizeof report);
    if (rc == 0)
        rc = snapshot_model_check(after, true, true);
    if (rc == 0)
        rc = judge_either(pair, after);
    if (rc < 0)
        print_message("%s: %s\n", state->text, report);
    return rc;
}

static void begin(struct pair *pair, struct snapshot_model *model, const struct byre_qcow2_create_options *format,
                  const struct story *story)
{
    story->before(model, format);
    model->small_windows = format->refcount_order == 6;
    ok(byre_qcow2_flush(model->image, NULL));
    ok(snapshot_model_close(model));
    ok(snapshot_model_open(model));
    ok(record_store_restart(model->store));
    *pair = (struct pair){ .states = 0 };
    snapshot_model_copy(model, &pair->before);
}

static void end(struct pair *pair, struct snapshot_model *model)
{
    snapshot_model_done(&pair->before);
    snapshot_model_done(&pair->after);
    snapshot_model_done(model);
}

/* --- tests --- */

static void crash_leaves_the_old_or_the_new(void **state)
{
    const struct crash_options options = { .seed = 1, .samples = effort_of(3, 60, 400), .exact = 5,
                                           .torn = effort_of(9, 3, 0) };
    const struct byre_qcow2_create_options *format;
    const struct story *story;

    (void)state;
    EACH(format, story) {
        struct snapshot_model model;
        struct pair pair;

        begin(&pair, &model, format, story);
        ok(story->operation(&model));
        ok(snapshot_model_close(&model));
        snapshot_model_copy(&model, &pair.after);
        pair.has_no_mark = format->version == 2;
        if (crash_states_each(model.store, &options, look, &pair, NULL) != 0)
            fail_msg("%s, version %u", story->name, format->version);
        assert_true(pair.states > record_store_count(model.store));
        ok(snapshot_model_check(model.store, true, false));
        ok(snapshot_model_judge(&pair.after, model.store, true));
        print_message("  %s: %u states\n", story->name, (unsigned)pair.states);
        end(&pair, &model);
    }
}

/* The operation with the n-th call failing; what is left is either image, and works.  False: nothing failed. */
static bool fail_once(const struct byre_qcow2_create_options *format, const struct story *story,
                      const struct record_fault *fault)
{
    struct snapshot_model model;
    struct pair pair;
    bool struck;
    int rc, closed;

    begin(&pair, &model, format, story);
    record_store_fail(model.store, fault);
    rc = story->operation(&model);
    struck = record_store_faults(model.store) > 0;
    record_store_fail(model.store, NULL);
    if (struck && rc < 0 && byre_qcow2_check_writable(model.image, NULL) == 0) {
        /* It was refused, and nothing has happened: it can be done now. */
        ok(snapshot_model_judge(&pair.before, model.store, true));
        rc = story->operation(&model);
    }
    closed = snapshot_model_close(&model);
    assert_int_equal(rc < 0, closed < 0);
    if (rc < 0) {
        /* Whatever it has come to, it was meant to be this. */
        ok(snapshot_model_open(&model));
        ok(byre_qcow2_close(model.image, NULL));
        model.image = NULL;
        if (snapshot_model_judge((pair.before.quiet = true, &pair.before), model.store, true) < 0) {
            struct snapshot_model other;
            struct pair unused;

            begin(&unused, &other, format, story);
            ok(story->operation(&other));
            ok(snapshot_model_judge(&other, model.store, true));
            end(&unused, &other);
        }
        ok(snapshot_model_check(model.store, true, true));
    } else {
        ok(snapshot_model_check(model.store, fault->kinds != RECORD_READ, false));
        ok(snapshot_model_judge(&model, model.store, true));
    }
    end(&pair, &model);
    return struck;
}

static void failures_leave_the_old_or_the_new(void **state)
{
    static const struct record_fault faults[] = {
        { .kinds = RECORD_WRITE | RECORD_ZERO, .code = -EIO },
        { .kinds = RECORD_CHANGES, .code = -ENOSPC, .for_ever = true },
        { .kinds = RECORD_FLUSH, .code = -EIO, .for_ever = true },
        { .kinds = RECORD_READ, .code = -EIO },
    };
    const struct byre_qcow2_create_options *format;
    const struct story *story;
    uint64_t total = 0;

    (void)state;
    EACH(format, story) {
        for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
            struct record_fault fault = faults[i];

            for (fault.nth = 1; fail_once(format, story, &fault); fault.nth += effort_of(3, 1, 1))
                total++;
            assert_true(fault.nth > 2);
        }
    }
    effort_count(EFFORT_FAULTS, total);
}

/* What the guest knows of the disk, in every state that a crash can leave. */
static void writes_to_shared_clusters_are_as_safe_as_others(void **state)
{
    static const struct guest_options kinds[] = {
        { .size = 60 * K },
        { .size = 60 * K, .version = 2 },
        { .size = 60 * K, .lazy = true },
        { .size = 60 * K, .refcount_order = 6, .backing_size = 30 * K },
        { .size = 200 * K, .cluster_bits = 12, .device_size = 300 * K },
        { .size = 200 * K, .cluster_bits = 14, .extended = true, .backing_size = 30 * K },
        { .size = 60 * K, .encrypted = true },
    };
    const struct byre_snapshot_create_options create_options = { .name = "one" };
    const struct byre_snapshot_selector which = { .name = "one" };
    struct crash_options options = { .seed = 1, .samples = effort_of(3, 20, 300), .torn = effort_of(9, 2, 0) };

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct guest *guest = guest_new(&kinds[i]);

        ok(guest_write(guest, 0, 9 * K));
        ok(guest_write(guest, 40 * K, 4 * K));
        ok(byre_qcow2_snapshot_create(guest->image, &create_options, NULL, &guest->err));
        ok(guest_restart(guest));
        ok(guest_write(guest, 700, 3 * K));
        ok(guest_discard(guest, 4 * K, 2 * K));
        ok(guest_flush(guest));
        ok(guest_zero(guest, 40 * K, 1 * K, 0));
        ok(guest_write(guest, 0, 512));
        ok(guest_write(guest, 50 * K, 2 * K));
        ok(guest_compare(guest));
        /* Where a crash meanwhile leaves counts that are to be mended, and no mark, that is none of the guest's. */
        if (kinds[i].version != 2)
            ok(byre_qcow2_snapshot_delete(guest->image, &which, &guest->err));
        ok(guest_compare(guest));
        ok(guest_close(guest));
        ok(guest_crash(guest, &options));
        ok(guest_check(guest, true));
        guest_free(guest);
    }
}

/* The same, for what the snapshot holds. */
static int look_at_snapshots(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    int rc = snapshot_model_check(after, false, is_dirty(after));

    effort_count(EFFORT_STATES, 1);
    if (rc == 0)
        rc = snapshot_model_judge(opaque, after, false);
    if (rc < 0)
        print_message("%s\n", state->text);
    return rc;
}

static void writes_to_shared_clusters_spare_the_snapshots(void **state)
{
    const struct crash_options options = { .seed = 1, .samples = effort_of(3, 20, 300), .torn = effort_of(9, 2, 0) };

    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        uint64_t cluster = 1ULL << formats[i].cluster_bits;
        struct snapshot_model model;

        set_up_two(&model, &formats[i]);
        ok(byre_qcow2_flush(model.image, NULL));
        ok(record_store_restart(model.store));
        ok(snapshot_model_write(&model, 0, 12 * cluster));
        ok(snapshot_model_save_state(&model));
        ok(byre_qcow2_flush(model.image, NULL));
        ok(snapshot_model_discard(&model, 0, 4 * cluster));
        ok(byre_qcow2_flush(model.image, NULL));
        ok(snapshot_model_compressed(&model, 2 * cluster, 3 * cluster));
        ok(snapshot_model_write(&model, cluster / 2, 3 * cluster));
        ok(snapshot_model_close(&model));
        ok(crash_states_each(model.store, &options, look_at_snapshots, &model, NULL));
        ok(snapshot_model_judge(&model, model.store, true));
        snapshot_model_done(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crash_leaves_the_old_or_the_new),
        cmocka_unit_test(failures_leave_the_old_or_the_new),
        cmocka_unit_test(writes_to_shared_clusters_are_as_safe_as_others),
        cmocka_unit_test(writes_to_shared_clusters_spare_the_snapshots),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
