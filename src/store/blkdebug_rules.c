/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rules: what an event changes, and what a request meets.
 *
 *   R1. All rules of an event see the state from before it.
 *   R2. The errors of an event replace those that were in force, if there are any.  An event without errors leaves
 *       them as they are.
 *   R3. A request meets the first error in force that fits it.  One that is for once is spent by that, for ever.
 *   R4. A break point stops one thread.
 */
#include "config.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/blkdebug_rules.h"

enum { SECTOR = 512 };

struct byre_suspended {
    char *tag;    /* owned */
    bool arrived; /* those who wait for it to be suspended may know */
    bool resumed;
    struct byre_suspended *prev, *next;
};

int byre_blkdebug_rules_init(struct byre_blkdebug_rules *rules, const struct byre_blkdebug_options *options)
{
    *rules = (struct byre_blkdebug_rules){ .state = 1 };
    pthread_mutex_init(&rules->mutex, NULL);
    pthread_cond_init(&rules->changed, NULL);
    rules->active = calloc(options->inject.len + 1, sizeof *rules->active);
    if (!rules->active || vec_reserve(&rules->inject, options->inject.len) < 0 ||
        vec_reserve(&rules->states, options->states.len) < 0) {
        byre_blkdebug_rules_done(rules);
        return -ENOMEM;
    }
    for (size_t i = 0; i < options->inject.len; i++)
        (void)vec_push(&rules->inject, options->inject.ptr[i]);
    for (size_t i = 0; i < options->states.len; i++)
        (void)vec_push(&rules->states, options->states.ptr[i]);
    return 0;
}

void byre_blkdebug_rules_done(struct byre_blkdebug_rules *rules)
{
    for (size_t i = 0; i < rules->breaks.len; i++)
        free(rules->breaks.ptr[i].tag);
    vec_done(&rules->breaks);
    vec_done(&rules->inject);
    vec_done(&rules->states);
    free(rules->active);
    pthread_cond_destroy(&rules->changed);
    pthread_mutex_destroy(&rules->mutex);
}

static bool in_state(int state, int wanted)
{
    return wanted == 0 || wanted == state;
}

/* Puts the errors of the event in force (R2). */
static void activate_locked(struct byre_blkdebug_rules *rules, enum byre_event event)
{
    size_t count = 0;

    for (size_t i = 0; i < rules->inject.len; i++) {
        const struct byre_inject_error *rule = &rules->inject.ptr[i];

        if (rule->event == event && in_state(rules->state, rule->state))
            rules->active[count++] = i;
    }
    if (count)
        rules->active_count = count;
}

static int next_state_locked(const struct byre_blkdebug_rules *rules, enum byre_event event)
{
    int state = rules->state;

    for (size_t i = 0; i < rules->states.len; i++) {
        const struct byre_set_state *rule = &rules->states.ptr[i];

        if (rule->event == event && in_state(rules->state, rule->state))
            state = rule->new_state;
    }
    return state;
}

/* --- break points --------------------------------------------------------------------------------------- */

/* Takes the first break point at the event away, and gives its tag; NULL if there is none. */
static char *take_break_locked(struct byre_blkdebug_rules *rules, enum byre_event event)
{
    for (size_t i = 0; i < rules->breaks.len; i++) {
        struct byre_break_point *at = &rules->breaks.ptr[i];
        char *tag = at->tag;

        if (at->event != event)
            continue;
        rules->breaks.len--;
        memmove(at, at + 1, (rules->breaks.len - i) * sizeof *at);
        return tag;
    }
    return NULL;
}

static void append_locked(struct byre_blkdebug_rules *rules, struct byre_suspended *self)
{
    self->prev = rules->last;
    *(rules->last ? &rules->last->next : &rules->first) = self;
    rules->last = self;
}

static void unlink_locked(struct byre_blkdebug_rules *rules, struct byre_suspended *self)
{
    *(self->prev ? &self->prev->next : &rules->first) = self->next;
    *(self->next ? &self->next->prev : &rules->last) = self->prev;
}

static void tell(const struct byre_blkdebug_rules *rules, const char *tag, bool suspended)
{
    if (rules->watch)
        rules->watch(rules->watch_opaque, tag, suspended);
}

/* Waits to be resumed. */
static void suspend(struct byre_blkdebug_rules *rules, struct byre_suspended *self)
{
    tell(rules, self->tag, true);
    pthread_mutex_lock(&rules->mutex);
    self->arrived = true;
    pthread_cond_broadcast(&rules->changed);
    while (!self->resumed)
        pthread_cond_wait(&rules->changed, &rules->mutex);
    pthread_mutex_unlock(&rules->mutex);
    free(self->tag);
}

