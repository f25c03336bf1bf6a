/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes: in the rest of an inode, in a block that several files may share, values also in inodes of
 * their own.  Names and POSIX ACLs are as the system calls have them.  What the inode has comes first and counts.
 */
#include "config.h"

#ifdef HAVE_EXT2FS

#include "volume/ext.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"

#define ENTRY_BYTES  16u
#define BLOCK_HEADER 32u
#define BLOCK_CHECKSUM 16u
#define VALUE_MAX    65536u /* XATTR_SIZE_MAX */
#define FULL_NAME_MAX 288u
#define INDEX_SYSTEM 7u

/* Prefixes by their index; a full name where no more can come. */
static const char *const prefixes[] = {
    [1] = "user.",     [2] = "system.posix_acl_access", [3] = "system.posix_acl_default",
    [4] = "trusted.", [6] = "security.",               [INDEX_SYSTEM] = "system.",
    [8] = "system.richacl",
};

struct entry {
    unsigned index;
    char name[FULL_NAME_MAX]; /* "" if it is of no known kind */
    uint32_t value_inode, size;
    const uint8_t *value;     /* NULL: in value_inode */
};

/* One place with attributes: entries from `entries` on, values counted from `base` on, both before `end`. */
struct area {
    struct byre_ext *ext;
    const struct byre_ext_inode *inode;
    const uint8_t *base, *entries, *end;
};

/* Called for each; nonzero ends the walk and is its result. */
typedef int entry_call(void *opaque, const struct area *area, const struct entry *entry, struct byre_error *err);

static bool entry_name(struct entry *entry, const uint8_t *bytes)
{
    const char *prefix = entry->index < ARRAY_LEN(prefixes) ? prefixes[entry->index] : NULL;
    size_t length = bytes[0];

    entry->name[0] = '\0';
    if (memchr(bytes + ENTRY_BYTES, '\0', length))
        return false;
    if (prefix)
        snprintf(entry->name, sizeof entry->name, "%s%.*s", prefix, (int)length, (const char *)bytes + ENTRY_BYTES);
    return true;
}

static int walk_area(const struct area *area, entry_call *each, void *opaque, struct byre_error *err)
{
    const uint8_t *at = area->entries;
    int rc = 0;

    while (rc == 0 && area->end - at >= 4 && byre_get_le32(at)) {
        struct entry entry;
        uint32_t offset;

        if ((size_t)(area->end - at) < ENTRY_BYTES || (size_t)(area->end - at) < ENTRY_BYTES + at[0])
            return byre_ext_damaged(area->inode, err, "an attribute reaches past the end");
        entry.index = at[1];
        offset = byre_get_le16(at + 2);
        entry.value_inode = byre_get_le32(at + 4);
        entry.size = byre_get_le32(at + 8);
        entry.value = entry.value_inode ? NULL : area->base + offset;
        if (!entry_name(&entry, at) || entry.size > VALUE_MAX ||
            (entry.value && !byre_range_within(offset, entry.size, (uint64_t)(area->end - area->base))))
            return byre_ext_damaged(area->inode, err, "an attribute with %u bytes at %u", entry.size, offset);
        rc = each(opaque, area, &entry, err);
        at += byre_round_up(ENTRY_BYTES + at[0], 4);
    }
    return rc;
}

static int walk_inode(struct byre_ext *ext, const struct byre_ext_inode *inode, entry_call *each, void *opaque,
                      struct byre_error *err)
{
    CLEANUP(ext_block) struct byre_ext_block block = { .page = NULL };
    size_t at = EXT2_GOOD_OLD_INODE_SIZE + (size_t)inode->extra_bytes;
    struct area area = { .ext = ext, .inode = inode };
    const uint8_t *bytes;
    int rc;

    if (!inode->extra_bytes || at + 4 > ext->inode_size)
        return 0;
    rc = byre_ext_inode_bytes(ext, inode->number, &block, &bytes, err);
    if (rc < 0)
        return rc;
    if (byre_get_le32(bytes + at) != EXT2_EXT_ATTR_MAGIC)
        return 0;
    area.base = area.entries = bytes + at + 4;
    area.end = bytes + ext->inode_size;
    return walk_area(&area, each, opaque, err);
}

