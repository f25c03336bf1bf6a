/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Amending the options of a disk's top image: what is asked for is judged here, and made by the engine one thing after
 * the other.
 *
 * The gate is closed: no other call is under way.  Where the engine moves data about, a new flat map takes the place of
 * the old one.
 */
#include "config.h"

#include "byre/amend.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "disk/disk.h"
#include "qcow2/amend.h"

static bool same_name(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* What would need another file to be looked at is not for amend. */
static int check_names(const struct byre_qcow2_header *header, const struct byre_amend_options *options,
                       struct byre_error *err)
{
    if ((options->backing_name || options->backing_format) &&
        !(same_name(options->backing_name, header->backing_name) &&
          same_name(options->backing_format, header->backing_format)))
        return byre_error_set(err, -EINVAL, "Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.");
    if (options->data_file && !(header->incompatible & BYRE_QCOW2_INCOMPAT_DATA_FILE))
        return byre_error_set(err, -EINVAL, "data-file can only be set for images that use an external data file");
    if (options->data_file_raw_set && options->data_file_raw &&
        !(header->autoclear & BYRE_QCOW2_AUTOCLEAR_DATA_FILE_RAW))
        return byre_error_set(err, -EINVAL, "data-file-raw cannot be set on existing images");
    return 0;
}

static unsigned order_of(unsigned bits)
{
    unsigned order = 0;

    while (1u << order < bits)
        order++;
    return order;
}

static int check_width(const struct byre_amend_options *options, unsigned version, struct byre_error *err)
{
    unsigned bits = options->refcount_bits;

    if (bits > 64 || (bits & (bits - 1)))
        return byre_error_set(err, -EINVAL, "Refcount width must be a power of two and may not exceed 64 bits");
    if (bits && bits != 16 && version < 3)
        return byre_error_set(err, -EINVAL, "Refcount widths other than 16 bits require compatibility level 1.1 or "
                              "above (use compat=1.1 or greater)");
    return 0;
}

/* 0: an unknown level. */
static unsigned version_of(const char *compat)
{
    if (strcmp(compat, "0.10") == 0 || strcmp(compat, "v2") == 0)
        return 2;
    return strcmp(compat, "1.1") == 0 || strcmp(compat, "v3") == 0 ? 3 : 0;
}

/* What the image is to be in the end: *ret_version. */
static int check_version(struct byre_qcow2 *image, const struct byre_amend_options *options, unsigned *ret_version,
                         struct byre_error *err)
{
    const struct byre_qcow2_header *header = byre_qcow2_header(image);
    unsigned version = options->compat ? version_of(options->compat) : header->version;

    if (!version)
        return byre_error_set(err, -EINVAL, "Unknown compatibility level %s", options->compat);
    if (options->lazy_set && options->lazy_refcounts && version < 3)
        return byre_error_set(err, -EINVAL, "Lazy refcounts only supported with compatibility level 1.1 and above (use "
                              "compat=1.1 or greater)");
    *ret_version = version;
    return check_width(options, version, err);
}

/* Once all else has been done. */
static int check_downgrade(struct byre_qcow2 *image, const struct byre_amend_options *options, struct byre_error *err)
{
    const struct byre_qcow2_header *header = byre_qcow2_header(image);
    unsigned order = options->refcount_bits ? order_of(options->refcount_bits) : header->refcount_order;

    return byre_qcow2_check_downgrade(image, order, options->size_set && options->size ? options->size : header->size,
                                      err);
}

/* What a later step would find out, when an earlier one has changed the image. */
static int check_steps(struct byre_qcow2 *image, const struct byre_amend_options *options, unsigned version,
                       struct byre_error *err)
{
    const struct byre_qcow2_header *header = byre_qcow2_header(image);
    bool upgrades = version > header->version;
    int r = 0;

    if (options->size_set && options->size)
        r = byre_qcow2_check_resize(image, options->size, MAX(version, header->version), err);
    if (r == 0 && options->refcount_bits && (upgrades || options->data_file))
        r = byre_qcow2_check_refcount_order(image, order_of(options->refcount_bits), err);
    if (r == 0 && version < header->version)
        r = check_downgrade(image, options, err);
    return r;
}

static int check(struct byre_disk *disk, const struct byre_amend_options *options, unsigned *ret_version,
                 struct byre_error *err)
{
    const struct byre_layer *top = &disk->layers[0];
    unsigned version = 0;
    int r = byre_disk_check_writable(disk, err);

    if (r < 0)
        return r;
    if (!top->qcow2)
        return byre_error_set(err, -ENOTSUP, "Format driver '%s' does not support option amendment",
                              top->luks ? "luks" : "raw");
    if (disk->unsealed)
        return byre_error_set(err, -EINVAL, "'%s' is no image before it is sealed", top->name);
    r = check_version(top->qcow2, options, &version, err);
    if (r == 0)
        r = check_names(byre_qcow2_header(top->qcow2), options, err);
    if (r == 0)
        r = byre_disk_flush(disk, err);
    if (r == 0)
        r = check_steps(top->qcow2, options, version, err);
    *ret_version = version;
    return r;
}

/* What is in the header alone. */
static int amend_header(struct byre_qcow2 *image, const struct byre_amend_options *options, struct byre_error *err)
{
    int r = 0;

    if (options->data_file_raw_set && !options->data_file_raw)
        r = byre_qcow2_drop_data_raw(image, err);
    if (r == 0 && options->lazy_set)
        r = byre_qcow2_set_lazy(image, options->lazy_refcounts, err);
    return r;
}

/* All but the size, and what has to come after that. */
static int amend(struct byre_disk *disk, const struct byre_amend_options *options,
                 const struct byre_amend_progress *progress, unsigned *ret_version, struct byre_error *err)
{
    struct byre_qcow2 *image = disk->layers[0].qcow2;
    int r = check(disk, options, ret_version, err);

    /* First: the header may have no room for the name. */
    if (r == 0 && options->data_file)
        r = byre_qcow2_rename_data_file(image, *options->data_file ? options->data_file : NULL, err);
    if (r == 0 && *ret_version >= 3)
        r = byre_qcow2_upgrade(image, progress, err);
    if (r == 0 && options->refcount_bits)
        r = byre_qcow2_set_refcount_order(image, order_of(options->refcount_bits), progress, err);
    return r < 0 ? r : amend_header(image, options, err);
}

int byre_amend(struct byre_disk *disk, const struct byre_amend_options *options, struct byre_error *err)
{
    const struct byre_amend_progress progress = { .report = options->progress, .opaque = options->opaque };
    unsigned version = 0;
    int r;

    byre_gate_close(&disk->gate);
    r = byre_disk_finish(disk, amend(disk, options, &progress, &version, err));
    byre_gate_open(&disk->gate);
    /* This closes the gate itself. */
    if (r == 0 && options->size_set && options->size)
        r = byre_truncate(disk, options->size, NULL, err);
    if (r < 0 || version >= 3)
        return r;
    byre_gate_close(&disk->gate);
    r = byre_disk_finish(disk, byre_qcow2_downgrade(disk->layers[0].qcow2, &progress, err));
    byre_gate_open(&disk->gate);
    return r;
}
