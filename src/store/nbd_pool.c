/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connections of one NBD store: see nbd_pool.h.
 */
#include "config.h"

#include "store/nbd_pool.h"

#ifdef HAVE_LIBNBD

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arith.h"
#include "store/nbd_unflushed.h"

#define CONNECTIONS_MAX 4u
#define HANDSHAKE_SECONDS 30u
#define BESIDES_SECONDS 3u              /* for a connection that is only to make it faster */
#define ATTEMPT_NS 50000000             /* between two attempts */
#define UNFLUSHED_BYTES_MAX (64u << 20) /* then there is a flush */

struct slot {
    struct byre_nbd_connection *connection; /* NULL: none */
    unsigned users;                         /* requests that are on it */
    bool lost;
};

struct byre_nbd_pool {
    struct byre_nbd_options options; /* the texts are owned */
    struct byre_nbd_export export;
    bool keeps_unflushed;

    pthread_mutex_t lock; /* all that follows */
    pthread_cond_t changed;
    struct slot slots[CONNECTIONS_MAX];
    unsigned max;         /* connections that there may be */
    bool opening;         /* a thread makes one more */
    bool reconnecting;    /* a thread makes the only one again */
    int broken;           /* every request fails with this; 0: no */
    int flush_failed;     /* so do flushes */
    time_t lost_at;
    bool flushing;        /* a thread makes room in `unflushed` */
    struct byre_nbd_unflushed unflushed;
};

static time_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

static void take_a_break(void)
{
    const struct timespec time = { .tv_nsec = ATTEMPT_NS };

    nanosleep(&time, NULL);
}

/* --- more connections ------------------------------------------------------------------------------------- */

static bool is_live(const struct slot *slot)
{
    return slot->connection && !slot->lost;
}

static unsigned count_live(const struct byre_nbd_pool *pool)
{
    unsigned count = 0;

    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        count += is_live(&pool->slots[i]);
    return count;
}

static struct slot *least_used(struct byre_nbd_pool *pool)
{
    struct slot *found = NULL;

    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        struct slot *slot = &pool->slots[i];

        if (is_live(slot) && (!found || slot->users < found->users))
            found = slot;
    }
    return found;
}

static void put_in_slot(struct byre_nbd_pool *pool, struct byre_nbd_connection *connection)
{
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        if (!pool->slots[i].connection) {
            pool->slots[i] = (struct slot){ .connection = connection };
            return;
        }
    }
    byre_nbd_disconnect(connection);
}

static bool is_same_export(const struct byre_nbd_export *a, const struct byre_nbd_export *b)
{
    return a->size == b->size && a->read_only == b->read_only && a->can_flush == b->can_flush &&
           a->can_trim == b->can_trim && a->can_zero == b->can_zero && a->can_fast_zero == b->can_fast_zero &&
           a->can_status == b->can_status && a->block_min == b->block_min && a->block_max == b->block_max;
}

/* The lock is given up meanwhile.  If it fails there will be no more. */
static void open_one_more(struct byre_nbd_pool *pool)
{
    struct byre_nbd_connection *connection = NULL;
    struct byre_nbd_export export;
    bool again;
    int r;

    pool->opening = true;
    pthread_mutex_unlock(&pool->lock);
    r = byre_nbd_connect(&pool->options, BESIDES_SECONDS, &export, &connection, &again, NULL);
    pthread_mutex_lock(&pool->lock);
    pool->opening = false;
    if (r == 0 && is_same_export(&export, &pool->export) && count_live(pool) && count_live(pool) < pool->max) {
        put_in_slot(pool, connection);
        return;
    }
    pool->max = MAX(count_live(pool), 1U);
    byre_nbd_disconnect(connection);
}

/* --- connections that are lost ---------------------------------------------------------------------------- */

static bool has_lost_users(const struct byre_nbd_pool *pool)
{
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        if (pool->slots[i].connection && pool->slots[i].lost)
            return true;
    }
    return false;
}

/* The slot's connection is lost; its last user takes it away. */
static void lose(struct byre_nbd_pool *pool, struct slot *slot)
{
    if (!slot->lost)
        pool->lost_at = now();
    slot->lost = true;
    pool->max = MAX(count_live(pool), 1U);
    if (pool->options.reconnect_delay == 0 && (pool->options.writable || count_live(pool) == 0) && !pool->broken)
        pool->broken = -ECONNRESET;
}

static void release(struct byre_nbd_pool *pool, struct slot *slot)
{
    if (--slot->users == 0 && slot->lost) {
        byre_nbd_disconnect(slot->connection);
        *slot = (struct slot){ .connection = NULL };
        pthread_cond_broadcast(&pool->changed);
    }
}

