/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All pairs of requests, on one cluster, on neighbours, and on clusters of different L2 tables, whatever there was
 * before: the first one is stopped at each of its points, the second one runs, then the first one ends.
 *
 * What is there afterwards is, grain by grain, what one of the two orders would have left; a read has found what was
 * there before or after the other one; the disk says the same after it was opened again; the image is clean, without
 * leaks.
 *
 * Each pair in some of the states, which take turns, unless BYRE_LONG is set: then in all of them.  With TEST_QUICK
 * in one, and the neighbours are left out.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "duet.h"
#include "requests.h"
#include "../crash/effort.h"

enum {
    CLUSTER = REQUEST_CLUSTER,
    GRAIN = REQUEST_GRAIN,
    SIZE = 72 * CLUSTER, /* two L2 tables */
    GROWN = 132 * CLUSTER, /* three: the L1 table moves */
    BACKING = 69 * CLUSTER,
    HERE = 4 * CLUSTER,
    POINTS_MAX = 200,
};

/* What the clusters around `HERE`, and those of the other table, are before. */
struct scene {
    const char *name;
    const char *requests[3]; /* one after the other; then the image is closed */
    const char *later;       /* after it was opened again; or NULL */
    unsigned version;
    bool backing, warm;      /* warm: the flat map knows everything */
    bool subclusters;        /* what is a cluster elsewhere is a subcluster here: it can be neither compressed nor
                                discarded by itself */
};

static const struct scene scenes[] = {
    { "data", { "write" }, NULL, 3, true, true, false },
    { "nothing over a backing file", { NULL }, NULL, 3, true, false, false },
    { "compressed", { "compressed write" }, NULL, 3, true, true, false },
    { "zero", { "zero with unmap" }, NULL, 3, true, true, false },
    { "zero with a place", { "write", "zero" }, NULL, 3, true, false, false },
    { "data, cold", { "write" }, NULL, 3, true, false, false },
    { "data that is not durable", { NULL }, "write of a part", 3, true, true, false },
    { "a free that is not durable", { "write" }, "discard", 3, false, true, false },
    { "data in version 2", { "write" }, NULL, 2, false, true, false },
    { "data in version 2 over a backing file", { "write" }, NULL, 2, true, true, false },
    { "compressed again", { "compressed write" }, "compressed write", 3, false, false, false },
    { "subclusters of nothing over a backing file", { NULL }, NULL, 3, true, true, true },
    { "subclusters of zeros and data", { "write", "zero of parts" }, NULL, 3, true, false, true },
    { "subclusters of data that is not durable", { "zero" }, "write of a part", 3, false, true, true },
};

struct place {
    const char *name;
    uint64_t goff;
};

static const struct place places[] = {
    { "the same cluster", HERE },
    { "the next cluster", HERE + CLUSTER },
    { "another table", 67 * CLUSTER },
};

/* A scene that is ready to be played on, many times. */
struct stage {
    const struct scene *scene;
    struct duet_options options;
    uint8_t *image;
    struct request_model durable; /* what the image holds */
};

static struct {
    unsigned pairs, points, waits;
} tried;

/* --- the stage --- */

/* Makes a request by itself, and notes what it does. */
static void do_alone(struct duet *duet, const char *name, uint64_t goff, unsigned number, struct request_model *model)
{
    struct request request = { .kind = request_kind(name), .disk = duet->disk, .goff = goff, .number = number };
    struct byre_error err = BYRE_ERROR_INIT;

    if (request_make(&request, &err) < 0)
        fail_msg("%s: %s", name, err.text);
    request.kind->apply(&request, model);
}

/* The same for all places, and the clusters before and after each. */
static void do_everywhere(struct duet *duet, const char *name, unsigned number, struct request_model *model)
{
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        do_alone(duet, name, places[i].goff, number + (unsigned)i, model);
        do_alone(duet, name, places[i].goff - CLUSTER, number + 10 + (unsigned)i, model);
    }
}

static uint8_t *bytes_of(struct byre_store *store, uint64_t *ret_length)
{
    uint8_t *bytes;

    assert_int_equal(byre_store_size(store, ret_length, NULL), 0);
    bytes = malloc(*ret_length);
    assert_non_null(bytes);
    assert_int_equal(byre_store_pread(store, bytes, *ret_length, 0, NULL), 0);
    return bytes;
}

