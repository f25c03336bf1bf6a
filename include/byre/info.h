/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an image says of itself, read from its header alone: neither tables nor backing files are opened.
 */
#ifndef BYRE_INFO_H
#define BYRE_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include "byre/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct byre_snapshot_info {
    char *id, *name;
    uint64_t vm_state_size; /* bytes */
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t icount;        /* UINT64_MAX where it is not recorded */
    uint64_t disk_size;     /* virtual size when it was made */
};

struct byre_bitmap_info {
    char *name;
    uint64_t granularity; /* bytes */
    bool in_use, enabled;
};

struct byre_luks_slot_info {
    bool active;
    uint32_t iters, stripes; /* of an active slot */
    uint64_t key_offset;     /* bytes from the header on */
};

/* What a LUKS header says. */
struct byre_luks_info {
    const char *ivgen_alg, *ivgen_hash_alg, *hash_alg, *cipher_alg, *cipher_mode; /* ivgen_hash_alg may be NULL */
    char uuid[41];
    struct byre_luks_slot_info slots[8];
    uint64_t payload_offset; /* bytes from the header on */
    uint32_t master_key_iters;
};

struct byre_info {
    char *name;             /* as QEMU prints it: short, or json: */
    const char *format;     /* the driver at the top: "raw", "qcow2", "file", "compress", ... */
    uint64_t virtual_size;  /* bytes */
    uint64_t allocated_size; /* bytes on the medium; UINT64_MAX if unknown */
    uint64_t file_size;     /* length of the file */
    uint64_t file_device, file_inode; /* the same two in the same file, whatever its names are */
    bool dirty, corrupt, encrypted;
    char *backing_name;     /* as recorded, or NULL */
    char *backing_path;     /* resolved against the image's directory, or NULL */
    char *backing_format;   /* as recorded, or NULL */
    /* qcow2 only */
    unsigned version, refcount_bits;
    uint32_t cluster_size;
    bool lazy_refcounts, extended_l2;
    const char *compression_type; /* "zlib", "zstd" */
    char *data_file;        /* external data file, or NULL */
    bool data_file_raw;
    const char *encryption_format; /* "aes", "luks", or NULL; of luks itself "luks" */
    struct byre_luks_info luks;    /* with "luks" */
    struct byre_snapshot_info *snapshots;
    unsigned snapshot_count;
    struct byre_bitmap_info *bitmaps;
    unsigned bitmap_count;
};

/*
 * Fills `*ret_info`; release it with byre_info_done.  `format` NULL: probe.  `force_share`: as -U.  Features
 * that byre cannot read are no error here.
 */
int byre_info_read(const char *name, const char *format, bool force_share, struct byre_info *ret_info,
                   struct byre_error *err);

struct byre_secrets;

/* The same, with what options of nodes that the image stands on refer to.  The image itself is not unlocked. */
int byre_info_read_as(const char *name, const char *format, bool force_share, const struct byre_secrets *secrets,
                      struct byre_info *ret_info, struct byre_error *err);

struct byre_disk;

/* The same of a layer of a disk that is open, and may be in use, as its file has it at the moment: no name is followed.
 * `layer` is below byre_layer_count. */
int byre_info_of_layer(struct byre_disk *disk, unsigned layer, struct byre_info *ret_info, struct byre_error *err);

/* Releases what one of these filled. */
void byre_info_done(struct byre_info *info);

#ifdef __cplusplus
}
#endif
#endif
