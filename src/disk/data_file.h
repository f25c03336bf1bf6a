/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * External data files: the file in which an image keeps the guest's data.
 */
#ifndef BYRE_DISK_DATA_FILE_H
#define BYRE_DISK_DATA_FILE_H

#include "disk/disk.h"
#include "disk/node.h"

struct byre_create_options;

/* What it takes to open the data file of the last layer: the options that were given for it (*options NULL: none),
 * which are taken. */
struct byre_data_request {
    struct byre_disk *disk;
    json_t **options;
    const struct byre_node_mode *mode;
};

/*
 * Opens the data file of the last layer, an image with `header`, into the layer: what the options and the name that the
 * image records say together.  The name is followed as the trust rule of backing files has it.  `opaque` is a
 * byre_data_request; the store stays the layer's.
 */
int byre_data_file_open(void *opaque, const struct byre_qcow2_header *header, struct byre_store **ret_data,
                        struct byre_error *err);

/*
 * Makes the data file `name` of a new image, the top layer; or, with `keep`, opens the one that is
 * there.  It must not be the image, nor its backing file (`backing_name` NULL: none).
 */
int byre_data_file_create(struct byre_disk *disk, const char *name, const char *backing_name, bool keep,
                          const struct byre_open_options *options, struct byre_error *err);

/* Closes it; `remove`: takes it away, too, if it was made by this disk. */
void byre_data_file_close(struct byre_layer *layer, bool remove);

#endif
