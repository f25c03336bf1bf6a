/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which file system of a disk is meant: the one in the partition that was named, or the only one that can be read.
 *
 *   C1. A range is opened only after all others were looked at: nobody gets one of several.
 *   C2. A partition that cannot be looked at is told as such, and hides none of the others.
 *   C3. Of a table from a stranger, BYRE_FILES_LOOKS_MAX partitions are looked at; then none is the only one.
 */
#include "config.h"

#include "byre/files.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "byre/disk.h"
#include "byre/partition.h"

#define LIST_LIMIT 1024u /* bytes of a message that list partitions */

struct looked {
    struct byre_partition partition;
    struct byre_files_found found;
    bool failed;  /* it could not be read */
    bool skipped; /* C3 */
};

struct survey {
    struct looked *list;
    unsigned count, room;
    bool skipped; /* some were not looked at */
};

static int note(void *opaque, const struct byre_partition *partition)
{
    struct survey *survey = opaque;

    if (survey->count == survey->room) {
        unsigned room = survey->room ? 2 * survey->room : 8;
        struct looked *list = reallocarray(survey->list, room, sizeof *list);

        if (!list)
            return -ENOMEM;
        survey->list = list;
        survey->room = room;
    }
    survey->list[survey->count++] = (struct looked){ .partition = *partition };
    return 0;
}

static void look(struct byre_disk *disk, struct looked *looked)
{
    const struct byre_partition *partition = &looked->partition;

    if (partition->inside)
        looked->failed = byre_files_probe(disk, partition->goff, partition->length, &looked->found, NULL) < 0;
}

/* --- messages ---------------------------------------------------------------------------------------------- */

struct list {
    char text[LIST_LIMIT];
    size_t length;
    bool full; /* no more can be said than that there are more */
};

static void list_add(struct list *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void list_add(struct list *list, const char *fmt, ...)
{
    static const char more[] = ", ...";
    size_t room = sizeof list->text - list->length - sizeof more;
    char item[128];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(item, sizeof item, fmt, ap);
    va_end(ap);
    if (list->full || n < 0)
        return;
    list->full = (size_t)n + 2 > room;
    list->length += (size_t)sprintf(list->text + list->length, "%s",
                                    list->full ? more : list->length ? ", " : "");
    if (!list->full)
        list->length += (size_t)snprintf(list->text + list->length, room, "%s", item);
}

static const char *holds(const struct looked *looked)
{
    if (!looked->partition.inside)
        return "what lies past the end of the disk";
    if (looked->failed)
        return "what cannot be read";
    if (looked->skipped)
        return "what was not looked at";
    return looked->found.type[0] ? looked->found.type : "nothing that is known";
}

static int several(const struct survey *survey, struct byre_error *err)
{
    struct list list = { .length = 0 };

    for (unsigned i = 0; i < survey->count; i++) {
        if (survey->list[i].found.supported)
            list_add(&list, "%u (%s)", survey->list[i].partition.number, survey->list[i].found.type);
    }
    if (survey->skipped)
        return byre_error_set(err, -ENOTUNIQ, "there are file systems in partitions %s; only the first %u were "
                              "looked at", list.text, BYRE_FILES_LOOKS_MAX);
    return byre_error_set(err, -ENOTUNIQ, "there are file systems in partitions %s", list.text);
}

static int none(const struct survey *survey, struct byre_error *err)
{
    struct list list = { .length = 0 };

    for (unsigned i = 0; i < survey->count; i++)
        list_add(&list, "%s%u%s%s", i ? "" : "partition ", survey->list[i].partition.number, i ? " " : " holds ",
                 holds(&survey->list[i]));
    return byre_error_set(err, -ENOTSUP, "there is no file system that byre reads%s: %s",
                          survey->skipped ? " in the partitions that were looked at" : "", list.text);
}

/* --- choosing ---------------------------------------------------------------------------------------------- */

static int open_partition(struct byre_disk *disk, const struct byre_partition *partition,
                          struct byre_files **ret_files, struct byre_error *err)
{
    int rc = byre_files_open(disk, partition->goff, partition->length, ret_files, err);

    if (rc < 0)
        byre_error_prepend(err, "partition %u: ", partition->number);
    return rc;
}

/* Among partitions. */
static int open_only(struct byre_disk *disk, struct survey *survey, struct byre_files **ret_files,
                     unsigned *ret_number, struct byre_error *err)
{
    const struct looked *only = NULL;
    unsigned count = 0;
    int rc;

    for (unsigned i = 0; i < survey->count; i++) {
        survey->list[i].skipped = i >= BYRE_FILES_LOOKS_MAX;
        survey->skipped |= survey->list[i].skipped;
        if (!survey->list[i].skipped)
            look(disk, &survey->list[i]);
        if (!survey->list[i].found.supported)
            continue;
        only = &survey->list[i];
        count++;
    }
    if (count != 1 || survey->skipped)
        return count ? several(survey, err) : none(survey, err);
    rc = open_partition(disk, &only->partition, ret_files, err);
    if (rc == 0)
        *ret_number = only->partition.number;
    return rc;
}

/* A boot sector of FAT has the signature of an MBR, and what look like entries may be code. */
static bool is_boot_sector(struct byre_disk *disk, enum byre_partition_table table)
{
    struct byre_files_found found;

    return table == BYRE_PARTITION_TABLE_MBR &&
           byre_files_probe(disk, 0, byre_get_size(disk), &found, NULL) == 0 && strcmp(found.type, "vfat") == 0;
}

static int open_unnamed(struct byre_disk *disk, struct survey *survey, struct byre_files **ret_files,
                        unsigned *ret_number, struct byre_error *err)
{
    enum byre_partition_table table = BYRE_PARTITION_TABLE_NONE;
    int rc = byre_partitions(disk, note, survey, &table, err);

    if (rc == -ENOMEM)
        return byre_error_set_errno(err, rc, "partition table");
    if (rc < 0)
        return rc;
    if (survey->count && !is_boot_sector(disk, table))
        return open_only(disk, survey, ret_files, ret_number, err);
    rc = byre_files_open(disk, 0, byre_get_size(disk), ret_files, err);
    if (rc == 0)
        *ret_number = 0;
    return rc;
}

int byre_files_open_in(struct byre_disk *disk, unsigned number, struct byre_files **ret_files, unsigned *ret_number,
                       struct byre_error *err)
{
    struct survey survey = { .count = 0 };
    struct byre_partition partition;
    unsigned chosen = number;
    int rc;

    if (number) {
        rc = byre_partition_find(disk, number, &partition, err);
        if (rc == 0)
            rc = open_partition(disk, &partition, ret_files, err);
    } else {
        rc = open_unnamed(disk, &survey, ret_files, &chosen, err);
    }
    free(survey.list);
    if (rc == 0 && ret_number)
        *ret_number = chosen;
    return rc;
}
