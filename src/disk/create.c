/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making new images.
 *
 *   N1. Everything that can be refused is refused before a file is made or truncated; the backing chain is
 *       opened before, too.
 *   N2. A file that was made here is removed unless it is sealed.  One that was there before, and a device,
 *       stay.
 *   N3. Before it is sealed, a qcow2 file has no magic.
 */
#include "config.h"

#include "byre/create.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/data_file.h"
#include "disk/disk.h"
#include "disk/encrypt.h"
#include "disk/nbd_name.h"
#include "disk/open.h"
#include "disk/resize.h"
#include "store/file.h"

#define DEFAULT_CLUSTER_SIZE 65536u
#define DEFAULT_REFCOUNT_BITS 16u

/* The options as numbers. */
struct plan {
    bool qcow2, luks;
    struct byre_encrypt_plan encrypt;
    uint64_t size;
    struct byre_qcow2_create_options image; /* qcow2; its preallocation counts for raw as well */
};

/* --- reading the options -------------------------------------------------------------------------------- */

/* The index of `word` in `words`, or -1. */
static int find_word(const char *word, const char *const *words, int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(word, words[i]) == 0)
            return i;
    }
    return -1;
}

static int bad_value(const char *option, const char *value, struct byre_error *err)
{
    return byre_error_set(err, -EINVAL, "Parameter '%s' does not accept value '%s'", option, value);
}

static int plan_preallocation(const char *word, struct plan *plan, struct byre_error *err)
{
    bool known = byre_disk_preallocation_mode(word, &plan->image.preallocation);

    if (!known && !plan->qcow2)
        return byre_error_set(err, -EINVAL, "invalid parameter value: %s", word);
    if (!known)
        return bad_value("preallocation", word, err);
    if (plan->image.preallocation == BYRE_PREALLOC_METADATA && !plan->qcow2 && !plan->luks)
        return byre_error_set(err, -EINVAL, "Unsupported preallocation mode: %s", word);
    return 0;
}

static int plan_version(const char *compat, struct plan *plan, struct byre_error *err)
{
    static const char *const words[] = { "0.10", "v2", "1.1", "v3" };
    int i = compat ? find_word(compat, words, ARRAY_LEN(words)) : 3;

    if (i < 0)
        return bad_value("version", compat, err);
    plan->image.version = i < 2 ? 2 : 3;
    return 0;
}

static int plan_compression(const char *word, struct plan *plan, struct byre_error *err)
{
    static const char *const words[] = { "zlib", "zstd" };
    int i = word ? find_word(word, words, ARRAY_LEN(words)) : BYRE_COMPRESSION_ZLIB;

    if (i < 0)
        return bad_value("compression-type", word, err);
    plan->image.compression = (unsigned)i;
    return 0;
}

/* What is no power of two becomes a width that there is not. */
static void plan_widths(const struct byre_create_options *options, struct plan *plan)
{
    uint32_t cluster_size = options->cluster_size ? options->cluster_size : DEFAULT_CLUSTER_SIZE;
    unsigned bits = options->refcount_bits ? options->refcount_bits : DEFAULT_REFCOUNT_BITS;

    plan->image.cluster_bits = byre_is_power_of_two(cluster_size) ? byre_log2(cluster_size) : UINT_MAX;
    plan->image.refcount_order = byre_is_power_of_two(bits) ? byre_log2(bits) : UINT_MAX;
}

static int plan_backing(const struct byre_create_options *options, struct plan *plan, struct byre_error *err)
{
    const char *name = options->backing_name, *format = options->backing_format;

    if (format && !name)
        return byre_error_set(err, -EINVAL, "Backing format cannot be used without backing file");
    if (name && !*name)
        return byre_error_set(err, -EINVAL, "Expected backing file name, got empty string");
    if (name && !format)
        return byre_error_set(err, -EINVAL, "Backing file '%s' specified without backing format", name);
    if (format && !byre_format_known(format))
        return bad_value("backing-fmt", format, err);
    if (name && strlen(name) > BYRE_QCOW2_BACKING_NAME_MAX)
        return byre_error_set(err, -EINVAL, "Could not assign backing file '%.64s...': its name is longer "
                              "than %u bytes", name, BYRE_QCOW2_BACKING_NAME_MAX);
    plan->image.backing_name = name;
    plan->image.backing_format = format;
    return 0;
}