static bool block_checksum_is_right(const struct byre_ext *ext, const struct byre_ext_inode *inode,
                                    const uint8_t *bytes)
{
    uint64_t number_le = htole64(inode->attribute_block);
    uint32_t crc = ext2fs_crc32c_le(ext->checksum_seed, (const uint8_t *)&number_le, sizeof number_le);

    crc = ext2fs_crc32c_le(crc, bytes, BLOCK_CHECKSUM);
    crc = ext2fs_crc32c_le(crc, (const uint8_t[4]){ 0 }, 4);
    crc = ext2fs_crc32c_le(crc, bytes + BLOCK_CHECKSUM + 4, ext->block_size - BLOCK_CHECKSUM - 4);
    return crc == byre_get_le32(bytes + BLOCK_CHECKSUM);
}

static int walk_block(struct byre_ext *ext, const struct byre_ext_inode *inode, entry_call *each, void *opaque,
                      struct byre_error *err)
{
    CLEANUP(ext_block) struct byre_ext_block block = { .page = NULL };
    struct area area = { .ext = ext, .inode = inode };
    int rc;

    if (!inode->attribute_block)
        return 0;
    rc = byre_ext_block_get(ext, inode->attribute_block, &block, err);
    if (rc < 0) {
        byre_error_prepend(err, "inode %u: ", inode->number);
        return rc;
    }
    if (byre_get_le32(block.bytes) != EXT2_EXT_ATTR_MAGIC || byre_get_le32(block.bytes + 8) != 1)
        return byre_ext_damaged(inode, err, "block %llu has none of its attributes",
                                (unsigned long long)inode->attribute_block);
    if (ext->checksums && !block_checksum_is_right(ext, inode, block.bytes))
        return byre_ext_damaged(inode, err, "the checksum of its attributes is wrong");
    area.base = block.bytes;
    area.entries = block.bytes + BLOCK_HEADER;
    area.end = block.bytes + ext->block_size;
    return walk_area(&area, each, opaque, err);
}

static int walk(struct byre_ext *ext, const struct byre_ext_inode *inode, entry_call *each, void *opaque,
                struct byre_error *err)
{
    int rc = walk_inode(ext, inode, each, opaque, err);

    return rc != 0 ? rc : walk_block(ext, inode, each, opaque, err);
}

/* --- values ------------------------------------------------------------------------------------------------ */

static int read_value_inode(const struct area *area, const struct entry *entry, uint8_t *value,
                            struct byre_error *err)
{
    struct byre_ext_inode inode;
    int rc = byre_ext_inode_read(area->ext, entry->value_inode, &inode, err);

    if (rc < 0)
        return rc;
    if (!(inode.flags & EXT4_EA_INODE_FL) || inode.flags & EXT4_INLINE_DATA_FL || !S_ISREG(inode.mode) ||
        inode.size != entry->size)
        return byre_ext_damaged(&inode, err, "it is not the value of an attribute of inode %u", area->inode->number);
    return byre_ext_contents(area->ext, &inode, value, entry->size, 0, err);
}

static int copy_value(const struct area *area, const struct entry *entry, void **ret_value, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *value = malloc(MAX(entry->size, 1u));
    int rc = 0;

    if (!value)
        return byre_error_set_errno(err, -ENOMEM, "attribute '%s'", entry->name);
    if (entry->value)
        memcpy(value, entry->value, entry->size);
    else
        rc = read_value_inode(area, entry, value, err);
    if (rc == 0)
        *ret_value = STEAL(value);
    return rc;
}

#define ACL_DISK_VERSION   1u
#define ACL_SYSTEM_VERSION 2u
#define ACL_USER  2u
#define ACL_GROUP 8u

/* An ACL has ids only where they mean something on the disk, and everywhere in what system calls tell. */
static int acl_of_system(const struct area *area, void **value, size_t *length, struct byre_error *err)
{
    const uint8_t *from = *value, *end = from + *length;
    CLEANUP(free_ptr) uint8_t *acl = malloc(4 + 2 * *length);
    uint8_t *to = acl;

    if (!acl)
        return byre_error_set_errno(err, -ENOMEM, "access control list");
    if (*length < 4 || byre_get_le32(from) != ACL_DISK_VERSION)
        return byre_ext_damaged(area->inode, err, "its access control list is of an unknown version");
    byre_put_le32(to, ACL_SYSTEM_VERSION);
    for (from += 4, to += 4; end - from >= 4; to += 8) {
        uint16_t tag = byre_get_le16(from);
        bool named = tag == ACL_USER || tag == ACL_GROUP;

        if (named && end - from < 8)
            break;
        memcpy(to, from, 4);
        byre_put_le32(to + 4, named ? byre_get_le32(from + 4) : UINT32_MAX);
        from += named ? 8 : 4;
    }
    if (from != end)
        return byre_ext_damaged(area->inode, err, "its access control list has %zu bytes too many",
                                (size_t)(end - from));
    *length = (size_t)(to - acl);
    free(*value);
    *value = STEAL(acl);
    return 0;
}

