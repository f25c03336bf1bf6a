/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kind of file system that FAT is: what byre/files.h wants to know, made of what the other fat*.c find.
 *
 *   F1. What FAT does not have is as Linux shows it by default: all belongs to root, whom the umask 022 leaves what
 *       others may not; read-only is a missing right to write.  Directories have one link, which means that nobody
 *       counts them.
 *   F2. Times are local ones, of a zone that nobody knows: they are taken for UTC.
 */
#include "config.h"

#include "volume/fat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "byre/disk.h"

#define WHAT_OPEN "the FAT file system"

/* Places in an entry. */
enum {
    ATTRIBUTES = 11,
    CREATED_10MS = 13,
    CREATED_TIME = 14,
    CREATED_DATE = 16,
    ACCESSED_DATE = 18,
    MODIFIED_TIME = 22,
    MODIFIED_DATE = 24,
    SIZE = 28,
};

#define ATTRIBUTE_READ_ONLY 0x01

static struct byre_fat *fat_of(struct byre_files *files)
{
    return (struct byre_fat *)files; /* it begins with that */
}

/* --- opening ----------------------------------------------------------------------------------------------- */

/* 1: `ret_layout` is that of the file system there; 0: it is none. */
static int read_layout(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_fat_layout *ret_layout,
                       struct byre_error *err)
{
    uint8_t boot[BYRE_FAT_BOOT_BYTES];
    int rc;

    if (length < sizeof boot || !byre_range_within(goff, sizeof boot, byre_get_size(disk)))
        return 0;
    rc = byre_pread(disk, boot, sizeof boot, goff, err);
    return rc < 0 ? rc : byre_fat_boot_parse(boot, ret_layout);
}

static void fat_close(struct byre_files *files)
{
    struct byre_fat *fat = fat_of(files);

    byre_fat_nodes_done(fat);
    byre_fat_table_done(fat);
    pthread_mutex_destroy(&fat->lock);
    free(fat);
}

/* Where the system has no random numbers yet, an address has to do. */
static uint64_t new_key(const struct byre_fat *fat)
{
    uint64_t key;

    if (getrandom(&key, sizeof key, GRND_NONBLOCK) != sizeof key)
        key = (uintptr_t)fat;
    return key % ((UINT64_C(1) << 61) - 2) + 1;
}

static int new_fat(struct byre_disk *disk, uint64_t goff, uint64_t length, const struct byre_fat_layout *layout,
                   struct byre_fat **ret_fat, struct byre_error *err)
{
    struct byre_fat *fat = calloc(1, sizeof *fat);
    int rc;

    if (!fat)
        return byre_error_set_errno(err, -ENOMEM, WHAT_OPEN);
    rc = pthread_mutex_init(&fat->lock, NULL);
    if (rc != 0) {
        free(fat);
        return byre_error_set_errno(err, -rc, WHAT_OPEN);
    }
    fat->files = (struct byre_files){ .disk = disk, .goff = goff, .length = length, .type = "vfat" };
    fat->layout = *layout;
    fat->name_key = new_key(fat);
    *ret_fat = fat;
    return 0;
}

static void set_label(struct byre_disk *disk, uint64_t goff, uint64_t length, const struct byre_fat_layout *layout,
                      char *ret_label)
{
    uint8_t label[11];
    struct byre_fat *fat;

    memcpy(label, layout->label, sizeof label);
    if ((layout->bits != 32 || layout->root_cluster) && new_fat(disk, goff, length, layout, &fat, NULL) == 0) {
        byre_fat_directory_label(fat, label, NULL); /* damage there is no matter of its name */
        fat_close(&fat->files);
    }
    byre_fat_name_label(label, ret_label);
}

static int fat_probe(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_files_found *ret_found,
                     struct byre_error *err)
{
    struct byre_files_found found = { .type = "vfat", .supported = true };
    struct byre_fat_layout layout;
    int rc = read_layout(disk, goff, length, &layout, err);

    if (rc <= 0)
        return rc;
    if (layout.has_serial)
        snprintf(found.uuid, sizeof found.uuid, "%04X-%04X", layout.serial >> 16, layout.serial & 0xffff);
    set_label(disk, goff, length, &layout, found.label);
    *ret_found = found;
    return 1;
}

