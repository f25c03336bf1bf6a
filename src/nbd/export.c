/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exports, and the set of them that a server has.
 */
#include "config.h"

#include "nbd/export.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/bitmap.h"
#include "nbd/keeper.h"
#include "nbd/protocol.h"

#define BLOCK_PREFERRED 4096u
#define BLOCK_MAX       (32u << 20) /* what clients count on (proto.md, block size constraints) */

static int no_memory(struct byre_error *err)
{
    return byre_error_set_errno(err, -ENOMEM, "export");
}

static void export_free(struct byre_nbd_export *export)
{
    for (size_t i = 0; i < export->contexts.len; i++)
        free(export->contexts.ptr[i].name);
    vec_done(&export->contexts);
    byre_nbd_tallies_done(&export->tallies);
    free(export->name);
    free(export->description);
    free(export);
}

static int add_context(struct byre_nbd_export *export, enum byre_nbd_context_kind kind, const char *name)
{
    struct byre_nbd_context context = { kind, strdup(name) };

    if (!context.name)
        return -ENOMEM;
    if (vec_push(&export->contexts, context) < 0) {
        free(context.name);
        return -ENOMEM;
    }
    return 0;
}

static uint16_t flags_of(const struct byre_nbd_export_options *options)
{
    unsigned flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE;

    if (options->read_only)
        flags |= NBD_FLAG_READ_ONLY;
    else
        flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
    /* A flush covers all that was done on any connection (byre/queue.h). */
    if (options->shared)
        flags |= NBD_FLAG_CAN_MULTI_CONN;
    return (uint16_t)flags;
}

struct search_for {
    const char *name;
    bool found, enabled, usable;
};

static int look_at_bitmap(void *opaque, const struct byre_bitmap_status *status)
{
    struct search_for *search = opaque;

    if (strcmp(status->name, search->name) != 0)
        return 0;
    search->found = true;
    search->enabled = status->enabled;
    search->usable = !status->inconsistent;
    return 1;
}

/* May it be shown?  One that follows writes cannot be where there are none, as qemu-nbd has it. */
static int check_bitmap(struct byre_disk *disk, const char *name, bool read_only, struct byre_error *err)
{
    struct search_for search = { .name = name };
    int rc = byre_bitmap_list(disk, look_at_bitmap, &search, err);

    if (rc < 0)
        return rc;
    if (!search.found)
        return byre_error_set(err, -ENOENT, "Bitmap '%s' is not found", name);
    if (!search.usable)
        return byre_error_set(err, -EINVAL, "Bitmap '%s' is inconsistent and cannot be used", name);
    if (search.enabled && read_only)
        return byre_error_set(err, -EINVAL, "Enabled bitmap '%s' incompatible with readonly export", name);
    return 0;
}

static int add_bitmaps(struct byre_nbd_export *export, const struct byre_nbd_export_options *options,
                       struct byre_disk *disk, struct byre_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < options->bitmap_count && rc == 0; i++) {
        char *name = NULL;

        rc = check_bitmap(disk, options->bitmaps[i], options->read_only, err);
        if (rc == 0 && asprintf(&name, BYRE_NBD_BITMAP_PREFIX "%s", options->bitmaps[i]) < 0)
            rc = no_memory(err);
        if (rc == 0 && add_context(export, BYRE_NBD_CONTEXT_BITMAP, name) < 0)
            rc = no_memory(err);
        free(name);
    }
    return rc;
}

static int fill_in(struct byre_nbd_export *export, const struct byre_nbd_export_options *options)
{
    byre_nbd_tallies_init(&export->tallies);
    export->name = strdup(options->name);
    export->description = options->description ? strdup(options->description) : NULL;
    if (!export->name || (options->description && !export->description))
        return -ENOMEM;
    if (add_context(export, BYRE_NBD_CONTEXT_ALLOCATION, "base:allocation") < 0)
        return -ENOMEM;
    return options->allocation_depth ? add_context(export, BYRE_NBD_CONTEXT_DEPTH, "qemu:allocation-depth") : 0;
}

static int make_export(struct byre_disk *disk, const struct byre_nbd_export_options *options,
                       struct byre_nbd_export **ret_export, struct byre_error *err)
{
    struct byre_nbd_export *export = calloc(1, sizeof *export);
    int rc = !export || fill_in(export, options) < 0 ? no_memory(err) : add_bitmaps(export, options, disk, err);

    if (rc < 0) {
        if (export)
            export_free(export);
        return rc;
    }
    export->references = 1;
    export->disk = disk;
    export->image_layer = options->image_layer;
    export->base = options->base ? byre_nbd_export_ref(options->base) : NULL;
    export->size = byre_get_size(disk);
    export->flags = flags_of(options);
    export->block_min = 1;
    export->block_preferred = BLOCK_PREFERRED;
    export->block_max = BLOCK_MAX;
    *ret_export = export;
    return 0;
}

int byre_nbd_export_new(struct byre_disk *disk, const struct byre_nbd_export_options *options,
                        struct byre_nbd_export **ret_export, struct byre_error *err)
{
    int rc = make_export(disk, options, ret_export, err);

    if (rc < 0)
        (void)byre_close(disk, NULL);
    return rc;
}

