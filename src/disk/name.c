/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of images: what is a path and what is not, and what a backing name means.
 *
 * A name is a protocol's ("nbd://host/x", "json:{...}", "file:x") if a colon comes before any slash; so a
 * file whose name holds a colon is written "./a:b".
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk.h"

bool byre_name_is_protocol(const char *name)
{
    return name[strcspn(name, ":/")] == ':';
}

/* Length of what a relative name is appended to: up to the last slash, or the protocol's colon. */
static size_t directory_length(const char *image_name)
{
    const char *slash = strrchr(image_name, '/');

    if (slash)
        return (size_t)(slash - image_name) + 1;
    return byre_name_is_protocol(image_name) ? strcspn(image_name, ":") + 1 : 0;
}

char *byre_resolve_name(const char *image_name, const char *backing_name)
{
    size_t length = directory_length(image_name), size;
    char *name;

    if (backing_name[0] == '/' || byre_name_is_protocol(backing_name))
        return strdup(backing_name);
    size = length + strlen(backing_name) + 1;
    name = malloc(size);
    if (name)
        snprintf(name, size, "%.*s%s", (int)length, image_name, backing_name);
    return name;
}
