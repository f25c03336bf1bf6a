/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper of exports that are opened on demand.
 */
#include "config.h"

#include "nbd/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/cleanup.h"

#define THREADS 8u

enum state {
    STATE_OPENING, /* by a thread that runs */
    STATE_OPEN,    /* without references: it waits for being closed */
    STATE_CLOSING, /* by a thread that runs */
};

struct byre_nbd_record {
    struct byre_job job; /* first: closes it */
    LIST_ENTRY(byre_nbd_record) all;
    struct byre_nbd_keeper *keeper;
    enum state state;
    struct byre_nbd_export *export;
    bool queued;    /* the job is */
    bool forgotten; /* not for new clients */
    char name[];
};

struct byre_nbd_keeper {
    struct byre_nbd_source *source;
    struct byre_pool *pool;
    pthread_mutex_t mutex;
    pthread_cond_t settled;              /* a record is no longer being opened or closed */
    LIST_HEAD(, byre_nbd_record) records; /* under the mutex, with all that is in them */
    int rc;                              /* under it: the first failure to close */
    struct byre_error err;               /* under it */
};

int byre_nbd_keeper_new(struct byre_nbd_source *source, struct byre_nbd_keeper **ret_keeper, struct byre_error *err)
{
    struct byre_nbd_keeper *keeper = calloc(1, sizeof *keeper);
    int rc = keeper ? byre_pool_new(THREADS, &keeper->pool, err) : byre_error_set_errno(err, -ENOMEM, "exports");

    if (rc < 0) {
        source->free(source);
        free(keeper);
        return rc;
    }
    keeper->source = source;
    pthread_mutex_init(&keeper->mutex, NULL);
    pthread_cond_init(&keeper->settled, NULL);
    LIST_INIT(&keeper->records);
    *ret_keeper = keeper;
    return 0;
}

int byre_nbd_keeper_free(struct byre_nbd_keeper *keeper, struct byre_error *err)
{
    int rc;

    byre_pool_free(keeper->pool); /* all is closed then */
    rc = keeper->rc;
    if (rc < 0 && err)
        *err = keeper->err;
    keeper->source->free(keeper->source);
    pthread_cond_destroy(&keeper->settled);
    pthread_mutex_destroy(&keeper->mutex);
    free(keeper);
    return rc;
}

/* --- records ----------------------------------------------------------------------------------------------- */

static struct byre_nbd_record *search_locked(struct byre_nbd_keeper *keeper, const void *name, size_t length)
{
    struct byre_nbd_record *record;

    LIST_FOREACH(record, &keeper->records, all) {
        if (!record->forgotten && strlen(record->name) == length && memcmp(record->name, name, length) == 0)
            return record;
    }
    return NULL;
}

static struct byre_nbd_record *record_new_locked(struct byre_nbd_keeper *keeper, const char *name)
{
    size_t length = strlen(name);
    struct byre_nbd_record *record = calloc(1, sizeof *record + length + 1);

    if (!record)
        return NULL;
    record->keeper = keeper;
    memcpy(record->name, name, length);
    LIST_INSERT_HEAD(&keeper->records, record, all);
    return record;
}

/* It was opened, or not: those that wait for it go on. */
static void settle(struct byre_nbd_record *record, struct byre_nbd_export *export)
{
    struct byre_nbd_keeper *keeper = record->keeper;

    LOCK_SCOPE(&keeper->mutex);
    pthread_cond_broadcast(&keeper->settled);
    if (export) {
        record->export = export;
        record->state = STATE_OPEN;
        export->record = record;
    } else {
        LIST_REMOVE(record, all);
        free(record);
    }
}

/* A job: closes an export that nobody has taken up again. */
static void close_idle(struct byre_job *job)
{
    struct byre_nbd_record *record = (struct byre_nbd_record *)job;
    struct byre_nbd_keeper *keeper = record->keeper;
    struct byre_nbd_export *export = record->export;
    struct byre_error err = BYRE_ERROR_INIT;
    int rc;

    pthread_mutex_lock(&keeper->mutex);
    record->queued = false;
    if (atomic_load(&export->references) > 0) {
        pthread_mutex_unlock(&keeper->mutex);
        return;
    }
    record->state = STATE_CLOSING;
    pthread_mutex_unlock(&keeper->mutex);
    export->record = NULL;
    atomic_store(&export->references, 1);
    rc = byre_nbd_export_unref(export, &err);
    settle(record, NULL);
    pthread_mutex_lock(&keeper->mutex);
    if (rc < 0 && keeper->rc == 0) {
        keeper->rc = rc;
        keeper->err = err;
    }
    pthread_mutex_unlock(&keeper->mutex);
}

