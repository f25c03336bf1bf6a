/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmaps of a disk: those of its top image.  The gate keeps everybody else out while they change.
 */
#include "config.h"

#include "byre/bitmap.h"

#include <errno.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "disk/disk.h"
#include "qcow2/bitmap.h"

static struct byre_qcow2 *image_of(const struct byre_disk *disk)
{
    return disk->layers[0].qcow2;
}

static int not_found(const char *name, struct byre_error *err)
{
    return byre_error_set(err, -ENOENT, "Dirty bitmap '%s' not found", name);
}

static struct byre_bitmap_status status_of(struct byre_qcow2 *image, unsigned index)
{
    struct byre_qcow2_bitmap_state state;

    byre_qcow2_bitmap_get(image, index, &state);
    return (struct byre_bitmap_status){
        .name = state.name,
        .granularity = state.granularity_bits < 64 ? UINT64_C(1) << state.granularity_bits : 0,
        .enabled = state.enabled,
        .in_use = state.in_use,
        .inconsistent = state.inconsistent,
        .fault = state.fault,
    };
}

int byre_bitmap_list(struct byre_disk *disk, int (*each)(void *opaque, const struct byre_bitmap_status *status),
                     void *opaque, struct byre_error *err)
{
    GATE_SCOPE(&disk->gate);
    struct byre_qcow2 *image = image_of(disk);
    unsigned count = 0;
    bool stale;
    int r = image ? byre_qcow2_bitmaps_count(image, &count, &stale, err) : 0;

    for (unsigned i = 0; r == 0 && i < count; i++) {
        const struct byre_bitmap_status status = status_of(image, i);

        r = each(opaque, &status);
    }
    return r;
}

bool byre_bitmap_stale(struct byre_disk *disk)
{
    GATE_SCOPE(&disk->gate);
    unsigned count;
    bool stale = false;

    return image_of(disk) && byre_qcow2_bitmaps_count(image_of(disk), &count, &stale, NULL) == 0 && stale;
}

bool byre_bitmap_supported(const struct byre_disk *disk)
{
    return image_of(disk) && byre_qcow2_bitmaps_supported(image_of(disk));
}

/* --- changes: the gate is closed ------------------------------------------------------------------------- */

/* What is to be done with a bitmap. */
struct change {
    int (*run)(struct byre_disk *disk, const char *name, const struct change *change, struct byre_error *err);
    uint64_t granularity;
    bool enabled;
    struct byre_disk *source;
    const char *source_name;
};

static int run(struct byre_disk *disk, const char *name, const struct change *change, struct byre_error *err)
{
    int r;

    byre_gate_close(&disk->gate);
    if (disk->unsealed)
        r = byre_error_set(err, -EINVAL, "'%s' is no image before it is sealed", disk->layers[0].name);
    else
        r = change->run(disk, name, change, err);
    byre_gate_open(&disk->gate);
    return byre_disk_finish(disk, r);
}

static int run_add(struct byre_disk *disk, const char *name, const struct change *change, struct byre_error *err)
{
    uint64_t granularity = change->granularity;
    int r = byre_disk_check_writable(disk, err);

    if (r < 0)
        return r;
    if (granularity && (!byre_is_power_of_two(granularity) || granularity < BYRE_SECTOR || granularity > 1ull << 31))
        return byre_error_set(err, -EINVAL, "Granularity must be power of 2 and at least 512");
    if (!image_of(disk))
        return byre_error_set_errno(err, -ENOTSUP, "Can't store persistent bitmaps to %s", disk->layers[0].name);
    return byre_qcow2_bitmap_add(image_of(disk), name, granularity ? byre_log2(granularity) : 0, change->enabled, err);
}

static int run_remove(struct byre_disk *disk, const char *name, const struct change *change, struct byre_error *err)
{
    (void)change;
    return image_of(disk) ? byre_qcow2_bitmap_remove(image_of(disk), name, err) : not_found(name, err);
}

static int run_clear(struct byre_disk *disk, const char *name, const struct change *change, struct byre_error *err)
{
    (void)change;
    return image_of(disk) ? byre_qcow2_bitmap_clear(image_of(disk), name, err) : not_found(name, err);
}

static int run_enable(struct byre_disk *disk, const char *name, const struct change *change, struct byre_error *err)
{
    return image_of(disk) ? byre_qcow2_bitmap_enable(image_of(disk), name, change->enabled, err) : not_found(name, err);
}

static int run_merge(struct byre_disk *disk, const char *name, const struct change *change, struct byre_error *err)
{
    if (!image_of(disk))
        return not_found(name, err);
    if (!image_of(change->source))
        return not_found(change->source_name, err);
    return byre_qcow2_bitmap_merge(image_of(disk), name, image_of(change->source), change->source_name, err);
}

int byre_bitmap_add(struct byre_disk *disk, const char *name, uint64_t granularity, bool enabled,
                    struct byre_error *err)
{
    const struct change change = { .run = run_add, .granularity = granularity, .enabled = enabled };

    return run(disk, name, &change, err);
}

int byre_bitmap_remove(struct byre_disk *disk, const char *name, struct byre_error *err)
{
    const struct change change = { .run = run_remove };

    return run(disk, name, &change, err);
}

int byre_bitmap_clear(struct byre_disk *disk, const char *name, struct byre_error *err)
{
    const struct change change = { .run = run_clear };

    return run(disk, name, &change, err);
}

int byre_bitmap_enable(struct byre_disk *disk, const char *name, struct byre_error *err)
{
    const struct change change = { .run = run_enable, .enabled = true };

    return run(disk, name, &change, err);
}

int byre_bitmap_disable(struct byre_disk *disk, const char *name, struct byre_error *err)
{
    const struct change change = { .run = run_enable };

    return run(disk, name, &change, err);
}

int byre_bitmap_merge(struct byre_disk *disk, const char *name, struct byre_disk *source, const char *source_name,
                      struct byre_error *err)
{
    const struct change change = { .run = run_merge, .source = source, .source_name = source_name };

    return run(disk, name, &change, err);
}

int byre_bitmap_ranges(struct byre_disk *disk, const char *name, uint64_t goff, uint64_t length,
                       int (*each)(void *opaque, uint64_t goff, uint64_t length), void *opaque,
                       struct byre_error *err)
{
    GATE_SCOPE(&disk->gate);
    struct byre_qcow2 *image = image_of(disk);

    return image ? byre_qcow2_bitmap_walk(image, name, goff, length, each, opaque, err) : not_found(name, err);
}
