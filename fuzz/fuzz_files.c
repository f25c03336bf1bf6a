/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: the files inside a disk, and the partitions that they may be in.  The input is a raw disk.
 *
 * Whatever it holds, each call ends, and a failure has a message; names can be shown, what is listed can be asked for,
 * and a read gives what the size says, or fails.
 */
#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "byre/disk.h"
#include "byre/files.h"
#include "byre/partition.h"

#define IMAGE_MAX      (1u << 20)
#define PARTITIONS_MAX 4u
#define FILES_MAX      200u /* of one file system that are looked at */
#define LISTED_MAX     64u  /* of one directory */
#define DEPTH_MAX      6u
#define READ_BYTES     40000u
#define IDS            16u /* made of the input's last bytes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct byre_disk *disk;
    struct byre_files *files;
    struct byre_error err;
    const uint8_t *data;
    size_t size;
    unsigned partitions, seen;
    char bytes[READ_BYTES];
};

struct listed {
    char name[BYRE_FILES_NAME_MAX + 1];
    uint64_t id;
};

struct list {
    unsigned count;
    struct listed entries[LISTED_MAX];
};

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* A result is 0, or an error that has been described. */
static bool done(struct run *run, int rc)
{
    require(rc == 0 || (rc < 0 && run->err.code == rc && run->err.text[0] != '\0'));
    run->err = (struct byre_error)BYRE_ERROR_INIT;
    return rc == 0;
}

static int take_entry(void *opaque, const struct byre_files_entry *entry)
{
    struct list *list = opaque;
    struct listed *listed = &list->entries[list->count];

    require(entry->name[0] && strlen(entry->name) <= BYRE_FILES_NAME_MAX && !strchr(entry->name, '/'));
    require(strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0);
    require(entry->id >> BYRE_FILES_ID_BITS == 0);
    strcpy(listed->name, entry->name);
    listed->id = entry->id;
    return ++list->count == LISTED_MAX;
}

static void read_part(struct run *run, const struct byre_file *file, uint64_t offset)
{
    size_t got = 0;
    uint64_t left = offset < file->size ? file->size - offset : 0;

    if (done(run, byre_files_read(run->files, file->id, run->bytes, READ_BYTES, offset, &got, &run->err)))
        require(!S_ISREG(file->mode) || got == MIN(left, (uint64_t)READ_BYTES));
}

static void look_at_attributes(struct run *run, uint64_t id)
{
    char *names = NULL;
    size_t length = 0;

    if (!done(run, byre_files_xattr_list(run->files, id, &names, &length, &run->err)))
        return;
    require(!length || names[length - 1] == '\0');
    for (size_t at = 0; at < length; at += strlen(names + at) + 1) {
        void *value = NULL;
        size_t value_length;

        if (done(run, byre_files_xattr_get(run->files, id, names + at, &value, &value_length, &run->err)))
            free(value);
    }
    free(names);
}

static void look_at_file(struct run *run, const struct byre_file *file)
{
    char *target = NULL;
    uint64_t at;

    read_part(run, file, 0);
    read_part(run, file, file->size > 100 ? file->size - 100 : 1);
    read_part(run, file, file->size / 2);
    for (unsigned data = 0; data < 2; data++) {
        if (done(run, byre_files_seek(run->files, file->id, file->size / 3, data, &at, &run->err)))
            require(at >= file->size / 3 && at <= file->size);
    }
    if (done(run, byre_files_readlink(run->files, file->id, &target, &run->err)))
        free(target);
    look_at_attributes(run, file->id);
}

static void look_at(struct run *run, uint64_t id, unsigned depth);

static void look_into(struct run *run, uint64_t id, unsigned depth)
{
    struct list *list = calloc(1, sizeof *list);
    int rc;

    require(list != NULL);
    rc = byre_files_list(run->files, id, 0, take_entry, list, &run->err);
    done(run, MIN(rc, 0));
    for (unsigned i = 0; i < list->count && run->seen < FILES_MAX; i++) {
        uint64_t found;

        done(run, byre_files_lookup(run->files, id, list->entries[i].name, &found, &run->err));
        look_at(run, list->entries[i].id, depth + 1);
    }
    free(list);
}

static void look_at(struct run *run, uint64_t id, unsigned depth)
{
    struct byre_file file;

    run->seen++;
    if (!done(run, byre_files_stat(run->files, id, &file, &run->err)))
        return;
    require(file.id == id && file.size <= INT64_MAX);
    if (S_ISDIR(file.mode) && depth < DEPTH_MAX)
        look_into(run, id, depth);
    look_at_file(run, &file);
}

static void look_at_any(struct run *run)
{
    for (unsigned i = 0; i < IDS && run->size >= 8 + i * 4; i++) {
        uint64_t id;

        memcpy(&id, run->data + run->size - 8 - i * 4, sizeof id);
        run->seen = 0;
        look_at(run, i % 2 ? id : id % (run->size / 16 + 1), DEPTH_MAX - 1);
    }
}

static void try_range(struct run *run, uint64_t goff, uint64_t length)
{
    struct byre_files_found found;
    struct byre_files_space space;
    uint64_t id;

    if (done(run, byre_files_probe(run->disk, goff, length, &found, &run->err)))
        require(found.type[0] || !found.supported);
    if (!done(run, byre_files_open(run->disk, goff, length, &run->files, &run->err)))
        return;
    done(run, byre_files_space(run->files, &space, &run->err));
    run->seen = 0;
    look_at(run, BYRE_FILES_ROOT, 0);
    look_at_any(run);
    done(run, byre_files_find(run->files, "a/../B/./c", BYRE_FILES_FOLLOW, &id, &run->err));
    byre_files_close(run->files);
}

static int try_partition(void *opaque, const struct byre_partition *partition)
{
    struct run *run = opaque;

    try_range(run, partition->goff, partition->length);
    return ++run->partitions == PARTITIONS_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct byre_open_options options = { .format = "raw", .no_lock = true };
    struct run *run = calloc(1, sizeof *run);
    char name[64];
    int fd, rc;

    fd = memfd_create("fuzz_files", MFD_CLOEXEC);
    require(run && fd >= 0);
    if (size > 0 && size <= IMAGE_MAX && write(fd, data, size) == (ssize_t)size) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        run->data = data;
        run->size = size;
        require(byre_open(name, &options, &run->disk, &run->err) == 0);
        try_range(run, 0, byre_get_size(run->disk));
        rc = byre_partitions(run->disk, try_partition, run, NULL, &run->err);
        done(run, MIN(rc, 0));
        require(byre_close(run->disk, NULL) == 0);
    }
    close(fd);
    free(run);
    return 0;
}
