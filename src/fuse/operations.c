/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operations of a mount: requests of the kernel in libfuse's shape, handed to the tree and to handles, and their
 * answers.  Any of libfuse's threads; each request is answered once.
 */
#include "config.h"

#include "fuse/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "fuse/attribute.h"
#include "fuse/handle.h"

#define FOREVER        86400.0 /* seconds that the kernel may keep what does not change */
#define COMPLAINTS_MAX 100u

static struct byre_mount *mount_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static struct byre_handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct byre_handle *)(uintptr_t)fi->fh;
}

/* What went wrong in the image is told; what the caller did wrong is his to know. */
static void fail(fuse_req_t req, int code, const char *what, const struct byre_error *err)
{
    struct byre_mount *mount = mount_of(req);
    char text[BYRE_ERROR_TEXT_MAX + 300]; /* a name has 255 bytes at most */

    if ((code == -EIO || code == -EUCLEAN || code == -ENOMEM) && mount->complain &&
        __atomic_fetch_add(&mount->complaints, 1, __ATOMIC_RELAXED) < COMPLAINTS_MAX) {
        snprintf(text, sizeof text, "%.255s failed: %s", what, err->text);
        mount->complain(mount->opaque, text);
    }
    (void)fuse_reply_err(req, -code);
}

/* --- names and attributes ----------------------------------------------------------------------------------- */

/* Those in a file system that somebody else changes come and go; all others stay. */
static bool names_last(const struct byre_tree *tree, const struct byre_node *node)
{
    return node->kind != BYRE_NODE_FILE || !byre_image_changes(byre_tree_image(tree, node));
}

/* Of a file, for an answer; it is `entry` that lasts longest. */
static int make_entry(const struct byre_tree *tree, const struct byre_node *node, struct fuse_entry_param *ret_entry,
                      struct byre_error *err)
{
    struct fuse_entry_param entry = { .ino = byre_tree_number(tree, node) };
    bool lasts;
    int rc = byre_tree_stat(tree, node, &entry.attr, &lasts, err);

    if (rc < 0)
        return rc;
    entry.attr_timeout = lasts ? FOREVER : 0;
    entry.entry_timeout = names_last(tree, node) ? FOREVER : 0;
    *ret_entry = entry;
    return 0;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    const struct byre_tree *tree = &mount_of(req)->tree;
    struct byre_node directory = byre_tree_node(tree, parent), node;
    struct byre_error err = BYRE_ERROR_INIT;
    struct fuse_entry_param entry;
    int rc = byre_tree_lookup(tree, &directory, name, &node, &err);

    if (rc == -ENOENT) {
        entry = (struct fuse_entry_param){ .entry_timeout = names_last(tree, &directory) ? FOREVER : 0 };
        (void)fuse_reply_entry(req, &entry);
        return;
    }
    if (rc == 0)
        rc = make_entry(tree, &node, &entry, &err);
    if (rc < 0)
        fail(req, rc, name, &err);
    else
        (void)fuse_reply_entry(req, &entry);
}

static void reply_attr(fuse_req_t req, const struct byre_node *node)
{
    struct byre_error err = BYRE_ERROR_INIT;
    struct stat st;
    bool lasts;
    int rc = byre_tree_stat(&mount_of(req)->tree, node, &st, &lasts, &err);

    if (rc < 0)
        fail(req, rc, "stat", &err);
    else
        (void)fuse_reply_attr(req, &st, lasts ? FOREVER : 0);
}

static void do_getattr(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
    const struct byre_node node = byre_tree_node(&mount_of(req)->tree, number);

    (void)fi;
    reply_attr(req, &node);
}

static int truncate_node(const struct byre_tree *tree, const struct byre_node *node, uint64_t length,
                         struct byre_error *err)
{
    struct byre_handle *handle;
    int rc = byre_handle_open(tree, node, &handle, err);

    if (rc < 0)
        return rc;
    rc = byre_handle_truncate(handle, length, err);
    byre_handle_close(handle);
    return rc;
}

/* The size of a disk can be set.  Its times are those of its contents: setting them has no effect, as it has none on
 * those of a block device's contents; a tool that copies times need not fail. */
