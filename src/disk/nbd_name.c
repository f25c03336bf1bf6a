/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of disks over NBD: see nbd_name.h.
 */
#include "config.h"

#include "disk/nbd_name.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/vec.h"
#include "disk/options_tree.h"

static const struct scheme {
    const char *name;
    bool tls, is_unix;
} schemes[] = {
    { "nbd", false, false },  { "nbd+tcp", false, false },  { "nbd+unix", false, true },
    { "nbds", true, false },  { "nbds+tcp", true, false },  { "nbds+unix", true, true },
};

/* The parts of a URI; texts are malloced and decoded, NULL where they are missing. */
struct uri {
    const struct scheme *scheme;
    char *user, *host, *port, *export_name;
    char *socket, *certificates, *psk_file, *username;
};

static const struct scheme *find_scheme(const char *name)
{
    size_t length = strcspn(name, ":");

    for (unsigned i = 0; name[length] && i < ARRAY_LEN(schemes); i++) {
        if (strlen(schemes[i].name) == length && strncmp(name, schemes[i].name, length) == 0)
            return &schemes[i];
    }
    return NULL;
}

bool byre_nbd_name_is(const char *name)
{
    return find_scheme(name);
}

/* --- reading URIs ----------------------------------------------------------------------------------------- */

static void uri_done(struct uri *uri)
{
    free(uri->user);
    free(uri->host);
    free(uri->port);
    free(uri->export_name);
    free(uri->socket);
    free(uri->certificates);
    free(uri->psk_file);
    free(uri->username);
}

static int no_memory(struct byre_error *err)
{
    return byre_error_set_errno(err, -ENOMEM, "options");
}

static int bad_uri(struct byre_error *err, const char *why)
{
    return byre_error_set(err, -EINVAL, "No valid URL specified: %s", why);
}

/* Bytes that are written as %XX stand for themselves. */
static int decode(const char *text, size_t length, char **ret_text, struct byre_error *err)
{
    CLEANUP(free_ptr) char *out = malloc(length + 1);
    size_t n = 0;

    if (!out)
        return no_memory(err);
    for (size_t i = 0; i < length; i++) {
        char c = text[i];

        if (c == '%') {
            char digits[3] = { 0 };

            if (length - i < 3 || !isxdigit((unsigned char)text[i + 1]) || !isxdigit((unsigned char)text[i + 2]))
                return bad_uri(err, "'%' is not followed by two hexadecimal digits");
            memcpy(digits, text + i + 1, 2);
            c = (char)strtoul(digits, NULL, 16);
            i += 2;
        }
        if (!c)
            return bad_uri(err, "there is a zero byte in it");
        out[n++] = c;
    }
    out[n] = '\0';
    free(*ret_text);
    *ret_text = STEAL(out);
    return 0;
}

/* KEY=VALUE, up to `length` bytes. */
static int read_query(const char *text, size_t length, struct uri *uri, struct byre_error *err)
{
    const struct {
        const char *key;
        char **value;
        bool of_tls;
    } keys[] = {
        { "socket", &uri->socket, false },
        { "tls-certificates", &uri->certificates, true },
        { "tls-psk-file", &uri->psk_file, true },
        { "tls-username", &uri->username, true },
    };
    size_t key = 0;

    while (key < length && text[key] != '=')
        key++;
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
        bool fits = keys[i].of_tls ? uri->scheme->tls : uri->scheme->is_unix;

        if (!fits || strlen(keys[i].key) != key || strncmp(text, keys[i].key, key) != 0)
            continue;
        if (*keys[i].value)
            return byre_error_set(err, -EINVAL, "No valid URL specified: '%s' is given twice", keys[i].key);
        return decode(text + key + (key < length), length - key - (key < length), keys[i].value, err);
    }
    return byre_error_set(err, -EINVAL, "No valid URL specified: '%s://' has no parameter '%.*s'", uri->scheme->name,
                          (int)MIN(key, (size_t)64), text);
}

static int read_queries(const char *text, struct uri *uri, struct byre_error *err)
{
    int r = 0;

    while (r == 0 && *text) {
        size_t length = strcspn(text, "&;");

        r = length ? read_query(text, length, uri, err) : 0;
        text += length;
        text += *text != '\0';
    }
    return r;
}

