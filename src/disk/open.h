/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Putting a disk together, for byre_open and byre_create_open.
 */
#ifndef BYRE_DISK_OPEN_H
#define BYRE_DISK_OPEN_H

#include "disk/disk.h"

/* An empty disk; NULL on ENOMEM.  Whatever is done to it next, byre_disk_free releases it. */
struct byre_disk *byre_disk_new(void);

/* Closes and releases everything; the first error counts.  What was written to a raw disk is not flushed.  A
 * file that the disk made and never sealed is removed. */
int byre_disk_free(struct byre_disk *disk, struct byre_error *err);

struct byre_node_mode;
struct byre_source;

/* Appends the layer that the source holds, and opens the image in it. */
int byre_disk_add_source(struct byre_disk *disk, struct byre_source *source, const struct byre_node_mode *mode,
                         struct byre_error *err);
/* Closes and releases what a layer has.  `remove_data`: a data file that the disk made goes, too. */
int byre_layer_close(struct byre_layer *layer, bool remove_data, struct byre_error *err);
/* Takes the name of a file that this disk made off its directory, unless another file has the name by now. */
void byre_layer_remove_file(const struct byre_layer *layer);

/* Opens what an option tree describes, which is used up.  Errors do not say what it was that could not be opened. */
int byre_disk_open_tree(struct json_t *tree, const struct byre_node_mode *mode, struct byre_disk **ret_disk,
                        struct byre_error *err);

/* Appends an empty layer called `name`, or without a name: NULL on ENOMEM.  The pointer is good until the next call. */
struct byre_layer *byre_disk_add_layer(struct byre_disk *disk, const char *name);

/*
 * Opens the backing file that the last layer, which is being made, shall record as `backing_name`, and all below it.
 * `backing_format` NULL: probe.  Errors begin with "Could not open backing file: ", once for each layer below the last.
 */
int byre_disk_open_chain(struct byre_disk *disk, const char *backing_name, const char *backing_format,
                         const struct byre_open_options *options, struct byre_error *err);

/* Completes a disk whose layers are all open: size, flat map, and what the top image needs from below. */
int byre_disk_complete(struct byre_disk *disk, const struct byre_open_options *options,
                       struct byre_error *err);

/* Takes "Could not open 'NAME': " off the front of the message. */
void byre_disk_strip_name(struct byre_error *err, const char *name);

#define BYRE_NAME_SHOWN_MAX 1000u /* bytes of a name that leave room for what is said of it */

/* Makes the message on an image that could not be opened begin with "Could not open 'NAME': ", once. */
void byre_disk_name_error(struct byre_error *err, const char *name);

/* As byre_open, but like qemu's own messages, those about the image itself do not say which one it is. */
int byre_disk_open(const char *name, const struct byre_open_options *options, struct byre_disk **ret_disk,
                   struct byre_error *err);

#endif
