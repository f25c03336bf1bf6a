/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is in files and symbolic links.  Data go from the disk to the caller's buffer, one read for each run of blocks;
 * extents that were never written, and holes, are zeros.  Short files may be in their inode.
 */
#include "config.h"

#ifdef HAVE_EXT2FS

#include "volume/ext.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"

#define TARGET_MAX 4096u      /* bytes of a symbolic link: PATH_MAX */
#define RUNS_MAX   (1u << 18) /* that one call looks at in search of data or a hole */

int byre_ext_readable(const struct byre_ext_inode *inode, struct byre_error *err)
{
    if (inode->flags & EXT4_ENCRYPT_FL)
        return byre_error_set(err, -ENOTSUP, "inode %u is encrypted (ext4's 'encrypt'), which byre does not read",
                              inode->number);
    if (inode->flags & EXT2_COMPRBLK_FL)
        return byre_error_set(err, -ENOTSUP, "inode %u is compressed, which byre does not read", inode->number);
    return 0;
}

int byre_ext_inline_read(struct byre_ext *ext, const struct byre_ext_inode *inode, uint8_t **ret_bytes,
                         size_t *ret_length, struct byre_error *err)
{
    CLEANUP(free_ptr) void *rest = NULL;
    size_t length = 0;
    uint8_t *bytes;
    int rc = byre_ext_xattr_data(ext, inode, &rest, &length, err);

    if (rc < 0 && (rc != -ENODATA || inode->size > EXT_MAP_BYTES))
        return rc;
    if (inode->size > EXT_MAP_BYTES + length)
        return byre_ext_damaged(inode, err, "it has %llu bytes, and room for %zu", (unsigned long long)inode->size,
                                EXT_MAP_BYTES + length);
    bytes = malloc(EXT_MAP_BYTES + length);
    if (!bytes)
        return byre_error_set_errno(err, -ENOMEM, "inode %u", inode->number);
    memcpy(bytes, inode->map, EXT_MAP_BYTES);
    if (length)
        memcpy(bytes + EXT_MAP_BYTES, rest, length);
    *ret_bytes = bytes;
    *ret_length = inode->size;
    return 0;
}

static int inline_contents(struct byre_ext *ext, const struct byre_ext_inode *inode, void *buf, size_t length,
                           uint64_t offset, struct byre_error *err)
{
    CLEANUP(free_ptr) uint8_t *bytes = NULL;
    size_t there;
    int rc = byre_ext_inline_read(ext, inode, &bytes, &there, err);

    if (rc == 0)
        memcpy(buf, bytes + offset, length);
    return rc;
}

int byre_ext_contents(struct byre_ext *ext, const struct byre_ext_inode *inode, void *buf, size_t length,
                      uint64_t offset, struct byre_error *err)
{
    uint8_t *at = buf;

    if (inode->flags & EXT4_INLINE_DATA_FL)
        return length ? inline_contents(ext, inode, buf, length, offset, err) : 0;
    while (length) {
        uint64_t skip = offset % ext->block_size;
        struct byre_ext_run run;
        size_t now = length;
        int rc = byre_ext_map(ext, inode, offset / ext->block_size, &run, err);

        if (rc < 0)
            return rc;
        if (run.count <= (skip + length) / ext->block_size)
            now = run.count * ext->block_size - skip;
        if (run.data) {
            rc = byre_filesystem_pread(&ext->files, at, now, run.block * ext->block_size + skip, err);
            if (rc < 0) {
                byre_error_prepend(err, "inode %u: ", inode->number);
                return rc;
            }
        } else {
            memset(at, 0, now);
        }
        at += now;
        offset += now;
        length -= now;
    }
    return 0;
}

static int get_regular(struct byre_ext *ext, uint64_t id, struct byre_ext_inode *inode, struct byre_error *err)
{
    int rc = byre_ext_inode_get(ext, id, inode, err);

    if (rc < 0)
        return rc;
    if (S_ISDIR(inode->mode))
        return byre_error_set(err, -EISDIR, "it is a directory");
    if (!S_ISREG(inode->mode))
        return byre_error_set(err, -EINVAL, "it is no regular file");
    return byre_ext_readable(inode, err);
}

int byre_ext_read(struct byre_files *files, uint64_t id, void *buf, size_t length, uint64_t offset,
                  size_t *ret_length, struct byre_error *err)
{
    struct byre_ext *ext = byre_ext_of(files);
    struct byre_ext_inode inode;
    int rc = get_regular(ext, id, &inode, err);

    if (rc < 0)
        return rc;
    length = offset < inode.size ? MIN(length, inode.size - offset) : 0;
    rc = byre_ext_contents(ext, &inode, buf, length, offset, err);
    if (rc == 0)
        *ret_length = length;
    return rc;
}

int byre_ext_seek(struct byre_files *files, uint64_t id, uint64_t offset, bool data, uint64_t *ret_offset,
                  struct byre_error *err)
{
    struct byre_ext *ext = byre_ext_of(files);
    struct byre_ext_inode inode;
    struct byre_ext_run run;
    uint64_t block, end;
    unsigned runs = 0;
    int rc = get_regular(ext, id, &inode, err);

    if (rc < 0)
        return rc;
    if (offset >= inode.size)
        return byre_error_set(err, -ENXIO, "offset %llu is past the end of the file", (unsigned long long)offset);
    if (inode.flags & EXT4_INLINE_DATA_FL) {
        *ret_offset = data ? offset : inode.size;
        return 0;
    }
    end = byre_div_up(inode.size, ext->block_size);
    for (block = offset / ext->block_size; block < end && runs < RUNS_MAX; block = run.first + run.count, runs++) {
        rc = byre_ext_map(ext, &inode, block, &run, err);
        if (rc < 0)
            return rc;
        if (run.data == data)
            break;
    }
    if (runs == RUNS_MAX && !data)
        block = end; /* what was not looked at counts as data: it may begin here, and no hole does */
    if (block >= end && data)
        return byre_error_set(err, -ENXIO, "no data come behind offset %llu", (unsigned long long)offset);
    *ret_offset = block >= end ? inode.size : MAX(offset, block * ext->block_size);
    return 0;
}

int byre_ext_readlink(struct byre_files *files, uint64_t id, char **ret_target, struct byre_error *err)
{
    struct byre_ext *ext = byre_ext_of(files);
    CLEANUP(free_ptr) char *target = NULL;
    struct byre_ext_inode inode;
    int rc = byre_ext_inode_get(ext, id, &inode, err);

    if (rc == 0 && !S_ISLNK(inode.mode))
        rc = byre_error_set(err, -EINVAL, "it is no symbolic link");
    if (rc == 0)
        rc = byre_ext_readable(&inode, err);
    if (rc < 0)
        return rc;
    if (!inode.size || inode.size > TARGET_MAX)
        return byre_ext_damaged(&inode, err, "a symbolic link of %llu bytes", (unsigned long long)inode.size);
    target = calloc(1, inode.size + 1);
    if (!target)
        return byre_error_set_errno(err, -ENOMEM, "inode %u", inode.number);
    if (inode.size < EXT_MAP_BYTES && !(inode.flags & (EXT4_EXTENTS_FL | EXT4_INLINE_DATA_FL)))
        memcpy(target, inode.map, inode.size);
    else
        rc = byre_ext_contents(ext, &inode, target, inode.size, 0, err);
    if (rc < 0)
        return rc;
    if (strlen(target) != inode.size)
        return byre_ext_damaged(&inode, err, "a symbolic link with a null byte in it");
    *ret_target = STEAL(target);
    return 0;
}

#endif
