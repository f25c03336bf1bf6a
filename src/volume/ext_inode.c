/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Group descriptors and inodes: from the number of a file to what is known of it, checked.
 *
 * The inodes used last are kept as they were understood, each at the place that its number has in a table of fixed
 * size.
 */
#include "config.h"

#ifdef HAVE_EXT2FS

#include "volume/ext.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"

#define CLEANUP_BLOCK CLEANUP(ext_block) struct byre_ext_block

#define DESCRIPTOR_INODE_TABLE    0x08u
#define DESCRIPTOR_CHECKSUM       0x1eu
#define DESCRIPTOR_INODE_TABLE_HI 0x28u
#define DESCRIPTOR_64             64u

#define OLD_INODE         128u
#define INODE_CHECKSUM_LO 0x7cu
#define INODE_CHECKSUM_HI 0x82u

uint64_t byre_ext_id_of(uint32_t number)
{
    if (number == EXT2_ROOT_INO)
        return BYRE_FILES_ROOT;
    return number == BYRE_FILES_ROOT ? 0 : number;
}

int byre_ext_damaged(const struct byre_ext_inode *inode, struct byre_error *err, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return byre_error_set(err, -EUCLEAN, "inode %u: %s", inode->number, text);
}

/* --- group descriptors ------------------------------------------------------------------------------------- */

/* CRC-16 of IBM, bits reflected: what file systems of before metadata_csum have. */
static uint16_t crc16_of(uint16_t crc, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc >> 1 ^ (crc & 1 ? 0xa001 : 0));
    }
    return crc;
}

static uint16_t descriptor_checksum(const struct byre_ext *ext, uint32_t group, const uint8_t *bytes)
{
    const uint32_t rest = DESCRIPTOR_CHECKSUM + 2, group_le = htole32(group), length = ext->descriptor_size;
    const uint8_t *number = (const uint8_t *)&group_le;

    if (ext->checksums) {
        uint32_t crc = ext2fs_crc32c_le(ext->checksum_seed, number, sizeof group_le);

        crc = ext2fs_crc32c_le(crc, bytes, DESCRIPTOR_CHECKSUM);
        crc = ext2fs_crc32c_le(crc, (const uint8_t[2]){ 0 }, 2);
        return (uint16_t)ext2fs_crc32c_le(crc, bytes + rest, length - rest);
    } else {
        uint16_t crc = crc16_of(0xffff, ext->fs->super->s_uuid, sizeof ext->fs->super->s_uuid);

        crc = crc16_of(crc, number, sizeof group_le);
        crc = crc16_of(crc, bytes, DESCRIPTOR_CHECKSUM);
        return length > rest ? crc16_of(crc, bytes + rest, length - rest) : crc;
    }
}

/*
 * Where a block of group descriptors is.  With clusters, blocks of 1 KiB count from 0, and what comes first is the boot
 * sector's: all that follows lies one further, which libext2fs counts for the first one alone.
 */
static uint64_t descriptor_block(const struct byre_ext *ext, uint32_t index)
{
    struct ext2_super_block *super = ext->fs->super;
    bool in_row = !ext2fs_has_feature_meta_bg(super) || index < super->s_first_meta_bg;
    bool shifted = ext->block_size == 1024 && super->s_first_data_block == 0 && in_row && index > 0;

    return ext2fs_descriptor_block_loc2(ext->fs, super->s_first_data_block, index) + shifted;
}

/* Where the inodes of a group begin. */
static int inode_table(struct byre_ext *ext, uint32_t group, uint64_t *ret_table, struct byre_error *err)
{
    uint32_t in_block = ext->block_size / ext->descriptor_size;
    uint64_t number = descriptor_block(ext, group / in_block);
    CLEANUP_BLOCK block = { .page = NULL };
    const uint8_t *bytes;
    int rc = byre_ext_block_get(ext, number, &block, err);

    if (rc < 0) {
        byre_error_prepend(err, "descriptor of group %u: ", group);
        return rc;
    }
    bytes = block.bytes + (size_t)(group % in_block) * ext->descriptor_size;
    if (ext2fs_has_group_desc_csum(ext->fs) &&
        byre_get_le16(bytes + DESCRIPTOR_CHECKSUM) != descriptor_checksum(ext, group, bytes))
        return byre_error_set(err, -EUCLEAN, "descriptor of group %u: its checksum is wrong", group);
    *ret_table = byre_get_le32(bytes + DESCRIPTOR_INODE_TABLE);
    if (ext->descriptor_size >= DESCRIPTOR_64)
        *ret_table |= (uint64_t)byre_get_le32(bytes + DESCRIPTOR_INODE_TABLE_HI) << 32;
    if (*ret_table <= ext->fs->super->s_first_data_block || *ret_table >= ext->block_count)
        return byre_error_set(err, -EUCLEAN, "descriptor of group %u: no inodes can be at block %llu", group,
                              (unsigned long long)*ret_table);
    return 0;
}