/* By the flags in the FAT, which Windows keeps, and that in the first sector, which Linux does. */
static int find_warning(struct byre_fat *fat, struct byre_error *err)
{
    unsigned shift = fat->layout.bits == 32 ? 27 : 15;
    const char *warning = NULL;
    uint32_t flags = 0;
    int rc = 0;

    fat->unclean = fat->layout.unclean;
    if (fat->layout.bits != 12)
        rc = byre_fat_table_flags(fat, &flags, err);
    if (rc == -ENOMEM)
        return rc;
    if (fat->layout.bits != 12 && !(flags >> shift & 1))
        fat->unclean = true;
    if (rc < 0)
        warning = "the beginning of the file allocation table cannot be read";
    else if (fat->layout.bits != 12 && !(flags >> (shift - 1) & 1))
        warning = "the FAT file system has noted errors of its disk";
    else if (fat->unclean)
        warning = "the FAT file system was not closed properly";
    if (!warning)
        return 0;
    fat->files.warning = strdup(warning);
    return fat->files.warning ? 0 : byre_error_set_errno(err, -ENOMEM, WHAT_OPEN);
}

static int look_at(struct byre_fat *fat, struct byre_error *err)
{
    const struct byre_fat_layout *layout = &fat->layout;

    if (layout->bits == 32 && layout->version)
        return byre_error_set(err, -ENOTSUP, "version %u.%u of FAT32 is not known", layout->version >> 8,
                              layout->version & 0xff);
    if (layout->bits == 32 && !byre_fat_is_cluster(fat, layout->root_cluster))
        return byre_error_set(err, -EUCLEAN, "the root directory of FAT32 begins at cluster %u, which does not exist",
                              layout->root_cluster);
    return find_warning(fat, err);
}

static int fat_open(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_files **ret_files,
                    struct byre_error *err)
{
    struct byre_fat_layout layout;
    struct byre_fat *fat;
    int rc = read_layout(disk, goff, length, &layout, err);

    if (rc == 0)
        return byre_error_set(err, -EUCLEAN, "there is no FAT file system");
    if (rc > 0)
        rc = new_fat(disk, goff, length, &layout, &fat, err);
    if (rc < 0)
        return rc;
    rc = look_at(fat, err);
    if (rc < 0) {
        free(fat->files.warning);
        fat_close(&fat->files);
        return rc;
    }
    *ret_files = &fat->files;
    return 0;
}

static int fat_space(struct byre_files *files, struct byre_files_space *ret_space, struct byre_error *err)
{
    struct byre_fat *fat = fat_of(files);
    uint32_t free_clusters;
    int rc = byre_fat_table_free(fat, &free_clusters, err);

    if (rc < 0)
        return rc;
    *ret_space = (struct byre_files_space){
        .block_size = fat->layout.cluster_bytes,
        .blocks = fat->layout.clusters,
        .blocks_free = free_clusters,
        .blocks_available = free_clusters,
    };
    return 0;
}

/* --- stat -------------------------------------------------------------------------------------------------- */

/* Days from 1970-01-01 to a date from 1980 to 2107; a day past the end of its month is in the next one. */
static int64_t days_of(unsigned year, unsigned month, unsigned day)
{
    static const uint16_t before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    unsigned leap = (year - 1969) / 4 - (year > 2100);

    if (month > 2 && year % 4 == 0 && year != 2100)
        leap++;
    return (int64_t)(year - 1970) * 365 + leap + before[month - 1] + day - 1;
}

/* A date that does not exist was not recorded. */
static struct timespec time_of(uint16_t date, uint16_t time, unsigned hundredths)
{
    unsigned year = 1980 + (date >> 9), month = date >> 5 & 0xf, day = date & 0x1f;
    unsigned seconds = (time >> 11) * 3600 + (time >> 5 & 0x3f) * 60 + (time & 0x1f) * 2;

    if (!month || month > 12 || !day)
        return (struct timespec){ 0 };
    if (hundredths > 199)
        hundredths = 0;
    return (struct timespec){
        .tv_sec = (time_t)(days_of(year, month, day) * 86400 + seconds + hundredths / 100),
        .tv_nsec = (long)(hundredths % 100) * 10000000,
    };
}

static int stat_directory(struct byre_fat *fat, struct byre_file *file, struct byre_error *err)
{
    struct byre_fat_node *node;
    int rc = byre_fat_node_get(fat, file->id, &node, err);

    if (rc < 0)
        return rc;
    file->size = file->allocated = node->size;
    byre_fat_node_put(fat, node);
    return 0;
}

