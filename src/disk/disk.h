/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of a disk: its layers, its flat map.  For files of src/disk and src/ops; front ends use
 * byre/disk.h.
 */
#ifndef BYRE_DISK_DISK_H
#define BYRE_DISK_DISK_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/gate.h"
#include "base/name.h"
#include "byre/disk.h"
#include "qcow2/qcow2.h"
#include "store/store.h"

#define BYRE_SECTOR 512u
#define BYRE_LAYERS_MAX 4096u /* what the flat map can number */

struct byre_flat_map;
struct byre_inflated;
struct byre_luks_volume;
struct json_t;

struct byre_layer {
    struct byre_store *store;
    struct byre_store *data;   /* where extents of kind data lie: set by byre_disk_complete */
    struct byre_qcow2 *qcow2;  /* NULL: raw, or LUKS */
    struct byre_luks_volume *luks;  /* LUKS as a format: what is known of it; or NULL */
    struct byre_store *file_store;  /* LUKS: what `store` stands on, and owns; else NULL */
    struct byre_store *data_file;   /* of qcow2: owned; NULL: there is none; see data_file.h */
    char *name;                /* as QEMU prints it */
    bool has_exact;            /* the name is a short one, not json: */
    struct json_t *shown;      /* what json: would show; NULL: just made, by its path */
    char *path;                /* of the file at the bottom; NULL: there is none */
    char *file_name;           /* of what the format stands on; NULL: as `name` */
    uint64_t file_offset;      /* of the layer's store in that */
    bool has_file;             /* dev and ino are those of the file at the bottom */
    dev_t dev;
    ino_t ino;
    char *data_name;           /* of the data file, as `file_name`; NULL: there is none; see data_file.h */
    bool has_data_file;        /* data_dev and data_ino are those of the data file */
    bool data_created;         /* this disk made it */
    dev_t data_dev;
    ino_t data_ino;
    const char *driver;        /* what the options name at its top: "qcow2", "raw", "file", ...; NULL: just made */
    bool probed_raw;           /* raw only because nothing else matched: writes must keep it so */
    /* What is above is fixed while the disk is open, and can be another disk's, which outlives this one (beside.c): */
    bool borrowed_engine;      /* `qcow2` is */
    bool borrowed_files;       /* all else is */
    uint64_t size;             /* virtual size, bytes */
    _Atomic int reserved;      /* see reserved.c */
};

struct byre_disk {
    struct byre_gate gate;     /* each call of byre/disk.h is inside, and each request of a queue: who needs the disk to
                                  be at rest closes it */
    struct byre_layer *layers; /* top first; fixed while the disk is open */
    unsigned layer_count;
    _Atomic uint64_t size;     /* changed with the gate closed, as are `map` and the layers' sizes */
    uint32_t grain;            /* mapping unit: the smallest subcluster, or cluster without, of the chain; 2^n bytes */
    uint32_t coarse_grain;     /* the smallest cluster of the chain: a multiple of `grain` */
    bool writable;
    bool write_through;        /* every change is flushed before its call returns */
    enum byre_detect_zeroes detect_zeroes;
    bool copy_on_read;         /* see filter.h; so is the next */
    bool compress;
    bool no_discard;           /* byre_discard does nothing */
    const struct byre_snapshot_selector *at; /* for the opening of the top layer alone: the caller's */
    bool created;              /* byre_create_open made the file: remove it if it is never sealed */
    bool unsealed;
    bool kept_data;            /* new, and may show what its data file held before */
    struct byre_epoch own_epoch; /* for disks whose top layer is raw */
    struct byre_epoch *epoch;    /* the one in force */
    uint64_t map_bytes;          /* budget of the flat map, as it was asked for */
    struct byre_flat_map *map;   /* NULL: a raw disk, whose map is the identity */
    struct byre_inflated *inflated; /* NULL where `map` is */
    _Atomic int poisoned;        /* raw: 0, or the error of a flush that failed; qcow2 has its own */
    pthread_mutex_t guard;       /* raw: held over writes to sector 0 that must not change the format */
};

/*
 * Maps [goff, goff+length) through the layers from `first_layer` down, without the flat map: appends
 * extents in order, without gaps.  Reads each layer's tables once for the range.  Thread-safe.
 */
int byre_disk_map(struct byre_disk *disk, unsigned first_layer, uint64_t goff, uint64_t length,
                  byre_extent_vec *out, struct byre_error *err);

/* After a request that returned `r`: notes that the image has turned out to be corrupt, if that is why.  Returns `r`.
 * The caller is in no epoch. */
int byre_disk_finish(struct byre_disk *disk, int r);

/* byre_flush for who is inside the gate already, or has closed it. */
int byre_disk_flush(struct byre_disk *disk, struct byre_error *err);

/* -EROFS with the reason if the disk may not be changed. */
int byre_disk_check_writable(struct byre_disk *disk, struct byre_error *err);

/* -ENOTSUP: a raw image cannot be opened at a snapshot. */
int byre_disk_no_snapshots(struct byre_error *err);

/* The format names of this build: "raw", "qcow2", "luks". */
bool byre_format_known(const char *format);

/* Tells the format from the first bytes: "qcow2", "luks" or "raw". */
const char *byre_probe(const uint8_t *buf, size_t length);

/* Are there files at both paths, and are they one? */
bool byre_same_file(const char *path, const char *other);

/* Is the file at `path` at the bottom of one of the layers, or the data file of one? */
bool byre_disk_has_file(const struct byre_disk *disk, const char *path);

#endif
