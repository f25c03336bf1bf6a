/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convert: the bitmaps of the source.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>

#include "byre/bitmap.h"
#include "byre/convert.h"
#include "disk/disk.h"
#include "qcow2/bitmap.h"

#define LINE_MAX_BYTES 1200 /* a name has 1023 at most */

static int check_bitmap(const struct byre_qcow2_bitmap_state *state, const struct byre_convert_options *options,
                        bool skip_broken, struct byre_error *err)
{
    char line[LINE_MAX_BYTES];

    if (!state->inconsistent && !state->fault)
        return 0;
    if (skip_broken) {
        snprintf(line, sizeof line, "Skipping inconsistent bitmap '%s'", state->name);
        if (options->warn)
            options->warn(options->opaque, line);
        return 0;
    }
    byre_error_set(err, -EINVAL, "Cannot copy inconsistent bitmap '%s'", state->name);
    byre_error_hint(err, "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it");
    return -EINVAL;
}

int byre_convert_check_bitmaps(struct byre_disk *source, const struct byre_convert_options *options,
                               bool skip_broken, struct byre_error *err)
{
    struct byre_qcow2 *image = source->layers[0].qcow2;
    unsigned count = 0;
    bool stale;
    int r;

    if (!byre_bitmap_supported(source))
        return byre_error_set(err, -ENOTSUP, "Source lacks bitmap support");
    r = byre_qcow2_bitmaps_count(image, &count, &stale, err);
    /* In qemu-img's order. */
    for (unsigned i = count; r == 0 && i-- > 0;) {
        struct byre_qcow2_bitmap_state state;

        byre_qcow2_bitmap_get(image, i, &state);
        r = check_bitmap(&state, options, skip_broken, err);
    }
    return r;
}

/* `copy` with the image of the target, and that of the source. */
static int with_both(struct byre_disk *source, struct byre_disk *target,
                     int (*copy)(struct byre_qcow2 *image, struct byre_qcow2 *source, struct byre_error *err),
                     struct byre_error *err)
{
    int r;

    if (!byre_bitmap_supported(source))
        return byre_error_set(err, -ENOTSUP, "Source lacks bitmap support");
    if (!byre_bitmap_supported(target))
        return byre_error_set(err, -ENOTSUP, "Format driver '%s' does not support bitmaps",
                              byre_layer_format(target, 0));
    byre_gate_close(&target->gate);
    r = byre_disk_check_writable(target, err);
    if (r == 0)
        r = copy(target->layers[0].qcow2, source->layers[0].qcow2, err);
    byre_gate_open(&target->gate);
    return byre_disk_finish(target, r);
}

int byre_convert_check_target_bitmaps(struct byre_disk *source, struct byre_disk *target, struct byre_error *err)
{
    return with_both(source, target, byre_qcow2_bitmaps_check_copy, err);
}

int byre_convert_bitmaps(struct byre_disk *source, struct byre_disk *target, struct byre_error *err)
{
    return with_both(source, target, byre_qcow2_bitmaps_copy, err);
}