static void do_setattr(fuse_req_t req, fuse_ino_t number, struct stat *st, int to_set, struct fuse_file_info *fi)
{
    const struct byre_tree *tree = &mount_of(req)->tree;
    const struct byre_node node = byre_tree_node(tree, number);
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = 0;

    (void)fi;
    if (node.kind == BYRE_NODE_NONE)
        rc = -ESTALE;
    else if (!byre_image_is_writable(byre_tree_image(tree, &node)) || node.view != BYRE_VIEW_NOW)
        rc = -EROFS;
    else if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        rc = -EPERM;
    else if (to_set & FUSE_SET_ATTR_SIZE)
        rc = truncate_node(tree, &node, (uint64_t)st->st_size, &err);
    if (rc < 0)
        fail(req, rc, "truncate", &err);
    else
        reply_attr(req, &node);
}

static void do_readlink(fuse_req_t req, fuse_ino_t number)
{
    const struct byre_tree *tree = &mount_of(req)->tree;
    const struct byre_node node = byre_tree_node(tree, number);
    CLEANUP(free_ptr) char *target = NULL;
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = -EINVAL;

    if (node.kind == BYRE_NODE_FILE)
        rc = byre_files_readlink(byre_image_files(byre_tree_image(tree, &node)), node.file, &target, &err);
    if (rc < 0)
        fail(req, rc, "readlink", &err);
    else
        (void)fuse_reply_readlink(req, target);
}

static void do_statfs(fuse_req_t req, fuse_ino_t number)
{
    const struct byre_tree *tree = &mount_of(req)->tree;
    const struct byre_node node = byre_tree_node(tree, number);
    struct statvfs st = { .f_bsize = 512, .f_frsize = 512, .f_namemax = 255, .f_flag = ST_RDONLY };
    struct byre_files_space space;
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = 0;

    if (node.kind == BYRE_NODE_FILE) {
        rc = byre_files_space(byre_image_files(byre_tree_image(tree, &node)), &space, &err);
        if (rc == 0) {
            st.f_bsize = st.f_frsize = space.block_size;
            st.f_blocks = space.blocks;
            st.f_bfree = space.blocks_free;
            st.f_bavail = space.blocks_available;
            st.f_files = space.inodes;
            st.f_ffree = st.f_favail = space.inodes_free;
        }
    }
    if (rc < 0)
        fail(req, rc, "statfs", &err);
    else
        (void)fuse_reply_statfs(req, &st);
}

/* --- directories -------------------------------------------------------------------------------------------- */

/* Two cursors stand for "." and "..", all others come behind. */
#define DOTS 2u

struct page {
    fuse_req_t req;
    const struct byre_tree *tree;
    char *bytes;
    size_t used, size;
};

/* True: there is no room left. */
static bool add_name(struct page *page, const char *name, const struct byre_node *node, mode_t type, uint64_t next)
{
    const struct stat st = { .st_ino = byre_tree_number(page->tree, node), .st_mode = type };
    size_t left = page->size - page->used;
    size_t length = fuse_add_direntry(page->req, page->bytes + page->used, left, name, &st, (off_t)next);

    if (length > left)
        return true;
    page->used += length;
    return false;
}

static int add_entry(void *opaque, const char *name, const struct byre_node *node, mode_t type, uint64_t next)
{
    return add_name(opaque, name, node, type, next + DOTS);
}

static int fill_page(struct page *page, const struct byre_node *directory, uint64_t offset, struct byre_error *err)
{
    static const char *const dots[DOTS] = { ".", ".." };

    for (; offset < DOTS; offset++) {
        if (add_name(page, dots[offset], directory, S_IFDIR, offset + 1))
            return 0;
    }
    return byre_tree_list(page->tree, directory, offset - DOTS, add_entry, page, err);
}

static void do_readdir(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *fi)
{
    const struct byre_tree *tree = &mount_of(req)->tree;
    const struct byre_node directory = byre_tree_node(tree, number);
    CLEANUP(free_ptr) char *bytes = malloc(size);
    struct page page = { .req = req, .tree = tree, .bytes = bytes, .size = size };
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = bytes ? fill_page(&page, &directory, (uint64_t)offset, &err) : -ENOMEM;

    (void)fi;
    if (rc < 0 && !page.used)
        fail(req, rc, "readdir", &err);
    else
        (void)fuse_reply_buf(req, page.bytes, page.used);
}

