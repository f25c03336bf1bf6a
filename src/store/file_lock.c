/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Image locks, by open-file-description locks.
 *
 * All locks are read locks, which any number of openers can hold on one byte; only their presence matters.
 * Two openers that come at the same moment may each see the other and both be refused, but never both pass,
 * since each locks its own bytes before it looks for those of others.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/arith.h"
#include "store/file_lock.h"

enum {
    USES_BYTE = 100,    /* + permission: held by who uses it */
    FORBIDS_BYTE = 200, /* + permission: held by who lets nobody else use it */
};

enum {
    CONSISTENT_READ = 1 << 0,
    WRITE = 1 << 1,
    RESIZE = 1 << 3,
};

static const char *const permission_names[] = { "consistent read", "write", "write unchanged", "resize" };

static int byte_fcntl(int fd, int command, short type, off_t start, off_t length, short *ret_type)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };
    int r;

    do {
        r = fcntl(fd, command, &lock);
    } while (r < 0 && errno == EINTR);
    if (r < 0)
        return -errno;
    if (ret_type)
        *ret_type = lock.l_type;
    return 0;
}

/* Kernels and file systems that have no such locks say so in these ways. */
static bool means_no_locks(int code)
{
    return code == -EINVAL || code == -ENOLCK || code == -ENOTSUP || code == -ENOSYS;
}

/* Locks the bytes of `permissions` from `base` on: 1 if that cannot be done here at all. */
static int lock_bytes(int fd, const char *name, off_t base, unsigned permissions, struct byre_error *err)
{
    for (unsigned p = 0; p < ARRAY_LEN(permission_names); p++) {
        int r;

        if (!(permissions & 1U << p))
            continue;
        r = byte_fcntl(fd, F_OFD_SETLK, F_RDLCK, base + p, 1, NULL);
        if (means_no_locks(r))
            return 1;
        if (r < 0) {
            byre_error_set_errno(err, r, "Failed to lock byte %d", (int)base + (int)p);
            byre_error_hint(err, "Is another process using the image [%s]?", name);
            return r;
        }
    }
    return 0;
}

/* Does nobody else hold the bytes of `permissions` from `base` on? */
static int check_bytes(int fd, const char *name, off_t base, unsigned permissions, struct byre_error *err)
{
    for (unsigned p = 0; p < ARRAY_LEN(permission_names); p++) {
        short found;

        if (!(permissions & 1U << p))
            continue;
        if (byte_fcntl(fd, F_OFD_GETLK, F_WRLCK, base + p, 1, &found) == 0 && found == F_UNLCK)
            continue;
        byre_error_set(err, -EAGAIN, "Failed to get %s\"%s\" lock", base == USES_BYTE ? "shared " : "",
                       permission_names[p]);
        byre_error_hint(err, "Is another process using the image [%s]?", name);
        return -EAGAIN;
    }
    return 0;
}

static void unlock_all(int fd)
{
    byte_fcntl(fd, F_OFD_SETLK, F_UNLCK, USES_BYTE, ARRAY_LEN(permission_names), NULL);
    byte_fcntl(fd, F_OFD_SETLK, F_UNLCK, FORBIDS_BYTE, ARRAY_LEN(permission_names), NULL);
}

int byre_file_lock(int fd, const char *name, bool writable, bool share_write, struct byre_error *err)
{
    unsigned uses = CONSISTENT_READ | (writable ? WRITE | RESIZE : 0);
    unsigned forbids = share_write ? 0 : WRITE | RESIZE;
    int r = lock_bytes(fd, name, USES_BYTE, uses, err);

    if (r == 0)
        r = lock_bytes(fd, name, FORBIDS_BYTE, forbids, err);
    /* What one uses must not be forbidden, what one forbids must not be used. */
    if (r == 0)
        r = check_bytes(fd, name, FORBIDS_BYTE, uses, err);
    if (r == 0)
        r = check_bytes(fd, name, USES_BYTE, forbids, err);
    if (r != 0)
        unlock_all(fd);
    return MIN(r, 0);
}