void byre_blkdebug_rules_event(struct byre_blkdebug_rules *rules, enum byre_event event)
{
    struct byre_suspended self = { 0 };
    int state;

    pthread_mutex_lock(&rules->mutex);
    state = next_state_locked(rules, event);
    activate_locked(rules, event);
    rules->state = state;
    self.tag = take_break_locked(rules, event);
    if (self.tag)
        append_locked(rules, &self);
    pthread_mutex_unlock(&rules->mutex);
    if (self.tag)
        suspend(rules, &self);
}

int byre_blkdebug_rules_break(struct byre_blkdebug_rules *rules, enum byre_event event, const char *tag)
{
    struct byre_break_point point = { event, strdup(tag) };
    int rc;

    if (!point.tag)
        return -ENOMEM;
    pthread_mutex_lock(&rules->mutex);
    rc = vec_push(&rules->breaks, point);
    pthread_mutex_unlock(&rules->mutex);
    if (rc < 0)
        free(point.tag);
    return rc;
}

/* The one that has waited longest there, or NULL; `on_its_way` counts as well who does not wait yet. */
static struct byre_suspended *find_locked(const struct byre_blkdebug_rules *rules, const char *tag, bool on_its_way)
{
    struct byre_suspended *at = rules->first;

    while (at && !((at->arrived || on_its_way) && strcmp(at->tag, tag) == 0))
        at = at->next;
    return at;
}

static bool resume_locked(struct byre_blkdebug_rules *rules, struct byre_suspended *at)
{
    if (!at)
        return false;
    unlink_locked(rules, at);
    tell(rules, at->tag, false);
    at->resumed = true;
    pthread_cond_broadcast(&rules->changed);
    return true;
}

int byre_blkdebug_rules_remove_break(struct byre_blkdebug_rules *rules, const char *tag)
{
    LOCK_SCOPE(&rules->mutex);
    size_t kept = 0, before = rules->breaks.len;

    for (size_t i = 0; i < before; i++) {
        if (strcmp(rules->breaks.ptr[i].tag, tag) == 0)
            free(rules->breaks.ptr[i].tag);
        else
            rules->breaks.ptr[kept++] = rules->breaks.ptr[i];
    }
    rules->breaks.len = kept;
    while (resume_locked(rules, find_locked(rules, tag, true)))
        ;
    pthread_cond_broadcast(&rules->changed);
    return kept < before ? 0 : -ENOENT;
}

int byre_blkdebug_rules_resume(struct byre_blkdebug_rules *rules, const char *tag)
{
    LOCK_SCOPE(&rules->mutex);
    return resume_locked(rules, find_locked(rules, tag, false)) ? 0 : -ENOENT;
}

bool byre_blkdebug_rules_is_suspended(struct byre_blkdebug_rules *rules, const char *tag)
{
    LOCK_SCOPE(&rules->mutex);
    return find_locked(rules, tag, false) != NULL;
}

static bool has_break_locked(const struct byre_blkdebug_rules *rules, const char *tag)
{
    for (size_t i = 0; i < rules->breaks.len; i++) {
        if (strcmp(rules->breaks.ptr[i].tag, tag) == 0)
            return true;
    }
    return false;
}

int byre_blkdebug_rules_wait(struct byre_blkdebug_rules *rules, const char *tag)
{
    LOCK_SCOPE(&rules->mutex);
    while (!find_locked(rules, tag, false)) {
        if (!has_break_locked(rules, tag) && !find_locked(rules, tag, true))
            return -ENOENT;
        pthread_cond_wait(&rules->changed, &rules->mutex);
    }
    return 0;
}

/* --- requests ------------------------------------------------------------------------------------------- */

static bool fits(const struct byre_inject_error *rule, enum byre_iotype iotype, uint64_t hoff, uint64_t length)
{
    uint64_t at = (uint64_t)rule->sector * SECTOR;

    if (!(rule->iotypes & iotype))
        return false;
    return rule->sector < 0 || (at >= hoff && at - hoff < length);
}

static void deactivate_locked(struct byre_blkdebug_rules *rules, size_t index)
{
    rules->active_count--;
    memmove(rules->active + index, rules->active + index + 1,
            (rules->active_count - index) * sizeof *rules->active);
}

int byre_blkdebug_rules_apply(struct byre_blkdebug_rules *rules, enum byre_iotype iotype, uint64_t hoff,
                              uint64_t length)
{
    struct byre_inject_error met = { 0 };
    size_t i;

    pthread_mutex_lock(&rules->mutex);
    for (i = 0; i < rules->active_count; i++) {
        struct byre_inject_error *rule = &rules->inject.ptr[rules->active[i]];

        if (!fits(rule, iotype, hoff, length))
            continue;
        met = *rule;
        if (rule->once) {
            rule->event = BYRE_BLKDEBUG_NO_EVENT;
            deactivate_locked(rules, i);
        }
        break;
    }
    pthread_mutex_unlock(&rules->mutex);
    /* A failure that is not immediate lets others go first. */
    if (met.code && !met.immediately)
        sched_yield();
    return met.code;
}
