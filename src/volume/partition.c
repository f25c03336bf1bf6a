/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Partition tables.
 *
 *   T1. All numbers come from strangers: a table is at most TABLE_MAX bytes, a chain of logical partitions at most
 *       LOGICAL_MAX long and without a loop, and nothing is read that is not on the disk.
 *   T2. Blocks of a GPT have 512 or 4096 bytes, whichever its header is found by; those of an MBR have 512.
 *   T3. What is a partition, and its number, is as the kernel and partx(8) have it: also one that begins at sector 0,
 *       as on images of CDs that are disks as well, and one of type 0 that has a size.
 */
#include "config.h"

#include "byre/partition.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "base/utf16.h"
#include "byre/disk.h"

#define SECTOR       512u
#define BLOCK_MAX    4096u
#define TABLE_MAX    (1u << 20)
#define FIRST_LOGICAL 5u
#define LOGICAL_MAX  251u /* as many as Linux has numbers for */

#define MBR_ID        440u
#define MBR_ENTRIES   446u
#define MBR_SIGNATURE 510u

#define TYPE_PROTECTIVE 0xeeu

#define GPT_HEADER_MIN 92u
#define GPT_ENTRY_MIN  128u
#define GPT_NAME_UNITS 36u
#define GPT_LEGACY_BIOS_BOOTABLE 4u

struct walk {
    struct byre_disk *disk;
    uint64_t size;
    struct byre_partition_label *label; /* is filled in before `each` is called */
    int (*each)(void *opaque, const struct byre_partition *partition);
    void *opaque;
    struct byre_error *err;
};

/* 1: it is not on the disk. */
static int read_bytes(const struct walk *walk, void *bytes, size_t length, uint64_t goff)
{
    if (!byre_range_within(goff, length, walk->size))
        return 1;
    return byre_pread(walk->disk, bytes, length, goff, walk->err);
}

/* Blocks first..first+count-1; such as no disk has, or none at all, are no partition. */
static int tell(const struct walk *walk, struct byre_partition *partition, uint64_t first, uint64_t count,
                uint64_t block)
{
    if (!count || __builtin_mul_overflow(first, block, &partition->goff) ||
        __builtin_mul_overflow(count, block, &partition->length))
        return 0;
    partition->inside = byre_range_within(partition->goff, partition->length, walk->size);
    return walk->each(walk->opaque, partition);
}

/* --- GPT --------------------------------------------------------------------------------------------------- */

struct gpt {
    uint64_t block;
    uint8_t header[BLOCK_MAX];
    uint8_t *entries;
    uint32_t entry_count, entry_bytes;
};

static uint32_t crc_of(const uint8_t *bytes, size_t length)
{
    return (uint32_t)crc32(0, bytes, (unsigned)length);
}

static bool header_is_valid(struct gpt *gpt, uint64_t lba)
{
    uint8_t *header = gpt->header;
    uint32_t length = byre_get_le32(header + 12), crc = byre_get_le32(header + 16);

    if (memcmp(header, "EFI PART", 8) != 0 || length < GPT_HEADER_MIN || length > gpt->block)
        return false;
    byre_put_le32(header + 16, 0);
    return crc_of(header, length) == crc && byre_get_le64(header + 24) == lba;
}

/* The header at a block, with its entries: 1 if there is none that is sound. */
static int read_gpt(const struct walk *walk, struct gpt *gpt, uint64_t block, uint64_t lba)
{
    uint64_t entries_goff, bytes;
    int rc;

    gpt->block = block;
    rc = read_bytes(walk, gpt->header, block, lba * block);
    if (rc != 0)
        return rc;
    if (!header_is_valid(gpt, lba))
        return 1;
    gpt->entry_count = byre_get_le32(gpt->header + 80);
    gpt->entry_bytes = byre_get_le32(gpt->header + 84);
    bytes = (uint64_t)gpt->entry_count * gpt->entry_bytes;
    if (gpt->entry_bytes < GPT_ENTRY_MIN || gpt->entry_bytes & (gpt->entry_bytes - 1) || !bytes || bytes > TABLE_MAX ||
        __builtin_mul_overflow(byre_get_le64(gpt->header + 72), block, &entries_goff))
        return 1;
    free(gpt->entries);
    gpt->entries = malloc(bytes);
    if (!gpt->entries)
        return byre_error_set_errno(walk->err, -ENOMEM, "partition table");
    rc = read_bytes(walk, gpt->entries, bytes, entries_goff);
    return rc != 0 ? rc : crc_of(gpt->entries, bytes) != byre_get_le32(gpt->header + 88);
}

