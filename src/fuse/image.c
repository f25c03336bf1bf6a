/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The views of an image.
 *
 *   I1. The view of the image as it is, is open as long as the image; it is the view of layer 0, too.
 *   I2. All others are opened when they are first wanted.  Of those that nobody uses, the IDLE_MAX used last stay open.
 *   I3. An image that is written to has its locks taken.  Its snapshots are opened beside it without locks of their
 *       own: nobody else deletes them, and what a snapshot has does not change.
 */
#include "config.h"

#include "fuse/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "byre/snapshot.h"
#include "fuse/snapshot_name.h"

#define IDLE_MAX 8u

/* Where a view is, if it is open. */
struct slot {
    struct byre_view view;
    unsigned index;    /* of the view */
    unsigned users;
    uint64_t used;     /* when that became 0 last */
    struct slot *next;
};

struct byre_image {
    struct byre_image_options options;
    char *name;               /* options.name */
    struct byre_info info;
    struct byre_files *files;
    char **snapshot_names;
    unsigned layer_count;
    mode_t mode;
    struct timespec modified; /* of the image's file, when it was opened */
    struct slot now;

    pthread_mutex_t mutex;    /* of the rest, and of all slots' counts */
    struct slot *others;
    uint64_t clock;
};

const struct byre_info *byre_image_info(const struct byre_image *image)
{
    return &image->info;
}

struct byre_files *byre_image_files(const struct byre_image *image)
{
    return image->files;
}

bool byre_image_is_writable(const struct byre_image *image)
{
    return image->options.open.writable;
}

bool byre_image_changes(const struct byre_image *image)
{
    return image->options.open.writable || image->options.open.force_share || image->options.open.no_lock;
}

mode_t byre_image_mode(const struct byre_image *image)
{
    return image->mode;
}

unsigned byre_image_snapshot_count(const struct byre_image *image)
{
    return image->options.open.snapshot ? 0 : image->info.snapshot_count;
}

unsigned byre_image_layer_count(const struct byre_image *image)
{
    return image->layer_count;
}

unsigned byre_image_snapshot_view(unsigned snapshot)
{
    return 1 + snapshot;
}

unsigned byre_image_layer_view(const struct byre_image *image, unsigned layer)
{
    return layer ? byre_image_snapshot_count(image) + layer : BYRE_VIEW_NOW;
}

const char *byre_image_snapshot_name(const struct byre_image *image, unsigned snapshot)
{
    return image->snapshot_names[snapshot];
}

/* --- opening ------------------------------------------------------------------------------------------------ */

static int open_snapshot(const struct byre_image *image, unsigned snapshot, struct byre_disk **ret_disk,
                         struct byre_error *err)
{
    struct byre_open_options options = image->options.open;
    const struct byre_snapshot_info *info = &image->info.snapshots[snapshot];
    const struct byre_snapshot_selector which = { .id = info->id, .name = info->name };

    options.snapshot = &which;
    options.force_share = options.force_share || options.writable;
    options.writable = false;
    return byre_open(image->options.name, &options, ret_disk, err);
}

static int open_layer(const struct byre_image *image, unsigned layer, struct byre_disk **ret_disk,
                      struct byre_error *err)
{
    struct byre_disk *now = image->now.view.disk;
    struct byre_open_options options = {
        .format = byre_layer_format(now, layer),
        .cache = image->options.open.cache,
        .force_share = image->options.open.force_share,
        .no_lock = image->options.open.no_lock,
        .protocol_backing = image->options.open.protocol_backing,
        .secrets = image->options.open.secrets,
    };

    return byre_open(byre_layer_name(now, layer), &options, ret_disk, err);
}

unsigned byre_image_origin(const struct byre_image *image, unsigned view, const char **ret_name,
                           const char **ret_format, const struct byre_secrets **ret_secrets)
{
    unsigned snapshots = byre_image_snapshot_count(image), layer = view > snapshots ? view - snapshots : 0;

    *ret_name = layer ? byre_layer_name(image->now.view.disk, layer) : image->name;
    *ret_format = layer ? byre_layer_format(image->now.view.disk, layer) : image->options.open.format;
    *ret_secrets = image->options.open.secrets;
    return layer;
}

struct timespec byre_image_modified(struct byre_image *image, unsigned view)
{
    struct timespec modified = image->modified;

    if (view > 0 && view - 1 < byre_image_snapshot_count(image))
        return (struct timespec){ image->info.snapshots[view - 1].date_sec,
                                  image->info.snapshots[view - 1].date_nsec % 1000000000 };
    if (view == BYRE_VIEW_NOW) {
        pthread_mutex_lock(&image->now.view.mutex);
        modified = image->now.view.modified;
        pthread_mutex_unlock(&image->now.view.mutex);
    }
    return modified;
}

static int open_view(struct byre_image *image, unsigned index, struct byre_view *view, struct byre_error *err)
{
    unsigned snapshots = byre_image_snapshot_count(image);
    struct byre_disk *disk;
    int rc;

    if (index - 1 < snapshots)
        rc = open_snapshot(image, index - 1, &disk, err);
    else if (index - snapshots < image->layer_count)
        rc = open_layer(image, index - snapshots, &disk, err);
    else
        rc = byre_error_set(err, -ENOENT, "there is no view %u", index);
    return rc < 0 ? rc : byre_view_init(view, disk, false, byre_image_modified(image, index), err);
}

