/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a block of a file to where it lies: trees of extents (ext4), and lists of blocks with up to three steps of
 * indirection (ext2 and ext3).
 *
 * A node of extents is judged once as a whole, with its checksum (X3): entries in order, none of them past the end of
 * the file system.  Numbers in blocks of indirection are checked when they are used.
 */
#include "config.h"

#ifdef HAVE_EXT2FS

#include "volume/ext.h"

#include <errno.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"

#define BLOCKS_MAX (UINT64_C(1) << 32) /* of a file: numbers have 32 bits */
#define FOREVER    (UINT64_C(1) << 63) /* a hole behind all of them */

static bool is_block(const struct byre_ext *ext, uint64_t number, uint64_t count)
{
    return number > ext->fs->super->s_first_data_block && byre_range_within(number, count, ext->block_count);
}

/* --- extents ----------------------------------------------------------------------------------------------- */

#define NODE_MAGIC  0xf30au
#define NODE_HEADER 12u
#define NODE_ENTRY  12u
#define WRITTEN_MAX 32768u /* extents that are said to be longer are this much shorter, and never written */

struct node {
    const uint8_t *bytes;
    uint64_t start, end; /* the part of the file that it has */
    unsigned count, depth;
};

static const uint8_t *entry_of(const struct node *node, unsigned i)
{
    return node->bytes + NODE_HEADER + (size_t)i * NODE_ENTRY;
}

static uint64_t entry_first(const struct node *node, unsigned i)
{
    return byre_get_le32(entry_of(node, i));
}

static uint64_t entry_length(const struct node *node, unsigned i)
{
    unsigned length = byre_get_le16(entry_of(node, i) + 4);

    return length > WRITTEN_MAX ? length - WRITTEN_MAX : length;
}

static bool entry_is_written(const struct node *node, unsigned i)
{
    return byre_get_le16(entry_of(node, i) + 4) <= WRITTEN_MAX;
}

/* Where its data begin, or its child is. */
static uint64_t entry_block(const struct node *node, unsigned i)
{
    const uint8_t *entry = entry_of(node, i);

    if (node->depth)
        return byre_get_le32(entry + 4) | (uint64_t)byre_get_le16(entry + 8) << 32;
    return byre_get_le32(entry + 8) | (uint64_t)byre_get_le16(entry + 6) << 32;
}

static int judge_entries(const struct byre_ext *ext, const struct byre_ext_inode *inode, const struct node *node,
                         struct byre_error *err)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < node->count; i++) {
        uint64_t first = entry_first(node, i), length = node->depth ? 1 : entry_length(node, i);

        if (first < end || !length || first + length > BLOCKS_MAX)
            return byre_ext_damaged(inode, err, "an extent of %llu blocks at %llu is where none can be",
                                    (unsigned long long)length, (unsigned long long)first);
        if (!is_block(ext, entry_block(node, i), length))
            return byre_ext_damaged(inode, err, "an extent leads to block %llu, which is none of data",
                                    (unsigned long long)entry_block(node, i));
        end = first + length;
    }
    return 0;
}

/* Reads the header of a node in `size` bytes. */
static int node_open(const struct byre_ext_inode *inode, struct node *node, unsigned size, struct byre_error *err)
{
    unsigned magic = byre_get_le16(node->bytes), max = byre_get_le16(node->bytes + 4);

    node->count = byre_get_le16(node->bytes + 2);
    node->depth = byre_get_le16(node->bytes + 6);
    if (magic != NODE_MAGIC || node->count > max || NODE_HEADER + max * NODE_ENTRY > size ||
        node->depth > EXT_DEPTH_MAX)
        return byre_ext_damaged(inode, err, "a node of its extents is damaged");
    return 0;
}

static int judge_block(const struct byre_ext *ext, const struct byre_ext_inode *inode, const struct node *node,
                       const struct byre_ext_block *block, struct byre_error *err)
{
    size_t tail = NODE_HEADER + (size_t)byre_get_le16(node->bytes + 4) * NODE_ENTRY;
    int rc;

    if (byre_ext_is_judged(block, inode->seed))
        return 0;
    if (ext->checksums && (tail + 4 > ext->block_size ||
                           byre_get_le32(node->bytes + tail) != ext2fs_crc32c_le(inode->seed, node->bytes, tail)))
        return byre_ext_damaged(inode, err, "the checksum of a node of its extents is wrong");
    rc = judge_entries(ext, inode, node, err);
    if (rc == 0)
        byre_ext_set_judged(block, inode->seed);
    return rc;
}

