/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flushes against changes, each of them stopped at each of its points, and then a crash at any moment.
 *
 * Every state that the crash could leave (of long epochs a sample) is free of corruption, holds what flushes and FUA
 * had promised until then, and nothing that nobody wrote.
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

#include "../crash/crash_states.h"
#include "../crash/record_store.h"
#include "base/arith.h"
#include "base/cleanup.h"
#include "duet.h"
#include "requests.h"

enum {
    CLUSTER = REQUEST_CLUSTER,
    GRAIN = REQUEST_GRAIN,
    SIZE = 72 * CLUSTER,
    HERE = 4 * CLUSTER,
    BESIDE = 7 * CLUSTER,
    POINTS_MAX = 200,
};

/* A request, and a flush after it if there is to be one. */
struct part {
    struct request request;
    bool flush;
    struct byre_store *store;
    size_t done; /* calls in the log when it returned; what it did is promised then, if it flushes */
};

/* What may be found: the first of the models that is not ruled out, and those after it. */
enum { DURABLE, BEFORE, MODELS = 5 };

struct play {
    struct duet *duet;
    char what[150];
    struct part first, second;
    /* the image; with the changes that nobody has flushed; with one of the parts; with both */
    struct request_model models[MODELS];
};

static struct {
    unsigned pairs, points, waits;
    uint64_t states;
} tried;

static int do_part(void *opaque, struct byre_error *err)
{
    struct part *part = opaque;
    int rc = request_make(&part->request, err);

    if (rc == 0 && part->flush)
        rc = byre_flush(part->request.disk, err);
    part->done = record_store_count(part->store);
    return rc;
}

static bool flushes(const struct part *part)
{
    return part->flush || part->request.kind->flushes;
}

/* --- judging --------------------------------------------------------------------------------------------- */

static bool holds(const uint8_t *found, uint64_t at, const struct request_model *model)
{
    return memcmp(found + at, model->bytes + at, GRAIN) == 0;
}

/* Which models are possible after a crash that comes after the calls [0, end). */
static void possible(const struct play *play, size_t end, bool *allowed)
{
    bool first = flushes(&play->first) && end >= play->first.done;
    bool second = flushes(&play->second) && end >= play->second.done;

    allowed[DURABLE] = !first && !second;
    allowed[BEFORE] = !second && !(first && play->first.request.kind->changes);
    allowed[2] = !second;
    allowed[3] = !first || !play->first.request.kind->changes;
    allowed[4] = true;
}

static int find_foreign(const struct play *play, const uint8_t *found, const struct crash_state *state)
{
    bool allowed[MODELS];

    possible(play, state->end, allowed);
    for (uint64_t at = 0; at < SIZE; at += GRAIN) {
        bool good = false;

        for (int i = 0; i < MODELS; i++)
            good |= allowed[i] && holds(found, at, &play->models[i]);
        if (!good) {
            print_message("%s: %s: the grain at %llu\n", play->what, state->text, (unsigned long long)at);
            return -1;
        }
    }
    return 0;
}

static int visit(void *opaque, struct byre_store *after, const struct crash_state *state)
{
    static uint8_t found[REQUEST_SIZE_MAX];
    const struct play *play = opaque;
    struct duet_options options = play->duet->options;
    const char *why = duet_check(after, false);
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    struct duet *duet;
    int rc;

    if (why) {
        print_message("%s: %s: %s\n", play->what, state->text, why);
        return -1;
    }
    assert_int_equal(byre_store_size(after, &options.image_length, NULL), 0);
    options.image = bytes = malloc(options.image_length);
    assert_non_null(bytes);
    assert_int_equal(byre_store_pread(after, bytes, options.image_length, 0, NULL), 0);
    duet = duet_new(&options);
    assert_int_equal(byre_pread(duet->disk, found, SIZE, 0, NULL), 0);
    rc = find_foreign(play, found, state);
    duet_free(duet);
    return rc;
}

static void judge(struct play *play, unsigned seed)
{
    const struct crash_options options = { .exact = 3, .samples = getenv("BYRE_LONG") ? 60 : 4, .seed = seed };
    uint64_t states = 0;

    if (play->duet->first_rc < 0 || play->duet->second_rc < 0)
        fail_msg("%s: %d %s; %d %s", play->what, play->duet->first_rc, play->duet->first_err.text,
                 play->duet->second_rc, play->duet->second_err.text);
    if (crash_states_each(play->duet->store, &options, visit, play, &states) != 0)
        fail_msg("%s: a crash", play->what);
    tried.states += states;
    tried.points++;
    tried.waits += play->duet->waited;
}

/* --- playing --------------------------------------------------------------------------------------------- */