/* --- inodes ------------------------------------------------------------------------------------------------ */

int byre_ext_inode_bytes(struct byre_ext *ext, uint64_t number, struct byre_ext_block *block,
                         const uint8_t **ret_bytes, struct byre_error *err)
{
    uint32_t in_group = ext->fs->super->s_inodes_per_group;
    uint64_t table = 0, at;
    int rc;

    if (!number || number > ext->fs->super->s_inodes_count || (number - 1) / in_group >= ext->group_count)
        return byre_error_set(err, -EUCLEAN, "there is no inode %llu", (unsigned long long)number);
    rc = inode_table(ext, (uint32_t)((number - 1) / in_group), &table, err);
    if (rc < 0)
        return rc;
    at = (number - 1) % in_group * ext->inode_size;
    rc = byre_ext_block_get(ext, table + at / ext->block_size, block, err);
    if (rc < 0) {
        byre_error_prepend(err, "inode %llu: ", (unsigned long long)number);
        return rc;
    }
    *ret_bytes = block->bytes + at % ext->block_size;
    return 0;
}

static bool has_extra(const struct byre_ext_inode *inode, unsigned end)
{
    return OLD_INODE + inode->extra_bytes >= end;
}

static bool checksum_is_right(const struct byre_ext *ext, const struct byre_ext_inode *inode, const uint8_t *bytes)
{
    uint32_t stored = byre_get_le16(bytes + INODE_CHECKSUM_LO);
    uint32_t crc = ext2fs_crc32c_le(inode->seed, bytes, INODE_CHECKSUM_LO);
    bool high = has_extra(inode, INODE_CHECKSUM_HI + 2);

    crc = ext2fs_crc32c_le(crc, (const uint8_t[2]){ 0 }, 2);
    crc = ext2fs_crc32c_le(crc, bytes + INODE_CHECKSUM_LO + 2, OLD_INODE - INODE_CHECKSUM_LO - 2);
    if (ext->inode_size > OLD_INODE) {
        const uint8_t *at = bytes + OLD_INODE, *end = bytes + ext->inode_size;

        crc = ext2fs_crc32c_le(crc, at, 2);
        crc = ext2fs_crc32c_le(crc, high ? (const uint8_t[2]){ 0 } : at + 2, 2);
        crc = ext2fs_crc32c_le(crc, at + 4, (size_t)(end - at) - 4);
    }
    if (high)
        return (stored | (uint32_t)byre_get_le16(bytes + INODE_CHECKSUM_HI) << 16) == crc;
    return stored == (crc & 0xffff);
}

/* Signed seconds with two more bits, and nanoseconds, in inodes that have room for these. */
static struct timespec time_of(const struct byre_ext_inode *inode, const uint8_t *bytes, unsigned at, unsigned extra_at)
{
    struct timespec time = { .tv_sec = (int32_t)byre_get_le32(bytes + at) };
    uint32_t extra;

    if (!has_extra(inode, extra_at + 4))
        return time;
    extra = byre_get_le32(bytes + extra_at);
    time.tv_sec += (time_t)(extra & EXT4_EPOCH_MASK) << 32;
    time.tv_nsec = MIN(extra >> EXT4_EPOCH_BITS, 999999999u);
    return time;
}

static uint64_t allocated_bytes(const struct byre_ext *ext, const struct byre_ext_inode *inode, const uint8_t *bytes)
{
    uint64_t count = byre_get_le32(bytes + offsetof(struct ext2_inode, i_blocks));

    if (!ext2fs_has_feature_huge_file(ext->fs->super))
        return count * 512;
    count |= (uint64_t)byre_get_le16(bytes + offsetof(struct ext2_inode, osd2.linux2.l_i_blocks_hi)) << 32;
    count *= inode->flags & EXT4_HUGE_FILE_FL ? ext->block_size : 512;
    return MIN(count, (uint64_t)INT64_MAX);
}

static uint32_t seed_of(const struct byre_ext *ext, uint32_t number, const uint8_t *bytes)
{
    uint32_t number_le = htole32(number);
    uint32_t seed = ext2fs_crc32c_le(ext->checksum_seed, (const uint8_t *)&number_le, sizeof number_le);

    return ext2fs_crc32c_le(seed, bytes + offsetof(struct ext2_inode, i_generation), 4);
}