/* Closes the view that was not used for the longest time, if there are too many of those.  Nothing was written. */
static void close_idle_locked(struct byre_image *image)
{
    struct slot **oldest = NULL, *slot;
    unsigned idle = 0;

    for (struct slot **p = &image->others; *p; p = &(*p)->next) {
        if ((*p)->users)
            continue;
        idle++;
        if (!oldest || (*p)->used < (*oldest)->used)
            oldest = p;
    }
    if (idle <= IDLE_MAX)
        return;
    slot = *oldest;
    *oldest = slot->next;
    (void)byre_view_done(&slot->view, NULL);
    free(slot);
}

static int get_locked(struct byre_image *image, unsigned index, struct slot **ret_slot, struct byre_error *err)
{
    struct slot *slot = image->others;
    int rc;

    while (slot && slot->index != index)
        slot = slot->next;
    if (!slot) {
        slot = calloc(1, sizeof *slot);
        if (!slot)
            return byre_error_set_errno(err, -ENOMEM, "view");
        rc = open_view(image, index, &slot->view, err);
        if (rc < 0) {
            free(slot);
            return rc;
        }
        slot->index = index;
        slot->next = image->others;
        image->others = slot;
    }
    slot->users++;
    *ret_slot = slot;
    return 0;
}

int byre_image_get(struct byre_image *image, unsigned view, struct byre_view **ret_view, struct byre_error *err)
{
    struct slot *slot = &image->now;
    int rc = 0;

    if (view != BYRE_VIEW_NOW) {
        pthread_mutex_lock(&image->mutex);
        rc = get_locked(image, view, &slot, err);
        pthread_mutex_unlock(&image->mutex);
    }
    if (rc == 0)
        *ret_view = &slot->view;
    return rc;
}

void byre_image_put(struct byre_image *image, struct byre_view *view)
{
    struct slot *slot = (struct slot *)view;

    if (slot == &image->now)
        return;
    pthread_mutex_lock(&image->mutex);
    if (--slot->users == 0) {
        slot->used = ++image->clock;
        close_idle_locked(image);
    }
    pthread_mutex_unlock(&image->mutex);
}

/* --- the image ---------------------------------------------------------------------------------------------- */

/* Of a file; what is none has the permissions and the time of this process. */
static void stat_file(struct byre_image *image)
{
    struct stat st;

    image->mode = 0644;
    clock_gettime(CLOCK_REALTIME, &image->modified);
    if (stat(byre_layer_file_name(image->now.view.disk, 0), &st) == 0) {
        image->mode = st.st_mode & 0777;
        image->modified = st.st_mtim;
    }
}

/* What the image says of itself is read before it is opened: a server on the network may take one client alone. */
static int fill(struct byre_image *image, struct byre_error *err)
{
    const struct byre_open_options *open = &image->options.open;
    struct byre_disk *disk;
    int rc = byre_info_read_as(image->name, open->format, open->force_share, open->secrets, &image->info, err);

    if (rc == 0)
        rc = byre_open(image->name, open, &disk, err);
    if (rc == 0)
        rc = byre_view_init(&image->now.view, disk, open->writable, (struct timespec){ 0 }, err);
    if (rc < 0)
        return rc;
    image->layer_count = byre_layer_count(disk);
    stat_file(image);
    image->now.view.modified = image->modified;
    image->snapshot_names = byre_snapshot_names(image->info.snapshots, image->info.snapshot_count);
    if (!image->snapshot_names)
        return byre_error_set_errno(err, -ENOMEM, "names of snapshots");
    if (!image->options.files)
        return 0;
    return byre_files_open_in(disk, image->options.partition, &image->files, NULL, err);
}

int byre_image_open(const struct byre_image_options *options, struct byre_image **ret_image, struct byre_error *err)
{
    struct byre_image *image = calloc(1, sizeof *image);
    int rc;

    if (!image)
        return byre_error_set_errno(err, -ENOMEM, "image");
    image->options = *options;
    image->options.name = image->name = strdup(options->name);
    pthread_mutex_init(&image->mutex, NULL);
    rc = image->name ? fill(image, err) : byre_error_set_errno(err, -ENOMEM, "image");
    if (rc < 0)
        (void)byre_image_close(image, NULL);
    else
        *ret_image = image;
    return rc;
}

int byre_image_close(struct byre_image *image, struct byre_error *err)
{
    int rc = 0;

    if (!image)
        return 0;
    byre_files_close(image->files);
    while (image->others) {
        struct slot *slot = image->others;

        image->others = slot->next;
        (void)byre_view_done(&slot->view, NULL);
        free(slot);
    }
    if (image->now.view.disk)
        rc = byre_view_done(&image->now.view, err);
    for (unsigned i = 0; image->snapshot_names && i < image->info.snapshot_count; i++)
        free(image->snapshot_names[i]);
    free(image->snapshot_names);
    byre_info_done(&image->info);
    pthread_mutex_destroy(&image->mutex);
    free(image->name);
    free(image);
    return rc;
}
