/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table.json.
 */
#include "config.h"

#include "fuse/table_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_FDISK
#include <libfdisk.h>
#endif

#include "base/arith.h"
#include "byre/files.h"
#include "byre/partition.h"
#include "cli/json.h"

/* --- names of types ---------------------------------------------------------------------------------------- */

/* What the types of one kind of table are called; all is empty where that is not known. */
struct names {
#ifdef HAVE_FDISK
    struct fdisk_context *context;
    struct fdisk_label *label;
#else
    char none;
#endif
};

static void names_open(struct names *names, const char *label)
{
    *names = (struct names){ 0 };
#ifdef HAVE_FDISK
    names->context = fdisk_new_context();
    if (names->context)
        names->label = fdisk_get_label(names->context, label);
#else
    (void)label;
#endif
}

static void names_close(struct names *names)
{
#ifdef HAVE_FDISK
    fdisk_unref_context(names->context);
#else
    (void)names;
#endif
}

/* NULL: it has none.  Lives as long as `names`. */
static const char *name_of(const struct names *names, enum byre_partition_table table, const char *type)
{
#ifdef HAVE_FDISK
    const struct fdisk_parttype *found = NULL;

    if (names->label && table == BYRE_PARTITION_TABLE_MBR)
        found = fdisk_label_get_parttype_from_code(names->label, (unsigned)strtoul(type, NULL, 16));
    else if (names->label)
        found = fdisk_label_get_parttype_from_string(names->label, type);
    return found ? fdisk_parttype_get_name(found) : NULL;
#else
    (void)names;
    (void)table;
    (void)type;
    return NULL;
#endif
}

/* --- members ----------------------------------------------------------------------------------------------- */

static void add_unless_empty(json_t *object, const char *key, const char *text)
{
    byre_json_add_text(object, key, text && *text ? text : NULL);
}

/* As sfdisk prints them. */
static void add_attributes(json_t *object, uint64_t attributes)
{
    static const char *const names[] = { "RequiredPartition", "NoBlockIOProtocol", "LegacyBIOSBootable" };
    char text[512] = "";
    size_t length = 0;
    bool numbered = false;

    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(attributes >> bit & 1) || (bit >= ARRAY_LEN(names) && bit < 48))
            continue;
        if (bit < ARRAY_LEN(names))
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%s", length ? " " : "", names[bit]);
        else
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%u",
                                       numbered ? "," : length ? " GUID:" : "GUID:", bit);
        numbered = bit >= 48;
    }
    add_unless_empty(object, "attrs", text);
}

static void add_contents_error(json_t *object, const char *text)
{
    json_t *contents = byre_json_object();

    byre_json_add_text(contents, "error", text);
    byre_json_add(object, "contents", contents);
}

/* What lies on a range of the disk, if anything that is known does. */
static void add_contents(json_t *object, struct byre_disk *disk, uint64_t goff, uint64_t length)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_files_found found;
    json_t *contents;

    if (byre_files_probe(disk, goff, length, &found, &err) < 0) {
        add_contents_error(object, err.text);
    } else if (found.type[0]) {
        contents = byre_json_object();
        byre_json_add_text(contents, "fstype", found.type);
        add_unless_empty(contents, "label", found.label);
        add_unless_empty(contents, "uuid", found.uuid);
        byre_json_add(object, "contents", contents);
    }
}

/* --- the table --------------------------------------------------------------------------------------------- */

struct listing {
    struct byre_disk *disk;
    enum byre_partition_table table;
    struct names names;
    json_t *partitions;
    unsigned count; /* of partitions */
};

static int add_partition(void *opaque, const struct byre_partition *partition)
{
    struct listing *listing = opaque;
    json_t *object = byre_json_object();
    char node[24];

    snprintf(node, sizeof node, "%u.raw", partition->number);
    byre_json_add_number(object, "number", partition->number);
    byre_json_add_text(object, "node", node);
    byre_json_add_number(object, "start", partition->goff);
    byre_json_add_number(object, "size", partition->length);
    byre_json_add_bool(object, "inside", partition->inside);
    byre_json_add_text(object, "type", partition->type);
    byre_json_add_text(object, "parttypename", name_of(&listing->names, listing->table, partition->type));
    add_unless_empty(object, "uuid", partition->uuid);
    add_unless_empty(object, "name", partition->name);
    if (partition->bootable)
        byre_json_add_bool(object, "bootable", true);
    add_attributes(object, partition->attributes);
    if (listing->count++ < BYRE_FILES_LOOKS_MAX)
        add_contents(object, listing->disk, partition->goff, partition->length);
    else
        add_contents_error(object, "not looked at: there are too many partitions");
    byre_json_append(listing->partitions, object);
    return 0;
}

static int pass_over(void *opaque, const struct byre_partition *partition)
{
    (void)opaque;
    (void)partition;
    return 1;
}

/* All members but the partitions, and which table it is. */
static void add_label(json_t *object, struct byre_disk *disk, enum byre_partition_table *ret_table)
{
    static const char *const words[] = {
        [BYRE_PARTITION_TABLE_MBR] = "dos",
        [BYRE_PARTITION_TABLE_GPT] = "gpt",
    };
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_partition_label label = { .table = BYRE_PARTITION_TABLE_NONE };

    if (byre_partition_label(disk, &label, &err) < 0)
        (void)byre_partitions(disk, pass_over, NULL, &label.table, NULL); /* as far as it is known */
    byre_json_add(object, "label", words[label.table] ? byre_json_text(words[label.table]) : json_null());
    add_unless_empty(object, "id", label.id);
    byre_json_add_text(object, "unit", "bytes");
    if (label.block)
        byre_json_add_number(object, "sectorsize", label.block);
    *ret_table = label.table;
}

static json_t *table_to_json(struct byre_disk *disk)
{
    struct listing listing = { .disk = disk, .partitions = byre_json_array() };
    struct byre_error err = BYRE_ERROR_INIT;
    json_t *object = byre_json_object();
    int rc;

    add_label(object, disk, &listing.table);
    names_open(&listing.names, listing.table == BYRE_PARTITION_TABLE_GPT ? "gpt" : "dos");
    rc = byre_partitions(disk, add_partition, &listing, NULL, &err);
    names_close(&listing.names);
    if (rc < 0)
        byre_json_add_text(object, "error", err.text);
    byre_json_add(object, "partitions", listing.partitions);
    if (rc == 0 && listing.table == BYRE_PARTITION_TABLE_NONE)
        add_contents(object, disk, 0, byre_get_size(disk));
    return object;
}

int byre_table_text(struct byre_disk *disk, char **ret_text, size_t *ret_length, struct byre_error *err)
{
    json_t *object = byre_json_object();

    (void)err; /* there is nothing but what the text says */
    byre_json_add(object, "partitiontable", table_to_json(disk));
    *ret_text = byre_json_to_text(object, ret_length);
    return 0;
}