struct wanted {
    const char *name;
    void *value;
    size_t length;
};

/* 1: that is it. */
static int take_if_wanted(void *opaque, const struct area *area, const struct entry *entry, struct byre_error *err)
{
    struct wanted *wanted = opaque;
    int rc;

    if (strcmp(entry->name, wanted->name) != 0)
        return 0;
    rc = copy_value(area, entry, &wanted->value, err);
    if (rc < 0)
        return rc;
    wanted->length = entry->size;
    if (entry->index == 2 || entry->index == 3)
        rc = acl_of_system(area, &wanted->value, &wanted->length, err);
    if (rc < 0)
        free(wanted->value);
    return rc < 0 ? rc : 1;
}

/* What is the file system's own: contents of short files. */
static bool is_internal(const char *name)
{
    return strcmp(name, "system.data") == 0;
}

int byre_ext_xattr_get(struct byre_files *files, uint64_t id, const char *name, void **ret_value, size_t *ret_length,
                       struct byre_error *err)
{
    struct byre_ext *ext = byre_ext_of(files);
    struct wanted wanted = { .name = name };
    struct byre_ext_inode inode;
    int rc = byre_ext_inode_get(ext, id, &inode, err);

    if (rc == 0 && *name && !is_internal(name))
        rc = walk(ext, &inode, take_if_wanted, &wanted, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return byre_error_set(err, -ENODATA, "there is no attribute '%s'", name);
    *ret_value = wanted.value;
    *ret_length = wanted.length;
    return 0;
}

int byre_ext_xattr_data(struct byre_ext *ext, const struct byre_ext_inode *inode, void **ret_value,
                        size_t *ret_length, struct byre_error *err)
{
    struct wanted wanted = { .name = "system.data" };
    int rc = walk_inode(ext, inode, take_if_wanted, &wanted, err);

    if (rc < 0)
        return rc;
    if (rc == 0)
        return byre_error_set(err, -ENODATA, "inode %u: it has no contents", inode->number);
    *ret_value = wanted.value;
    *ret_length = wanted.length;
    return 0;
}

/* --- the list ---------------------------------------------------------------------------------------------- */

/* Attributes of an inode and a block: names of 64 KiB cannot hold more than this. */
#define LIST_MAX (2u << 20)

struct list {
    char *names;
    size_t length, room;
};

static bool has_name(const struct list *list, const char *name)
{
    for (size_t at = 0; at < list->length; at += strlen(list->names + at) + 1) {
        if (strcmp(list->names + at, name) == 0)
            return true;
    }
    return false;
}

static int add_name(void *opaque, const struct area *area, const struct entry *entry, struct byre_error *err)
{
    size_t length = strlen(entry->name) + 1;
    struct list *list = opaque;

    (void)area;
    if (length == 1 || is_internal(entry->name) || has_name(list, entry->name))
        return 0;
    if (list->length + length > list->room) {
        size_t room = MAX(2 * list->room, list->length + length);
        char *names = room > LIST_MAX ? NULL : realloc(list->names, room);

        if (!names)
            return byre_error_set_errno(err, -ENOMEM, "names of attributes");
        list->names = names;
        list->room = room;
    }
    memcpy(list->names + list->length, entry->name, length);
    list->length += length;
    return 0;
}

int byre_ext_xattr_list(struct byre_files *files, uint64_t id, char **ret_names, size_t *ret_length,
                        struct byre_error *err)
{
    struct byre_ext *ext = byre_ext_of(files);
    struct byre_ext_inode inode;
    struct list list = { .names = NULL };
    int rc = byre_ext_inode_get(ext, id, &inode, err);

    if (rc == 0)
        rc = walk(ext, &inode, add_name, &list, err);
    if (rc < 0) {
        free(list.names);
        return rc;
    }
    *ret_names = list.names;
    *ret_length = list.length;
    return 0;
}

#endif
