/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: the files inside a disk, and the partitions that they may be in.  The input is a raw disk.
 *
 * Whatever it holds, each call ends, and a failure has a message; names can be shown; a list goes on from any of
 * its entries as it went before, and a name is found as it was listed; a read gives what the size says, or fails;
 * a search for data and holes gets ahead, and holes are zeros.
 */
#include "config.h"

#include <errno.h>
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
#include "base/endian.h"
#include "base/zero.h"
#include "byre/disk.h"
#include "byre/files.h"
#include "byre/partition.h"
#include "fuzz/require.h"

#define IMAGE_MAX      (1u << 20)
#define PARTITIONS_MAX 4u
#define FILES_MAX      200u /* of one file system that are looked at */
#define LISTED_MAX     64u  /* of one directory */
#define DEPTH_MAX      6u
#define READ_BYTES     40000u
#define IDS            16u /* made of the input's last bytes */
#define STRETCHES_MAX  6u  /* of data and holes in one file */
#define SEEKS_MAX      200u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct byre_disk *disk;
    struct byre_files *files;
    struct byre_error err;
    const uint8_t *data;
    size_t size;
    unsigned partitions, seen, seeks;
    bool searched; /* names are found by looking at all of them: ext without indexes */
    char bytes[READ_BYTES];
};

struct listed {
    char name[BYRE_FILES_NAME_MAX + 1];
    uint64_t id, next;
};

struct list {
    int rc; /* 0: it has all that there are */
    unsigned count;
    struct listed entries[LISTED_MAX];
};

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
    listed->next = entry->next;
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

/* What is said to be a hole reads as zeros, as much as is looked at. */
static void look_at_hole(struct run *run, uint64_t id, uint64_t start, uint64_t end)
{
    size_t length = MIN(end - start, (uint64_t)READ_BYTES), got = 0;
    uint64_t at[] = { start, end - length };

    for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
        if (done(run, byre_files_read(run->files, id, run->bytes, length, at[i], &got, &run->err)))
            require(got == length && byre_is_zero(run->bytes, length));
    }
}

static void look_for_holes(struct run *run, const struct byre_file *file, uint64_t offset)
{
    for (unsigned i = 0; i < STRETCHES_MAX && offset < file->size && run->seeks < SEEKS_MAX; i++) {
        uint64_t data = file->size, hole = file->size;
        int rc = byre_files_seek(run->files, file->id, offset, true, &data, &run->err);

        run->seeks += 2;
        if (!done(run, rc) && rc != -ENXIO)
            return;
        require(data >= offset && data <= file->size);
        look_at_hole(run, file->id, offset, data);
        if (data == file->size)
            return;
        if (!done(run, byre_files_seek(run->files, file->id, data, false, &hole, &run->err)))
            return;
        require(hole >= data && hole > offset && hole <= file->size);
        offset = hole;
    }
}

static void look_at_file(struct run *run, const struct byre_file *file)
{
    char *target = NULL;

    read_part(run, file, 0);
    read_part(run, file, file->size > 100 ? file->size - 100 : 1);
    read_part(run, file, file->size / 2);
    look_for_holes(run, file, 0);
    look_for_holes(run, file, file->size / 3);
    if (done(run, byre_files_readlink(run->files, file->id, &target, &run->err)))
        free(target);
    look_at_attributes(run, file->id);
}

static void look_at(struct run *run, uint64_t id, unsigned depth);

static struct list *new_list(struct run *run, uint64_t id, uint64_t cursor)
{
    struct list *list = calloc(1, sizeof *list);

    require(list != NULL);
    list->rc = byre_files_list(run->files, id, cursor, take_entry, list, &run->err);
    done(run, MIN(list->rc, 0));
    return list;
}

/* From the cursor of any entry on come the same ones as before. */
static void look_at_rest(struct run *run, uint64_t id, const struct list *list)
{
    unsigned middle = list->count / 2;
    struct list *rest;

    if (!list->count)
        return;
    rest = new_list(run, id, list->entries[middle].next);
    require(rest->count >= list->count - middle - 1);
    require(list->rc > 0 || (rest->rc == list->rc && rest->count == list->count - middle - 1));
    for (unsigned i = 0; i < list->count - middle - 1; i++) {
        const struct listed *listed = &list->entries[middle + 1 + i];

        require(strcmp(rest->entries[i].name, listed->name) == 0);
        require(rest->entries[i].id == listed->id && rest->entries[i].next == listed->next);
    }
    free(rest);
}

