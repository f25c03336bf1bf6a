/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre-umount: takes mounts of byre-mount away, and waits until their images are closed.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "cli/message.h"
#include "cli/options.h"
#include "fuse/attribute.h"

static const struct byre_option options[] = {
    { 'z', "lazy", NULL, "take it away at once, and let go of it when nothing uses it any more" },
    BYRE_OPTION_HELP,
    BYRE_OPTION_END,
};

static const struct byre_verb verb_umount = {
    .name = "umount",
    .operands = "DIRECTORY...",
    .summary = "Takes mounts of images away.",
    .options = options,
};

/* The process that serves a mount, or -1: it cannot be told. */
static int open_server(const char *path)
{
    char text[16] = "";
    ssize_t length = getxattr(path, BYRE_ATTRIBUTE_PID, text, sizeof text - 1);

    return length > 0 ? pidfd_open((pid_t)strtol(text, NULL, 10), 0) : -1;
}

static void wait_for_end(int pidfd)
{
    struct pollfd ended = { .fd = pidfd, .events = POLLIN };

    while (poll(&ended, 1, -1) < 0 && errno == EINTR)
        ;
}

/* For those who may not unmount by themselves. */
static int run_fusermount(const char *path, bool lazy)
{
    pid_t child = fork();
    int status;

    if (child < 0)
        return byre_complain("Could not unmount '%s': %m", path);
    if (child == 0) {
        execlp("fusermount3", "fusermount3", lazy ? "-uz" : "-u", "--", path, (char *)NULL);
        byre_complain("Could not execute fusermount3: %m");
        _exit(1);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1; /* it has said why */
}

static int unmount(const char *path, bool lazy)
{
    CLEANUP(close_fd) int server = open_server(path);
    int exit_code = 0;

    if (umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0) {
        if (errno == EPERM)
            exit_code = run_fusermount(path, lazy);
        else
            exit_code = byre_complain("Could not unmount '%s': %s", path,
                                      errno == EINVAL ? "it is no mount point" : strerror(errno));
    }
    if (exit_code == 0 && server >= 0 && !lazy)
        wait_for_end(server);
    return exit_code;
}

int main(int argc, char **argv)
{
    struct byre_option_parser parser;
    bool lazy = false;
    int id, exit_code = 0;

    byre_program_init(argv[0]);
    if (argc == 2 && strcmp(argv[1], "__options") == 0) {
        byre_options_dump(&verb_umount);
        return 0;
    }
    byre_options_start(&parser, &verb_umount, argc, argv);
    while ((id = byre_options_next(&parser)) > 0)
        lazy = true;
    if (id < 0)
        return parser.exit_code;
    if (parser.operand == argc)
        return byre_complain_usage("Expecting a mount point");
    for (int i = parser.operand; i < argc; i++)
        exit_code |= unmount(argv[i], lazy);
    return exit_code;
}
