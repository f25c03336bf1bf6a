/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbdkit-byre-plugin: disk images over NBD, served by nbdkit.  The table of calls that nbdkit makes, each a few lines
 * over one of the library's.
 *
 *   P1. All connections share one disk, whose calls are thread-safe: so calls come in parallel, and a flush on one
 *       connection covers what was written on all.
 *   P2. What fails is told by nbdkit_error in the library's words, and its errno is handed on.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "nbdkit/extents.h"
#include "nbdkit/image.h"
#include "nbdkit/parameters.h"
#include "nbdkit/report.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* What is prefetched at a time, in bytes. */
#define CACHE_CHUNK 262144u

static struct byre_parameters parameters;

/* What a connection has. */
struct connection {
    const struct byre_image *image;
    bool readonly;
};

/* What a callback returns for the result of a library's call. */
static int finish(int r, const struct byre_error *err)
{
    return r < 0 ? byre_report(err) : 0;
}

static void plugin_unload(void)
{
    struct byre_error err = BYRE_ERROR_INIT;

    if (byre_image_close(&err) < 0) {
        byre_error_prepend(&err, "closing the image failed: ");
        byre_report(&err);
    }
    byre_parameters_done(&parameters);
}

static int plugin_config(const char *key, const char *value)
{
    return byre_parameters_set(&parameters, key, value);
}

static int plugin_config_complete(void)
{
    return byre_parameters_complete(&parameters);
}

static void plugin_dump(void)
{
    printf("byre_formats=raw qcow2 luks\n");
#ifdef HAVE_ISAL
    printf("byre_isal=yes\n");
#else
    printf("byre_isal=no\n");
#endif
#ifdef HAVE_ZSTD
    printf("byre_zstd=yes\n");
#else
    printf("byre_zstd=no\n");
#endif
}

static int plugin_get_ready(void)
{
    struct byre_error err = BYRE_ERROR_INIT;

    return finish(byre_image_check(&parameters, &err), &err);
}

static void *plugin_open(int readonly)
{
    struct connection *connection = calloc(1, sizeof *connection);
    struct byre_error err = BYRE_ERROR_INIT;

    if (!connection) {
        nbdkit_error("out of memory");
        return NULL;
    }
    if (byre_image_enter(&parameters, !readonly, &connection->image, &err) < 0) {
        byre_report(&err);
        free(connection);
        return NULL;
    }
    connection->readonly = readonly;
    return connection;
}

static void plugin_close(void *handle)
{
    free(handle);
    byre_image_leave();
}

static int64_t plugin_get_size(void *handle)
{
    struct connection *connection = handle;

    return (int64_t)byre_get_size(connection->image->disk);
}

static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    struct connection *connection = handle;

    *minimum = 1;
    *preferred = connection->image->preferred;
    *maximum = UINT32_MAX;
    return 0;
}

static int plugin_can_write(void *handle)
{
    struct connection *connection = handle;

    return connection->image->writable && !connection->readonly;
}

static int plugin_can_trim(void *handle)
{
    return plugin_can_write(handle) && !parameters.discard_ignored;
}

static int plugin_can_fua(void *handle)
{
    return plugin_can_write(handle) ? NBDKIT_FUA_NATIVE : NBDKIT_FUA_NONE;
}

static int plugin_is_rotational(void *handle)
{
    struct connection *connection = handle;

    return connection->image->rotational;
}

static int plugin_can_multi_conn(void *handle)
{
    (void)handle;
    return 1;
}

/* Reading is what fills the caches; past the page cache there is none for data. */
static int plugin_can_cache(void *handle)
{
    (void)handle;
    if (parameters.cache == BYRE_CACHE_NONE || parameters.cache == BYRE_CACHE_DIRECTSYNC)
        return NBDKIT_CACHE_NONE;
    return NBDKIT_CACHE_NATIVE;
}

static int plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct connection *connection = handle;
    struct byre_error err = BYRE_ERROR_INIT;

    (void)flags;
    return finish(byre_pread(connection->image->disk, buf, count, offset, &err), &err);
}