static int plan_data_file(const struct byre_create_options *options, struct plan *plan, struct byre_error *err)
{
    const char *name = options->data_file;

    if (options->data_file_raw && !name)
        return byre_error_set(err, -EINVAL, "data-file-raw requires data-file");
    if (options->keep_data_file && !name)
        return byre_error_set(err, -EINVAL, "keep_data_file requires data_file");
    if (options->keep_data_file && plan->image.preallocation > BYRE_PREALLOC_METADATA)
        return byre_error_set(err, -EINVAL, "preallocation of more than metadata would overwrite the data file, which "
                              "keep_data_file forbids");
    if (name && strlen(name) > BYRE_QCOW2_BACKING_NAME_MAX)
        return byre_error_set(err, -EINVAL, "the name of the data file '%.64s...' is longer than %u bytes", name,
                              BYRE_QCOW2_BACKING_NAME_MAX);
    plan->image.data_file = name;
    plan->image.data_raw = options->data_file_raw;
    plan->image.keep_data = options->keep_data_file;
    return 0;
}

/* An image that needs a larger L1 table than there may be, or bytes that no file offset reaches. */
static int plan_size(const struct byre_create_options *options, struct plan *plan, struct byre_error *err)
{
    struct byre_qcow2_header header = {
        .cluster_bits = plan->image.cluster_bits,
        .incompatible = plan->image.extended_l2 ? BYRE_QCOW2_INCOMPAT_EXTENDED_L2 : 0,
    };
    bool too_large = options->size > (uint64_t)INT64_MAX - BYRE_SECTOR;

    plan->size = too_large ? 0 : byre_round_up(options->size, BYRE_SECTOR);
    plan->image.size = plan->size;
    if (plan->qcow2 && !too_large)
        too_large = byre_qcow2_header_l1_needed(&header, plan->size) > BYRE_QCOW2_L1_BYTES_MAX / 8;
    if (!too_large)
        return 0;
    return byre_error_set(err, -EFBIG, "The image size is too large for file format '%s'%s", options->format,
                          plan->qcow2 ? " (try using a larger cluster size)" : "");
}

static int plan_qcow2(const struct byre_create_options *options, struct plan *plan, struct byre_error *err)
{
    int r = plan_version(options->compat, plan, err);

    plan_widths(options, plan);
    plan->image.lazy_refcounts = options->lazy_refcounts;
    plan->image.extended_l2 = options->extended_l2;
    if (r == 0)
        r = plan_compression(options->compression_type, plan, err);
    if (r == 0)
        r = plan_backing(options, plan, err);
    if (r == 0)
        r = plan_data_file(options, plan, err);
    return r == 0 ? byre_qcow2_create_check(&plan->image, err) : r;
}

static int plan_qcow2_encryption(const struct byre_create_options *options, struct plan *plan, struct byre_error *err)
{
    const struct byre_encrypt_options *encrypt = &options->encrypt;
    bool is_set = encrypt->key_secret || encrypt->cipher_alg || encrypt->cipher_mode || encrypt->ivgen_alg ||
                  encrypt->ivgen_hash_alg || encrypt->hash_alg || encrypt->iter_time;
    int r;

    if (!encrypt->format && is_set)
        return byre_error_set(err, -EINVAL, "Parameter 'encrypt.format' is missing");
    if (!encrypt->format)
        return 0;
    if (strcmp(encrypt->format, "aes") == 0)
        return byre_error_set(err, -ENOTSUP, "AES-CBC encryption is broken, and only read: use encrypt.format=luks");
    if (strcmp(encrypt->format, "luks") != 0)
        return bad_value("format", encrypt->format, err);
    if (options->keep_data_file)
        return byre_error_set(err, -EINVAL, "what keep_data_file keeps is not encrypted with the key of a new image");
    r = byre_encrypt_plan(encrypt, "encrypt.", options->secrets, &plan->encrypt, err);
    plan->image.luks = &plan->encrypt.luks;
    plan->image.password = plan->encrypt.password;
    return r;
}

