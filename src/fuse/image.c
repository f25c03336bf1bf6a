/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The views of an image.
 *
 *   I1. The view of the image as it is, is open as long as the image; it is the view of layer 0, too.
 *   I2. All others are opened when they are first wanted.  Of those that nobody uses, the IDLE_MAX used last stay open.
 *   I3. Names are followed before the mount is there, and never again: all views share what the first one has open.  A
 *       name may by then be another file's, or lead into the mount itself, where following it would never end.
 *   I4. Nobody who wants a view waits for the opening of another one.
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

enum slot_state { OPENING, OPEN, FAILED };

/* Where a view is, if it is open or going to be. */
struct slot {
    struct byre_view view;
    unsigned index;    /* of the view */
    unsigned users;    /* who wait for it, too */
    uint64_t used;     /* when that became 0 last */
    enum slot_state state;
    struct byre_error error; /* FAILED: why */
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
    struct timespec *modified; /* of the layers' files, when they were opened */
    struct slot now;

    pthread_mutex_t mutex;    /* of the rest, and of all slots but their views */
    pthread_cond_t opened;    /* one way or the other */
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

unsigned byre_image_layer(const struct byre_image *image, unsigned view)
{
    unsigned snapshots = byre_image_snapshot_count(image);

    return view > snapshots ? view - snapshots : 0;
}

struct timespec byre_image_modified(struct byre_image *image, unsigned view)
{
    struct timespec modified = image->modified[byre_image_layer(image, view)];

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

static int open_disk(const struct byre_image *image, unsigned index, struct byre_disk **ret_disk,
                     struct byre_error *err)
{
    struct byre_disk *now = image->now.view.disk;
    unsigned layer = byre_image_layer(image, index);
    struct byre_snapshot_selector which;

    if (layer >= image->layer_count)
        return byre_error_set(err, -ENOENT, "there is no view %u", index);
    if (layer)
        return byre_open_beside(now, layer, NULL, ret_disk, err);
    which = (struct byre_snapshot_selector){ .id = image->info.snapshots[index - 1].id,
                                             .name = image->info.snapshots[index - 1].name };
    return byre_open_beside(now, 0, &which, ret_disk, err);
}

static int open_view(struct byre_image *image, unsigned index, struct byre_view *view, struct byre_error *err)
{
    struct byre_disk *disk;
    int rc = open_disk(image, index, &disk, err);

    return rc < 0 ? rc : byre_view_init(view, disk, false, byre_image_modified(image, index), err);
}

/* Takes it off the list. */
static void remove_locked(struct byre_image *image, struct slot *slot)
{
    struct slot **place = &image->others;

    while (*place != slot)
        place = &(*place)->next;
    *place = slot->next;
}

/* The one that was not used for the longest time, off the list, if too many are not used; else NULL. */
static struct slot *take_idle_locked(struct byre_image *image)
{
    struct slot *oldest = NULL;
    unsigned idle = 0;

    for (struct slot *slot = image->others; slot; slot = slot->next) {
        if (slot->users)
            continue;
        idle++;
        if (!oldest || slot->used < oldest->used)
            oldest = slot;
    }
    if (idle <= IDLE_MAX)
        return NULL;
    remove_locked(image, oldest);
    return oldest;
}

/* Nothing was written to it. */
static void free_slot(struct slot *slot)
{
    if (slot && slot->state == OPEN)
        (void)byre_view_done(&slot->view, NULL);
    free(slot);
}

static struct slot *find_locked(const struct byre_image *image, unsigned index)
{
    struct slot *slot = image->others;

    while (slot && slot->index != index)
        slot = slot->next;
    return slot;
}

/* A slot that is on the list, without its view. */
static struct slot *add_locked(struct byre_image *image, unsigned index)
{
    struct slot *slot = calloc(1, sizeof *slot);

    if (!slot)
        return NULL;
    slot->index = index;
    slot->next = image->others;
    image->others = slot;
    return slot;
}

/* Opens the view, for whoever waits for that, without the mutex.  Whoever comes after a failure tries again. */
static void open_slot_locked(struct byre_image *image, struct slot *slot)
{
    int rc;

    pthread_mutex_unlock(&image->mutex);
    rc = open_view(image, slot->index, &slot->view, &slot->error);
    pthread_mutex_lock(&image->mutex);
    slot->state = rc < 0 ? FAILED : OPEN;
    if (rc < 0)
        remove_locked(image, slot);
    pthread_cond_broadcast(&image->opened);
}

static int get_locked(struct byre_image *image, unsigned index, struct slot **ret_slot, struct byre_error *err)
{
    struct slot *slot = find_locked(image, index);
    bool is_new = !slot;
    int rc = 0;

    if (is_new)
        slot = add_locked(image, index);
    if (!slot)
        return byre_error_set_errno(err, -ENOMEM, "view");
    slot->users++;
    if (is_new)
        open_slot_locked(image, slot);
    while (slot->state == OPENING)
        pthread_cond_wait(&image->opened, &image->mutex);
    if (slot->state == OPEN) {
        *ret_slot = slot;
        return 0;
    }
    rc = byre_error_set(err, slot->error.code, "%s", slot->error.text);
    if (--slot->users == 0)
        free_slot(slot);
    return rc;
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
    struct slot *slot = (struct slot *)view, *idle = NULL;

    if (slot == &image->now)
        return;
    pthread_mutex_lock(&image->mutex);
    if (--slot->users == 0) {
        slot->used = ++image->clock;
        idle = take_idle_locked(image);
    }
    pthread_mutex_unlock(&image->mutex);
    free_slot(idle);
}

/* --- the image ---------------------------------------------------------------------------------------------- */

/* Of files; what is none has the permissions and the time of this process. */
static int stat_files(struct byre_image *image, struct byre_error *err)
{
    struct byre_disk *disk = image->now.view.disk;

    image->modified = calloc(image->layer_count, sizeof *image->modified);
    if (!image->modified)
        return byre_error_set_errno(err, -ENOMEM, "times of layers");
    image->mode = 0644;
    for (unsigned i = 0; i < image->layer_count; i++) {
        struct stat st;

        clock_gettime(CLOCK_REALTIME, &image->modified[i]);
        if (stat(byre_layer_file_name(disk, i), &st) < 0)
            continue;
        image->modified[i] = st.st_mtim;
        if (i == 0)
            image->mode = st.st_mode & 0777;
    }
    image->now.view.modified = image->modified[0];
    return 0;
}

static int fill(struct byre_image *image, struct byre_error *err)
{
    const struct byre_open_options *open = &image->options.open;
    struct byre_disk *disk = NULL;
    int rc = byre_open(image->name, open, &disk, err);

    if (rc == 0)
        rc = byre_info_of_layer(disk, 0, &image->info, err);
    if (rc < 0) {
        (void)byre_close(disk, NULL);
        return rc;
    }
    image->layer_count = byre_layer_count(disk);
    rc = byre_view_init(&image->now.view, disk, open->writable, (struct timespec){ 0 }, err);
    if (rc == 0)
        rc = stat_files(image, err);
    if (rc < 0)
        return rc;
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
    pthread_cond_init(&image->opened, NULL);
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
        free_slot(slot);
    }
    if (image->now.view.disk)
        rc = byre_view_done(&image->now.view, err);
    for (unsigned i = 0; image->snapshot_names && i < image->info.snapshot_count; i++)
        free(image->snapshot_names[i]);
    free(image->snapshot_names);
    byre_info_done(&image->info);
    free(image->modified);
    pthread_cond_destroy(&image->opened);
    pthread_mutex_destroy(&image->mutex);
    free(image->name);
    free(image);
    return rc;
}
