/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes that are exports of NBD servers.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/nbd_name.h"
#include "disk/node.h"
#include "disk/open.h"
#include "disk/options_tree.h"
#include "store/nbd.h"

/* The options as they were taken: the texts are owned. */
struct taken {
    char *path, *host, *port, *export_name, *certificates, *psk_file, *username;
    bool tls;
    uint64_t open_timeout, reconnect_delay;
};

static void taken_done(struct taken *taken)
{
    free(taken->path);
    free(taken->host);
    free(taken->port);
    free(taken->export_name);
    free(taken->certificates);
    free(taken->psk_file);
    free(taken->username);
}

static int missing(const char *key, struct byre_error *err)
{
    return byre_error_set(err, -EINVAL, "Parameter '%s' is missing", key);
}

/* "server.*": what is left of it is refused. */
static int take_server(json_t *tree, struct taken *taken, struct byre_error *err)
{
    static const char *const types[] = { "unix", "inet", NULL };
    CLEANUP(tree) json_t *server = NULL;
    CLEANUP(free_ptr) char *type = NULL;
    const char *left;
    int r = byre_options_take_branch(tree, "server", &server, err);

    if (r >= 0)
        r = byre_options_take_text(server, "type", &type, err);
    if (r < 0)
        return r;
    if (!type)
        return missing("server.type", err);
    if (strcmp(type, types[0]) == 0) {
        r = byre_options_take_text(server, "path", &taken->path, err);
        if (r >= 0 && !taken->path)
            return missing("server.path", err);
    } else if (strcmp(type, types[1]) == 0) {
        r = byre_options_take_text(server, "host", &taken->host, err);
        if (r >= 0)
            r = byre_options_take_text(server, "port", &taken->port, err);
        if (r >= 0 && (!taken->host || !taken->port))
            return missing(taken->host ? "server.port" : "server.host", err);
    } else {
        return byre_error_set(err, -EINVAL, "Parameter 'server.type' does not accept value '%s'", type);
    }
    left = byre_options_left(server);
    return r >= 0 && left ? byre_error_set(err, -EINVAL, "Parameter 'server.%s' is unexpected", left) : r;
}

/* QEMU's older way to say where the server is: "path", or "host" and "port". */
static int take_old_server(json_t *tree, struct taken *taken, struct byre_error *err)
{
    int r = byre_options_take_text(tree, "path", &taken->path, err);

    if (r >= 0)
        r = byre_options_take_text(tree, "host", &taken->host, err);
    if (r >= 0)
        r = byre_options_take_text(tree, "port", &taken->port, err);
    if (r < 0)
        return r;
    if (taken->path && taken->host)
        return byre_error_set(err, -EINVAL, "path and host may not be used at the same time");
    if (!taken->path && !taken->host)
        return byre_error_set(err, -EINVAL, taken->port ? "port may not be used without host"
                                                        : "NBD server address missing");
    if (taken->host && !taken->port)
        taken->port = strdup(BYRE_NBD_PORT);
    return taken->host && !taken->port ? byre_error_set_errno(err, -ENOMEM, "options") : 0;
}

static int take_seconds(json_t *tree, const char *key, uint64_t *seconds, struct byre_error *err)
{
    int r = byre_options_take_number(tree, key, seconds, err);

    if (r >= 0 && *seconds > BYRE_NBD_DELAY_MAX)
        return byre_error_set(err, -EINVAL, "%s is invalid: %" PRIu64 " is more than %u seconds", key, *seconds,
                              BYRE_NBD_DELAY_MAX);
    return r;
}

/* QEMU's options that need what byre has not. */
static int refuse_others(const json_t *tree, struct byre_error *err)
{
    static const char *const keys[] = { "tls-creds", "tls-hostname", "x-dirty-bitmap" };

    for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
        if (byre_options_has(tree, keys[i]))
            return byre_error_set(err, -ENOTSUP, "Block protocol 'nbd' doesn't support the option '%s'", keys[i]);
    }
    return 0;
}

static int take_tls(json_t *tree, struct taken *taken, struct byre_error *err)
{
    int r = byre_options_take_bool(tree, "tls", &taken->tls, err);

    if (r >= 0)
        r = byre_options_take_text(tree, "tls-certificates", &taken->certificates, err);
    if (r >= 0)
        r = byre_options_take_text(tree, "tls-psk-file", &taken->psk_file, err);
    if (r >= 0)
        r = byre_options_take_text(tree, "tls-username", &taken->username, err);
    if (r < 0)
        return r;
    if (taken->certificates && taken->psk_file)
        return byre_error_set(err, -EINVAL, "tls-certificates and tls-psk-file may not be used at the same time");
    if (!taken->tls && (taken->certificates || taken->psk_file || taken->username))
        return byre_error_set(err, -EINVAL, "tls-certificates, tls-psk-file and tls-username need tls=on");
    /* libnbd believes any certificate where it knows no name that should be in it. */
    if (taken->tls && taken->path && !taken->psk_file)
        return byre_error_set(err, -ENOTSUP, "certificates do not prove who listens on a unix socket: TLS needs "
                              "tls-psk-file there");
    return 0;
}