/* A name that was listed may not be found if a directory's index leads elsewhere; what is found was listed. */
static void look_up(struct run *run, uint64_t id, const struct list *list, unsigned i)
{
    uint64_t found = 0;
    bool there = done(run, byre_files_lookup(run->files, id, list->entries[i].name, &found, &run->err));

    require(there || !run->searched);
    for (i = 0; there && list->rc == 0 && list->entries[i].id != found; i++)
        require(i + 1 < list->count);
}

static void look_into(struct run *run, uint64_t id, unsigned depth)
{
    struct list *list = new_list(run, id, 0);

    look_at_rest(run, id, list);
    for (unsigned i = 0; i < list->count && run->seen < FILES_MAX; i++) {
        look_up(run, id, list, i);
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

/* All calls for the file system that is open. */
static void try_files(struct run *run)
{
    struct byre_files_space space;
    uint64_t id;

    done(run, byre_files_space(run->files, &space, &run->err));
    run->seen = run->seeks = 0;
    look_at(run, BYRE_FILES_ROOT, 0);
    look_at_any(run);
    done(run, byre_files_find(run->files, "a/../B/./c", BYRE_FILES_FOLLOW, &id, &run->err));
    byre_files_close(run->files);
}

#define EXT_COMPATIBLE (1024u + 0x5cu)
#define EXT_DIR_INDEX  0x20u

static void try_range(struct run *run, uint64_t goff, uint64_t length)
{
    struct byre_files_found found;
    const uint8_t *compatible = run->data + goff + EXT_COMPATIBLE;

    if (done(run, byre_files_probe(run->disk, goff, length, &found, &run->err)))
        require(found.type[0] || !found.supported);
    if (!done(run, byre_files_open(run->disk, goff, length, &run->files, &run->err)))
        return;
    run->searched = byre_files_type(run->files)[0] == 'e' && !(byre_get_le32(compatible) & EXT_DIR_INDEX);
    try_files(run);
}

static int try_partition(void *opaque, const struct byre_partition *partition)
{
    struct run *run = opaque;
    struct byre_partition same;

    if (done(run, byre_partition_find(run->disk, partition->number, &same, &run->err)))
        require(same.goff == partition->goff && same.length == partition->length && partition->inside);
    try_range(run, partition->goff, partition->length);
    return ++run->partitions == PARTITIONS_MAX;
}

/* The file system that is meant by a number, which is the one that there is. */
static void try_number(struct run *run, unsigned number)
{
    struct byre_partition partition;
    unsigned in = number + 1;

    if (!done(run, byre_files_open_in(run->disk, number, &run->files, &in, &run->err)))
        return;
    require(!number || in == number);
    require(!in || done(run, byre_partition_find(run->disk, in, &partition, &run->err)));
    byre_files_close(run->files);
}

static void try_disk(struct run *run)
{
    enum byre_partition_table table = BYRE_PARTITION_TABLE_NONE;
    struct byre_partition_label label;
    int rc;

    try_range(run, 0, byre_get_size(run->disk));
    rc = byre_partitions(run->disk, try_partition, run, &table, &run->err);
    done(run, MIN(rc, 0));
    if (done(run, byre_partition_label(run->disk, &label, &run->err)))
        require(label.table == table && (!table || label.block == 512 || label.block == 4096));
    for (unsigned number = 0; number < 3; number++)
        try_number(run, number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct byre_open_options options = { .format = "raw", .no_lock = true };
    struct run *run = calloc(1, sizeof *run);
    char name[64];
    int fd;

    fd = memfd_create("fuzz_files", MFD_CLOEXEC);
    require(run && fd >= 0);
    if (size > 0 && size <= IMAGE_MAX && write(fd, data, size) == (ssize_t)size) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        run->data = data;
        run->size = size;
        require(byre_open(name, &options, &run->disk, &run->err) == 0);
        try_disk(run);
        require(byre_close(run->disk, NULL) == 0);
    }
    close(fd);
    free(run);
    return 0;
}
