/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kind of file system that ext2, ext3 and ext4 are: finding it, opening it, and what is known of it and its files.
 */
#include "config.h"

#ifdef HAVE_EXT2FS

#include "volume/ext.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "base/endian.h"
#include "byre/disk.h"
#include "volume/found.h"

#define BLOCK_LOG_MAX 6u /* blocks of 64 KiB */

/* Features that change how things are read, by their bits; the names are those of ext4(5). */
static const char *const incompatible[32] = {
    "compression", "filetype", "needs_recovery",      "journal_dev", "meta_bg",     NULL,      "extent",   "64bit",
    "mmp",         "flex_bg",  "ea_inode",            NULL,          "dirdata",     "metadata_csum_seed",
    "large_dir",   "inline_data", "encrypt",          "casefold",
};

#define NOT_READ (EXT2_FEATURE_INCOMPAT_COMPRESSION | EXT3_FEATURE_INCOMPAT_JOURNAL_DEV | \
                  EXT4_FEATURE_INCOMPAT_DIRDATA)

/* What ext2 and ext3 may have; with anything else it is ext4. */
#define EXT3_INCOMPATIBLE \
    (EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER | EXT2_FEATURE_INCOMPAT_META_BG)
#define EXT3_RO_COMPATIBLE (EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE | 4u)

/* --- finding it -------------------------------------------------------------------------------------------- */

static uint32_t field(const uint8_t *super, size_t at)
{
    return byre_get_le32(super + at);
}
#define FIELD(super, name) field(super, offsetof(struct ext2_super_block, s_##name))

static const char *type_of(const uint8_t *super)
{
    if (FIELD(super, feature_incompat) & ~EXT3_INCOMPATIBLE || FIELD(super, feature_ro_compat) & ~EXT3_RO_COMPATIBLE)
        return "ext4";
    return FIELD(super, feature_compat) & EXT3_FEATURE_COMPAT_HAS_JOURNAL ? "ext3" : "ext2";
}

/* 1: there is a superblock, 0: none. */
static int read_super(struct byre_disk *disk, uint64_t goff, uint64_t length, uint8_t super[SUPERBLOCK_SIZE],
                      struct byre_error *err)
{
    uint64_t size = byre_get_size(disk);
    int rc;

    if (length < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE || goff > size ||
        size - goff < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE)
        return 0;
    rc = byre_pread(disk, super, SUPERBLOCK_SIZE, goff + SUPERBLOCK_OFFSET, err);
    if (rc < 0)
        return rc;
    return byre_get_le16(super + offsetof(struct ext2_super_block, s_magic)) == EXT2_SUPER_MAGIC &&
           FIELD(super, log_block_size) <= BLOCK_LOG_MAX && FIELD(super, rev_level) <= EXT2_DYNAMIC_REV &&
           FIELD(super, inodes_per_group) && !(FIELD(super, feature_incompat) & EXT3_FEATURE_INCOMPAT_JOURNAL_DEV);
}

static int ext_probe(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_files_found *ret_found,
                     struct byre_error *err)
{
    struct byre_files_found found = { .supported = true };
    uint8_t super[SUPERBLOCK_SIZE];
    int rc = read_super(disk, goff, length, super, err);

    if (rc <= 0)
        return rc;
    snprintf(found.type, sizeof found.type, "%s", type_of(super));
    byre_found_text(found.label, sizeof found.label, super + offsetof(struct ext2_super_block, s_volume_name),
                    EXT2_LABEL_LEN);
    byre_found_uuid(found.uuid, super + offsetof(struct ext2_super_block, s_uuid));
    *ret_found = found;
    return 1;
}

/* --- libext2fs's way to the superblock ---------------------------------------------------------------------- */

static errcode_t channel_close(io_channel channel)
{
    if (--channel->refcount > 0)
        return 0;
    free(channel->name);
    free(channel);
    return 0;
}

static errcode_t channel_set_block_size(io_channel channel, int block_size)
{
    channel->block_size = block_size;
    return 0;
}