/* Writes again what may be lost: nobody else sends anything yet. */
static int replay(struct byre_nbd_pool *pool, struct byre_nbd_connection *connection, bool *ret_lost)
{
    int r = 0;

    *ret_lost = false;
    for (size_t i = 0; r == 0 && i < pool->unflushed.requests.len; i++)
        r = byre_nbd_connection_run(connection, &pool->unflushed.requests.ptr[i], ret_lost);
    return r;
}

/* One attempt: 0, or a negative errno. */
static int attempt(struct byre_nbd_pool *pool, unsigned seconds, struct byre_nbd_connection **ret_connection,
                   bool *ret_again)
{
    struct byre_nbd_connection *connection = NULL;
    struct byre_nbd_export export;
    int r = byre_nbd_connect(&pool->options, seconds, &export, &connection, ret_again, NULL);

    if (r < 0)
        return r;
    if (is_same_export(&export, &pool->export)) {
        r = replay(pool, connection, ret_again);
    } else {
        r = -ESTALE;
        *ret_again = false;
    }
    if (r < 0)
        byre_nbd_disconnect(connection);
    else
        *ret_connection = connection;
    return r;
}

/* There is no connection: makes it again, or declares the store broken.  The lock is given up meanwhile. */
static void reconnect(struct byre_nbd_pool *pool)
{
    time_t end = pool->lost_at + (time_t)pool->options.reconnect_delay, at;
    struct byre_nbd_connection *connection = NULL;
    bool again = true;
    int r = -ETIMEDOUT;

    pool->reconnecting = true;
    while (!connection && again && (at = now()) <= end) {
        pthread_mutex_unlock(&pool->lock);
        r = attempt(pool, (unsigned)MAX(end - at, (time_t)1), &connection, &again);
        if (r < 0 && again)
            take_a_break();
        pthread_mutex_lock(&pool->lock);
    }
    if (connection)
        put_in_slot(pool, connection);
    else
        pool->broken = again ? -ETIMEDOUT : r;
    pool->reconnecting = false;
    pthread_cond_broadcast(&pool->changed);
}

/* --- requests --------------------------------------------------------------------------------------------- */

/* The slot for one more request: 0 or a negative errno. */
static int choose(struct byre_nbd_pool *pool, struct slot **ret_slot)
{
    while (!pool->broken) {
        struct slot *slot = least_used(pool);

        if (slot && (slot->users == 0 || pool->opening || count_live(pool) >= pool->max)) {
            slot->users++;
            *ret_slot = slot;
            return 0;
        }
        if (slot)
            open_one_more(pool);
        else if (pool->reconnecting || has_lost_users(pool))
            pthread_cond_wait(&pool->changed, &pool->lock);
        else
            reconnect(pool);
    }
    return pool->broken;
}

static bool is_change(const struct byre_nbd_request *request)
{
    return request->op == BYRE_NBD_WRITE || request->op == BYRE_NBD_TRIM || request->op == BYRE_NBD_ZERO;
}

/* Keeps a completed request for as long as it is not flushed; true if there has to be a flush.  What cannot be kept
 * must not be lost: connections are not made again from then on. */
static bool keep(struct byre_nbd_pool *pool, const struct slot *slot, const struct byre_nbd_request *request)
{
    if (byre_nbd_unflushed_add(&pool->unflushed, request) == 0)
        return pool->unflushed.bytes > UNFLUSHED_BYTES_MAX;
    pool->options.reconnect_delay = 0;
    if (slot->lost && !pool->broken)
        pool->broken = -ENOMEM;
    return true;
}

/* Sends it, as often as it takes.  `mark`: what a flush covers.  *ret_full: a flush is due. */
static int run(struct byre_nbd_pool *pool, struct byre_nbd_request *request, uint64_t *mark, bool *ret_full)
{
    struct slot *slot = NULL;
    bool lost = true;
    int r = 0;

    while (lost) {
        r = choose(pool, &slot);
        if (r < 0)
            return r;
        *mark = byre_nbd_unflushed_mark(&pool->unflushed);
        pthread_mutex_unlock(&pool->lock);
        r = byre_nbd_connection_run(slot->connection, request, &lost);
        pthread_mutex_lock(&pool->lock);
        if (lost)
            lose(pool, slot);
        else if (r == 0 && pool->keeps_unflushed && is_change(request))
            *ret_full = keep(pool, slot, request);
        release(pool, slot);
    }
    return r;
}

static int flush(struct byre_nbd_pool *pool, struct byre_nbd_request *request)
{
    uint64_t mark;
    bool full;
    int r = pool->flush_failed ? pool->flush_failed : run(pool, request, &mark, &full);

    if (r == 0)
        byre_nbd_unflushed_drop(&pool->unflushed, mark);
    else
        pool->flush_failed = r;
    return r;
}

