/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the kind `byre_ext_kind`: ext2, ext3 and ext4, read and never written.
 *
 * libext2fs judges the superblock and has the hashes and checksums; the structures behind it are read here, each when
 * it is needed: opening costs the same for any size, memory has a bound, and no lock is held while data is read, none
 * of which the library offers.
 *
 *   X1. A block number is checked to be in the file system before anything is read there; an inode number, before
 *       its place is computed.
 *   X2. A tree of extents or blocks is walked down only, by at most EXT_DEPTH_MAX steps; what a node says counts only
 *       for the part of the file that its parent has it for, so a walk over a file gets ahead with each step.
 *   X3. What was judged once (checksum, order of the entries) is remembered with the block in the cache, for the
 *       inode that it was judged for.
 *
 * All calls are thread-safe.  Errors: -EUCLEAN for what contradicts itself or its checksum, -EIO for what cannot be
 * read.
 */
#ifndef BYRE_VOLUME_EXT_H
#define BYRE_VOLUME_EXT_H

#include <pthread.h>

#include <ext2fs/ext2fs.h>

#include "byre/files.h"
#include "volume/filesystem.h"

#define EXT_DEPTH_MAX 5u /* of a tree of extents, as Linux allows */

/* --- blocks (ext_cache.c) ---------------------------------------------------------------------------------- */

struct byre_ext_page;

/* One block of metadata, held until it is let go of. */
struct byre_ext_block {
    struct byre_ext_page *page; /* NULL: none is held */
    const uint8_t *bytes;
    uint32_t *judged;           /* what it was judged for (X3), or 0: see byre_ext_is_judged */
};

struct byre_ext_cache {
    pthread_mutex_t mutex;
    struct byre_ext_page **pages; /* sets * EXT_CACHE_WAYS; mutex */
    uint64_t clock;               /* mutex */
    uint32_t page_size, sets;
};

/* --- inodes (ext_inode.c) ---------------------------------------------------------------------------------- */

#define EXT_MAP_BYTES 60u /* of an inode, for its map, a short link, or the first bytes of a short file */

struct byre_ext_inode {
    uint32_t number;
    uint32_t seed; /* of the checksums of what belongs to it */
    uint32_t flags, links, uid, gid;
    uint16_t mode, extra_bytes;
    uint64_t size, allocated, attribute_block;
    struct timespec accessed, modified, changed, created;
    uint8_t map[EXT_MAP_BYTES];
};

#define EXT_INODES_KEPT 512u

struct byre_ext {
    struct byre_files files;
    ext2_filsys fs;
    uint32_t block_size, group_count, inode_size, descriptor_size, checksum_seed;
    uint64_t block_count;
    bool checksums;            /* of all metadata, not only of group descriptors */
    struct byre_ext_cache cache;
    pthread_mutex_t inodes_mutex;
    struct byre_ext_inode *inodes; /* EXT_INODES_KEPT; number 0: free; inodes_mutex */
};

static inline struct byre_ext *byre_ext_of(struct byre_files *files)
{
    return (struct byre_ext *)files;
}

/* 0, or -ENOMEM; _done takes what was never made, too. */
int byre_ext_cache_init(struct byre_ext_cache *cache, uint32_t block_size);
void byre_ext_cache_done(struct byre_ext_cache *cache);
/* The block, to be let go of.  -EUCLEAN if the file system has none of this number. */
int byre_ext_block_get(struct byre_ext *ext, uint64_t number, struct byre_ext_block *ret_block, struct byre_error *err);
void byre_ext_block_put(struct byre_ext_block *block); /* one that is not held is allowed */
/* `seed` tells for what: 0 is taken as 1. */
bool byre_ext_is_judged(const struct byre_ext_block *block, uint32_t seed);
void byre_ext_set_judged(const struct byre_ext_block *block, uint32_t seed);

static inline void byre_cleanup_ext_block(struct byre_ext_block *block)
{
    byre_ext_block_put(block);
}

/* The inode of a file: one that is in use, and no special one. */
int byre_ext_inode_get(struct byre_ext *ext, uint64_t id, struct byre_ext_inode *ret_inode, struct byre_error *err);
/* The same by its own number, for values of attributes that are files. */
int byre_ext_inode_read(struct byre_ext *ext, uint64_t number, struct byre_ext_inode *ret_inode,
                        struct byre_error *err);
