/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Temporary overlays.
 */
#include "config.h"

#include "nbd/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "byre/create.h"

static int size_of(const char *name, const struct byre_open_options *options, uint64_t *ret_size,
                   struct byre_error *err)
{
    struct byre_open_options reading = *options;
    struct byre_disk *disk;
    int rc;

    reading.writable = false;
    rc = byre_open(name, &reading, &disk, err);
    if (rc < 0)
        return rc;
    *ret_size = byre_get_size(disk);
    (void)byre_close(disk, NULL); /* nothing was written */
    return 0;
}

/* A file that has lost its name at once: it can be opened again by its descriptor. */
static int open_unnamed(struct byre_error *err)
{
    CLEANUP(free_ptr) char *path = NULL;
    const char *directory = getenv("TMPDIR");
    int fd;

    if (!directory || !*directory)
        directory = "/var/tmp";
    if (asprintf(&path, "%s/byre-nbd-XXXXXX", directory) < 0) {
        path = NULL;
        return byre_error_set_errno(err, -ENOMEM, "temporary file");
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return byre_error_set_errno(err, -errno, "Could not create a temporary file in '%s'", directory);
    (void)unlink(path);
    return fd;
}

int byre_nbd_overlay_open(const char *name, const struct byre_open_options *options, struct byre_disk **ret_disk,
                          struct byre_error *err)
{
    struct byre_create_options create = { .format = "qcow2" };
    struct byre_open_options overlay = *options;
    CLEANUP(close_fd) int fd = -1;
    char path[64];
    int rc = size_of(name, options, &create.size, err);

    if (rc < 0)
        return rc;
    fd = open_unnamed(err);
    if (fd < 0)
        return fd;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    overlay.backing = name;
    overlay.backing_format = options->format;
    overlay.format = "qcow2";
    overlay.writable = true;
    if (overlay.cache == BYRE_CACHE_WRITEBACK)
        overlay.cache = BYRE_CACHE_UNSAFE;
    rc = byre_create(path, &create, err);
    return rc < 0 ? rc : byre_open(path, &overlay, ret_disk, err);
}
