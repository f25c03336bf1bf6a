/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listing exports.
 */
#include "config.h"

#include "nbd/list.h"

#include <errno.h>

#ifndef HAVE_LIBNBD

int byre_nbd_list(const struct byre_nbd_list_options *options, FILE *out, struct byre_error *err)
{
    (void)options;
    (void)out;
    return byre_error_set(err, -ENOTSUP, "this byre was built without libnbd, which lists exports");
}

#else

#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <libnbd.h>
#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/vec.h"
#include "nbd/protocol.h"

#define TIMEOUT_MS   20000
#define EXPORTS_MAX  10000u
#define CONTEXTS_MAX 1000u
#define TEXT_MAX     4096u /* bytes of a name or description, as the protocol has it */

/* Names from a server. */
struct names {
    VEC(char *) list;
    unsigned most;
    bool failed; /* no memory, or too many */
};

static void names_done(struct names *names)
{
    for (size_t i = 0; i < names->list.len; i++)
        free(names->list.ptr[i]);
    vec_done(&names->list);
}

static int add_name(struct names *names, const char *name)
{
    char *copy = names->list.len < names->most && strlen(name) <= TEXT_MAX ? strdup(name) : NULL;

    if (!copy || vec_push(&names->list, copy) < 0) {
        free(copy);
        names->failed = true;
        return -1;
    }
    return 0;
}

static int heard_export(void *opaque, const char *name, const char *description)
{
    (void)description; /* comes again with the details */
    return add_name(opaque, name);
}

static int heard_context(void *opaque, const char *name)
{
    return add_name(opaque, name);
}

/* --- connecting -------------------------------------------------------------------------------------------- */

static int connect_unix(const char *path, int *ret_fd, struct byre_error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    socklen_t length = sizeof address;
    int fd, rc;

    if (strlen(path) >= sizeof address.sun_path)
        return byre_error_set(err, -ENAMETOOLONG, "UNIX socket path '%s' is too long", path);
    strcpy(address.sun_path, path);
    if (*path == '@') {
        length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
        address.sun_path[0] = '\0';
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, length) == 0) {
        *ret_fd = fd;
        return 0;
    }
    rc = byre_error_set_errno(err, -errno, "Failed to connect to '%s'", path);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int connect_tcp(const char *host, const char *port, int *ret_fd, struct byre_error *err)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *list;
    int fd = -1, rc = getaddrinfo(host, port, &hints, &list);

    if (rc)
        return byre_error_set(err, -EINVAL, "address resolution failed for %s:%s: %s", host, port, gai_strerror(rc));
    rc = -EADDRNOTAVAIL;
    for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0)
            break;
        rc = -errno;
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0)
        return byre_error_set_errno(err, rc, "Failed to connect to '%s:%s'", host, port);
    *ret_fd = fd;
    return 0;
}

/* --- steps of the handshake --------------------------------------------------------------------------------- */

