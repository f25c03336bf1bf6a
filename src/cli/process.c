/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The background, the pid file, the limit of open files.
 */
#include "config.h"

#include "cli/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

void byre_standard_files_open(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < 3);
    if (fd >= 3)
        close(fd);
}

/* In the parent: a byte comes once the child is ready; nothing, if that is never. */
static int wait_for_child(int fd, pid_t child)
{
    char byte = 0;
    int status;

    while (read(fd, &byte, 1) < 0 && errno == EINTR)
        ;
    if (byte == 1)
        return 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
}

int byre_background_enter(struct byre_background *ret_background, struct byre_error *err)
{
    int fds[2];
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return byre_error_set_errno(err, -errno, "Failed to create a pipe");
    child = fork();
    if (child < 0)
        return byre_error_set_errno(err, -errno, "Failed to fork");
    if (child > 0) {
        close(fds[1]);
        _exit(wait_for_child(fds[0], child));
    }
    close(fds[0]);
    ret_background->ready_fd = fds[1];
    (void)setsid();
    return 0;
}

void byre_background_ready(struct byre_background *background, bool keep_stderr)
{
    int null;

    if (background->ready_fd < 0)
        return;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < (keep_stderr ? 2 : 3) && null >= 0; fd++)
        (void)dup2(null, fd);
    if (null > 2)
        close(null);
    while (write(background->ready_fd, "\1", 1) < 0 && errno == EINTR)
        ;
    close(background->ready_fd);
    background->ready_fd = -1;
}

int byre_pid_file_write(const char *path, struct byre_error *err)
{
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char text[32];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());

    if (fd < 0)
        return byre_error_set_errno(err, -errno, "Could not create '%s'", path);
    if (write(fd, text, (size_t)length) != length)
        return byre_error_set_errno(err, errno ? -errno : -EIO, "Could not write '%s'", path);
    return 0;
}

void byre_raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}
