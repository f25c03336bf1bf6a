/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories: their entries, and names looked up (specification, "FAT Directory Structure" and "FAT Long Directory
 * Entries").
 *
 *   D1. A long name counts if its parts stand right before the short entry, complete, in order and with its checksum,
 *       and if it can be shown; otherwise the short name does.  What has neither is left out.
 *   D2. A cursor is the number of the slot behind an entry; any number can be borne.
 *   D3. A directory in which something is looked up gets an index of both names of all entries, by byre_fat_name_hash:
 *       12 bytes a slot and name at most.  It is asked where to look; what is there decides.
 *   D4. What is shown decides before short names that are not, what is the same before what differs in case.
 */
#include "config.h"

#include "volume/fat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "base/vec.h"

#define WINDOW_BYTES 8192u
#define PARTS_MAX    20u /* of a long name */
#define PART_UNITS   13u
#define PART_LAST    0x40u
#define ATTRIBUTES   11u

/* --- slots ------------------------------------------------------------------------------------------------- */

struct scan {
    struct byre_fat *fat;
    const struct byre_fat_node *node;
    struct byre_error *err;
    uint64_t position;                         /* of the next slot, in bytes */
    uint64_t window, window_length, window_place; /* what is in `bytes`: of the directory, and where that lies */
    bool complete;                             /* the end was reached, and it is one */
    uint8_t bytes[WINDOW_BYTES];
};

static void begin_scan(struct scan *scan, struct byre_fat *fat, const struct byre_fat_node *node, uint64_t slot,
                       struct byre_error *err)
{
    scan->fat = fat;
    scan->node = node;
    scan->err = err;
    scan->position = slot <= BYRE_FAT_DIRECTORY_MAX / BYRE_FAT_ENTRY_BYTES ? slot * BYRE_FAT_ENTRY_BYTES : UINT64_MAX;
    scan->window = scan->window_length = scan->window_place = 0;
    scan->complete = false;
}

static int read_window(struct scan *scan)
{
    uint64_t place, length;
    int rc = byre_fat_node_map(scan->fat, scan->node, scan->position, &place, &length, scan->err);

    if (rc < 0)
        return rc;
    length = MIN(length, scan->node->size - scan->position);
    length = MIN(length, WINDOW_BYTES - scan->position % WINDOW_BYTES);
    scan->window_length = 0;
    rc = byre_filesystem_pread(&scan->fat->files, scan->bytes, (size_t)length, place, scan->err);
    if (rc < 0)
        return rc;
    scan->window = scan->position;
    scan->window_length = length;
    scan->window_place = place;
    return 0;
}

/* The next slot and its place: 1; 0: there is none; negative: it cannot be read, or should be there. */
static int next_slot(struct scan *scan, const uint8_t **ret_slot, uint64_t *ret_place)
{
    uint64_t within = scan->position - scan->window;

    if (scan->position >= scan->node->size) {
        if (scan->node->broken)
            return byre_error_set(scan->err, -EIO, "%s", scan->node->broken);
        scan->complete = true;
        return 0;
    }
    if (scan->position < scan->window || within >= scan->window_length) {
        int rc = read_window(scan);

        if (rc < 0)
            return rc;
        within = 0;
    }
    *ret_slot = scan->bytes + within;
    *ret_place = scan->window_place + within;
    if (**ret_slot == 0) {
        scan->complete = true;
        return 0;
    }
    scan->position += BYRE_FAT_ENTRY_BYTES;
    return 1;
}

/* --- entries ----------------------------------------------------------------------------------------------- */

/* The parts of a long name that were seen; they come from the last to the first. */
struct parts {
    unsigned expected; /* number of the next part; 0: all were there */
    unsigned count;    /* of units; 0: there is none */
    uint8_t checksum;
    uint32_t slot;     /* of the first that was seen */
    uint16_t units[PARTS_MAX * PART_UNITS];
};

struct entry {
    uint8_t bytes[BYRE_FAT_ENTRY_BYTES];
    uint64_t id;
    uint32_t slot;  /* where to begin for reading it again */
    bool has_long;  /* then `name` is that, otherwise the short one */
    char name[BYRE_FILES_NAME_MAX + 1], short_name[BYRE_FILES_NAME_MAX + 1]; /* "" if it cannot be shown */
};

static void take_part(struct parts *parts, const uint8_t *slot, uint32_t number)
{
    static const uint8_t places[PART_UNITS] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    unsigned order = slot[0] & ~PART_LAST;

    if (slot[0] & PART_LAST) {
        parts->count = order <= PARTS_MAX ? order * PART_UNITS : 0;
        parts->expected = order;
        parts->checksum = slot[13];
        parts->slot = number;
    }
    if (!parts->count || !order || order != parts->expected || slot[13] != parts->checksum) {
        parts->count = 0;
        return;
    }
    parts->expected--;
    for (unsigned i = 0; i < PART_UNITS; i++)
        parts->units[(order - 1) * PART_UNITS + i] = byre_get_le16(slot + places[i]);
}

static bool is_part(const uint8_t *slot)
{
    return (slot[ATTRIBUTES] & 0x3f) == 0x0f;
}

/* Up to the null character, which a name that fills its parts does not have. */
static unsigned count_units(const struct parts *parts)
{
    unsigned count = 0;

    while (count < parts->count && parts->units[count] != 0)
        count++;
    return count;
}

static bool parts_are_of(const struct parts *parts, const uint8_t *slot)
{
    return parts->count && parts->expected == 0 && parts->checksum == byre_fat_name_checksum(slot) &&
           count_units(parts) <= BYRE_FAT_UNITS_MAX;
}

static void fill_entry(struct entry *entry, const struct parts *parts, const uint8_t *slot, uint64_t place,
                       uint32_t number)
{
    memcpy(entry->bytes, slot, sizeof entry->bytes);
    entry->id = place / BYRE_FAT_ENTRY_BYTES;
    entry->slot = number;
    if (!byre_fat_name_short(slot, entry->short_name))
        entry->short_name[0] = '\0';
    entry->has_long = parts_are_of(parts, slot) && byre_fat_name_long(parts->units, count_units(parts), entry->name);
    if (entry->has_long)
        entry->slot = parts->slot;
    else
        memcpy(entry->name, entry->short_name, sizeof entry->name);
}

/* The next entry that can be shown: as next_slot. */
static int next_entry(struct scan *scan, struct entry *entry)
{
    struct parts parts;
    const uint8_t *slot;
    uint64_t place;

    parts.count = 0;
    for (;;) {
        uint32_t number = (uint32_t)(scan->position / BYRE_FAT_ENTRY_BYTES);
        int rc = next_slot(scan, &slot, &place);

        if (rc <= 0)
            return rc;
        if (slot[0] != 0xe5 && is_part(slot)) {
            take_part(&parts, slot, number);
            continue;
        }
        if (byre_fat_entry_is_file(slot)) {
            fill_entry(entry, &parts, slot, place, number);
            if (entry->name[0])
                return 1;
        }
        parts.count = 0;
    }
}

static int get_directory(struct byre_fat *fat, uint64_t id, struct byre_fat_node **ret_node, struct byre_error *err)
{
    int rc = byre_fat_node_get(fat, id, ret_node, err);

    if (rc < 0 || (*ret_node)->directory)
        return rc;
    byre_fat_node_put(fat, *ret_node);
    return byre_error_set(err, -ENOTDIR, "it is no directory");
}

int byre_fat_directory_list(struct byre_fat *fat, uint64_t id, uint64_t cursor,
                            int (*each)(void *opaque, const struct byre_files_entry *entry), void *opaque,
                            struct byre_error *err)
{
    struct byre_fat_node *node;
    struct entry entry;
    struct scan scan;
    int rc = get_directory(fat, id, &node, err);

    if (rc < 0)
        return rc;
    begin_scan(&scan, fat, node, cursor, err);
    while ((rc = next_entry(&scan, &entry)) > 0) {
        const struct byre_files_entry told = {
            .name = entry.name,
            .id = entry.id,
            .type = byre_fat_entry_is_directory(entry.bytes) ? S_IFDIR : S_IFREG,
            .next = scan.position / BYRE_FAT_ENTRY_BYTES,
        };

        rc = each(opaque, &told);
        if (rc != 0)
            break;
    }
    byre_fat_node_put(fat, node);
    return rc;
}

int byre_fat_directory_label(struct byre_fat *fat, uint8_t *ret_label, struct byre_error *err)
{
    struct byre_fat_node *node;
    const uint8_t *slot;
    struct scan scan;
    uint64_t place;
    int rc = get_directory(fat, BYRE_FILES_ROOT, &node, err);

    if (rc < 0)
        return rc;
    begin_scan(&scan, fat, node, 0, err);
    while ((rc = next_slot(&scan, &slot, &place)) > 0) {
        if (slot[0] == 0xe5 || (slot[ATTRIBUTES] & 0x18) != 0x08 || is_part(slot))
            continue;
        memcpy(ret_label, slot, 11);
        break;
    }
    byre_fat_node_put(fat, node);
    return rc;
}

/* --- the index --------------------------------------------------------------------------------------------- */

struct place {
    uint32_t hash, slot; /* NO_SLOT: none */
};

#define NO_SLOT UINT32_MAX

struct byre_fat_index {
    bool complete;  /* nothing of the directory is missing */
    uint32_t room;  /* a power of two, larger than the number of names */
    struct place places[];
};

size_t byre_fat_index_bytes(const struct byre_fat_index *index)
{
    return sizeof *index + index->room * sizeof index->places[0];
}

void byre_fat_index_free(struct byre_fat_index *index)
{
    free(index);
}

typedef VEC(struct place) place_list;

static int collect(struct scan *scan, place_list *list)
{
    CLEANUP(free_ptr) struct entry *entry = malloc(sizeof *entry);
    int rc = entry ? 0 : -ENOMEM;

    while (rc == 0) {
        rc = next_entry(scan, entry);
        if (rc <= 0)
            return rc;
        rc = vec_push(list, (struct place){ byre_fat_name_hash(entry->name), entry->slot });
        if (rc == 0 && entry->has_long && entry->short_name[0])
            rc = vec_push(list, (struct place){ byre_fat_name_hash(entry->short_name), entry->slot });
    }
    return byre_error_set_errno(scan->err, rc, "directory");
}

static int make_index(const place_list *list, bool complete, struct byre_fat_index **ret_index, struct byre_error *err)
{
    struct byre_fat_index *index;
    uint32_t room = 8;

    while (room < list->len + list->len / 2 + 1)
        room *= 2;
    index = malloc(sizeof *index + room * sizeof index->places[0]);
    if (!index)
        return byre_error_set_errno(err, -ENOMEM, "directory");
    index->complete = complete;
    index->room = room;
    memset(index->places, 0xff, room * sizeof index->places[0]);
    for (size_t i = 0; i < list->len; i++) {
        uint32_t at = list->ptr[i].hash & (room - 1);

        while (index->places[at].slot != NO_SLOT)
            at = (at + 1) & (room - 1);
        index->places[at] = list->ptr[i];
    }
    *ret_index = index;
    return 0;
}

/* The index, which lives as long as the node is used. */
static int get_index(struct byre_fat *fat, struct byre_fat_node *node, struct scan *scan,
                     const struct byre_fat_index **ret_index, struct byre_error *err)
{
    struct byre_fat_index *index = NULL;
    place_list list = VEC_INIT;
    int rc;

    pthread_mutex_lock(&fat->lock);
    *ret_index = node->index;
    pthread_mutex_unlock(&fat->lock);
    if (*ret_index)
        return 0;
    begin_scan(scan, fat, node, 0, err);
    rc = collect(scan, &list);
    if (rc < 0 && node->broken && !node->looped && scan->position >= node->size)
        rc = 0; /* all that there is was seen */
    if (rc == 0)
        rc = make_index(&list, scan->complete, &index, err);
    vec_done(&list);
    if (rc < 0)
        return rc;
    byre_fat_node_set_index(fat, node, index);
    LOCK_SCOPE(&fat->lock);
    *ret_index = node->index;
    return 0;
}

/* How well a name fits an entry: 0 not at all (D4). */
static unsigned fits(const struct entry *entry, const char *name)
{
    if (strcmp(entry->name, name) == 0)
        return 3;
    if (byre_fat_name_same(entry->name, name))
        return 2;
    return byre_fat_name_same(entry->short_name, name);
}

/* The entry that fits best, of several the first one: 1, or 0 if there is none, or negative. */
static int find_by_index(struct scan *scan, const struct byre_fat_index *index, const char *name, uint64_t *ret_id)
{
    CLEANUP(free_ptr) struct entry *entry = malloc(sizeof *entry);
    uint32_t hash = byre_fat_name_hash(name), at = hash & (index->room - 1), best_slot = NO_SLOT;
    unsigned best = 0;

    if (!entry)
        return byre_error_set_errno(scan->err, -ENOMEM, "directory");
    for (; index->places[at].slot != NO_SLOT; at = (at + 1) & (index->room - 1)) {
        uint32_t slot = index->places[at].slot;
        unsigned fit;
        int rc;

        if (index->places[at].hash != hash)
            continue;
        scan->position = (uint64_t)slot * BYRE_FAT_ENTRY_BYTES;
        rc = next_entry(scan, entry);
        if (rc < 0)
            return rc;
        fit = rc ? fits(entry, name) : 0;
        if (fit > best || (fit && fit == best && slot < best_slot)) {
            best = fit;
            best_slot = slot;
            *ret_id = entry->id;
        }
    }
    return best != 0;
}

int byre_fat_directory_lookup(struct byre_fat *fat, uint64_t id, const char *name, uint64_t *ret_id,
                              struct byre_error *err)
{
    const struct byre_fat_index *index;
    struct byre_fat_node *node;
    struct scan scan;
    int rc = get_directory(fat, id, &node, err);

    if (rc < 0)
        return rc;
    rc = get_index(fat, node, &scan, &index, err);
    if (rc == 0) {
        begin_scan(&scan, fat, node, 0, err);
        rc = find_by_index(&scan, index, name, ret_id);
        if (rc == 0)
            rc = index->complete ? byre_error_set(err, -ENOENT, "there is no '%s'", name)
                                 : byre_error_set(err, -EIO, "%s", node->broken);
    }
    byre_fat_node_put(fat, node);
    return MIN(rc, 0);
}