/* The table, or its copy in the last block. */
static int find_gpt(const struct walk *walk, struct gpt *gpt)
{
    static const uint64_t blocks[] = { SECTOR, BLOCK_MAX };
    int rc = 1;

    for (unsigned i = 0; i < 4 && rc == 1; i++) {
        uint64_t block = blocks[i % 2], count = walk->size / block;

        if (count > 2)
            rc = read_gpt(walk, gpt, block, i < 2 ? 1 : count - 1);
    }
    if (rc == 1)
        return byre_error_set(walk->err, -EINVAL, "The GUID partition table is damaged, and so is its copy");
    return rc;
}

static void put_name(char *to, const uint8_t *bytes)
{
    uint16_t units[GPT_NAME_UNITS];

    for (unsigned i = 0; i < GPT_NAME_UNITS; i++)
        units[i] = byre_get_le16(bytes + 2 * i);
    byre_utf16_to_utf8(units, GPT_NAME_UNITS, to);
}

/* The first three fields are little-endian. */
static void put_guid(char text[37], const uint8_t *bytes)
{
    snprintf(text, 37, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", byre_get_le32(bytes),
             byre_get_le16(bytes + 4), byre_get_le16(bytes + 6), bytes[8], bytes[9], bytes[10], bytes[11], bytes[12],
             bytes[13], bytes[14], bytes[15]);
}

static int tell_gpt(const struct walk *walk, const struct gpt *gpt)
{
    static const uint8_t unused[16];
    int rc = 0;

    put_guid(walk->label->id, gpt->header + 56);
    walk->label->block = (unsigned)gpt->block;
    for (uint32_t i = 0; i < gpt->entry_count && rc == 0; i++) {
        const uint8_t *entry = gpt->entries + (size_t)i * gpt->entry_bytes;
        uint64_t first = byre_get_le64(entry + 32), last = byre_get_le64(entry + 40);
        struct byre_partition partition = { .number = i + 1 };

        if (memcmp(entry, unused, sizeof unused) == 0 || last < first || last == UINT64_MAX)
            continue;
        put_guid(partition.type, entry);
        put_guid(partition.uuid, entry + 16);
        partition.attributes = byre_get_le64(entry + 48);
        partition.bootable = partition.attributes & GPT_LEGACY_BIOS_BOOTABLE;
        put_name(partition.name, entry + 56);
        rc = tell(walk, &partition, first, last - first + 1, gpt->block);
    }
    return rc;
}

static int walk_gpt(const struct walk *walk)
{
    CLEANUP(free_ptr) struct gpt *gpt = calloc(1, sizeof *gpt);
    int rc = gpt ? find_gpt(walk, gpt) : byre_error_set_errno(walk->err, -ENOMEM, "partition table");

    if (rc == 0)
        rc = tell_gpt(walk, gpt);
    if (gpt)
        free(gpt->entries);
    return rc;
}

/* --- MBR --------------------------------------------------------------------------------------------------- */

struct mbr_entry {
    uint8_t type;
    bool active;
    uint64_t first, count; /* sectors */
};

static struct mbr_entry mbr_entry(const uint8_t *sector, unsigned i)
{
    const uint8_t *entry = sector + MBR_ENTRIES + 16 * i;

