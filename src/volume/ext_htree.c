/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The index of a large directory: a tree of hashes of names, by which a name is found without reading all blocks.
 *
 * It is believed only where it is sound: what is wrong with it makes the search fail, and the caller look at all
 * blocks.
 */
#include "config.h"

#ifdef HAVE_EXT2FS

#include "volume/ext.h"

#include <errno.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"

#define LEVELS_MAX   4u   /* of nodes */
#define LEAVES_MAX   4096u /* with names of one hash */
#define ROOT_INFO    24u  /* behind "." and ".." */
#define INFO_BYTES   8u
#define NODE_START   8u   /* behind an entry that is not in use */
#define ENTRY_BYTES  8u   /* hash and block; the first one has its counts in place of a hash */
#define TAIL_BYTES   8u
#define BLOCK_MASK   0x0fffffffu

struct node {
    struct byre_ext_block block;
    const uint8_t *entries;
    unsigned count, at;
};

struct search {
    struct byre_ext *ext;
    const struct byre_ext_inode *inode;
    uint32_t hash;
    unsigned levels;
    struct node nodes[LEVELS_MAX];
};

static uint32_t hash_of(const struct node *node, unsigned i)
{
    return i ? byre_get_le32(node->entries + (size_t)i * ENTRY_BYTES) : 0;
}

static uint32_t block_of(const struct node *node)
{
    return byre_get_le32(node->entries + (size_t)node->at * ENTRY_BYTES + 4) & BLOCK_MASK;
}

/* Over the entries that there are, and the rest of the tail. */
static bool checksum_is_right(const struct search *search, const struct node *node, unsigned limit)
{
    const uint8_t *bytes = node->block.bytes, *tail = node->entries + (size_t)limit * ENTRY_BYTES;
    size_t length = (size_t)(node->entries - bytes) + (size_t)node->count * ENTRY_BYTES;
    uint32_t crc = ext2fs_crc32c_le(search->inode->seed, bytes, length);

    crc = ext2fs_crc32c_le(crc, tail, 4);
    return ext2fs_crc32c_le(crc, (const uint8_t[4]){ 0 }, 4) == byre_get_le32(tail + 4);
}

/* Entries from `start` on in a block that is held; 0 or -ENODATA. */
static int read_node(const struct search *search, struct node *node, unsigned start)
{
    unsigned room = (search->ext->block_size - start) / ENTRY_BYTES, limit;

    node->entries = node->block.bytes + start;
    limit = byre_get_le16(node->entries);
    node->count = byre_get_le16(node->entries + 2);
    if (!node->count || node->count > limit || limit > room)
        return -ENODATA;
    if (!search->ext->checksums || byre_ext_is_judged(&node->block, search->inode->seed))
        return 0;
    if (start + limit * ENTRY_BYTES + TAIL_BYTES > search->ext->block_size || !checksum_is_right(search, node, limit))
        return -ENODATA;
    byre_ext_set_judged(&node->block, search->inode->seed);
    return 0;
}

/* The last entry whose hash is not larger. */
static void seek_node(struct node *node, uint32_t hash)
{
    unsigned low = 1, high = node->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (hash_of(node, middle) <= hash)
            low = middle + 1;
        else
            high = middle;
    }
    node->at = low - 1;
}

static int open_node(struct search *search, unsigned level, uint64_t block)
{
    struct node *node = &search->nodes[level];
    int rc;

    byre_ext_block_put(&node->block);
    if (block >= search->inode->size / search->ext->block_size)
        return -ENODATA;
    rc = byre_ext_directory_block(search->ext, search->inode, block, &node->block, NULL);
    return rc < 0 ? rc : read_node(search, node, NODE_START);
}