/* [USER@]HOST[:PORT], where an address of IPv6 is in brackets. */
static int read_authority(const char *text, size_t length, struct uri *uri, struct byre_error *err)
{
    const char *at = memchr(text, '@', length), *host = at ? at + 1 : text, *end = text + length, *rest = end;
    int r = at ? decode(text, (size_t)(at - text), &uri->user, err) : 0;

    if (r == 0 && host < end && *host == '[') {
        rest = memchr(host, ']', (size_t)(end - host));
        if (!rest)
            return bad_uri(err, "'[' without ']'");
        r = decode(host + 1, (size_t)(rest - host) - 1, &uri->host, err);
        rest++;
    } else if (r == 0) {
        rest = memchr(host, ':', (size_t)(end - host));
        rest = rest ? rest : end;
        r = decode(host, (size_t)(rest - host), &uri->host, err);
    }
    if (r < 0 || rest == end)
        return r;
    if (*rest != ':')
        return bad_uri(err, "something follows ']'");
    return rest + 1 == end ? 0 : decode(rest + 1, (size_t)(end - rest) - 1, &uri->port, err);
}

static int check_uri(const struct uri *uri, struct byre_error *err)
{
    if (uri->scheme->is_unix && (*uri->host || uri->port))
        return bad_uri(err, "a unix socket has no host");
    if (uri->scheme->is_unix && (!uri->socket || !*uri->socket))
        return bad_uri(err, "'socket' is missing");
    if (!uri->scheme->is_unix && !*uri->host)
        return bad_uri(err, "the host is missing");
    if (uri->user && (!uri->scheme->tls || uri->username))
        return bad_uri(err, "there is a user without TLS, or twice");
    return 0;
}

/* What follows "SCHEME:". */
static int read_uri(const char *text, struct uri *uri, struct byre_error *err)
{
    size_t length;
    int r;

    if (strncmp(text, "//", 2) != 0)
        return bad_uri(err, "'//' is missing");
    text += 2;
    if (strchr(text, '#'))
        return bad_uri(err, "it has a fragment ('#' is written %23)");
    length = strcspn(text, "/?");
    r = read_authority(text, length, uri, err);
    text += length;
    text += *text == '/';
    length = strcspn(text, "?");
    if (r == 0)
        r = decode(text, length, &uri->export_name, err);
    text += length;
    if (r == 0 && *text)
        r = read_queries(text + 1, uri, err);
    return r < 0 ? r : check_uri(uri, err);
}

static int add(json_t *tree, const char *key, const char *value, struct byre_error *err)
{
    return value ? byre_options_add_text(tree, key, value, err) : 0;
}

static int add_uri(json_t *tree, const struct uri *uri, struct byre_error *err)
{
    int r = add(tree, "driver", "nbd", err);

    if (r == 0)
        r = add(tree, "server.type", uri->scheme->is_unix ? "unix" : "inet", err);
    if (r == 0 && uri->scheme->is_unix)
        r = add(tree, "server.path", uri->socket, err);
    if (r == 0 && !uri->scheme->is_unix)
        r = add(tree, "server.host", uri->host, err);
    if (r == 0 && !uri->scheme->is_unix)
        r = add(tree, "server.port", uri->port ? uri->port : BYRE_NBD_PORT, err);
    if (r == 0 && *uri->export_name)
        r = add(tree, "export", uri->export_name, err);
    if (r == 0 && uri->scheme->tls)
        r = add(tree, "tls", "on", err);
    if (r == 0)
        r = add(tree, "tls-certificates", uri->certificates, err);
    if (r == 0)
        r = add(tree, "tls-psk-file", uri->psk_file, err);
    return r < 0 ? r : add(tree, "tls-username", uri->username ? uri->username : uri->user, err);
}

/* --- QEMU's older names ----------------------------------------------------------------------------------- */

/* HOST:PORT or [HOST]:PORT, `length` bytes. */
static int add_old_inet(json_t *tree, const char *text, size_t length, struct byre_error *err)
{
    bool bracketed = length && *text == '[';
    const char *close = bracketed ? memchr(text, ']', length) : NULL;
    const char *colon = bracketed ? (close ? close + 1 : NULL) : memchr(text, ':', length);
    size_t left = colon ? length - (size_t)(colon - text) : 0;
    CLEANUP(free_ptr) char *host = NULL, *port = NULL;
    int r;

    if (left < 2 || *colon != ':' || memchr(colon + 1, ':', left - 1))
        return byre_error_set(err, -EINVAL, "error parsing address '%.*s'", (int)MIN(length, (size_t)256), text);
    host = bracketed ? strndup(text + 1, (size_t)(close - text) - 1) : strndup(text, (size_t)(colon - text));
    port = strndup(colon + 1, left - 1);
    if (!host || !port)
        return no_memory(err);
    if (!*host)
        return byre_error_set(err, -EINVAL, "host not found in '%.*s'", (int)MIN(length, (size_t)256), text);
    r = add(tree, "server.type", "inet", err);
    if (r == 0)
        r = add(tree, "server.host", host, err);
    return r < 0 ? r : add(tree, "server.port", port, err);
}

