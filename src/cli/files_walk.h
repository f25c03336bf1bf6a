/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Going through the directories of a file system inside an image: names in order, and each directory once.
 */
#ifndef BYRE_CLI_FILES_WALK_H
#define BYRE_CLI_FILES_WALK_H

#include "byre/files.h"

#define BYRE_WALK_DEPTH_MAX 500u /* directories within each other; each takes a file descriptor of a copy */

struct byre_name {
    char *name;
    uint64_t id;
};

/* Some of a directory's entries, by name. */
struct byre_names {
    struct byre_name *list;
    size_t count, room;
    uint64_t next; /* cursor behind them */
    bool more;     /* there may be */
};

/*
 * The entries from `cursor` on, a quarter of a million of them at most, sorted by the bytes of their names.  What was
 * read before an error is there, too.  Release with byre_names_done in any case.
 */
int byre_names_read(struct byre_names *names, struct byre_files *files, uint64_t directory, uint64_t cursor,
                    struct byre_error *err);
void byre_names_done(struct byre_names *names);

/* Numbers of files, each with a value.  Zeros make an empty one. */
struct byre_ids {
    struct byre_id_slot {
        uint64_t id; /* 0: none here */
        void *value;
    } *slots;
    size_t count, size;
};

/* The place for the value of a number, NULL at first; it stays there until the next one is asked for. */
void **byre_ids_at(struct byre_ids *ids, uint64_t id);
/* `release`, for values that are not NULL, may be NULL. */
void byre_ids_done(struct byre_ids *ids, void (*release)(void *value));

/* DIRECTORY/NAME, with one slash between them; to be freed. */
char *byre_path_join(const char *directory, const char *name);

#endif
