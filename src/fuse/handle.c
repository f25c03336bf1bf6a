/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Open files: of a disk or a partition, of a text, of a file inside a file system.
 *
 *   H1. A handle uses its view, so that this stays open.
 *   H2. The text of a handle is made when it is opened, and stays; a map that is too large for that is made while it is
 *       read.
 *   H3. Whoever makes the disk larger holds the grow mutex, so that nobody makes it smaller by that.
 */
#include "config.h"

#include "fuse/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "fuse/map_text.h"
#include "fuse/texts.h"

#define SECTOR 512u

struct byre_handle {
    struct byre_image *image;
    struct byre_node node;
    struct byre_view *view;  /* NULL for a file inside a file system */
    unsigned range;
    char *text;
    size_t length;           /* of it */
    struct byre_map_text *stream;
};

static int open_text(struct byre_handle *handle, struct byre_error *err)
{
    int rc = byre_text_make(handle->image, &handle->node, &handle->text, &handle->length, err);

    if (rc != -EFBIG)
        return rc;
    handle->stream = byre_map_text_new(handle->view->disk);
    return handle->stream ? 0 : byre_error_set_errno(err, -ENOMEM, "map");
}

static int open_node(struct byre_handle *handle, struct byre_error *err)
{
    int rc;

    if (handle->node.kind == BYRE_NODE_FILE)
        return 0;
    rc = byre_image_get(handle->image, handle->node.view, &handle->view, err);
    if (rc < 0)
        return rc;
    switch (handle->node.kind) {
    case BYRE_NODE_DISK: return 0;
    case BYRE_NODE_PARTITION:
        handle->range = handle->node.number;
        if (handle->range < handle->view->range_count)
            return 0;
        return byre_error_set(err, -ENOENT, "there is no such partition");
    case BYRE_NODE_INFO:
    case BYRE_NODE_MAP:
    case BYRE_NODE_TABLE: return open_text(handle, err);
    default: return byre_error_set(err, -EISDIR, "it is a directory");
    }
}

int byre_handle_open(const struct byre_tree *tree, const struct byre_node *node, struct byre_handle **ret_handle,
                     struct byre_error *err)
{
    struct byre_handle *handle = calloc(1, sizeof *handle);
    int rc;

    if (!handle)
        return byre_error_set_errno(err, -ENOMEM, "open file");
    handle->image = byre_tree_image(tree, node);
    handle->node = *node;
    rc = open_node(handle, err);
    if (rc < 0)
        byre_handle_close(handle);
    else
        *ret_handle = handle;
    return rc;
}

void byre_handle_close(struct byre_handle *handle)
{
    if (handle->view)
        byre_image_put(handle->image, handle->view);
    byre_map_text_free(handle->stream);
    free(handle->text);
    free(handle);
}

/*
 * The kernel would cut a text at the size that it has kept.  Whether a map is too large was perhaps seen otherwise by
 * who asked for that, and the space that a layer's file takes up may be another one by now.
 */
bool byre_handle_is_direct(const struct byre_handle *handle)
{
    return handle->node.kind == BYRE_NODE_MAP || handle->node.kind == BYRE_NODE_INFO ||
           byre_image_changes(handle->image);
}

/* --- reading ------------------------------------------------------------------------------------------------ */

static bool is_range(const struct byre_handle *handle)
{
    return handle->node.kind == BYRE_NODE_DISK || handle->node.kind == BYRE_NODE_PARTITION;
}

static int read_range(const struct byre_handle *handle, void *buf, size_t length, uint64_t offset, size_t *ret_length,
                      struct byre_error *err)
{
    uint64_t end = byre_view_length(handle->view, handle->range);
    int rc = 0;

    if (offset >= end)
        length = 0;
    else if (length > end - offset)
        length = end - offset;
    if (length)
        rc = byre_view_read(handle->view, handle->range, buf, length, offset, err);
    if (rc == 0)
        *ret_length = length;
    return rc;
}

int byre_handle_read(struct byre_handle *handle, void *buf, size_t length, uint64_t offset, size_t *ret_length,
                     struct byre_error *err)
{
    if (is_range(handle))
        return read_range(handle, buf, length, offset, ret_length, err);
    if (handle->node.kind == BYRE_NODE_FILE)
        return byre_files_read(byre_image_files(handle->image), handle->node.file, buf, length, offset, ret_length,
                               err);
    if (handle->stream)
        return byre_map_text_read(handle->stream, buf, length, offset, ret_length, err);
    if (offset > handle->length)
        offset = handle->length;
    *ret_length = MIN(length, handle->length - offset);
    memcpy(buf, handle->text + offset, *ret_length);
    return 0;
}

int byre_handle_seek(struct byre_handle *handle, uint64_t offset, bool data, uint64_t *ret_offset,
                     struct byre_error *err)
{
    if (is_range(handle))
        return byre_view_seek(handle->view, handle->range, offset, data, ret_offset, err);
    if (handle->node.kind == BYRE_NODE_FILE)
        return byre_files_seek(byre_image_files(handle->image), handle->node.file, offset, data, ret_offset, err);
    if (offset >= handle->length)
        return byre_error_set(err, -ENXIO, "offset %llu is past the end", (unsigned long long)offset);
    *ret_offset = data ? offset : handle->length;
    return 0;
}

/* --- changing ----------------------------------------------------------------------------------------------- */

