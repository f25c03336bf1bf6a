/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process that takes away the mount of one that was killed.
 *
 *   W1. It holds none of the files of the other process, whose images would stay locked by that.
 *   W2. It unmounts only what nobody serves any more: another mount may be there by then.
 *   W3. It may be the child of a process with threads: it calls nothing that takes locks.
 */
#include "config.h"

#include "fuse/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "fuse/attribute.h"

/* True: the other process has said that it is over; false: it has ended without a word. */
static bool wait_for_word(int pipe)
{
    char byte;
    ssize_t length;

    do
        length = read(pipe, &byte, 1);
    while (length < 0 && errno == EINTR);
    return length == 1;
}

/*
 * Is a mount there that nobody serves?  What stat(2) says the kernel may have kept, but this attribute it does not.  It
 * waits as long as the other process is there, and is then aborted.
 */
static bool is_dead(const char *mount_point)
{
    char value[16];
    ssize_t length;

    do
        length = getxattr(mount_point, BYRE_ATTRIBUTE_PID, value, sizeof value);
    while (length < 0 && (errno == ECONNABORTED || errno == EINTR));
    return length < 0 && errno == ENOTCONN;
}

static void unmount_what_is_left(const char *mount_point)
{
    if (!is_dead(mount_point))
        return;
    if (umount2(mount_point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno == EPERM)
        execlp("fusermount3", "fusermount3", "-u", "-z", "-q", "--", mount_point, (char *)NULL);
}

void byre_watchdog_ignore_signals(void)
{
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };

    for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
        (void)sigaction(signals[i], &ignore, NULL);
}

static void watch(const char *mount_point, int pipe)
{
    byre_watchdog_ignore_signals();
    (void)setsid();
    (void)dup2(pipe, 0);
    (void)close_range(1, ~0u, 0);
    if (!wait_for_word(0))
        unmount_what_is_left(mount_point);
    _exit(0);
}

int byre_watchdog_start(const char *mount_point, struct byre_watchdog *ret_watchdog, struct byre_error *err)
{
    int fds[2];
    pid_t process;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return byre_error_set_errno(err, -errno, "Failed to create a pipe");
    process = fork();
    if (process == 0)
        watch(mount_point, fds[0]);
    close(fds[0]);
    if (process < 0) {
        close(fds[1]);
        return byre_error_set_errno(err, -errno, "Failed to fork");
    }
    *ret_watchdog = (struct byre_watchdog){ process, fds[1] };
    return 0;
}

void byre_watchdog_stop(struct byre_watchdog *watchdog)
{
    while (write(watchdog->pipe, "\1", 1) < 0 && errno == EINTR)
        ;
    close(watchdog->pipe);
    while (waitpid(watchdog->process, NULL, 0) < 0 && errno == EINTR)
        ;
}
