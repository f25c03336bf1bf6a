/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories: entries in blocks, or in the inode.  A cursor is the offset in bytes behind an entry; a walk that goes
 * on there begins at the block that the cursor is in.
 *
 *   N1. Entries of a piece (a block; the two parts of a directory in an inode) follow one another and end with it; one
 *       that would not is an error, after those before it were told.
 *   N2. Blocks of a directory may be said to be one and the same, so that its size costs nothing: it is no larger than
 *       the file system, as far as that is on the disk, and has DIRECTORY_BLOCKS_MAX at most; a name is searched for
 *       without the help of an index in SEARCHED_MAX bytes at most.  Without large_dir no directory has more than
 *       4 GiB; one that has grew by its index, which is still there unless it is damaged.
 */
#include "config.h"

#ifdef HAVE_EXT2FS

#include "volume/ext.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"

#define DIRECTORY_BLOCKS_MAX (1u << 24) /* a thousand million files in blocks of 4 KiB */
#define SEARCHED_MAX         (UINT64_C(1) << 32)

#define ENTRY_HEADER 8u
#define TAIL_BYTES   12u
#define TAIL_MARK    0xde000000u /* where an entry has the lengths of its name and itself */

/* --- entries ----------------------------------------------------------------------------------------------- */

struct entry {
    uint32_t number; /* 0: it is no entry */
    unsigned length; /* of all of it */
    unsigned type;
    struct byre_ext_name name;
};

/* Bytes that entries fill to the end, `offset` bytes into the directory. */
struct piece {
    const struct byre_ext *ext;
    const struct byre_ext_inode *inode;
    const uint8_t *bytes;
    uint32_t length;
    uint64_t offset;
};

/* The length of an entry in blocks of 64 KiB, where 16 bits are one too few. */
static unsigned entry_length(const struct byre_ext *ext, const uint8_t *bytes)
{
    unsigned length = byre_get_le16(bytes + 4);

    if (ext->block_size < 65536)
        return length;
    return length == 65535 || length == 0 ? ext->block_size : (length & 65532) | (length & 3) << 16;
}

static int read_entry(const struct piece *piece, uint32_t at, struct entry *entry, struct byre_error *err)
{
    const uint8_t *bytes = piece->bytes + at;
    uint32_t left = piece->length - at;
    unsigned name_length;

    if (left < ENTRY_HEADER)
        goto bad;
    entry->number = byre_get_le32(bytes);
    entry->length = entry_length(piece->ext, bytes);
    name_length = bytes[6];
    entry->type = bytes[7];
    if (!ext2fs_has_feature_filetype(piece->ext->fs->super)) {
        name_length = byre_get_le16(bytes + 6);
        entry->type = EXT2_FT_UNKNOWN;
    }
    if (entry->length < ENTRY_HEADER || entry->length % 4 || entry->length > left)
        goto bad;
    if (entry->number && (name_length > EXT2_NAME_LEN || name_length > entry->length - ENTRY_HEADER))
        goto bad;
    entry->name = (struct byre_ext_name){ (const char *)bytes + ENTRY_HEADER, name_length };
    return 0;
bad:
    return byre_ext_damaged(piece->inode, err, "the entry at %llu of the directory is damaged",
                            (unsigned long long)(piece->offset + at));
}

/* --- blocks ------------------------------------------------------------------------------------------------ */

/* Is it a block of an index?  Such look like one entry that is not in use; the first one has "." and "..", too. */
static bool is_index(const struct byre_ext *ext, const struct byre_ext_inode *inode, uint64_t block,
                     const uint8_t *bytes)
{
    if (!(inode->flags & EXT2_INDEX_FL))
        return false;
    return block == 0 || (!byre_get_le32(bytes) && entry_length(ext, bytes) == ext->block_size);
}

/* The checksum at the end of a block of entries. */
static bool leaf_checksum_is_right(const struct byre_ext *ext, const struct byre_ext_inode *inode,
                                   const uint8_t *bytes)
{
    const uint8_t *tail = bytes + ext->block_size - TAIL_BYTES;

    if (byre_get_le32(tail) || byre_get_le32(tail + 4) != (TAIL_MARK | TAIL_BYTES))
        return false;
    return byre_get_le32(tail + 8) == ext2fs_crc32c_le(inode->seed, bytes, ext->block_size - TAIL_BYTES);
}

int byre_ext_directory_block(struct byre_ext *ext, const struct byre_ext_inode *inode, uint64_t block,
                             struct byre_ext_block *ret_block, struct byre_error *err)
{
    struct byre_ext_run run;
    int rc = byre_ext_map(ext, inode, block, &run, err);

    if (rc < 0)
        return rc;
    if (!run.data)
        return byre_ext_damaged(inode, err, "block %llu of the directory is a hole", (unsigned long long)block);
    rc = byre_ext_block_get(ext, run.block, ret_block, err);
    if (rc < 0)
        byre_error_prepend(err, "inode %u: ", inode->number);
    return rc;
}