/* Options that a raw image has not. */
static int check_raw_like(const struct byre_create_options *options, struct byre_error *err)
{
    const struct {
        const char *name;
        bool is_set;
    } others[] = {
        { "cluster_size", options->cluster_size != 0 },
        { "compat", options->compat != NULL },
        { "refcount_bits", options->refcount_bits != 0 },
        { "lazy_refcounts", options->lazy_refcounts },
        { "extended_l2", options->extended_l2 },
        { "compression_type", options->compression_type != NULL },
        { "data_file", options->data_file != NULL },
        { "data_file_raw", options->data_file_raw },
        { "keep_data_file", options->keep_data_file },
        { "backing_file", options->backing_name != NULL },
        { "backing_fmt", options->backing_format != NULL },
    };

    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (others[i].is_set)
            return byre_error_set(err, -EINVAL, "Invalid parameter '%s' for file format '%s'",
                                  others[i].name, options->format);
    }
    return 0;
}

static int make_plan(const struct byre_create_options *options, struct plan *plan, struct byre_error *err)
{
    int r;

    *plan = (struct plan){ 0 };
    if (!options->format || !byre_format_known(options->format))
        return byre_error_set(err, -EINVAL, "Unknown file format '%s'",
                              options->format ? options->format : "");
    plan->qcow2 = strcmp(options->format, "qcow2") == 0;
    plan->luks = strcmp(options->format, "luks") == 0;
    r = plan_preallocation(options->preallocation, plan, err);
    if (r == 0)
        r = plan->qcow2 ? plan_qcow2(options, plan, err) : check_raw_like(options, err);
    if (r == 0 && plan->qcow2)
        r = plan_qcow2_encryption(options, plan, err);
    if (r == 0 && plan->luks)
        r = byre_encrypt_plan(&options->encrypt, "", options->secrets, &plan->encrypt, err);
    return r == 0 ? plan_size(options, plan, err) : r;
}

/* --- the name ------------------------------------------------------------------------------------------- */

/* The path that the name of a new image stands for: only files and devices can be made images.  *ret_path is owned. */
static int path_of(const char *name, char **ret_path, struct byre_error *err)
{
    static const char device[] = "host_device:";
    static const char *const others[] = { "blkdebug:", "null-aio:", "null-co:" };

    for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
        if (strncmp(name, others[i], strlen(others[i])) == 0)
            return byre_error_set(err, -ENOTSUP, "Protocol driver '%.*s' does not support image creation",
                                  (int)strlen(others[i]) - 1, others[i]);
    }
    if (byre_nbd_name_is(name))
        return byre_error_set(err, -ENOTSUP, "Protocol driver 'nbd' does not support image creation");
    if (strncmp(name, device, sizeof device - 1) == 0) {
        *ret_path = byre_name_of_path(name + sizeof device - 1);
    } else {
        int r = byre_name_check(name, err);

        if (r < 0)
            return r;
        *ret_path = byre_name_to_path(name);
    }
    return *ret_path ? 0 : byre_error_set_errno(err, -ENOMEM, "Could not create '%s'", name);
}

/* --- making the file ------------------------------------------------------------------------------------ */

static int make_raw(struct byre_layer *layer, const struct plan *plan, struct byre_error *err)
{
    int r = byre_store_truncate(layer->store, plan->size, err);

    if (r == 0 && plan->image.preallocation == BYRE_PREALLOC_FALLOC)
        r = byre_store_allocate(layer->store, 0, plan->size, err);
    if (r == 0 && plan->image.preallocation == BYRE_PREALLOC_FULL)
        r = byre_disk_write_full(layer->store, 0, plan->size, err);
    layer->size = plan->size;
    return r;
}