static void do_alone(struct play *play, const char *name, uint64_t goff, unsigned number, struct request_model *model)
{
    struct request request = { .kind = request_kind(name), .disk = play->duet->disk, .goff = goff, .number = number };

    assert_int_equal(request_make(&request, NULL), 0);
    request.kind->apply(&request, model);
}

/* A disk with something that is durable, and something that is not: with data where the first one goes, or without. */
static void set_stage(struct play *play, const char *before)
{
    const struct duet_options options = { .size = SIZE, .backing_size = SIZE / 2, .version = 3, .cluster_bits = 9 };
    struct request_model *model = &play->models[DURABLE];

    play->duet = duet_new(&options);
    model->size = SIZE;
    model->discards = true;
    duet_below(model->bytes, 0, SIZE, options.backing_size);
    if (before)
        do_alone(play, before, HERE, 1, model);
    do_alone(play, "write", 9 * CLUSTER, 2, model);
    do_alone(play, "compressed write", 10 * CLUSTER, 3, model);
    duet_close(play->duet);
    assert_int_equal(record_store_restart(play->duet->store), 0);
    duet_open(play->duet);
    play->models[BEFORE] = *model;
    model = &play->models[BEFORE];
    do_alone(play, "write of a part", 8 * CLUSTER, 4, model);
    do_alone(play, "discard", 9 * CLUSTER, 5, model);
    do_alone(play, "write", 10 * CLUSTER, 6, model);
}

static void set_models(struct play *play)
{
    for (int i = 2; i < MODELS; i++)
        play->models[i] = play->models[BEFORE];
    play->first.request.kind->apply(&play->first.request, &play->models[2]);
    play->first.request.kind->apply(&play->first.request, &play->models[4]);
    play->second.request.kind->apply(&play->second.request, &play->models[3]);
    play->second.request.kind->apply(&play->second.request, &play->models[4]);
}

static struct part part_of(const struct play *play, const char *name, uint64_t goff, unsigned number, bool flush)
{
    return (struct part){
        .request = { .kind = request_kind(name), .disk = play->duet->disk, .goff = goff, .number = number },
        .store = play->duet->store,
        .flush = flush,
    };
}

/* Once: false if the first one has not so many points. */
static bool play_once(struct play *play, const char *before, const char *one, const char *two, unsigned nth)
{
    bool reached;

    set_stage(play, before);
    play->first = part_of(play, one, HERE, 10, false);
    play->second = part_of(play, two, strcmp(one, "flush") == 0 ? HERE : BESIDE, 11, true);
    duet_name("%s, point %u; %s and flush", one, nth, two);
    duet_play(play->duet, do_part, &play->first, do_part, &play->second, nth);
    reached = play->duet->reached;
    snprintf(play->what, sizeof play->what, "%s over %s, at %u: %s; %s and flush", one, before ? before : "nothing",
             nth, play->duet->point, two);
    if (reached) {
        set_models(play);
        judge(play, nth);
    }
    duet_free(play->duet);
    return reached;
}

static void play_pair(const char *before, const char *one, const char *two)
{
    struct play *play = calloc(1, sizeof *play);
    unsigned nth = 1;

    assert_non_null(play);
    while (play_once(play, before, one, two, nth)) {
        if (++nth > POINTS_MAX)
            fail_msg("%s has no end", one);
    }
    tried.pairs++;
    free(play);
}

static const char *const befores[] = { NULL, "write", "compressed write" };

/* Every change with another one and its flush, or every change after a flush has begun. */
static void play_all(bool flush_first)
{
    size_t turn = 0;

    memset(&tried, 0, sizeof tried);
    for (size_t i = 0; i < request_kind_count; i++) {
        const char *name = request_kinds[i].name;

        if (!request_kinds[i].changes || strcmp(name, "grow") == 0)
            continue;
        for (size_t j = 0; j < (getenv("BYRE_LONG") ? ARRAY_LEN(befores) : 1); j++, turn++) {
            const char *before = befores[turn % ARRAY_LEN(befores)];

            if (flush_first)
                play_pair(before, "flush", name);
            else
                play_pair(before, name, turn % 2 ? "write" : "write of a part");
        }
    }
    print_message("  %u pairs, %u points, the second one waited at %u; %llu states\n", tried.pairs, tried.points,
                  tried.waits, (unsigned long long)tried.states);
    assert_true(tried.waits && tried.waits < tried.points);
}

static void flush_holds_what_was_there_beside_any_change(void **state)
{
    (void)state;
    play_all(false);
}

static void flush_that_has_begun_promises_nothing_of_what_comes_later(void **state)
{
    (void)state;
    play_all(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flush_holds_what_was_there_beside_any_change),
        cmocka_unit_test(flush_that_has_begun_promises_nothing_of_what_comes_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
