/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parameters of the nbdkit plugin: KEY=VALUE on nbdkit's command line.  The manual page describes them.
 */
#ifndef BYRE_NBDKIT_PARAMETERS_H
#define BYRE_NBDKIT_PARAMETERS_H

#include <stdbool.h>

#include "byre/cache.h"
#include "byre/disk.h"

struct byre_parameters {
    char *name;   /* what byre_open takes: the path (absolute), or "image-opts:LIST" */
    bool is_list; /* it came from image-opts= */
    char *format; /* NULL: probe */
    char *snapshot;
    unsigned chain; /* the layer to show, with what is below it */
    bool no_backing, protocol_backing, discard_ignored, discard_set;
    enum byre_cache cache;
    enum byre_detect_zeroes detect_zeroes;
    struct byre_secrets *secrets; /* NULL: none */
    bool has_password;            /* the secret BYRE_PASSWORD_ID is for the image itself */
};

/* The id under which the value of password= is kept. */
#define BYRE_PASSWORD_ID "password-parameter"

/* The text for nbdkit --help. */
extern const char byre_parameters_help[];

/* Takes one parameter.  0, or -1 after a message by nbdkit_error. */
int byre_parameters_set(struct byre_parameters *parameters, const char *key, const char *value);

/* After the last one: do they go together?  0, or -1 after a message. */
int byre_parameters_complete(const struct byre_parameters *parameters);

/* Nothing is ever written: what is shown is the past, below others, or not all of the disk. */
bool byre_parameters_read_only(const struct byre_parameters *parameters);

/* Wipes and releases what they hold. */
void byre_parameters_done(struct byre_parameters *parameters);

#endif
