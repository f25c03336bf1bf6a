/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file store: opening and closing.
 *
 *   F1. Nothing is ever waited for while opening: the file is opened without blocking, and only then is it
 *       looked at.  What is neither a regular file nor a block device is refused.
 *   F2. A file that exists is changed only after its lock was taken.
 *   F3. When opening fails, a file that this call has made is removed again.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "store/file.h"
#include "store/file_impl.h"
#include "store/file_lock.h"

enum { NEW_FILE_MODE = 0644, DEFAULT_ALIGN = 4096 };

static void file_close(struct byre_store *store)
{
    struct byre_file *file = byre_file_of(store);

    if (file->tail_fd >= 0)
        close(file->tail_fd);
    if (store->fd >= 0)
        close(store->fd);
    byre_range_lock_done(&file->turns);
    free(store->name);
    free(file);
}

static const struct byre_store_ops file_ops = {
    .kind = "file",
    .preadv = byre_file_preadv,
    .pwritev = byre_file_pwritev,
    .flush = byre_file_flush,
    .truncate = byre_file_truncate,
    .get_size = byre_file_get_size,
    .write_zeroes = byre_file_write_zeroes,
    .discard = byre_file_discard,
    .allocate = byre_file_allocate,
    .extent = byre_file_extent,
    .allocated_size = byre_file_allocated_size,
    .close = file_close,
};

static const struct byre_store_ops device_ops = {
    .kind = "host_device",
    .preadv = byre_file_preadv,
    .pwritev = byre_file_pwritev,
    .flush = byre_file_flush,
    .truncate = byre_file_truncate,
    .get_size = byre_device_get_size,
    .write_zeroes = byre_device_write_zeroes,
    .discard = byre_device_discard,
    .allocate = byre_device_allocate,
    .allocated_size = byre_file_allocated_size,
    .close = file_close,
};

/* open() that never waits (F1). */
static int open_fd(const char *name, int flags)
{
    int fd;

    do {
        fd = open(name, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, NEW_FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

/* Opens `name` for creation; *ret_created tells whether it was not there before. */
static int create_fd(const char *name, bool exclusive, bool *ret_created)
{
    int fd = exclusive ? -ENOENT : open_fd(name, O_RDWR);

    *ret_created = false;
    if (fd != -ENOENT)
        return fd;
    fd = open_fd(name, O_RDWR | O_CREAT | O_EXCL);
    *ret_created = fd >= 0;
    if (fd != -EEXIST || exclusive)
        return fd;
    /* A symbolic link to nowhere, or somebody was faster: what it leads to is not ours to remove. */
    return open_fd(name, O_RDWR | O_CREAT);
}

static int set_direct(int fd, bool direct)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, (flags & ~O_NONBLOCK) | (direct ? O_DIRECT : 0)) < 0)
        return -errno;
    return 0;
}

/* Opens the same file once more, for the bytes that O_DIRECT cannot write. */
static int open_tail(struct byre_file *file)
{
    struct stat st;
    int fd = open_fd(file->store.name, O_RDWR);

    if (fd < 0)
        return fd;
    file->tail_fd = fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_dev != file->dev || st.st_ino != file->ino)
        return -ESTALE;
    return set_direct(fd, false);
}

static int setup_direct(struct byre_file *file, bool device)
{
    struct byre_store *store = &file->store;
    int r = set_direct(store->fd, true);

    if (r == 0)
        r = byre_file_direct_align(store->fd, device, &store->limits.align);
    if (r == 0 && !device && !store->read_only)
        r = open_tail(file);
    file->direct = true;
    file->turn_align = MAX((uint64_t)store->limits.align, (uint64_t)sysconf(_SC_PAGESIZE));
    return r;
}

/* The limits of a file that goes through the page cache. */
static void set_limits(struct byre_file *file, const struct stat *st, bool device)
{
    struct byre_store_limits *limits = &file->store.limits;
    uint64_t block = (uint64_t)MAX(st->st_blksize, 1);

    if (!byre_is_power_of_two(block) || block > 1U << 30)
        block = DEFAULT_ALIGN;
    limits->align = 1;
    if (device) {
        byre_device_read_limits(&file->store);
    } else {
        limits->zero_align = limits->discard_align = (uint32_t)block;
        limits->zero_on_grow = true;
    }
}