/* All bytes of an inode, which lie in `block`. */
int byre_ext_inode_bytes(struct byre_ext *ext, uint64_t number, struct byre_ext_block *block,
                         const uint8_t **ret_bytes, struct byre_error *err);
/* From numbers of inodes to ids and back: the root is 2 there and 1 here; 0 is no file's. */
uint64_t byre_ext_id_of(uint32_t number);
/* "inode N: " and the text, as -EUCLEAN. */
int byre_ext_damaged(const struct byre_ext_inode *inode, struct byre_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* --- contents (ext_map.c, ext_contents.c) ------------------------------------------------------------------ */

struct byre_ext_run {
    uint64_t first, count;  /* blocks of the file, count at least 1 */
    uint64_t block;         /* of the file system, where `data` */
    bool data;              /* else it reads as zeros */
};

/* What lies at block `first` of the file; not for files whose contents are in the inode. */
int byre_ext_map(struct byre_ext *ext, const struct byre_ext_inode *inode, uint64_t first,
                 struct byre_ext_run *ret_run, struct byre_error *err);

/* The number of blocks that a file can have by its map. */
uint64_t byre_ext_map_room(const struct byre_ext *ext, const struct byre_ext_inode *inode);

/* Can the contents be read?  -ENOTSUP: they are encrypted or compressed. */
int byre_ext_readable(const struct byre_ext_inode *inode, struct byre_error *err);
/* Bytes within the size of any kind of file. */
int byre_ext_contents(struct byre_ext *ext, const struct byre_ext_inode *inode, void *buf, size_t length,
                      uint64_t offset, struct byre_error *err);
int byre_ext_read(struct byre_files *files, uint64_t id, void *buf, size_t length, uint64_t offset,
                  size_t *ret_length, struct byre_error *err);
int byre_ext_seek(struct byre_files *files, uint64_t id, uint64_t offset, bool data, uint64_t *ret_offset,
                  struct byre_error *err);
int byre_ext_readlink(struct byre_files *files, uint64_t id, char **ret_target, struct byre_error *err);

/* Contents that are in the inode, all of them; to be freed. */
int byre_ext_inline_read(struct byre_ext *ext, const struct byre_ext_inode *inode, uint8_t **ret_bytes,
                         size_t *ret_length, struct byre_error *err);

/* --- directories (ext_directory.c, ext_htree.c) ------------------------------------------------------------ */

struct byre_ext_name {
    const char *bytes;
    size_t length;
};

/* Looks for a name in a block of a directory: 1: found, 0: it is not there. */
int byre_ext_directory_search(struct byre_ext *ext, const struct byre_ext_inode *inode, uint64_t block,
                              const struct byre_ext_name *name, uint32_t *ret_number, struct byre_error *err);
/* The same by the index of a large one; -ENODATA: it has no index that is sound. */
int byre_ext_htree_search(struct byre_ext *ext, const struct byre_ext_inode *inode, const struct byre_ext_name *name,
                          uint32_t *ret_number, struct byre_error *err);
/* A block of a directory; -EUCLEAN where there is a hole. */
int byre_ext_directory_block(struct byre_ext *ext, const struct byre_ext_inode *inode, uint64_t block,
                             struct byre_ext_block *ret_block, struct byre_error *err);
int byre_ext_lookup(struct byre_files *files, uint64_t directory, const char *name, uint64_t *ret_id,
                    struct byre_error *err);
int byre_ext_list(struct byre_files *files, uint64_t directory, uint64_t cursor,
                  int (*each)(void *opaque, const struct byre_files_entry *entry), void *opaque,
                  struct byre_error *err);

/* --- extended attributes (ext_xattr.c) --------------------------------------------------------------------- */

int byre_ext_xattr_list(struct byre_files *files, uint64_t id, char **ret_names, size_t *ret_length,
                        struct byre_error *err);
int byre_ext_xattr_get(struct byre_files *files, uint64_t id, const char *name, void **ret_value, size_t *ret_length,
                       struct byre_error *err);
/* What an inode has besides its first 60 bytes of contents: "system.data".  -ENODATA: nothing. */
int byre_ext_xattr_data(struct byre_ext *ext, const struct byre_ext_inode *inode, void **ret_value,
                        size_t *ret_length, struct byre_error *err);

#endif
