/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the plugin's parameters.  Values that are words are looked up in tables; the path is made absolute, because
 * nbdkit changes its directory before it serves.  Copies of passwords are wiped.
 */
#include "config.h"

#include "nbdkit/parameters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/error.h"
#include "byre/secret.h"
#include "nbdkit/report.h"

const char byre_parameters_help[] =
    "[file=]<IMAGE>                 The image: a path, or another name that byre takes\n"
    "image-opts=<LIST>              In place of file: driver=qcow2,file.filename=...\n"
    "format=raw|qcow2|luks          Its format; by default it is probed\n"
    "snapshot=<SNAPSHOT>            Show an internal snapshot: an id or a name\n"
    "chain=<LAYER>                  Show the disk from this layer of the chain down (0 is the image)\n"
    "backing=<BOOL>                 false: do not look at backing files\n"
    "allow-backing=protocol         Follow names in images that are no paths\n"
    "password=<PASSWORD>            What opens the encrypted image; +FILE, -FD and - as usual\n"
    "secret=<ID>:<PASSWORD>         A secret for options like encrypt.key-secret=ID\n"
    "cache=<MODE>                   none, writeback (default), unsafe, writethrough, directsync\n"
    "discard=ignore|unmap           What a trim does (default: unmap)\n"
    "detect-zeroes=off|on|unmap     Write zeros that come as data as zeros (default: off)";

struct word {
    const char *text;
    int value;
};

static const struct word cache_modes[] = {
    { "none", BYRE_CACHE_NONE },
    { "off", BYRE_CACHE_NONE },
    { "writeback", BYRE_CACHE_WRITEBACK },
    { "unsafe", BYRE_CACHE_UNSAFE },
    { "writethrough", BYRE_CACHE_WRITETHROUGH },
    { "directsync", BYRE_CACHE_DIRECTSYNC },
    { NULL, 0 },
};

static const struct word discards[] = {
    { "ignore", true },
    { "off", true },
    { "unmap", false },
    { "on", false },
    { NULL, 0 },
};

static const struct word detections[] = {
    { "off", BYRE_DETECT_ZEROES_OFF },
    { "on", BYRE_DETECT_ZEROES_ON },
    { "unmap", BYRE_DETECT_ZEROES_UNMAP },
    { NULL, 0 },
};

static const struct word backing_kinds[] = { { "protocol", true }, { NULL, 0 } };

static const struct word formats[] = { { "raw", 0 }, { "qcow2", 0 }, { "luks", 0 }, { NULL, 0 } };

/* Looks a value up; -1 after a message that names those there are. */
static int find_word(const struct word *words, const char *key, const char *value, int *ret)
{
    char known[128] = "";

    for (const struct word *word = words; word->text; word++) {
        if (strcmp(value, word->text) == 0) {
            *ret = word->value;
            return 0;
        }
        strncat(known, word == words ? "" : ", ", sizeof known - strlen(known) - 1);
        strncat(known, word->text, sizeof known - strlen(known) - 1);
    }
    nbdkit_error("%s=%s: the value has to be one of: %s", key, value, known);
    return -1;
}

/* Keeps a copy; -1 after a message if there is one already. */
static int keep_once(char **field, const char *key, const char *value)
{
    if (*field) {
        nbdkit_error("%s= was given twice", key);
        return -1;
    }
    *field = strdup(value);
    if (!*field)
        nbdkit_error("out of memory");
    return *field ? 0 : -1;
}

/* The path in a name: "PATH", "file:PATH".  NULL where a name is no path: "json:", "null-co://". */
static const char *path_of(const char *name)
{
    size_t scheme = strcspn(name, ":/");

    if (strncmp(name, "file:", 5) == 0)
        return name + 5;
    return name[scheme] == ':' ? NULL : name;
}

static int set_name(struct byre_parameters *parameters, const char *key, const char *value, bool is_list)
{
    CLEANUP(free_ptr) char *name = NULL;
    const char *path = is_list ? NULL : path_of(value);

    if (parameters->name) {
        nbdkit_error("%s= is the second image: there can only be one file= or image-opts=", key);
        return -1;
    }
    if (!*value || (path && !*path)) {
        nbdkit_error("%s= has no value", key);
        return -1;
    }
    if (path) {
        name = nbdkit_absolute_path(path);
    } else if (asprintf(&name, "%s%s", is_list ? "image-opts:" : "", value) < 0) {
        name = NULL;
        nbdkit_error("out of memory");
    }
    parameters->name = STEAL(name);
    parameters->is_list = is_list;
    return parameters->name ? 0 : -1;
}

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

