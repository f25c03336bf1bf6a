/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The first sector of a FAT file system: the BIOS parameter block (specification, "Boot Sector and BPB").  Pure
 * functions over bytes.
 *
 *   B1. Boot sectors of other systems (NTFS, exFAT, HPFS, JFS) and those with a partition table are none of FAT: each
 *       field that says where things are must make sense, and all together as well.
 *   B2. The width of the entries is what Linux and fsck.fat take it for: 32 bits where the 16-bit size of a FAT is 0,
 *       otherwise 12 bits up to 4084 clusters, and 16 bits up to 65524; with more it is none of FAT.  By the
 *       specification the number of clusters alone decides, so FAT32 has 65525 at least; but mkfs.fat makes smaller
 *       ones, of which mtools, which keeps to the specification, can read nothing.
 */
#include "config.h"

#include "volume/fat.h"

#include <string.h>

#include "base/arith.h"
#include "base/endian.h"

/* Places in the sector. */
enum {
    OEM_NAME = 3,
    SECTOR_BYTES = 11,
    CLUSTER_SECTORS = 13,
    RESERVED_SECTORS = 14,
    TABLES = 16,
    ROOT_ENTRIES = 17,
    SECTORS_16 = 19,
    MEDIA = 21,
    TABLE_SECTORS_16 = 22,
    SECTORS_32 = 32,
    /* from here on there are two forms; this is FAT32's */
    TABLE_SECTORS_32 = 36,
    TABLE_FLAGS = 40,
    FAT32_VERSION = 42,
    ROOT_CLUSTER = 44,
    INFO_SECTOR = 48,
    EXTENDED_16 = 36, /* where drive number, state, signature, serial number, label and type begin */
    EXTENDED_32 = 64,
    SIGNATURE = 510,
};

#define CLUSTERS_12 4084u /* at most; with more it is FAT16 */
#define CLUSTERS_16 65524u
#define CLUSTERS_32 0x0ffffff5u
#define TABLES_MAX  8u
#define EXTENDED_TYPE 18 /* within the extended block */

/* A jump, the signature, or a text: other sectors with numbers that could be a BPB lack all of them. */
static bool has_mark(const uint8_t *boot, unsigned extended)
{
    const uint8_t *type = boot + extended + EXTENDED_TYPE;

    return (boot[0] == 0xeb && boot[2] == 0x90) || boot[0] == 0xe9 || memcmp(type, "FAT", 3) == 0 ||
           (boot[SIGNATURE] == 0x55 && boot[SIGNATURE + 1] == 0xaa);
}

static bool is_foreign(const uint8_t *boot)
{
    static const char oem[][9] = { "NTFS    ", "EXFAT   ", "-FVE-FS-", "ReFS" };
    const uint8_t *type = boot + EXTENDED_16 + EXTENDED_TYPE;

    for (unsigned i = 0; i < ARRAY_LEN(oem); i++) {
        if (memcmp(boot + OEM_NAME, oem[i], strlen(oem[i])) == 0)
            return true;
    }
    return memcmp(type, "HPFS    ", 8) == 0 || memcmp(type, "JFS     ", 8) == 0;
}

static void parse_extended(const uint8_t *extended, struct byre_fat_layout *layout)
{
    uint8_t signature = extended[2];

    layout->unclean = extended[1] & 1;
    memset(layout->label, ' ', sizeof layout->label);
    if (signature != 0x28 && signature != 0x29)
        return;
    layout->has_serial = true;
    layout->serial = byre_get_le32(extended + 3);
    if (signature == 0x29 && memcmp(extended + 7, "NO NAME    ", 11) != 0)
        memcpy(layout->label, extended + 7, sizeof layout->label);
}

/* Fields that mean something for FAT32 alone. */
static void parse_32(const uint8_t *boot, struct byre_fat_layout *layout, unsigned tables)
{
    uint16_t flags = byre_get_le16(boot + TABLE_FLAGS), info = byre_get_le16(boot + INFO_SECTOR);
    uint16_t reserved = byre_get_le16(boot + RESERVED_SECTORS);

    layout->version = byre_get_le16(boot + FAT32_VERSION);
    layout->root_cluster = byre_get_le32(boot + ROOT_CLUSTER);
    if (info && info < reserved)
        layout->info_offset = (uint64_t)info * layout->sector_bytes;
    if (!(flags & 0x80))
        return;
    layout->table_copies = 0; /* not mirrored: one of them counts */
    if ((flags & 0xfu) < tables)
        layout->table_offset += (flags & 0xfu) * layout->table_bytes;
}

/* As many as have an entry in the FAT. */
static bool count_clusters(struct byre_fat_layout *layout, uint64_t bytes)
{
    uint64_t entries = layout->table_bytes * 8, clusters;

    if (bytes <= layout->data_offset)
        return false;
    clusters = (bytes - layout->data_offset) / layout->cluster_bytes;
    if (layout->bits != 32)
        layout->bits = clusters > CLUSTERS_12 ? 16 : 12;
    if (!clusters || clusters > (layout->bits == 32 ? CLUSTERS_32 : CLUSTERS_16))
        return false;
    entries /= layout->bits;
    if (entries <= BYRE_FAT_FIRST_CLUSTER)
        return false;
    layout->clusters = (uint32_t)MIN(clusters, entries - BYRE_FAT_FIRST_CLUSTER);
    return true;
}

bool byre_fat_boot_parse(const uint8_t *boot, struct byre_fat_layout *ret_layout)
{
    struct byre_fat_layout layout = { .sector_bytes = byre_get_le16(boot + SECTOR_BYTES) };
    uint32_t sectors = byre_get_le16(boot + SECTORS_16), table = byre_get_le16(boot + TABLE_SECTORS_16);
    uint32_t root_entries = byre_get_le16(boot + ROOT_ENTRIES), reserved = byre_get_le16(boot + RESERVED_SECTORS);
    unsigned tables = boot[TABLES], extended = table ? EXTENDED_16 : EXTENDED_32;

    if (is_foreign(boot) || !has_mark(boot, extended) || !byre_is_power_of_two(layout.sector_bytes) ||
        layout.sector_bytes < 512 || layout.sector_bytes > 4096 || !byre_is_power_of_two(boot[CLUSTER_SECTORS]) ||
        !reserved || !tables || tables > TABLES_MAX || (boot[MEDIA] < 0xf8 && boot[MEDIA] != 0xf0))
        return false;
    if (!sectors)
        sectors = byre_get_le32(boot + SECTORS_32);
    layout.bits = table ? 16 : 32;
    if (!table)
        table = byre_get_le32(boot + TABLE_SECTORS_32);
    if (!table || (layout.bits == 32) != (root_entries == 0) ||
        !byre_is_aligned(root_entries * BYRE_FAT_ENTRY_BYTES, layout.sector_bytes))
        return false;
    layout.cluster_bytes = boot[CLUSTER_SECTORS] * layout.sector_bytes;
    layout.table_offset = (uint64_t)reserved * layout.sector_bytes;
    layout.table_bytes = (uint64_t)table * layout.sector_bytes;
    layout.table_copies = tables - 1;
    layout.root_offset = layout.table_offset + tables * layout.table_bytes;
    layout.root_bytes = root_entries * BYRE_FAT_ENTRY_BYTES;
    layout.data_offset = layout.root_offset + layout.root_bytes;
    if (!count_clusters(&layout, (uint64_t)sectors * layout.sector_bytes))
        return false;
    parse_extended(boot + extended, &layout);
    if (layout.bits == 32)
        parse_32(boot, &layout, tables);
    *ret_layout = layout;
    return true;
}