/* `count` blocks, or, negative, bytes. */
static errcode_t channel_read64(io_channel channel, unsigned long long block, int count, void *data)
{
    const struct byre_ext *ext = channel->private_data;
    size_t length = count < 0 ? (size_t)-(long long)count : (size_t)count * (size_t)channel->block_size;
    uint64_t offset;

    if (!byre_mul_fits(block, (uint64_t)channel->block_size, &offset) ||
        byre_filesystem_pread(&ext->files, data, length, offset, NULL) < 0)
        return EXT2_ET_SHORT_READ;
    return 0;
}

static errcode_t channel_read(io_channel channel, unsigned long block, int count, void *data)
{
    return channel_read64(channel, block, count, data);
}

static errcode_t channel_flush(io_channel channel)
{
    (void)channel;
    return 0;
}

static errcode_t channel_open(const char *name, int flags, io_channel *ret_channel);

static const struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "byre",
    .open = channel_open,
    .close = channel_close,
    .set_blksize = channel_set_block_size,
    .read_blk = channel_read,
    .flush = channel_flush,
    .read_blk64 = channel_read64,
};

/* The name, which is all that comes through, is where the struct is. */
static errcode_t channel_open(const char *name, int flags, io_channel *ret_channel)
{
    io_channel channel = calloc(1, sizeof *channel);
    void *ext;

    (void)flags;
    if (!channel)
        return EXT2_ET_NO_MEMORY;
    channel->name = strdup(name);
    if (!channel->name || sscanf(name, "%p", &ext) != 1) {
        free(channel->name);
        free(channel);
        return EXT2_ET_NO_MEMORY;
    }
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = (io_manager)&manager;
    channel->block_size = SUPERBLOCK_SIZE;
    channel->refcount = 1;
    channel->private_data = ext;
    *ret_channel = channel;
    return 0;
}

static int open_super(struct byre_ext *ext, struct byre_error *err)
{
    char name[32];
    errcode_t code;

    snprintf(name, sizeof name, "%p", (void *)ext);
    code = ext2fs_open2(name, NULL, EXT2_FLAG_64BITS | EXT2_FLAG_SUPER_ONLY, 0, 0, (io_manager)&manager, &ext->fs);
    switch (code) {
    case 0:
        return 0;
    case EXT2_ET_NO_MEMORY:
        return byre_error_set_errno(err, -ENOMEM, "file system");
    case EXT2_ET_SB_CSUM_INVALID:
        return byre_error_set(err, -EUCLEAN, "the checksum of the superblock is wrong");
    case EXT2_ET_UNKNOWN_CSUM:
        return byre_error_set(err, -ENOTSUP, "its checksums are of a kind that is not known");
    case EXT2_ET_UNSUPP_FEATURE:
        return byre_error_set(err, -ENOTSUP, "it has features that this libext2fs does not know");
    case EXT2_ET_SHORT_READ:
        return byre_error_set(err, -EIO, "the superblock could not be read");
    default:
        return byre_error_set(err, -EUCLEAN, "the superblock is damaged (libext2fs says %ld)", (long)code);
    }
}

/* --- opening ----------------------------------------------------------------------------------------------- */

static int check_features(const uint8_t *super, struct byre_error *err)
{
    uint32_t features = FIELD(super, rev_level) ? FIELD(super, feature_incompat) : 0;

    for (unsigned i = 0; i < 32; i++) {
        if (!(features >> i & 1) || (incompatible[i] && !(NOT_READ >> i & 1)))
            continue;
        if (incompatible[i])
            return byre_error_set(err, -ENOTSUP, "it holds %s with the feature '%s', which byre does not read",
                                  type_of(super), incompatible[i]);
        return byre_error_set(err, -ENOTSUP, "it holds %s with the unknown feature FEATURE_I%u", type_of(super), i);
    }
    return 0;
}