static void do_opendir(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
    const struct byre_tree *tree = &mount_of(req)->tree;
    const struct byre_node node = byre_tree_node(tree, number);

    if (node.kind == BYRE_NODE_NONE) {
        (void)fuse_reply_err(req, ESTALE);
        return;
    }
    fi->keep_cache = fi->cache_readdir = names_last(tree, &node);
    (void)fuse_reply_open(req, fi);
}

/* --- files -------------------------------------------------------------------------------------------------- */

static void do_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
    const struct byre_tree *tree = &mount_of(req)->tree;
    const struct byre_node node = byre_tree_node(tree, number);
    struct byre_error err = BYRE_ERROR_INIT;
    struct byre_handle *handle;
    int rc = node.kind == BYRE_NODE_NONE ? -ESTALE : 0;

    if (rc == 0 && (fi->flags & O_ACCMODE) != O_RDONLY &&
        (!byre_image_is_writable(byre_tree_image(tree, &node)) || node.view != BYRE_VIEW_NOW ||
         (node.kind != BYRE_NODE_DISK && node.kind != BYRE_NODE_PARTITION)))
        rc = -EROFS;
    if (rc == 0)
        rc = byre_handle_open(tree, &node, &handle, &err);
    if (rc < 0) {
        fail(req, rc, "open", &err);
        return;
    }
    fi->fh = (uintptr_t)handle;
    fi->direct_io = byre_handle_is_direct(handle);
    fi->keep_cache = !fi->direct_io;
    if (fuse_reply_open(req, fi) < 0) /* whoever wanted it has gone, and nobody will release it */
        byre_handle_close(handle);
}

static void do_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
    (void)number;
    byre_handle_close(handle_of(fi));
    (void)fuse_reply_err(req, 0);
}

/* A buffer that stays with the thread: memory that was touched before is faster. */
struct buffer {
    size_t size;
    char *bytes;
};

static pthread_key_t buffer_key;
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;

static void free_buffer(void *opaque)
{
    struct buffer *buffer = opaque;

    free(buffer->bytes);
    free(buffer);
}

static void make_buffer_key(void)
{
    (void)pthread_key_create(&buffer_key, free_buffer);
}

/* NULL: memory is short. */
static char *buffer_of_thread(size_t size)
{
    struct buffer *buffer;

    (void)pthread_once(&buffer_once, make_buffer_key);
    buffer = pthread_getspecific(buffer_key);
    if (!buffer) {
        buffer = calloc(1, sizeof *buffer);
        if (!buffer)
            return NULL;
        (void)pthread_setspecific(buffer_key, buffer);
    }
    if (buffer->size < size) {
        free(buffer->bytes);
        buffer->bytes = aligned_alloc(4096, byre_round_up(size, 4096));
        buffer->size = buffer->bytes ? size : 0;
    }
    return buffer->bytes;
}

static void do_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct byre_error err = BYRE_ERROR_INIT;
    char *buffer = buffer_of_thread(size);
    size_t length;
    int rc = -ENOMEM;

    (void)number;
    if (buffer)
        rc = byre_handle_read(handle_of(fi), buffer, size, (uint64_t)offset, &length, &err);
    if (rc < 0)
        fail(req, rc, "read", &err);
    else
        (void)fuse_reply_buf(req, buffer, length);
}

static void do_lseek(fuse_req_t req, fuse_ino_t number, off_t offset, int whence, struct fuse_file_info *fi)
{
    struct byre_error err = BYRE_ERROR_INIT;
    uint64_t found;
    int rc = -EINVAL;

    (void)number;
    if (whence == SEEK_DATA || whence == SEEK_HOLE)
        rc = byre_handle_seek(handle_of(fi), (uint64_t)offset, whence == SEEK_DATA, &found, &err);
    if (rc < 0)
        fail(req, rc, "lseek", &err);
    else
        (void)fuse_reply_lseek(req, (off_t)found);
}