static int hash_name(const struct search *search, unsigned version, const struct byre_ext_name *name,
                     uint32_t *ret_hash)
{
    const struct ext2_super_block *super = search->ext->fs->super;

    if (version <= EXT2_HASH_TEA && super->s_flags & EXT2_FLAGS_UNSIGNED_HASH)
        version += EXT2_HASH_LEGACY_UNSIGNED;
    if (version > EXT2_HASH_TEA_UNSIGNED ||
        ext2fs_dirhash2((int)version, name->bytes, (int)name->length, NULL, 0, super->s_hash_seed, ret_hash, NULL))
        return -ENODATA;
    return 0;
}

/* The root, and what it says of the tree. */
static int open_root(struct search *search, const struct byre_ext_name *name)
{
    struct node *root = &search->nodes[0];
    const uint8_t *info;
    int rc = byre_ext_directory_block(search->ext, search->inode, 0, &root->block, NULL);

    if (rc < 0)
        return rc;
    info = root->block.bytes + ROOT_INFO;
    search->levels = info[6] + 1u;
    if (byre_get_le32(info) || info[5] != INFO_BYTES || search->levels > LEVELS_MAX)
        return -ENODATA;
    rc = read_node(search, root, ROOT_INFO + INFO_BYTES);
    return rc < 0 ? rc : hash_name(search, info[4], name, &search->hash);
}

/* From the node of a level, whose place is known, down to a leaf. */
static int descend(struct search *search, unsigned level)
{
    int rc = 0;

    while (rc == 0 && ++level < search->levels) {
        rc = open_node(search, level, block_of(&search->nodes[level - 1]));
        if (rc == 0)
            seek_node(&search->nodes[level], search->hash);
    }
    return rc;
}

/* To the next leaf, if names of the same hash go on there: 1; else 0. */
static int next_leaf(struct search *search)
{
    unsigned level = search->levels;
    int rc;

    while (level-- > 0) {
        struct node *node = &search->nodes[level];

        if (node->at + 1 >= node->count)
            continue;
        if ((hash_of(node, node->at + 1) & ~1u) != search->hash)
            return 0;
        node->at++;
        for (rc = 0; rc == 0 && ++level < search->levels; ) {
            rc = open_node(search, level, block_of(&search->nodes[level - 1]));
            search->nodes[level].at = 0;
        }
        return rc < 0 ? rc : 1;
    }
    return 0;
}

static int search_leaves(struct search *search, const struct byre_ext_name *name, uint32_t *ret_number)
{
    uint64_t blocks = search->inode->size / search->ext->block_size;
    int rc;

    seek_node(&search->nodes[0], search->hash);
    rc = descend(search, 0);
    /* Leaves may be said to be one and the same: where there are too many, a search of all blocks takes less. */
    for (unsigned i = 0; rc == 0 && i < LEAVES_MAX; i++) {
        uint32_t block = block_of(&search->nodes[search->levels - 1]);

        if (!block || block >= blocks)
            return -ENODATA;
        rc = byre_ext_directory_search(search->ext, search->inode, block, name, ret_number, NULL);
        if (rc != 0)
            return rc;
        rc = next_leaf(search);
        if (rc <= 0)
            return rc;
        rc = 0;
    }
    return rc < 0 ? rc : -ENODATA;
}

int byre_ext_htree_search(struct byre_ext *ext, const struct byre_ext_inode *inode, const struct byre_ext_name *name,
                          uint32_t *ret_number, struct byre_error *err)
{
    struct search search = { .ext = ext, .inode = inode };
    int rc = -ENODATA;

    if (inode->flags & EXT2_INDEX_FL && !(inode->flags & EXT4_CASEFOLD_FL) &&
        ext2fs_has_feature_dir_index(ext->fs->super))
        rc = open_root(&search, name);
    if (rc == 0)
        rc = search_leaves(&search, name, ret_number);
    else if (rc != -ENODATA)
        rc = byre_error_set(err, rc, "the index of the directory cannot be read");
    for (unsigned i = 0; i < LEVELS_MAX; i++)
        byre_ext_block_put(&search.nodes[i].block);
    return rc;
}

#endif