static int make_file(struct byre_disk *disk, struct plan *plan,
                     const struct byre_open_options *open_options, struct byre_error *err)
{
    const struct byre_file_options file_options = {
        .cache = open_options->cache,
        .create = true,
        .no_lock = open_options->no_lock,
    };
    struct byre_layer *layer = &disk->layers[0];
    int r = byre_file_open(layer->name, &file_options, &layer->store, &disk->created, err);

    if (r < 0)
        return r;
    disk->unsealed = true;
    disk->kept_data = plan->image.keep_data;
    if (plan->luks)
        r = byre_layer_make_luks(layer, &plan->encrypt, err);
    if (r < 0)
        return r;
    if (!plan->qcow2)
        return make_raw(layer, plan, err);
    if (plan->image.data_file)
        r = byre_data_file_create(disk, plan->image.data_file, plan->image.backing_name,
                                  plan->image.keep_data, open_options, err);
    plan->image.data = layer->data_file;
    if (r == 0)
        r = byre_qcow2_create(layer->store, &plan->image, &layer->qcow2, err);
    layer->size = plan->size;
    return r;
}

static int make_disk(struct byre_disk *disk, const char *name, struct plan *plan,
                     const struct byre_open_options *open_options, struct byre_error *err)
{
    int r = 0;

    if (!byre_disk_add_layer(disk, name))
        return byre_error_set_errno(err, -ENOMEM, "Could not create '%s'", name);
    if (plan->image.backing_name && !open_options->no_backing)
        r = byre_disk_open_chain(disk, plan->image.backing_name, plan->image.backing_format, open_options,
                                 err);
    if (r == 0)
        r = make_file(disk, plan, open_options, err);
    return r == 0 ? byre_disk_complete(disk, open_options, err) : r;
}

int byre_create_check_name(const char *name, struct byre_error *err)
{
    CLEANUP(free_ptr) char *path = NULL;

    return path_of(name, &path, err);
}

int byre_create_open(const char *name, const struct byre_create_options *options,
                     const struct byre_open_options *open_options, struct byre_disk **ret_disk,
                     struct byre_error *err)
{
    struct byre_open_options writable = open_options ? *open_options : (struct byre_open_options){ 0 };
    CLEANUP(free_ptr) char *path = NULL;
    struct byre_disk *disk;
    struct plan plan;
    int r = path_of(name, &path, err);

    if (r == 0)
        r = make_plan(options, &plan, err);
    if (r < 0)
        return r;
    if (!*path)
        return byre_error_set_errno(err, -ENOENT, "Could not create '%s'", path);
    writable.writable = true;
    disk = byre_disk_new();
    if (!disk)
        return byre_error_set_errno(err, -ENOMEM, "Could not create '%s'", name);
    r = make_disk(disk, path, &plan, &writable, err);
    if (r < 0) {
        byre_disk_free(disk, NULL);
        return r;
    }
    *ret_disk = disk;
    return 0;
}

int byre_seal(struct byre_disk *disk, struct byre_error *err)
{
    int r;

    if (!disk->unsealed)
        return 0;
    r = disk->layers[0].qcow2 ? byre_qcow2_seal(disk->layers[0].qcow2, err) : byre_flush(disk, err);
    if (r == 0)
        disk->unsealed = false;
    return r;
}

int byre_create(const char *name, const struct byre_create_options *options, struct byre_error *err)
{
    const struct byre_open_options open_options = { .no_backing = true };
    struct byre_disk *disk;
    int r = byre_create_open(name, options, &open_options, &disk, err);

    if (r < 0)
        return r;
    r = byre_seal(disk, err);
    if (r < 0) {
        byre_disk_free(disk, NULL);
        return r;
    }
    return byre_close(disk, err);
}

int byre_create_check_backing(const char *name, const char *backing_name, const char *backing_format,
                              bool protocol_backing, const struct byre_secrets *secrets, uint64_t *ret_size,
                              const char **ret_format, struct byre_error *err)
{
    const struct byre_open_options options = {
        .format = backing_format, .protocol_backing = protocol_backing, .secrets = secrets,
    };
    CLEANUP(free_ptr) char *path = NULL, *backing = NULL;
    struct byre_disk *disk;
    int r = path_of(name, &path, err);

    if (r < 0)
        return r;
    backing = byre_resolve_name(path, backing_name);
    if (!backing)
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", backing_name);
    r = byre_disk_open(backing, &options, &disk, err);
    if (r < 0)
        return r;
    *ret_size = byre_get_size(disk);
    *ret_format = byre_layer_format(disk, 0);
    byre_close(disk, NULL);
    return 0;
}
