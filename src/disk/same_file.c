/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Telling files that disks stand on by what they are, whatever their names are.
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
    }
    return false;
}
