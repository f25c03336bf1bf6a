/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection to an NBD server: the handshake, and the end.
 *
 *   H1. Whatever a server does or does not do, the handshake ends by its deadline.
 *   H2. What the server says is checked before it is believed: sizes, block sizes.  Its text is shown without control
 *       characters, and cut.
 */
#include "config.h"

#include "store/nbd_connection.h"

#ifdef HAVE_LIBNBD

#include <errno.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/arith.h"
#include "store/nbd_handle.h"

#define MESSAGE_MAX 300
#define GOODBYE_MS 1000
#define BLOCK_MIN_MAX 65536u /* bytes; the protocol says that a server should not want more */

/* A handshake under way. */
struct handshake {
    const struct byre_nbd_options *options;
    struct nbd_handle *nbd;
    char message[MESSAGE_MAX];  /* the server's own, or empty */
};

short byre_nbd_events(unsigned direction)
{
    return (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                   (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
}

void byre_nbd_notify(struct nbd_handle *nbd, short revents)
{
    unsigned direction = nbd_aio_get_direction(nbd);
    const short broken = POLLHUP | POLLERR | POLLNVAL;

    if ((revents & (POLLIN | broken)) && (direction & LIBNBD_AIO_DIRECTION_READ))
        nbd_aio_notify_read(nbd);
    else if ((revents & (POLLOUT | broken)) && (direction & LIBNBD_AIO_DIRECTION_WRITE))
        nbd_aio_notify_write(nbd);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* libnbd hands out the text of a refusal in no other way than this. */
static int heard(void *opaque, const char *context, const char *text)
{
    static const char start[] = "handshake: server error message: ";
    struct handshake *handshake = opaque;

    (void)context;
    if (strncmp(text, start, sizeof start - 1) != 0)
        return 0;
    snprintf(handshake->message, sizeof handshake->message, "%s", text + sizeof start - 1);
    for (char *at = handshake->message; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    }
    return 0;
}

/* libnbd's error as ours. */
static int fail(struct byre_error *err, const char *what)
{
    const char *text = nbd_get_error();
    int code = nbd_get_errno();

    return byre_error_set(err, code > 0 ? -code : -EPROTO, "%s: %s", what, text ? text : "unknown error");
}

static int set_tls(struct handshake *handshake, struct byre_error *err)
{
    const struct byre_nbd_options *options = handshake->options;
    struct nbd_handle *nbd = handshake->nbd;
    int r;

    if (nbd_supports_tls(nbd) != 1)
        return byre_error_set(err, -ENOTSUP, "libnbd was built without TLS");
    /* The program does not start GnuTLS where it has no use for it, and libnbd expects it to be started. */
    r = gnutls_global_init();
    if (r < 0)
        return byre_error_set(err, -EIO, "GnuTLS does not start: %s", gnutls_strerror(r));
    r = nbd_set_tls(nbd, LIBNBD_TLS_REQUIRE);
    if (r == 0 && options->tls_certificates)
        r = nbd_set_tls_certificates(nbd, options->tls_certificates);
    if (r == 0 && options->tls_psk_file)
        r = nbd_set_tls_psk_file(nbd, options->tls_psk_file);
    if (r == 0 && options->tls_username)
        r = nbd_set_tls_username(nbd, options->tls_username);
    return r < 0 ? fail(err, "Failed to set up TLS") : 0;
}

static int prepare(struct handshake *handshake, struct byre_error *err)
{
    const nbd_debug_callback listen = { .callback = heard, .user_data = handshake };
    struct nbd_handle *nbd = handshake->nbd;

    if (nbd_set_export_name(nbd, handshake->options->export_name) < 0 ||
        nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
        nbd_set_debug_callback(nbd, listen) < 0 || nbd_set_debug(nbd, true) < 0)
        return fail(err, "Failed to set up the connection");
    return handshake->options->tls ? set_tls(handshake, err) : 0;
}

static int start(struct handshake *handshake)
{
    const struct byre_nbd_options *options = handshake->options;

    if (options->path)
        return nbd_aio_connect_unix(handshake->nbd, options->path);
    return nbd_aio_connect_tcp(handshake->nbd, options->host, options->port);
}

/* Serves the handle until the deadline, or until it is neither connecting nor negotiating: 0, -ETIMEDOUT, or -EIO. */
static int drive(struct handshake *handshake, int64_t deadline)
{
    struct nbd_handle *nbd = handshake->nbd;

    while (nbd_aio_is_connecting(nbd) || nbd_aio_is_negotiating(nbd)) {
        struct pollfd fd = { .fd = nbd_aio_get_fd(nbd), .events = byre_nbd_events(nbd_aio_get_direction(nbd)) };
        int64_t left = deadline - now_ms();

        if (left <= 0)
            return -ETIMEDOUT;
        if (poll(&fd, 1, (int)MIN(left, (int64_t)60000)) > 0)
            byre_nbd_notify(nbd, fd.revents);
    }
    return nbd_aio_is_ready(nbd) ? 0 : -EIO;
}

/* What libnbd says went wrong, without the name of its function. */
static const char *reason(void)
{
    const char *text = nbd_get_error(), *colon = text ? strstr(text, ": ") : NULL;

    return colon ? colon + 2 : text ? text : "unknown error";
}

/* Was there no connection at all? */
static bool is_unconnected(void)
{
    static const char start[] = "connect: ";

    return strncmp(reason(), start, sizeof start - 1) == 0;
}

/* May there be another answer a moment later? */
static bool is_passing(int code)
{
    switch (-code) {
    case ENOENT:
        return is_unconnected(); /* a socket that is not there yet */
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOTCONN:
    case EAGAIN:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case ESHUTDOWN:
        return true;
    default:
        return false;
    }
}

/* Where the server is, as messages show it. */
static void place(const struct byre_nbd_options *options, char *buf, size_t size)
{
    if (options->path)
        snprintf(buf, size, "%s", options->path);
    else
        snprintf(buf, size, "%s:%s", options->host, options->port);
}

/* What went wrong in the handshake. */
static int report(const struct handshake *handshake, int r, struct byre_error *err)
{
    int code = nbd_get_errno();
    char where[MESSAGE_MAX];

    place(handshake->options, where, sizeof where);
    if (r == -ETIMEDOUT)
        return byre_error_set(err, r, "The server at '%s' did not complete the handshake in time", where);
    code = code > 0 ? -code : -ECONNRESET;
    if (handshake->message[0])
        return byre_error_set(err, code, "Requested export not available: server reported: %s", handshake->message);
    if (strncmp(reason(), "getaddrinfo: ", 13) == 0)
        return byre_error_set(err, code, "Failed to connect to '%s': %s", where, reason() + 13);
    if (is_unconnected())
        return byre_error_set_errno(err, code, "Failed to connect to '%s'", where);
    if (code == -ENOTSUP && !handshake->options->tls)
        return byre_error_set(err, code, "The server at '%s' refuses the request; it may want TLS (nbds)", where);
    if (code == -ENOENT && strstr(reason(), "server replied"))
        return byre_error_set(err, code, "Requested export not available: the server at '%s' has no export '%s'",
                              where, handshake->options->export_name);
    return byre_error_set(err, code, "The handshake with the server at '%s' failed: %s", where, reason());
}

static uint64_t block_size(struct nbd_handle *nbd, int which)
{
    int64_t size = nbd_get_block_size(nbd, which);

    return size > 0 ? (uint64_t)size : 0;
}

static int check_export(const struct byre_nbd_export *export, struct byre_error *err)
{
    uint64_t min = export->block_min ? export->block_min : 1;

    if (export->size > INT64_MAX)
        return byre_error_set(err, -EFBIG, "the export's size %" PRIu64 " is too large", export->size);
    if (!byre_is_power_of_two(min) || min > BLOCK_MIN_MAX)
        return byre_error_set(err, -EPROTO, "the export's minimum block size %" PRIu64 " is not a power of two up to "
                              "%u", min, BLOCK_MIN_MAX);
    if (export->block_max && export->block_max < min)
        return byre_error_set(err, -EPROTO, "the export's maximum block size %" PRIu64 " is less than the minimum %"
                              PRIu64, export->block_max, min);
    if (!byre_is_aligned(export->size, min))
        return byre_error_set(err, -EPROTO, "the export's size %" PRIu64 " is not a multiple of its minimum block size"
                              " %" PRIu64, export->size, min);
    return 0;
}

static int read_export(struct nbd_handle *nbd, struct byre_nbd_export *ret_export, struct byre_error *err)
{
    int64_t size = nbd_get_size(nbd);

    if (size < 0)
        return fail(err, "the export has no size");
    *ret_export = (struct byre_nbd_export){
        .size = (uint64_t)size,
        .read_only = nbd_is_read_only(nbd) != 0,
        .can_flush = nbd_can_flush(nbd) > 0,
        .can_trim = nbd_can_trim(nbd) > 0,
        .can_zero = nbd_can_zero(nbd) > 0,
        .can_fast_zero = nbd_can_fast_zero(nbd) > 0,
        .can_status = nbd_can_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0,
        .multi_conn = nbd_can_multi_conn(nbd) > 0,
        .block_min = block_size(nbd, LIBNBD_SIZE_MINIMUM),
        .block_preferred = block_size(nbd, LIBNBD_SIZE_PREFERRED),
        .block_max = block_size(nbd, LIBNBD_SIZE_MAXIMUM),
    };
    return check_export(ret_export, err);
}

static int shake(struct handshake *handshake, unsigned seconds, struct byre_nbd_export *ret_export, bool *ret_again,
                 struct byre_error *err)
{
    int r = prepare(handshake, err);

    if (r < 0)
        return r;
    r = start(handshake) < 0 ? -EIO : drive(handshake, now_ms() + (int64_t)seconds * 1000);
    if (r < 0) {
        r = report(handshake, r, err);
        *ret_again = r == -ETIMEDOUT || (!handshake->message[0] && is_passing(r));
        return r;
    }
    nbd_set_debug(handshake->nbd, false);
    nbd_clear_debug_callback(handshake->nbd);
    return read_export(handshake->nbd, ret_export, err);
}

int byre_nbd_connect(const struct byre_nbd_options *options, unsigned seconds, struct byre_nbd_export *ret_export,
                     struct byre_nbd_connection **ret_connection, bool *ret_again, struct byre_error *err)
{
    struct byre_nbd_connection *connection = calloc(1, sizeof *connection);
    struct handshake handshake = { .options = options };
    int r;

    *ret_again = false;
    if (!connection)
        return byre_error_set_errno(err, -ENOMEM, "no connection");
    connection->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    handshake.nbd = connection->wake < 0 ? NULL : nbd_create();
    if (!handshake.nbd)
        r = byre_error_set_errno(err, connection->wake < 0 ? -errno : -ENOMEM, "no connection");
    else
        r = shake(&handshake, seconds, ret_export, ret_again, err);
    if (r < 0) {
        nbd_close(handshake.nbd);
        if (connection->wake >= 0)
            close(connection->wake);
        free(connection);
        return r;
    }
    pthread_mutex_init(&connection->lock, NULL);
    connection->nbd = handshake.nbd;
    *ret_connection = connection;
    return 0;
}

void byre_nbd_disconnect(struct byre_nbd_connection *connection)
{
    int64_t deadline = now_ms() + GOODBYE_MS;

    if (!connection)
        return;
    if (nbd_aio_is_ready(connection->nbd) && nbd_aio_disconnect(connection->nbd, 0) == 0) {
        while (!nbd_aio_is_closed(connection->nbd) && !nbd_aio_is_dead(connection->nbd)) {
            struct pollfd fd = {
                .fd = nbd_aio_get_fd(connection->nbd),
                .events = byre_nbd_events(nbd_aio_get_direction(connection->nbd)),
            };
            int64_t left = deadline - now_ms();

            if (left <= 0)
                break;
            if (poll(&fd, 1, (int)left) > 0)
                byre_nbd_notify(connection->nbd, fd.revents);
        }
    }
    nbd_close(connection->nbd);
    close(connection->wake);
    pthread_mutex_destroy(&connection->lock);
    free(connection);
}

#endif
