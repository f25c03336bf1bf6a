/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes that are files and devices.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "disk/node.h"
#include "disk/open.h"
#include "disk/options_tree.h"
#include "store/file.h"

static bool is_device(const char *path, mode_t *ret_mode)
{
    struct stat st;

    *ret_mode = 0;
    if (stat(path, &st) < 0)
        return false;
    *ret_mode = st.st_mode;
    return S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode);
}

/* The driver that the path asks for, or that was named for it. */
static int find_driver(const char *path, const enum byre_driver *named, enum byre_driver *ret_driver,
                       struct byre_error *err)
{
    mode_t mode;
    bool device = is_device(path, &mode);

    *ret_driver = named ? *named : device ? BYRE_DRIVER_HOST_DEVICE : BYRE_DRIVER_FILE;
    if (!mode || !named)
        return 0;
    if (*named == BYRE_DRIVER_HOST_DEVICE && !device)
        return byre_error_set(err, -EINVAL, "'host_device' driver requires '%s' to be either a character or block "
                              "device", path);
    if (*named == BYRE_DRIVER_FILE && !S_ISREG(mode))
        return byre_error_set(err, -EINVAL, "'file' driver requires '%s' to be a regular file", path);
    return 0;
}

/* Options that choose how QEMU does its I/O: they are checked, and byre does it its own way. */
static int take_io_options(json_t *tree, const struct byre_node_mode *mode, struct byre_error *err)
{
    static const char *const words[] = { "threads", "native", "io_uring", NULL };
    uint64_t batch;
    bool drop;
    int aio = 0, r = byre_options_take_word(tree, "aio", words, &aio, err);

    if (r >= 0 && aio == 1 && !mode->direct)
        return byre_error_set(err, -EINVAL, "aio=native was specified, but it requires cache.direct=on, which was "
                              "not specified.");
    if (r >= 0)
        r = byre_options_take_number(tree, "aio-max-batch", &batch, err);
    if (r >= 0)
        r = byre_options_take_bool(tree, "drop-cache", &drop, err);
    if (r >= 0)
        r = byre_options_take_bool(tree, "x-check-cache-dropped", &drop, err);
    return r < 0 ? r : 0;
}

static int take_locking(json_t *tree, bool *no_lock, struct byre_error *err)
{
    static const char *const words[] = { "auto", "on", "off", NULL };
    int i = 0, r = byre_options_take_word(tree, "locking", words, &i, err);

    /* Who opens the image may have asked for none already. */
    if (r > 0 && i == 2)
        *no_lock = true;
    return r < 0 ? r : 0;
}

static int open_path(const char *path, const struct byre_node_mode *mode, struct byre_node *node,
                     struct byre_error *err)
{
    const struct byre_file_options options = {
        .cache = mode->direct ? BYRE_CACHE_NONE : mode->no_flush ? BYRE_CACHE_UNSAFE : BYRE_CACHE_WRITEBACK,
        .writable = mode->writable,
        .no_lock = mode->no_lock,
        .share_write = mode->force_share,
    };
    int r;

    /* Before it is opened: the lock of a writable top would be in the way. */
    if (mode->chain && byre_disk_has_file(mode->chain, path))
        return byre_error_set(err, -ELOOP, "Backing file '%s' creates an infinite loop.", path);
    r = byre_file_open(path, &options, &node->store, NULL, err);
    if (r < 0)
        return r;
    if (mode->no_flush)
        node->store->no_flush = true;
    node->has_file = byre_file_identity(node->store, &node->dev, &node->ino);
    return 0;
}

static int describe_file(struct byre_node *node, enum byre_driver driver, const char *path, struct byre_error *err)
{
    node->is_protocol = node->is_flat = true;
    node->path = strdup(path);
    node->exact = strdup(path);
    node->full = byre_node_show(driver, NULL, NULL);
    if (!node->path || !node->exact || !node->full ||
        json_object_set_new(node->full, "filename", json_string_nocheck(path)) < 0)
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", path);
    return 0;
}

int byre_node_open_file(json_t *tree, const enum byre_driver *driver, const struct byre_node_mode *mode,
                        struct byre_node *ret_node, struct byre_error *err)
{
    struct byre_node_mode own = *mode;
    enum byre_driver found = BYRE_DRIVER_FILE;
    CLEANUP(free_ptr) char *path = NULL;
    int r = json_is_string(json_object_get(tree, "filename")) ?
                byre_options_take_text(tree, "filename", &path, err) : 0;

    if (r < 0)
        return r;
    if (!path || !*path)
        return byre_error_set(err, -EINVAL, "The '%s' block driver requires a file name",
                              byre_driver_name(driver ? *driver : BYRE_DRIVER_FILE));
    r = take_io_options(tree, mode, err);
    if (r == 0)
        r = take_locking(tree, &own.no_lock, err);
    if (r == 0)
        r = find_driver(path, driver, &found, err);
    if (r == 0)
        r = open_path(path, &own, ret_node, err);
    return r < 0 ? r : describe_file(ret_node, found, path, err);
}