static int failed(struct byre_error *err)
{
    const char *text = nbd_get_error();
    int number = nbd_get_errno();

    return byre_error_set(err, number ? -number : -EIO, "%s", text ? text : "the server does not answer");
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until what was begun (`begun` < 0: it was not) is over: options can be asked for again, or nothing more. */
static int finish(struct nbd_handle *nbd, int begun, struct byre_error *err)
{
    int64_t deadline = now_ms() + TIMEOUT_MS;

    if (begun < 0)
        return failed(err);
    while (nbd_aio_is_connecting(nbd) > 0) {
        int64_t left = deadline - now_ms();

        if (left <= 0)
            return byre_error_set(err, -ETIMEDOUT, "the server does not answer");
        if (nbd_poll(nbd, (int)left) < 0)
            return failed(err);
    }
    return nbd_aio_is_dead(nbd) > 0 || nbd_aio_is_closed(nbd) > 0 ? failed(err) : 0;
}

static bool has_tls(const struct byre_nbd_list_options *options)
{
    return options->tls_certificates || options->tls_psk_file;
}

static int set_tls(struct nbd_handle *nbd, const struct byre_nbd_list_options *options)
{
    /* libnbd leaves that to the loader, which byre-nbd tells not to do it */
    int rc = has_tls(options) && gnutls_global_init() < 0 ? -1 : 0;

    if (rc == 0)
        rc = nbd_set_tls(nbd, has_tls(options) ? LIBNBD_TLS_REQUIRE : LIBNBD_TLS_DISABLE);
    if (rc == 0 && options->tls_certificates)
        rc = nbd_set_tls_certificates(nbd, options->tls_certificates);
    if (rc == 0 && options->tls_certificates)
        rc = nbd_set_tls_verify_peer(nbd, options->tls_verify_peer);
    if (rc == 0 && options->tls_psk_file)
        rc = nbd_set_tls_psk_file(nbd, options->tls_psk_file);
    if (rc == 0 && options->tls_username)
        rc = nbd_set_tls_username(nbd, options->tls_username);
    return rc;
}

static int begin(struct nbd_handle *nbd, const struct byre_nbd_list_options *options, struct byre_error *err)
{
    const char *host = options->host ? options->host : "0.0.0.0", *port = options->port ? options->port : "10809";
    int fd = -1, rc;

    if (options->tls_certificates && options->tls_verify_peer && options->socket)
        return byre_error_set(err, -EINVAL, "a certificate is one of a host: with verify-peer=yes it cannot be "
                              "judged at a UNIX socket");
    if (set_tls(nbd, options) < 0 || nbd_set_opt_mode(nbd, true) < 0 || nbd_set_full_info(nbd, true) < 0)
        return failed(err);
    if (!options->socket && has_tls(options)) /* so that libnbd knows whose certificate it is to see */
        return finish(nbd, nbd_aio_connect_tcp(nbd, host, port), err);
    rc = options->socket ? connect_unix(options->socket, &fd, err) : connect_tcp(host, port, &fd, err);
    return rc < 0 ? rc : finish(nbd, nbd_aio_connect_socket(nbd, fd), err);
}

/* --- showing ------------------------------------------------------------------------------------------------ */

static void put_text(FILE *out, const char *text)
{
    for (unsigned i = 0; text[i] && i < TEXT_MAX; i++)
        fputc((unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i], out);
}

/* The flags of the protocol, as libnbd tells of them. */
static void put_flags(struct nbd_handle *nbd, FILE *out)
{
    static const struct {
        unsigned bit;
        int (*has)(struct nbd_handle *nbd);
        const char *name;
    } flags[] = {
        { NBD_FLAG_READ_ONLY, nbd_is_read_only, "readonly" },
        { NBD_FLAG_SEND_FLUSH, nbd_can_flush, "flush" },
        { NBD_FLAG_SEND_FUA, nbd_can_fua, "fua" },
        { NBD_FLAG_ROTATIONAL, nbd_is_rotational, "rotational" },
        { NBD_FLAG_SEND_TRIM, nbd_can_trim, "trim" },
        { NBD_FLAG_SEND_WRITE_ZEROES, nbd_can_zero, "zeroes" },
        { NBD_FLAG_SEND_DF, nbd_can_df, "df" },
        { NBD_FLAG_CAN_MULTI_CONN, nbd_can_multi_conn, "multi" },
        { NBD_FLAG_SEND_CACHE, nbd_can_cache, "cache" },
        { NBD_FLAG_SEND_FAST_ZERO, nbd_can_fast_zero, "fast-zero" },
    };
    unsigned all = NBD_FLAG_HAS_FLAGS;

    for (unsigned i = 0; i < ARRAY_LEN(flags); i++)
        all |= flags[i].has(nbd) > 0 ? flags[i].bit : 0;
    fprintf(out, "  flags: 0x%x (", all);
    for (unsigned i = 0; i < ARRAY_LEN(flags); i++) {
        if (all & flags[i].bit)
            fprintf(out, " %s", flags[i].name);
    }
    fputs(" )\n", out);
}

static void put_block_sizes(struct nbd_handle *nbd, FILE *out)
{
    static const struct {
        int which;
        const char *name;
    } sizes[] = {
        { LIBNBD_SIZE_MINIMUM, "min block" }, { LIBNBD_SIZE_PREFERRED, "opt block" },
        { LIBNBD_SIZE_MAXIMUM, "max block" },
    };

    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        int64_t size = nbd_get_block_size(nbd, sizes[i].which);

        if (size > 0)
            fprintf(out, "  %s: %" PRId64 "\n", sizes[i].name, size);
    }
}