/* A socket has a name, and a port that is a number is one of those that there are. */
static int check_server(const struct taken *taken, struct byre_error *err)
{
    const char *port = taken->port;

    if (taken->path ? !*taken->path : !*taken->host)
        return byre_error_set(err, -EINVAL, "NBD server address missing");
    if (taken->path && strlen(taken->path) >= sizeof ((struct sockaddr_un *)0)->sun_path)
        return byre_error_set(err, -ENAMETOOLONG, "UNIX socket path '%s' is too long", taken->path);
    if (!taken->path && port[strspn(port, "0123456789")] == '\0' && (strlen(port) > 5 || atoi(port) > UINT16_MAX))
        return byre_error_set(err, -EINVAL, "there is no port '%s'", port);
    return 0;
}

static int take_options(json_t *tree, struct taken *taken, struct byre_error *err)
{
    bool has_server = byre_options_has(tree, "server");
    int r = refuse_others(tree, err);

    if (r == 0)
        r = has_server ? take_server(tree, taken, err) : take_old_server(tree, taken, err);
    if (r >= 0)
        r = check_server(taken, err);
    if (r >= 0)
        r = byre_options_take_text(tree, "export", &taken->export_name, err);
    if (r >= 0 && taken->export_name && strlen(taken->export_name) > BYRE_NBD_EXPORT_MAX)
        return byre_error_set(err, -EINVAL, "export name too long to send to server: it has more than %u bytes",
                              BYRE_NBD_EXPORT_MAX);
    if (r >= 0)
        r = take_tls(tree, taken, err);
    if (r >= 0)
        r = take_seconds(tree, "open-timeout", &taken->open_timeout, err);
    if (r >= 0)
        r = take_seconds(tree, "reconnect-delay", &taken->reconnect_delay, err);
    return r < 0 ? r : 0;
}

static int describe(struct byre_node *node, const struct byre_nbd_options *options, json_t *shown,
                    struct byre_error *err)
{
    node->is_protocol = true;
    node->full = byre_node_show(BYRE_DRIVER_NBD, NULL, NULL);
    node->exact = strdup(options->name);
    if (!node->full || !node->exact || json_object_update_missing(node->full, shown) < 0)
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", options->name);
    return 0;
}

/* Opens the store; what goes wrong is said of the URI. */
static int open_store(struct byre_nbd_options *options, json_t *shown, struct byre_node *node, struct byre_error *err)
{
    CLEANUP(free_ptr) char *name = byre_nbd_name_print(options);
    int r;

    if (!name)
        return byre_error_set_errno(err, -ENOMEM, "options");
    options->name = name;
    r = byre_nbd_open(options, &node->store, err);
    if (r < 0 && strlen(name) <= BYRE_NAME_SHOWN_MAX)
        byre_error_prepend(err, "Could not open '%s': ", name);
    return r < 0 ? r : describe(node, options, shown, err);
}

int byre_node_open_nbd(json_t *tree, const struct byre_node_mode *mode, struct byre_node *ret_node,
                       struct byre_error *err)
{
    struct taken taken = { .path = NULL };
    CLEANUP(tree) json_t *shown = json_copy(tree);
    int r = shown ? take_options(tree, &taken, err) : byre_error_set_errno(err, -ENOMEM, "options");

    if (r == 0)
        r = byre_node_refuse_rest(tree, BYRE_DRIVER_NBD, err);
    if (r == 0) {
        struct byre_nbd_options options = {
            .path = taken.path, .host = taken.host, .port = taken.port,
            .export_name = taken.export_name ? taken.export_name : "",
            .tls = taken.tls, .tls_certificates = taken.certificates, .tls_psk_file = taken.psk_file,
            .tls_username = taken.username, .open_timeout = (unsigned)taken.open_timeout,
            .reconnect_delay = (unsigned)taken.reconnect_delay, .writable = mode->writable,
        };

        r = open_store(&options, shown, ret_node, err);
        if (r == 0 && mode->no_flush)
            ret_node->store->no_flush = true;
    }
    taken_done(&taken);
    return r;
}
