/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets of secrets: see byre/secret.h.
 */
#include "config.h"

#include "disk/secrets.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "crypt/base64.h"
#include "crypt/wrapped.h"

#define FILE_MAX (1u << 20) /* bytes: nobody types that */

struct named {
    char *id;
    struct byre_secret *secret;
};

struct byre_secrets {
    VEC(struct named) all;
};

struct byre_secrets *byre_secrets_new(void)
{
    return calloc(1, sizeof(struct byre_secrets));
}

void byre_secrets_free(struct byre_secrets *secrets)
{
    if (!secrets)
        return;
    for (size_t i = 0; i < secrets->all.len; i++) {
        free(secrets->all.ptr[i].id);
        byre_secret_free(secrets->all.ptr[i].secret);
    }
    vec_done(&secrets->all);
    free(secrets);
}

static const struct byre_secret *find(const struct byre_secrets *secrets, const char *id)
{
    for (size_t i = 0; secrets && i < secrets->all.len; i++) {
        if (strcmp(secrets->all.ptr[i].id, id) == 0)
            return secrets->all.ptr[i].secret;
    }
    return NULL;
}

int byre_secrets_find(const struct byre_secrets *secrets, const char *id, const struct byre_secret **ret_secret,
                      struct byre_error *err)
{
    const struct byre_secret *secret = find(secrets, id);

    if (!secret)
        return byre_error_set(err, -ENOENT, "No secret with id '%s'", id);
    *ret_secret = secret;
    return 0;
}

/* UTF-8 without a 0 */
static bool is_text(const struct byre_secret *secret)
{
    return !memchr(secret->bytes, 0, secret->length) && byre_utf8_is_text(secret->bytes, secret->length);
}

int byre_secrets_find_text(const struct byre_secrets *secrets, const char *id, const struct byre_secret **ret_secret,
                           struct byre_error *err)
{
    const struct byre_secret *secret = NULL;
    int r = byre_secrets_find(secrets, id, &secret, err);

    if (r == 0 && !is_text(secret))
        return byre_error_set(err, -EINVAL, "Data from secret %s is not valid UTF-8", id);
    if (r == 0)
        *ret_secret = secret;
    return r;
}

int byre_secrets_text(const struct byre_secrets *secrets, const char *id, const char **ret_text, struct byre_error *err)
{
    const struct byre_secret *secret = NULL;
    int r = byre_secrets_find_text(secrets, id, &secret, err);

    if (r == 0)
        *ret_text = (const char *)secret->bytes;
    return r;
}

/* --- adding ----------------------------------------------------------------------------------------------- */

static bool is_id(const char *id)
{
    if (!isalpha((unsigned char)*id))
        return false;
    for (; *id; id++) {
        if (!isalnum((unsigned char)*id) && !strchr("-._", *id))
            return false;
    }
    return true;
}