/* Flushes, so that what is to be kept does not grow without end. */
static int make_room(struct byre_nbd_pool *pool)
{
    struct byre_nbd_request request = { .op = BYRE_NBD_FLUSH };
    int r;

    while (pool->flushing)
        pthread_cond_wait(&pool->changed, &pool->lock);
    pool->flushing = true;
    r = flush(pool, &request);
    pool->flushing = false;
    pthread_cond_broadcast(&pool->changed);
    return r;
}

int byre_nbd_pool_run(struct byre_nbd_pool *pool, struct byre_nbd_request *request)
{
    uint64_t mark;
    bool full = false;
    int r;

    pthread_mutex_lock(&pool->lock);
    if (request->op == BYRE_NBD_FLUSH)
        r = flush(pool, request);
    else
        r = run(pool, request, &mark, &full);
    if (r == 0 && full)
        r = make_room(pool);
    pthread_mutex_unlock(&pool->lock);
    return r;
}

/* --- making and ending ------------------------------------------------------------------------------------ */

static bool copy_text(const char **text)
{
    if (!*text)
        return true;
    *text = strdup(*text);
    return *text;
}

/* The pool's own copies; what could not be copied is NULL. */
static bool copy_options(struct byre_nbd_options *own)
{
    const char **texts[] = {
        &own->name, &own->path, &own->host, &own->port, &own->export_name, &own->tls_certificates,
        &own->tls_psk_file, &own->tls_username,
    };
    bool all = true;

    for (unsigned i = 0; i < ARRAY_LEN(texts); i++)
        all &= copy_text(texts[i]);
    return all;
}

static void free_options(struct byre_nbd_options *own)
{
    free((char *)own->name);
    free((char *)own->path);
    free((char *)own->host);
    free((char *)own->port);
    free((char *)own->export_name);
    free((char *)own->tls_certificates);
    free((char *)own->tls_psk_file);
    free((char *)own->tls_username);
}

/* The first connection. */
static int open_first(struct byre_nbd_pool *pool, struct byre_error *err)
{
    time_t end = now() + (time_t)pool->options.open_timeout;
    unsigned seconds = pool->options.open_timeout ? pool->options.open_timeout : HANDSHAKE_SECONDS;
    struct byre_nbd_connection *connection = NULL;
    bool again;
    int r = byre_nbd_connect(&pool->options, seconds, &pool->export, &connection, &again, err);

    while (r < 0 && again && now() < end) {
        take_a_break();
        r = byre_nbd_connect(&pool->options, (unsigned)MAX(end - now(), (time_t)1), &pool->export, &connection,
                             &again, err);
    }
    if (r == 0)
        put_in_slot(pool, connection);
    return r;
}

/* As many connections as there may be.  What can be written gets them all at once: one that is made later could be to
 * a server that was started again, which nobody noticed yet. */
static void open_others(struct byre_nbd_pool *pool)
{
    bool alone = !pool->export.multi_conn || (pool->options.writable && pool->options.reconnect_delay);

    pool->max = alone ? 1 : CONNECTIONS_MAX;
    pthread_mutex_lock(&pool->lock);
    while (pool->options.writable && count_live(pool) < pool->max)
        open_one_more(pool);
    pthread_mutex_unlock(&pool->lock);
}

int byre_nbd_pool_new(const struct byre_nbd_options *options, struct byre_nbd_pool **ret_pool,
                      struct byre_error *err)
{
    struct byre_nbd_pool *pool = calloc(1, sizeof *pool);
    int r;

    if (!pool)
        return byre_error_set_errno(err, -ENOMEM, "no connection");
    pool->options = *options;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->changed, NULL);
    r = copy_options(&pool->options) ? open_first(pool, err) : byre_error_set_errno(err, -ENOMEM, "no connection");
    if (r < 0) {
        byre_nbd_pool_free(pool);
        return r;
    }
    pool->keeps_unflushed = options->writable && options->reconnect_delay && pool->export.can_flush;
    open_others(pool);
    *ret_pool = pool;
    return 0;
}

void byre_nbd_pool_free(struct byre_nbd_pool *pool)
{
    if (!pool)
        return;
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        byre_nbd_disconnect(pool->slots[i].connection);
    byre_nbd_unflushed_done(&pool->unflushed);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free_options(&pool->options);
    free(pool);
}

const struct byre_nbd_export *byre_nbd_pool_export(const struct byre_nbd_pool *pool)
{
    return &pool->export;
}

#endif
