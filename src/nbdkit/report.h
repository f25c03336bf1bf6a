/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors of the library, told as nbdkit wants to hear them.
 */
#ifndef BYRE_NBDKIT_REPORT_H
#define BYRE_NBDKIT_REPORT_H

#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "byre/error.h"

/* Hands on the text, each line as a message of its own, and the errno.  Returns -1. */
static inline int byre_report(const struct byre_error *err)
{
    const char *line = err->text;

    while (line) {
        const char *end = strchr(line, '\n');

        nbdkit_error("%.*s", (int)(end ? end - line : (long)strlen(line)), line);
        line = end ? end + 1 : NULL;
    }
    nbdkit_set_error(-err->code);
    return -1;
}

#endif
