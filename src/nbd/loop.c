/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loops: waiting for sockets and queues, and the round of receiving, submitting, reaping and sending.
 */
#include "config.h"

#include "nbd/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "nbd/connection.h"

#define EVENTS_MAX      64
#define COMPLETIONS_MAX 128u
#define QUEUE_DEPTH     1024u
#define SPARE_OPS_MAX   512u
#define SPARE_ROOM_MAX  (8u << 20) /* bytes that spare ops have: memory that was touched is faster */

/* What an event is of: the pointer, and which kind it has, in bits that pointers do not have. */
enum { TAG_CONNECTION, TAG_LANE, TAG_WAKE, TAG_MASK };

TAILQ_HEAD(connections, byre_nbd_connection);

struct byre_nbd_loop {
    struct byre_nbd_shared *shared;
    pthread_t thread;
    int epoll_fd, wake_fd;
    struct connections all, greeting, marked; /* greeting: in the order of their deadlines */
    VEC(struct byre_nbd_lane *) lanes;
    struct byre_nbd_op *spare;
    unsigned spare_count;
    size_t spare_room;
    bool stopping, cutting;
    pthread_mutex_t mutex;
    VEC(int) adopted;         /* under it: new sockets */
    struct byre_nbd_op *done; /* under it: what workers have done */
    bool stop, cut;           /* under it */
    struct byre_nbd_ask *answered; /* under it: what the keeper has done */
};

