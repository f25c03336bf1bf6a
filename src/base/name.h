/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of images: what is a path and what is not, and what a backing name means.
 *
 * A colon before any slash ends the name of a protocol ("nbd://host/x", "json:{...}").  "file:" is the one
 * that is understood: what follows it is a path.  So a file called a:b is named "./a:b" or "file:a:b".
 */
#ifndef BYRE_BASE_NAME_H
#define BYRE_BASE_NAME_H

#include <stdbool.h>

#include "byre/error.h"

/* Is the name one of a protocol, "file:" apart? */
bool byre_name_is_protocol(const char *name);

/* Refuses names of protocols, "file:" apart: -ENOTSUP, "Unknown protocol 'nbd'". */
int byre_name_check(const char *name, struct byre_error *err);

/* The path as a name: with a "./" in front where it would look like a protocol.  malloced, NULL on ENOMEM. */
char *byre_name_of_path(const char *path);

/*
 * The path that a name stands for: without its "file:", as byre_name_of_path.  Other names are returned as they are.
 * malloced, NULL on ENOMEM.
 */
char *byre_name_to_path(const char *name);

/*
 * The name of the backing file that the image `image_name` records as `backing_name`: relative to the
 * directory of the image, unless it is absolute or has a prefix.  malloced, NULL on ENOMEM.
 */
char *byre_resolve_name(const char *image_name, const char *backing_name);
/* The same where the path of the image is known, or NULL.  Its name may look like a protocol then. */
char *byre_resolve_name_beside(const char *image_path, const char *image_name, const char *backing_name);

#endif
