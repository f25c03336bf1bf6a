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

#include "amend_story.h"
#include "crash_states.h"
#include "effort.h"
#include "qemu_check.h"
#include "story.h"

#define K 1024ULL

/* --- judging --- */

struct judgement {
    struct snapshot_model *model;
    const struct amend_story *story;
    unsigned old, new; /* states of either kind */
};

static int look(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    struct judgement *judgement = opaque;
    char report[4096] = "";
    bool dirty;
    int rc = 0;

    if (amend_story_is_new(after, judgement->story, &dirty))
        judgement->new++;
    else
        judgement->old++;
    effort_count(EFFORT_STATES, 1);
    if (!dirty)
        rc = snapshot_model_check(after, false, false);
    if (rc == 0)
        rc = snapshot_model_judge(judgement->model, after, true);
    if (rc == 0 && !judgement->story->format.data_file)
        rc = qemu_check(after, 0, dirty, report, sizeof report);
    if (rc == 0)
        rc = snapshot_model_check(after, true, true);
    if (rc == 0)
        rc = snapshot_model_judge(judgement->model, after, true);
    if (rc < 0)
        print_message("%s: %s\n", state->text, report);
    return rc;
}

/* --- tests --- */

static void crash_leaves_the_old_or_the_new(void **state)
{
    const struct crash_options options = { .seed = 1, .samples = effort_of(5, 60, 400), .exact = 5,
                                           .torn = effort_of(9, 3, 0) };

    (void)state;
    for (size_t i = 0; i < amend_story_count; i++) {
        struct snapshot_model model;
        struct judgement judgement = { .model = &model, .story = &amend_stories[i] };

        amend_story_begin(&model, &amend_stories[i]);
        if (amend_stories[i].operation(model.image, &amend_stories[i].after, &model.err) < 0)
            fail_msg("%s: %s", amend_stories[i].name, model.err.text);
        ok(snapshot_model_close(&model));
        if (crash_states_each(model.store, &options, look, &judgement, NULL) != 0)
            fail_msg("%s", amend_stories[i].name);
        assert_true(judgement.old && judgement.new);
        amend_story_expect_new(&model, &amend_stories[i], true);
        /* And it works: what is in memory is what is in the file. */
        ok(snapshot_model_open(&model));
        ok(snapshot_model_write(&model, 0, 20 * K));
        ok(snapshot_model_close(&model));
        amend_story_expect_new(&model, &amend_stories[i], true);
        print_message("  %s: %u states\n", amend_stories[i].name, judgement.old + judgement.new);
        snapshot_model_done(&model);
    }
}

/* What was opened before is used afterwards. */
static void image_goes_on_after_a_change(void **state)
{
    (void)state;
    for (size_t i = 0; i < amend_story_count; i++) {
        struct snapshot_model model;

        amend_story_begin(&model, &amend_stories[i]);
        ok(amend_stories[i].operation(model.image, &amend_stories[i].after, &model.err));
        ok(snapshot_model_write(&model, 5 * K, 20 * K));
        ok(snapshot_model_discard(&model, 10 * K, 8 * K));
        ok(snapshot_model_zero(&model, 30 * K, 4 * K, 0));
        ok(snapshot_model_write(&model, 1 * K, 45 * K));
        ok(snapshot_model_close(&model));
        amend_story_expect_new(&model, &amend_stories[i], true);
        snapshot_model_done(&model);
    }
}

static void begin_fault(struct byre_store *store, void *opaque, uint64_t nth)
{
    struct record_fault fault = *(const struct record_fault *)opaque;

    fault.nth = nth;
    record_store_fail(store, &fault);
}

static bool end_fault(struct byre_store *store)
{
    bool struck = record_store_faults(store) > 0;

    record_store_fail(store, NULL);
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
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const struct amend_trouble trouble = { .begin = begin_fault, .end = end_fault, .opaque = (void *)&faults[i] };

        assert_true(tell_of_amend(&trouble) > 10);
    }
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