static int check_writable(const struct byre_handle *handle, struct byre_error *err)
{
    if (is_range(handle) && handle->view->writable)
        return 0;
    return byre_error_set(err, -EROFS, "it can only be read");
}

/* Makes the disk reach to `end`, in whole sectors, if it does not. */
static int grow(struct byre_handle *handle, uint64_t end, const char *preallocation, struct byre_error *err)
{
    struct byre_view *view = handle->view;
    int rc = 0;

    if (end > INT64_MAX - SECTOR)
        return byre_error_set(err, -EFBIG, "a disk of %llu bytes is too large", (unsigned long long)end);
    pthread_mutex_lock(&view->grow_mutex);
    if (end > byre_get_size(view->disk))
        rc = byre_truncate(view->disk, byre_round_up(end, SECTOR), preallocation, err);
    pthread_mutex_unlock(&view->grow_mutex);
    return rc;
}

/* May `length` bytes from `offset` on be changed?  A disk grows for that, unless it is only to keep its size. */
static int make_room(struct byre_handle *handle, uint64_t offset, uint64_t length, struct byre_error *err)
{
    int rc = check_writable(handle, err);

    if (rc < 0 || byre_range_within(offset, length, byre_view_length(handle->view, handle->range)))
        return rc;
    if (handle->range)
        return byre_error_set(err, -ENOSPC, "offset %llu is past the end of the partition",
                              (unsigned long long)(offset + length));
    if (offset > INT64_MAX || length > INT64_MAX)
        return byre_error_set(err, -EFBIG, "offset %llu is too large", (unsigned long long)offset);
    return grow(handle, offset + length, NULL, err);
}

/* What came of a change of the disk that lay within it, unless somebody has made it smaller since. */
static int unless_cut_off(const struct byre_handle *handle, uint64_t offset, uint64_t length, int rc,
                          struct byre_error *err)
{
    struct byre_error why = BYRE_ERROR_INIT;

    if (rc != -EINVAL || byre_view_check(handle->view, handle->range, offset, length, &why) == 0)
        return rc;
    return byre_error_set(err, why.code, "%s", why.text);
}

/* Where a range is on the disk, after it was changed. */
static uint64_t goff_of(const struct byre_handle *handle, uint64_t offset)
{
    return handle->view->ranges[handle->range].partition.goff + offset;
}

int byre_handle_write(struct byre_handle *handle, const void *buf, size_t length, uint64_t offset,
                      struct byre_error *err)
{
    int rc = make_room(handle, offset, length, err);

    if (rc == 0)
        rc = byre_view_check(handle->view, handle->range, offset, length, err);
    if (rc == 0)
        rc = unless_cut_off(handle, offset, length,
                            byre_pwrite(handle->view->disk, buf, length, goff_of(handle, offset), err), err);
    if (rc == 0)
        byre_view_changed(handle->view);
    return rc;
}

int byre_handle_truncate(struct byre_handle *handle, uint64_t length, struct byre_error *err)
{
    struct byre_view *view = handle->view;
    int rc = check_writable(handle, err);

    if (rc < 0 || length == byre_view_length(view, handle->range))
        return rc;
    if (handle->range)
        return byre_error_set(err, -EPERM, "a partition keeps its size");
    if (length % SECTOR)
        return byre_error_set(err, -EINVAL, "the size of a disk is a multiple of %u", SECTOR);
    pthread_mutex_lock(&view->grow_mutex);
    rc = byre_truncate(view->disk, length, NULL, err);
    pthread_mutex_unlock(&view->grow_mutex);
    byre_view_changed(view);
    return rc;
}

/* Zeros, on the medium or as a hole. */
static int zero(struct byre_handle *handle, int mode, uint64_t offset, uint64_t length, struct byre_error *err)
{
    uint64_t end = byre_view_length(handle->view, handle->range);
    unsigned flags = mode & FALLOC_FL_PUNCH_HOLE ? BYRE_WRITE_ZEROES_UNMAP : 0;
    int rc = 0;

    if (!(mode & FALLOC_FL_KEEP_SIZE))
        rc = make_room(handle, offset, length, err);
    else if (offset >= end)
        return 0;
    else if (length > end - offset)
        length = end - offset;
    if (rc == 0)
        rc = byre_view_check(handle->view, handle->range, offset, length, err);
    if (rc < 0)
        return rc;
    rc = byre_write_zeroes(handle->view->disk, goff_of(handle, offset), length, flags, err);
    return unless_cut_off(handle, offset, length, rc, err);
}

int byre_handle_allocate(struct byre_handle *handle, int mode, uint64_t offset, uint64_t length,
                         struct byre_error *err)
{
    int rc = check_writable(handle, err);

    if (rc < 0)
        return rc;
    switch (mode) {
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_ZERO_RANGE:
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE: rc = zero(handle, mode, offset, length, err); break;
    case 0:
        if (handle->range || offset < byre_get_size(handle->view->disk) || length > INT64_MAX || offset > INT64_MAX)
            return byre_error_set(err, -EOPNOTSUPP, "space is only allocated behind the end of a disk");
        rc = grow(handle, offset + length, "falloc", err);
        break;
    default: return byre_error_set(err, -EOPNOTSUPP, "fallocate mode %#x is not known", (unsigned)mode);
    }
    byre_view_changed(handle->view);
    return rc;
}

int byre_handle_flush(struct byre_handle *handle, struct byre_error *err)
{
    return handle->view && handle->view->writable ? byre_flush(handle->view->disk, err) : 0;
}
