/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * byre-umount: takes mounts of byre-mount away, waits until their images are closed, and tells how that ended.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/message.h"
#include "cli/options.h"
#include "fuse/attribute.h"
#include "fuse/mounted.h"

#define LOOK_AGAIN 500 /* milliseconds: while the mount should end, and has not yet */
#define REPORT_MAX 65536u

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

/* --- who serves a mount -------------------------------------------------------------------------------------- */

struct server {
    bool gone;   /* it has ended already, which is an end without a word */
    pid_t pid;
    int pidfd;
    int outcome; /* as attribute.h says */
};

static void close_server(struct server *server)
{
    byre_cleanup_close_fd(&server->pidfd);
    byre_cleanup_close_fd(&server->outcome);
}

/* A number that the root of the mount has as an attribute.  -errno. */
static int read_attribute(const char *path, const char *name, int *ret_number)
{
    char text[16] = "", *end;
    ssize_t length = getxattr(path, name, text, sizeof text - 1);
    long number;

    if (length < 0)
        return -errno;
    number = strtol(text, &end, 10);
    if (end == text || *end || number < 0 || number > INT32_MAX)
        return -ENODATA;
    *ret_number = (int)number;
    return 0;
}

/* Only a byre-mount has a file of that name there: what another PID namespace calls by that number has not. */
static int open_outcome(pid_t pid, int number, int *ret_fd)
{
    static const char wanted[] = "/memfd:" BYRE_OUTCOME_NAME " ";
    char name[64], target[64] = "";
    int fd;

    snprintf(name, sizeof name, "/proc/%d/fd/%d", (int)pid, number);
    if (readlink(name, target, sizeof target - 1) < 0)
        return -errno;
    if (strncmp(target, wanted, strlen(wanted)) != 0)
        return -ESRCH;
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

/* -errno: it cannot be told. */
static int open_server(const char *path, struct server *server)
{
    int number = -1, rc = read_attribute(path, BYRE_ATTRIBUTE_PID, &server->pid);

    if (rc == -ENOTCONN) {
        server->gone = true;
        return 0;
    }
    if (rc == 0)
        rc = read_attribute(path, BYRE_ATTRIBUTE_OUTCOME, &number);
    if (rc < 0)
        return rc;
    server->pidfd = pidfd_open(server->pid, 0); /* before its file is looked at: it is of that same process */
    return server->pidfd < 0 ? -errno : open_outcome(server->pid, number, &server->outcome);
}

/* --- its end ------------------------------------------------------------------------------------------------- */

static char state_of(const struct server *server)
{
    char state = 0;

    return pread(server->outcome, &state, 1, 0) == 1 ? state : 0;
}

static int complain_elsewhere(const char *path, const struct server *server, const struct byre_mounted_place *place)
{
    if (!place->process)
        return byre_complain("'%s' is unmounted, but what was there is still mounted at '%s': "
                             "process %d serves it, and its image stays open",
                             path, place->path, (int)server->pid);
    return byre_complain("'%s' is unmounted, but what was there is still mounted at '%s' in the mount namespace of "
                         "process %d (%s): process %d serves it, and its image stays open",
                         path, place->path, (int)place->process, place->command, (int)server->pid);
}

/* Waits for the process, as long as closing takes.  1 after a complaint: its mount lives on. */
static int wait_for_end(const char *path, const struct byre_mounted *mounted, const struct server *server)
{
    struct pollfd ended = { .fd = server->pidfd, .events = POLLIN };

    for (;;) {
        bool closing = state_of(server) != BYRE_OUTCOME_SERVING;
        struct byre_mounted_place place;
        int n = poll(&ended, 1, closing ? -1 : LOOK_AGAIN);

        if (n > 0)
            return 0;
        if (n == 0 && byre_mounted_elsewhere(mounted, &place)) {
            CLEANUP(free_ptr) char *found = place.path;

            /* once it is closing, the number of the device may be that of another mount */
            if (state_of(server) == BYRE_OUTCOME_SERVING)
                return complain_elsewhere(path, server, &place);
        }
    }
}

/* What the process has said: 0 if all is well. */
static int report(const char *path, const struct server *server)
{
    CLEANUP(free_ptr) char *text = calloc(1, REPORT_MAX);
    char *rest = text, *line;

    if (!text)
        byre_die_no_memory();
    if (pread(server->outcome, text, REPORT_MAX - 1, 0) < 1)
        text[0] = '\0';
    if (*text == BYRE_OUTCOME_CLOSED)
        return 0;
    if (*text != BYRE_OUTCOME_FAILED)
        return byre_complain("'%s' is unmounted, but the process that served it ended before its image was closed",
                             path);
    rest++;
    while ((line = strsep(&rest, "\n"))) {
        if (*line)
            byre_complain("'%s' is unmounted, but: %s", path, line);
    }
    return 1;
}

/* --- taking it away ------------------------------------------------------------------------------------------ */

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

static int take_away(const char *path, const char *real, bool lazy)
{
    if (umount2(real, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
        return 0;
    if (errno == EPERM)
        return run_fusermount(real, lazy);
    return byre_complain("Could not unmount '%s': %m", path);
}

static int unmount_waiting(const char *path, const struct byre_mounted *mounted, struct server *server)
{
    int rc = open_server(mounted->path, server);

    if (rc < 0)
        return byre_complain("Could not unmount '%s': the process that serves it cannot be told: %s; "
                             "with --lazy nothing waits for it",
                             path, strerror(-rc));
    if (take_away(path, mounted->path, false) != 0)
        return 1;
    if (!server->gone && wait_for_end(path, mounted, server) != 0)
        return 1;
    return report(path, server);
}

static int unmount(const char *path, bool lazy)
{
    struct server server = { .pidfd = -1, .outcome = -1 };
    struct byre_mounted mounted;
    int rc = byre_mounted_find(path, &mounted), exit_code;

    if (rc < 0)
        return byre_complain("Could not unmount '%s': %s", path,
                             rc == -EINVAL ? "it is no mount point" : strerror(-rc));
    if (strcmp(mounted.type, "fuse.byre") != 0)
        exit_code = byre_complain("Could not unmount '%s': there is no image, but '%s' of type %s; see umount(8)", path,
                                  mounted.source, mounted.type);
    else if (lazy)
        exit_code = take_away(path, mounted.path, true);
    else
        exit_code = unmount_waiting(path, &mounted, &server);
    close_server(&server);
    byre_mounted_done(&mounted);
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
