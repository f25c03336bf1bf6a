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

static json_t *slot_to_json(const struct byre_luks_slot_info *slot)
{
    json_t *object = byre_json_object();

    byre_json_add_bool(object, "active", slot->active);
    if (slot->active)
        byre_json_add_number(object, "iters", slot->iters);
    byre_json_add_number(object, "key-offset", slot->key_offset);
    if (slot->active)
        byre_json_add_number(object, "stripes", slot->stripes);
    return object;
}

static json_t *luks_to_json(const struct byre_info *info)
{
    const struct byre_luks_info *luks = &info->luks;
    json_t *object = byre_json_object(), *slots = byre_json_array();

    byre_json_add_text(object, "ivgen-alg", luks->ivgen_alg);
    byre_json_add_text(object, "hash-alg", luks->hash_alg);
    byre_json_add_text(object, "cipher-alg", luks->cipher_alg);
    byre_json_add_text(object, "uuid", luks->uuid);
    byre_json_add_text(object, "ivgen-hash-alg", luks->ivgen_hash_alg);
    if (strcmp(info->format, "luks") != 0)
        byre_json_add_text(object, "format", "luks");
    byre_json_add_text(object, "cipher-mode", luks->cipher_mode);
    for (unsigned i = 0; i < 8; i++)
        byre_json_append(slots, slot_to_json(&luks->slots[i]));
    byre_json_add(object, "slots", slots);
    byre_json_add_number(object, "payload-offset", luks->payload_offset);
    byre_json_add_number(object, "master-key-iters", luks->master_key_iters);
    return object;
}

static json_t *encryption_to_json(const struct byre_info *info)
{
    json_t *object;

    if (strcmp(info->encryption_format, "luks") == 0)
        return luks_to_json(info);
    object = byre_json_object();
    byre_json_add_text(object, "format", info->encryption_format);
    return object;
}

static json_t *specific_to_json(const char *type, json_t *data)
{
    json_t *object = byre_json_object();

    byre_json_add_text(object, "type", type);
    byre_json_add(object, "data", data);
    return object;
}

static json_t *qcow2_to_json(const struct byre_info *info)
{
    json_t *data = byre_json_object();

    byre_json_add_text(data, "compat", info->version < 3 ? "0.10" : "1.1");
    byre_json_add_text(data, "compression-type", info->compression_type);
    if (info->version >= 3) {
        byre_json_add_bool(data, "lazy-refcounts", info->lazy_refcounts);
        add_bitmaps(data, info);
    }
    byre_json_add_number(data, "refcount-bits", info->refcount_bits);
    if (info->encryption_format)
        byre_json_add(data, "encrypt", encryption_to_json(info));
    if (info->data_file) {
        byre_json_add_text(data, "data-file", info->data_file);
        byre_json_add_bool(data, "data-file-raw", info->data_file_raw);
    }
    if (info->version >= 3) {
        byre_json_add_bool(data, "corrupt", info->corrupt);
        byre_json_add_bool(data, "extended-l2", info->extended_l2);
    }
    return data;
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
        byre_json_add(object, "format-specific", specific_to_json("qcow2", qcow2_to_json(info)));
    if (strcmp(info->format, "luks") == 0)
        byre_json_add(object, "format-specific", specific_to_json("luks", luks_to_json(info)));
    byre_json_add_text(object, "full-backing-filename", info->backing_name ? info->backing_path : NULL);
    if (info->encrypted)
        byre_json_add_bool(object, "encrypted", true);
    byre_json_add_text(object, "backing-filename", info->backing_name);
    byre_json_add_bool(object, "dirty-flag", info->dirty);
    return object;
}
