/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stories of the tests of amend, and what has to be true after each of them: see amend_story.h.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "amend_story.h"
#include "byre/disk.h"
#include "effort.h"
#include "qcow2/amend.h"
#include "qcow2/header_read.h"
#include "story.h"

#define K 1024ULL

static const struct byre_amend_progress silent;

static int set_order(struct byre_qcow2 *image, const struct amend_said *after, struct byre_error *err)
{
    return byre_qcow2_set_refcount_order(image, after->order, &silent, err);
}

static int set_lazy(struct byre_qcow2 *image, const struct amend_said *after, struct byre_error *err)
{
    return byre_qcow2_set_lazy(image, after->lazy, err);
}

static int set_version(struct byre_qcow2 *image, const struct amend_said *after, struct byre_error *err)
{
    return after->version == 3 ? byre_qcow2_upgrade(image, &silent, err)
                               : byre_qcow2_downgrade(image, &silent, err);
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

static int set_version_above(struct byre_qcow2 *image, const struct amend_said *after, struct byre_error *err)
{
    const struct byre_qcow2_below below = { .read = read_below };

    byre_qcow2_set_below(image, &below);
    return set_version(image, after, err);
}

static int drop_raw(struct byre_qcow2 *image, const struct amend_said *after, struct byre_error *err)
{
    (void)after;
    return byre_qcow2_drop_data_raw(image, err);
}

static int rename_data(struct byre_qcow2 *image, const struct amend_said *after, struct byre_error *err)
{
    return byre_qcow2_rename_data_file(image, after->data_file, err);
}

/* More than a sector, so that the header extensions are replaced in another place. */
#define TEN       "0123456789"
#define HUNDRED   TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define LONG_NAME HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED
#define DATA(raw_)                                                                                           \
    { .size = 400 * K, .version = 3, .cluster_bits = 12, .refcount_order = 4, .data_file = "data",          \
      .data_raw = (raw_) }

#define V3(order_) { .size = 60 * K, .version = 3, .cluster_bits = 9, .refcount_order = (order_) }

const struct amend_story amend_stories[] = {
    { "refcounts get 64 bits", V3(4), true, { .version = 3, .order = 6 }, set_order },
    { "refcounts get 2 bits", V3(4), true, { .version = 3, .order = 1 }, set_order },
    { "refcounts get 1 bit", V3(6), false, { .version = 3, .order = 0 }, set_order },
    { "refcounts get 16 bits", V3(0), false, { .version = 3, .order = 4 }, set_order },
    { "lazy refcounts begin", V3(4), true, { .version = 3, .order = 4, .lazy = true }, set_lazy },
    { "lazy refcounts end",
      { .size = 60 * K, .version = 3, .cluster_bits = 9, .refcount_order = 4, .lazy_refcounts = true }, true,
      { .version = 3, .order = 4 }, set_lazy },
    { "version 2 becomes 3", { .size = 60 * K, .version = 2, .cluster_bits = 9, .refcount_order = 4 }, true,
      { .version = 3, .order = 4 }, set_version },
    { "version 3 becomes 2", V3(4), true, { .version = 2, .order = 4 }, set_version },
    { "version 3 becomes 2, with a layer below", V3(4), true,
      { .version = 2, .order = 4 }, set_version_above },
    { "version 3 with lazy refcounts becomes 2",
      { .size = 60 * K, .version = 3, .cluster_bits = 9, .refcount_order = 4, .lazy_refcounts = true }, true,
      { .version = 2, .order = 4 }, set_version },
    { "the data file is raw no more", DATA(true), false,
      { .version = 3, .order = 4, .data_file = "data" }, drop_raw },
    { "the data file gets another name", DATA(false), false,
      { .version = 3, .order = 4, .data_file = LONG_NAME }, rename_data },
    { "the data file loses its name", DATA(true), false,
      { .version = 3, .order = 4, .data_raw = true }, rename_data },
    { "refcounts of an image with a data file", DATA(true), false,
      { .version = 3, .order = 6, .data_raw = true, .data_file = "data" }, set_order },
};

const size_t amend_story_count = sizeof amend_stories / sizeof amend_stories[0];

void amend_story_begin(struct snapshot_model *model, const struct amend_story *story)
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

static bool says(const struct byre_qcow2_header *header, const struct amend_said *said)
{
    bool lazy = header->compatible & BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS;
    bool raw = header->autoclear & BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    const struct byre_qcow2_extension *name =
        byre_qcow2_header_find_extension(header, BYRE_QCOW2_EXT_DATA_FILE);
    size_t length = said->data_file ? strlen(said->data_file) : 0;

    return header->version == said->version && header->refcount_order == said->order && lazy == said->lazy &&
           raw == said->data_raw && (name ? name->length : 0) == length &&
           (!length || memcmp(name->data, said->data_file, length) == 0);
}

bool amend_story_is_new(struct byre_store *store, const struct amend_story *story, bool *ret_dirty)
{
    const struct byre_qcow2_create_options *format = &story->format;
    const struct amend_said before = { format->version, format->refcount_order, format->lazy_refcounts,
                                       format->data_raw, format->data_file };
    struct byre_qcow2_header header = { 0 };
    bool new;

    ok(byre_qcow2_header_read(store, &header, NULL));
    *ret_dirty = header.incompatible & BYRE_QCOW2_INCOMPAT_DIRTY;
    new = says(&header, &story->after);
    if (!new && !says(&header, &before))
        fail_msg("%s: the header says neither the old nor the new", story->name);
    byre_qcow2_header_done(&header);
    return new;
}

void amend_story_expect_new(struct snapshot_model *model, const struct amend_story *story, bool tidy)
{
    bool dirty;

    assert_true(amend_story_is_new(model->store, story, &dirty));
    assert_false(dirty);
    ok(snapshot_model_judge(model, model->store, true));
    ok(snapshot_model_check(model->store, tidy, false));
}

/* --- trouble --- */

/* False if the story has not so many occasions. */
static bool tell(const struct amend_story *story, const struct amend_trouble *with, uint64_t nth)
{
    struct snapshot_model model;
    bool struck, dirty;
    int rc;

    amend_story_begin(&model, story);
    with->begin(model.store, with->opaque, nth);
    rc = story->operation(model.image, &story->after, &model.err);
    struck = with->end(model.store);
    if (rc < 0 && byre_qcow2_check_writable(model.image, NULL) == 0) {
        ok(snapshot_model_judge(&model, model.store, true));
        rc = story->operation(model.image, &story->after, &model.err);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(rc < 0, snapshot_model_close(&model) < 0);
    if (rc == 0)
        amend_story_expect_new(&model, story, !with->leaks);
    ok(snapshot_model_open(&model));
    ok(snapshot_model_close(&model));
    (void)amend_story_is_new(model.store, story, &dirty);
    ok(snapshot_model_judge(&model, model.store, true));
    ok(snapshot_model_check(model.store, false, false));
    snapshot_model_done(&model);
    return struck;
}

uint64_t tell_of_amend(const struct amend_trouble *with)
{
    uint64_t total = 0;

    for (size_t i = 0; i < amend_story_count; i++) {
        uint64_t nth = 1;

        for (; tell(&amend_stories[i], with, nth); nth += effort_of(3, 1, 1))
            total++;
        if (nth == 1)
            fail_msg("%s: no occasion for trouble", amend_stories[i].name);
    }
    effort_count(EFFORT_FAULTS, total);
    return total;
}