static void do_write(fuse_req_t req, fuse_ino_t number, const char *buf, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_handle_write(handle_of(fi), buf, size, (uint64_t)offset, &err);

    (void)number;
    if (rc < 0)
        fail(req, rc, "write", &err);
    else
        (void)fuse_reply_write(req, size);
}

static void do_fallocate(fuse_req_t req, fuse_ino_t number, int mode, off_t offset, off_t length,
                         struct fuse_file_info *fi)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_handle_allocate(handle_of(fi), mode, (uint64_t)offset, (uint64_t)length, &err);

    (void)number;
    if (rc < 0)
        fail(req, rc, "fallocate", &err);
    else
        (void)fuse_reply_err(req, 0);
}

static void do_fsync(fuse_req_t req, fuse_ino_t number, int datasync, struct fuse_file_info *fi)
{
    struct byre_error err = BYRE_ERROR_INIT;
    int rc = byre_handle_flush(handle_of(fi), &err);

    (void)number;
    (void)datasync;
    if (rc < 0)
        fail(req, rc, "fsync", &err);
    else
        (void)fuse_reply_err(req, 0);
}

/* --- extended attributes ------------------------------------------------------------------------------------ */

/* A value, or its length if there is no room for it. */
static void reply_value(fuse_req_t req, const void *value, size_t length, size_t size)
{
    if (size == 0)
        (void)fuse_reply_xattr(req, length);
    else if (length > size)
        (void)fuse_reply_err(req, ERANGE);
    else
        (void)fuse_reply_buf(req, value, length);
}

static void do_getxattr(fuse_req_t req, fuse_ino_t number, const char *name, size_t size)
{
    const struct byre_tree *tree = &mount_of(req)->tree;
    const struct byre_node node = byre_tree_node(tree, number);
    CLEANUP(free_ptr) void *value = NULL;
    struct byre_error err = BYRE_ERROR_INIT;
    size_t length = 0;
    int rc = -ENODATA;
    bool pid = strcmp(name, BYRE_ATTRIBUTE_PID) == 0;
    char text[16];

    if (number == BYRE_NODE_ROOT && (pid || strcmp(name, BYRE_ATTRIBUTE_OUTCOME) == 0)) {
        snprintf(text, sizeof text, "%d", pid ? (int)getpid() : mount_of(req)->outcome);
        reply_value(req, text, strlen(text), size);
        return;
    }
    if (node.kind == BYRE_NODE_FILE)
        rc = byre_files_xattr_get(byre_image_files(byre_tree_image(tree, &node)), node.file, name, &value, &length,
                                  &err);
    if (rc < 0)
        fail(req, rc, "getxattr", &err);
    else
        reply_value(req, value, length, size);
}

static void do_listxattr(fuse_req_t req, fuse_ino_t number, size_t size)
{
    const struct byre_tree *tree = &mount_of(req)->tree;
    const struct byre_node node = byre_tree_node(tree, number);
    CLEANUP(free_ptr) char *names = NULL;
    struct byre_error err = BYRE_ERROR_INIT;
    size_t length = 0;
    int rc = 0;

    if (node.kind == BYRE_NODE_FILE)
        rc = byre_files_xattr_list(byre_image_files(byre_tree_image(tree, &node)), node.file, &names, &length, &err);
    if (rc < 0)
        fail(req, rc, "listxattr", &err);
    else
        reply_value(req, names, length, size);
}

/* --- the start ---------------------------------------------------------------------------------------------- */

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    conn->max_readahead = UINT32_MAX; /* as much as the kernel likes */
    conn->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC; /* the kernel truncates by itself */
}

const struct fuse_lowlevel_ops byre_mount_operations = {
    .init = do_init,
    .lookup = do_lookup,
    .getattr = do_getattr,
    .setattr = do_setattr,
    .readlink = do_readlink,
    .statfs = do_statfs,
    .opendir = do_opendir,
    .readdir = do_readdir,
    .open = do_open,
    .release = do_release,
    .read = do_read,
    .lseek = do_lseek,
    .write = do_write,
    .fallocate = do_fallocate,
    .fsync = do_fsync,
    .getxattr = do_getxattr,
    .listxattr = do_listxattr,
};
