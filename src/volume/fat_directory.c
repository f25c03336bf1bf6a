/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories: their entries, and names looked up (specification, "FAT Directory Structure" and "FAT Long Directory
 * Entries").
 *
 *   D1. A long name counts if its parts stand right before the short entry, complete, in order and with its checksum,
 *       and if it can be shown; otherwise the short name does.  What has neither is left out.
 *   D2. A cursor is the number of the slot behind an entry, and whether something before it could not be read; any
 *       number can be borne.
 *   D3. A directory in which something is looked up gets an index of its entries by their names, at most 48 bytes a
 *       slot.  It is asked where to look; what is there decides.  Names come from strangers, so they are hashed with
 *       a key, and of equal ones only the first is in it.
 *   D4. What is shown decides before short names that are not, what is the same before what differs in case.
 *   D5. A sector that cannot be read costs what is in it: the others are listed, and found.  The error is told at the
 *       end, or where a name was not found, which then was looked for in all that can be read at that time.
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
#define SECTOR_BYTES 512u
#define SLOTS_MAX    (BYRE_FAT_DIRECTORY_MAX / BYRE_FAT_ENTRY_BYTES)
#define CURSOR_LOST  (UINT64_C(1) << 20) /* of a cursor (D2) */
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
    bool ended;                                /* all was seen that there is */
    bool gap;                                  /* a sector was left out before the slot that came last */
    struct byre_error lost;                    /* why the first one was; code 0: none was */
    uint8_t bytes[WINDOW_BYTES];
};

static void begin_scan(struct scan *scan, struct byre_fat *fat, const struct byre_fat_node *node, uint64_t cursor,
                       struct byre_error *err)
{
    uint64_t slot = cursor & ~CURSOR_LOST;

    scan->fat = fat;
    scan->node = node;
    scan->err = err;
    scan->position = slot <= SLOTS_MAX ? slot * BYRE_FAT_ENTRY_BYTES : UINT64_MAX;
    scan->window = scan->window_length = scan->window_place = 0;
    scan->ended = scan->gap = false;
    scan->lost.code = 0;
    if (cursor & CURSOR_LOST && slot <= SLOTS_MAX)
        byre_error_set(&scan->lost, -EIO, "a part of the directory cannot be read");
}

static uint64_t scan_cursor(const struct scan *scan)
{
    return scan->position / BYRE_FAT_ENTRY_BYTES | (scan->lost.code ? CURSOR_LOST : 0);
}

/* Reads bytes of the directory from the position on: 1; 0: that cannot be done. */
static int fill_window(struct scan *scan, uint64_t length, uint64_t place)
{
    struct byre_error error = BYRE_ERROR_INIT;

    scan->window_length = 0;
    if (byre_filesystem_pread(&scan->fat->files, scan->bytes, (size_t)length, place, &error) < 0) {
        if (!scan->lost.code && length <= SECTOR_BYTES)
            scan->lost = error;
        return 0;
    }
    scan->window = scan->position;
    scan->window_length = length;
    scan->window_place = place;
    return 1;
}

/* 1; 0: a sector was left out; negative: it is not known where the directory goes on. */
static int read_window(struct scan *scan)
{
    uint64_t place, length, in_sector = SECTOR_BYTES - scan->position % SECTOR_BYTES;
    struct byre_fat_run run = { 0 };
    int rc = byre_fat_node_map(scan->fat, scan->node, &run, scan->position, WINDOW_BYTES, &place, &length, scan->err);

    if (rc < 0)
        return rc;
    length = MIN(length, scan->node->size - scan->position);
    length = MIN(length, WINDOW_BYTES - scan->position % WINDOW_BYTES);
    if (fill_window(scan, length, place) || fill_window(scan, MIN(length, in_sector), place))
        return 1;
    scan->position += in_sector;
    scan->gap = true;
    return 0;
}

/* No more slots: 0, or why there should be some. */
static int end_scan(struct scan *scan)
{
    scan->ended = true;
    if (scan->lost.code) {
        if (scan->err)
            *scan->err = scan->lost;
        return scan->lost.code;
    }
    if (scan->position >= scan->node->size && scan->node->broken)
        return byre_error_set(scan->err, -EIO, "%s", scan->node->broken);
    return 0;
}

static bool in_window(const struct scan *scan)
{
    return scan->position >= scan->window && scan->position - scan->window < scan->window_length;
}

