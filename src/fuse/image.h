/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An image in a mount: its views, which are opened when somebody wants them, and closed some time after nobody does.
 * Thread-safe, opening and closing apart.
 */
#ifndef BYRE_FUSE_IMAGE_H
#define BYRE_FUSE_IMAGE_H

#include "byre/files.h"
#include "byre/info.h"
#include "fuse/view.h"

struct byre_image;

struct byre_image_options {
    const char *name;                 /* of the image, as byre_open takes it; copied */
    struct byre_open_options open;    /* what it refers to stays as long as the image does */
    bool files;                       /* show the files inside, */
    unsigned partition;               /* of this partition; 0: of the only file system */
};

/* Opens the image, and with `files` the file system in it: then also as byre_files_open_in. */
int byre_image_open(const struct byre_image_options *options, struct byre_image **ret_image, struct byre_error *err);
/* Closes all views, which nobody uses.  The first failure is returned.  NULL is allowed. */
int byre_image_close(struct byre_image *image, struct byre_error *err);

/* What the image says of itself. */
const struct byre_info *byre_image_info(const struct byre_image *image);
/* The files inside; NULL without `files`. */
struct byre_files *byre_image_files(const struct byre_image *image);
bool byre_image_is_writable(const struct byre_image *image);
/* May the image change while it is mounted? */
bool byre_image_changes(const struct byre_image *image);
/* The permissions of the image's file: S_IRUSR... */
mode_t byre_image_mode(const struct byre_image *image);

/* Views: the image as it is, its snapshots, and the layers of its chain, of which the first is the image as it is. */
#define BYRE_VIEW_NOW 0u
unsigned byre_image_snapshot_count(const struct byre_image *image);
unsigned byre_image_layer_count(const struct byre_image *image);
unsigned byre_image_snapshot_view(unsigned snapshot);
unsigned byre_image_layer_view(const struct byre_image *image, unsigned layer);

/* The name of a snapshot's directory: text that is nobody else's there. */
const char *byre_image_snapshot_name(const struct byre_image *image, unsigned snapshot);

/* The view, open, for use until byre_image_put; that of the image as it is never fails.  -ENOENT: there is no such
 * view. */
int byre_image_get(struct byre_image *image, unsigned view, struct byre_view **ret_view, struct byre_error *err);
void byre_image_put(struct byre_image *image, struct byre_view *view);

/* The layer that a view begins with: of snapshots 0. */
unsigned byre_image_layer(const struct byre_image *image, unsigned view);

/* When the view was what it shows: of a snapshot, its date; does not open it. */
struct timespec byre_image_modified(struct byre_image *image, unsigned view);

#endif