/* Everything about an open file that can fail, in the order that F2 wants. */
static int prepare(struct byre_file *file, const struct byre_file_options *options, bool created,
                   struct byre_error *err)
{
    const char *name = file->store.name, *verb = options->create ? "create" : "open";
    bool direct = options->cache == BYRE_CACHE_NONE || options->cache == BYRE_CACHE_DIRECTSYNC, device;
    struct stat st;
    int r;

    if (fstat(file->store.fd, &st) < 0)
        return byre_error_set_errno(err, -errno, "Could not %s '%s'", verb, name);
    device = S_ISBLK(st.st_mode);
    if (!device && !S_ISREG(st.st_mode))
        return byre_error_set(err, -EINVAL, "'file' driver requires '%s' to be a regular file", name);

    file->store.ops = device ? &device_ops : &file_ops;
    file->store.growable = !device;
    file->dev = device ? st.st_rdev : st.st_dev;
    file->ino = device ? 0 : st.st_ino;
    set_limits(file, &st, device);
    r = direct ? setup_direct(file, device) : set_direct(file->store.fd, false);
    if (r == -EINVAL && direct)
        return byre_error_set(err, r, "Could not %s '%s': filesystem does not support O_DIRECT", verb, name);
    if (r < 0)
        return byre_error_set_errno(err, r, "Could not %s '%s'", verb, name);

    if (!options->no_lock) {
        r = byre_file_lock(file->store.fd, name, !file->store.read_only, options->share_write, err);
        if (r < 0)
            return r;
    }
    if (options->create && !device && !created)
        return byre_store_truncate(&file->store, 0, err);
    return 0;
}

static struct byre_file *new_file(const char *name, int fd, const struct byre_file_options *options)
{
    struct byre_file *file = calloc(1, sizeof *file);

    if (!file)
        return NULL;
    file->store.ops = &file_ops;
    file->store.name = strdup(name);
    file->store.fd = fd;
    file->store.read_only = !options->writable && !options->create;
    file->store.no_flush = options->cache == BYRE_CACHE_UNSAFE;
    file->tail_fd = -1;
    byre_range_lock_init(&file->turns);
    if (!file->store.name) {
        file->store.fd = -1; /* stays the caller's */
        file_close(&file->store);
        return NULL;
    }
    return file;
}

/* Makes the store of an open file; the descriptor is consumed, come what may. */
static int open_store(const char *name, int fd, const struct byre_file_options *options, bool created,
                      struct byre_store **ret_store, struct byre_error *err)
{
    struct byre_file *file = new_file(name, fd, options);
    int r;

    if (!file) {
        close(fd);
        return byre_error_set_errno(err, -ENOMEM, "Could not open '%s'", name);
    }
    r = prepare(file, options, created, err);
    if (r < 0) {
        byre_store_close(&file->store);
        return r;
    }
    *ret_store = &file->store;
    return 0;
}

int byre_file_open(const char *path, const struct byre_file_options *options, struct byre_store **ret_store,
                   bool *ret_created, struct byre_error *err)
{
    bool created = false;
    int fd, r;

    if (!*path && !options->create)
        return byre_error_set(err, -EINVAL, "The 'file' block driver requires a file name");
    if (options->create)
        fd = create_fd(path, options->exclusive, &created);
    else
        fd = open_fd(path, options->writable ? O_RDWR : O_RDONLY);
    if (fd < 0)
        return byre_error_set_errno(err, fd, "Could not %s '%s'", options->create ? "create" : "open", path);

    r = open_store(path, fd, options, created, ret_store, err);
    if (r < 0 && created)
        unlink(path);
    if (r == 0 && ret_created)
        *ret_created = created;
    return r;
}

bool byre_file_identity(const struct byre_store *store, dev_t *ret_dev, ino_t *ret_ino)
{
    const struct byre_file *file = (const struct byre_file *)store;

    if (store->ops != &file_ops && store->ops != &device_ops)
        return false;
    *ret_dev = file->dev;
    *ret_ino = file->ino;
    return true;
}
