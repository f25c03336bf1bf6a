/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an image says of itself: see byre/info.h.  Reads the header cluster, the snapshot table and the bitmap
 * directory; the cost does not depend on the image's size.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/info.h"
#include "disk/info_tables.h"
#include "disk/node.h"
#include "disk/open.h"
#include "disk/options_tree.h"
#include "qcow2/crypt.h"
#include "qcow2/header_read.h"

#define SECTOR 512

void byre_info_done(struct byre_info *info)
{
    for (unsigned i = 0; i < info->snapshot_count; i++) {
        free(info->snapshots[i].id);
        free(info->snapshots[i].name);
    }
    for (unsigned i = 0; i < info->bitmap_count; i++)
        free(info->bitmaps[i].name);
    free(info->snapshots);
    free(info->bitmaps);
    free(info->name);
    free(info->backing_name);
    free(info->backing_path);
    free(info->backing_format);
    free(info->data_file);
    *info = (struct byre_info){ 0 };
}

/* The name of the external data file, where the header records one. */
static int take_data_file(const struct byre_qcow2_header *header, struct byre_info *info,
                          struct byre_error *err)
{
    const struct byre_qcow2_extension *extension =
        byre_qcow2_header_find_extension(header, BYRE_QCOW2_EXT_DATA_FILE);

    if (!extension || extension->length == 0 || !(header->incompatible & BYRE_QCOW2_INCOMPAT_DATA_FILE))
        return 0;
    info->data_file = strndup((const char *)extension->data, extension->length);
    return info->data_file ? 0 : byre_error_set_errno(err, -ENOMEM, "header");
}

/* Moves the names from `header`, which keeps none. */
static int take_names(struct byre_qcow2_header *header, const char *path, struct byre_info *info,
                      struct byre_error *err)
{
    info->backing_name = STEAL(header->backing_name);
    info->backing_format = STEAL(header->backing_format);
    if (info->backing_name) {
        info->backing_path = byre_resolve_name_beside(path, info->name, info->backing_name);
        if (!info->backing_path)
            return byre_error_set_errno(err, -ENOMEM, "backing file name");
    }
    return take_data_file(header, info, err);
}

static void take_features(const struct byre_qcow2_header *header, struct byre_info *info)
{
    info->virtual_size = byre_round_down(header->size, SECTOR);
    info->version = header->version;
    info->cluster_size = 1U << header->cluster_bits;
    info->refcount_bits = 1U << header->refcount_order;
    info->dirty = header->incompatible & BYRE_QCOW2_INCOMPAT_DIRTY;
    info->corrupt = header->incompatible & BYRE_QCOW2_INCOMPAT_CORRUPT;
    info->extended_l2 = header->incompatible & BYRE_QCOW2_INCOMPAT_EXTENDED_L2;
    info->lazy_refcounts = header->compatible & BYRE_QCOW2_COMPAT_LAZY_REFCOUNTS;
    info->data_file_raw = header->autoclear & BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    info->compression_type = header->compression == BYRE_COMPRESSION_ZSTD ? "zstd" : "zlib";
    info->encrypted = header->crypt_method != 0;
    if (header->crypt_method == BYRE_QCOW2_CRYPT_AES)
        info->encryption_format = "aes";
    else if (header->crypt_method == BYRE_QCOW2_CRYPT_LUKS)
        info->encryption_format = "luks";
}

static void take_luks(const struct byre_luks_header *header, struct byre_luks_info *ret_info)
{
    static const char *const ciphers[] = { "aes-128", "aes-192", "aes-256" };
    const struct byre_cipher_spec *spec = &header->spec;

    *ret_info = (struct byre_luks_info){
        .ivgen_alg = byre_ivgen_name(spec->ivgen),
        .ivgen_hash_alg = spec->ivgen != BYRE_IVGEN_ESSIV ? NULL : byre_hash_name((enum byre_hash)spec->ivgen_hash),
        .hash_alg = byre_hash_name(header->hash),
        .cipher_alg = ciphers[spec->bits / 64 - 2],
        .cipher_mode = byre_cipher_mode_name(spec->mode),
        .payload_offset = (uint64_t)header->payload_sector * SECTOR,
        .master_key_iters = header->iterations,
    };
    memcpy(ret_info->uuid, header->uuid, sizeof ret_info->uuid);
    for (unsigned i = 0; i < BYRE_LUKS_SLOTS; i++) {
        ret_info->slots[i] = (struct byre_luks_slot_info){
            .active = header->slots[i].active,
            .iters = header->slots[i].iterations,
            .stripes = BYRE_LUKS_STRIPES,
            .key_offset = (uint64_t)header->slots[i].material_sector * SECTOR,
        };
    }
}

/* The encryption header of a qcow2 image. */
static int read_crypt(struct byre_store *store, const struct byre_qcow2_header *header, struct byre_info *info,
                      struct byre_error *err)
{
    struct byre_luks_volume volume;
    int rc;

    if (header->crypt_method != BYRE_QCOW2_CRYPT_LUKS)
        return 0;
    rc = byre_qcow2_crypt_load(store, header, &volume, err);
    if (rc == 0)
        take_luks(&volume.header, &info->luks);
    return rc;
}

