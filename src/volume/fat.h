/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FAT12, FAT16 and FAT32 with long names, as Microsoft's "FAT: General Overview of On-Disk Format" (version 1.03,
 * called "the specification" in these files) has them: what fat*.c share.  Read only.
 *
 *   fat_boot.c       where things are, by the first sector (codec)
 *   fat_name.c       names: code page 437, UTF-16, case (codec)
 *   fat_table.c      the FAT, read in pieces
 *   fat_node.c       files by their ids, and their cluster chains
 *   fat_directory.c  entries of directories, and names looked up
 *   fat.c            the kind of file system
 *
 * A file's id is the place of its short directory entry, counted from the start of the file system in units of 32
 * bytes; that of the root directory, which has no entry, is BYRE_FILES_ROOT.
 *
 * Locks: `lock` guards the two caches and `free_clusters`.  Nothing is read while it is held; what a cache holds does
 * not change and is counted by those that use it.
 */
#ifndef BYRE_VOLUME_FAT_H
#define BYRE_VOLUME_FAT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "volume/filesystem.h"

#define BYRE_FAT_BOOT_BYTES  512u
#define BYRE_FAT_ENTRY_BYTES 32u
#define BYRE_FAT_DIRECTORY_MAX (65536u * BYRE_FAT_ENTRY_BYTES) /* bytes of a directory, as Windows and Linux have it */
#define BYRE_FAT_FIRST_CLUSTER 2u

/* --- fat_boot.c -------------------------------------------------------------------------------------------- */

/* Where things are: offsets and lengths in bytes, counted from the start of the file system. */
struct byre_fat_layout {
    unsigned bits; /* 12, 16, 32: of an entry of the FAT */
    uint32_t sector_bytes, cluster_bytes;
    uint64_t table_offset, table_bytes;    /* of the FAT that counts */
    unsigned table_copies;                 /* of it, one behind another behind it */
    uint64_t root_offset, root_bytes;      /* of the root directory of FAT12 and FAT16 */
    uint32_t root_cluster;                 /* of FAT32 */
    uint64_t data_offset;                  /* of cluster 2 */
    uint32_t clusters;                     /* numbered from 2 on, each with an entry in the FAT */
    uint64_t info_offset;                  /* of the FSInfo sector; 0: none */
    unsigned version;                      /* of FAT32; 0 is the one that there is */
    bool unclean;                          /* Linux has noted in the first sector that it is in use */
    bool has_serial;
    uint32_t serial;
    uint8_t label[11];                     /* spaces if there is none */
};

/* The layout by the first BYRE_FAT_BOOT_BYTES; false: no FAT file system begins so. */
bool byre_fat_boot_parse(const uint8_t *boot, struct byre_fat_layout *ret_layout);

/* --- fat_name.c -------------------------------------------------------------------------------------------- */

#define BYRE_FAT_UNITS_MAX 255u /* of UTF-16 in a long name */

/*
 * The name of a short entry, the lower case bits of Windows NT heeded: false if it is empty, "." or "..", or has a
 * slash or control characters.  `ret_name` has room for BYRE_FILES_NAME_MAX + 1 bytes, as with the others here.
 */
bool byre_fat_name_short(const uint8_t *entry, char *ret_name);
/* The same of a long name. */
bool byre_fat_name_long(const uint16_t *units, unsigned count, char *ret_name);
/* A volume label of 11 bytes, without the spaces at its end. */
void byre_fat_name_label(const uint8_t *label, char *ret_label);
uint8_t byre_fat_name_checksum(const uint8_t *short_name);

/* A number that equal names have in common and others, whoever chose them, do not, as long as nobody knows the key.
 * `fold`: so do names that differ in case alone, or by dots at the end.  Only 1 <= key < 2^61 - 1 serves. */
uint64_t byre_fat_name_hash(const char *name, bool fold, uint64_t key);
/* Do they differ in nothing else? */
bool byre_fat_name_same(const char *a, const char *b);

/* --- fat_table.c ------------------------------------------------------------------------------------------- */

struct byre_fat;

#define BYRE_FAT_PIECES 512u /* in the cache */

/* A piece of the FAT.  All but `users` does not change. */
struct byre_fat_piece {
    unsigned users;  /* lock; the cache is one */
    uint32_t number;
    uint32_t length;
    uint32_t bad;    /* bit i: bytes from 512 * i on cannot be read */
    uint8_t bytes[];
};

/* A place in the FAT: keeps a piece, so that steps within it take no lock.  Starts as {0}; released by _done. */
struct byre_fat_cursor {
    struct byre_fat_piece *piece;
    uint64_t steps; /* links that were read */
};

enum byre_fat_link {
    BYRE_FAT_LINK_NEXT,
    BYRE_FAT_LINK_END,
    BYRE_FAT_LINK_FREE,
    BYRE_FAT_LINK_BAD,     /* the mark of bad clusters */
    BYRE_FAT_LINK_OUTSIDE, /* a number that no cluster has */
};

/* What stands in the FAT at a cluster, which must be one: a byre_fat_link, with the cluster that it leads to; or
 * negative: it could not be read, nor could its copies (-EIO). */
int byre_fat_table_link(struct byre_fat *fat, struct byre_fat_cursor *cursor, uint32_t cluster, uint32_t *ret_next,
                        struct byre_error *err);
void byre_fat_cursor_done(struct byre_fat *fat, struct byre_fat_cursor *cursor);