/* A block that is about to be walked. */
static int open_piece(struct byre_ext *ext, const struct byre_ext_inode *inode, uint64_t block,
                      struct byre_ext_block *ret_block, struct piece *piece, struct byre_error *err)
{
    int rc = byre_ext_directory_block(ext, inode, block, ret_block, err);

    if (rc < 0)
        return rc;
    *piece = (struct piece){ ext, inode, ret_block->bytes, ext->block_size, block * ext->block_size };
    if (!ext->checksums || byre_ext_is_judged(ret_block, inode->seed) || is_index(ext, inode, block, piece->bytes))
        return 0;
    if (!leaf_checksum_is_right(ext, inode, piece->bytes)) {
        byre_ext_block_put(ret_block);
        return byre_ext_damaged(inode, err, "the checksum of block %llu of the directory is wrong",
                                (unsigned long long)block);
    }
    byre_ext_set_judged(ret_block, inode->seed);
    return 0;
}

/* --- searching --------------------------------------------------------------------------------------------- */

static int search_piece(const struct piece *piece, const struct byre_ext_name *name, uint32_t *ret_number,
                        struct byre_error *err)
{
    struct entry entry;

    for (uint32_t at = 0; at < piece->length; at += entry.length) {
        int rc = read_entry(piece, at, &entry, err);

        if (rc < 0)
            return rc;
        if (entry.number && entry.name.length == name->length &&
            memcmp(entry.name.bytes, name->bytes, name->length) == 0) {
            *ret_number = entry.number;
            return 1;
        }
    }
    return 0;
}

int byre_ext_directory_search(struct byre_ext *ext, const struct byre_ext_inode *inode, uint64_t block,
                              const struct byre_ext_name *name, uint32_t *ret_number, struct byre_error *err)
{
    CLEANUP(ext_block) struct byre_ext_block held = { .page = NULL };
    struct piece piece;
    int rc = open_piece(ext, inode, block, &held, &piece, err);

    return rc < 0 ? rc : search_piece(&piece, name, ret_number, err);
}

/* Contents of a directory in its inode: the number of the one above it, then entries up to the end of each part. */
struct inline_directory {
    uint8_t *bytes;
    size_t length;
    unsigned count;
    struct piece pieces[2];
};

static int open_inline(struct byre_ext *ext, const struct byre_ext_inode *inode, struct inline_directory *directory,
                       struct byre_error *err)
{
    const uint32_t start = EXT4_INLINE_DATA_DOTDOT_SIZE, end = EXT_MAP_BYTES;
    int rc = byre_ext_inline_read(ext, inode, &directory->bytes, &directory->length, err);

    if (rc < 0)
        return rc;
    if (directory->length < end) {
        free(directory->bytes);
        return byre_ext_damaged(inode, err, "a directory of %zu bytes", directory->length);
    }
    directory->pieces[0] = (struct piece){ ext, inode, directory->bytes + start, end - start, start };
    directory->pieces[1] =
        (struct piece){ ext, inode, directory->bytes + end, (uint32_t)(directory->length - end), end };
    directory->count = directory->length > end ? 2 : 1;
    return 0;
}

static int search_inline(struct byre_ext *ext, const struct byre_ext_inode *inode, const struct byre_ext_name *name,
                         uint32_t *ret_number, struct byre_error *err)
{
    struct inline_directory directory;
    int rc = open_inline(ext, inode, &directory, err), now = 0;

    if (rc < 0)
        return rc;
    for (unsigned i = 0; now <= 0 && i < directory.count; i++) {
        now = search_piece(&directory.pieces[i], name, ret_number, rc == 0 ? err : NULL);
        rc = rc == 0 ? now : rc;
    }
    free(directory.bytes);
    return now > 0 ? now : rc;
}

/* All blocks one after another; one that is damaged does not hide what is behind it. */
static int search_blocks(struct byre_ext *ext, const struct byre_ext_inode *inode, const struct byre_ext_name *name,
                         uint32_t *ret_number, struct byre_error *err)
{
    int rc = 0, now = 0;

    if (inode->size > SEARCHED_MAX)
        return byre_ext_damaged(inode, err, "the directory of %llu bytes (i_size) has no index that is sound",
                                (unsigned long long)inode->size);
    for (uint64_t i = 0; now <= 0 && i < inode->size / ext->block_size; i++) {
        now = byre_ext_directory_search(ext, inode, i, name, ret_number, rc == 0 ? err : NULL);
        rc = rc == 0 ? now : rc;
    }
    return now > 0 ? now : rc;
}

static int search(struct byre_ext *ext, const struct byre_ext_inode *inode, const struct byre_ext_name *name,
                  uint32_t *ret_number, struct byre_error *err)
{
    int rc;

    if (inode->flags & EXT4_INLINE_DATA_FL)
        return search_inline(ext, inode, name, ret_number, err);
    rc = byre_ext_htree_search(ext, inode, name, ret_number, NULL);
    return rc >= 0 ? rc : search_blocks(ext, inode, name, ret_number, err);
}