static int check_id(const struct byre_secrets *secrets, const char *id, struct byre_error *err)
{
    if (!id)
        return byre_error_set(err, -EINVAL, "Parameter 'id' is missing");
    if (!is_id(id)) {
        byre_error_set(err, -EINVAL, "Parameter 'id' expects an identifier");
        byre_error_hint(err, "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
        return -EINVAL;
    }
    if (find(secrets, id))
        return byre_error_set(err, -EINVAL, "attempt to add duplicate property '%s' to object (type 'container')", id);
    return 0;
}

static int cannot_read(const char *name, int code, struct byre_error *err)
{
    return byre_error_set(err, code, "Unable to read %s: %s", name, strerror(-code));
}

/* The whole file: secrets are read once, a pipe will do. */
static int read_file(const char *name, struct byre_secret **ret_secret, struct byre_error *err)
{
    CLEANUP(close_fd) int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    CLEANUP(secret) struct byre_secret *secret = byre_secret_new(FILE_MAX);
    size_t length = 0;
    ssize_t n = 1;

    if (fd < 0)
        return cannot_read(name, -errno, err);
    if (!secret)
        return cannot_read(name, -ENOMEM, err);
    while (n > 0 && length < FILE_MAX) {
        n = read(fd, secret->bytes + length, FILE_MAX - length);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            return cannot_read(name, -errno, err);
        else
            length += (size_t)n;
    }
    if (length == FILE_MAX)
        return cannot_read(name, -EFBIG, err);
    /* Pages of its own, no more than it needs. */
    *ret_secret = byre_secret_copy(secret->bytes, length);
    return *ret_secret ? 0 : cannot_read(name, -ENOMEM, err);
}

static int load(const struct byre_secret_options *options, struct byre_secret **ret_secret, struct byre_error *err)
{
    if (options->data && options->file)
        return byre_error_set(err, -EINVAL, "'file' and 'data' are mutually exclusive");
    if (options->file)
        return read_file(options->file, ret_secret, err);
    if (!options->data)
        return byre_error_set(err, -EINVAL, "Either 'file' or 'data' must be provided");
    *ret_secret = byre_secret_copy(options->data, strlen(options->data));
    return *ret_secret ? 0 : byre_error_set_errno(err, -ENOMEM, "secret");
}

/* Replaces a secret by what it says in base64. */
static int decode(struct byre_secret **secret, struct byre_error *err)
{
    struct byre_secret *decoded = NULL;
    int r = byre_base64_decode((*secret)->bytes, (*secret)->length, &decoded);

    if (r == -ENOMEM)
        return byre_error_set_errno(err, r, "secret");
    if (r < 0)
        return byre_error_set(err, r, "Base64 data contains invalid characters");
    byre_secret_free(*secret);
    *secret = decoded;
    return 0;
}

/* Replaces an encrypted secret by what it is. */
static int decrypt(const struct byre_secrets *secrets, const struct byre_secret_options *options,
                   struct byre_secret **secret, struct byre_error *err)
{
    CLEANUP(secret) struct byre_secret *iv = NULL, *key = NULL;
    const struct byre_secret *key_text = NULL;
    struct byre_secret *plain = NULL;
    int r = byre_secrets_find(secrets, options->key_id, &key_text, err);

    if (r < 0)
        return r;
    if (!options->iv)
        return byre_error_set(err, -EINVAL, "IV is required to decrypt secret");
    key = byre_secret_copy(key_text->bytes, key_text->length);
    iv = byre_secret_copy(options->iv, strlen(options->iv));
    if (!key || !iv)
        return byre_error_set_errno(err, -ENOMEM, "secret");
    r = decode(&iv, err);
    if (r == 0)
        r = byre_secret_unwrap(*secret, key, iv, &plain, err);
    if (r < 0)
        return r;
    byre_secret_free(*secret);
    *secret = plain;
    return 0;
}

int byre_secrets_add(struct byre_secrets *secrets, const struct byre_secret_options *options, struct byre_error *err)
{
    CLEANUP(secret) struct byre_secret *secret = NULL;
    const char *format = options->format ? options->format : "raw";
    CLEANUP(free_ptr) char *id = NULL;
    int r = check_id(secrets, options->id, err);

    if (r == 0 && strcmp(format, "raw") != 0 && strcmp(format, "base64") != 0)
        r = byre_error_set(err, -EINVAL, "Parameter 'format' does not accept value '%s'", format);
    if (r == 0)
        r = load(options, &secret, err);
    if (r == 0 && strcmp(format, "base64") == 0)
        r = decode(&secret, err);
    if (r == 0 && options->key_id)
        r = decrypt(secrets, options, &secret, err);
    else if (r == 0 && options->iv)
        r = byre_error_set(err, -EINVAL, "IV should not be set if keyid is not");
    if (r < 0)
        return r;
    id = strdup(options->id);
    if (!id || vec_push(&secrets->all, ((struct named){ id, secret })) < 0)
        return byre_error_set_errno(err, -ENOMEM, "secret");
    id = NULL;
    secret = NULL;
    return 0;
}