static int fat_stat(struct byre_files *files, uint64_t id, struct byre_file *ret_file, struct byre_error *err)
{
    struct byre_fat *fat = fat_of(files);
    struct byre_file file = { .id = id, .mode = S_IFDIR | 0755, .links = 1 };
    uint8_t entry[BYRE_FAT_ENTRY_BYTES];
    int rc;

    if (id != BYRE_FILES_ROOT) {
        rc = byre_fat_node_entry(fat, id, entry, err);
        if (rc < 0)
            return rc;
        if (!byre_fat_entry_is_directory(entry))
            file.mode = S_IFREG | 0644;
        if (entry[ATTRIBUTES] & ATTRIBUTE_READ_ONLY)
            file.mode &= ~(mode_t)0222;
        file.created = time_of(byre_get_le16(entry + CREATED_DATE), byre_get_le16(entry + CREATED_TIME),
                               entry[CREATED_10MS]);
        file.accessed = time_of(byre_get_le16(entry + ACCESSED_DATE), 0, 0);
        file.modified = time_of(byre_get_le16(entry + MODIFIED_DATE), byre_get_le16(entry + MODIFIED_TIME), 0);
        file.changed = file.modified;
    }
    if (S_ISREG(file.mode)) {
        file.size = byre_get_le32(entry + SIZE);
        file.allocated = byre_round_up(file.size, fat->layout.cluster_bytes);
    } else {
        rc = stat_directory(fat, &file, err);
        if (rc < 0)
            return rc;
    }
    *ret_file = file;
    return 0;
}

/* --- the rest ---------------------------------------------------------------------------------------------- */

static int fat_lookup(struct byre_files *files, uint64_t directory, const char *name, uint64_t *ret_id,
                      struct byre_error *err)
{
    return byre_fat_directory_lookup(fat_of(files), directory, name, ret_id, err);
}

static int fat_list(struct byre_files *files, uint64_t directory, uint64_t cursor,
                    int (*each)(void *opaque, const struct byre_files_entry *entry), void *opaque,
                    struct byre_error *err)
{
    return byre_fat_directory_list(fat_of(files), directory, cursor, each, opaque, err);
}

static int get_regular(struct byre_fat *fat, uint64_t id, struct byre_fat_node **ret_node, struct byre_error *err)
{
    int rc = byre_fat_node_get(fat, id, ret_node, err);

    if (rc < 0 || !(*ret_node)->directory)
        return rc;
    byre_fat_node_put(fat, *ret_node);
    return byre_error_set(err, -EISDIR, "it is a directory");
}

static int fat_read(struct byre_files *files, uint64_t id, void *buf, size_t length, uint64_t offset,
                    size_t *ret_length, struct byre_error *err)
{
    struct byre_fat *fat = fat_of(files);
    struct byre_fat_run run = { 0 };
    struct byre_fat_node *node;
    size_t done = 0;
    int rc = get_regular(fat, id, &node, err);

    if (rc < 0)
        return rc;
    length = offset < node->size ? (size_t)MIN((uint64_t)length, node->size - offset) : 0;
    while (rc == 0 && done < length) {
        uint64_t place, there;

        rc = byre_fat_node_map(fat, node, &run, offset + done, length - done, &place, &there, err);
        if (rc < 0)
            break;
        there = MIN(there, (uint64_t)(length - done));
        rc = byre_filesystem_pread(files, (char *)buf + done, (size_t)there, place, err);
        done += (size_t)there;
    }
    byre_fat_node_remember(fat, node, &run);
    byre_fat_node_put(fat, node);
    if (rc == 0)
        *ret_length = length;
    return rc;
}

static int fat_seek(struct byre_files *files, uint64_t id, uint64_t offset, bool data, uint64_t *ret_offset,
                    struct byre_error *err)
{
    struct byre_file file;
    int rc = fat_stat(files, id, &file, err);

    if (rc < 0)
        return rc;
    if (S_ISDIR(file.mode))
        return byre_error_set(err, -EISDIR, "it is a directory");
    if (offset >= file.size)
        return byre_error_set(err, -ENXIO, "offset %llu is not within the file", (unsigned long long)offset);
    *ret_offset = data ? offset : file.size;
    return 0;
}

const struct byre_filesystem_kind byre_fat_kind = {
    .probe = fat_probe,
    .open = fat_open,
    .close = fat_close,
    .space = fat_space,
    .stat = fat_stat,
    .lookup = fat_lookup,
    .list = fat_list,
    .read = fat_read,
    .seek = fat_seek,
};