/* What is computed with later must fit. */
static int take_geometry(struct byre_ext *ext, struct byre_error *err)
{
    struct ext2_super_block *super = ext->fs->super;
    uint64_t groups;

    ext->block_size = ext->fs->blocksize;
    ext->block_count = ext2fs_blocks_count(super);
    ext->inode_size = EXT2_INODE_SIZE(super);
    ext->descriptor_size = EXT2_DESC_SIZE(super);
    ext->checksums = ext2fs_has_feature_metadata_csum(super);
    ext->checksum_seed = ext->fs->csum_seed;
    if (ext->block_count <= super->s_first_data_block || super->s_first_data_block > 1 ||
        ext->block_count > (uint64_t)INT64_MAX / ext->block_size)
        return byre_error_set(err, -EUCLEAN, "the superblock is damaged: %llu blocks, the first one of data is %u",
                              (unsigned long long)ext->block_count, super->s_first_data_block);
    if (!byre_is_power_of_two(ext->inode_size) || ext->inode_size < EXT2_GOOD_OLD_INODE_SIZE ||
        ext->inode_size > ext->block_size || !super->s_inodes_per_group)
        return byre_error_set(err, -EUCLEAN, "the superblock is damaged: inodes of %u bytes", ext->inode_size);
    if (!byre_is_power_of_two(ext->descriptor_size) || ext->descriptor_size < EXT2_MIN_DESC_SIZE ||
        ext->descriptor_size > EXT2_MAX_DESC_SIZE)
        return byre_error_set(err, -EUCLEAN, "the superblock is damaged: group descriptors of %u bytes",
                              ext->descriptor_size);
    groups = super->s_blocks_per_group
                 ? byre_div_up(ext->block_count - super->s_first_data_block, super->s_blocks_per_group)
                 : 0;
    if (!groups || groups > UINT32_MAX)
        return byre_error_set(err, -EUCLEAN, "the superblock is damaged: groups of %u blocks",
                              super->s_blocks_per_group);
    ext->group_count = (uint32_t)groups;
    return 0;
}

static int check_root(struct byre_ext *ext, struct byre_error *err)
{
    struct byre_ext_inode root;
    int rc = byre_ext_inode_get(ext, BYRE_FILES_ROOT, &root, err);

    if (rc < 0) {
        byre_error_prepend(err, "root directory: ");
        return rc;
    }
    return S_ISDIR(root.mode) ? 0 : byre_ext_damaged(&root, err, "the root directory is no directory");
}

static int note_warning(struct byre_ext *ext, struct byre_error *err)
{
    const struct ext2_super_block *super = ext->fs->super;
    const char *journal = "", *errors = "", *between;

    if (ext2fs_has_feature_journal_needs_recovery(ext->fs->super))
        journal = "its journal was not replayed: what is seen may be old, or not fit together";
    else if (!(super->s_state & EXT2_VALID_FS))
        journal = "it was not unmounted cleanly";
    if (super->s_state & EXT2_ERROR_FS)
        errors = "it has noted errors, and should be checked";
    between = *journal && *errors ? "; " : "";
    if (!*journal && !*errors)
        return 0;
    if (asprintf(&ext->files.warning, "%s%s%s", errors, between, journal) >= 0)
        return 0;
    ext->files.warning = NULL;
    return byre_error_set_errno(err, -ENOMEM, "file system");
}

static void ext_close(struct byre_files *files)
{
    struct byre_ext *ext = byre_ext_of(files);

    byre_ext_cache_done(&ext->cache);
    free(ext->inodes);
    if (ext->fs)
        ext2fs_free(ext->fs);
    pthread_mutex_destroy(&ext->inodes_mutex);
    free(ext);
}

static int set_up(struct byre_ext *ext, struct byre_error *err)
{
    int rc = open_super(ext, err);

    if (rc == 0)
        rc = take_geometry(ext, err);
    if (rc < 0)
        return rc;
    ext->inodes = calloc(EXT_INODES_KEPT, sizeof *ext->inodes);
    if (byre_ext_cache_init(&ext->cache, ext->block_size) < 0 || !ext->inodes)
        return byre_error_set_errno(err, -ENOMEM, "file system");
    rc = check_root(ext, err);
    return rc < 0 ? rc : note_warning(ext, err);
}

static int ext_open(struct byre_disk *disk, uint64_t goff, uint64_t length, struct byre_files **ret_files,
                    struct byre_error *err)
{
    uint8_t super[SUPERBLOCK_SIZE];
    struct byre_ext *ext;
    int rc = read_super(disk, goff, length, super, err);

