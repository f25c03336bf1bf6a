/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which files a chain is made of, so that none comes twice.
 */
#include "config.h"

#include <sys/stat.h>

#include "disk/disk.h"

/* The identity that byre_file_identity would tell of the file at `name`: false if there is none. */
static bool identity_of(const char *name, dev_t *ret_dev, ino_t *ret_ino)
{
    struct stat st;

    if (stat(name, &st) < 0)
        return false;
    *ret_dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    *ret_ino = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
    return true;
}

bool byre_same_file(const char *path, const char *other)
{
    dev_t dev, other_dev;
    ino_t ino, other_ino;

    return identity_of(path, &dev, &ino) && identity_of(other, &other_dev, &other_ino) && dev == other_dev &&
           ino == other_ino;
}

bool byre_disk_has_file(const struct byre_disk *disk, const char *path)
{
    dev_t dev;
    ino_t ino;

    if (!identity_of(path, &dev, &ino))
        return false;
    for (unsigned i = 0; i < disk->layer_count; i++) {
        const struct byre_layer *layer = &disk->layers[i];

        if (layer->has_file && layer->dev == dev && layer->ino == ino)
            return true;
        if (layer->has_data_file && layer->data_dev == dev && layer->data_ino == ino)
            return true;
    }
    return false;
}