static void decode(const struct byre_ext *ext, const uint8_t *bytes, struct byre_ext_inode *inode)
{
#define AT(field) (bytes + offsetof(struct ext2_inode_large, field))
#define TIME(name) time_of(inode, bytes, offsetof(struct ext2_inode_large, i_##name), \
                           offsetof(struct ext2_inode_large, i_##name##_extra))
    inode->mode = byre_get_le16(AT(i_mode));
    inode->flags = byre_get_le32(AT(i_flags));
    inode->links = byre_get_le16(AT(i_links_count));
    inode->uid = byre_get_le16(AT(i_uid)) | (uint32_t)byre_get_le16(AT(osd2.linux2.l_i_uid_high)) << 16;
    inode->gid = byre_get_le16(AT(i_gid)) | (uint32_t)byre_get_le16(AT(osd2.linux2.l_i_gid_high)) << 16;
    inode->size = byre_get_le32(AT(i_size));
    if (S_ISREG(inode->mode) || ext2fs_has_feature_largedir(ext->fs->super))
        inode->size |= (uint64_t)byre_get_le32(AT(i_size_high)) << 32;
    inode->allocated = allocated_bytes(ext, inode, bytes);
    inode->attribute_block = byre_get_le32(AT(i_file_acl));
    if (ext2fs_has_feature_64bit(ext->fs->super))
        inode->attribute_block |= (uint64_t)byre_get_le16(AT(osd2.linux2.l_i_file_acl_high)) << 32;
    inode->accessed = TIME(atime);
    inode->modified = TIME(mtime);
    inode->changed = TIME(ctime);
    if (has_extra(inode, offsetof(struct ext2_inode_large, i_crtime_extra)))
        inode->created = TIME(crtime);
    memcpy(inode->map, AT(i_block), sizeof inode->map);
#undef AT
#undef TIME
}

static int check_size(const struct byre_ext *ext, const struct byre_ext_inode *inode, struct byre_error *err)
{
    uint64_t room = INT64_MAX;

    if ((S_ISREG(inode->mode) || S_ISDIR(inode->mode)) && !(inode->flags & EXT4_INLINE_DATA_FL))
        room = byre_ext_map_room(ext, inode) * ext->block_size;
    if (inode->size > room)
        return byre_ext_damaged(inode, err, "i_size is %llu, more than the %llu bytes that there can be",
                                (unsigned long long)inode->size, (unsigned long long)room);
    return 0;
}

static int read_inode(struct byre_ext *ext, uint64_t number, struct byre_ext_inode *inode, struct byre_error *err)
{
    CLEANUP_BLOCK block = { .page = NULL };
    const uint8_t *bytes;
    int rc = byre_ext_inode_bytes(ext, number, &block, &bytes, err);

    if (rc < 0)
        return rc;
    *inode = (struct byre_ext_inode){ .number = (uint32_t)number, .seed = seed_of(ext, (uint32_t)number, bytes) };
    if (ext->inode_size > OLD_INODE)
        inode->extra_bytes = byre_get_le16(bytes + OLD_INODE);
    if (inode->extra_bytes > ext->inode_size - OLD_INODE || inode->extra_bytes % 4)
        return byre_ext_damaged(inode, err, "i_extra_isize is %u", inode->extra_bytes);
    if (ext->checksums && !checksum_is_right(ext, inode, bytes))
        return byre_ext_damaged(inode, err, "its checksum is wrong");
    decode(ext, bytes, inode);
    if (!inode->mode || !inode->links)
        return byre_ext_damaged(inode, err, "it is not in use");
    rc = check_size(ext, inode, err);
    if (rc < 0)
        return rc;
    switch (inode->mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        return 0;
    default:
        return byre_ext_damaged(inode, err, "i_mode is 0%o", inode->mode);
    }
}

int byre_ext_inode_read(struct byre_ext *ext, uint64_t number, struct byre_ext_inode *ret_inode,
                        struct byre_error *err)
{
    struct byre_ext_inode *kept = &ext->inodes[number % EXT_INODES_KEPT], inode;
    bool found;
    int rc;

    pthread_mutex_lock(&ext->inodes_mutex);
    found = number && kept->number == number;
    if (found)
        *ret_inode = *kept;
    pthread_mutex_unlock(&ext->inodes_mutex);
    if (found)
        return 0;
    rc = read_inode(ext, number, &inode, err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&ext->inodes_mutex);
    *kept = inode;
    pthread_mutex_unlock(&ext->inodes_mutex);
    *ret_inode = inode;
    return 0;
}

int byre_ext_inode_get(struct byre_ext *ext, uint64_t id, struct byre_ext_inode *ret_inode, struct byre_error *err)
{
    if (id == BYRE_FILES_ROOT)
        id = EXT2_ROOT_INO;
    else if (id < EXT2_FIRST_INO(ext->fs->super))
        return byre_error_set(err, -EUCLEAN, "inode %llu is none of a file", (unsigned long long)id);
    return byre_ext_inode_read(ext, id, ret_inode, err);
}

#endif