void byre_nbd_keeper_release(struct byre_nbd_export *export)
{
    struct byre_nbd_record *record = export->record;
    struct byre_nbd_keeper *keeper = record->keeper;

    LOCK_SCOPE(&keeper->mutex);
    if (atomic_fetch_sub(&export->references, 1) > 1 || record->queued)
        return;
    record->queued = true;
    record->job.run = close_idle;
    byre_pool_submit(keeper->pool, &record->job);
}

void byre_nbd_keeper_forget(struct byre_nbd_keeper *keeper,
                            bool (*is_stale)(void *opaque, const struct byre_nbd_export *export), void *opaque)
{
    struct byre_nbd_record *record;

    LOCK_SCOPE(&keeper->mutex);
    LIST_FOREACH(record, &keeper->records, all) {
        if (record->state == STATE_OPEN && is_stale(opaque, record->export))
            record->forgotten = true;
    }
}

/* --- asking ------------------------------------------------------------------------------------------------ */

struct byre_nbd_export *byre_nbd_keeper_find(struct byre_nbd_keeper *keeper, const void *name, size_t length)
{
    struct byre_nbd_record *record;

    LOCK_SCOPE(&keeper->mutex);
    record = search_locked(keeper, name, length);
    return record && record->state == STATE_OPEN ? byre_nbd_export_ref(record->export) : NULL;
}

int byre_nbd_keeper_each(struct byre_nbd_keeper *keeper,
                         int (*each)(void *opaque, const char *name, const char *description), void *opaque)
{
    return keeper->source->each(keeper->source, each, opaque);
}

void byre_nbd_keeper_each_open(struct byre_nbd_keeper *keeper,
                               void (*each)(void *opaque, struct byre_nbd_export *export), void *opaque)
{
    struct byre_nbd_record *record;

    LOCK_SCOPE(&keeper->mutex);
    LIST_FOREACH(record, &keeper->records, all) {
        if (record->state == STATE_OPEN)
            each(opaque, record->export);
    }
}

/* An export that is open, or a new record of one that the caller is to open, or neither: no memory. */
static void take(struct byre_nbd_keeper *keeper, const char *name, struct byre_nbd_export **ret_export,
                 struct byre_nbd_record **ret_record)
{
    struct byre_nbd_record *record;

    LOCK_SCOPE(&keeper->mutex);
    while ((record = search_locked(keeper, name, strlen(name))) && record->state != STATE_OPEN)
        pthread_cond_wait(&keeper->settled, &keeper->mutex);
    if (record)
        *ret_export = byre_nbd_export_ref(record->export);
    else
        *ret_record = record_new_locked(keeper, name);
}

int byre_nbd_keeper_get(struct byre_nbd_keeper *keeper, const char *name, struct byre_nbd_export **ret_export,
                        struct byre_error *err)
{
    struct byre_nbd_record *record = NULL;
    struct byre_nbd_export *export = NULL;
    int rc = 0;

    take(keeper, name, &export, &record);
    if (!export && !record)
        return byre_error_set_errno(err, -ENOMEM, "exports");
    if (record) {
        rc = keeper->source->open(keeper->source, keeper, name, &export, err);
        settle(record, rc < 0 ? NULL : export);
    }
    if (rc == 0)
        *ret_export = export;
    return rc;
}

static void run_ask(struct byre_job *job)
{
    struct byre_nbd_ask *ask = (struct byre_nbd_ask *)job;

    ask->rc = byre_nbd_keeper_get(ask->keeper, ask->name, &ask->export, &ask->err);
    ask->done(ask);
}

void byre_nbd_keeper_ask(struct byre_nbd_keeper *keeper, struct byre_nbd_ask *ask)
{
    ask->keeper = keeper;
    ask->job.run = run_ask;
    byre_pool_submit(keeper->pool, &ask->job);
}

void byre_nbd_ask_free(struct byre_nbd_ask *ask)
{
    if (ask)
        (void)byre_nbd_export_unref(ask->export, NULL);
    free(ask);
}