/* Entry 1 of the FAT, which holds the flags of the volume. */
int byre_fat_table_flags(struct byre_fat *fat, uint32_t *ret_flags, struct byre_error *err);
/* Clusters that are not in use: counted once. */
int byre_fat_table_free(struct byre_fat *fat, uint32_t *ret_count, struct byre_error *err);
void byre_fat_table_done(struct byre_fat *fat);

/* --- fat_node.c -------------------------------------------------------------------------------------------- */

/* `count` clusters in a row, that are `index`... of the file. */
struct byre_fat_run {
    uint32_t index, cluster, count;
};

struct byre_fat_index; /* fat_directory.c */

#define BYRE_FAT_RECENT 8u

/* A file with its cluster chain: does not change once it is there, what has a lock apart. */
struct byre_fat_node {
    struct byre_fat_node *next;     /* in the cache, the latest one first: lock */
    unsigned users;                 /* lock; the cache is one */
    size_t bytes;                   /* of memory: lock */
    struct byre_fat_index *index;   /* of a directory, once something was looked up: lock */
    uint64_t id;
    bool directory, fixed;          /* fixed: the root directory of FAT12 and FAT16 */
    uint32_t cluster;               /* the first one; 0: none */
    uint32_t size;                  /* as the entry has it, of a directory that of its clusters */
    uint32_t clusters;              /* that the chain has, as far as the size needs them */
    const char *broken;             /* why there are no more, or NULL */
    bool looped;                    /* the chain comes back to itself: nothing of it is read */
    bool unreadable;                /* the FAT cannot be read where the chain goes on */
    struct byre_fat_run *runs;      /* in order; where one does not begin at the end of that before, the FAT tells */
    uint32_t run_count;
    struct byre_fat_run recent[BYRE_FAT_RECENT]; /* lock: where readers have ended; count 0: none */
    unsigned recent_next;                        /* lock */
};

/* The directory entry at an id's place.  -ESTALE: there is none that could be listed. */
int byre_fat_node_entry(struct byre_fat *fat, uint64_t id, uint8_t *ret_entry, struct byre_error *err);
/* The first cluster that an entry names; 0: none. */
uint32_t byre_fat_entry_cluster(const struct byre_fat *fat, const uint8_t *entry);
bool byre_fat_entry_is_directory(const uint8_t *entry);
/* Is it one that can be listed, by its attributes, and its short name free of control characters? */
bool byre_fat_entry_is_file(const uint8_t *entry);

/* The node of an id; released by _put. */
int byre_fat_node_get(struct byre_fat *fat, uint64_t id, struct byre_fat_node **ret_node, struct byre_error *err);
void byre_fat_node_put(struct byre_fat *fat, struct byre_fat_node *node);
/* Gives a directory its index, or frees it if there is one. */
void byre_fat_node_set_index(struct byre_fat *fat, struct byre_fat_node *node, struct byre_fat_index *index);

/*
 * Where `offset` of a file lies in the file system, and how many bytes of those wanted, or more, follow there in a row.
 * -EIO: nowhere.  `run` is where the caller was before, {0} at first, and then where that is.
 */
int byre_fat_node_map(struct byre_fat *fat, const struct byre_fat_node *node, struct byre_fat_run *run,
                      uint64_t offset, uint64_t wanted, uint64_t *ret_place, uint64_t *ret_length,
                      struct byre_error *err);
/* Where a reader has ended, for the next one to go on from. */
void byre_fat_node_remember(struct byre_fat *fat, struct byre_fat_node *node, const struct byre_fat_run *run);
void byre_fat_nodes_done(struct byre_fat *fat);

/* --- fat_directory.c --------------------------------------------------------------------------------------- */

int byre_fat_directory_list(struct byre_fat *fat, uint64_t id, uint64_t cursor,
                            int (*each)(void *opaque, const struct byre_files_entry *entry), void *opaque,
                            struct byre_error *err);
int byre_fat_directory_lookup(struct byre_fat *fat, uint64_t id, const char *name, uint64_t *ret_id,
                              struct byre_error *err);
/* The label in the root directory: 1, or 0 if there is none, or negative. */
int byre_fat_directory_label(struct byre_fat *fat, uint8_t *ret_label, struct byre_error *err);
size_t byre_fat_index_bytes(const struct byre_fat_index *index);
void byre_fat_index_free(struct byre_fat_index *index);

/* ----------------------------------------------------------------------------------------------------------- */

struct byre_fat {
    struct byre_files files;
    struct byre_fat_layout layout;
    bool unclean; /* the volume was not closed, by any of its marks */
    pthread_mutex_t lock;
    uint64_t name_key; /* for byre_fat_name_hash */
    struct byre_fat_piece *pieces[BYRE_FAT_PIECES]; /* lock; each where its number says, or NULL */
    struct byre_fat_node *nodes;   /* lock; the latest one first */
    unsigned node_count;           /* lock */
    size_t node_bytes;             /* lock */
    bool free_known;               /* lock */
    uint32_t free_clusters;        /* lock */
    uint64_t steps;                /* lock; along chains and in indexes, so far: tests hold it against their length */
};

static inline bool byre_fat_is_cluster(const struct byre_fat *fat, uint32_t cluster)
{
    return cluster >= BYRE_FAT_FIRST_CLUSTER && cluster - BYRE_FAT_FIRST_CLUSTER < fat->layout.clusters;
}

#endif
