/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of images: see name.h.
 */
#include "config.h"

#include "base/name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char file_prefix[] = "file:";

/* Is there a colon before any slash? */
static bool has_prefix(const char *name)
{
    return name[strcspn(name, ":/")] == ':';
}

static bool names_a_file(const char *name)
{
    return strncmp(name, file_prefix, sizeof file_prefix - 1) == 0;
}

bool byre_name_is_protocol(const char *name)
{
    return has_prefix(name) && !names_a_file(name);
}

int byre_name_check(const char *name, struct byre_error *err)
{
    if (!byre_name_is_protocol(name))
        return 0;
    return byre_error_set(err, -ENOTSUP, "Unknown protocol '%.*s'", (int)strcspn(name, ":"), name);
}

char *byre_name_of_path(const char *path)
{
    size_t size = strlen(path) + sizeof "./";
    char *name = malloc(size);

    if (name)
        snprintf(name, size, "%s%s", has_prefix(path) ? "./" : "", path);
    return name;
}

char *byre_name_to_path(const char *name)
{
    return names_a_file(name) ? byre_name_of_path(name + sizeof file_prefix - 1) : strdup(name);
}

char *byre_resolve_name(const char *image_name, const char *backing_name)
{
    char *path, *slash, *name = NULL;
    size_t directory, size;

    if (backing_name[0] == '/' || has_prefix(backing_name))
        return strdup(backing_name);
    path = byre_name_to_path(image_name);
    if (!path)
        return NULL;
    slash = strrchr(path, '/');
    directory = slash ? (size_t)(slash - path) + 1 : 0;
    size = directory + strlen(backing_name) + 1;
    name = malloc(size);
    if (name)
        snprintf(name, size, "%.*s%s", (int)directory, path, backing_name);
    free(path);
    return name;
}

char *byre_resolve_name_beside(const char *image_path, const char *image_name, const char *backing_name)
{
    char *image = image_path ? byre_name_of_path(image_path) : strdup(image_name);
    char *name = image ? byre_resolve_name(image, backing_name) : NULL;

    free(image);
    return name;
}