int byre_nbd_export_new_part(const struct byre_nbd_export_options *options, uint64_t offset, uint64_t length,
                             struct byre_nbd_export **ret_export, struct byre_error *err)
{
    struct byre_nbd_export *part;
    int rc = make_export(options->base->disk, options, &part, err);

    if (rc < 0)
        return rc;
    part->image_layer = options->base->image_layer;
    part->offset = options->base->offset + offset;
    part->size = length;
    *ret_export = part;
    return 0;
}

struct byre_nbd_export *byre_nbd_export_ref(struct byre_nbd_export *export)
{
    atomic_fetch_add_explicit(&export->references, 1, memory_order_relaxed);
    return export;
}

int byre_nbd_export_unref(struct byre_nbd_export *export, struct byre_error *err)
{
    int rc = 0;

    while (export) {
        struct byre_nbd_export *base = export->base;

        if (export->record) {
            byre_nbd_keeper_release(export);
            return rc;
        }
        if (atomic_fetch_sub_explicit(&export->references, 1, memory_order_acq_rel) > 1)
            return rc;
        if (!base || base->disk != export->disk) {
            int closed = byre_close(export->disk, rc == 0 ? err : NULL);

            rc = rc < 0 ? rc : closed;
        }
        export_free(export);
        export = base;
    }
    return rc;
}

/* --- the set ---------------------------------------------------------------------------------------------- */

void byre_nbd_exports_init(struct byre_nbd_exports *exports)
{
    *exports = (struct byre_nbd_exports){ .list = VEC_INIT };
    pthread_mutex_init(&exports->mutex, NULL);
}

int byre_nbd_exports_done(struct byre_nbd_exports *exports, struct byre_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < exports->list.len; i++) {
        int closed = byre_nbd_export_unref(exports->list.ptr[i], rc == 0 ? err : NULL);

        rc = rc < 0 ? rc : closed;
    }
    vec_done(&exports->list);
    if (exports->keeper) {
        int closed = byre_nbd_keeper_free(STEAL(exports->keeper), rc == 0 ? err : NULL);

        rc = rc < 0 ? rc : closed;
    }
    pthread_mutex_destroy(&exports->mutex);
    return rc;
}

static int compare(const char *name, const void *other, size_t length)
{
    size_t own = strlen(name);
    int order = memcmp(name, other, MIN(own, length));

    return order ? order : own < length ? -1 : own > length;
}

/* Where the name is, or belongs. */
static size_t search(const struct byre_nbd_exports *exports, const void *name, size_t length, bool *ret_found)
{
    size_t low = 0, high = exports->list.len;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(exports->list.ptr[middle]->name, name, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = low < exports->list.len && compare(exports->list.ptr[low]->name, name, length) == 0;
    return low;
}

int byre_nbd_exports_add(struct byre_nbd_exports *exports, struct byre_nbd_export *export, struct byre_error *err)
{
    bool found;
    size_t at;

    LOCK_SCOPE(&exports->mutex);
    at = search(exports, export->name, strlen(export->name), &found);
    if (found)
        return byre_error_set(err, -EEXIST, "There is an export '%s' already", export->name);
    if (vec_reserve(&exports->list, 1) < 0)
        return no_memory(err);
    memmove(exports->list.ptr + at + 1, exports->list.ptr + at, (exports->list.len - at) * sizeof *exports->list.ptr);
    exports->list.ptr[at] = export;
    exports->list.len++;
    return 0;
}

static struct byre_nbd_export *find_in_list(struct byre_nbd_exports *exports, const void *name, size_t length)
{
    bool found;
    size_t at;

    LOCK_SCOPE(&exports->mutex);
    at = search(exports, name, length, &found);
    return found ? byre_nbd_export_ref(exports->list.ptr[at]) : NULL;
}

struct byre_nbd_export *byre_nbd_exports_find(struct byre_nbd_exports *exports, const void *name, size_t length)
{
    struct byre_nbd_export *export = find_in_list(exports, name, length);

    if (!export && exports->keeper)
        export = byre_nbd_keeper_find(exports->keeper, name, length);
    return export;
}

static int each_in_list(struct byre_nbd_exports *exports,
                        int (*each)(void *opaque, const char *name, const char *description), void *opaque)
{
    int rc = 0;

    LOCK_SCOPE(&exports->mutex);
    for (size_t i = 0; i < exports->list.len && rc == 0; i++)
        rc = each(opaque, exports->list.ptr[i]->name, exports->list.ptr[i]->description);
    return rc;
}

int byre_nbd_exports_each(struct byre_nbd_exports *exports,
                          int (*each)(void *opaque, const char *name, const char *description), void *opaque)
{
    int rc = each_in_list(exports, each, opaque);

    return rc || !exports->keeper ? rc : byre_nbd_keeper_each(exports->keeper, each, opaque);
}

void byre_nbd_exports_each_open(struct byre_nbd_exports *exports,
                                void (*each)(void *opaque, struct byre_nbd_export *export), void *opaque)
{
    LOCK_SCOPE(&exports->mutex);
    for (size_t i = 0; i < exports->list.len; i++)
        each(opaque, exports->list.ptr[i]);
    if (exports->keeper)
        byre_nbd_keeper_each_open(exports->keeper, each, opaque);
}