    return (struct mbr_entry){ entry[4], entry[0] & 0x80, byre_get_le32(entry + 8), byre_get_le32(entry + 12) };
}

static bool is_extended(const struct mbr_entry *entry)
{
    return entry->type == 0x05 || entry->type == 0x0f || entry->type == 0x85;
}

static bool is_signed(const uint8_t *sector)
{
    return sector[MBR_SIGNATURE] == 0x55 && sector[MBR_SIGNATURE + 1] == 0xaa;
}

/* A boot sector of a file system is signed as well, but has code where entries say whether they are active. */
static bool is_mbr(const uint8_t *sector)
{
    for (unsigned i = 0; i < 4; i++) {
        if (sector[MBR_ENTRIES + 16 * i] & 0x7f)
            return false;
    }
    return is_signed(sector);
}

static int tell_mbr(const struct walk *walk, unsigned number, const struct mbr_entry *entry, uint64_t base)
{
    struct byre_partition partition = { .number = number, .bootable = entry->active };

    if (walk->label->id[0])
        snprintf(partition.uuid, sizeof partition.uuid, "%.8s-%02x", walk->label->id + 2, number);
    snprintf(partition.type, sizeof partition.type, "0x%02x", entry->type);
    return tell(walk, &partition, base + entry->first, entry->count, SECTOR);
}

struct span {
    uint64_t first, count; /* sectors */
};

struct chain {
    struct span extended;    /* links count from its first sector */
    struct span link;        /* the one to be followed, and what it says is there; first 0: none */
    uint64_t seen[LOGICAL_MAX];
    unsigned count;          /* of links that were followed */
    unsigned number;         /* of the next logical partition */
};

static bool was_seen(const struct chain *chain, uint64_t link)
{
    for (unsigned i = 0; i < chain->count; i++) {
        if (chain->seen[i] == link)
            return true;
    }
    return false;
}

/* Does a partition at that sector of the link's lie within what the link and the extended partition span? */
static bool is_within(const struct chain *chain, uint64_t first, uint64_t count)
{
    const struct span *link = &chain->link, *extended = &chain->extended;

    return byre_range_within(first, count, link->count) &&
           byre_range_within(link->first - extended->first + first, count, extended->count);
}

/* The next link, by the first entry of an extended type. */
static struct span next_link(const struct chain *chain, const uint8_t *sector)
{
    for (unsigned i = 0; i < 4; i++) {
        struct mbr_entry entry = mbr_entry(sector, i);

        if (is_extended(&entry) && entry.first && entry.count)
            return (struct span){ chain->extended.first + entry.first, entry.count };
    }
    return (struct span){ 0 };
}

/* One link: the partitions in it, and where the next one is.  Its last two entries are garbage on some disks. */
static int follow_link(const struct walk *walk, struct chain *chain)
{
    uint64_t link = chain->link.first;
    uint8_t sector[SECTOR];
    int rc = read_bytes(walk, sector, sizeof sector, link * SECTOR);

    if (rc < 0)
        return rc;
    if (rc > 0 || !is_signed(sector)) {
        chain->link.first = 0;
        return 0;
    }
    for (unsigned i = 0; i < 4 && rc == 0 && chain->number < FIRST_LOGICAL + LOGICAL_MAX; i++) {
        struct mbr_entry entry = mbr_entry(sector, i);

        if (!is_extended(&entry) && entry.count && (i < 2 || is_within(chain, entry.first, entry.count)))
            rc = tell_mbr(walk, chain->number++, &entry, link);
    }
    chain->link = next_link(chain, sector);
    return rc;
}

static int follow_chain(const struct walk *walk, struct chain *chain)
{
    int rc = 0;

    chain->link = chain->extended;
    while (rc == 0 && chain->link.first && chain->count < LOGICAL_MAX && !was_seen(chain, chain->link.first)) {
        chain->seen[chain->count++] = chain->link.first;
        rc = follow_link(walk, chain);
    }
    return rc;
}