static void stage_init(struct stage *stage, const struct scene *scene)
{
    struct request_model *model = &stage->durable;
    struct duet *duet;

    stage->scene = scene;
    stage->options = (struct duet_options){
        .size = SIZE, .backing_size = scene->backing ? BACKING : 0, .version = scene->version,
        .cluster_bits = scene->subclusters ? 14 : 9, .extended = scene->subclusters,
    };
    duet_name("%s", scene->name);
    duet = duet_new(&stage->options);
    model->size = SIZE;
    model->discards = !scene->subclusters && (scene->version > 2 || !scene->backing);
    duet_below(model->bytes, 0, SIZE, stage->options.backing_size);
    do_alone(duet, "write", 10 * CLUSTER, 40, model);
    for (size_t i = 0; i < ARRAY_LEN(scene->requests) && scene->requests[i]; i++)
        do_everywhere(duet, scene->requests[i], 50 + 20 * (unsigned)i, model);
    duet_close(duet);
    stage->image = bytes_of(duet->store, &stage->options.image_length);
    stage->options.image = stage->image;
    duet_free(duet);
}

static void stage_done(struct stage *stage)
{
    free(stage->image);
}

static void read_all(struct duet *duet, uint8_t *bytes)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_pread(duet->disk, bytes, byre_get_size(duet->disk), 0, &err) < 0)
        fail_msg("reading: %s", err.text);
}

/* Opens the disk, with something for a flush to do. */
static struct duet *stage_open(const struct stage *stage, struct request_model *model)
{
    static uint8_t bytes[REQUEST_SIZE_MAX];
    struct duet *duet = duet_new(&stage->options);

    *model = stage->durable;
    do_alone(duet, "write", 9 * CLUSTER, 41, model);
    do_alone(duet, "discard", 10 * CLUSTER, 42, model);
    if (stage->scene->later)
        do_everywhere(duet, stage->scene->later, 100, model);
    if (stage->scene->warm)
        read_all(duet, bytes);
    return duet;
}

/* --- judging --- */

/* The models of one play: before, after one of them, after both in either order. */
struct outcome {
    struct request_model before, first, second, first_second, second_first;
};

static void outcome_init(struct outcome *outcome, const struct request *first, const struct request *second)
{
    outcome->first = outcome->second = outcome->before;
    first->kind->apply(first, &outcome->first);
    second->kind->apply(second, &outcome->second);
    outcome->first_second = outcome->first;
    outcome->second_first = outcome->second;
    second->kind->apply(second, &outcome->first_second);
    first->kind->apply(first, &outcome->second_first);
}

/* Each grain of `found` is as in one of the models. */
static void assert_either(const char *what, const uint8_t *found, uint64_t start, uint64_t length,
                          const struct request_model *one, const struct request_model *other)
{
    for (uint64_t at = start; at < start + length; at += GRAIN) {
        if (memcmp(found + (at - start), one->bytes + at, GRAIN) != 0 &&
            memcmp(found + (at - start), other->bytes + at, GRAIN) != 0)
            fail_msg("%s: the grain at %llu is foreign", what, (unsigned long long)at);
    }
}

static void assert_read(const char *what, const struct request *request, const struct request_model *before,
                        const struct request_model *after)
{
    uint64_t start, length;

    if (!request->kind->reads)
        return;
    request_read_range(request, &start, &length);
    assert_either(what, request->found, start, length, before, after);
}

static void assert_clean(struct duet *duet, const char *what)
{
    const char *why;

    duet_close(duet);
    why = duet_check(duet->store, true);
    if (why)
        fail_msg("%s: %s", what, why);
}

static void judge(struct duet *duet, const struct outcome *outcome, const struct request *first,
                  const struct request *second, const char *what)
{
    static uint8_t found[REQUEST_SIZE_MAX], again[REQUEST_SIZE_MAX];

    if (duet->first_rc < 0 || duet->second_rc < 0)
        fail_msg("%s: %d %s; %d %s", what, duet->first_rc, duet->first_err.text, duet->second_rc,
                 duet->second_err.text);
    assert_read(what, first, &outcome->before, &outcome->second);
    assert_read(what, second, &outcome->before, &outcome->first);
    read_all(duet, found);
    assert_int_equal(byre_get_size(duet->disk), outcome->first_second.size);
    assert_either(what, found, 0, byre_get_size(duet->disk), &outcome->first_second, &outcome->second_first);
    assert_clean(duet, what);
    duet_open(duet);
    read_all(duet, again);
    if (memcmp(found, again, byre_get_size(duet->disk)) != 0)
        fail_msg("%s: something else after it was opened again", what);
}

/* --- all of it --- */

/* Plays once: false if the first one has not so many points. */
static bool play(const struct stage *stage, const struct request_kind *one, const struct request_kind *two,
                 const struct place *place, unsigned nth)
{
    static struct outcome outcome;
    struct duet *duet = stage_open(stage, &outcome.before);
    struct request first = { .kind = one, .disk = duet->disk, .goff = HERE, .grown = GROWN, .number = 200 };
    struct request second = { .kind = two, .disk = duet->disk, .goff = place->goff, .grown = GROWN,
                              .number = 201 };
    char what[200];
    bool reached;

    duet_name("%s: %s, point %u; %s, %s", stage->scene->name, one->name, nth, two->name, place->name);
    duet_play(duet, request_make, &first, request_make, &second, nth);
    reached = duet->reached;
    snprintf(what, sizeof what, "%s: %s, at %u: %s; %s, %s", stage->scene->name, one->name, nth, duet->point, two->name,
             place->name);
    if (reached) {
        outcome_init(&outcome, &first, &second);
        judge(duet, &outcome, &first, &second, what);
        tried.points++;
        tried.waits += duet->waited;
    }
    duet_free(duet);
    return reached;
}