    if (rc == 0)
        rc = byre_error_set(err, -EUCLEAN, "the superblock is damaged");
    if (rc > 0)
        rc = check_features(super, err);
    if (rc < 0)
        return rc;
    ext = calloc(1, sizeof *ext);
    if (!ext)
        return byre_error_set_errno(err, -ENOMEM, "file system");
    pthread_mutex_init(&ext->inodes_mutex, NULL);
    ext->files = (struct byre_files){ .disk = disk, .goff = goff, .length = length };
    snprintf(ext->files.type, sizeof ext->files.type, "%s", type_of(super));
    rc = set_up(ext, err);
    if (rc < 0) {
        byre_error_prepend(err, "%s: ", ext->files.type);
        ext_close(&ext->files);
        return rc;
    }
    *ret_files = &ext->files;
    return 0;
}

/* --- what is known ----------------------------------------------------------------------------------------- */

static int ext_space(struct byre_files *files, struct byre_files_space *ret_space, struct byre_error *err)
{
    const struct byre_ext *ext = byre_ext_of(files);
    struct ext2_super_block *super = ext->fs->super;
    uint64_t blocks = ext->block_count, free_blocks, reserved, overhead = super->s_overhead_clusters;
    unsigned shift = 0;

    (void)err;
    if (ext2fs_has_feature_bigalloc(super) && super->s_log_cluster_size > super->s_log_block_size)
        shift = MIN(super->s_log_cluster_size - super->s_log_block_size, 19u);
    free_blocks = MIN(ext2fs_free_blocks_count(super), blocks) << shift;
    free_blocks = MIN(free_blocks, blocks);
    reserved = MIN(ext2fs_r_blocks_count(super), free_blocks);
    if (overhead << shift <= blocks - free_blocks)
        blocks -= overhead << shift;
    *ret_space = (struct byre_files_space){
        .block_size = ext->block_size,
        .blocks = blocks,
        .blocks_free = free_blocks,
        .blocks_available = free_blocks - reserved,
        .inodes = super->s_inodes_count,
        .inodes_free = MIN(super->s_free_inodes_count, super->s_inodes_count),
    };
    return 0;
}

/* Numbers of devices, as they were written when these had 8 bits each, or as now. */
static void take_device(const struct byre_ext_inode *inode, struct byre_file *file)
{
    uint32_t old = byre_get_le32(inode->map), device = byre_get_le32(inode->map + 4);

    if (!S_ISCHR(inode->mode) && !S_ISBLK(inode->mode))
        return;
    if (old) {
        file->major = old >> 8 & 0xff;
        file->minor = old & 0xff;
    } else {
        file->major = device >> 8 & 0xfff;
        file->minor = (device & 0xff) | (device >> 12 & 0xfff00);
    }
}

static int ext_stat(struct byre_files *files, uint64_t id, struct byre_file *ret_file, struct byre_error *err)
{
    struct byre_ext_inode inode;
    struct byre_file file;
    int rc = byre_ext_inode_get(byre_ext_of(files), id, &inode, err);

    if (rc < 0)
        return rc;
    file = (struct byre_file){
        .id = id,
        .mode = inode.mode,
        .links = inode.links,
        .uid = inode.uid,
        .gid = inode.gid,
        .size = inode.size,
        .allocated = inode.allocated,
        .accessed = inode.accessed,
        .modified = inode.modified,
        .changed = inode.changed,
        .created = inode.created,
    };
    take_device(&inode, &file);
    *ret_file = file;
    return 0;
}

const struct byre_filesystem_kind byre_ext_kind = {
    .probe = ext_probe,
    .open = ext_open,
    .close = ext_close,
    .space = ext_space,
    .stat = ext_stat,
    .lookup = byre_ext_lookup,
    .list = byre_ext_list,
    .read = byre_ext_read,
    .seek = byre_ext_seek,
    .readlink = byre_ext_readlink,
    .xattr_list = byre_ext_xattr_list,
    .xattr_get = byre_ext_xattr_get,
};

#endif