static int walk_mbr(const struct walk *walk, const uint8_t *sector)
{
    struct chain chain = { .number = FIRST_LOGICAL };
    uint32_t id = byre_get_le32(sector + MBR_ID);
    int rc = 0;

    walk->label->block = SECTOR;
    if (id)
        snprintf(walk->label->id, sizeof walk->label->id, "0x%08x", id);
    for (unsigned i = 0; i < 4 && rc == 0; i++) {
        struct mbr_entry entry = mbr_entry(sector, i);

        if (!is_extended(&entry))
            rc = tell_mbr(walk, i + 1, &entry, 0);
    }
    for (unsigned i = 0; i < 4 && rc == 0; i++) {
        struct mbr_entry entry = mbr_entry(sector, i);

        chain.extended = (struct span){ entry.first, entry.count };
        if (is_extended(&entry) && entry.count)
            rc = follow_chain(walk, &chain);
    }
    return rc;
}

/* --- both -------------------------------------------------------------------------------------------------- */

static enum byre_partition_table table_of(const uint8_t *sector)
{
    if (!is_mbr(sector))
        return BYRE_PARTITION_TABLE_NONE;
    for (unsigned i = 0; i < 4; i++) {
        if (mbr_entry(sector, i).type == TYPE_PROTECTIVE)
            return BYRE_PARTITION_TABLE_GPT;
    }
    return BYRE_PARTITION_TABLE_MBR;
}

static int walk_table(const struct walk *walk)
{
    uint8_t sector[SECTOR];
    int rc = read_bytes(walk, sector, sizeof sector, 0);

    if (rc < 0)
        return rc;
    if (rc == 0)
        walk->label->table = table_of(sector);
    switch (walk->label->table) {
    case BYRE_PARTITION_TABLE_GPT: return walk_gpt(walk);
    case BYRE_PARTITION_TABLE_MBR: return walk_mbr(walk, sector);
    default: return 0;
    }
}

int byre_partitions(struct byre_disk *disk, int (*each)(void *opaque, const struct byre_partition *partition),
                    void *opaque, enum byre_partition_table *ret_table, struct byre_error *err)
{
    struct byre_partition_label label = { .block = SECTOR };
    const struct walk walk = { disk, byre_get_size(disk), &label, each, opaque, err };
    int rc = walk_table(&walk);

    if (ret_table)
        *ret_table = label.table;
    return rc;
}

static int pass_over(void *opaque, const struct byre_partition *partition)
{
    (void)opaque;
    (void)partition;
    return 1;
}

int byre_partition_label(struct byre_disk *disk, struct byre_partition_label *ret_label, struct byre_error *err)
{
    struct byre_partition_label label = { .block = SECTOR };
    const struct walk walk = { disk, byre_get_size(disk), &label, pass_over, NULL, err };
    int rc = walk_table(&walk);

    if (rc < 0)
        return rc;
    *ret_label = label;
    return 0;
}

struct search {
    unsigned number;
    struct byre_partition *found;
};

static int look(void *opaque, const struct byre_partition *partition)
{
    struct search *search = opaque;

    if (partition->number != search->number)
        return 0;
    *search->found = *partition;
    return 1;
}

int byre_partition_find(struct byre_disk *disk, unsigned number, struct byre_partition *ret_partition,
                        struct byre_error *err)
{
    struct byre_partition found;
    struct search search = { number, &found };
    enum byre_partition_table table;
    int rc = byre_partitions(disk, look, &search, &table, err);

    if (rc < 0)
        return rc;
    if (table == BYRE_PARTITION_TABLE_NONE)
        return byre_error_set(err, -ENOENT, "There is no partition table");
    if (rc == 0)
        return byre_error_set(err, -ENOENT, "There is no partition %u", number);
    if (!found.inside)
        return byre_error_set(err, -EINVAL, "Partition %u reaches past the end of the disk", number);
    *ret_partition = found;
    return 0;
}
