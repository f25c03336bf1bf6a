/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection to an NBD server: sending requests and waiting for replies.  nbd_connect.c makes and ends it.
 */
#include "config.h"

#include "store/nbd_connection.h"

#ifdef HAVE_LIBNBD

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/nbd_handle.h"

#define STATUS_ZERO LIBNBD_STATE_ZERO

/* --- what libnbd calls, under the lock -------------------------------------------------------------------- */

static int completed(void *opaque, int *error)
{
    struct byre_nbd_request *request = opaque;

    request->code = -*error;
    request->done = true;
    pthread_cond_signal(&request->wake);
    return 1;
}

static void add_run(struct byre_nbd_request *request, uint32_t length, bool zero)
{
    struct byre_nbd_run *last = request->ret_runs ? &request->runs[request->ret_runs - 1] : NULL;
    uint64_t start = last ? last->end : request->offset;

    if (length == 0 || request->runs_full)
        return;
    if (last && last->zero == zero)
        last->end += length;
    else if (request->ret_runs < request->runs_max)
        request->runs[request->ret_runs++] = (struct byre_nbd_run){ start + length, zero };
    else
        request->runs_full = true;
}

/* Extents of base:allocation. */
static int got_status(void *opaque, const char *context, uint64_t offset, uint32_t *entries, size_t count, int *error)
{
    (void)offset;
    (void)error;
    if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
        return 0;
    for (size_t i = 0; i + 1 < count; i += 2)
        add_run(opaque, entries[i], entries[i + 1] & STATUS_ZERO);
    return 0;
}

/* --- requests --------------------------------------------------------------------------------------------- */

static int64_t submit(struct nbd_handle *nbd, struct byre_nbd_request *request)
{
    const nbd_completion_callback done = { .callback = completed, .user_data = request };
    const nbd_extent_callback extent = { .callback = got_status, .user_data = request };
    uint32_t flags = 0;

    switch (request->op) {
    case BYRE_NBD_READ:
        return nbd_aio_pread(nbd, request->buf, request->length, request->offset, done, 0);
    case BYRE_NBD_WRITE:
        return nbd_aio_pwrite(nbd, request->buf, request->length, request->offset, done, 0);
    case BYRE_NBD_FLUSH:
        return nbd_aio_flush(nbd, done, 0);
    case BYRE_NBD_TRIM:
        return nbd_aio_trim(nbd, request->length, request->offset, done, 0);
    case BYRE_NBD_ZERO:
        flags |= request->no_hole ? LIBNBD_CMD_FLAG_NO_HOLE : 0;
        flags |= request->fast ? LIBNBD_CMD_FLAG_FAST_ZERO : 0;
        return nbd_aio_zero(nbd, request->length, request->offset, done, flags);
    case BYRE_NBD_STATUS:
        request->ret_runs = 0;
        request->runs_full = false;
        flags = request->runs_max == 1 ? LIBNBD_CMD_FLAG_REQ_ONE : 0;
        return nbd_aio_block_status(nbd, request->length, request->offset, extent, done, flags);
    }
    return -1;
}

static bool is_gone(struct nbd_handle *nbd)
{
    return nbd_aio_is_dead(nbd) || nbd_aio_is_closed(nbd);
}

static void wake_poller(struct byre_nbd_connection *connection)
{
    uint64_t one = 1;

    while (write(connection->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* Waits for the socket once.  The lock is given up meanwhile. */
static void poll_once(struct byre_nbd_connection *connection)
{
    struct nbd_handle *nbd = connection->nbd;
    unsigned direction = nbd_aio_get_direction(nbd);
    struct pollfd fds[2] = {
        { .fd = nbd_aio_get_fd(nbd), .events = byre_nbd_events(direction) },
        { .fd = connection->wake, .events = POLLIN },
    };
    uint64_t count;

    connection->direction = direction;
    pthread_mutex_unlock(&connection->lock);
    if (poll(fds, 2, -1) < 0)
        fds[0].revents = fds[1].revents = 0;
    if (fds[1].revents && read(connection->wake, &count, sizeof count) < 0)
        fds[1].revents = 0; /* nothing there: somebody else's wake-up */
    pthread_mutex_lock(&connection->lock);
    byre_nbd_notify(nbd, fds[0].revents);
}

static void link_request(struct byre_nbd_connection *connection, struct byre_nbd_request *request)
{
    request->prev = NULL;
    request->next = connection->waiting;
    if (request->next)
        request->next->prev = request;
    connection->waiting = request;
}

static void unlink_request(struct byre_nbd_connection *connection, struct byre_nbd_request *request)
{
    *(request->prev ? &request->prev->next : &connection->waiting) = request->next;
    if (request->next)
        request->next->prev = request->prev;
}

/* Waits until the request is done; on the way, serves the socket if nobody else does. */
static void await(struct byre_nbd_connection *connection, struct byre_nbd_request *request)
{
    link_request(connection, request);
    while (!request->done) {
        if (connection->polling) {
            pthread_cond_wait(&request->wake, &connection->lock);
        } else if (is_gone(connection->nbd)) {
            request->code = -ENOTCONN;
            request->done = true;
        } else {
            connection->polling = true;
            poll_once(connection);
            connection->polling = false;
        }
    }
    unlink_request(connection, request);
    if (!connection->polling && connection->waiting)
        pthread_cond_signal(&connection->waiting->wake);
}

int byre_nbd_connection_run(struct byre_nbd_connection *connection, struct byre_nbd_request *request, bool *ret_lost)
{
    struct nbd_handle *nbd = connection->nbd;
    int r;

    request->done = false;
    request->code = 0;
    pthread_cond_init(&request->wake, NULL);
    pthread_mutex_lock(&connection->lock);
    if (submit(nbd, request) >= 0) {
        if (connection->polling && (is_gone(nbd) || nbd_aio_get_direction(nbd) != connection->direction))
            wake_poller(connection);
        await(connection, request);
    } else {
        r = nbd_get_errno();
        request->code = r ? -r : -EIO;
    }
    r = request->code;
    *ret_lost = r < 0 && is_gone(nbd);
    pthread_mutex_unlock(&connection->lock);
    pthread_cond_destroy(&request->wake);
    if (r == 0 && request->op == BYRE_NBD_STATUS && request->ret_runs == 0)
        r = -EPROTO;
    return r;
}

#endif