static int get_directory(struct byre_ext *ext, uint64_t id, struct byre_ext_inode *inode, struct byre_error *err)
{
    uint64_t blocks = MIN(ext->block_count, byre_filesystem_there(&ext->files) / ext->block_size);
    int rc = byre_ext_inode_get(ext, id, inode, err);

    if (rc < 0)
        return rc;
    if (!S_ISDIR(inode->mode))
        return byre_error_set(err, -ENOTDIR, "it is no directory");
    rc = byre_ext_readable(inode, err);
    if (rc < 0 || inode->flags & EXT4_INLINE_DATA_FL)
        return rc;
    if (!inode->size || inode->size % ext->block_size ||
        inode->size / ext->block_size > MIN(blocks, DIRECTORY_BLOCKS_MAX))
        return byre_ext_damaged(inode, err, "a directory of %llu bytes (i_size)", (unsigned long long)inode->size);
    return 0;
}

/* Can it be shown? */
static bool is_name(const struct byre_ext_name *name)
{
    const char *bytes = name->bytes;

    if (!name->length || memchr(bytes, '/', name->length) || memchr(bytes, '\0', name->length))
        return false;
    return bytes[0] != '.' || (name->length != 1 && (name->length != 2 || bytes[1] != '.'));
}

int byre_ext_lookup(struct byre_files *files, uint64_t directory, const char *name, uint64_t *ret_id,
                    struct byre_error *err)
{
    struct byre_ext *ext = byre_ext_of(files);
    struct byre_ext_name wanted = { name, strlen(name) };
    struct byre_ext_inode inode;
    uint32_t number;
    int rc = get_directory(ext, directory, &inode, err);

    if (rc == 0 && is_name(&wanted))
        rc = search(ext, &inode, &wanted, &number, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return byre_error_set(err, -ENOENT, "'%s' is not there", name);
    *ret_id = byre_ext_id_of(number);
    return 0;
}

/* --- lists ------------------------------------------------------------------------------------------------- */

struct teller {
    uint64_t cursor;
    int (*each)(void *opaque, const struct byre_files_entry *entry);
    void *opaque;
};

static int tell(const struct teller *teller, const struct entry *entry, uint64_t next)
{
    static const mode_t types[EXT2_FT_MAX] = {
        [EXT2_FT_REG_FILE] = S_IFREG, [EXT2_FT_DIR] = S_IFDIR,   [EXT2_FT_CHRDEV] = S_IFCHR, [EXT2_FT_BLKDEV] = S_IFBLK,
        [EXT2_FT_FIFO] = S_IFIFO,     [EXT2_FT_SOCK] = S_IFSOCK, [EXT2_FT_SYMLINK] = S_IFLNK,
    };
    char name[EXT2_NAME_LEN + 1];
    struct byre_files_entry told = {
        .name = name,
        .id = byre_ext_id_of(entry->number),
        .type = types[entry->type % EXT2_FT_MAX],
        .next = next,
    };

    memcpy(name, entry->name.bytes, entry->name.length);
    name[entry->name.length] = '\0';
    return teller->each(teller->opaque, &told);
}

static int list_piece(const struct piece *piece, const struct teller *teller, struct byre_error *err)
{
    struct entry entry;
    int rc = 0;

    for (uint32_t at = 0; rc == 0 && at < piece->length; at += entry.length) {
        rc = read_entry(piece, at, &entry, err);
        if (rc == 0 && piece->offset + at >= teller->cursor && entry.number && is_name(&entry.name))
            rc = tell(teller, &entry, piece->offset + at + entry.length);
    }
    return rc;
}

static int list_inline(struct byre_ext *ext, const struct byre_ext_inode *inode, const struct teller *teller,
                       struct byre_error *err)
{
    struct inline_directory directory;
    int rc = open_inline(ext, inode, &directory, err);

    if (rc < 0)
        return rc;
    for (unsigned i = 0; rc == 0 && i < directory.count; i++)
        rc = list_piece(&directory.pieces[i], teller, err);
    free(directory.bytes);
    return rc;
}

int byre_ext_list(struct byre_files *files, uint64_t directory, uint64_t cursor,
                  int (*each)(void *opaque, const struct byre_files_entry *entry), void *opaque,
                  struct byre_error *err)
{
    const struct teller teller = { .cursor = cursor, .each = each, .opaque = opaque };
    struct byre_ext *ext = byre_ext_of(files);
    struct byre_ext_inode inode;
    int rc = get_directory(ext, directory, &inode, err);

    if (rc < 0)
        return rc;
    if (inode.flags & EXT4_INLINE_DATA_FL)
        return list_inline(ext, &inode, &teller, err);
    for (uint64_t i = cursor / ext->block_size; rc == 0 && i < inode.size / ext->block_size; i++) {
        CLEANUP(ext_block) struct byre_ext_block block = { .page = NULL };
        struct piece piece;

        rc = open_piece(ext, &inode, i, &block, &piece, err);
        if (rc == 0)
            rc = list_piece(&piece, &teller, err);
    }
    return rc;
}

#endif
