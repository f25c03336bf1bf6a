/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of snapshots as names of directories.  There may be 65,536 of them: they are compared by sorting.
 */
#include "config.h"

#include "fuse/snapshot_name.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define PREFIX "id="

/* `prefix`, then `text` with what cannot be there written as in URIs. */
static char *escape(const char *prefix, const char *text)
{
    bool dots = strcmp(text, ".") == 0 || strcmp(text, "..") == 0;
    bool ours = !*prefix && strncmp(text, PREFIX, strlen(PREFIX)) == 0;
    char *name = malloc(strlen(prefix) + 3 * strlen(text) + 1), *p;

    if (!name)
        return NULL;
    p = stpcpy(name, prefix);
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        if (*s < 0x20 || *s == 0x7f || *s == '/' || *s == '%' || dots ||
            (ours && (const char *)s == text) || (*prefix && *s == '#'))
            p += sprintf(p, "%%%02x", *s);
        else
            *p++ = (char)*s;
    }
    *p = '\0';
    return name;
}

static int compare(const void *a, const void *b)
{
    char *const *const *x = a, *const *const *y = b;
    int order = strcmp(**x, **y);

    if (order == 0)
        return *x < *y ? -1 : *x > *y; /* the first of a name keeps it */
    return order;
}

/* Marks those whose name is unfit, or that of one before. */
static bool find_unfit(char **names, unsigned count, bool *unfit)
{
    CLEANUP(free_ptr) char ***sorted = calloc(count, sizeof *sorted);

    if (!sorted)
        return false;
    for (unsigned i = 0; i < count; i++)
        sorted[i] = &names[i];
    qsort(sorted, count, sizeof *sorted, compare);
    for (unsigned i = 0; i < count; i++) {
        const char *name = *sorted[i];

        unfit[sorted[i] - names] = !*name || strlen(name) > NAME_MAX || (i && strcmp(name, *sorted[i - 1]) == 0);
    }
    return true;
}

/* No snapshot's own name begins with the prefix, and '#' is in no id: so nobody else has it. */
static char *rename_one(const struct byre_snapshot_info *snapshot, unsigned number, bool numbered)
{
    CLEANUP(free_ptr) char *name = escape(PREFIX, snapshot->id);
    char *longer;

    if (!name || !numbered)
        return name ? strdup(name) : NULL;
    return asprintf(&longer, "%.*s#%u", NAME_MAX - 16, name, number) < 0 ? NULL : longer;
}

/* Other names for those that are unfit: false if memory is short. */
static bool rename_unfit(const struct byre_snapshot_info *snapshots, char **names, unsigned count, bool numbered)
{
    CLEANUP(free_ptr) bool *unfit = calloc(count, sizeof *unfit);

    if (!unfit || !find_unfit(names, count, unfit))
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (!unfit[i])
            continue;
        free(names[i]);
        names[i] = rename_one(&snapshots[i], i + 1, numbered);
        if (!names[i])
            return false;
    }
    return true;
}

char **byre_snapshot_names(const struct byre_snapshot_info *snapshots, unsigned count)
{
    char **names = calloc(count + 1, sizeof *names);
    bool ok = names;

    for (unsigned i = 0; ok && i < count; i++) {
        names[i] = escape("", snapshots[i].name);
        ok = names[i];
    }
    if (ok && count > 0)
        ok = rename_unfit(snapshots, names, count, false) && rename_unfit(snapshots, names, count, true);
    if (ok)
        return names;
    for (unsigned i = 0; names && i < count; i++)
        free(names[i]);
    free(names);
    return NULL;
}