static int put_contexts(struct nbd_handle *nbd, FILE *out, struct byre_error *err)
{
    struct names contexts = { .list = VEC_INIT, .most = CONTEXTS_MAX };
    const nbd_context_callback each = { .callback = heard_context, .user_data = &contexts };
    int rc = finish(nbd, nbd_aio_opt_list_meta_context(nbd, each, NBD_NULL_COMPLETION), err);

    if (rc == 0 && contexts.list.len)
        fprintf(out, "  available meta contexts: %zu\n", contexts.list.len);
    for (size_t i = 0; i < contexts.list.len && rc == 0; i++) {
        fputs("   ", out);
        put_text(out, contexts.list.ptr[i]);
        fputc('\n', out);
    }
    names_done(&contexts);
    return rc;
}

static int note_result(void *opaque, int *error)
{
    *(int *)opaque = *error;
    return 0;
}

static int put_export(struct nbd_handle *nbd, const char *name, FILE *out, struct byre_error *err)
{
    CLEANUP(free_ptr) char *description = NULL;
    int result = 0, rc;
    const nbd_completion_callback done = { .callback = note_result, .user_data = &result };

    fputs(" export: '", out);
    put_text(out, name);
    fputs("'\n", out);
    if (nbd_set_export_name(nbd, name) < 0)
        return failed(err);
    rc = finish(nbd, nbd_aio_opt_info(nbd, done), err);
    if (rc < 0 || result)
        return rc; /* a server that knows no INFO, or refuses it for this one, still has the others */
    description = nbd_get_export_description(nbd);
    if (description && *description) {
        fputs("  description: ", out);
        put_text(out, description);
        fputc('\n', out);
    }
    fprintf(out, "  size:  %" PRId64 "\n", nbd_get_size(nbd));
    put_flags(nbd, out);
    put_block_sizes(nbd, out);
    return nbd_get_structured_replies_negotiated(nbd) > 0 ? put_contexts(nbd, out, err) : 0;
}

static int put_all(struct nbd_handle *nbd, FILE *out, struct byre_error *err)
{
    struct names exports = { .list = VEC_INIT, .most = EXPORTS_MAX };
    const nbd_list_callback each = { .callback = heard_export, .user_data = &exports };
    int result = 0, rc;
    const nbd_completion_callback done = { .callback = note_result, .user_data = &result };

    rc = finish(nbd, nbd_aio_opt_list(nbd, each, done), err);
    if (rc == 0 && exports.failed)
        rc = byre_error_set(err, -E2BIG, "the server has too many exports, or too long names of them");
    else if (rc == 0 && result)
        rc = byre_error_set_errno(err, -result, "the server does not list its exports");
    if (rc == 0)
        fprintf(out, "exports available: %zu\n", exports.list.len);
    for (size_t i = 0; i < exports.list.len && rc == 0; i++)
        rc = put_export(nbd, exports.list.ptr[i], out, err);
    names_done(&exports);
    return rc;
}

int byre_nbd_list(const struct byre_nbd_list_options *options, FILE *out, struct byre_error *err)
{
    struct nbd_handle *nbd = nbd_create();
    int rc = nbd ? begin(nbd, options, err) : failed(err);

    if (rc == 0 && nbd_aio_is_negotiating(nbd) <= 0)
        rc = byre_error_set(err, -ENOTSUP, "the server's protocol is too old to list exports");
    if (rc == 0)
        rc = put_all(nbd, out, err);
    if (nbd)
        nbd_close(nbd);
    return rc;
}

#endif