/* A file in LUKS. */
static int read_luks(struct byre_store *store, struct byre_info *info, struct byre_error *err)
{
    struct byre_luks_volume volume;
    int rc = byre_luks_volume_load(store, 0, info->file_size, &volume, err);

    if (rc < 0)
        return rc;
    take_luks(&volume.header, &info->luks);
    info->encrypted = true;
    info->encryption_format = "luks";
    info->virtual_size = byre_round_up(info->file_size - byre_luks_volume_payload(&volume), SECTOR);
    return 0;
}

static int read_qcow2(struct byre_store *store, const char *path, struct byre_info *info, struct byre_error *err)
{
    struct byre_qcow2_header header;
    int rc = byre_qcow2_header_read(store, &header, err);

    if (rc < 0)
        return rc;
    take_features(&header, info);
    /* Tables past the end of the file are for check to report: what the header says can still be told. */
    rc = byre_qcow2_header_check_tables(&header, UINT64_MAX, err);
    if (rc == 0)
        rc = take_names(&header, path, info, err);
    if (rc == 0)
        rc = byre_info_read_snapshots(store, &header, info, err);
    if (rc == 0)
        rc = byre_info_read_bitmaps(store, &header, info, err);
    if (rc == 0)
        rc = read_crypt(store, &header, info, err);
    if (rc < 0)
        byre_error_prepend(err, "Could not open '%s': ", store->name);
    byre_qcow2_header_done(&header);
    return rc;
}

static void forget_names(struct byre_info *info)
{
    free(info->backing_name);
    free(info->backing_path);
    free(info->backing_format);
    info->backing_name = info->backing_path = info->backing_format = NULL;
}

/* What an image is read from. */
struct subject {
    struct byre_store *store;
    char *name;         /* as QEMU prints it: taken */
    const char *path;   /* of the file at the bottom; NULL: there is none */
    const char *driver;
    bool is_qcow2, is_luks;
    bool has_file;      /* device and inode are those of the file at the bottom */
    dev_t dev;
    ino_t ino;
};

static int read_subject(const struct subject *subject, struct byre_info *info, struct byre_error *err)
{
    int rc;

    info->name = subject->name;
    info->format = subject->driver;
    if (subject->has_file) {
        info->file_device = subject->dev;
        info->file_inode = subject->ino;
    }
    if (!info->name)
        return byre_error_set_errno(err, -ENOMEM, "image name");
    rc = byre_store_size(subject->store, &info->file_size, err);
    if (rc == 0)
        rc = byre_store_allocated_size(subject->store, &info->allocated_size, err);
    if (rc < 0)
        return rc;
    if (subject->is_qcow2)
        rc = read_qcow2(subject->store, subject->path, info, err);
    /* A filter shows the size of what it stands on, and has no backing file of its own. */
    if (subject->is_qcow2 && strcmp(info->format, "qcow2") != 0)
        forget_names(info);
    if (subject->is_qcow2)
        return rc;
    if (subject->is_luks)
        return read_luks(subject->store, info, err);
    info->virtual_size = byre_round_up(info->file_size, SECTOR);
    return 0;
}

static int read_source(const struct byre_source *source, struct byre_info *info, struct byre_error *err)
{
    const struct subject subject = {
        .store = source->node.store,
        .name = byre_node_name(&source->node),
        .path = source->node.path,
        .driver = source->driver,
        .is_qcow2 = source->is_qcow2,
        .is_luks = source->is_luks,
        .has_file = source->node.has_file,
        .dev = source->node.dev,
        .ino = source->node.ino,
    };

    return read_subject(&subject, info, err);
}

int byre_info_of_layer(struct byre_disk *disk, unsigned layer, struct byre_info *ret_info, struct byre_error *err)
{
    const struct byre_layer *l = &disk->layers[layer];
    const struct subject subject = {
        .store = l->luks ? l->file_store : l->store,
        .name = strdup(l->name),
        .path = l->path,
        .driver = l->driver ? l->driver : byre_layer_format(disk, layer),
        .is_qcow2 = l->qcow2,
        .is_luks = l->luks,
        .has_file = l->has_file,
        .dev = l->dev,
        .ino = l->ino,
    };
    struct byre_info info = { 0 };
    int rc = read_subject(&subject, &info, err);

    if (rc < 0) {
        byre_info_done(&info);
        return rc;
    }
    *ret_info = info;
    return 0;
}

int byre_info_read(const char *name, const char *format, bool force_share, struct byre_info *ret_info,
                   struct byre_error *err)
{
    return byre_info_read_as(name, format, force_share, NULL, ret_info, err);
}

int byre_info_read_as(const char *name, const char *format, bool force_share, const struct byre_secrets *secrets,
                      struct byre_info *ret_info, struct byre_error *err)
{
    const struct byre_node_mode mode = { .force_share = force_share, .secrets = secrets };
    struct byre_info info = { 0 };
    struct byre_source source;
    int rc = byre_source_open_name(name, format, &mode, false, &source, err);

    if (rc < 0) {
        byre_disk_name_error(err, name);
        return rc;
    }
    rc = read_source(&source, &info, err);
    if (rc < 0 && source.is_luks)
        byre_disk_name_error(err, name);
    byre_source_done(&source);
    if (rc < 0) {
        byre_info_done(&info);
        return rc;
    }
    *ret_info = info;
    return 0;
}
