/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash, or a failure of the store, at any moment while an option of an image is changed: the disk and its snapshots
 * hold what they held, a check finds nothing but leaks, or an image that is marked dirty, and the header says the old
 * or the new thing.
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
#include "qcow2/amend.h"
#include "qcow2/header_read.h"
#include "qemu_check.h"

#define K 1024ULL

static void ok(int rc)
{
    assert_int_equal(rc, 0);
}

/* --- stories --- */

static const struct byre_amend_progress silent;

/* What the header says that an operation changes. */
struct said {
    unsigned version, order;
    bool lazy;
};

struct story {
    const char *name;
    struct byre_qcow2_create_options format;
    bool snapshots;
    struct said after;
    int (*operation)(struct byre_qcow2 *image, const struct said *after, struct byre_error *err);
};

static int set_order(struct byre_qcow2 *image, const struct said *after, struct byre_error *err)
{
    return byre_qcow2_set_refcount_order(image, after->order, &silent, err);
}

static int set_lazy(struct byre_qcow2 *image, const struct said *after, struct byre_error *err)
{
    return byre_qcow2_set_lazy(image, after->lazy, err);
}

static int set_version(struct byre_qcow2 *image, const struct said *after, struct byre_error *err)
{
    return after->version == 3 ? byre_qcow2_upgrade(image, &silent, err) : byre_qcow2_downgrade(image, &silent, err);
}

/* As if something showed through: what is zero has to stay so in a file that says nothing of that. */
static int read_below(void *opaque, uint64_t goff, void *buf, size_t length, struct byre_error *err)
{
    (void)opaque;
    (void)goff;
    (void)err;
    memset(buf, 0, length);
    return 0;
}

static int set_version_above(struct byre_qcow2 *image, const struct said *after, struct byre_error *err)
{
    const struct byre_qcow2_below below = { .read = read_below };

    byre_qcow2_set_below(image, &below);
    return set_version(image, after, err);
}

#define V3(order_) { .size = 60 * K, .version = 3, .cluster_bits = 9, .refcount_order = (order_) }

static const struct story stories[] = {
    { "refcounts get 64 bits", V3(4), true, { 3, 6, false }, set_order },
    { "refcounts get 2 bits", V3(4), true, { 3, 1, false }, set_order },
    { "refcounts get 1 bit", V3(6), false, { 3, 0, false }, set_order },
    { "refcounts get 16 bits", V3(0), false, { 3, 4, false }, set_order },
    { "lazy refcounts begin", V3(4), true, { 3, 4, true }, set_lazy },
    { "lazy refcounts end",
      { .size = 60 * K, .version = 3, .cluster_bits = 9, .refcount_order = 4, .lazy_refcounts = true }, true,
      { 3, 4, false }, set_lazy },
    { "version 2 becomes 3", { .size = 60 * K, .version = 2, .cluster_bits = 9, .refcount_order = 4 }, true,
      { 3, 4, false }, set_version },
    { "version 3 becomes 2", V3(4), true, { 2, 4, false }, set_version },
    { "version 3 becomes 2, with a layer below", V3(4), true, { 2, 4, false }, set_version_above },
    { "version 3 with lazy refcounts becomes 2",
      { .size = 60 * K, .version = 3, .cluster_bits = 9, .refcount_order = 4, .lazy_refcounts = true }, true,
      { 2, 4, false }, set_version },
};

#define STORIES (sizeof stories / sizeof stories[0])

static void begin(struct snapshot_model *model, const struct story *story)
{
    uint64_t cluster = 1ULL << story->format.cluster_bits;

    snapshot_model_new(model, &story->format);
    ok(snapshot_model_write(model, 0, 6 * cluster));
    ok(snapshot_model_write(model, 50 * cluster, 30 * cluster));
    ok(snapshot_model_write(model, story->format.size - 2 * cluster, cluster));
    if (story->snapshots) {
        ok(snapshot_model_save_state(model));
        ok(snapshot_model_zero(model, 2 * cluster, 2 * cluster, 0));
        ok(snapshot_model_zero(model, 52 * cluster, 3 * cluster, BYRE_WRITE_ZEROES_UNMAP));
        ok(snapshot_model_create(model, 0));
        ok(snapshot_model_write(model, cluster + 100, 2 * cluster));
        ok(snapshot_model_zero(model, 60 * cluster, 2 * cluster, 0));
        ok(snapshot_model_create(model, 1));
        ok(snapshot_model_write(model, 3 * cluster, cluster));
    }
    ok(byre_qcow2_flush(model->image, NULL));
    ok(snapshot_model_close(model));
    ok(snapshot_model_open(model));
    ok(record_store_restart(model->store));
}

/* --- judging --- */

struct judgement {
    struct snapshot_model *model;
    const struct story *story;
    unsigned old, new; /* states of either kind */
};