/* The next slot that can be read, and its place: 1; 0: there is none; negative: there should be. */
static int next_slot(struct scan *scan, const uint8_t **ret_slot, uint64_t *ret_place)
{
    uint64_t within;

    scan->gap = false;
    while (scan->position < scan->node->size && !in_window(scan)) {
        int rc = read_window(scan);

        if (rc < 0)
            return rc;
    }
    if (scan->position >= scan->node->size)
        return end_scan(scan);
    within = scan->position - scan->window;
    *ret_slot = scan->bytes + within;
    *ret_place = scan->window_place + within;
    if (**ret_slot == 0)
        return end_scan(scan);
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
        int rc = next_slot(scan, &slot, &place);
        uint32_t number = (uint32_t)(scan->position / BYRE_FAT_ENTRY_BYTES) - 1;

        if (rc <= 0)
            return rc;
        if (scan->gap)
            parts.count = 0;
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
            .next = scan_cursor(&scan),
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

/* How well a name fits an entry (D4). */
enum fit {
    FIT_NOT,
    FIT_SHORT, /* the short name that is not shown, or its case, or dots at its end */
    FIT_CASE,  /* but for case and dots at the end */
    FIT_EXACT,
};

/* A place in the index has the upper bits of a hash, and the number of a slot more one; 0: nothing. */
#define SLOT_BITS 17u
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)
#define NO_SLOT   UINT32_MAX

struct byre_fat_index {
    bool complete; /* nothing of the directory is missing */
    bool lost;     /* some sectors could not be read */
    uint32_t room; /* a power of two, larger than the number of places that are taken */
    uint64_t places[];
};

size_t byre_fat_index_bytes(const struct byre_fat_index *index)
{
    return sizeof *index + index->room * sizeof index->places[0];
}

void byre_fat_index_free(struct byre_fat_index *index)
{
    free(index);
}

typedef VEC(uint64_t) hash_list;

static uint64_t hash_of(const struct byre_fat *fat, const char *name, enum fit fit)
{
    return byre_fat_name_hash(name, fit != FIT_EXACT, fat->name_key) + fit * 0x9e3779b97f4a7c15;
}

/* The place with that hash, or the free one where it belongs. */
static uint32_t find_place(const struct byre_fat_index *index, uint64_t hash, uint64_t *steps)
{
    uint32_t at = (uint32_t)(hash >> 20) & (index->room - 1);

    while (++*steps && index->places[at] && ((index->places[at] ^ hash) & ~SLOT_MASK))
        at = (at + 1) & (index->room - 1);
    return at;
}

static uint32_t find_slot(const struct byre_fat_index *index, uint64_t hash, uint64_t *steps)
{
    uint64_t place = index->places[find_place(index, hash, steps)];

    return place ? (uint32_t)(place & SLOT_MASK) - 1 : NO_SLOT;
}

/* A place for the list: `hash` leads to the slot. */
static int note_name(hash_list *list, const struct entry *entry, uint64_t hash)
{
    return vec_push(list, (hash & ~SLOT_MASK) | (entry->slot + 1));
}

static int collect(struct scan *scan, hash_list *list)
{
    CLEANUP(free_ptr) struct entry *entry = malloc(sizeof *entry);
    int rc = entry ? 0 : -ENOMEM;

    while (rc == 0) {
        rc = next_entry(scan, entry);
        if (rc <= 0)
            return rc;
        rc = note_name(list, entry, hash_of(scan->fat, entry->name, FIT_EXACT));
        if (rc == 0)
            rc = note_name(list, entry, hash_of(scan->fat, entry->name, FIT_CASE));
        if (rc == 0 && entry->has_long && entry->short_name[0])
            rc = note_name(list, entry, hash_of(scan->fat, entry->short_name, FIT_SHORT));
    }
    return byre_error_set_errno(scan->err, rc, "directory");
}

static int make_index(const hash_list *list, struct byre_fat_index **ret_index, uint64_t *steps,
                      struct byre_error *err)
{
    struct byre_fat_index *index;
    uint32_t room = 8;

