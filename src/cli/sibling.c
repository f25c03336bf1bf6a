/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verbs that programs of their own have, so that byre itself needs none of what they need.
 */
#include "config.h"

#include "cli/sibling.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "cli/message.h"

static const struct {
    const char *verb, *program, *summary;
} siblings[] = {
    { "mount", "byre-mount", "Shows images as files." },
    { "serve", "byre-nbd", "Serves a disk over the NBD protocol." },
    { "umount", "byre-umount", "Takes mounts of images away." },
};

/* The program beside this one, or by its name alone, to be found in the path. */
static char *find(const char *program)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash, *path;

    self[length < 0 ? 0 : length] = '\0';
    slash = strrchr(self, '/');
    if (!slash || asprintf(&path, "%.*s/%s", (int)(slash - self), self, program) < 0)
        return strdup(program);
    if (access(path, X_OK) == 0)
        return path;
    free(path);
    return strdup(program);
}

bool byre_sibling_run(const char *verb, const char *name, int argc, char **argv, int *ret_exit_code)
{
    for (unsigned i = 0; i < ARRAY_LEN(siblings); i++) {
        CLEANUP(free_ptr) char *path = NULL;
        CLEANUP(free_ptr) char **args = NULL;

        if (strcmp(verb, siblings[i].verb) != 0)
            continue;
        path = find(siblings[i].program);
        args = calloc((size_t)argc + 1, sizeof *args);
        if (!path || !args)
            byre_die_no_memory();
        memcpy(args, argv, (size_t)argc * sizeof *args);
        args[0] = name ? strdup(name) : strdup(path);
        if (!args[0])
            byre_die_no_memory();
        execvp(path, args);
        *ret_exit_code = byre_complain("Could not execute %s: %s", path, strerror(errno));
        free(args[0]);
        return true;
    }
    return false;
}

void byre_sibling_help(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(siblings); i++)
        printf("  %-10s %s\n", siblings[i].verb, siblings[i].summary);
}