static void wake(struct byre_nbd_loop *loop)
{
    const uint64_t one = 1;

    while (write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

struct byre_nbd_shared *byre_nbd_loop_shared(struct byre_nbd_loop *loop)
{
    return loop->shared;
}

/* --- ops --------------------------------------------------------------------------------------------------- */

static size_t memory_of(const struct byre_nbd_op *op)
{
    return op->room + op->heads.cap + op->reply.cap * sizeof *op->reply.ptr;
}

struct byre_nbd_op *byre_nbd_loop_take_op(struct byre_nbd_loop *loop)
{
    struct byre_nbd_op *op = loop->spare;

    if (op) {
        loop->spare = op->next;
        loop->spare_count--;
        loop->spare_room -= memory_of(op);
    } else {
        op = malloc(sizeof *op);
        if (!op)
            return NULL;
        op->data = NULL;
        op->room = 0;
        op->heads = (byre_nbd_bytes)VEC_INIT;
        memset(&op->reply, 0, sizeof op->reply);
    }
    op->heads.len = op->reply.len = op->reply_at = 0;
    op->counted = 0;
    op->error = 0;
    op->why = NULL;
    op->err.code = 0;
    op->err.text[0] = '\0';
    return op;
}

void byre_nbd_loop_give_op(struct byre_nbd_loop *loop, struct byre_nbd_op *op)
{
    if (loop->spare_room + memory_of(op) > SPARE_ROOM_MAX || loop->spare_count == SPARE_OPS_MAX) {
        byre_nbd_op_free(op);
        return;
    }
    op->next = loop->spare;
    loop->spare = op;
    loop->spare_count++;
    loop->spare_room += memory_of(op);
}

/* A worker's: the op goes back to its loop. */
static void run_slow(struct byre_job *job)
{
    struct byre_nbd_op *op = (struct byre_nbd_op *)job;
    struct byre_nbd_loop *loop = ((struct byre_nbd_connection *)op->owner)->loop;
    bool first;

    byre_nbd_op_run(op);
    pthread_mutex_lock(&loop->mutex);
    first = !loop->done;
    op->next = loop->done;
    loop->done = op;
    if (first)
        wake(loop); /* under the mutex: once it is free the loop may end */
    pthread_mutex_unlock(&loop->mutex);
}

void byre_nbd_loop_run_slow(struct byre_nbd_loop *loop, struct byre_nbd_op *op)
{
    op->job.run = run_slow;
    byre_pool_submit(loop->shared->pool, &op->job);
}

/* A thread of the keeper's: back to the loop. */
static void take_answer(struct byre_nbd_ask *ask)
{
    struct byre_nbd_loop *loop = ((struct byre_nbd_connection *)ask->owner)->loop;

    pthread_mutex_lock(&loop->mutex);
    ask->next = loop->answered;
    loop->answered = ask;
    wake(loop); /* under the mutex, as in run_slow */
    pthread_mutex_unlock(&loop->mutex);
}

void byre_nbd_loop_ask(struct byre_nbd_loop *loop, struct byre_nbd_connection *connection, struct byre_nbd_ask *ask)
{
    ask->owner = connection;
    ask->done = take_answer;
    byre_nbd_keeper_ask(loop->shared->exports->keeper, ask);
}

/* --- lanes ------------------------------------------------------------------------------------------------- */

static int watch_fd(struct byre_nbd_loop *loop, int how, int fd, uint32_t events, const void *what, unsigned tag)
{
    struct epoll_event event = { .events = events, .data.u64 = (uintptr_t)what | tag };

    return epoll_ctl(loop->epoll_fd, how, fd, &event) < 0 ? -errno : 0;
}

static void lane_free(struct byre_nbd_lane *lane)
{
    byre_queue_free(lane->queue);
    vec_done(&lane->batch);
    (void)byre_nbd_export_unref(lane->export, NULL);
    free(lane);
}

static struct byre_nbd_lane *lane_new(struct byre_nbd_loop *loop, struct byre_nbd_export *export)
{
    const struct byre_queue_options options = { .depth = QUEUE_DEPTH, .edges = true };
    struct byre_nbd_lane *lane = calloc(1, sizeof *lane);

    if (!lane)
        return NULL;
    lane->export = byre_nbd_export_ref(export);
    lane->tally = byre_nbd_tallies_get(&export->tallies, loop);
    if (!lane->tally || byre_queue_new(export->disk, loop->shared->workers, &options, &lane->queue, NULL) < 0 ||
        vec_push(&loop->lanes, lane) < 0) {
        lane_free(lane);
        return NULL;
    }
    if (watch_fd(loop, EPOLL_CTL_ADD, byre_queue_fd(lane->queue), EPOLLIN | EPOLLET, lane, TAG_LANE) < 0) {
        loop->lanes.len--;
        lane_free(lane);
        return NULL;
    }
    return lane;
}

struct byre_nbd_lane *byre_nbd_loop_lane(struct byre_nbd_loop *loop, struct byre_nbd_export *export)
{
    struct byre_nbd_lane *lane = NULL;

    for (size_t i = 0; i < loop->lanes.len && !lane; i++) {
        if (loop->lanes.ptr[i]->export == export)
            lane = loop->lanes.ptr[i];
    }
    if (!lane)
        lane = lane_new(loop, export);
    if (lane) {
        lane->users++;
        byre_nbd_tally_add(&lane->tally->connections, 1);
        atomic_store(&loop->shared->served, true);
    }
    return lane;
}

void byre_nbd_loop_leave_lane(struct byre_nbd_loop *loop, struct byre_nbd_lane *lane)
{
    byre_nbd_tally_add(&lane->tally->gone, 1);
    if (--lane->users)
        return;
    for (size_t i = 0; i < loop->lanes.len; i++) {
        if (loop->lanes.ptr[i] == lane)
            loop->lanes.ptr[i--] = loop->lanes.ptr[--loop->lanes.len];
    }
    (void)watch_fd(loop, EPOLL_CTL_DEL, byre_queue_fd(lane->queue), 0, NULL, 0);
    lane_free(lane);
}

/* Starts what there is room for. */
static void submit(struct byre_nbd_lane *lane)
{
    unsigned taken;

    if (!lane->batch.len)
        return;
    taken = byre_queue_submit(lane->queue, lane->batch.ptr, (unsigned)lane->batch.len);
    memmove(lane->batch.ptr, lane->batch.ptr + taken, (lane->batch.len - taken) * sizeof *lane->batch.ptr);
    lane->batch.len -= taken;
}

static bool reap(struct byre_nbd_lane *lane)
{
    struct byre_completion completions[COMPLETIONS_MAX];
    unsigned count = byre_queue_reap(lane->queue, completions, COMPLETIONS_MAX, 0, 0);

    for (unsigned i = 0; i < count; i++) {
        struct byre_nbd_op *op = completions[i].cookie;

        byre_nbd_op_take_result(op, completions[i].result);
        byre_nbd_connection_finish(op->owner, op);
    }
    return count > 0;
}

/* --- connections ------------------------------------------------------------------------------------------- */

int byre_nbd_loop_watch(struct byre_nbd_loop *loop, struct byre_nbd_connection *connection, uint32_t events)
{
    int how = !events ? EPOLL_CTL_DEL : connection->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int rc = watch_fd(loop, how, connection->fd, events, connection, TAG_CONNECTION);

    if (rc == 0)
        connection->watched = events;
    return rc;
}

void byre_nbd_loop_mark(struct byre_nbd_loop *loop, struct byre_nbd_connection *connection)
{
    if (!connection->marked)
        TAILQ_INSERT_TAIL(&loop->marked, connection, mark);
    connection->marked = true;
}

static void remove_connection(struct byre_nbd_loop *loop, struct byre_nbd_connection *connection)
{
    const uint64_t one = 1;

    if (connection->watched)
        (void)byre_nbd_loop_watch(loop, connection, 0);
    if (connection->marked)
        TAILQ_REMOVE(&loop->marked, connection, mark);
    if (connection->greets)
        TAILQ_REMOVE(&loop->greeting, connection, greeting);
    TAILQ_REMOVE(&loop->all, connection, all);
    byre_nbd_connection_free(connection);
    atomic_fetch_sub(&loop->shared->connections, 1);
    while (write(loop->shared->ended_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void add_connection(struct byre_nbd_loop *loop, int fd)
{
    const uint64_t one = 1;
    struct byre_nbd_connection *connection;

    if (byre_nbd_connection_new(loop, fd, &connection) < 0) {
        atomic_fetch_sub(&loop->shared->connections, 1);
        while (write(loop->shared->ended_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
        return;
    }
    TAILQ_INSERT_TAIL(&loop->all, connection, all);
    if (connection->deadline) {
        TAILQ_INSERT_TAIL(&loop->greeting, connection, greeting);
        connection->greets = true;
    }
    byre_nbd_loop_mark(loop, connection);
}

static void take_from_others(struct byre_nbd_loop *loop)
{
    struct byre_nbd_op *done, *next;
    struct byre_nbd_ask *answered, *next_answered;
    VEC(int) adopted = VEC_INIT;
    uint64_t count;

    while (read(loop->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&loop->mutex);
    done = STEAL(loop->done);
    answered = STEAL(loop->answered);
    adopted.ptr = loop->adopted.ptr;
    adopted.len = loop->adopted.len;
    memset(&loop->adopted, 0, sizeof loop->adopted);
    loop->stopping = loop->stopping || loop->stop;
    loop->cutting = loop->cut;
    pthread_mutex_unlock(&loop->mutex);
    for (size_t i = 0; i < adopted.len; i++)
        add_connection(loop, adopted.ptr[i]);
    vec_done(&adopted);
    for (; done; done = next) {
        next = done->next;
        byre_nbd_connection_finish(done->owner, done);
    }
    for (; answered; answered = next_answered) {
        next_answered = answered->next;
        byre_nbd_connection_answer(answered->owner);
    }
}

/* How long to wait: until the first client has had enough time to greet. */
static int timeout(const struct byre_nbd_loop *loop)
{
    const struct byre_nbd_connection *first = TAILQ_FIRST(&loop->greeting);
    struct timespec ts;
    uint64_t now;

    if (!first)
        return -1;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    now = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    return first->deadline <= now ? 0 : (int)MIN((first->deadline - now) / 1000000 + 1, (uint64_t)60000);
}

/* Those that have greeted are no longer waited for; those that took too long are ended. */
static void judge_greetings(struct byre_nbd_loop *loop)
{
    struct byre_nbd_connection *connection, *next;

    for (connection = TAILQ_FIRST(&loop->greeting); connection; connection = next) {
        next = TAILQ_NEXT(connection, greeting);
        if (!connection->greeting_over && timeout(loop) != 0)
            return;
        TAILQ_REMOVE(&loop->greeting, connection, greeting);
        connection->greets = false;
        if (!connection->greeting_over) {
            byre_nbd_connection_end(connection, "the handshake takes too long");
            byre_nbd_connection_break_off(connection); /* it may not hear what it has asked for, either */
            byre_nbd_loop_mark(loop, connection);
        }
    }
}

/* --- the round --------------------------------------------------------------------------------------------- */

static void handle(struct byre_nbd_loop *loop, const struct epoll_event *event)
{
    struct byre_nbd_connection *connection = (void *)(uintptr_t)(event->data.u64 & ~(uint64_t)TAG_MASK);

    switch (event->data.u64 & TAG_MASK) {
    case TAG_WAKE: take_from_others(loop); break;
    case TAG_LANE: break; /* is reaped in any case */
    default:
        byre_nbd_loop_mark(loop, connection);
        if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            byre_nbd_connection_receive(connection);
    }
}

/* Submits and reaps until nothing more is done at once. */
static void work(struct byre_nbd_loop *loop)
{
    struct byre_nbd_connection *connection;
    bool more = true;

    while (more) {
        more = false;
        for (size_t i = 0; i < loop->lanes.len; i++)
            submit(loop->lanes.ptr[i]);
        for (size_t i = 0; i < loop->lanes.len; i++)
            more = reap(loop->lanes.ptr[i]) || more;
        for (size_t i = 0; i < loop->lanes.len; i++) {
            const struct byre_nbd_lane *lane = loop->lanes.ptr[i];

            more = more || (lane->batch.len && byre_queue_pending(lane->queue) < QUEUE_DEPTH);
        }
    }
    TAILQ_FOREACH(connection, &loop->marked, mark)
        byre_nbd_connection_send(connection);
}

/* There is room again for what has come before; the connections that are over go. */
static bool go_on(struct byre_nbd_loop *loop)
{
    struct byre_nbd_connection *connection, *next;
    bool more = false;

    for (connection = TAILQ_FIRST(&loop->marked); connection; connection = next) {
        size_t before = byre_nbd_connection_waiting(connection);

        next = TAILQ_NEXT(connection, mark);
        if (before)
            byre_nbd_connection_go_on(connection);
        if (byre_nbd_connection_waiting(connection) < before) {
            more = true;
            continue;
        }
        TAILQ_REMOVE(&loop->marked, connection, mark);
        connection->marked = false;
        if (byre_nbd_connection_is_over(connection))
            remove_connection(loop, connection);
    }
    return more;
}

static void stop_all(struct byre_nbd_loop *loop)
{
    struct byre_nbd_connection *connection;

    TAILQ_FOREACH(connection, &loop->all, all) {
        if (loop->cutting)
            byre_nbd_connection_break_off(connection);
        else
            byre_nbd_connection_end(connection, NULL);
        byre_nbd_loop_mark(loop, connection);
    }
}

static void *run(void *opaque)
{
    struct byre_nbd_loop *loop = opaque;
    struct epoll_event events[EVENTS_MAX];

    while (!loop->stopping || !TAILQ_EMPTY(&loop->all)) {
        int count = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, timeout(loop));

        for (int i = 0; i < count; i++)
            handle(loop, &events[i]);
        judge_greetings(loop);
        if (loop->stopping)
            stop_all(loop);
        do
            work(loop);
        while (go_on(loop));
    }
    return NULL;
}

/* --- from outside ------------------------------------------------------------------------------------------ */

static void loop_done(struct byre_nbd_loop *loop)
{
    struct byre_nbd_op *op;

    while ((op = loop->spare)) {
        loop->spare = op->next;
        byre_nbd_op_free(op);
    }
    for (size_t i = 0; i < loop->adopted.len; i++)
        close(loop->adopted.ptr[i]);
    vec_done(&loop->adopted);
    vec_done(&loop->lanes);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    pthread_mutex_destroy(&loop->mutex);
    free(loop);
}

int byre_nbd_loop_new(struct byre_nbd_shared *shared, struct byre_nbd_loop **ret_loop, struct byre_error *err)
{
    struct byre_nbd_loop *loop = calloc(1, sizeof *loop);
    int rc;

    if (!loop)
        return byre_error_set_errno(err, -ENOMEM, "server");
    loop->shared = shared;
    TAILQ_INIT(&loop->all);
    TAILQ_INIT(&loop->greeting);
    TAILQ_INIT(&loop->marked);
    pthread_mutex_init(&loop->mutex, NULL);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = loop->epoll_fd < 0 || loop->wake_fd < 0 ? -errno : 0;
    if (rc == 0)
        rc = watch_fd(loop, EPOLL_CTL_ADD, loop->wake_fd, EPOLLIN, NULL, TAG_WAKE);
    if (rc == 0)
        rc = -pthread_create(&loop->thread, NULL, run, loop);
    if (rc < 0) {
        loop_done(loop);
        return byre_error_set_errno(err, rc, "could not start a thread of the server");
    }
    *ret_loop = loop;
    return 0;
}

void byre_nbd_loop_adopt(struct byre_nbd_loop *loop, int fd)
{
    int rc;

    pthread_mutex_lock(&loop->mutex);
    rc = vec_push(&loop->adopted, fd);
    pthread_mutex_unlock(&loop->mutex);
    if (rc < 0) {
        close(fd);
        atomic_fetch_sub(&loop->shared->connections, 1);
    }
    wake(loop);
}

void byre_nbd_loop_stop(struct byre_nbd_loop *loop, bool cut)
{
    pthread_mutex_lock(&loop->mutex);
    loop->stop = true;
    loop->cut = loop->cut || cut;
    pthread_mutex_unlock(&loop->mutex);
    wake(loop);
}

void byre_nbd_loop_free(struct byre_nbd_loop *loop)
{
    pthread_join(loop->thread, NULL);
    loop_done(loop);
}