static void play_pair(const struct stage *stage, const struct request_kind *one, const struct request_kind *two,
                      const struct place *place)
{
    unsigned nth = 1;

    while (play(stage, one, two, place, nth)) {
        if (++nth > POINTS_MAX)
            fail_msg("%s: %s has no end", stage->scene->name, one->name);
    }
    tried.pairs++;
}

/* Which pairs: the names of the first and of the second one, NULL at the end; an empty list is all. */
struct theme {
    const char *first[8], *second[8];
    size_t places, share; /* how many of the places; in how many of the scenes, which take turns */
};

static bool is_listed(const char *const *names, const char *name)
{
    for (size_t i = 0; i < 8 && names[i]; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return !names[0];
}

static bool compresses(const struct request_kind *kind)
{
    return strcmp(kind->name, "compressed write") == 0;
}

static void play_at(const struct stage *stages, const struct theme *theme, const struct place *place)
{
    size_t share = effort_of(1, (unsigned)theme->share, ARRAY_LEN(scenes)), turn = 0;

    for (size_t i = 0; i < request_kind_count * request_kind_count; i++) {
        const struct request_kind *one = &request_kinds[i / request_kind_count];
        const struct request_kind *two = &request_kinds[i % request_kind_count];

        if (!is_listed(theme->first, one->name) || !is_listed(theme->second, two->name))
            continue;
        for (size_t j = 0; j < share; j++, turn++) {
            const struct stage *stage = &stages[turn % ARRAY_LEN(scenes)];

            if (!stage->scene->subclusters || !(compresses(one) || compresses(two)))
                play_pair(stage, one, two, place);
        }
    }
}

static void play_theme(const struct theme *theme)
{
    size_t count = effort_of(1, (unsigned)theme->places, (unsigned)theme->places);
    struct stage *stages = calloc(ARRAY_LEN(scenes), sizeof *stages);

    assert_non_null(stages);
    memset(&tried, 0, sizeof tried);
    for (size_t i = 0; i < ARRAY_LEN(scenes); i++)
        stage_init(&stages[i], &scenes[i]);
    for (size_t i = 0; i < count; i++)
        play_at(stages, theme, &places[i]);
    for (size_t i = 0; i < ARRAY_LEN(scenes); i++)
        stage_done(&stages[i]);
    free(stages);
    print_message("  %u pairs, %u points; the second one waited at %u\n", tried.pairs, tried.points, tried.waits);
}

static void every_pair_ends_as_one_of_its_two_orders(void **state)
{
    const struct theme theme = { .places = ARRAY_LEN(places), .share = 1 };

    (void)state;
    play_theme(&theme);
    assert_true(tried.waits && tried.waits < tried.points);
}

static void zeros_and_discards_wait_for_copies_on_write(void **state)
{
    const struct theme theme = {
        .first = { "write of a part", "write across", "write with FUA", "zero of parts" },
        .second = { "zero", "zero with unmap", "zero with FUA", "discard", "recycle" },
        .places = 2, .share = 4,
    };

    (void)state;
    play_theme(&theme);
    assert_true(tried.waits);
}

static void reads_and_fast_writes_never_meet_what_took_a_freed_place(void **state)
{
    const struct theme theme = {
        .first = { "read", "write", "write of a part", "extents" }, .second = { "recycle" },
        .places = 2, .share = ARRAY_LEN(scenes),
    };

    (void)state;
    play_theme(&theme);
    /* A request under way does not keep others from freeing its cluster. */
    assert_true(tried.waits < tried.points);
}

static void growing_waits_for_requests_and_they_for_it(void **state)
{
    const struct theme first = { .first = { "grow" }, .places = 1, .share = 2 };
    const struct theme second = { .second = { "grow" }, .places = 1, .share = 2 };

    (void)state;
    play_theme(&first);
    assert_int_equal(tried.waits, tried.points);
    play_theme(&second);
    assert_int_equal(tried.waits, tried.points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_ends_as_one_of_its_two_orders),
        cmocka_unit_test(zeros_and_discards_wait_for_copies_on_write),
        cmocka_unit_test(reads_and_fast_writes_never_meet_what_took_a_freed_place),
        cmocka_unit_test(growing_waits_for_requests_and_they_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
