/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mount: libfuse's session around the operations.
 */
#include "config.h"

#include "fuse/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arith.h"
#include "base/cleanup.h"
#include "fuse/watchdog.h"

#define THREADS    10u  /* requests at a time: they wait for the medium, not for the processor */
#define READ_AHEAD "1024" /* KiB; what the kernel does by itself, 128, lets the medium wait */

/* What is passed on is no option of the programs, so a message of libfuse's is all there is. */
static int add_options(struct fuse_args *args, const struct byre_session_options *options)
{
    const struct {
        const char *text;
        bool add;
    } words[] = {
        { "subtype=byre", true },
        { "ro", options->read_only },
        { options->suid ? "suid" : "nosuid", true },
        { options->dev ? "dev" : "nodev", true },
        { "default_permissions", options->check_permissions },
        { "debug", options->debug },
    };
    char *all = NULL, *source = NULL;
    int rc = -1;

    if (asprintf(&source, "fsname=%s", options->source) < 0)
        return -1;
    if (fuse_opt_add_opt_escaped(&all, source) == 0)
        rc = 0;
    for (unsigned i = 0; i < ARRAY_LEN(words) && rc == 0; i++) {
        if (words[i].add)
            rc = fuse_opt_add_opt(&all, words[i].text);
    }
    if (rc == 0 && options->fuse_options)
        rc = fuse_opt_add_opt(&all, options->fuse_options);
    if (rc == 0 && (fuse_opt_add_arg(args, "byre-mount") < 0 || fuse_opt_add_arg(args, "-o") < 0 ||
                    fuse_opt_add_arg(args, all) < 0))
        rc = -1;
    free(source);
    free(all);
    return rc;
}

/* Only root may say so.  Nobody serves the mount yet, and it is not asked. */
static void read_further_ahead(const char *real)
{
    struct statx root;
    char path[64];
    FILE *file;

    if (statx(AT_FDCWD, real, AT_STATX_DONT_SYNC, 0, &root) < 0)
        return;
    snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", root.stx_dev_major, root.stx_dev_minor);
    file = fopen(path, "we");
    if (!file)
        return;
    (void)fputs(READ_AHEAD, file);
    (void)fclose(file);
}

static int serve(struct fuse_session *session)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int rc;

    if (!config)
        return -ENOMEM;
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, THREADS);
    fuse_loop_cfg_set_idle_threads(config, THREADS);
    rc = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return rc < 0 ? rc : 0; /* positive: the signal that ended it */
}

static int run_session(struct fuse_session *session, const struct byre_session_options *options, const char *real,
                       struct byre_error *err)
{
    int rc;

    if (fuse_set_signal_handlers(session) < 0)
        return byre_error_set(err, -EINVAL, "Could not set signal handlers");
    if (fuse_session_mount(session, real) == 0) {
        read_further_ahead(real);
        options->mounted(options->opaque);
        rc = serve(session);
        if (rc < 0)
            byre_error_set_errno(err, rc, "Serving '%s' failed", options->mount_point);
        fuse_session_unmount(session);
    } else {
        rc = byre_error_set(err, -EINVAL, "Could not mount at '%s'", options->mount_point);
    }
    byre_watchdog_ignore_signals(); /* what is still to be done, closing the images above all, is not to be cut short */
    fuse_remove_signal_handlers(session); /* leaves alone what is not its own any more */
    return rc;
}

static int run_watched(struct fuse_session *session, const struct byre_session_options *options,
                       struct byre_error *err)
{
    /* With a path that goes on behind the mount point, as "mnt/.", libfuse would look there before it is served. */
    CLEANUP(free_ptr) char *real = realpath(options->mount_point, NULL);
    struct byre_watchdog watchdog;
    int rc;

    if (!real)
        return byre_error_set_errno(err, -errno, "Could not mount at '%s'", options->mount_point);
    rc = byre_watchdog_start(real, &watchdog, err);
    if (rc < 0)
        return rc;
    rc = run_session(session, options, real, err);
    byre_watchdog_stop(&watchdog);
    return rc;
}

int byre_session_run(const struct byre_session_options *options, struct byre_error *err)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session;
    int rc;

    if (add_options(&args, options) < 0) {
        fuse_opt_free_args(&args);
        return byre_error_set_errno(err, -ENOMEM, "options");
    }
    session = fuse_session_new(&args, &byre_mount_operations, sizeof byre_mount_operations, options->mount);
    fuse_opt_free_args(&args);
    if (!session)
        return byre_error_set(err, -EINVAL, "Could not begin a mount at '%s'", options->mount_point);
    rc = run_watched(session, options, err);
    fuse_session_destroy(session);
    return rc;
}