/* What follows "nbd:". */
static int add_old(json_t *tree, const char *text, struct byre_error *err)
{
    static const char mark[] = ":exportname=", is_unix[] = "unix:";
    const char *export = strstr(text, mark);
    size_t length = export ? (size_t)(export - text) : strlen(text);
    int r = add(tree, "driver", "nbd", err);

    if (length == 0 || (export && !export[sizeof mark - 1]))
        return byre_error_set(err, -EINVAL, length ? "the name of the export is missing"
                                                   : "NBD server address missing");
    if (r == 0 && strncmp(text, is_unix, sizeof is_unix - 1) == 0) {
        CLEANUP(free_ptr) char *path = strndup(text + sizeof is_unix - 1, length - (sizeof is_unix - 1));

        r = path ? add(tree, "server.type", "unix", err) : no_memory(err);
        if (r == 0)
            r = add(tree, "server.path", path, err);
    } else if (r == 0) {
        r = add_old_inet(tree, text, length, err);
    }
    return r < 0 || !export ? r : add(tree, "export", export + sizeof mark - 1, err);
}

int byre_nbd_name_read(const char *name, json_t *tree, struct byre_error *err)
{
    struct uri uri = { .scheme = find_scheme(name) };
    const char *rest = strchr(name, ':') + 1;
    int r;

    if (strncmp(rest, "//", 2) != 0 && strcmp(uri.scheme->name, "nbd") == 0)
        return add_old(tree, rest, err);
    r = read_uri(rest, &uri, err);
    if (r == 0)
        r = add_uri(tree, &uri, err);
    uri_done(&uri);
    return r;
}

/* --- printing --------------------------------------------------------------------------------------------- */

typedef VEC(char) text_vec;

static int put(text_vec *out, const char *text)
{
    size_t length = strlen(text);

    if (vec_reserve(out, length + 1) < 0)
        return -ENOMEM;
    memcpy(out->ptr + out->len, text, length + 1);
    out->len += length;
    return 0;
}

/* The text, with what has a meaning in a URI as %XX. */
static int put_encoded(text_vec *out, const char *text)
{
    int r = 0;

    for (; r == 0 && *text; text++) {
        unsigned char c = (unsigned char)*text;
        char piece[4] = { (char)c };

        if (c <= ' ' || c >= 0x7f || strchr("%?#&;\"<>\\^`{|}", c))
            snprintf(piece, sizeof piece, "%%%02X", c);
        r = put(out, piece);
    }
    return r;
}

/* The next parameter of the URI; the first one begins with '?'. */
static int put_query(text_vec *out, char *separator, const char *key, const char *value)
{
    const char start[2] = { *separator };
    int r;

    if (!value)
        return 0;
    *separator = '&';
    r = put(out, start);
    if (r == 0)
        r = put(out, key);
    if (r == 0)
        r = put(out, "=");
    return r < 0 ? r : put_encoded(out, value);
}

static int put_host(text_vec *out, const struct byre_nbd_options *options)
{
    bool bracketed = strchr(options->host, ':');
    int r = put(out, bracketed ? "[" : "");

    if (r == 0)
        r = put_encoded(out, options->host);
    if (r == 0)
        r = put(out, bracketed ? "]:" : ":");
    return r < 0 ? r : put_encoded(out, options->port);
}

char *byre_nbd_name_print(const struct byre_nbd_options *options)
{
    text_vec out = VEC_INIT;
    char separator = '?';
    int r = put(&out, options->tls ? "nbds" : "nbd");

    if (r == 0)
        r = put(&out, options->path ? "+unix://" : "://");
    if (r == 0 && !options->path)
        r = put_host(&out, options);
    if (r == 0 && *options->export_name)
        r = put(&out, "/");
    if (r == 0)
        r = put_encoded(&out, options->export_name);
    if (r == 0)
        r = put_query(&out, &separator, "socket", options->path);
    if (r == 0)
        r = put_query(&out, &separator, "tls-certificates", options->tls_certificates);
    if (r == 0)
        r = put_query(&out, &separator, "tls-psk-file", options->tls_psk_file);
    if (r == 0)
        r = put_query(&out, &separator, "tls-username", options->tls_username);
    if (r < 0)
        vec_done(&out);
    return out.ptr;
}