/* Reads the password that `value` tells of, as other plugins do, and adds it. */
static int add_secret(struct byre_parameters *parameters, const char *id, const char *value)
{
    struct byre_error err = BYRE_ERROR_INIT;
    char *password = NULL;
    int r;

    if (!parameters->secrets)
        parameters->secrets = byre_secrets_new();
    if (!parameters->secrets) {
        nbdkit_error("out of memory");
        return -1;
    }
    if (nbdkit_read_password(value, &password) < 0)
        return -1;
    r = byre_secrets_add(parameters->secrets, &(struct byre_secret_options){ .id = id, .data = password }, &err);
    wipe(password);
    return r < 0 ? byre_report(&err) : 0;
}

/* "ID:PASSWORD".  What stands there is not shown. */
static int set_secret(struct byre_parameters *parameters, const char *value)
{
    const char *colon = strchr(value, ':');
    CLEANUP(free_ptr) char *id = NULL;

    if (!colon) {
        nbdkit_error("secret= takes an id, a colon and a password");
        return -1;
    }
    id = strndup(value, (size_t)(colon - value));
    if (!id) {
        nbdkit_error("out of memory");
        return -1;
    }
    return add_secret(parameters, id, colon + 1);
}

static int set_password(struct byre_parameters *parameters, const char *value)
{
    if (parameters->has_password) {
        nbdkit_error("password= was given twice");
        return -1;
    }
    parameters->has_password = true;
    return add_secret(parameters, BYRE_PASSWORD_ID, value);
}

static int set_format(struct byre_parameters *parameters, const char *key, const char *value)
{
    int ignored;

    return find_word(formats, key, value, &ignored) < 0 ? -1 : keep_once(&parameters->format, key, value);
}

static int set_backing(struct byre_parameters *parameters, const char *value)
{
    int follow = nbdkit_parse_bool(value);

    parameters->no_backing = follow == 0;
    return follow < 0 ? -1 : 0;
}

int byre_parameters_set(struct byre_parameters *parameters, const char *key, const char *value)
{
    int word = 0, r;

    if (strcmp(key, "file") == 0)
        return set_name(parameters, key, value, false);
    if (strcmp(key, "image-opts") == 0)
        return set_name(parameters, key, value, true);
    if (strcmp(key, "format") == 0)
        return set_format(parameters, key, value);
    if (strcmp(key, "snapshot") == 0)
        return keep_once(&parameters->snapshot, key, value);
    if (strcmp(key, "chain") == 0)
        return nbdkit_parse_unsigned("chain", value, &parameters->chain);
    if (strcmp(key, "backing") == 0)
        return set_backing(parameters, value);
    if (strcmp(key, "password") == 0)
        return set_password(parameters, value);
    if (strcmp(key, "secret") == 0)
        return set_secret(parameters, value);
    if (strcmp(key, "allow-backing") == 0) {
        r = find_word(backing_kinds, key, value, &word);
        parameters->protocol_backing = word;
    } else if (strcmp(key, "cache") == 0) {
        r = find_word(cache_modes, key, value, &word);
        parameters->cache = (enum byre_cache)word;
    } else if (strcmp(key, "discard") == 0) {
        r = find_word(discards, key, value, &word);
        parameters->discard_ignored = word;
        parameters->discard_set = true;
    } else if (strcmp(key, "detect-zeroes") == 0) {
        r = find_word(detections, key, value, &word);
        parameters->detect_zeroes = (enum byre_detect_zeroes)word;
    } else {
        nbdkit_error("unknown parameter '%s'", key);
        r = -1;
    }
    return r;
}

int byre_parameters_complete(const struct byre_parameters *parameters)
{
    if (!parameters->name) {
        nbdkit_error("the plugin needs an image: file=IMAGE or image-opts=LIST");
        return -1;
    }
    if (parameters->is_list && parameters->format) {
        nbdkit_error("format= and image-opts= are mutually exclusive: the list has driver=");
        return -1;
    }
    return 0;
}

bool byre_parameters_read_only(const struct byre_parameters *parameters)
{
    return parameters->snapshot || parameters->chain > 0 || parameters->no_backing;
}

void byre_parameters_done(struct byre_parameters *parameters)
{
    free(parameters->name);
    free(parameters->format);
    free(parameters->snapshot);
    byre_secrets_free(parameters->secrets);
    memset(parameters, 0, sizeof *parameters);
}