    while (room < list->len + list->len / 2 + 1)
        room *= 2;
    index = calloc(1, sizeof *index + room * sizeof index->places[0]);
    if (!index)
        return byre_error_set_errno(err, -ENOMEM, "directory");
    index->room = room;
    for (size_t i = 0; i < list->len; i++) {
        uint32_t at = find_place(index, list->ptr[i], steps);

        if (!index->places[at])
            index->places[at] = list->ptr[i];
    }
    *ret_index = index;
    return 0;
}

static int new_index(struct byre_fat *fat, const struct byre_fat_node *node, struct scan *scan,
                     struct byre_fat_index **ret_index, struct byre_error *err)
{
    struct byre_error error = BYRE_ERROR_INIT;
    hash_list list = VEC_INIT;
    uint64_t steps = 0;
    int rc;

    begin_scan(scan, fat, node, 0, &error);
    rc = collect(scan, &list);
    if (rc < 0 && !scan->ended && err)
        *err = error;
    if (rc == 0 || scan->ended)
        rc = make_index(&list, ret_index, &steps, err);
    vec_done(&list);
    if (rc < 0)
        return rc;
    (*ret_index)->complete = !error.code;
    (*ret_index)->lost = scan->lost.code || node->unreadable;
    LOCK_SCOPE(&fat->lock);
    fat->steps += steps;
    return 0;
}

/* The index, which lives as long as the node is used. */
static int get_index(struct byre_fat *fat, struct byre_fat_node *node, struct scan *scan,
                     const struct byre_fat_index **ret_index, struct byre_error *err)
{
    struct byre_fat_index *index = NULL;
    int rc;

    pthread_mutex_lock(&fat->lock);
    *ret_index = node->index;
    pthread_mutex_unlock(&fat->lock);
    if (*ret_index)
        return 0;
    rc = new_index(fat, node, scan, &index, err);
    if (rc < 0)
        return rc;
    byre_fat_node_set_index(fat, node, index);
    LOCK_SCOPE(&fat->lock);
    *ret_index = node->index;
    return 0;
}

/* --- looking up -------------------------------------------------------------------------------------------- */

static enum fit fit_of(const struct entry *entry, const char *name)
{
    if (strcmp(entry->name, name) == 0)
        return FIT_EXACT;
    if (byre_fat_name_same(entry->name, name))
        return FIT_CASE;
    return byre_fat_name_same(entry->short_name, name) ? FIT_SHORT : FIT_NOT;
}

/* In all of the directory the entry that fits best, of several the first one: 1; 0: there is none; or negative. */
static int find_by_scan(struct scan *scan, struct entry *entry, const char *name, uint64_t *ret_id)
{
    enum fit best = FIT_NOT;
    int rc = 1;

    begin_scan(scan, scan->fat, scan->node, 0, scan->err);
    while (best != FIT_EXACT && (rc = next_entry(scan, entry)) > 0) {
        enum fit fit = fit_of(entry, name);

        if (fit > best) {
            best = fit;
            *ret_id = entry->id;
        }
    }
    return best != FIT_NOT ? 1 : rc;
}

/* The same by the index: one entry is read for each way to fit. */
static int find_by_index(struct scan *scan, const struct byre_fat_index *index, const char *name, uint64_t *ret_id)
{
    CLEANUP(free_ptr) struct entry *entry = malloc(sizeof *entry);
    uint64_t steps = 0;

    if (!entry)
        return byre_error_set_errno(scan->err, -ENOMEM, "directory");
    for (enum fit fit = FIT_EXACT; fit > FIT_NOT; fit--) {
        uint32_t slot = find_slot(index, hash_of(scan->fat, name, fit), &steps);
        int rc;

        if (slot == NO_SLOT)
            continue;
        scan->position = (uint64_t)slot * BYRE_FAT_ENTRY_BYTES;
        rc = next_entry(scan, entry);
        if (rc < 0 && !scan->ended)
            return rc;
        if (rc <= 0 || fit_of(entry, name) != fit)
            return find_by_scan(scan, entry, name, ret_id); /* it cannot be read any more, or two hashes are the same */
        *ret_id = entry->id;
        return 1;
    }
    return index->lost ? find_by_scan(scan, entry, name, ret_id) : 0;
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
        if (rc == 0 && !index->complete && !index->lost)
            rc = byre_error_set(err, -EIO, "%s", node->broken);
        else if (rc == 0)
            rc = byre_error_set(err, -ENOENT, "there is no '%s'", name);
    }
    byre_fat_node_put(fat, node);
    return MIN(rc, 0);
}