static bool is_new(struct byre_store *store, const struct story *story, bool *ret_dirty)
{
    struct byre_qcow2_header header = { 0 };
    bool new;

    ok(byre_qcow2_header_read(store, &header, NULL));
    *ret_dirty = header.incompatible & BYRE_QCOW2_INCOMPAT_DIRTY;
    new = header.version == story->after.version && header.refcount_order == story->after.order &&
          !(header.compatible & BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS) == !story->after.lazy;
    if (!new) {
        assert_int_equal(header.version, story->format.version);
        assert_int_equal(header.refcount_order, story->format.refcount_order);
        assert_int_equal(!(header.compatible & BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS), !story->format.lazy_refcounts);
    }
    byre_qcow2_header_done(&header);
    return new;
}

static int look(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    struct judgement *judgement = opaque;
    char report[4096] = "";
    bool dirty;
    int rc = 0;

    if (is_new(after, judgement->story, &dirty))
        judgement->new++;
    else
        judgement->old++;
    effort_count(EFFORT_STATES, 1);
    if (!dirty)
        rc = snapshot_model_check(after, false, false);
    if (rc == 0)
        rc = snapshot_model_judge(judgement->model, after, true);
    if (rc == 0)
        rc = qemu_check(after, 0, dirty, report, sizeof report);
    if (rc == 0)
        rc = snapshot_model_check(after, true, true);
    if (rc == 0)
        rc = snapshot_model_judge(judgement->model, after, true);
    if (rc < 0)
        print_message("%s: %s\n", state->text, report);
    return rc;
}

static void expect_new(struct snapshot_model *model, const struct story *story)
{
    bool dirty;

    assert_true(is_new(model->store, story, &dirty));
    assert_false(dirty);
    ok(snapshot_model_judge(model, model->store, true));
    ok(snapshot_model_check(model->store, true, false));
}

/* --- tests --- */

static void crash_leaves_the_old_or_the_new(void **state)
{
    const struct crash_options options = { .seed = 1, .samples = effort_of(5, 60, 400), .exact = 5,
                                           .torn = effort_of(9, 3, 0) };

    (void)state;
    for (size_t i = 0; i < STORIES; i++) {
        struct snapshot_model model;
        struct judgement judgement = { .model = &model, .story = &stories[i] };

        begin(&model, &stories[i]);
        if (stories[i].operation(model.image, &stories[i].after, &model.err) < 0)
            fail_msg("%s: %s", stories[i].name, model.err.text);
        ok(snapshot_model_close(&model));
        if (crash_states_each(model.store, &options, look, &judgement, NULL) != 0)
            fail_msg("%s", stories[i].name);
        assert_true(judgement.old && judgement.new);
        expect_new(&model, &stories[i]);
        /* And it works: what is in memory is what is in the file. */
        ok(snapshot_model_open(&model));
        ok(snapshot_model_write(&model, 0, 20 * K));
        ok(snapshot_model_close(&model));
        expect_new(&model, &stories[i]);
        print_message("  %s: %u states\n", stories[i].name, judgement.old + judgement.new);
        snapshot_model_done(&model);
    }
}

/* What was opened before is used afterwards. */
static void image_goes_on_after_a_change(void **state)
{
    (void)state;
    for (size_t i = 0; i < STORIES; i++) {
        struct snapshot_model model;

        begin(&model, &stories[i]);
        ok(stories[i].operation(model.image, &stories[i].after, &model.err));
        ok(snapshot_model_write(&model, 5 * K, 20 * K));
        ok(snapshot_model_discard(&model, 10 * K, 8 * K));
        ok(snapshot_model_zero(&model, 30 * K, 4 * K, 0));
        ok(snapshot_model_write(&model, 1 * K, 45 * K));
        ok(snapshot_model_close(&model));
        expect_new(&model, &stories[i]);
        snapshot_model_done(&model);
    }
}

/* The n-th call fails: false if there are not so many. */
static bool fail_once(const struct story *story, const struct record_fault *fault)
{
    struct snapshot_model model;
    bool struck, dirty;
    int rc;

    begin(&model, story);
    record_store_fail(model.store, fault);
    rc = story->operation(model.image, &story->after, &model.err);
    struck = record_store_faults(model.store) > 0;
    record_store_fail(model.store, NULL);
    if (rc < 0 && byre_qcow2_check_writable(model.image, NULL) == 0) {
        ok(snapshot_model_judge(&model, model.store, true));
        rc = story->operation(model.image, &story->after, &model.err);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(rc < 0, snapshot_model_close(&model) < 0);
    if (rc == 0)
        expect_new(&model, story);
    ok(snapshot_model_open(&model));
    ok(snapshot_model_close(&model));
    (void)is_new(model.store, story, &dirty);
    ok(snapshot_model_judge(&model, model.store, true));
    ok(snapshot_model_check(model.store, false, false));
    snapshot_model_done(&model);
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
    uint64_t total = 0;

    (void)state;
    for (size_t s = 0; s < STORIES; s++) {
        for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
            struct record_fault fault = faults[i];

            for (fault.nth = 1; fail_once(&stories[s], &fault); fault.nth += effort_of(3, 1, 1))
                total++;
            assert_true(fault.nth > 1);
        }
    }
    effort_count(EFFORT_FAULTS, total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crash_leaves_the_old_or_the_new),
        cmocka_unit_test(image_goes_on_after_a_change),
        cmocka_unit_test(failures_leave_the_old_or_the_new),
    };

    return effort_report(cmocka_run_group_tests(tests, NULL, NULL));
}