static int plugin_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct connection *connection = handle;
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = count };
    struct byre_error err = BYRE_ERROR_INIT;

    return finish(byre_pwritev(connection->image->disk, &iov, 1, offset,
                               flags & NBDKIT_FLAG_FUA ? BYRE_WRITE_FUA : 0, &err), &err);
}

static int plugin_flush(void *handle, uint32_t flags)
{
    struct connection *connection = handle;
    struct byre_error err = BYRE_ERROR_INIT;

    (void)flags;
    return finish(byre_flush(connection->image->disk, &err), &err);
}

static int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct connection *connection = handle;
    struct byre_error err = BYRE_ERROR_INIT;
    int r = byre_discard(connection->image->disk, offset, count, &err);

    if (r == 0 && flags & NBDKIT_FLAG_FUA)
        r = byre_flush(connection->image->disk, &err);
    return finish(r, &err);
}

/* -ENOTSUP is no failure here: it says that zeros would be no faster than data, and nbdkit knows what to do then. */
static int plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct connection *connection = handle;
    struct byre_error err = BYRE_ERROR_INIT;
    unsigned how = (flags & NBDKIT_FLAG_MAY_TRIM ? BYRE_WRITE_ZEROES_UNMAP : 0) |
                   (flags & NBDKIT_FLAG_FUA ? BYRE_WRITE_FUA : 0) |
                   (flags & NBDKIT_FLAG_FAST_ZERO ? BYRE_WRITE_ZEROES_NO_FALLBACK : 0);
    int r = byre_write_zeroes(connection->image->disk, offset, count, how, &err);

    if (r != -ENOTSUP)
        return finish(r, &err);
    nbdkit_debug("%s", err.text);
    nbdkit_set_error(ENOTSUP);
    return -1;
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                          struct nbdkit_extents *extents)
{
    struct connection *connection = handle;
    struct byre_error err = BYRE_ERROR_INIT;

    return finish(byre_extents_list(connection->image->disk, offset, count,
                                    flags & NBDKIT_FLAG_REQ_ONE, extents, &err), &err);
}

/* Not left to nbdkit, whose readahead filter works only with a plugin that does it. */
static int plugin_cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct connection *connection = handle;
    struct byre_error err = BYRE_ERROR_INIT;
    size_t size = MIN(count, CACHE_CHUNK);
    CLEANUP(free_ptr) void *buf = malloc(size);

    (void)flags;
    if (!buf) {
        nbdkit_error("out of memory");
        nbdkit_set_error(ENOMEM);
        return -1;
    }
    for (uint32_t done = 0; done < count;) {
        size_t length = MIN(size, count - done);

        if (byre_pread(connection->image->disk, buf, length, offset + done, &err) < 0)
            return byre_report(&err);
        done += (uint32_t)length;
    }
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "byre",
    .longname = "byre disk images",
    .version = PACKAGE_VERSION,
    .description = "Serves qcow2, raw and LUKS disk images with libbyre",
    .unload = plugin_unload,
    .config = plugin_config,
    .config_complete = plugin_config_complete,
    .config_help = byre_parameters_help,
    .magic_config_key = "file",
    .dump_plugin = plugin_dump,
    .get_ready = plugin_get_ready,
    .open = plugin_open,
    .close = plugin_close,
    .get_size = plugin_get_size,
    .block_size = plugin_block_size,
    .can_write = plugin_can_write,
    .can_trim = plugin_can_trim,
    .can_zero = plugin_can_write,
    .can_fast_zero = plugin_can_write,
    .can_fua = plugin_can_fua,
    .can_multi_conn = plugin_can_multi_conn,
    .can_cache = plugin_can_cache,
    .cache = plugin_cache,
    .is_rotational = plugin_is_rotational,
    .pread = plugin_pread,
    .pwrite = plugin_pwrite,
    .flush = plugin_flush,
    .trim = plugin_trim,
    .zero = plugin_zero,
    .extents = plugin_extents,
};

NBDKIT_REGISTER_PLUGIN(plugin)
