/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of a directory, in pieces of a bounded size, and a table of numbers.
 */
#include "config.h"

#include "cli/files_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/message.h"

#define NAMES_MAX (1u << 18)

static int add_name(void *opaque, const struct byre_files_entry *entry)
{
    struct byre_names *names = opaque;

    if (names->count == names->room) {
        names->room = names->room ? 2 * names->room : 64;
        names->list = reallocarray(names->list, names->room, sizeof *names->list);
        if (!names->list)
            byre_die_no_memory();
    }
    names->list[names->count] = (struct byre_name){ strdup(entry->name), entry->id };
    if (!names->list[names->count].name)
        byre_die_no_memory();
    names->count++;
    names->next = entry->next;
    return names->count == NAMES_MAX;
}

static int by_name(const void *a, const void *b)
{
    const struct byre_name *left = a, *right = b;

    return strcmp(left->name, right->name);
}

int byre_names_read(struct byre_names *names, struct byre_files *files, uint64_t directory, uint64_t cursor,
                    struct byre_error *err)
{
    int rc;

    *names = (struct byre_names){ .next = cursor };
    rc = byre_files_list(files, directory, cursor, add_name, names, err);
    names->more = rc > 0;
    if (names->count)
        qsort(names->list, names->count, sizeof *names->list, by_name);
    return rc < 0 ? rc : 0;
}

void byre_names_done(struct byre_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i].name);
    free(names->list);
    *names = (struct byre_names){ .count = 0 };
}

/* --- numbers ----------------------------------------------------------------------------------------------- */

static struct byre_id_slot *find(const struct byre_ids *ids, uint64_t id)
{
    size_t i = (size_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (ids->size - 1);

    while (ids->slots[i].id && ids->slots[i].id != id)
        i = (i + 1) & (ids->size - 1);
    return &ids->slots[i];
}

static void grow(struct byre_ids *ids)
{
    struct byre_ids larger = { .size = ids->size ? 2 * ids->size : 64, .count = ids->count };

    larger.slots = calloc(larger.size, sizeof *larger.slots);
    if (!larger.slots)
        byre_die_no_memory();
    for (size_t i = 0; i < ids->size; i++) {
        if (ids->slots[i].id)
            *find(&larger, ids->slots[i].id) = ids->slots[i];
    }
    free(ids->slots);
    *ids = larger;
}

void **byre_ids_at(struct byre_ids *ids, uint64_t id)
{
    struct byre_id_slot *slot;

    if (2 * ids->count >= ids->size)
        grow(ids);
    slot = find(ids, id);
    ids->count += !slot->id;
    slot->id = id;
    return &slot->value;
}

void byre_ids_done(struct byre_ids *ids, void (*release)(void *value))
{
    for (size_t i = 0; i < ids->size && release; i++) {
        if (ids->slots[i].value)
            release(ids->slots[i].value);
    }
    free(ids->slots);
    *ids = (struct byre_ids){ .count = 0 };
}

char *byre_path_join(const char *directory, const char *name)
{
    size_t length = strlen(directory);
    char *path;

    if (asprintf(&path, "%s%s%s", directory, length && directory[length - 1] != '/' ? "/" : "", name) < 0)
        byre_die_no_memory();
    return path;
}