/* The number of entries that begin at `first` or before. */
static unsigned entries_until(const struct node *node, uint64_t first)
{
    unsigned low = 0, high = node->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (entry_first(node, middle) <= first)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The run at `first`, which is in the leaf's part, after `i` entries that begin no later. */
static void leaf_run(const struct node *node, unsigned i, uint64_t first, struct byre_ext_run *run)
{
    uint64_t end = i < node->count ? MIN(entry_first(node, i), node->end) : node->end, skip;

    *run = (struct byre_ext_run){ .first = first, .count = end - first };
    if (i == 0)
        return;
    skip = first - entry_first(node, i - 1);
    if (skip >= entry_length(node, i - 1))
        return;
    run->count = MIN(entry_length(node, i - 1) - skip, run->count);
    run->data = entry_is_written(node, i - 1);
    run->block = run->data ? entry_block(node, i - 1) + skip : 0;
}

static int map_extents(struct byre_ext *ext, const struct byre_ext_inode *inode, uint64_t first,
                       struct byre_ext_run *run, struct byre_error *err)
{
    struct node node = { .bytes = inode->map, .start = 0, .end = BLOCKS_MAX };
    CLEANUP(ext_block) struct byre_ext_block block = { .page = NULL };
    int rc = node_open(inode, &node, EXT_MAP_BYTES, err);

    if (rc == 0)
        rc = judge_entries(ext, inode, &node, err);
    while (rc == 0) {
        unsigned i = entries_until(&node, first), depth = node.depth;
        uint64_t number;

        if (node.count && entry_first(&node, 0) < node.start)
            return byre_ext_damaged(inode, err, "a node of its extents is about blocks that are not its own");
        if (!depth || !i) {
            leaf_run(&node, i, first, run);
            return 0;
        }
        number = entry_block(&node, i - 1);
        node.start = entry_first(&node, i - 1);
        node.end = i < node.count ? MIN(entry_first(&node, i), node.end) : node.end;
        byre_ext_block_put(&block);
        rc = byre_ext_block_get(ext, number, &block, err);
        if (rc < 0) {
            byre_error_prepend(err, "inode %u: ", inode->number);
            return rc;
        }
        node.bytes = block.bytes;
        rc = node_open(inode, &node, ext->block_size, err);
        if (rc == 0 && node.depth != depth - 1)
            rc = byre_ext_damaged(inode, err, "a node of its extents has the wrong depth");
        if (rc == 0)
            rc = judge_block(ext, inode, &node, &block, err);
    }
    return rc;
}

/* --- lists of blocks --------------------------------------------------------------------------------------- */

#define DIRECT 12u

/* Entries from `i` on that are one run, of those that there are. */
static int list_run(const struct byre_ext *ext, const struct byre_ext_inode *inode, const uint8_t *list, uint64_t i,
                    uint64_t entries, struct byre_ext_run *run, struct byre_error *err)
{
    uint32_t number = byre_get_le32(list + 4 * i);
    uint64_t count = 1;

    while (i + count < entries && byre_get_le32(list + 4 * (i + count)) == (number ? number + count : 0))
        count++;
    if (number && !is_block(ext, number, count)) {
        count = 1; /* those before the bad one are good */
        while (is_block(ext, number, count + 1))
            count++;
        if (!is_block(ext, number, 1))
            return byre_ext_damaged(inode, err, "its block %llu is said to be block %u, which is none of data",
                                    (unsigned long long)run->first, number);
    }
    run->count = count;
    run->data = number != 0;
    run->block = number;
    return 0;
}

/* Block `at` of those below an entry of the inode's list, `steps` of indirection away. */
static int map_indirect(struct byre_ext *ext, const struct byre_ext_inode *inode, unsigned steps, uint64_t at,
                        struct byre_ext_run *run, struct byre_error *err)
{
    uint64_t entries = ext->block_size / 4, span = 1, number = byre_get_le32(inode->map + 4 * (DIRECT + steps - 1));
    CLEANUP(ext_block) struct byre_ext_block block = { .page = NULL };
    int rc;

    for (unsigned i = 0; i < steps; i++)
        span *= entries;
    for (;; number = byre_get_le32(block.bytes + 4 * (at / span)), at %= span) {
        if (!number) {
            *run = (struct byre_ext_run){ .first = run->first, .count = span - at };
            return 0;
        }
        if (!is_block(ext, number, 1))
            return byre_ext_damaged(inode, err, "a list of its blocks is said to be block %llu, which is none of data",
                                    (unsigned long long)number);
        byre_ext_block_put(&block);
        rc = byre_ext_block_get(ext, number, &block, err);
        if (rc < 0) {
            byre_error_prepend(err, "inode %u: ", inode->number);
            return rc;
        }
        span /= entries;
        if (span == 1)
            return list_run(ext, inode, block.bytes, at, entries, run, err);
    }
}

static int map_list(struct byre_ext *ext, const struct byre_ext_inode *inode, uint64_t first,
                    struct byre_ext_run *run, struct byre_error *err)
{
    uint64_t span = 1, at = first;

    if (first < DIRECT)
        return list_run(ext, inode, inode->map, first, DIRECT, run, err);
    at -= DIRECT;
    for (unsigned steps = 1; steps <= 3; steps++, at -= span) {
        span *= ext->block_size / 4;
        if (at < span)
            return map_indirect(ext, inode, steps, at, run, err);
    }
    run->count = FOREVER - first;
    return 0;
}

uint64_t byre_ext_map_room(const struct byre_ext *ext, const struct byre_ext_inode *inode)
{
    uint64_t blocks = DIRECT, span = 1;

    if (inode->flags & EXT4_EXTENTS_FL)
        return BLOCKS_MAX;
    for (unsigned steps = 1; steps <= 3; steps++)
        blocks += span *= ext->block_size / 4;
    return MIN(blocks, BLOCKS_MAX);
}

int byre_ext_map(struct byre_ext *ext, const struct byre_ext_inode *inode, uint64_t first,
                 struct byre_ext_run *ret_run, struct byre_error *err)
{
    struct byre_ext_run run = { .first = first, .count = FOREVER - first };
    int rc = 0;

    if (first < BLOCKS_MAX)
        rc = inode->flags & EXT4_EXTENTS_FL ? map_extents(ext, inode, first, &run, err)
                                            : map_list(ext, inode, first, &run, err);
    if (rc == 0)
        *ret_run = run;
    return rc;
}

#endif
