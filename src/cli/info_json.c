/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The JSON of byre info: members are added in the order in which qemu-img prints them.
 */
#include "config.h"

#include "cli/info_print.h"

#include <string.h>

#include "cli/json.h"

static json_t *snapshot_to_json(const struct byre_snapshot_info *snapshot)
{
    json_t *object = byre_json_object();

    if (snapshot->icount != UINT64_MAX)
        byre_json_add_number(object, "icount", snapshot->icount);
    byre_json_add_number(object, "vm-clock-nsec", snapshot->vm_clock_nsec % 1000000000);
    byre_json_add_text(object, "name", snapshot->name);
    byre_json_add_number(object, "date-sec", snapshot->date_sec);
    byre_json_add_number(object, "date-nsec", snapshot->date_nsec);
    byre_json_add_number(object, "vm-clock-sec", snapshot->vm_clock_nsec / 1000000000);
    byre_json_add_text(object, "id", snapshot->id);
    byre_json_add_number(object, "vm-state-size", snapshot->vm_state_size);
    return object;
}

static void add_snapshots(json_t *object, const struct byre_info *info)
{
    json_t *array;

    if (!info->snapshot_count)
        return;
    array = byre_json_array();
    for (unsigned i = 0; i < info->snapshot_count; i++)
        byre_json_append(array, snapshot_to_json(&info->snapshots[i]));
    byre_json_add(object, "snapshots", array);
}

static json_t *bitmap_to_json(const struct byre_bitmap_info *bitmap)
{
    json_t *object = byre_json_object(), *flags = byre_json_array();

    if (bitmap->in_use)
        byre_json_append(flags, byre_json_text("in-use"));
    if (bitmap->enabled)
        byre_json_append(flags, byre_json_text("auto"));
    byre_json_add(object, "flags", flags);
    byre_json_add_text(object, "name", bitmap->name);
    byre_json_add_number(object, "granularity", bitmap->granularity);
    return object;
}

static void add_bitmaps(json_t *object, const struct byre_info *info)
{
    json_t *array;

    if (!info->bitmap_count)
        return;
    array = byre_json_array();
    for (unsigned i = 0; i < info->bitmap_count; i++)
        byre_json_append(array, bitmap_to_json(&info->bitmaps[i]));
    byre_json_add(object, "bitmaps", array);
}

static json_t *qcow2_to_json(const struct byre_info *info)
{
    json_t *specific = byre_json_object(), *data = byre_json_object(), *encrypt;

    byre_json_add_text(data, "compat", info->version < 3 ? "0.10" : "1.1");
    byre_json_add_text(data, "compression-type", info->compression_type);
    if (info->version >= 3) {
        byre_json_add_bool(data, "lazy-refcounts", info->lazy_refcounts);
        add_bitmaps(data, info);
    }
    byre_json_add_number(data, "refcount-bits", info->refcount_bits);
    if (info->encryption_format) {
        encrypt = byre_json_object();
        byre_json_add_text(encrypt, "format", info->encryption_format);
        byre_json_add(data, "encrypt", encrypt);
    }
    if (info->data_file) {
        byre_json_add_text(data, "data-file", info->data_file);
        byre_json_add_bool(data, "data-file-raw", info->data_file_raw);
    }
    if (info->version >= 3) {
        byre_json_add_bool(data, "corrupt", info->corrupt);
        byre_json_add_bool(data, "extended-l2", info->extended_l2);
    }
    byre_json_add_text(specific, "type", "qcow2");
    byre_json_add(specific, "data", data);
    return specific;
}

json_t *byre_info_to_json(const struct byre_info *info)
{
    json_t *object = byre_json_object();

    byre_json_add_text(object, "backing-filename-format", info->backing_format);
    add_snapshots(object, info);
    byre_json_add_number(object, "virtual-size", info->virtual_size);
    byre_json_add_text(object, "filename", info->name);
    if (info->cluster_size)
        byre_json_add_number(object, "cluster-size", info->cluster_size);
    byre_json_add_text(object, "format", info->format);
    if (info->allocated_size != UINT64_MAX)
        byre_json_add_number(object, "actual-size", info->allocated_size);
    if (strcmp(info->format, "qcow2") == 0)
        byre_json_add(object, "format-specific", qcow2_to_json(info));
    byre_json_add_text(object, "full-backing-filename", info->backing_name ? info->backing_path : NULL);
    if (info->encrypted)
        byre_json_add_bool(object, "encrypted", true);
    byre_json_add_text(object, "backing-filename", info->backing_name);
    byre_json_add_bool(object, "dirty-flag", info->dirty);
    return object;
}
